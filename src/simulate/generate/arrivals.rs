//! How often each function of an app is invoked in each minute of a day.
//!
//! Days are drawn independently of each other, so that any of them can be generated alone. Work grows with minutes, and
//! for rare apps with invocations: a busy minute is one draw.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, StandardNormal};

use super::mix;
use super::plan::Plan;
use super::population::{App, stream};
use super::timers::Grid;

/// Minutes of a day.
pub(super) const DAY_MINUTES: u32 = 24 * 60;
const DAY_MINUTES_F: f64 = DAY_MINUTES as f64;

/// Apps above this many invocations a day come in levels of load, those below in sessions: at three a minute, sessions
/// would be shorter than the minutes that count them.
const FAST_PER_DAY: f64 = 3.0 * DAY_MINUTES_F;

/// Functions below this many invocations a day are invoked at least once a week: what is never invoked is in no trace.
pub(super) const RARE_PER_DAY: f64 = 20.0;

/// A day of the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Day {
    /// From 0.
    pub number: u32,
    /// From Monday, 0.
    pub weekday: u32,
}

impl Day {
    /// Saturday or Sunday.
    pub fn is_weekend(self) -> bool {
        self.weekday >= 5
    }
}

/// What causes a function's invocations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Calls {
    /// A schedule.
    Grid(Grid),
    /// The app's pattern, so often a day.
    Rate {
        /// Beside the weekly one.
        per_day: f64,
        /// Whether it is rare, and is invoked at least once a week.
        weekly: bool,
    },
}

impl Calls {
    /// So often a day on average; a rare function at least once a week.
    pub fn at_rate(per_day: f64) -> Self {
        let weekly = per_day < RARE_PER_DAY;
        Self::Rate { per_day: if weekly { (per_day - 1.0 / 7.0).max(0.0) } else { per_day }, weekly }
    }

    /// Invocations a day on average.
    pub fn per_day(&self) -> f64 {
        match self {
            Self::Grid(grid) => grid.per_day(),
            Self::Rate { per_day, weekly } => per_day + if *weekly { 1.0 / 7.0 } else { 0.0 },
        }
    }
}

/// How invocations without a schedule follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pattern {
    /// Several with short gaps, then a long pause: hyper-exponential.
    Sessions {
        /// Mean invocations of a session.
        size: f64,
        /// Mean time from one to the next within a session, minutes.
        gap_minutes: f64,
        /// Whether each calls all functions of the app, as a workflow does.
        together: bool,
    },
    /// Poisson around a level that is drawn anew now and then, log-normal with mean 1.
    Levels {
        /// Standard deviation of the logs; 0 for a steady one.
        sigma: f64,
        /// Mean time for which a level holds, minutes.
        hold_minutes: f64,
    },
}

impl Pattern {
    /// A pattern, and the schedule of the first function if a regular caller invokes it.
    pub fn draw(plan: &Plan, per_day: f64, functions: usize, rng: &mut ChaCha8Rng) -> (Self, Option<Grid>) {
        let steady = Self::Levels { sigma: 0.0, hold_minutes: 60.0 };
        let z: f64 = StandardNormal.sample(rng);
        let choice: f64 = rng.random_range(0.0..1.0);
        if plan.per_day.is_none() {
            // Beside timers, mostly on its own; the timers rule the times between invocations.
            let size = if choice < 0.7 { 1.0 } else { 3.0 };
            return (Self::Sessions { size, gap_minutes: 0.3, together: false }, None);
        }
        let single = functions == 1 && !plan.triggers.has(mix::TIMER);
        if per_day >= FAST_PER_DAY {
            // Many users make a steady load.
            let sigma = if plan.top && per_day > 2e6 {
                rng.random_range(0.0..0.3)
            } else if choice < 0.45 {
                rng.random_range(0.0..0.4)
            } else {
                (1.6 + 0.4 * z).clamp(0.2, 2.4)
            };
            let hold_minutes = 30.0 * rng.random_range(-1.0f64..1.5).exp();
            return (Self::Levels { sigma, hold_minutes }, None);
        }
        if single && choice < 0.20 {
            return (steady, Some(regular(per_day, 0.0, rng)));
        }
        if single && choice < 0.36 && per_day > 1.0 {
            let cv = rng.random_range(0.05..0.6);
            return (steady, Some(regular(per_day, cv, rng)));
        }
        if choice < if single { 0.37 } else { 0.03 } {
            return (steady, None);
        }
        // A session of m invocations with short gaps in it has a coefficient of variation of √(2m − 1).
        let cv = (5.2f64.ln() + 0.95 * z).exp();
        let most = (per_day * 7.0).max(1.0);
        let size = ((cv * cv + 1.0) / 2.0).clamp(1.0, most);
        let z: f64 = StandardNormal.sample(rng);
        let gap_minutes = (0.25 * (1.2 * z).exp()).min(0.3 * DAY_MINUTES_F / per_day);
        let chained = plan.triggers.has(mix::ORCHESTRATION) || plan.triggers.has(mix::EVENT) && rng.random_bool(0.5);
        (Self::Sessions { size, gap_minutes, together: chained && functions > 1 }, None)
    }
}

/// A caller elsewhere, with a period of whole minutes or one that divides the minute.
fn regular(per_day: f64, cv: f64, rng: &mut ChaCha8Rng) -> Grid {
    let period_s = (86_400.0 / per_day).min(7.0 * 86_400.0);
    let period_s = if period_s >= 45.0 { (period_s / 60.0).round().max(1.0) * 60.0 } else { 30.0 };
    let phase_s = rng.random_range(0.0..period_s);
    let grid = Grid::regular(period_s, phase_s, rng);
    // Times that are evenly distributed over a width w have gaps with a standard deviation of w/√6.
    Grid { jitter_s: cv * 6f64.sqrt() * period_s, ..grid }
}

/// Load over the day and the week: a base, and a hill around a peak that is lower at weekends (§3.3, figure 4).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Profile {
    /// Share of the peak that is always there.
    base: f64,
    /// Minute of the day of the peak.
    peak: u32,
    /// Height of the hill at weekends.
    weekend: f64,
}

impl Profile {
    pub fn draw(plan: &Plan, rng: &mut ChaCha8Rng) -> Self {
        let z: f64 = StandardNormal.sample(rng);
        // Mostly one region's office hours.
        let peak = (14.0 + 2.0 * z).rem_euclid(24.0) * 60.0;
        let base = if plan.top { rng.random_range(0.35..0.6) } else { rng.random_range(0.2..0.9) };
        Self { base, peak: peak as u32 % DAY_MINUTES, weekend: rng.random_range(0.4..0.8) }
    }
}

/// Height of the hill by distance from its peak, minutes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hill {
    heights: Vec<f32>,
    mean: f64,
}

impl Hill {
    pub fn new() -> Self {
        let turn = std::f64::consts::TAU / DAY_MINUTES_F;
        let heights: Vec<f32> =
            (0..DAY_MINUTES).map(|minute| (0.5 + 0.5 * (f64::from(minute) * turn).cos()).powf(1.5) as f32).collect();
        let mean = heights.iter().map(|height| f64::from(*height)).sum::<f64>() / DAY_MINUTES_F;
        Self { heights, mean }
    }
}

/// Generates days, app by app, and keeps the room for it.
#[derive(Debug, Clone)]
pub(super) struct Arrivals<'a> {
    hill: &'a Hill,
    seed: u64,
    /// Load of the app in each minute, 1 on average over the week.
    levels: Vec<f32>,
    /// Invocations of each function in each minute.
    counts: Vec<[u32; DAY_MINUTES as usize]>,
}

impl<'a> Arrivals<'a> {
    pub fn new(hill: &'a Hill, seed: u64) -> Self {
        Self { hill, seed, levels: vec![1.0; DAY_MINUTES as usize], counts: Vec::new() }
    }

    /// Invocations by function of the app and minute of the day.
    pub fn day(&mut self, app: &App, day: Day) -> &[[u32; DAY_MINUTES as usize]] {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(stream(app.index, day.number + 2));
        self.counts.clear();
        self.counts.resize(app.functions.len(), [0; DAY_MINUTES as usize]);
        let mut rates = Vec::with_capacity(app.functions.len());
        for (place, (function, counts)) in app.functions.iter().zip(&mut self.counts).enumerate() {
            match &function.calls {
                Calls::Grid(grid) => {
                    grid.count(day, counts);
                    rates.push(0.0);
                }
                Calls::Rate { per_day, weekly } => {
                    rates.push(*per_day);
                    if *weekly && let Some(minute) = weekly_minute(self.seed, app.index, place as u32, day.number) {
                        counts[minute] += 1;
                    }
                }
            }
        }
        if rates.iter().any(|rate| *rate > 0.0) {
            self.load(app, day);
            match app.pattern {
                Pattern::Sessions { size, gap_minutes, together } => {
                    self.sessions(&rates, size, gap_minutes, together, &mut rng);
                }
                Pattern::Levels { sigma, hold_minutes } => {
                    if sigma > 0.0 {
                        self.vary(sigma, hold_minutes, &mut rng);
                    }
                    self.poisson(&rates, &mut rng);
                }
            }
        }
        &self.counts
    }

    /// Fills the levels with the app's profile.
    fn load(&mut self, app: &App, day: Day) {
        let Profile { base, peak, weekend } = app.profile;
        let height = |weekend: f64| (1.0 - base) * weekend;
        let mean = base + self.hill.mean * (height(1.0) * 5.0 + height(weekend) * 2.0) / 7.0;
        let height = (height(if day.is_weekend() { weekend } else { 1.0 }) / mean) as f32;
        let base = (base / mean) as f32;
        let (after, before) = self.hill.heights.split_at((DAY_MINUTES - peak) as usize);
        for (level, hill) in self.levels.iter_mut().zip(before.iter().chain(after)) {
            *level = base + height * hill;
        }
    }

    /// Multiplies the levels by the app's own ups and downs.
    fn vary(&mut self, sigma: f64, hold_minutes: f64, rng: &mut ChaCha8Rng) {
        let mut left = 0.0;
        let mut factor = 1.0;
        for level in &mut self.levels {
            if left <= 0.0 {
                let hold: f64 = Exp1.sample(rng);
                let z: f64 = StandardNormal.sample(rng);
                left += (hold * hold_minutes).max(1.0);
                factor = (sigma * z - sigma * sigma / 2.0).exp();
            }
            left -= 1.0;
            *level *= factor as f32;
        }
    }

    fn poisson(&mut self, rates: &[f64], rng: &mut ChaCha8Rng) {
        for (rate, counts) in rates.iter().zip(&mut self.counts) {
            let per_minute = rate / DAY_MINUTES_F;
            if per_minute >= 0.3 {
                for (count, level) in counts.iter_mut().zip(&self.levels) {
                    *count += poisson(per_minute * f64::from(*level), rng);
                }
            } else if per_minute > 0.0 {
                for_each_arrival(&self.levels, per_minute, rng, |minute, _| counts[minute] += 1);
            }
        }
    }

    /// Sessions that run past midnight go on in the day's first minutes, so that none is lost.
    fn sessions(&mut self, rates: &[f64], size: f64, gap_minutes: f64, together: bool, rng: &mut ChaCha8Rng) {
        let most = rates.iter().copied().fold(0.0, f64::max);
        let sum: f64 = rates.iter().sum();
        let per_minute = if together { most } else { sum } / DAY_MINUTES_F / size;
        let counts = &mut self.counts;
        for_each_arrival(&self.levels, per_minute, rng, |minute, rng| {
            let mut at = minute as f64 + rng.random_range(0.0..1.0);
            loop {
                let minute = at as usize % DAY_MINUTES as usize;
                if together {
                    for (rate, counts) in rates.iter().zip(counts.iter_mut()) {
                        if *rate > 0.0 && (*rate >= most || rng.random_range(0.0..most) < *rate) {
                            counts[minute] += 1;
                        }
                    }
                } else {
                    let mut left = rng.random_range(0.0..sum);
                    let chosen = rates.iter().position(|rate| {
                        left -= rate;
                        left < 0.0
                    });
                    counts[chosen.unwrap_or(0)][minute] += 1;
                }
                if size <= 1.0 || rng.random_range(0.0..size) < 1.0 {
                    break;
                }
                let gap: f64 = Exp1.sample(rng);
                at += gap * gap_minutes;
            }
        });
    }
}

/// The minutes of a Poisson process; at most a few a minute.
fn for_each_arrival(
    levels: &[f32],
    per_minute: f64,
    rng: &mut ChaCha8Rng,
    mut arrival: impl FnMut(usize, &mut ChaCha8Rng),
) {
    let mut next: f64 = Exp1.sample(rng);
    let mut sum = 0.0;
    for (minute, level) in levels.iter().enumerate() {
        sum += per_minute * f64::from(*level);
        while sum > next {
            arrival(minute, rng);
            let gap: f64 = Exp1.sample(rng);
            next += gap;
        }
    }
}

/// A Poisson number in constant time: exact up to a mean of 12, rounded normal beyond.
fn poisson(mean: f64, rng: &mut ChaCha8Rng) -> u32 {
    if mean > 12.0 {
        let z: f64 = StandardNormal.sample(rng);
        return (mean + mean.sqrt() * z).round().max(0.0) as u32;
    }
    let limit = (-mean).exp();
    let mut product: f64 = rng.random_range(0.0..1.0);
    let mut count = 0;
    while product > limit {
        product *= rng.random_range(0.0..1.0);
        count += 1;
    }
    count
}

/// The minute of a rare function's weekly invocation, if it is on this day.
fn weekly_minute(seed: u64, app: u32, function: u32, day: u32) -> Option<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ u64::from(day / 7) << 48);
    rng.set_stream(u64::MAX - (u64::from(app) << 16 | u64::from(function)));
    let minute = rng.random_range(0..7 * DAY_MINUTES);
    (minute / DAY_MINUTES == day % 7).then_some((minute % DAY_MINUTES) as usize)
}
