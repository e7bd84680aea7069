//! How many unspecialised runtimes of a kind will be wanted while one is being started. Pure: it is told the time.

use std::collections::VecDeque;

use augurs_seasons::{Detector, PeriodogramDetector};

/// What is remembered one by one, s.
const RECENT_S: i64 = 600;
/// Hours remembered: two weeks.
const HOURS: usize = 14 * HOURS_A_DAY;
const HOURS_A_DAY: usize = 24;
/// Days that must be known before a daily pattern is looked for.
const LEAST_DAYS: usize = 3;
/// What the periodogram of hours can't tell from a day, hours.
const ABOUT_A_DAY: std::ops::RangeInclusive<u32> = 20..=29;

/// The specialisations of one runtime kind, so far.
#[derive(Debug)]
pub(super) struct Demand {
    /// How long an hour of the workload lasts, ms.
    hour_ms: i64,
    /// Seconds in which there were any, and how many.
    seconds: VecDeque<(i64, u32)>,
    /// Counts by hour, the last of them not over yet.
    hours: VecDeque<u32>,
    hour: Option<i64>,
    /// What the hour at hand is expected to hold, where days are alike.
    expected: Option<f64>,
}

impl Demand {
    /// None yet. An hour of the workload lasts `hour_ms` here.
    pub fn new(hour_ms: i64) -> Self {
        let hour_ms = hour_ms.max(1);
        Self { hour_ms, seconds: VecDeque::new(), hours: VecDeque::new(), hour: None, expected: None }
    }

    /// One is wanted now.
    pub fn note(&mut self, now_ms: i64) {
        self.advance(now_ms);
        if let Some(count) = self.hours.back_mut() {
            *count += 1;
        }
        let second = now_ms / 1000;
        match self.seconds.back_mut() {
            Some((last, count)) if *last == second => *count += 1,
            _ => self.seconds.push_back((second, 1)),
        }
    }

    /// How many will be wanted within `refill_ms`, with a probability of `quantile` no more than that.
    ///
    /// Of the last ten minutes it is the quantile over stretches as long as a refill, but of a second at least; where days
    /// are alike, that of what such a stretch of this hour held on other days, if it is more.
    pub fn quantile(&mut self, quantile: f64, refill_ms: i64, now_ms: i64) -> usize {
        self.advance(now_ms);
        let stretch_s = (refill_ms.max(1).div_euclid(1000) + i64::from(refill_ms % 1000 > 0)).clamp(1, RECENT_S);
        let daily = self.expected.map_or(0, |expected| {
            let stretch = stretch_s as f64 * 1000.0 / self.hour_ms as f64;
            poisson_quantile(expected * stretch.min(1.0), quantile)
        });
        self.recent_quantile(quantile, stretch_s, now_ms / 1000).max(daily)
    }

    fn recent_quantile(&self, quantile: f64, stretch_s: i64, now_s: i64) -> usize {
        let stretches = (RECENT_S / stretch_s).max(1) as usize;
        let mut counts = vec![0_usize; stretches];
        for (second, count) in &self.seconds {
            let ago = ((now_s - second) / stretch_s).max(0) as usize;
            if let Some(stretch) = counts.get_mut(ago) {
                *stretch += *count as usize;
            }
        }
        counts.sort_unstable();
        let rank = (quantile * stretches as f64 - 1e-9).ceil().clamp(1.0, stretches as f64) as usize;
        counts[rank - 1]
    }

    /// Forgets what is too long ago, and begins new hours.
    fn advance(&mut self, now_ms: i64) {
        let oldest = now_ms / 1000 - RECENT_S;
        while self.seconds.front().is_some_and(|(second, _)| *second < oldest) {
            self.seconds.pop_front();
        }
        let hour = now_ms.div_euclid(self.hour_ms);
        let passed = self.hour.map_or(1, |last| hour - last);
        if passed <= 0 {
            return;
        }
        self.hour = Some(hour);
        for _ in 0..passed.min(HOURS as i64) {
            self.hours.push_back(0);
        }
        let surplus = self.hours.len().saturating_sub(HOURS);
        self.hours.drain(..surplus);
        self.expected = self.expect();
    }

    /// What the hour that begins now held on other days on average, where days are alike.
    fn expect(&self) -> Option<f64> {
        let over: Vec<f64> = self.hours.iter().take(self.hours.len() - 1).map(|count| f64::from(*count)).collect();
        if over.len() < LEAST_DAYS * HOURS_A_DAY || over.iter().all(|count| *count == over[0]) {
            return None;
        }
        let detector = PeriodogramDetector::builder().max_period(over.len() as u32 / 4).build();
        if !detector.detect(&over).iter().any(|period| ABOUT_A_DAY.contains(period)) {
            return None;
        }
        let alike: Vec<f64> = over.iter().rev().skip(HOURS_A_DAY - 1).step_by(HOURS_A_DAY).copied().collect();
        Some(alike.iter().sum::<f64>() / alike.len() as f64)
    }
}

/// The smallest number that a Poisson variable of this mean exceeds with a probability of at most 1 − `quantile`.
fn poisson_quantile(mean: f64, quantile: f64) -> usize {
    let (mut k, mut probability) = (0, (-mean).exp());
    let mut so_far = probability;
    // Means beyond what exp() can express need no exactness: the mean and three deviations bound them.
    let most = (mean + 10.0 * mean.sqrt() + 10.0) as usize;
    while so_far < quantile && k < most {
        k += 1;
        probability *= mean / k as f64;
        so_far += probability;
    }
    k
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn nothing_is_expected_of_what_was_never_wanted() {
        assert_eq!(Demand::new(HOUR_MS).quantile(0.99, 500, 1_000_000), 0);
    }

    #[test]
    fn the_quantile_is_that_of_stretches_as_long_as_a_refill() {
        let mut demand = Demand::new(HOUR_MS);
        // Ten minutes: 3 in every tenth second.
        for second in 0..600 {
            for _ in 0..if second % 10 == 0 { 3 } else { 0 } {
                demand.note(second * 1000 + 5);
            }
        }
        let now_ms = 599_999;
        assert_eq!(demand.quantile(0.99, 40, now_ms), 3, "a second");
        assert_eq!(demand.quantile(0.89, 40, now_ms), 0, "none in nine of ten");
        assert_eq!(demand.quantile(0.99, 19_500, now_ms), 6, "20 s hold two such seconds");
        assert_eq!(demand.quantile(0.99, 40, now_ms + 700_000), 0, "all is long ago");
    }

    #[test]
    fn where_days_are_alike_the_pool_is_filled_before_the_peak() {
        let mut demand = Demand::new(HOUR_MS);
        let at = |day: i64, hour: i64, demand: &mut Demand| {
            // 2 a minute from 9 to 11, else one an hour.
            let calls = if (9..11).contains(&hour) { 120 } else { 1 };
            for call in 0..calls {
                demand.note((day * 24 + hour) * HOUR_MS + call * 30_000);
            }
        };
        for day in 0..7 {
            (0..24).for_each(|hour| at(day, hour, &mut demand));
        }
        let hour = |hour: i64| (7 * 24 + hour) * HOUR_MS;
        assert_eq!(demand.quantile(0.99, 3_000, hour(6)), 0);
        assert_eq!(demand.quantile(0.99, 3_000, hour(9)), 1, "of a mean of 0.1");
        assert_eq!(demand.quantile(0.99, 60_000, hour(9)), 6, "of a mean of 2");
        assert_eq!(demand.quantile(0.99, 3_000, hour(12)), 0);
    }

    #[test]
    fn days_that_are_not_alike_foretell_nothing() {
        let mut demand = Demand::new(HOUR_MS);
        for hour in 0..(10 * 24) {
            demand.note(hour * HOUR_MS);
        }
        assert_eq!(demand.quantile(0.99, 60_000, 240 * HOUR_MS), 0, "once an hour");
        assert!(demand.expected.is_none());
    }

    #[test]
    fn poisson_quantiles() {
        // By tables: P(X ≤ 6 | 2) = 0.9955, P(X ≤ 5 | 2) = 0.9834.
        assert_eq!([0.99, 0.98].map(|quantile| poisson_quantile(2.0, quantile)), [6, 5]);
        assert_eq!(poisson_quantile(0.0, 0.999), 0);
        assert!(poisson_quantile(5_000.0, 0.99) >= 5_000);
    }
}
