//! How a figure is distributed over apps or functions.

use serde::{Serialize, Serializer};

/// Steps that a picture of a distribution is made of, at most: finer ones can't be seen.
const MOST_STEPS: usize = 400;

/// An empirical distribution. Serialises as its steps `[value, percent of all that are at most so large]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Distribution {
    sorted: Vec<f64>,
}

impl Distribution {
    /// Of these values; those that are no numbers are left out.
    pub fn new(mut values: Vec<f64>) -> Self {
        values.retain(|value| value.is_finite());
        values.sort_unstable_by(f64::total_cmp);
        Self { sorted: values }
    }

    /// How many values there are.
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// Percent of the values that are at most `limit`; `None` without values.
    pub fn percent_at_most(&self, limit: f64) -> Option<f64> {
        let below = self.sorted.partition_point(|value| *value <= limit);
        (!self.sorted.is_empty()).then(|| 100.0 * below as f64 / self.sorted.len() as f64)
    }

    /// The smallest value that at least `percent` % do not exceed (nearest rank); `None` without values.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        let rank = (self.sorted.len() as f64 * percent / 100.0).ceil() as usize;
        self.sorted.get(rank.saturating_sub(1)).copied()
    }

    /// The smallest and the largest value.
    pub fn extremes(&self) -> Option<(f64, f64)> {
        Some((*self.sorted.first()?, *self.sorted.last()?))
    }

    /// Mean and standard deviation of the values' natural logarithms, of those above 0; `None` without any.
    pub fn log_moments(&self) -> Option<(f64, f64)> {
        let logs = || self.sorted.iter().filter(|value| **value > 0.0).map(|value| value.ln());
        let count = logs().count() as f64;
        let mean = logs().sum::<f64>() / count;
        let variance = logs().map(|log| (log - mean).powi(2)).sum::<f64>() / count;
        (count > 0.0).then(|| (mean, variance.sqrt()))
    }

    /// `(value, percent of all that are at most so large)`, ascending. Jumps stand where they are; between them, steps
    /// too small to be seen are left out.
    pub fn steps(&self) -> Vec<(f64, f64)> {
        let count = self.sorted.len();
        let fine = count.div_ceil(MOST_STEPS);
        let mut steps = Vec::new();
        let (mut shown, mut done) = (0, 0);
        for of_one_value in self.sorted.chunk_by(|a, b| a == b) {
            done += of_one_value.len();
            if done - shown >= fine || done == count {
                steps.push((of_one_value[0], 100.0 * done as f64 / count as f64));
                shown = done;
            }
        }
        steps
    }
}

impl Serialize for Distribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.steps())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_percentiles_and_steps() {
        let few = Distribution::new(vec![4.0, 1.0, 2.0, f64::NAN, 2.0]);
        assert_eq!(few.count(), 4);
        assert_eq!([0.0, 1.0, 2.0, 9.0].map(|x| few.percent_at_most(x)), [0.0, 25.0, 75.0, 100.0].map(Some));
        assert_eq!([1.0, 25.0, 50.0, 100.0].map(|p| few.percentile(p)), [1.0, 1.0, 2.0, 4.0].map(Some));
        assert_eq!(few.steps(), [(1.0, 25.0), (2.0, 75.0), (4.0, 100.0)]);
        assert_eq!(few.extremes(), Some((1.0, 4.0)));
        let (mean, deviation) = Distribution::new(vec![0.0, 1.0, std::f64::consts::E.powi(2)]).log_moments().unwrap();
        assert!((mean - 1.0).abs() < 1e-9 && (deviation - 1.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_is_known_of_no_values() {
        let none = Distribution::new(vec![f64::NAN]);
        assert_eq!((none.percent_at_most(1.0), none.percentile(50.0), none.extremes()), (None, None, None));
        assert_eq!((none.log_moments(), none.steps()), (None, vec![]));
    }

    #[test]
    fn many_values_make_few_steps_and_keep_jumps() {
        let mut values: Vec<f64> = (0..50_000).map(f64::from).collect();
        values.extend([7_000.5; 20_000]);
        let steps = Distribution::new(values).steps();
        assert!(steps.len() <= MOST_STEPS + 1, "{}", steps.len());
        assert_eq!(steps.last(), Some(&(49_999.0, 100.0)));
        let jump = steps.iter().position(|(value, _)| *value == 7_000.5).unwrap();
        assert!(steps[jump].1 - steps[jump - 1].1 > 28.0);
    }
}
