//! The tables of a trace: their columns, with what they say and in which unit.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::COMMENT;

pub(super) const MINUTE: &str = "Begin of the minute, UTC.";
pub(super) const GAP: &str = "Since the start of the app's invocation before, ms; null for its first.";
pub(super) const INVOCATIONS: &str = "Invocations in the minute.";

const OWNER: (&str, Kind, &str) = ("owner", Kind::Text, "The tenant. No unit.");
const APP: (&str, Kind, &str) = ("app", Kind::Name, "The app. No unit.");
const FUNCTION: (&str, Kind, &str) = ("function", Kind::Name, "The function of the app. No unit.");
const DATE: (&str, Kind, &str) = ("date", Kind::Name, "The day, YYYY-MM-DD, UTC.");

#[derive(Clone, Copy)]
enum Kind {
    /// Text that is always there.
    Name,
    Text,
    /// A number that is always there.
    Whole,
    Count,
    Figure,
    Time,
}

/// `invocations_per_minute` of Azure Functions 2019.
pub(super) fn counts() -> SchemaRef {
    schema(&[
        OWNER,
        APP,
        FUNCTION,
        ("trigger", Kind::Text, "What invokes the function: http, queue, event, timer, storage, orchestration, other."),
        ("minute", Kind::Time, MINUTE),
        ("invocations", Kind::Whole, INVOCATIONS),
    ])
}

/// Columns of a durations file, in the order of those of [`durations`] after the names.
pub(super) const DURATIONS: [&str; 11] = [
    "Average",
    "Count",
    "Minimum",
    "Maximum",
    "percentile_Average_0",
    "percentile_Average_1",
    "percentile_Average_25",
    "percentile_Average_50",
    "percentile_Average_75",
    "percentile_Average_99",
    "percentile_Average_100",
];

/// `function_durations` of Azure Functions 2019.
pub(super) fn durations() -> SchemaRef {
    const OF_AVERAGES: &str = "Percentile of the function's averages over 30 s, weighted by executions, ms.";
    schema(&[
        DATE,
        OWNER,
        APP,
        FUNCTION,
        ("average_ms", Kind::Figure, "Average duration of the day, ms; without cold starts."),
        ("count", Kind::Count, "Executions of the day."),
        ("minimum_ms", Kind::Figure, "The shortest duration, ms."),
        ("maximum_ms", Kind::Figure, "The longest duration, ms."),
        ("p0_ms", Kind::Figure, OF_AVERAGES),
        ("p1_ms", Kind::Figure, OF_AVERAGES),
        ("p25_ms", Kind::Figure, OF_AVERAGES),
        ("p50_ms", Kind::Figure, OF_AVERAGES),
        ("p75_ms", Kind::Figure, OF_AVERAGES),
        ("p99_ms", Kind::Figure, OF_AVERAGES),
        ("p100_ms", Kind::Figure, OF_AVERAGES),
    ])
}

/// Columns of a memory file, in the order of those of [`memory`] after the names.
pub(super) const MEMORY: [&str; 10] = [
    "AverageAllocatedMb",
    "SampleCount",
    "AverageAllocatedMb_pct1",
    "AverageAllocatedMb_pct5",
    "AverageAllocatedMb_pct25",
    "AverageAllocatedMb_pct50",
    "AverageAllocatedMb_pct75",
    "AverageAllocatedMb_pct95",
    "AverageAllocatedMb_pct99",
    "AverageAllocatedMb_pct100",
];

/// `app_memory` of Azure Functions 2019.
pub(super) fn memory() -> SchemaRef {
    const OF_SAMPLES: &str = "Percentile of the app's samples, MB.";
    schema(&[
        DATE,
        OWNER,
        APP,
        ("average_mb", Kind::Figure, "Average memory allocated to the app on the day, MB."),
        ("sample_count", Kind::Count, "Samples of the day."),
        ("p1_mb", Kind::Figure, OF_SAMPLES),
        ("p5_mb", Kind::Figure, OF_SAMPLES),
        ("p25_mb", Kind::Figure, OF_SAMPLES),
        ("p50_mb", Kind::Figure, OF_SAMPLES),
        ("p75_mb", Kind::Figure, OF_SAMPLES),
        ("p95_mb", Kind::Figure, OF_SAMPLES),
        ("p99_mb", Kind::Figure, OF_SAMPLES),
        ("p100_mb", Kind::Figure, OF_SAMPLES),
    ])
}

/// `invocations` of Azure Functions 2021.
pub(super) fn singles() -> SchemaRef {
    schema(&[
        APP,
        FUNCTION,
        ("start", Kind::Time, "When it started: its end less its duration, UTC."),
        ("duration_ms", Kind::Figure, "How long it took, ms; without a cold start."),
    ])
}

fn schema(columns: &[(&str, Kind, &str)]) -> SchemaRef {
    let fields = columns.iter().map(|(name, kind, comment)| {
        let (data_type, is_nullable) = match kind {
            Kind::Name => (DataType::Utf8, false),
            Kind::Text => (DataType::Utf8, true),
            Kind::Whole => (DataType::Int64, false),
            Kind::Count => (DataType::Int64, true),
            Kind::Figure => (DataType::Float64, true),
            Kind::Time => (DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        };
        Field::new(*name, data_type, is_nullable)
            .with_metadata(HashMap::from([(COMMENT.to_owned(), (*comment).to_owned())]))
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
