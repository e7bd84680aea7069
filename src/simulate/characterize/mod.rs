//! What a workload is like, in the figures of "Serverless in the Wild" (Shahrad et al., USENIX ATC 2020, §3), beside what
//! was published. Pure. The work grows with the minutes in which functions are invoked, not with their invocations.
//!
//! One file a subject; [`published`] holds the published values, [`compare`] lays both side by side.

mod arrivals;
mod compare;
mod executions;
mod load;
mod population;
pub mod published;
#[cfg(test)]
mod tests;
mod triggers;

use std::sync::Arc;

use serde::Serialize;

use super::traces::Trace;

pub use arrivals::{Arrivals, Gaps};
pub use compare::{Comparison, compare};
pub use executions::Executions;
pub use load::Load;
pub use population::{Population, RARE_PER_DAY, SIZES};
pub use triggers::{Combination, TriggerShare, Triggers};

const DAY_MS: f64 = 24.0 * 3_600_000.0;

/// A workload in figures. Percentages are 0-100. Functions and apps that were never invoked do not count.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Characterization {
    /// From the trace's first minute to its end, days; a minute at least.
    pub days: f64,
    /// Functions that were invoked.
    pub functions: usize,
    /// Apps that were invoked.
    pub apps: usize,
    /// Invocations.
    pub invocations: u64,
    /// By trigger.
    pub triggers: Triggers,
    /// Sizes, rates and skew.
    pub population: Population,
    /// Times between invocations.
    pub arrivals: Arrivals,
    /// Durations and memory.
    pub executions: Executions,
    /// Invocations over time.
    pub load: Load,
    /// The apps with the most invocations, the busiest first.
    pub busiest: Vec<App>,
}

/// An app that was invoked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct App {
    /// Its name.
    pub name: Arc<str>,
    /// Its functions that were invoked.
    pub functions: usize,
    /// Its invocations.
    pub invocations: u64,
    /// Its triggers as `http+timer`; empty if none of them is known.
    pub triggers: String,
    /// Coefficient of variation of the times between its invocations; `None` for fewer than 3.
    pub cv: Option<f64>,
    /// Memory, MB, where known.
    pub memory_mb: Option<f64>,
}

/// How many of the busiest apps are named.
const BUSIEST: usize = 10;

/// A function that was invoked.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Invoked {
    /// Its index in the trace.
    function: u32,
    invocations: u64,
}

/// Characterises a trace. `progress` is told how many invocations are done.
pub fn characterize(trace: &Trace, progress: impl Fn(u64)) -> Characterization {
    let mut load = load::Hours::new(trace);
    let mut minutes = arrivals::Minutes::default();
    let (mut apps, mut invoked) = (Vec::new(), Vec::new());
    let mut done = 0;
    for app in trace.apps() {
        let of_app = invoked.len();
        minutes.clear();
        for function in app.functions.iter().copied() {
            let before = minutes.invocations();
            for (minute, count) in trace.cells(function) {
                minutes.add(minute, count);
                load.add(minute, count);
            }
            let invocations = minutes.invocations() - before;
            if invocations > 0 {
                invoked.push(Invoked { function, invocations });
            }
        }
        if minutes.invocations() > 0 {
            apps.push(App {
                name: Arc::clone(&app.app),
                functions: invoked.len() - of_app,
                invocations: minutes.invocations(),
                triggers: triggers::combination(trace, &invoked[of_app..]),
                cv: minutes.gaps().cv(),
                memory_mb: app.memory_mb,
            });
        }
        done += minutes.invocations();
        progress(done);
    }
    let days = (trace.end_ms() - trace.begin_ms()).max(60_000) as f64 / DAY_MS;
    Characterization {
        days,
        functions: invoked.len(),
        apps: apps.len(),
        invocations: done,
        triggers: Triggers::of(trace, &invoked, &apps, days),
        population: Population::of(&invoked, &apps, days),
        arrivals: Arrivals::of(&apps),
        executions: Executions::of(trace, &invoked, &apps),
        load: load.finish(),
        busiest: busiest(apps),
    }
}

/// The busiest apps; of those with as many invocations, the first by name.
fn busiest(mut apps: Vec<App>) -> Vec<App> {
    apps.sort_by(|a, b| b.invocations.cmp(&a.invocations).then_with(|| a.name.cmp(&b.name)));
    apps.truncate(BUSIEST);
    apps
}

/// A part of a whole in percent; `None` of nothing.
fn percent(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| 100.0 * part / whole)
}
