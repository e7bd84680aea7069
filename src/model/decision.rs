//! What to do about an app: `schemas/decision.v1.json`.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Columns;

use super::{Code, Windows};

/// What to do about one app until the next decision about it. The key of its record is the app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The app.
    pub app: String,
    /// Drop a decision whose version is not greater than the last one seen for the app.
    pub version: Version,
    /// Event time of the invocation that led to the decision, epoch ms.
    pub decided_at_ms: i64,
    /// The policy that decided.
    pub policy: String,
    /// Which of the policy's rules applied.
    pub regime: Regime,
    /// When to be loaded, relative to the end of the app's last execution.
    pub windows: Windows,
    /// That end as known to the pipeline, epoch ms; for consumers that see no executions.
    pub idle_since_ms: i64,
    /// How many instances to have ready.
    pub instances: u32,
    /// Runtime kind, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Memory of the app, MB, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<f64>,
    /// What to prefetch, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// Apps that tend to run after this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub successors: Vec<Successor>,
    /// What the decision is expected to cost, where idle times are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
    /// Past this, epoch ms, a consumer goes back to its own default.
    pub valid_until_ms: i64,
    /// One sentence for people, with the numbers behind the decision.
    pub reason: String,
}

/// Orders the decisions about an app: by epoch, then by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Grows when state starts anew.
    pub epoch: u64,
    /// Offset of the last event that the decision rests on.
    pub position: i64,
}

/// Which rule of a policy led to the windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regime {
    /// Too little is known yet.
    #[default]
    Learning,
    /// The standard keep-alive: what is known does not speak for more.
    Standard,
    /// The idle-time histogram.
    Histogram,
    /// A forecast of the next idle time.
    Forecast,
    /// A schedule that the user declared.
    Schedule,
    /// A workflow.
    Composition,
    /// A per-app pin.
    Override,
}

impl Regime {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Learning, "learning"),
        (Self::Standard, "standard"),
        (Self::Histogram, "histogram"),
        (Self::Forecast, "forecast"),
        (Self::Schedule, "schedule"),
        (Self::Composition, "composition"),
        (Self::Override, "override"),
    ];

    /// Its name in decisions.
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// As a column.
    pub fn column(&mut self, name: &'static str, columns: &mut impl Columns) {
        let mut index = *self as usize;
        columns.label(name, &Self::ALL.map(|(_, label)| label), &mut index);
        *self = Self::ALL.get(index).map_or(*self, |(regime, _)| *regime);
    }
}

/// An app that tends to run after another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Successor {
    /// The app that follows.
    pub app: String,
    /// What its window counts from.
    pub on: SuccessorOn,
    /// First millisecond after that at which to be loaded.
    pub from_ms: i64,
    /// First millisecond at which to be loaded no more.
    pub until_ms: i64,
    /// How likely it is to follow, 0 to 1.
    pub probability: f64,
}

/// The moment of the first app's execution that a successor's window counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuccessorOn {
    /// When it starts.
    Start,
    /// When it ends.
    End,
}

/// What a decision costs per idle time, if the app goes on as it did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// The chance that the next start is cold, 0 to 1.
    pub cold_probability: f64,
    /// Idle memory until the next start, MB·s.
    pub idle_mb_s: f64,
}
