//! `[topics]`

use serde::Deserialize;

use super::{Error, ensure};

/// The topics that are Pilotlight's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topics {
    /// Canonical invocation events, keyed by app.
    pub invocations: String,
    /// Decisions, compacted, keyed by app.
    pub decisions: String,
    /// What each partition's apps are expected to cost along the price, compacted, keyed by partition.
    pub curves: String,
    /// Events that could not be read.
    pub dead_letters: String,
    /// The apps registered, compacted, keyed by app.
    pub apps: String,
    /// The agents that are there, keyed by node.
    pub agents: String,
    /// Whether to create those that are missing.
    pub create: bool,
    /// Partitions of a topic that is created.
    pub partitions: i32,
    /// Replicas of a topic that is created; -1: the broker's default.
    pub replication: i32,
}

impl Topics {
    pub(super) fn check(&self) -> Result<(), Error> {
        let names = [
            ("topics.invocations", &self.invocations),
            ("topics.decisions", &self.decisions),
            ("topics.curves", &self.curves),
            ("topics.dead_letters", &self.dead_letters),
            ("topics.apps", &self.apps),
            ("topics.agents", &self.agents),
        ];
        for (key, name) in names {
            ensure_name(key, name)?;
        }
        ensure((1..=10_000).contains(&self.partitions), "topics.partitions", self.partitions, "1 to 10,000")?;
        let holds = self.replication == -1 || (1..=100).contains(&self.replication);
        ensure(holds, "topics.replication", self.replication, "-1 or 1 to 100")
    }
}

/// `Err` unless `name` can be that of a topic, by the broker's own rule.
pub(super) fn ensure_name(key: &str, name: &str) -> Result<(), Error> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let holds = !name.is_empty() && name.len() <= 249 && name.chars().all(legal);
    ensure(holds, key, format!("'{name}'"), "1 to 249 letters, digits, '.', '_' or '-'")
}
