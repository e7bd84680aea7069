//! A policy at work on the apps of one partition: it plans for each, and learns from all.

use crate::checkpoint::Columns;
use crate::forecast::{Forecast, forecast, fresh};
use crate::state::{Arrivals, Kept, Look};

use super::budget::{Curve, Past, Solution, Surveyed, Target, solve, survey};
use super::{Frontier, Lesson, Plan, Policy, Priors};

/// A policy, and what it learned so far from the apps that it plans for.
#[derive(Debug, Clone)]
pub struct Planner {
    policy: Policy,
    kept: Kept,
    priors: Box<Priors>,
    /// When the first app was seen, epoch ms.
    began_ms: Option<i64>,
    /// Counts the changes of the price.
    prices: u32,
    past_price: Option<PastPrice>,
}

/// The prices in force up to the last change.
#[derive(Debug, Clone, Copy)]
struct PastPrice {
    /// Mean of their logarithms over time, in which older days weigh less.
    mean_log: f64,
    until_ms: i64,
}

/// Who plans, and what becomes of the lessons.
pub trait Learner {
    /// Who plans.
    fn planner(&self) -> &Planner;
    /// Takes a lesson.
    fn take(&mut self, lesson: Lesson);

    /// Takes into account, for the app in the state `arrivals` and for all others, that it had `times` idle times of
    /// `idle_ms` each next, the first of which ended with a start at `start_ms`.
    fn record(&mut self, arrivals: &mut Arrivals, idle_ms: i64, start_ms: i64, times: u32) {
        let planner = self.planner();
        let look = arrivals.look(idle_ms, start_ms, &planner.kept);
        let lesson = planner.lesson(arrivals, &look, times);
        arrivals.record(&look, times, &planner.kept);
        if let Some(lesson) = lesson {
            self.take(lesson);
        }
    }
}

/// Learns at once.
impl Learner for Planner {
    fn planner(&self) -> &Planner {
        self
    }

    fn take(&mut self, lesson: Lesson) {
        self.priors.learn(&lesson);
    }
}

/// Keeps lessons for later, so that several can plan with the same planner.
#[derive(Debug)]
pub struct Pending<'a> {
    /// Who plans.
    pub planner: &'a Planner,
    /// What it has to learn yet.
    pub lessons: &'a mut Vec<Lesson>,
}

impl Learner for Pending<'_> {
    fn planner(&self) -> &Planner {
        self.planner
    }

    fn take(&mut self, lesson: Lesson) {
        self.lessons.push(lesson);
    }
}

/// A plan that is in force, and for how much longer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InForce {
    /// The plan.
    pub plan: Plan,
    /// Idle times since it was made.
    used: u32,
    day: i32,
    prices: u32,
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
        Self { kept: policy.kept(), policy, priors: Box::default(), began_ms: None, prices: 0, past_price: None }
    }

    /// The policy, at the price in force.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// When the first app was seen, epoch ms.
    pub const fn began_ms(&self) -> Option<i64> {
        self.began_ms
    }

    /// Worth of one avoided cold start now, MB·s, for a policy that has such a price.
    pub const fn price_mb_s(&self) -> Option<f64> {
        match &self.policy {
            Policy::Frontier(frontier) => Some(frontier.price_mb_s),
            Policy::Fixed(_) | Policy::Hybrid(_) => None,
        }
    }

    /// Puts another price in force at `at_ms`, for every plan that is made from then on. Those in force end with the idle
    /// times that they were made for.
    pub fn set_price_mb_s(&mut self, price_mb_s: f64, at_ms: i64) {
        let mean_mb_s = self.mean_price_mb_s(at_ms);
        if let Policy::Frontier(frontier) = &mut self.policy
            && frontier.price_mb_s != price_mb_s
        {
            frontier.price_mb_s = price_mb_s;
            self.prices += 1;
            self.past_price = mean_mb_s.map(|price| PastPrice { mean_log: price.ln(), until_ms: at_ms });
        }
    }

    /// The geometric mean of the prices in force until `now_ms`, over time, MB·s.
    fn mean_price_mb_s(&self, now_ms: i64) -> Option<f64> {
        let price_mb_s = self.price_mb_s()?;
        let (Some(began_ms), Some(past)) = (self.began_ms, self.past_price) else { return Some(price_mb_s) };
        let since = self.kept.faded_ms(past.until_ms, now_ms) / self.kept.faded_ms(began_ms, now_ms).max(1.0);
        Some((past.mean_log + (price_mb_s.ln() - past.mean_log) * since.clamp(0.0, 1.0)).exp())
    }

    /// What the price is to be solved for, if it isn't given.
    pub const fn target(&self) -> Option<Target> {
        match &self.policy {
            Policy::Frontier(frontier) => frontier.target,
            Policy::Fixed(_) | Policy::Hybrid(_) => None,
        }
    }

    /// What `apps` are expected to cost at each price, for a policy with a target.
    pub fn curve(&self, apps: Vec<Surveyed<'_>>, now_ms: i64) -> Option<Curve> {
        match &self.policy {
            Policy::Frontier(frontier @ Frontier { target: Some(_), .. }) => {
                let past = Past { began_ms: self.began_ms?, price_mb_s: self.mean_price_mb_s(now_ms)? };
                Some(survey(frontier, &self.priors, &self.kept, apps, past, now_ms))
            }
            _ => None,
        }
    }

    /// The price that meets the target by `curve`; `None` for a policy without a target.
    pub fn solve(&self, curve: &Curve) -> Option<Solution> {
        Some(solve(curve, self.target()?, self.price_mb_s()?))
    }

    /// What it learned, as columns of a row of its own.
    pub fn columns(&mut self, columns: &mut impl Columns) {
        let Self { policy, kept: _, priors, began_ms, prices, past_price } = self;
        columns.optional("began_ms", began_ms);
        columns.number("prices", prices);
        // A price that was given is as configured now.
        if let Policy::Frontier(Frontier { target: Some(_), price_mb_s, .. }) = policy {
            columns.number("price_mb_s", price_mb_s);
        }
        let (mut mean_log, mut until_ms) = (past_price.map(|past| past.mean_log), past_price.map(|past| past.until_ms));
        columns.optional("past_price_mean_log", &mut mean_log);
        columns.optional("past_price_until_ms", &mut until_ms);
        *past_price = mean_log.zip(until_ms).map(|(mean_log, until_ms)| PastPrice { mean_log, until_ms });
        priors.columns(columns);
    }

    /// What it wants to be kept of an app's arrivals.
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Says that apps are observed from `at_ms` on, unless they were before.
    pub fn begin(&mut self, at_ms: i64) {
        self.began_ms.get_or_insert(at_ms);
    }

    /// For how long apps were observed before a start at `start_ms` of one that was never seen: it was silent so long.
    pub fn silence_ms(&self, start_ms: i64) -> i64 {
        (start_ms - self.began_ms.unwrap_or(start_ms)).max(0)
    }

    /// Whether any app teaches it anything about others.
    pub const fn learns(&self) -> bool {
        matches!(self.policy, Policy::Frontier(_))
    }

    /// What an app teaches about others that in the state `arrivals` had `times` idle times like `look` next; mostly
    /// nothing.
    fn lesson(&self, arrivals: &Arrivals, look: &Look, times: u32) -> Option<Lesson> {
        match &self.policy {
            Policy::Frontier(frontier) => frontier.lesson(arrivals, look, times),
            Policy::Fixed(_) | Policy::Hybrid(_) => None,
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
        InForce { used: 0, day: arrivals.day(), prices: self.prices, place, plan }
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

    /// The series to forecast before [`Planner::renew`] can make a plan for the app, if it will make one and that needs a
    /// forecast.
    pub fn wants_forecast<'a>(&self, in_force: &InForce, arrivals: &'a Arrivals) -> Option<&'a [f32]> {
        self.series(arrivals).filter(|_| self.is_over(in_force, arrivals))
    }

    /// Makes a new plan for the idle time at hand, if the last start or end that the one in force rests on has moved.
    /// Whatever else would end a plan waits until the idle time is over.
    pub fn follow_end(&self, in_force: &mut InForce, arrivals: &Arrivals, memory_mb: f64) {
        if self.has_moved(in_force, arrivals) {
            *in_force = self.plan(arrivals, memory_mb);
        }
    }

    fn is_over(&self, in_force: &InForce, arrivals: &Arrivals) -> bool {
        in_force.used > in_force.plan.steady_for
            || in_force.day != arrivals.day()
            || in_force.prices != self.prices
            || self.has_moved(in_force, arrivals)
    }

    fn has_moved(&self, in_force: &InForce, arrivals: &Arrivals) -> bool {
        in_force.place.is_some_and(|place| {
            let now = self.place(arrivals);
            let tolerance_ms = self.kept.shape.lower_ms(1);
            (place.phase_ms - now.phase_ms).abs() >= tolerance_ms || (place.busy_ms - now.busy_ms).abs() >= tolerance_ms
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
        let Self { plan, used, day, prices, place } = self;
        plan.columns(columns);
        columns.number("plan_used", used);
        columns.number("plan_day", day);
        columns.number("plan_prices", prices);
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
