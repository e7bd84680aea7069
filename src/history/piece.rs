//! The rows of a stretch of a partition's events, as tables: what one round of files holds.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow_schema::ArrowError;

use crate::bus::Position;
use crate::model::{Regime, Status, Trigger, Window};

use super::layout::Name as FileName;
use super::rows::{DecisionRow, InvocationRow, Name, Rows};
use super::tables::Table;

const MINUTE_MS: i64 = 60_000;

/// Rows, and which events they come of.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Which events: what its files are named after.
    pub events: FileName,
    rows: Arc<Rows>,
}

impl Piece {
    /// The rows of the messages of a range of offsets.
    pub fn new(position: &Position, epoch: u64, offsets: Range<i64>, rows: Arc<Rows>) -> Self {
        let Position { topic, partition } = position.clone();
        Self { events: FileName { topic, partition, epoch, from: offsets.start, until: offsets.end }, rows }
    }

    /// Number of invocations.
    pub fn invocations(&self) -> usize {
        self.rows.invocations().len()
    }

    /// The rows of a table by folder (begin of its hour or day, epoch ms), in the order of files: by app, then by time.
    pub fn folders(&self, table: Table) -> Result<Vec<(i64, RecordBatch)>, ArrowError> {
        let ranks = Ranks::of(self.rows.names());
        let span_ms = table.span_ms();
        match table {
            Table::Invocations => {
                let rows = self.rows.invocations();
                let key = |row: &InvocationRow| (ranks.app(row.name), row.start_ms, row.offset);
                by_folder(
                    rows,
                    |row| row.start_ms,
                    |a, b| key(a).cmp(&key(b)),
                    span_ms,
                    |rows| self.invocation_batch(rows, &ranks),
                )
            }
            Table::PerMinute => {
                let minutes = minutes(self.rows.invocations());
                let key = |row: &Minute| {
                    (ranks.app(row.name), row.minute_ms, ranks.name(row.name), row.trigger.map(|trigger| trigger as u8))
                };
                by_folder(
                    &minutes,
                    |row| row.minute_ms,
                    |a, b| key(a).cmp(&key(b)),
                    span_ms,
                    |rows| self.minute_batch(rows, &ranks),
                )
            }
            Table::Decisions => {
                let rows = self.rows.decisions();
                let order = |a: &DecisionRow, b: &DecisionRow| {
                    (&a.app, a.decided_at_ms, a.offset).cmp(&(&b.app, b.decided_at_ms, b.offset))
                };
                by_folder(rows, |row| row.decided_at_ms, order, span_ms, |rows| self.decision_batch(rows))
            }
        }
    }

    fn invocation_batch(&self, rows: &[&InvocationRow], ranks: &Ranks) -> Result<RecordBatch, ArrowError> {
        let names: Vec<u32> = rows.iter().map(|row| row.name).collect();
        let [app, function, owner] = self.names(&names, ranks)?;
        let columns: Vec<ArrayRef> = vec![
            app,
            function,
            owner,
            triggers(rows.iter().map(|row| row.trigger))?,
            times(rows.iter().map(|row| row.start_ms)),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.duration_ms))),
            Arc::new(rows.iter().map(|row| row.met.gap_ms).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.met.idle_ms).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| Some(row.met.missed)).collect::<BooleanArray>()),
            Arc::new(rows.iter().map(|row| row.cold).collect::<BooleanArray>()),
            Arc::new(rows.iter().map(|row| row.init_ms).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|row| row.memory_mb).collect::<Float64Array>()),
            labels(rows.iter().map(|row| row.status.map(|status| status as usize)), Status::ALL.map(Status::name))?,
            self.partition(rows.len()),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.offset))),
        ];
        batch(Table::Invocations, columns)
    }

    fn minute_batch(&self, rows: &[&Minute], ranks: &Ranks) -> Result<RecordBatch, ArrowError> {
        let names: Vec<u32> = rows.iter().map(|row| row.name).collect();
        let [app, function, owner] = self.names(&names, ranks)?;
        let whole = |of: fn(&Minute) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| of(row))))
        };
        let real = |of: fn(&Minute) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| of(row))))
        };
        let columns: Vec<ArrayRef> = vec![
            app,
            function,
            owner,
            triggers(rows.iter().map(|row| row.trigger))?,
            times(rows.iter().map(|row| row.minute_ms)),
            whole(|row| row.invocations),
            whole(|row| row.cold),
            whole(|row| row.missed),
            real(|row| row.duration_ms),
            real(|row| row.duration_min_ms),
            real(|row| row.duration_max_ms),
            Arc::new(rows.iter().map(|row| row.memory_mb).collect::<Float64Array>()),
            whole(|row| row.gaps),
            real(|row| row.gap_ms),
            real(|row| row.gap_ms2),
            whole(|row| row.idle_times),
            real(|row| row.idle_ms),
        ];
        batch(Table::PerMinute, columns)
    }

    fn decision_batch(&self, rows: &[&DecisionRow]) -> Result<RecordBatch, ArrowError> {
        let edges = |of: fn(&Window) -> i64| -> ArrayRef {
            let mut lists = ListBuilder::new(Int64Builder::new());
            for row in rows {
                row.windows.iter().for_each(|window| lists.values().append_value(of(window)));
                lists.append(true);
            }
            Arc::new(lists.finish())
        };
        let expected = |of: fn(&crate::model::Expected) -> f64| -> ArrayRef {
            Arc::new(rows.iter().map(|row| row.expected.as_ref().map(of)).collect::<Float64Array>())
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.app))),
            times(rows.iter().map(|row| row.decided_at_ms)),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.epoch as i64))),
            self.partition(rows.len()),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.offset))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.policy))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| Regime::name(row.regime)))),
            edges(|window| window.from_ms),
            edges(|window| window.until_ms),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| i64::from(row.instances)))),
            Arc::new(rows.iter().map(|row| row.memory_mb).collect::<Float64Array>()),
            expected(|expected| expected.cold_probability),
            expected(|expected| expected.idle_mb_s),
        ];
        batch(Table::Decisions, columns)
    }

    /// App, function and owner of each row. The dictionaries hold each name once, in order.
    fn names(&self, rows: &[u32], ranks: &Ranks) -> Result<[ArrayRef; 3], ArrowError> {
        let key = |rank: u32| Some(rank as i32);
        let names = self.rows.names();
        let apps = Int32Array::from_iter(rows.iter().map(|name| key(ranks.app(*name))));
        let functions = Int32Array::from_iter(rows.iter().map(|name| key(ranks.name(*name))));
        let has_owner = |name: &u32| names.get(*name as usize).is_some_and(|name| name.owner.is_some());
        let owners = Int32Array::from_iter(rows.iter().map(|name| has_owner(name).then(|| ranks.name(*name) as i32)));
        let sorted = || ranks.order.iter().filter_map(|name| names.get(*name as usize));
        let mut unique: Vec<&str> = sorted().map(|name| &*name.app).collect();
        unique.dedup();
        Ok([
            Arc::new(DictionaryArray::try_new(apps, Arc::new(StringArray::from_iter_values(unique)))?),
            Arc::new(DictionaryArray::try_new(
                functions,
                Arc::new(StringArray::from_iter_values(sorted().map(|name| &name.function))),
            )?),
            Arc::new(DictionaryArray::try_new(
                owners,
                Arc::new(StringArray::from_iter_values(sorted().map(|name| name.owner.as_deref().unwrap_or_default()))),
            )?),
        ])
    }

    fn partition(&self, rows: usize) -> ArrayRef {
        Arc::new(Int32Array::from_value(self.events.partition, rows))
    }
}

/// Names in order, and where in it each is.
struct Ranks {
    order: Vec<u32>,
    names: Vec<u32>,
    apps: Vec<u32>,
}

impl Ranks {
    fn of(names: &[Name]) -> Self {
        let mut order: Vec<u32> = (0..names.len() as u32).collect();
        order.sort_unstable_by_key(|index| &names[*index as usize]);
        let (mut ranks, mut apps) = (vec![0; names.len()], vec![0; names.len()]);
        let mut app = 0;
        for (rank, index) in order.iter().enumerate() {
            let before = rank.checked_sub(1).and_then(|before| order.get(before));
            app += u32::from(before.is_some_and(|before| names[*before as usize].app != names[*index as usize].app));
            ranks[*index as usize] = rank as u32;
            apps[*index as usize] = app;
        }
        Self { order, names: ranks, apps }
    }

    /// Place of a name's app among the apps.
    fn app(&self, name: u32) -> u32 {
        self.apps.get(name as usize).copied().unwrap_or_default()
    }

    /// Place of a name among the names.
    fn name(&self, name: u32) -> u32 {
        self.names.get(name as usize).copied().unwrap_or_default()
    }
}

/// A row of a roll-up.
struct Minute {
    name: u32,
    trigger: Option<Trigger>,
    minute_ms: i64,
    invocations: i64,
    cold: i64,
    missed: i64,
    duration_ms: f64,
    duration_min_ms: f64,
    duration_max_ms: f64,
    memory_mb: Option<f64>,
    gaps: i64,
    gap_ms: f64,
    gap_ms2: f64,
    idle_times: i64,
    idle_ms: f64,
}

/// Invocations by function, trigger and minute. Sums are made in the order of the rows, so that they are the same to the bit.
fn minutes(rows: &[InvocationRow]) -> Vec<Minute> {
    let mut places: HashMap<(u32, Option<u8>, i64), usize, foldhash::fast::RandomState> = HashMap::default();
    let mut minutes: Vec<Minute> = Vec::new();
    for row in rows {
        let minute_ms = row.start_ms.div_euclid(MINUTE_MS) * MINUTE_MS;
        let key = (row.name, row.trigger.map(|trigger| trigger as u8), minute_ms);
        let place = *places.entry(key).or_insert(minutes.len());
        if place == minutes.len() {
            minutes.push(Minute {
                name: row.name,
                trigger: row.trigger,
                minute_ms,
                invocations: 0,
                cold: 0,
                missed: 0,
                duration_ms: 0.0,
                duration_min_ms: f64::INFINITY,
                duration_max_ms: f64::NEG_INFINITY,
                memory_mb: None,
                gaps: 0,
                gap_ms: 0.0,
                gap_ms2: 0.0,
                idle_times: 0,
                idle_ms: 0.0,
            });
        }
        let minute = &mut minutes[place];
        minute.invocations += 1;
        minute.cold += i64::from(row.cold == Some(true));
        minute.missed += i64::from(row.met.missed);
        minute.duration_ms += row.duration_ms;
        minute.duration_min_ms = minute.duration_min_ms.min(row.duration_ms);
        minute.duration_max_ms = minute.duration_max_ms.max(row.duration_ms);
        minute.memory_mb =
            row.memory_mb.map(|mb| minute.memory_mb.map_or(mb, |most_mb| most_mb.max(mb))).or(minute.memory_mb);
        if let Some(gap_ms) = row.met.gap_ms {
            minute.gaps += 1;
            minute.gap_ms += gap_ms as f64;
            minute.gap_ms2 += (gap_ms as f64).powi(2);
        }
        if let Some(idle_ms) = row.met.idle_ms {
            minute.idle_times += 1;
            minute.idle_ms += idle_ms as f64;
        }
    }
    minutes
}

/// Rows by folder, each in order; those that are alike stay as they came.
fn by_folder<T>(
    rows: &[T],
    time_ms: impl Fn(&T) -> i64,
    order: impl Fn(&T, &T) -> Ordering,
    span_ms: i64,
    batch: impl Fn(&[&T]) -> Result<RecordBatch, ArrowError>,
) -> Result<Vec<(i64, RecordBatch)>, ArrowError> {
    let mut folders: BTreeMap<i64, Vec<&T>> = BTreeMap::new();
    for row in rows {
        folders.entry(time_ms(row).div_euclid(span_ms) * span_ms).or_default().push(row);
    }
    let sorted = folders.into_iter().map(|(folder_ms, mut rows)| {
        rows.sort_by(|a, b| order(a, b));
        Ok((folder_ms, batch(&rows)?))
    });
    sorted.collect()
}

/// Columns under the names of a table. Text may be a dictionary, which makes no difference in a file.
fn batch(table: Table, columns: Vec<ArrayRef>) -> Result<RecordBatch, ArrowError> {
    let schema = table.schema();
    let fields = schema.fields().iter().map(|field| (field.name(), field.is_nullable()));
    RecordBatch::try_from_iter_with_nullable(
        fields.zip(columns).map(|((name, nullable), column)| (name, column, nullable)),
    )
}

fn times(ms: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from_iter_values(ms).with_timezone("UTC"))
}

fn triggers(triggers: impl Iterator<Item = Option<Trigger>>) -> Result<ArrayRef, ArrowError> {
    labels(triggers.map(|trigger| trigger.map(|trigger| trigger as usize)), Trigger::ALL.map(Trigger::name))
}

/// Some of `names`, by index.
fn labels<const N: usize>(
    indexes: impl Iterator<Item = Option<usize>>,
    names: [&'static str; N],
) -> Result<ArrayRef, ArrowError> {
    let keys: Int32Array = indexes.map(|index| index.map(|index| index as i32)).collect();
    Ok(Arc::new(DictionaryArray::try_new(keys, Arc::new(StringArray::from_iter_values(names)))?))
}
