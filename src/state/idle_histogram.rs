//! How often an app was idle for how long.

use crate::checkpoint::Columns;

use super::Shape;

/// A bin with more than this makes all bins count half: adding 1 to a larger `f32` would be lost in rounding.
const MOST: f32 = 8_388_608.0;

/// Idle times of one app, counted in the bins of a [`Shape`] that all apps share. Old ones can be made to weigh less.
///
/// Trailing empty bins take no memory: most apps are either busy, with all idle times in the first bins, or rare, with
/// few of them at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IdleHistogram {
    counts: Vec<f32>,
    in_bounds: f64,
    out_of_bounds: f64,
    /// Sum of the squared counts, kept up to date so that the coefficient of variation costs nothing.
    sum_of_squares: f64,
}

impl IdleHistogram {
    /// With these weights from bin 0 on, and that weight out of bounds.
    pub fn of(counts: &[f32], out_of_bounds: f64) -> Self {
        let weights = || counts.iter().map(|count| f64::from(*count));
        let (in_bounds, sum_of_squares) = (weights().sum(), weights().map(|count| count * count).sum());
        Self { counts: counts.to_vec(), in_bounds, out_of_bounds, sum_of_squares }
    }

    /// Counts an idle time in `bin`, as many times as `times` says. Returns whether the bin was empty.
    pub fn record(&mut self, bin: usize, shape: Shape, times: f32) -> bool {
        if bin >= shape.bins() {
            let first = self.out_of_bounds == 0.0;
            self.out_of_bounds += f64::from(times);
            return first;
        }
        if bin >= self.counts.len() {
            self.counts.reserve_exact(bin + 1 - self.counts.len());
            self.counts.resize(bin + 1, 0.0);
        }
        let count = &mut self.counts[bin];
        let before = f64::from(*count);
        *count += times;
        self.sum_of_squares += f64::from(*count).powi(2) - before.powi(2);
        self.in_bounds += f64::from(times);
        if *count > MOST {
            self.fade(0.5);
        }
        before == 0.0
    }

    /// Makes all idle times counted so far weigh `factor` of what they do.
    pub fn fade(&mut self, factor: f32) {
        self.counts.iter_mut().for_each(|count| *count *= factor);
        let factor = f64::from(factor);
        self.in_bounds *= factor;
        self.out_of_bounds *= factor;
        self.sum_of_squares *= factor * factor;
    }

    /// Weight of the idle times seen, in and out of bounds: their number while nothing has faded.
    pub const fn total(&self) -> f64 {
        self.in_bounds + self.out_of_bounds
    }

    /// Weight of the idle times within the range.
    pub const fn in_bounds(&self) -> f64 {
        self.in_bounds
    }

    /// Weight of the idle times beyond the range.
    pub const fn out_of_bounds(&self) -> f64 {
        self.out_of_bounds
    }

    /// The weights from bin 0 on; bins that are left out at the end are empty.
    pub fn counts(&self) -> &[f32] {
        &self.counts
    }

    /// The weight in a bin, or out of bounds.
    pub fn count(&self, bin: usize, shape: Shape) -> f32 {
        if bin >= shape.bins() {
            return self.out_of_bounds as f32;
        }
        self.counts.get(bin).copied().unwrap_or(0.0)
    }

    /// Sum of the squared weights of the bins.
    pub const fn sum_of_squares(&self) -> f64 {
        self.sum_of_squares
    }

    /// Coefficient of variation of the bin counts (not of the idle times), over all bins of the shape: 0 when they are
    /// all the same, `sqrt(bins - 1)` when all idle times share one bin. 0 while nothing is counted.
    pub fn coefficient_of_variation(&self, shape: Shape) -> f64 {
        if self.in_bounds == 0.0 {
            return 0.0;
        }
        let bins = shape.bins() as f64;
        // mean = n / bins; variance = sum_of_squares / bins - mean²
        (bins * self.sum_of_squares / self.in_bounds.powi(2) - 1.0).max(0.0).sqrt()
    }

    /// As columns.
    pub(super) fn columns(&mut self, columns: &mut impl Columns) {
        let Self { counts, in_bounds, out_of_bounds, sum_of_squares } = self;
        columns.list("idle_counts", counts);
        columns.number("idle_in_bounds", in_bounds);
        columns.number("idle_out_of_bounds", out_of_bounds);
        columns.number("idle_sum_of_squares", sum_of_squares);
    }

    /// The bins at the percentiles `low` and `high` (0 to 1) of the idle times in bounds: for each the first bin whose
    /// cumulative weight reaches that share. `None` while nothing is in bounds.
    pub fn bins_at(&self, low: f64, high: f64) -> Option<(Cut, Cut)> {
        let (low_rank, high_rank) = (low * self.in_bounds, high * self.in_bounds);
        let mut up_to = 0.0_f64;
        let mut head = None;
        let mut tail = None;
        for (bin, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            let below = up_to;
            up_to += f64::from(*count);
            let cut = Cut { bin, below, up_to };
            if head.is_none() && up_to >= low_rank {
                head = Some(cut);
            }
            tail = Some(cut);
            if up_to >= high_rank {
                break;
            }
        }
        // Rounding can keep the sum from reaching the rank: the last bin is the one then.
        tail.map(|tail| (head.unwrap_or(tail), tail))
    }
}

/// A bin at a percentile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// The bin.
    pub bin: usize,
    /// Weight of the bins before it.
    pub below: f64,
    /// The same and its own.
    pub up_to: f64,
}

impl Cut {
    /// How many more idle times, wherever they fall, leave the percentile `share` (0 to 1) of `n` in this bin.
    pub fn steady_for(&self, share: f64, n: f64) -> f64 {
        let if_above = if share > 0.0 { self.up_to / share - n } else { f64::INFINITY };
        let if_below = if share < 1.0 { (share * n - self.below) / (1.0 - share) } else { f64::INFINITY };
        if_above.min(if_below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPE: Shape = Shape::Linear { bin_ms: 60_000, bins: 240 };

    fn histogram(minutes: &[i64]) -> IdleHistogram {
        let mut histogram = IdleHistogram::default();
        for minute in minutes {
            histogram.record(SHAPE.bin(minute * 60_000), SHAPE, 1.0);
        }
        histogram
    }

    fn bins_at(histogram: &IdleHistogram) -> Option<(usize, usize)> {
        histogram.bins_at(0.05, 0.99).map(|(head, tail)| (head.bin, tail.bin))
    }

    #[test]
    fn a_bin_holds_its_lower_edge_and_the_range_ends_open() {
        let mut histogram = IdleHistogram::default();
        let first: Vec<_> = [0, 59_999, 60_000, 240 * 60_000 - 1, 240 * 60_000]
            .map(|idle_ms| histogram.record(SHAPE.bin(idle_ms), SHAPE, 1.0))
            .into();
        assert_eq!(first, [true, false, true, true, true]);
        assert_eq!(histogram.counts()[..2], [2.0, 1.0]);
        assert_eq!(histogram.counts()[239], 1.0);
        assert_eq!((histogram.in_bounds(), histogram.out_of_bounds()), (4.0, 1.0));
    }

    #[test]
    fn percentiles_are_the_first_bin_that_reaches_the_share() {
        assert_eq!(bins_at(&histogram(&[])), None);
        assert_eq!(bins_at(&histogram(&[7])), Some((7, 7)));
        // 20 idle times: 5 % of them is exactly one.
        let mut minutes = vec![2];
        minutes.extend([9; 19]);
        assert_eq!(bins_at(&histogram(&minutes)), Some((2, 9)));
        minutes.push(9);
        assert_eq!(bins_at(&histogram(&minutes)), Some((9, 9)));
    }

    #[test]
    fn what_has_faded_weighs_less() {
        let mut histogram = histogram(&[3; 10]);
        histogram.fade(0.5);
        assert_eq!((histogram.total(), histogram.sum_of_squares()), (5.0, 25.0));
        assert_eq!(histogram.coefficient_of_variation(SHAPE), 239.0_f64.sqrt());
        histogram.record(3, SHAPE, 2.0 * MOST);
        assert!(histogram.record(7, SHAPE, 1.0) && histogram.in_bounds() < f64::from(2.0 * MOST));
    }

    proptest! {
        #[test]
        fn coefficient_of_variation_agrees_with_its_definition(minutes in prop::collection::vec(0_i64..300, 1..200)) {
            let histogram = histogram(&minutes);
            prop_assert_eq!(histogram.total(), minutes.len() as f64);
            let mut counts = [0.0_f64; 240];
            for minute in minutes.iter().filter(|minute| **minute < 240) {
                counts[*minute as usize] += 1.0;
            }
            let mean = counts.iter().sum::<f64>() / 240.0;
            let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 240.0;
            let expected = if mean == 0.0 { 0.0 } else { variance.sqrt() / mean };
            prop_assert!((histogram.coefficient_of_variation(SHAPE) - expected).abs() < 1e-6);
        }

        #[test]
        fn percentiles_stay_for_as_long_as_they_say(
            minutes in prop::collection::vec(0_i64..30, 50..400),
            more in prop::collection::vec(0_i64..30, 400),
        ) {
            let mut histogram = histogram(&minutes);
            let before = bins_at(&histogram);
            let (head, tail) = histogram.bins_at(0.05, 0.99).unwrap();
            let n = histogram.in_bounds();
            let steady = head.steady_for(0.05, n).min(tail.steady_for(0.99, n));
            for minute in more.iter().take((steady.ceil() as usize).saturating_sub(2)) {
                histogram.record(SHAPE.bin(minute * 60_000), SHAPE, 1.0);
                prop_assert_eq!(bins_at(&histogram), before);
            }
        }
    }
}
