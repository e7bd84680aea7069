//! Times between an app's invocations, from counts by minute (§3.3).

use serde::Serialize;

use super::App;
use crate::simulate::Distribution;

const MINUTE_S: f64 = 60.0;

/// Times between invocations, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Gaps {
    count: f64,
    sum_s: f64,
    /// s².
    sum_of_squares: f64,
}

impl Gaps {
    fn add(&mut self, gap_s: f64, times: f64) {
        self.count += times;
        self.sum_s += gap_s * times;
        self.sum_of_squares += gap_s * gap_s * times;
    }

    /// Coefficient of variation: standard deviation over mean; `None` of fewer than two gaps.
    pub fn cv(&self) -> Option<f64> {
        let mean = self.sum_s / self.count;
        let variance = (self.sum_of_squares / self.count - mean * mean).max(0.0);
        // Sums of equal gaps differ from one another in their last digits; that is no variation.
        let variance = if variance < 1e-9 * mean * mean { 0.0 } else { variance };
        (self.count >= 2.0 && mean > 0.0).then(|| variance.sqrt() / mean)
    }
}

/// Invocations of one app by minute. Those of its functions in a minute are added up and taken as evenly spread over it:
/// `k` invocations lie `60/k` s apart, the first `30/k` s after the minute's begin. What they are apart within a minute is
/// not known, so very bursty apps vary more than this says.
#[derive(Debug, Default)]
pub(super) struct Minutes {
    /// Ascending for each function, one function after the other.
    counts: Vec<(u32, u32)>,
    invocations: u64,
    is_sorted: bool,
}

impl Minutes {
    /// Forgets all, but keeps the memory.
    pub(super) fn clear(&mut self) {
        self.counts.clear();
        (self.invocations, self.is_sorted) = (0, true);
    }

    pub(super) fn add(&mut self, minute: u32, count: u32) {
        self.is_sorted &= self.counts.last().is_none_or(|(last, _)| *last < minute);
        self.counts.push((minute, count));
        self.invocations += u64::from(count);
    }

    pub(super) fn invocations(&self) -> u64 {
        self.invocations
    }

    /// The times between the app's invocations. O(minutes × log functions).
    pub(super) fn gaps(&mut self) -> Gaps {
        if !self.is_sorted {
            // A stable sort merges runs that are ascending already, one a function.
            self.counts.sort_by_key(|(minute, _)| *minute);
        }
        let mut gaps = Gaps::default();
        let mut before: Option<(u32, f64)> = None;
        for of_minute in self.counts.chunk_by(|a, b| a.0 == b.0) {
            let minute = of_minute[0].0;
            let count: f64 = of_minute.iter().map(|(_, count)| f64::from(*count)).sum();
            if count <= 0.0 {
                continue;
            }
            if let Some((last, last_count)) = before {
                let half_spaces = MINUTE_S / 2.0 / last_count + MINUTE_S / 2.0 / count;
                gaps.add(f64::from(minute - last - 1) * MINUTE_S + half_spaces, 1.0);
            }
            gaps.add(MINUTE_S / count, count - 1.0);
            before = Some((minute, count));
        }
        gaps
    }
}

/// Coefficients of variation of the times between an app's invocations: 0 for a clock, 1 for chance (Poisson), more for
/// bursts. Apps with fewer than three invocations do not count.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Arrivals {
    /// Of all apps.
    pub all: Distribution,
    /// Of apps without a timer.
    pub no_timers: Distribution,
    /// Of apps that have timers and nothing else.
    pub only_timers: Distribution,
}

impl Arrivals {
    pub(super) fn of(apps: &[App]) -> Self {
        let cvs = |belongs: fn(&str) -> bool| {
            Distribution::new(apps.iter().filter(|app| belongs(&app.triggers)).filter_map(|app| app.cv).collect())
        };
        Self {
            all: cvs(|_| true),
            no_timers: cvs(|triggers| !triggers.is_empty() && !triggers.contains("timer")),
            only_timers: cvs(|triggers| triggers == "timer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gaps(cells: &[(u32, u32)]) -> Gaps {
        let mut minutes = Minutes::default();
        minutes.clear();
        cells.iter().for_each(|(minute, count)| minutes.add(*minute, *count));
        minutes.gaps()
    }

    #[test]
    fn variation_of_known_patterns() {
        for (cells, cv) in [
            (vec![], None),
            (vec![(5, 1)], None),
            (vec![(5, 1), (9, 1)], None),
            (vec![(0, 1), (5, 1), (10, 1), (15, 1)], Some(0.0)),
            (vec![(3, 3)], Some(0.0)),
            (vec![(0, 7), (1, 7), (2, 7)], Some(0.0)),
            // Gaps of 1 and 3 minutes: mean 2, deviation 1.
            (vec![(0, 1), (1, 1), (4, 1)], Some(0.5)),
            // Two functions in the same minutes: as one that is invoked twice.
            (vec![(0, 1), (1, 1), (0, 1), (1, 1)], Some(0.0)),
        ] {
            assert_eq!(gaps(&cells).cv(), cv, "{cells:?}");
        }
    }

    proptest! {
        /// Counting gaps is the same as placing every invocation and measuring.
        #[test]
        fn agrees_with_placing_every_invocation(
            cells in prop::collection::btree_map(0..200u32, 1..30u32, 0..40),
        ) {
            let mut at = Vec::new();
            for (minute, count) in &cells {
                at.extend((0..*count).map(|i| f64::from(*minute) * 60.0 + (f64::from(i) + 0.5) * 60.0 / f64::from(*count)));
            }
            let placed: Vec<f64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let count = placed.len() as f64;
            let mean = placed.iter().sum::<f64>() / count;
            let deviation = (placed.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count).sqrt();
            match gaps(&cells.into_iter().collect::<Vec<_>>()).cv() {
                Some(cv) => prop_assert!((cv - deviation / mean).abs() < 1e-3, "{cv} for {}", deviation / mean),
                None => prop_assert!(placed.len() < 2),
            }
        }
    }
}
