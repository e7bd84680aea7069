//! Functions that SQL lacks: of an operator's questions, and of the figures of "Serverless in the Wild" (Shahrad et al.,
//! USENIX ATC 2020).
//!
//! [`histogram`] is about counts in bins, [`variation`] and [`rank`] aggregate, [`classes`] name what a figure means.
//! `standard` spells them out for engines that don't have them.

mod classes;
mod histogram;
mod rank;
#[cfg(feature = "ballista")]
mod standard;
#[cfg(test)]
mod tests;
mod variation;

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionImplementation};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;

#[cfg(feature = "ballista")]
pub use standard::spell_out;

/// Makes all functions known.
pub fn register(context: &SessionContext) {
    for function in [variation::cv_of_sums(), classes::rate_class(), classes::idle_bin(), histogram::percentile()] {
        context.register_udf(function);
    }
    for aggregate in [variation::cv(), rank::nearest_rank()] {
        context.register_udaf(aggregate);
    }
}

/// A function of so many numbers of a row; null where one of them is.
fn of_numbers<const N: usize, T>(
    of: impl Fn([f64; N]) -> Option<T> + Send + Sync + 'static,
) -> ScalarFunctionImplementation
where
    T: 'static,
    ArrayRef: FromRows<T>,
{
    Arc::new(move |arguments| {
        let is_one = arguments.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let columns = arrays.iter().map(numbers).collect::<Result<Vec<_>>>()?;
        let rows = columns.first().map_or(0, Array::len);
        let values = (0..rows).map(|row| {
            let mut numbers = [0.0; N];
            for (number, column) in numbers.iter_mut().zip(&columns) {
                *number = column.is_valid(row).then(|| column.value(row))?;
            }
            of(numbers)
        });
        let array = ArrayRef::from_rows(values);
        Ok(if is_one {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
        } else {
            ColumnarValue::Array(array)
        })
    })
}

/// A column of a function's results.
trait FromRows<T> {
    fn from_rows(rows: impl Iterator<Item = Option<T>>) -> Self;
}

impl FromRows<f64> for ArrayRef {
    fn from_rows(rows: impl Iterator<Item = Option<f64>>) -> Self {
        Arc::new(rows.collect::<Float64Array>())
    }
}

impl FromRows<i64> for ArrayRef {
    fn from_rows(rows: impl Iterator<Item = Option<i64>>) -> Self {
        Arc::new(rows.collect::<datafusion::arrow::array::Int64Array>())
    }
}

impl FromRows<&'static str> for ArrayRef {
    fn from_rows(rows: impl Iterator<Item = Option<&'static str>>) -> Self {
        Arc::new(rows.collect::<datafusion::arrow::array::StringArray>())
    }
}

/// A column as numbers.
fn numbers(column: &ArrayRef) -> Result<Float64Array> {
    Ok(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
}

/// By what share of all a rank may exceed a whole one and still be it: 0.07 · 100 is a little more than 7.
const SLACK: f64 = 1e-9;

/// Which of `count` sorted values, from 1, is the smallest that a share `p` of them (0 to 1) does not exceed: nearest
/// rank.
fn rank_of(count: f64, p: f64) -> f64 {
    (p * count - SLACK * count).ceil().clamp(1.0, count.max(1.0))
}
