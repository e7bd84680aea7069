//! The tables of history, column by column: what each says, and in which unit.

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::query::COMMENT;

/// A table of history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// One row for each invocation.
    Invocations,
    /// One row for each function, trigger and minute, of each file at least.
    PerMinute,
    /// One row for each decision.
    Decisions,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Text that is always there.
    Name,
    Text,
    Time,
    /// Numbers that are always there.
    Whole,
    Partition,
    Real,
    /// Numbers that may be missing.
    Count,
    Figure,
    Flag,
    Choice,
    Integers,
}

const APP: (&str, Kind, &str) = ("app", Kind::Name, "The app. No unit.");
const FUNCTION: (&str, Kind, &str) = ("function", Kind::Name, "The function of the app. No unit.");
const OWNER: (&str, Kind, &str) = ("owner", Kind::Text, "The tenant; null where events told none. No unit.");
const TRIGGER: (&str, Kind, &str) = (
    "trigger",
    Kind::Text,
    "What invoked it: http, queue, event, timer, storage, orchestration, other; null where events told none.",
);
const PARTITION: (&str, Kind, &str) = ("kafka_partition", Kind::Partition, "Partition of the app's events.");

static INVOCATIONS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        APP,
        FUNCTION,
        OWNER,
        TRIGGER,
        ("start", Kind::Time, "When it started, UTC."),
        ("duration_ms", Kind::Real, "How long it took, ms."),
        (
            "gap_ms",
            Kind::Count,
            "Since the start of the app's one before, ms; null for its first and for one that came late.",
        ),
        (
            "idle_ms",
            Kind::Count,
            "Idle time of the app that it ended, ms; null for its first and where another one ran.",
        ),
        (
            "missed",
            Kind::Choice,
            "Whether no window of the decision in force held it, so that it was cold by the decisions.",
        ),
        ("cold", Kind::Flag, "Whether it was cold as the platform tells; null where it tells nothing."),
        ("init_ms", Kind::Figure, "How long loading took, ms; null where it waited for none."),
        ("memory_mb", Kind::Figure, "Memory of the app, MB; null where the event told none."),
        ("status", Kind::Text, "How it ended: ok, error, timeout, init_failed; null where the event told nothing."),
        PARTITION,
        ("kafka_offset", Kind::Whole, "Offset of the message with which it was applied."),
    ])
});

static PER_MINUTE: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        APP,
        FUNCTION,
        OWNER,
        TRIGGER,
        ("minute", Kind::Time, "Begin of the minute, UTC."),
        ("invocations", Kind::Whole, "Invocations that started in the minute."),
        ("cold", Kind::Whole, "Those of them that were cold as the platform tells."),
        ("missed", Kind::Whole, "Those of them that no window of the decisions held."),
        ("duration_ms", Kind::Real, "Sum of their durations, ms."),
        ("duration_min_ms", Kind::Real, "The shortest duration, ms."),
        ("duration_max_ms", Kind::Real, "The longest duration, ms."),
        ("memory_mb", Kind::Figure, "Most memory of the app that they told, MB; null where they told none."),
        ("gaps", Kind::Whole, "Gaps between starts of the app that ended here."),
        ("gap_ms", Kind::Real, "Sum of these gaps, ms."),
        ("gap_ms2", Kind::Real, "Sum of the squares of these gaps, ms²."),
        ("idle_times", Kind::Whole, "Idle times of the app that ended here."),
        ("idle_ms", Kind::Real, "Sum of these idle times, ms."),
    ])
});

static DECISIONS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema(&[
        APP,
        ("decided_at", Kind::Time, "Event time of the invocation that led to it, UTC."),
        ("epoch", Kind::Whole, "First part of its version."),
        PARTITION,
        ("kafka_offset", Kind::Whole, "Second part of its version: the offset of the event that it rests on."),
        ("policy", Kind::Name, "The policy that decided."),
        ("regime", Kind::Name, "Which rule of the policy: learning, standard, histogram, forecast, ..."),
        ("from_ms", Kind::Integers, "Begins of the windows, ms of idle time."),
        ("until_ms", Kind::Integers, "Ends of the windows, ms of idle time."),
        ("instances", Kind::Whole, "Instances to have ready, count."),
        ("memory_mb", Kind::Figure, "Memory of the app, MB; null where events told none."),
        (
            "cold_probability",
            Kind::Figure,
            "Chance that the next start is cold, 0 to 1; null before the first idle time.",
        ),
        (
            "idle_mb_s",
            Kind::Figure,
            "Idle memory expected until the next start, MB*s; null before the first idle time.",
        ),
    ])
});

impl Table {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Invocations, Self::PerMinute, Self::Decisions];

    /// Its name in SQL, and that of its folder.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Invocations => "invocations",
            Table::PerMinute => "invocations_per_minute",
            Table::Decisions => "decision_history",
        }
    }

    /// The column by whose day, or hour, rows are put into folders. They are sorted by app and this.
    pub const fn time(self) -> &'static str {
        match self {
            Table::Invocations => "start",
            Table::PerMinute => "minute",
            Table::Decisions => "decided_at",
        }
    }

    /// Whether it has folders by hour, below those by day.
    pub const fn has_hours(self) -> bool {
        !matches!(self, Table::PerMinute)
    }

    /// What one folder holds, ms.
    pub const fn span_ms(self) -> i64 {
        if self.has_hours() { HOUR_MS } else { 24 * HOUR_MS }
    }

    /// The columns in its files. Times are UTC.
    pub fn schema(self) -> SchemaRef {
        Arc::clone(match self {
            Table::Invocations => &INVOCATIONS,
            Table::PerMinute => &PER_MINUTE,
            Table::Decisions => &DECISIONS,
        })
    }
}

const HOUR_MS: i64 = 3_600_000;

fn schema(columns: &[(&str, Kind, &str)]) -> SchemaRef {
    let fields = columns.iter().map(|(name, kind, comment)| {
        let (data_type, is_nullable) = match kind {
            Kind::Name => (DataType::Utf8View, false),
            Kind::Text => (DataType::Utf8View, true),
            Kind::Time => (DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
            Kind::Whole => (DataType::Int64, false),
            Kind::Partition => (DataType::Int32, false),
            Kind::Real => (DataType::Float64, false),
            Kind::Count => (DataType::Int64, true),
            Kind::Figure => (DataType::Float64, true),
            Kind::Flag => (DataType::Boolean, true),
            Kind::Choice => (DataType::Boolean, false),
            Kind::Integers => (DataType::new_list(DataType::Int64, true), false),
        };
        Field::new(*name, data_type, is_nullable).with_metadata([(COMMENT.to_owned(), (*comment).to_owned())].into())
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
