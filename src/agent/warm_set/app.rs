//! What is known of one app, and what that wishes for.

use crate::model::{Decision, Version, Window, Windows};

use super::loads::{LoadTimes, Urgency};
use super::ranking::Worth;

/// No window reaches further, ms: ten years, for decisions of others that mean "for ever".
const MOST_MS: i64 = 3_652 * 86_400_000;
/// No decision is asked more instances of.
pub(super) const MOST_INSTANCES: u32 = 1_000;

/// Of most apps nothing but a plan is known, so what is here is small: 1 M of them take some 400 MB with all that refers to
/// them (`benches/agent.rs`).
#[derive(Debug)]
pub(super) struct App<T> {
    /// Whether this node knows what to load.
    pub loadable: bool,
    pub plan: Option<ReceivedPlan>,
    pub idle: Vec<Idle<T>>,
    pub busy: u32,
    pub loading: u32,
    /// End of the last execution on this node.
    pub idle_since_ms: Option<i64>,
    pub loads: LoadTimes,
    /// After a load that failed.
    pub no_load_before_ms: i64,
    pub due_ms: Option<i64>,
    /// Instances to load ahead of time that nobody is loading yet, and, if there are any, how urgent they are.
    pub missing: u32,
    pub urgency: Option<Urgency>,
    /// What it was worth when it was used last, and, while something of it is idle, where it is ranked.
    pub worth: Option<Worth>,
    pub ranked: Option<Worth>,
}

/// What a decision asks for.
#[derive(Debug, Clone)]
pub(super) struct ReceivedPlan {
    /// Partition of the control topic.
    pub partition: i32,
    pub version: Version,
    pub windows: Windows,
    pub idle_since_ms: i64,
    pub instances: u32,
    pub valid_until_ms: i64,
    /// Chance that the next start finds it loaded, by the decision.
    pub hit: Option<f32>,
}

#[derive(Debug)]
pub(super) struct Idle<T> {
    pub instance: T,
    pub memory_mb: f64,
    /// Whether it has executed anything since it was loaded.
    pub used: bool,
}

/// What an app's windows say at a moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// Idle instances to keep at most.
    pub keep: u32,
    /// Instances to have, loading some if need be.
    pub have: u32,
    /// When to look again.
    pub until_ms: Option<i64>,
    pub why_not: &'static str,
}

impl ReceivedPlan {
    /// What a decision in a partition of the control topic asks for, within bounds.
    pub fn of(decision: &Decision, partition: i32) -> Self {
        let bounded = |ms: i64| ms.clamp(0, MOST_MS);
        Self {
            partition,
            version: decision.version,
            windows: decision
                .windows
                .iter()
                .map(|window| Window { from_ms: bounded(window.from_ms), until_ms: bounded(window.until_ms) })
                .collect(),
            idle_since_ms: decision.idle_since_ms,
            instances: decision.instances.min(MOST_INSTANCES),
            valid_until_ms: decision.valid_until_ms,
            hit: decision.expected.map(|expected| 1.0 - expected.cold_probability as f32),
        }
    }
}

impl<T> Default for App<T> {
    fn default() -> Self {
        Self {
            loadable: false,
            plan: None,
            idle: Vec::new(),
            busy: 0,
            loading: 0,
            idle_since_ms: None,
            loads: LoadTimes::default(),
            no_load_before_ms: 0,
            due_ms: None,
            missing: 0,
            urgency: None,
            worth: None,
            ranked: None,
        }
    }
}

impl<T> App<T> {
    pub fn idle_since_ms(&self) -> Option<i64> {
        self.idle_since_ms.max(self.plan.as_ref().map(|plan| plan.idle_since_ms))
    }

    /// How long before a window loading begins: the 95th percentile of what it took.
    pub fn lead_ms(&self) -> i64 {
        self.loads.p95_ms()
    }

    pub fn valid_plan(&self, now_ms: i64) -> Option<&ReceivedPlan> {
        self.plan.as_ref().filter(|plan| now_ms < plan.valid_until_ms)
    }

    pub fn wish(&self, now_ms: i64, default_keep_alive_ms: i64) -> Wish {
        let plan = self.valid_plan(now_ms);
        let instances = plan.map_or(u32::MAX, |plan| plan.instances);
        if self.busy > 0 {
            let keep = instances.saturating_sub(self.busy);
            return Wish { keep, have: 0, until_ms: None, why_not: "more instances than the decision asks for" };
        }
        let none = Wish { keep: 0, have: 0, until_ms: None, why_not: "its windows are over" };
        let Some(idle_since_ms) = self.idle_since_ms() else { return none };
        let default = [Window::keep_alive(default_keep_alive_ms)];
        let windows: &[Window] = plan.map_or(&default, |plan| &plan.windows);
        let lead_ms = self.lead_ms();
        // An end ahead of this node's clock, by the decision of a platform whose clock is, counts as now.
        let idle_ms = (now_ms - idle_since_ms).max(0);
        let expires_ms = plan.map(|plan| plan.valid_until_ms);
        let sooner = |at_ms: i64| Some(expires_ms.map_or(at_ms, |expires_ms| expires_ms.min(at_ms)));
        let Some(window) = windows.iter().find(|window| idle_ms < window.until_ms) else {
            return none;
        };
        // At most half of the way: an app whose loading seems to take longer would never be unloaded, and so never be
        // loaded and measured again.
        let begins_ms = window.from_ms - lead_ms.min(window.from_ms / 2);
        if idle_ms < begins_ms {
            let until_ms = sooner(now_ms + begins_ms - idle_ms);
            return Wish { until_ms, why_not: "its next window is yet to come", ..none };
        }
        // Keep-alive keeps what there is; only a window that lies ahead loads.
        let have = if window.from_ms > 0 { plan.map_or(0, |plan| plan.instances) } else { 0 };
        let until_ms = sooner(now_ms + window.until_ms - idle_ms);
        Wish { keep: instances, have, until_ms, why_not: "more instances than the decision asks for" }
    }
}
