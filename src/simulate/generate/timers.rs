//! Invocations on a grid of time: timers, and callers elsewhere that are as regular.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::arrivals::{DAY_MINUTES, Day};

/// Periods of timers in seconds, from a minute on, with their weights. The jumps in the CDF of rates at once a minute,
/// every five minutes and once an hour come from here (§3.3, figure 5a).
const PERIODS: [(f64, f64); 18] = [
    (60.0, 17.0),
    (120.0, 2.5),
    (180.0, 1.0),
    (300.0, 18.0),
    (600.0, 8.0),
    (900.0, 8.5),
    (1200.0, 2.0),
    (1800.0, 7.0),
    (3600.0, 12.0),
    (7200.0, 2.5),
    (10_800.0, 1.5),
    (14_400.0, 2.0),
    (21_600.0, 2.0),
    (28_800.0, 1.0),
    (43_200.0, 2.5),
    (86_400.0, 15.0),
    (172_800.0, 0.5),
    (604_800.0, 2.0),
];
/// Timers that fire more than once a minute (§3.3: 95 % do not).
const FAST_SHARE: f64 = 0.047;
/// Their periods in seconds, each as likely.
const FAST_PERIODS: [f64; 8] = [1.0, 1.0, 2.0, 5.0, 5.0, 10.0, 15.0, 30.0];

const DAY_S: f64 = 86_400.0;

/// The k-th invocation at `phase_s + k·period_s`, more or less.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Grid {
    /// From one to the next.
    pub period_s: f64,
    /// The first after the beginning of the first day.
    pub phase_s: f64,
    /// Width of the range around its time in which each lies, evenly distributed.
    pub jitter_s: f64,
    /// Share that does not happen.
    pub missed: f64,
    /// Share that comes a minute late.
    pub late: f64,
    /// Not before this minute of the day, and not from the other on.
    pub minutes: (u32, u32),
    /// Not on Saturdays and Sundays.
    pub weekdays_only: bool,
    /// What its chances are drawn from.
    pub key: u64,
}

impl Grid {
    /// A timer; `first` is the app's first one, if there is one already, `mixed` whether the app has other triggers.
    pub fn timer(first: Option<&Self>, mixed: bool, rng: &mut ChaCha8Rng) -> Self {
        // Timers of one app are often copies of each other.
        if let Some(first) = first
            && rng.random_bool(0.25)
        {
            let phase_s = if rng.random_bool(0.2) { first.phase_s } else { phase_s(first.period_s, 0.2, rng) };
            return Self { phase_s, key: rng.random(), ..*first };
        }
        // Whoever has several timers keeps them apart.
        let full = if first.is_some() { 0.2 } else { 0.75 };
        let period_s = if rng.random_bool(FAST_SHARE) {
            FAST_PERIODS[rng.random_range(0..FAST_PERIODS.len())]
        } else {
            // Beside other triggers, a timer often does what must be done again and again.
            period_s(if mixed { PERIODS.len() - 9 } else { PERIODS.len() }, rng)
        };
        let mut grid = Self::regular(period_s, phase_s(period_s, full, rng), rng);
        let quirk: f64 = rng.random_range(0.0..1.0);
        // Restarts and outages cost firings, and a busy scheduler is late; some run in business hours only.
        if quirk < 0.48 && period_s <= 7200.0 {
            grid.missed = rng.random_range(0.004..0.08);
        } else if (0.48..0.64).contains(&quirk) && (120.0..=900.0).contains(&period_s) {
            grid.late = rng.random_range(0.05..0.3);
        } else if !mixed && (0.64..0.80).contains(&quirk) && (900.0..=3600.0).contains(&period_s) {
            grid.minutes = (rng.random_range(6..10) * 60, rng.random_range(17..22) * 60);
        } else if !mixed && quirk > 0.9 {
            grid.weekdays_only = period_s == DAY_S;
        }
        grid
    }

    /// Without exceptions.
    pub fn regular(period_s: f64, phase_s: f64, rng: &mut ChaCha8Rng) -> Self {
        Self {
            period_s,
            phase_s,
            jitter_s: 0.0,
            missed: 0.0,
            late: 0.0,
            minutes: (0, DAY_MINUTES),
            weekdays_only: false,
            key: rng.random(),
        }
    }

    /// Invocations a day, on average over weeks.
    pub fn per_day(&self) -> f64 {
        let hours = f64::from(self.minutes.1 - self.minutes.0) / f64::from(DAY_MINUTES);
        DAY_S / self.period_s * (1.0 - self.missed) * hours * if self.weekdays_only { 5.0 / 7.0 } else { 1.0 }
    }

    /// Adds what happens on a day to its minutes.
    pub fn count(&self, day: Day, counts: &mut [u32]) {
        if self.weekdays_only && day.is_weekend() {
            return;
        }
        if self.period_s < 60.0 {
            return self.count_fast(day, counts);
        }
        let (begin, end) = (f64::from(day.number) * DAY_S, f64::from(day.number + 1) * DAY_S);
        let reach = self.jitter_s / 2.0 + if self.late > 0.0 { 60.0 } else { 0.0 };
        let first = ((begin - reach - self.phase_s) / self.period_s).ceil().max(0.0) as u64;
        for k in first.. {
            let nominal = self.phase_s + k as f64 * self.period_s;
            if nominal - self.jitter_s / 2.0 >= end {
                break;
            }
            if self.chance(k, 1) < self.missed {
                continue;
            }
            let late = if self.chance(k, 2) < self.late { 60.0 } else { 0.0 };
            let at = nominal + late + self.jitter_s * (self.chance(k, 3) - 0.5);
            if (begin..end).contains(&at) {
                let minute = ((at - begin) / 60.0) as u32;
                if (self.minutes.0..self.minutes.1).contains(&minute) {
                    counts[minute as usize] += 1;
                }
            }
        }
    }

    /// Several a minute: counted, not enumerated.
    fn count_fast(&self, day: Day, counts: &mut [u32]) {
        let begin = u64::from(day.number) * u64::from(DAY_MINUTES);
        let until = |minute: u64| ((minute * 60) as f64 / self.period_s).floor() as u64;
        for (minute, count) in (begin..).zip(counts.iter_mut()) {
            if self.missed == 0.0 || self.chance(minute, 1) >= self.missed {
                *count += (until(minute + 1) - until(minute)) as u32;
            }
        }
    }

    /// A number in `[0, 1)` that is always the same for the same firing: days can be generated in any order.
    fn chance(&self, k: u64, salt: u64) -> f64 {
        // SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
        let mut z = self.key.wrapping_add((k << 2 | salt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// One of the first so many periods.
fn period_s(periods: usize, rng: &mut ChaCha8Rng) -> f64 {
    let total: f64 = PERIODS[..periods].iter().map(|(_, weight)| weight).sum();
    let mut left = rng.random_range(0.0..total);
    let found = PERIODS.iter().find(|(_, weight)| {
        left -= weight;
        left < 0.0
    });
    found.map_or(300.0, |(period_s, _)| *period_s)
}

/// The share `full` of schedules is written for the full hour or day.
fn phase_s(period_s: f64, full: f64, rng: &mut ChaCha8Rng) -> f64 {
    let minutes = (period_s / 60.0) as u32;
    if minutes <= 1 {
        return 0.0;
    }
    let minute = if minutes >= DAY_MINUTES {
        let minute = if rng.random_bool(0.6) { 0 } else { rng.random_range(0..60) };
        rng.random_range(0..minutes / 60) * 60 + minute
    } else if rng.random_bool(full) {
        0
    } else {
        rng.random_range(0..minutes)
    };
    f64::from(minute) * 60.0
}
