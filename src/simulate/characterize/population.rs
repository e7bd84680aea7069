//! Functions per app, rates and skew (§3.2 and §3.3).

use serde::Serialize;

use super::{App, Invoked, percent};
use crate::simulate::Distribution;

/// Functions per app: name of the class and its greatest number.
pub const SIZES: [(&str, usize); 6] =
    [("1", 1), ("2", 2), ("3", 3), ("4-5", 5), ("6-10", 10), ("11 and more", usize::MAX)];

/// Invocations a day that are rare: one an hour.
pub const RARE_PER_DAY: f64 = 24.0;

/// One a minute, with room for the last digits of a quotient.
const PER_MINUTE: f64 = 24.0 * 60.0 * 1.000_001;

/// How the workload is spread over apps and functions.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Population {
    /// Percent of apps by number of functions, in the classes of [`SIZES`]; none without apps.
    pub sizes_percent: Vec<f64>,
    /// Apps with more than 100 functions, percent.
    pub over_100_percent: Option<f64>,
    /// Invocations of apps with at most three functions, percent.
    pub small_apps_invocations_percent: Option<f64>,
    /// Invocations of an app a day, on average over the trace.
    pub daily: Distribution,
    /// Invocations of apps that are called more than once a minute on average, percent.
    pub busy_apps_invocations_percent: Option<f64>,
    /// Share of invocations that the busiest apps make.
    pub app_skew: Skew,
    /// The same of functions.
    pub function_skew: Skew,
}

/// What the busiest make: `(busiest, percent of all; invocations, percent)`, ascending.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Skew {
    /// How many there are.
    pub count: usize,
    /// The curve.
    pub curve: Vec<(f64, f64)>,
}

impl Population {
    pub(super) fn of(invoked: &[Invoked], apps: &[App], days: f64) -> Self {
        let all: u64 = apps.iter().map(|app| app.invocations).sum();
        let count = apps.len() as f64;
        let apps_percent =
            |belongs: &dyn Fn(&App) -> bool| percent(apps.iter().filter(|app| belongs(app)).count() as f64, count);
        let invocations_percent = |belongs: &dyn Fn(&App) -> bool| {
            let part: u64 = apps.iter().filter(|app| belongs(app)).map(|app| app.invocations).sum();
            percent(part as f64, all as f64)
        };
        let daily = |app: &App| app.invocations as f64 / days;
        let mut least = 1;
        let sizes = SIZES.map(|(_, most)| {
            let class = least..=most;
            least = most.saturating_add(1);
            apps_percent(&|app| class.contains(&app.functions))
        });
        Self {
            sizes_percent: sizes.into_iter().flatten().collect(),
            over_100_percent: apps_percent(&|app| app.functions > 100),
            small_apps_invocations_percent: invocations_percent(&|app| app.functions <= 3),
            daily: Distribution::new(apps.iter().map(daily).collect()),
            busy_apps_invocations_percent: invocations_percent(&|app| daily(app) > PER_MINUTE),
            app_skew: Skew::of(apps.iter().map(|app| app.invocations).collect()),
            function_skew: Skew::of(invoked.iter().map(|one| one.invocations).collect()),
        }
    }

    /// Percent of apps with so many invocations a day at most, on average.
    pub fn at_most_daily(&self, limit: f64) -> Option<f64> {
        self.daily.percent_at_most(limit * 1.000_001)
    }

    /// Percent of apps whose average rate is this one, give or take 1 %.
    pub fn at_daily(&self, rate: f64) -> Option<f64> {
        Some(self.daily.percent_at_most(rate * 1.01)? - self.daily.percent_at_most(rate * 0.99)?)
    }

    /// Orders of magnitude between the rarest and the busiest app.
    pub fn orders_of_magnitude(&self) -> Option<f64> {
        self.daily.extremes().filter(|(least, _)| *least > 0.0).map(|(least, most)| (most / least).log10())
    }
}

impl Skew {
    fn of(mut counts: Vec<u64>) -> Self {
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let all: u64 = counts.iter().sum();
        let (mut sum, mut next) = (0, 0.0);
        let mut curve = Vec::new();
        for (i, count) in counts.iter().enumerate() {
            sum += count;
            let (busiest, made) = (percent((i + 1) as f64, counts.len() as f64), percent(sum as f64, all as f64));
            // Steps of 3 % on a logarithmic axis can't be told from a curve.
            if let (Some(busiest), Some(made)) = (busiest, made)
                && (busiest >= next || i + 1 == counts.len())
            {
                curve.push((busiest, made));
                next = busiest * 1.03;
            }
        }
        Self { count: counts.len(), curve }
    }

    /// Percent of invocations that the busiest `percent` % make, between the points of the curve; `None` if that is less
    /// than one of them.
    pub fn top(&self, percent: f64) -> Option<f64> {
        let after = self.curve.iter().position(|(busiest, _)| *busiest >= percent * 0.999_999)?;
        let (x1, y1) = self.curve[after];
        if x1 <= percent * 1.000_001 {
            return Some(y1);
        }
        let (x0, y0) = self.curve[after.checked_sub(1)?];
        Some(y0 + (y1 - y0) * (percent - x0) / (x1 - x0))
    }
}
