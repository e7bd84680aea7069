//! What another policy would have cost on the same invocations. Pure, and by the simulator's rules: cold is an app's
//! first invocation and any whose idle time falls into no window; idle memory is memory × loaded time within idle
//! times, cut off at the end.

use crate::model::{Invocation, Windows};
use crate::policy::Policy;
use crate::state::{AppState, AppTable, Observed, Shape};

/// The account of one policy.
#[derive(Debug)]
pub struct Shadow {
    policy: Policy,
    shape: Shape,
    default_memory_mb: f64,
    apps: AppTable<Entry>,
    invocations: u64,
    cold: u64,
    /// Of idle times that are over.
    idle_ms: i64,
    idle_mb_ms: f64,
}

#[derive(Debug)]
struct Entry {
    state: AppState,
    windows: Windows,
    cold: u64,
}

/// What a policy would have cost.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Costs {
    /// Invocations.
    pub invocations: u64,
    /// Those that would have been cold.
    pub cold: u64,
    /// Time that apps would have been loaded and idle, ms.
    pub idle_ms: i64,
    /// The same times memory, MB·s.
    pub idle_mb_s: f64,
}

impl Shadow {
    /// An empty account. Apps that never told their memory count with `default_memory_mb`.
    pub fn new(policy: Policy, default_memory_mb: f64) -> Self {
        let shape = policy.shape();
        Self {
            policy,
            shape,
            default_memory_mb,
            apps: AppTable::default(),
            invocations: 0,
            cold: 0,
            idle_ms: 0,
            idle_mb_ms: 0.0,
        }
    }

    /// Takes one invocation into account; those of an app come in the order of their starts.
    pub fn observe(&mut self, invocation: &Invocation) {
        self.invocations += 1;
        let Some(entry) = self.apps.get_mut(&invocation.app) else {
            self.cold += 1;
            let state = AppState::first(invocation);
            let windows = self.policy.plan(&state).windows;
            self.apps.insert(&invocation.app, Entry { state, windows, cold: 1 });
            return;
        };
        if let Observed::Idle(idle_ms) = entry.state.apply(invocation, self.shape) {
            if !entry.windows.iter().any(|window| window.contains(idle_ms)) {
                self.cold += 1;
                entry.cold += 1;
            }
            let loaded_ms: i64 = entry.windows.iter().map(|window| window.loaded_ms(idle_ms)).sum();
            self.idle_ms += loaded_ms;
            self.idle_mb_ms += loaded_ms as f64 * entry.state.memory_mb().unwrap_or(self.default_memory_mb);
            entry.windows = self.policy.plan(&entry.state).windows;
        }
    }

    /// Invocations and cold starts of each app, in no particular order.
    pub fn by_app(&self) -> impl Iterator<Item = (u64, u64)> {
        self.apps.iter().map(|(_, entry)| (entry.state.invocations, entry.cold))
    }

    /// The costs up to `end_ms`.
    pub fn costs(&self, end_ms: i64) -> Costs {
        let (mut idle_ms, mut idle_mb_ms) = (self.idle_ms, self.idle_mb_ms);
        for (_, entry) in self.apps.iter() {
            let idle_so_far_ms = end_ms - entry.state.last_end_ms;
            let loaded_ms: i64 = entry.windows.iter().map(|window| window.loaded_ms(idle_so_far_ms)).sum();
            idle_ms += loaded_ms;
            idle_mb_ms += loaded_ms as f64 * entry.state.memory_mb().unwrap_or(self.default_memory_mb);
        }
        Costs { invocations: self.invocations, cold: self.cold, idle_ms, idle_mb_s: idle_mb_ms / 1000.0 }
    }
}
