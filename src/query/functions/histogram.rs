//! Percentiles of what is only known as counts in bins.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::{numbers, rank_of};

const NAME: &str = "histogram_percentile";

/// `histogram_percentile(counts, uppers, p)`: the upper end of the bin in which the value lies that a share `p` (0 to 1) of
/// all do not exceed (nearest rank); null where nothing is counted.
pub(super) fn percentile() -> ScalarUDF {
    ScalarUDF::from(Percentile { signature: Signature::new(TypeSignature::Any(3), Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    signature: Signature,
}

impl ScalarUDFImpl for Percentile {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = arguments
            .args
            .into_iter()
            .map(|value| value.into_array(arguments.number_rows))
            .collect::<Result<Vec<_>>>()?;
        let [counts, uppers, p] = &arrays[..] else {
            return Err(found(&format!("{} arguments", arrays.len())));
        };
        let (counts, uppers, p) = (lists(counts)?, lists(uppers)?, numbers(p)?);
        let (counts, uppers) = (counts.as_list::<i32>(), uppers.as_list::<i32>());
        let row = |row: usize| {
            if counts.is_null(row) || uppers.is_null(row) || p.is_null(row) {
                return Ok(None);
            }
            of(&numbers(&counts.value(row))?, &numbers(&uppers.value(row))?, p.value(row))
        };
        let values = (0..arguments.number_rows).map(row).collect::<Result<Float64Array>>()?;
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}

/// A column as lists of numbers.
fn lists(column: &ArrayRef) -> Result<ArrayRef> {
    let numbers = DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)));
    Ok(cast(column, &numbers)?)
}

fn of(counts: &Float64Array, uppers: &Float64Array, p: f64) -> Result<Option<f64>> {
    if counts.len() != uppers.len() {
        return Err(found(&format!("{} counts and {} upper ends", counts.len(), uppers.len())));
    }
    if !(0.0..=1.0).contains(&p) {
        return Err(found(&format!("p = {p}")));
    }
    let total: f64 = counts.iter().flatten().sum();
    if total <= 0.0 {
        return Ok(None);
    }
    let rank = rank_of(total, p);
    let mut so_far = 0.0;
    let reached =
        counts.iter().zip(uppers).filter(|(count, _)| count.is_some_and(|count| count > 0.0)).find(|(count, _)| {
            so_far += count.unwrap_or_default();
            so_far >= rank
        });
    Ok(reached.and_then(|(_, upper)| upper))
}

fn found(what: &str) -> DataFusionError {
    let expected = "expected a list of counts, a list of as many upper ends of bins, and a share from 0 to 1";
    DataFusionError::Execution(format!("{NAME}: found {what}, {expected}"))
}
