//! Traces and workloads to try everything on.

mod budget;
pub mod characterize;
mod contender;
mod distribution;
mod drive;
mod engine;
pub mod generate;
mod greedy_dual;
mod lane;
mod oracle;
pub mod plot;
pub mod recording;
pub mod report;
mod steps;
mod target;
pub mod traces;
mod workload;

pub use contender::{Contender, OracleKind};
pub use distribution::Distribution;
pub use drive::{Drive, DriveError};
pub use engine::{Outcome, PARTS, Rules, simulate};
pub use target::{Answer, Summary, Target, TargetError};
pub use workload::{App, Workload};

use std::sync::Arc;

use crate::model::Trigger;

/// One invocation to come, of a trace or a workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// Start, ms since the workload began.
    pub at_ms: i64,
    /// How long it executes, ms.
    pub duration_ms: f64,
    /// Index of the function in its trace or workload.
    pub function: u32,
}

/// A function of a trace or a workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// The app that it belongs to.
    pub app: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// What causes its invocations, where known.
    pub trigger: Option<Trigger>,
    /// Memory of its app, MB, where known.
    pub memory_mb: Option<f64>,
}
