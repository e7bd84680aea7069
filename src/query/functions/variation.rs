//! The coefficient of variation: how uneven values are, whatever their unit. 0 of equal ones, 1 of random gaps (Poisson).

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{Accumulator, AggregateUDF, ScalarUDF, Volatility, create_udaf, create_udf};
use datafusion::scalar::ScalarValue;

use super::{numbers, of_numbers};

/// Sums of equal values differ from one another in their last digits: variances below this share of the squared mean
/// are none.
pub(super) const NO_VARIANCE: f64 = 1e-9;

/// `cv_of_sums(n, sum, sum_of_squares)`: the same of values that were added up.
pub(super) fn cv_of_sums() -> ScalarUDF {
    let of = |[n, sum, sum_of_squares]: [f64; 3]| {
        let mean = sum / n;
        let variance = sum_of_squares / n - mean * mean;
        coefficient(n, mean, if variance < NO_VARIANCE * mean * mean { 0.0 } else { variance })
    };
    create_udf("cv_of_sums", vec![DataType::Float64; 3], DataType::Float64, Volatility::Immutable, of_numbers(of))
}

/// `cv(x)`: standard deviation (of the population) over mean; null of fewer than two values, or where the mean is 0.
pub(super) fn cv() -> AggregateUDF {
    create_udaf(
        "cv",
        vec![DataType::Float64],
        Arc::new(DataType::Float64),
        Volatility::Immutable,
        Arc::new(|_| Ok(Box::new(Moments::default()))),
        Arc::new(vec![DataType::Float64; 3]),
    )
}

fn coefficient(n: f64, mean: f64, variance: f64) -> Option<f64> {
    (n >= 2.0 && mean != 0.0).then(|| variance.sqrt() / mean)
}

/// Number, mean and squared distances from it, which keep their digits where plain sums lose them (Welford; Chan et al.
/// for two of them).
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    n: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, other: Moments) {
        let n = self.n + other.n;
        if n > 0.0 {
            let apart = other.mean - self.mean;
            self.mean += apart * other.n / n;
            self.squares += other.squares + apart * apart * self.n * other.n / n;
            self.n = n;
        }
    }
}

impl Accumulator for Moments {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for column in values {
            let values = numbers(column)?;
            // Twice over a batch, which is at hand, is faster than a division for each value.
            let n = (values.len() - values.null_count()) as f64;
            let mean = values.iter().flatten().sum::<f64>() / n;
            let squares = values.iter().flatten().map(|value| (value - mean) * (value - mean)).sum();
            if n > 0.0 {
                self.add(Moments { n, mean, squares });
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(coefficient(self.n, self.mean, self.squares / self.n)))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok([self.n, self.mean, self.squares].map(|figure| ScalarValue::Float64(Some(figure))).into())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let columns = states.iter().map(numbers).collect::<Result<Vec<_>>>()?;
        if let [n, mean, squares] = &columns[..] {
            for row in 0..n.len() {
                self.add(Moments { n: n.value(row), mean: mean.value(row), squares: squares.value(row) });
            }
        }
        Ok(())
    }
}
