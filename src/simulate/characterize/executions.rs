//! Execution times and memory (§3.4 and §3.5).

use serde::Serialize;

use super::{App, Invoked};
use crate::simulate::Distribution;
use crate::simulate::traces::Trace;

/// What executions take. Functions and apps of which it is not known do not count.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Executions {
    /// Average execution time of a function, s.
    pub durations_s: Distribution,
    /// Memory of an app, MB.
    pub memory_mb: Distribution,
}

impl Executions {
    pub(super) fn of(trace: &Trace, invoked: &[Invoked], apps: &[App]) -> Self {
        let durations = invoked.iter().map(|one| trace.duration_ms(one.function) / 1000.0);
        Self {
            durations_s: Distribution::new(durations.filter(|duration_s| *duration_s > 0.0).collect()),
            memory_mb: Distribution::new(apps.iter().filter_map(|app| app.memory_mb).collect()),
        }
    }
}
