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
            self.apps.insert(&invocation.app, Entry { state, windows });
            return;
        };
        if let Observed::Idle(idle_ms) = entry.state.apply(invocation, self.shape) {
            if !entry.windows.iter().any(|window| window.contains(idle_ms)) {
                self.cold += 1;
            }
            let loaded_ms: i64 = entry.windows.iter().map(|window| window.loaded_ms(idle_ms)).sum();
            self.idle_ms += loaded_ms;
            self.idle_mb_ms += loaded_ms as f64 * entry.state.memory_mb().unwrap_or(self.default_memory_mb);
            entry.windows = self.policy.plan(&entry.state).windows;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::parse;
    use crate::simulate::traces;

    fn count(trace: &str, policy: &str) -> Option<(u64, f64)> {
        let folder = std::path::Path::new("../shared/traces").join(trace);
        if !folder.is_dir() {
            eprintln!("skipped: ../shared/traces/{trace} is not here");
            return None;
        }
        let trace = traces::open(&folder).unwrap();
        let mut shadow = Shadow::new(parse(policy).unwrap(), 170.0);
        for arrival in trace.arrivals() {
            shadow.observe(&trace.invocation(&arrival, arrival.at_ms));
        }
        let costs = shadow.costs(trace.end_ms());
        Some((costs.cold, (costs.idle_ms as f64 / 600.0).round() / 100.0))
    }

    /// Cold starts and idle app-minutes that an independent program counted on the same traces.
    #[test]
    fn agrees_with_an_independent_count() {
        for (trace, policy, cold, minutes) in [
            ("azure2021-head998", "fixed:10m", 38, 1076.82),
            ("azure2021-head998", "fixed:60m", 21, 1568.54),
            ("azure2021-head998", "hybrid", 23, 1403.51),
            ("azure2019-d01-head9", "fixed:10m", 9, 3371.49),
            ("azure2019-d01-head9", "hybrid", 11, 879.84),
        ] {
            let Some((found_cold, found_minutes)) = count(trace, policy) else { return };
            assert_eq!(found_cold, cold, "{policy} on {trace}");
            assert!((found_minutes - minutes).abs() <= 0.011, "{policy} on {trace}: {found_minutes}");
        }
    }
}
