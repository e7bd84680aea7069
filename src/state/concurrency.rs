//! How many executions of an app overlap.

use crate::checkpoint::Columns;

/// Executions that are swept together at most. A busy period with more is looked at in parts, so its peak can come out
/// lower than it was, but never higher.
const SWEEP: usize = 256;
/// Busy periods remembered.
const PERIODS: usize = 16;

/// Peak overlaps of an app's recent busy periods. A busy period is a time without an idle time in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Concurrency {
    /// `(start, end)` in ms of the executions in the current busy period that were not swept yet.
    current: Vec<(i64, i64)>,
    /// Peak of the parts of the current busy period that were swept already.
    current_peak: u16,
    /// Peaks of the last busy periods, the oldest overwritten first.
    peaks: [u16; PERIODS],
    closed: u32,
}

impl Concurrency {
    /// An execution `[start_ms, end_ms)` begins a new busy period.
    pub fn begin_period(&mut self, start_ms: i64, end_ms: i64) {
        let peak = self.peak_so_far();
        if peak > 0 {
            self.peaks[self.closed as usize % PERIODS] = peak;
            self.closed = self.closed.wrapping_add(1).max(1);
        }
        self.current.clear();
        self.current_peak = 0;
        self.current.push((start_ms, end_ms));
    }

    /// An execution `[start_ms, end_ms)` belongs to the current busy period.
    pub fn join_period(&mut self, start_ms: i64, end_ms: i64) {
        if self.current.len() == SWEEP {
            self.current_peak = self.peak_so_far();
            // The ones that end last may overlap with those to come.
            self.current.sort_unstable_by_key(|(_, end)| *end);
            self.current.drain(..SWEEP / 2);
        }
        self.current.push((start_ms, end_ms));
    }

    /// How many instances cover 90 % of the recent busy periods (nearest rank), at least 1. The current period counts.
    pub fn instances(&self) -> u32 {
        // Most apps never overlap.
        if self.current.len() == 1 && self.peaks.iter().all(|peak| *peak <= 1) {
            return 1;
        }
        let closed = (self.closed as usize).min(PERIODS);
        let mut peaks = [0; PERIODS + 1];
        peaks[..closed].copy_from_slice(&self.peaks[..closed]);
        peaks[closed] = self.peak_so_far();
        let peaks = &mut peaks[..=closed];
        peaks.sort_unstable();
        let rank = (peaks.len() * 9).div_ceil(10);
        u32::from(peaks[rank - 1]).max(1)
    }

    /// As columns.
    pub(super) fn columns(&mut self, columns: &mut impl Columns) {
        let Self { current, current_peak, peaks, closed } = self;
        columns.pairs(["busy_starts_ms", "busy_ends_ms"], current);
        columns.number("busy_peak", current_peak);
        columns.array("peaks", peaks);
        columns.number("busy_periods", closed);
    }

    fn peak_so_far(&self) -> u16 {
        if self.current.len() < 2 {
            return self.current_peak.max(self.current.len() as u16);
        }
        let mut edges: Vec<(i64, i16)> =
            self.current.iter().flat_map(|(start, end)| [(*start, 1), (*end.max(start), -1)]).collect();
        // Ends sort before starts of the same moment: one that begins as another ends can use the same instance.
        edges.sort_unstable();
        let mut running = 0_i16;
        let mut peak = 1_i16;
        for (_, change) in edges {
            running += change;
            peak = peak.max(running);
        }
        self.current_peak.max(peak as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(periods: &[&[(i64, i64)]]) -> u32 {
        let mut concurrency = Concurrency::default();
        for period in periods {
            let (first, rest) = period.split_first().unwrap();
            concurrency.begin_period(first.0, first.1);
            for (start, end) in rest {
                concurrency.join_period(*start, *end);
            }
        }
        concurrency.instances()
    }

    #[test]
    fn counts_overlaps_not_neighbours() {
        assert_eq!(after(&[&[(0, 10)]]), 1);
        assert_eq!(after(&[&[(0, 10), (10, 20)]]), 1, "one begins as the other ends");
        assert_eq!(after(&[&[(0, 10), (5, 15), (9, 12)]]), 3);
        assert_eq!(after(&[&[(2, 3), (4, 5), (0, 100)]]), 2, "in order of their ends, as events come");
        assert_eq!(after(&[&[(5, 5), (5, 5)]]), 1, "no duration, no overlap");
    }

    #[test]
    fn nine_of_ten_periods_are_covered() {
        let calm: &[(i64, i64)] = &[(0, 1)];
        let burst: &[(i64, i64)] = &[(0, 10), (0, 10), (0, 10), (0, 10)];
        assert_eq!(after(&[burst]), 4);
        let mut periods = vec![burst];
        periods.extend([calm; 9]);
        assert_eq!(after(&periods), 1);
        periods.push(burst);
        assert_eq!(after(&periods), 4);
    }

    #[test]
    fn a_long_busy_period_is_bounded_in_memory() {
        let mut concurrency = Concurrency::default();
        concurrency.begin_period(0, 100);
        for start in 1..100_000 {
            concurrency.join_period(start, start + 100);
        }
        assert!(concurrency.current.capacity() <= 2 * SWEEP);
        assert_eq!(concurrency.instances(), 100);
    }
}
