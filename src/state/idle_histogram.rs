//! How often an app was idle for how long.

/// The bins of a histogram: `bins` of `bin_ms` each, from 0. Longer idle times are counted out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Width of a bin, ms.
    pub bin_ms: i64,
    /// Number of bins.
    pub bins: usize,
}

impl Shape {
    /// The end of the last bin, ms.
    pub const fn range_ms(&self) -> i64 {
        self.bin_ms * self.bins as i64
    }
}

/// Idle times of one app, counted in the bins of a [`Shape`] that all apps share.
///
/// Trailing empty bins take no memory: most apps are either busy, with all idle times in the first bins, or rare, with
/// few of them at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdleHistogram {
    counts: Vec<u32>,
    in_bounds: u32,
    out_of_bounds: u32,
    /// Sum of the squared counts, kept up to date so that the coefficient of variation costs nothing.
    sum_of_squares: u64,
}

impl IdleHistogram {
    /// Counts one idle time, ms.
    pub fn record(&mut self, idle_ms: i64, shape: Shape) {
        let bin = (idle_ms / shape.bin_ms) as usize;
        if bin >= shape.bins {
            self.out_of_bounds = self.out_of_bounds.saturating_add(1);
            return;
        }
        if bin >= self.counts.len() {
            self.counts.reserve_exact(bin + 1 - self.counts.len());
            self.counts.resize(bin + 1, 0);
        }
        let count = &mut self.counts[bin];
        if self.in_bounds < u32::MAX {
            self.sum_of_squares += 2 * u64::from(*count) + 1;
            *count += 1;
            self.in_bounds += 1;
        }
    }

    /// Idle times seen, in and out of bounds.
    pub const fn total(&self) -> u64 {
        self.in_bounds as u64 + self.out_of_bounds as u64
    }

    /// Idle times within the range.
    pub const fn in_bounds(&self) -> u32 {
        self.in_bounds
    }

    /// Idle times beyond the range.
    pub const fn out_of_bounds(&self) -> u32 {
        self.out_of_bounds
    }

    /// The counts from bin 0 on; bins that are left out at the end are empty.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// Coefficient of variation of the bin counts (not of the idle times), over all bins of the shape: 0 when they are
    /// all the same, `sqrt(bins - 1)` when all idle times share one bin. 0 while nothing is counted.
    pub fn coefficient_of_variation(&self, shape: Shape) -> f64 {
        if self.in_bounds == 0 {
            return 0.0;
        }
        let n = f64::from(self.in_bounds);
        (shape.bins as f64 * self.sum_of_squares as f64 / (n * n) - 1.0).max(0.0).sqrt()
    }

    /// The bins at two percentiles (fractions, `low <= high`) of the idle times in bounds: for each the first bin whose
    /// cumulative count reaches that share. `None` while nothing is counted.
    pub fn bins_at(&self, low: f64, high: f64) -> Option<(usize, usize)> {
        if self.in_bounds == 0 {
            return None;
        }
        let n = f64::from(self.in_bounds);
        let (low_rank, high_rank) = (low * n, high * n);
        let mut cumulative = 0_u64;
        let mut head = None;
        for (bin, count) in self.counts.iter().enumerate() {
            cumulative += u64::from(*count);
            if cumulative == 0 {
                continue;
            }
            if head.is_none() && cumulative as f64 >= low_rank {
                head = Some(bin);
            }
            if cumulative as f64 >= high_rank {
                return Some((head.unwrap_or(bin), bin));
            }
        }
        let last = self.counts.len() - 1;
        Some((head.unwrap_or(last), last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPE: Shape = Shape { bin_ms: 60_000, bins: 240 };

    fn histogram(minutes: &[i64]) -> IdleHistogram {
        let mut histogram = IdleHistogram::default();
        for minute in minutes {
            histogram.record(minute * 60_000, SHAPE);
        }
        histogram
    }

    #[test]
    fn a_bin_holds_its_lower_edge_and_the_range_ends_open() {
        let mut histogram = IdleHistogram::default();
        for idle_ms in [0, 59_999, 60_000, 240 * 60_000 - 1, 240 * 60_000] {
            histogram.record(idle_ms, SHAPE);
        }
        assert_eq!(histogram.counts()[..2], [2, 1]);
        assert_eq!(histogram.counts()[239], 1);
        assert_eq!((histogram.in_bounds(), histogram.out_of_bounds()), (4, 1));
    }

    #[test]
    fn percentiles_are_the_first_bin_that_reaches_the_share() {
        assert_eq!(histogram(&[]).bins_at(0.05, 0.99), None);
        assert_eq!(histogram(&[7]).bins_at(0.05, 0.99), Some((7, 7)));
        // 20 idle times: 5 % of them is exactly one.
        let mut minutes = vec![2];
        minutes.extend([9; 19]);
        assert_eq!(histogram(&minutes).bins_at(0.05, 0.99), Some((2, 9)));
        minutes.push(9);
        assert_eq!(histogram(&minutes).bins_at(0.05, 0.99), Some((9, 9)));
    }

    proptest! {
        #[test]
        fn coefficient_of_variation_agrees_with_its_definition(minutes in prop::collection::vec(0_i64..300, 1..200)) {
            let histogram = histogram(&minutes);
            prop_assert_eq!(histogram.total(), minutes.len() as u64);
            let mut counts = [0.0_f64; 240];
            for minute in minutes.iter().filter(|minute| **minute < 240) {
                counts[*minute as usize] += 1.0;
            }
            let mean = counts.iter().sum::<f64>() / 240.0;
            let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 240.0;
            let expected = if mean == 0.0 { 0.0 } else { variance.sqrt() / mean };
            prop_assert!((histogram.coefficient_of_variation(SHAPE) - expected).abs() < 1e-6);
        }
    }
}
