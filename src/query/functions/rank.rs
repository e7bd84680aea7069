//! Percentiles as the project's own figures have them: one of the values, never between two.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::Result;
use datafusion::logical_expr::{Accumulator, AggregateUDF, Volatility, create_udaf};
use datafusion::scalar::ScalarValue;

use super::{numbers, rank_of};

/// `nearest_rank(x, p)`: the smallest value that a share `p` (0 to 1) of all do not exceed; null without values. Holds all
/// of them in memory.
pub(super) fn nearest_rank() -> AggregateUDF {
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)));
    create_udaf(
        "nearest_rank",
        vec![DataType::Float64; 2],
        Arc::new(DataType::Float64),
        Volatility::Immutable,
        Arc::new(|_| Ok(Box::new(Ranked::default()))),
        Arc::new(vec![list, DataType::Float64]),
    )
}

#[derive(Debug, Default)]
struct Ranked {
    values: Vec<f64>,
    p: Option<f64>,
}

impl Accumulator for Ranked {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        if let [values, p] = columns {
            self.values.extend(numbers(values)?.iter().flatten());
            self.p = numbers(p)?.iter().flatten().next().or(self.p);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some(p) = self.p.filter(|_| !self.values.is_empty()) else { return Ok(ScalarValue::Float64(None)) };
        if !(0.0..=1.0).contains(&p) {
            let found = format!("nearest_rank: found p = {p}, expected a share from 0 to 1");
            return Err(datafusion::error::DataFusionError::Execution(found));
        }
        let index = rank_of(self.values.len() as f64, p) as usize - 1;
        let (_, value, _) = self.values.select_nth_unstable_by(index, f64::total_cmp);
        Ok(ScalarValue::Float64(Some(*value)))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.values.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: Vec<ScalarValue> = self.values.iter().map(|value| ScalarValue::Float64(Some(*value))).collect();
        Ok(vec![
            ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Float64)),
            ScalarValue::Float64(self.p),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        if let [lists, p] = states {
            for values in lists.as_list::<i32>().iter().flatten() {
                self.values.extend(numbers(&values)?.iter().flatten());
            }
            self.p = numbers(p)?.iter().flatten().next().or(self.p);
        }
        Ok(())
    }
}
