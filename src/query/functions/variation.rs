//! The coefficient of variation: how uneven values are, whatever their unit. 0 of equal ones, 1 of random gaps (Poisson).

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, Float64Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ScalarUDF, Signature, Volatility,
    create_udf,
};
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
    AggregateUDF::from(Cv { signature: Signature::exact(vec![DataType::Float64], Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Cv {
    signature: Signature,
}

impl AggregateUDFImpl for Cv {
    fn name(&self) -> &'static str {
        "cv"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, of: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |part: &str| Arc::new(Field::new(format!("{}[{part}]", of.name), DataType::Float64, true));
        Ok(["n", "mean", "squares"].map(field).into())
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Moments::default()))
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        !arguments.is_distinct
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups::default()))
    }
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

/// Sums of values of one group less its first one, which keeps their digits and needs no division for each value.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    n: f64,
    first: f64,
    sum: f64,
    squares: f64,
    /// What other accumulators counted.
    merged: Moments,
}

impl Sums {
    fn add(&mut self, value: f64) {
        if self.n == 0.0 {
            self.first = value;
        }
        let apart = value - self.first;
        self.n += 1.0;
        self.sum += apart;
        self.squares += apart * apart;
    }

    fn moments(self) -> Moments {
        let mut moments = self.merged;
        if self.n > 0.0 {
            let mean = self.sum / self.n;
            let squares = (self.squares - mean * self.sum).max(0.0);
            moments.add(Moments { n: self.n, mean: self.first + mean, squares });
        }
        moments
    }
}

/// All groups at once.
#[derive(Debug, Default)]
struct Groups(Vec<Sums>);

impl Groups {
    fn emit(&mut self, emit_to: EmitTo) -> Vec<Moments> {
        emit_to.take_needed(&mut self.0).into_iter().map(Sums::moments).collect()
    }
}

/// Whether a row's value is one, and let through.
fn counts(row: usize, values: &Float64Array, filter: Option<&BooleanArray>) -> bool {
    values.is_valid(row) && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.0.resize(count, Sums::default());
        for column in values {
            let values = numbers(column)?;
            if values.null_count() == 0 && filter.is_none() {
                for (group, value) in groups.iter().zip(values.values()) {
                    self.0[*group].add(*value);
                }
                continue;
            }
            for (row, group) in groups.iter().enumerate().filter(|(row, _)| counts(*row, &values, filter)) {
                self.0[*group].add(values.value(row));
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let moments = self.emit(emit_to).into_iter();
        let values: Float64Array =
            moments.map(|Moments { n, mean, squares }| coefficient(n, mean, squares / n)).collect();
        Ok(Arc::new(values))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let moments = self.emit(emit_to);
        let column =
            |of: fn(&Moments) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(moments.iter().map(of))) };
        Ok(vec![column(|moments| moments.n), column(|moments| moments.mean), column(|moments| moments.squares)])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let columns = values.iter().map(numbers).collect::<Result<Vec<_>>>()?;
        let rows = || columns.iter().flat_map(|values| (0..values.len()).map(move |row| (row, values)));
        let column = |of: &dyn Fn(f64) -> f64| -> ArrayRef {
            let of = |(row, values): (usize, &Float64Array)| {
                if counts(row, values, filter) { of(values.value(row)) } else { 0.0 }
            };
            Arc::new(Float64Array::from_iter_values(rows().map(of)))
        };
        Ok(vec![column(&|_| 1.0), column(&|value| value), column(&|_| 0.0)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.0.resize(count, Sums::default());
        let columns = states.iter().map(numbers).collect::<Result<Vec<_>>>()?;
        if let [n, mean, squares] = &columns[..] {
            for (row, group) in groups.iter().enumerate() {
                let other = Moments { n: n.value(row), mean: mean.value(row), squares: squares.value(row) };
                self.0[*group].merged.add(other);
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.0.capacity() * size_of::<Sums>()
    }
}
