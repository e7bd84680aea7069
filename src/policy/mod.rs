//! Step 4: state of an app → windows in which to keep it loaded. Pure functions, O(bins) at most.

mod expected;
mod fixed;
mod hybrid;
mod spec;

pub use expected::expected;
pub use fixed::Fixed;
pub use hybrid::Hybrid;
pub use spec::{NAMES, SpecError, parse};

use crate::model::{Regime, Windows};
use crate::state::{AppState, Shape};

/// A policy with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub enum Policy {
    /// The same keep-alive for every app.
    Fixed(Fixed),
    /// Idle-time histograms.
    Hybrid(Hybrid),
}

/// When to keep an app loaded, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The rule.
    pub regime: Regime,
    /// Windows of idle time.
    pub windows: Windows,
}

impl Policy {
    /// The windows for an app in this state.
    pub fn plan(&self, app: &AppState) -> Plan {
        match self {
            Policy::Fixed(fixed) => fixed.plan(),
            Policy::Hybrid(hybrid) => hybrid.plan(app),
        }
    }

    /// The histogram that the policy wants to be kept.
    pub fn shape(&self) -> Shape {
        match self {
            Policy::Fixed(fixed) => fixed.shape(),
            Policy::Hybrid(hybrid) => hybrid.shape(),
        }
    }

    /// The name in decisions.
    pub const fn name(&self) -> &'static str {
        match self {
            Policy::Fixed(_) => "fixed",
            Policy::Hybrid(_) => "hybrid",
        }
    }

    /// One sentence for people: why these windows, with the numbers behind them.
    pub fn reason(&self, app: &AppState, plan: &Plan) -> String {
        match self {
            Policy::Fixed(fixed) => fixed.reason(),
            Policy::Hybrid(hybrid) => hybrid.reason(app, plan),
        }
    }

    /// The same policy for a workload that runs `speed` times as fast as its own clock: every time shrinks alike.
    #[must_use]
    pub fn sped_up(self, speed: f64) -> Self {
        match self {
            Policy::Fixed(fixed) => Policy::Fixed(fixed.sped_up(speed)),
            Policy::Hybrid(hybrid) => Policy::Hybrid(hybrid.sped_up(speed)),
        }
    }
}

/// `ms / speed`, at least 1 ms.
pub(crate) fn shrink_ms(ms: i64, speed: f64) -> i64 {
    ((ms as f64 / speed).round() as i64).max(1)
}
