//! Settings: built-in defaults < `pilotlight.toml` < `PILOTLIGHT__SECTION__KEY` < flags. `config/default.toml` holds
//! every key with its unit and its default, and is what unknown keys are checked against.

mod agent;
mod backends;
mod checkpoint;
mod duration;
pub mod folders;
mod history;
mod input;
mod kafka;
mod layers;
mod policy;
mod publish;
mod query;
mod server;
mod topics;

use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize;

pub use agent::{Agent, Isolation, RuntimeKind};
pub use backends::{Docker, Process};
pub use checkpoint::Checkpoint;
pub use duration::{Millis, parse_ms, show_ms};
pub use history::History;
pub use input::{Input, Source};
pub use kafka::{Kafka, TOKEN, is_secret, read_secret};
pub use layers::{DEFAULTS, nearest};
pub use policy::PolicySettings;
pub use publish::Publish;
pub use query::{Members, Query};
pub use server::Server;
pub use topics::Topics;

/// All settings, one field a section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Options of librdkafka.
    pub kafka: Kafka,
    /// Where events come from.
    pub input: Input,
    /// The topics that are Pilotlight's own.
    pub topics: Topics,
    /// Which policy decides.
    pub policy: PolicySettings,
    /// When decisions are published.
    pub publish: Publish,
    /// Where the state of partitions is kept, and how often.
    pub checkpoint: Checkpoint,
    /// What of the past is kept, where, and for how long.
    pub history: History,
    /// What SQL may take.
    pub query: Query,
    /// HTTP of the pipeline.
    pub server: Server,
    /// The invoker-fleet agent.
    pub agent: Agent,
}

/// Settings that can't be used: one sentence each, exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("configuration file '{path}' can't be read: {source}; check --config")]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("configuration file '{path}' is not valid TOML: {message}")]
    NotToml {
        /// The file.
        path: String,
        /// Where and why.
        message: String,
    },
    /// A key that doesn't exist.
    #[error("unknown setting '{key}' in {origin}{hint}")]
    UnknownKey {
        /// The key, with its section.
        key: String,
        /// Which layer it stands in.
        origin: String,
        /// The nearest key that exists.
        hint: String,
    },
    /// A value of the wrong type or out of range.
    #[error("setting '{key}' is {found}: expected {expected}")]
    BadValue {
        /// The key, with its section.
        key: String,
        /// The value.
        found: String,
        /// What it can be.
        expected: String,
    },
    /// The policy can't be read.
    #[error("setting 'policy.name': {0}")]
    Policy(#[from] crate::policy::SpecError),
}

impl Settings {
    /// The settings in force: the defaults, then the file (`pilotlight.toml` in the current folder where `file` is
    /// `None` and there is one), then the environment, then `flags` (dotted key and value).
    pub fn load(file: Option<&Path>, flags: &[(&str, String)]) -> Result<Self, Error> {
        // What is not Unicode is none of ours.
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let environment = std::env::vars_os().filter_map(text);
        layers::merge(file, environment, flags)?.complete()
    }

    /// With what stands in files of its own, and checked.
    fn complete(mut self) -> Result<Self, Error> {
        self.kafka.read_files()?;
        self.check()?;
        Ok(self)
    }

    /// The same settings for a workload that runs `speed` times as fast as its own clock: all times that belong to the
    /// workload shrink alike, those that belong to machines (time limits) stay.
    #[must_use]
    pub fn sped_up(mut self, speed: f64) -> Self {
        let durations = [
            &mut self.input.reorder,
            &mut self.publish.valid_for,
            &mut self.publish.forget_after,
            &mut self.agent.default_keep_alive,
        ];
        for duration in durations {
            duration.0 = crate::policy::shrink_ms(duration.0, speed);
        }
        self.policy.speed *= speed;
        self
    }

    fn check(&self) -> Result<(), Error> {
        self.policy.build()?;
        let memory_mb = self.policy.default_memory_mb;
        ensure((1.0..=1e6).contains(&memory_mb), "policy.default_memory_mb", memory_mb, "1 to 1,000,000 MB")?;
        self.input.check()?;
        self.topics.check()?;
        let keyed = &self.topics.invocations;
        let reads_own = self.input.sources()?.iter().any(|source| source.topic == *keyed);
        let expected =
            "topics that are not topics.invocations, where input.keyed_by_app = false writes what it has keyed";
        ensure(self.input.keyed_by_app || !reads_own, "input.topics", format!("'{keyed}'"), expected)?;
        self.publish.check()?;
        self.checkpoint.check()?;
        self.history.check()?;
        self.query.check()?;
        self.agent.check()
    }
}

/// `Err` with a [`Error::BadValue`] unless `holds`.
fn ensure(holds: bool, key: &str, found: impl ToString, expected: &str) -> Result<(), Error> {
    if holds {
        return Ok(());
    }
    Err(Error::BadValue { key: key.to_owned(), found: found.to_string(), expected: expected.to_owned() })
}
