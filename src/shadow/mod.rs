//! What another policy would have cost on the same invocations. Pure, and by the simulator's rules: cold is an app's
//! first invocation and any whose idle time falls into no window; idle memory is memory × loaded time within idle
//! times, cut off at the end.

mod account;

pub use account::{Account, Run};

use crate::model::Invocation;
use crate::policy::{Planner, Policy};
use crate::state::AppTable;

/// The accounts of one policy.
#[derive(Debug)]
pub struct Shadow {
    planner: Planner,
    default_memory_mb: f64,
    apps: AppTable<Account>,
}

/// What a policy would have cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Costs {
    /// Invocations.
    pub invocations: u64,
    /// Those that would have been cold.
    pub cold: u64,
    /// Time that apps would have been loaded and idle, ms.
    pub idle_ms: f64,
    /// The same times memory, MB·s.
    pub idle_mb_s: f64,
}

impl Shadow {
    /// No accounts yet. Apps that never told their memory count with `default_memory_mb`.
    pub fn new(policy: Policy, default_memory_mb: f64) -> Self {
        Self { planner: Planner::new(policy), default_memory_mb, apps: AppTable::default() }
    }

    /// Takes one invocation into account; those of an app come in the order of their starts.
    pub fn observe(&mut self, invocation: &Invocation) {
        let (start_ms, end_ms) = (invocation.started_at_ms, invocation.ended_at_ms());
        if let Some(account) = self.apps.get_mut(&invocation.app) {
            account.memory_mb = invocation.memory_mb.unwrap_or(account.memory_mb);
            account.arrive(&mut self.planner, start_ms, end_ms, invocation.trigger);
            return;
        }
        let memory_mb = invocation.memory_mb.unwrap_or(self.default_memory_mb);
        self.planner.begin(start_ms);
        let account = Account::open(&self.planner, start_ms, end_ms, invocation.trigger, memory_mb);
        self.apps.insert(&*invocation.app, account);
    }

    /// The costs up to `end_ms`.
    pub fn costs(&self, end_ms: i64) -> Costs {
        let mut costs = Costs::default();
        for (_, account) in self.apps.iter() {
            let (idle_ms, idle_mb_ms) = account.idle(end_ms);
            costs.invocations += account.invocations;
            costs.cold += account.cold;
            costs.idle_ms += idle_ms;
            costs.idle_mb_s += idle_mb_ms / 1000.0;
        }
        costs
    }
}
