//! The tables over the state, column by column: from the columns of a [`Look`].

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::types::{ArrowPrimitiveType, Float32Type, Float64Type, Int64Type, UInt8Type};
use datafusion::arrow::array::{
    Array, ArrayRef, Float64Array, ListArray, RecordBatch, RecordBatchOptions, StringArray, TimestampMillisecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;

use crate::model::{Trigger, Window};
use crate::pipeline::{Look, PartitionLook};
use crate::policy::expected;
use crate::query::describe::COMMENT;
use crate::state::IdleHistogram;

use super::explode;

type Result<T> = std::result::Result<T, ArrowError>;

/// One table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    source: Source,
    columns: &'static [Column],
}

/// What its rows are made of.
#[derive(Debug)]
enum Source {
    /// A row for each app.
    Apps,
    /// A row for each function of each app.
    Functions,
    /// A row for each app whose plan is a forecast.
    Forecasts,
    /// A row for each bin of each app that isn't empty.
    Bins,
    /// A row for each partition.
    Partitions,
}

#[derive(Debug)]
struct Column {
    name: &'static str,
    kind: Kind,
    comment: &'static str,
    value: fn(&Rows) -> Result<ArrayRef>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Integer,
    Small,
    Float,
    Time,
    Integers,
}

/// What a column is made from.
struct Rows<'a> {
    look: &'a Look,
    batch: RecordBatch,
}

macro_rules! columns {
    ($($name:ident: $kind:ident = $value:expr, $comment:literal;)*) => {
        &[$(Column { name: stringify!($name), kind: Kind::$kind, comment: $comment, value: $value }),*]
    };
}

/// All of them.
pub(super) static TABLES: &[Table] = &[
    Table {
        name: "apps",
        source: Source::Apps,
        columns: columns! {
            app: Text = |rows| rows.plain("app"), "The app.";
            kafka_partition: Small = |rows| rows.plain("kafka_partition"), "Partition of its events.";
            invocations: Integer = |rows| rows.plain("invocations"), "Invocations ever seen, count.";
            idle_times: Integer = |rows| rows.plain("idle_times"), "Idle times ever seen, count.";
            mean_idle_ms: Float = |rows| rows.mean("idle_ms", "idle_times"), "Mean of its idle times, ms; null before the first.";
            first_trigger: Text = |rows| rows.triggers(true), "One of its triggers; null where events told none.";
            triggers: Text = |rows| rows.triggers(false), "All triggers that its events told, with + between them.";
            last_start: Time = |rows| rows.time("last_start_ms"), "Start of the execution that started last.";
            last_end: Time = |rows| rows.time("last_end_ms"), "Latest end of an execution.";
            memory_mb: Float = |rows| rows.plain("memory_mb"), "Memory, MB; null where events told none.";
            runtime: Text = |rows| rows.plain("runtime"), "Runtime kind; null where events told none.";
            regime: Text = |rows| rows.plain("regime"), "Rule of the policy that the plan in force comes from.";
            from_ms: Integers = |rows| rows.plain("from_ms"), "Begins of the windows of the plan in force, ms of idle time.";
            until_ms: Integers = |rows| rows.plain("until_ms"), "Ends of these windows, ms of idle time.";
            cold_probability: Float = |rows| rows.expected(|expected| expected.cold_probability),
                "Chance that the next start is cold if the app goes on as it did, 0 to 1; null before its first idle time.";
            idle_mb_s: Float = |rows| rows.expected(|expected| expected.idle_mb_s),
                "Idle memory expected until the next start, MB*s; null before its first idle time.";
        },
    },
    Table {
        name: "functions",
        source: Source::Functions,
        columns: columns! {
            app: Text = |rows| rows.plain("app"), "The app.";
            function: Text = |rows| rows.plain("function"),
                "The function; null for all of the app's beyond its first 64, which are counted together.";
            trigger: Text = |rows| rows.triggers(false),
                "Its trigger, as events told it; if several, with + between them; null where events told none.";
            invocations: Integer = |rows| rows.integer("invocations"), "Its invocations, count.";
            failed: Integer = |rows| rows.integer("failed"), "Those of them whose status told a failure, count.";
            last_start: Time = |rows| rows.time("last_start_ms"), "Start of the execution that started last.";
            mean_duration_ms: Float = |rows| rows.mean("duration_ms", "invocations"), "Mean of its durations, ms.";
            longest_ms: Float = |rows| rows.plain("longest_ms"), "Its longest duration, ms.";
        },
    },
    Table {
        name: "idle_times",
        source: Source::Bins,
        columns: columns! {
            app: Text = |rows| rows.plain("app"), "The app.";
            from_ms: Integer = |rows| rows.plain("bin_from_ms"), "Idle times from here, ms,";
            until_ms: Integer = |rows| rows.plain("bin_until_ms"), "up to here, ms; null for those beyond the policy's range.";
            count: Float = |rows| rows.plain("bin_count"), "How many; less where older ones count less.";
        },
    },
    Table {
        name: "decisions",
        source: Source::Apps,
        columns: columns! {
            app: Text = |rows| rows.plain("app"), "The app.";
            policy: Text = |rows| rows.policy(), "The policy that decided.";
            regime: Text = |rows| rows.plain("published_regime"), "Rule of the policy.";
            from_ms: Integers = |rows| rows.plain("published_from_ms"), "Begins of the windows, ms of idle time.";
            until_ms: Integers = |rows| rows.plain("published_until_ms"), "Ends of the windows, ms of idle time.";
            instances: Integer = |rows| rows.integer("published_instances"), "Instances to have ready, count.";
            idle_since: Time = |rows| rows.time("published_idle_since_ms"), "What the windows count from.";
            valid_until: Time = |rows| rows.time("published_valid_until_ms"), "Past this it holds no more.";
        },
    },
    Table {
        name: "forecasts",
        source: Source::Forecasts,
        columns: columns! {
            app: Text = |rows| rows.plain("app"), "The app.";
            idle_since: Time = |rows| rows.time("last_end_ms"), "What the forecast counts from.";
            from_ms: Integers = |rows| rows.plain("from_ms"), "The next start is expected from here, ms of idle time,";
            until_ms: Integers = |rows| rows.plain("until_ms"), "up to here, ms of idle time.";
            idle_times: Integer = |rows| rows.plain("idle_times"), "Idle times ever seen, count.";
        },
    },
    Table {
        name: "partitions",
        source: Source::Partitions,
        columns: columns! {
            topic: Text = |rows| rows.plain("topic"), "Topic of the events.";
            kafka_partition: Small = |rows| rows.plain("kafka_partition"), "Partition.";
            epoch: Integer = |rows| rows.plain("epoch"), "First part of the versions of its decisions.";
            next_offset: Integer = |rows| rows.plain("next_offset"), "Offset of the next event to read.";
            lag: Integer = |rows| rows.plain("lag"),
                "Offsets from there to the end of the log: events to be read yet, count; null while the end is not known.";
            checkpoint_offset: Integer = |rows| rows.plain("checkpoint_offset"), "Where a restart would resume.";
            checkpoint_age_ms: Integer = |rows| rows.plain("checkpoint_age_ms"), "How long ago that was stored, ms.";
            apps: Integer = |rows| rows.plain("apps"), "Apps in memory, count.";
            held_events: Integer = |rows| rows.plain("held_events"), "Events that wait for their turn, count.";
            watermark: Time = |rows| rows.time("watermark_ms"), "Latest end of an execution seen; null before the first.";
            price_mb_s: Float = |rows| rows.plain("price_mb_s"), "Worth of an avoided cold start, MB*s; null for policies without.";
        },
    },
];

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Kind::Text => DataType::Utf8,
            Kind::Integer => DataType::Int64,
            Kind::Small => DataType::Int32,
            Kind::Float => DataType::Float64,
            Kind::Time => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Kind::Integers => DataType::new_list(DataType::Int64, true),
        }
    }
}

impl Table {
    pub(super) fn schema(&self) -> SchemaRef {
        let field = |column: &Column| {
            let comment = (COMMENT.to_owned(), column.comment.to_owned());
            Field::new(column.name, column.kind.data_type(), true).with_metadata([comment].into())
        };
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }

    /// The batches of a partition that its rows are made of.
    pub(super) fn source<'a>(&self, partition: &'a PartitionLook) -> &'a [RecordBatch] {
        match self.source {
            Source::Partitions => &partition.row,
            Source::Apps | Source::Functions | Source::Forecasts | Source::Bins => &partition.apps,
        }
    }

    /// The rows that come of one batch: their `columns`, by index.
    pub(super) fn rows(
        &self,
        look: &Look,
        batch: &RecordBatch,
        columns: &[usize],
        schema: &SchemaRef,
    ) -> Result<RecordBatch> {
        let batch = match self.source {
            Source::Apps | Source::Partitions => batch.clone(),
            Source::Forecasts => explode::forecasts(batch)?,
            Source::Functions => explode::functions(batch)?,
            Source::Bins => explode::bins(look, batch)?,
        };
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let rows = Rows { look, batch };
        let arrays = columns.iter().map(|i| (self.columns[*i].value)(&rows)).collect::<Result<_>>()?;
        RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)
    }
}

pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("no column '{name}'")))
}

/// The numbers of the list in a row.
pub(super) fn numbers<T: ArrowPrimitiveType>(lists: &ListArray, row: usize) -> &[T::Native] {
    let offsets = lists.value_offsets();
    let values = lists.values().as_primitive::<T>().values();
    values.get(offsets[row] as usize..offsets[row + 1] as usize).unwrap_or_default()
}

impl Rows<'_> {
    fn plain(&self, name: &str) -> Result<ArrayRef> {
        column(&self.batch, name).cloned()
    }

    fn integer(&self, name: &str) -> Result<ArrayRef> {
        datafusion::arrow::compute::cast(column(&self.batch, name)?, &DataType::Int64)
    }

    fn time(&self, name: &str) -> Result<ArrayRef> {
        let ms = column(&self.batch, name)?.as_primitive::<Int64Type>();
        let times = TimestampMillisecondArray::new(ms.values().clone(), ms.nulls().cloned());
        Ok(Arc::new(times.with_timezone("UTC")))
    }

    fn policy(&self) -> Result<ArrayRef> {
        let policies = std::iter::repeat_n(Some(&self.look.policy), self.batch.num_rows());
        Ok(Arc::new(policies.collect::<StringArray>()))
    }

    fn mean(&self, sum: &str, count: &str) -> Result<ArrayRef> {
        let sums = column(&self.batch, sum)?.as_primitive::<Float64Type>();
        let counts = self.integer(count)?;
        let counts = counts.as_primitive::<Int64Type>();
        let mean = |(sum, count): (&f64, &i64)| (*count > 0).then(|| sum / *count as f64);
        Ok(Arc::new(sums.values().iter().zip(counts.values()).map(mean).collect::<Float64Array>()))
    }

    /// The first of each row's triggers, or all of them.
    fn triggers(&self, first: bool) -> Result<ArrayRef> {
        static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| (0..=u8::MAX).map(names).collect());
        let bits = column(&self.batch, "triggers")?.as_primitive::<UInt8Type>();
        let name = |bits: &u8| {
            let names = NAMES[usize::from(*bits)].as_str();
            let end = if first { names.find('+').unwrap_or(names.len()) } else { names.len() };
            Some(&names[..end]).filter(|name| !name.is_empty())
        };
        Ok(Arc::new(bits.values().iter().map(name).collect::<StringArray>()))
    }

    fn expected(&self, of: fn(&crate::model::Expected) -> f64) -> Result<ArrayRef> {
        let list = |name| Ok::<_, ArrowError>(column(&self.batch, name)?.as_list::<i32>());
        let (counts, from_ms, until_ms) = (list("idle_counts")?, list("from_ms")?, list("until_ms")?);
        let beyond = column(&self.batch, "idle_out_of_bounds")?.as_primitive::<Float64Type>();
        let memory_mb = column(&self.batch, "memory_mb")?.as_primitive::<Float64Type>();
        let value = |row: usize| {
            let edges = numbers::<Int64Type>(from_ms, row).iter().zip(numbers::<Int64Type>(until_ms, row));
            let windows: Vec<_> =
                edges.map(|(from_ms, until_ms)| Window { from_ms: *from_ms, until_ms: *until_ms }).collect();
            let memory_mb = if memory_mb.is_valid(row) { memory_mb.value(row) } else { self.look.default_memory_mb };
            let idle = IdleHistogram::of(numbers::<Float32Type>(counts, row), beyond.value(row));
            expected(&idle, self.look.shape, &windows, memory_mb).as_ref().map(of)
        };
        Ok(Arc::new((0..self.batch.num_rows()).map(value).collect::<Float64Array>()))
    }
}

fn names(bits: u8) -> String {
    let told = Trigger::ALL.into_iter().filter(|trigger| bits & (1 << *trigger as u8) != 0).map(Trigger::name);
    told.collect::<Vec<_>>().join("+")
}
