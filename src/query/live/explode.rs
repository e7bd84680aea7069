//! One row of a look → none or several of a table.

use std::sync::Arc;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::types::{Float32Type, Float64Type};
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{filter_record_batch, take};
use datafusion::arrow::error::ArrowError;

use crate::pipeline::Look;

use super::tables::{column, numbers};

type Result<T> = std::result::Result<T, ArrowError>;

/// The apps whose plan is a forecast.
pub(super) fn forecasts(batch: &RecordBatch) -> Result<RecordBatch> {
    let regimes = column(batch, "regime")?.as_string::<i32>();
    let is_one: BooleanArray = regimes.iter().map(|regime| Some(regime == Some("forecast"))).collect();
    filter_record_batch(batch, &is_one)
}

/// A row for each function of each app.
pub(super) fn functions(batch: &RecordBatch) -> Result<RecordBatch> {
    const LISTS: [(&str, &str); 7] = [
        ("function", "function_names"),
        ("triggers", "function_triggers"),
        ("invocations", "function_invocations"),
        ("failed", "function_failed"),
        ("last_start_ms", "function_last_start_ms"),
        ("duration_ms", "function_duration_ms"),
        ("longest_ms", "function_longest_ms"),
    ];
    let offsets = column(batch, "function_names")?.as_list::<i32>().value_offsets();
    let (mut apps, mut named) = (Vec::new(), Vec::with_capacity(LISTS.len() + 1));
    for (row, ends) in (0..).zip(offsets.windows(2)) {
        apps.extend((ends[0]..ends[1]).map(|_| row));
    }
    named.push(("app", take(column(batch, "app")?, &UInt32Array::from(apps), None)?));
    for (name, list) in LISTS {
        // A slice of a batch holds a part of the values.
        let list = column(batch, list)?.as_list::<i32>();
        let (from, until) = (list.value_offsets()[0] as usize, list.value_offsets()[batch.num_rows()] as usize);
        named.push((name, list.values().slice(from, until - from)));
    }
    RecordBatch::try_from_iter_with_nullable(named.into_iter().map(|(name, array)| (name, array, true)))
}

/// A row for each bin, with its edges and how many idle times are in it.
pub(super) fn bins(look: &Look, batch: &RecordBatch) -> Result<RecordBatch> {
    let counts = column(batch, "idle_counts")?.as_list::<i32>();
    let beyond = column(batch, "idle_out_of_bounds")?.as_primitive::<Float64Type>();
    let (mut apps, mut from_ms, mut until_ms, mut found) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in 0..batch.num_rows() {
        let mut add = |bin: usize, count: f64| {
            apps.push(row as u32);
            from_ms.push(look.shape.lower_ms(bin));
            until_ms.push((bin < look.shape.bins()).then(|| look.shape.lower_ms(bin + 1)));
            found.push(count);
        };
        for (bin, count) in numbers::<Float32Type>(counts, row).iter().enumerate().filter(|(_, count)| **count > 0.0) {
            add(bin, f64::from(*count));
        }
        if beyond.value(row) > 0.0 {
            add(look.shape.bins(), beyond.value(row));
        }
    }
    let apps = take(column(batch, "app")?, &UInt32Array::from(apps), None)?;
    let named: [(&str, ArrayRef); 4] = [
        ("app", apps),
        ("bin_from_ms", Arc::new(Int64Array::from(from_ms))),
        ("bin_until_ms", Arc::new(Int64Array::from(until_ms))),
        ("bin_count", Arc::new(Float64Array::from(found))),
    ];
    RecordBatch::try_from_iter_with_nullable(named.map(|(name, array)| (name, array, true)))
}
