//! A policy with a target, on a trace: its price is solved for at fixed moments, as a pipeline with one partition does.

use tracing::debug;

use crate::policy::Planner;
use crate::policy::budget::{Schedule, Surveyed};
use crate::shadow::Account;

use super::traces::AppFunctions;

/// Solves for the price as the trace goes on.
#[derive(Debug)]
pub(super) struct Budget {
    schedule: Schedule,
    can_be_met: bool,
}

impl Budget {
    /// Begins with the first invocation, at `began_ms`.
    pub fn new(began_ms: i64, planner: &Planner) -> Self {
        Self { schedule: Schedule::new(began_ms, planner.kept().minute_ms), can_be_met: true }
    }

    /// Solves for the price, if a moment to do so has come by `now_ms`.
    pub fn pass<'a>(
        &mut self,
        now_ms: i64,
        planner: &mut Planner,
        apps: impl Iterator<Item = (&'a AppFunctions, Option<&'a Account>)>,
    ) {
        if self.schedule.due(now_ms).is_none() {
            return;
        }
        let surveyed = apps.filter_map(|(app, account)| {
            let account = account?;
            Some(Surveyed { name: &app.app, arrivals: account.arrivals(), memory_mb: account.memory_mb })
        });
        let Some(curve) = planner.curve(surveyed.collect(), now_ms) else { return };
        if let Some(solution) = planner.solve(&curve) {
            debug!(now_ms, price_mb_s = solution.price_mb_s, can_be_met = solution.can_be_met, "solved for the price");
            planner.set_price_mb_s(solution.price_mb_s, now_ms);
            self.can_be_met = solution.can_be_met;
        }
    }

    /// Whether no price met the target when it was last solved for.
    pub const fn is_out_of_reach(&self) -> bool {
        !self.can_be_met
    }
}
