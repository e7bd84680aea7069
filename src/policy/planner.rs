//! A policy at work on the apps of one partition: it plans for each, and learns from all.

use crate::checkpoint::Columns;
use crate::forecast::{Forecast, forecast, fresh};
use crate::state::{Arrivals, Kept};

use super::{Plan, Policy, Priors};

/// A policy, and what it learned so far from the apps that it plans for.
#[derive(Debug, Clone)]
pub struct Planner {
    policy: Policy,
    kept: Kept,
    priors: Box<Priors>,
    /// When the first app was seen, epoch ms.
    began_ms: Option<i64>,
}

/// A plan that is in force, and for how much longer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InForce {
    /// The plan.
    pub plan: Plan,
    /// Idle times since it was made.
    used: u32,
    day: i32,
    /// The last start and end that the plan holds for; any, where `None`.
    place: Option<Place>,
}

/// Where in its minute the last execution started, and for how long the app was busy then.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    phase_ms: i64,
    busy_ms: i64,
}

impl Planner {
    /// Knows nothing yet.
    pub fn new(policy: Policy) -> Self {
        Self { kept: policy.kept(), policy, priors: Box::default(), began_ms: None }
    }

    /// What it learned, as columns of a row of its own.
    pub fn columns(&mut self, columns: &mut impl Columns) {
        let Self { policy: _, kept: _, priors, began_ms } = self;
        columns.optional("began_ms", began_ms);
        priors.columns(columns);
    }

    /// What it wants to be kept of an app's arrivals.
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// For how long apps were observed before a start at `start_ms` of one that was never seen: it was silent so long.
    pub fn silence_ms(&mut self, start_ms: i64) -> i64 {
        (start_ms - *self.began_ms.get_or_insert(start_ms)).max(0)
    }

    /// Learns from an app: in the state `arrivals` it had `times` idle times of `idle_ms` each next, the first of which
    /// ended with a start at `start_ms`.
    pub fn learn(&mut self, arrivals: &Arrivals, idle_ms: i64, start_ms: i64, times: u32) {
        if let Policy::Frontier(frontier) = &self.policy {
            frontier.learn(&mut self.priors, arrivals, idle_ms, start_ms, times);
        }
    }

    /// The series to forecast before the app can be planned for, if that is needed: idle times, ms, oldest first.
    pub fn series<'a>(&self, arrivals: &'a Arrivals) -> Option<&'a [f32]> {
        let wanted = matches!(&self.policy, Policy::Hybrid(hybrid) if hybrid.wants_forecast(arrivals));
        wanted.then(|| arrivals.series())
    }

    /// The plan for an app; `forecast` is that of its [`Planner::series`].
    pub fn plan_with(&self, arrivals: &Arrivals, memory_mb: f64, forecast: Option<Forecast>) -> InForce {
        let plan = self.policy.plan(arrivals, memory_mb, &self.priors, forecast);
        let place = plan.rests_on_last_end.then(|| self.place(arrivals));
        InForce { used: 0, day: arrivals.day(), place, plan }
    }

    /// The same, forecasting here and now where that is needed.
    pub fn plan(&self, arrivals: &Arrivals, memory_mb: f64) -> InForce {
        let forecast = self.series(arrivals).and_then(forecast_series);
        self.plan_with(arrivals, memory_mb, forecast)
    }

    /// Makes a new plan for an app that is in the state `arrivals` now, unless the one in force still holds.
    pub fn renew(&self, in_force: &mut InForce, arrivals: &Arrivals, memory_mb: f64) {
        if self.is_over(in_force, arrivals) {
            *in_force = self.plan(arrivals, memory_mb);
        }
    }

    fn is_over(&self, in_force: &InForce, arrivals: &Arrivals) -> bool {
        in_force.used > in_force.plan.steady_for
            || in_force.day != arrivals.day()
            || in_force.place.is_some_and(|place| {
                let now = self.place(arrivals);
                let tolerance_ms = self.kept.shape.lower_ms(1);
                (place.phase_ms - now.phase_ms).abs() >= tolerance_ms
                    || (place.busy_ms - now.busy_ms).abs() >= tolerance_ms
            })
    }

    fn place(&self, arrivals: &Arrivals) -> Place {
        Place {
            phase_ms: arrivals.last_start_ms.rem_euclid(self.kept.minute_ms),
            busy_ms: arrivals.last_end_ms - arrivals.last_start_ms,
        }
    }
}

/// The forecast of a series that an app's state keeps, from what is not stale of it.
pub fn forecast_series(series: &[f32]) -> Option<Forecast> {
    let series: Vec<f64> = series.iter().map(|idle_ms| f64::from(*idle_ms)).collect();
    forecast(fresh(&series))
}

impl InForce {
    /// How many of `times` idle times to come fall under this plan, at least 1.
    pub fn covers(&self, times: u32) -> u32 {
        times.min(self.plan.steady_for.saturating_sub(self.used).saturating_add(1))
    }

    /// As columns.
    pub fn columns(&mut self, columns: &mut impl Columns) {
        let Self { plan, used, day, place } = self;
        plan.columns(columns);
        columns.number("plan_used", used);
        columns.number("plan_day", day);
        let (mut phase_ms, mut busy_ms) = (place.map(|place| place.phase_ms), place.map(|place| place.busy_ms));
        columns.optional("plan_phase_ms", &mut phase_ms);
        columns.optional("plan_busy_ms", &mut busy_ms);
        *place = phase_ms.zip(busy_ms).map(|(phase_ms, busy_ms)| Place { phase_ms, busy_ms });
    }

    /// Makes it hold no longer, whatever comes next.
    pub const fn end(&mut self) {
        self.day = i32::MIN;
    }

    /// Counts down by `times` idle times.
    pub const fn count(&mut self, times: u32) {
        self.used = self.used.saturating_add(times);
    }
}
