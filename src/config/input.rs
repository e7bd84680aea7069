//! `[input]`

use serde::Deserialize;

use super::{Error, Millis, ensure};

/// Where events come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Topics with invocation events, keyed by app.
    pub topics: Vec<String>,
    /// Consumer group.
    pub group: String,
    /// Larger events are dead letters, bytes.
    pub max_event_bytes: usize,
    /// How far after its record's time an event may end.
    pub max_future: Millis,
}

impl Input {
    pub(super) fn check(&self) -> Result<(), Error> {
        ensure(!self.topics.is_empty(), "input.topics", "empty", "at least one topic")?;
        ensure(!self.group.is_empty(), "input.group", "empty", "the name of a consumer group")
    }
}
