//! `[checkpoint]`

use serde::Deserialize;

use super::{Error, Millis, ensure, folders};

/// Where the state of partitions is kept, and how often.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// URL of an object store; empty: a folder of the user's.
    pub url: String,
    /// After so many events of a partition,
    pub events: u64,
    /// or so much of its time.
    pub every: Millis,
}

impl Checkpoint {
    pub(super) fn check(&self) -> Result<(), Error> {
        let url = self.url();
        ensure(url::Url::parse(&url).is_ok(), "checkpoint.url", format!("'{url}'"), "a URL such as file:///folder")?;
        ensure(self.events > 0, "checkpoint.events", self.events, "at least 1")?;
        ensure(self.every.0 >= 100, "checkpoint.every", super::show_ms(self.every.0), "at least 100ms")
    }

    /// The URL in force.
    pub fn url(&self) -> String {
        if !self.url.is_empty() {
            return self.url.clone();
        }
        let folder = folders::data().unwrap_or_else(|| std::env::temp_dir().join("pilotlight")).join("checkpoints");
        url::Url::from_directory_path(&folder).map_or_else(|()| folder.display().to_string(), String::from)
    }
}
