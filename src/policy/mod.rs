//! Step 4: state of an app → windows in which to keep it loaded. Pure functions, O(bins) at most.

pub mod budget;
mod expected;
mod fixed;
mod frontier;
mod hybrid;
mod planner;
mod spec;

pub use expected::expected;
pub use fixed::Fixed;
pub use frontier::{Frontier, Lesson, Priors, Weight};
pub use hybrid::Hybrid;
pub use planner::{InForce, Learner, Pending, Planner, forecast_series};
pub(crate) use spec::{FRONTIER_PRICES, parse_memory_mb, parse_price_mb_s};
pub use spec::{NAMES, SpecError, parse};

use crate::checkpoint::Columns;
use crate::forecast::Forecast;
use crate::model::{Regime, Windows, window_columns};
use crate::state::{Arrivals, Kept, Shape};

/// What was seen weighs so much of it a day later: half after three days, a twentieth after two weeks.
const FADE_PER_DAY: f32 = 0.8;
/// A minute of a workload that runs at its own speed, ms.
const MINUTE_MS: i64 = 60_000;

/// A policy with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub enum Policy {
    /// The same keep-alive for every app.
    Fixed(Fixed),
    /// Idle-time histograms.
    Hybrid(Hybrid),
    /// Expected costs at a price.
    Frontier(Frontier),
}

/// When to keep an app loaded, and by which rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The rule.
    pub regime: Regime,
    /// Windows of idle time.
    pub windows: Windows,
    /// How many more idle times of the app, whatever they are, leave the plan as it is. A new day ends it in any case.
    pub steady_for: u32,
    /// Whether it holds for the last start and end that the app had when it was made, and for no others.
    pub rests_on_last_end: bool,
}

impl Policy {
    /// The windows for an app in this state. `forecast` is that of its next idle time, for the policies that want one.
    pub fn plan(&self, arrivals: &Arrivals, memory_mb: f64, priors: &Priors, forecast: Option<Forecast>) -> Plan {
        match self {
            Policy::Fixed(fixed) => fixed.plan(),
            Policy::Hybrid(hybrid) => hybrid.plan(arrivals, forecast),
            Policy::Frontier(frontier) => frontier.plan(arrivals, memory_mb, priors),
        }
    }

    /// What the policy wants to be kept of an app's arrivals.
    pub fn kept(&self) -> Kept {
        match self {
            Policy::Fixed(fixed) => fixed.kept(),
            Policy::Hybrid(hybrid) => hybrid.kept(),
            Policy::Frontier(frontier) => frontier.kept(),
        }
    }

    /// Whether it plans by forecasts.
    pub const fn forecasts(&self) -> bool {
        matches!(self, Policy::Hybrid(Hybrid { forecast: true, .. }))
    }

    /// The bins of the histogram that it wants.
    pub fn shape(&self) -> Shape {
        self.kept().shape
    }

    /// The name in decisions.
    pub const fn name(&self) -> &'static str {
        match self {
            Policy::Fixed(_) => "fixed",
            Policy::Hybrid(_) => "hybrid",
            Policy::Frontier(_) => "frontier",
        }
    }

    /// One sentence for people: why these windows, with the numbers behind them.
    pub fn reason(&self, arrivals: &Arrivals, plan: &Plan) -> String {
        match self {
            Policy::Fixed(fixed) => fixed.reason(),
            Policy::Hybrid(hybrid) => hybrid.reason(arrivals, plan),
            Policy::Frontier(frontier) => frontier.reason(arrivals, plan),
        }
    }

    /// The same policy for a workload that runs `speed` times as fast as its own clock: every time shrinks alike.
    #[must_use]
    pub fn sped_up(self, speed: f64) -> Self {
        match self {
            Policy::Fixed(fixed) => Policy::Fixed(fixed.sped_up(speed)),
            Policy::Hybrid(hybrid) => Policy::Hybrid(hybrid.sped_up(speed)),
            Policy::Frontier(frontier) => Policy::Frontier(frontier.sped_up(speed)),
        }
    }
}

impl Plan {
    fn columns(&mut self, columns: &mut impl Columns) {
        let Self { regime, windows, steady_for, rests_on_last_end } = self;
        regime.column("plan_regime", columns);
        window_columns(windows, ["plan_from_ms", "plan_until_ms"], columns);
        columns.number("plan_steady_for", steady_for);
        columns.flag("plan_rests_on_last_end", rests_on_last_end);
    }
}

/// `ms / speed`, at least 1 ms.
pub(crate) fn shrink_ms(ms: i64, speed: f64) -> i64 {
    ((ms as f64 / speed).round() as i64).max(1)
}
