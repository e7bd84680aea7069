//! `[agent]`

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Deserialize;

use super::{Error, Millis, ensure};

/// The invoker-fleet agent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Where the gateway listens.
    pub listen: SocketAddr,
    /// Name of this node in events; empty: the host's name.
    pub node: String,
    /// Keep-alive of an app without a valid decision.
    pub default_keep_alive: Millis,
    /// File with app definitions; empty: none.
    pub apps: String,
    /// Folder of the code cache and the shims; empty: one under the user's cache folder.
    pub cache: String,
    /// Limit of loading an app.
    pub init_timeout: Millis,
    /// Limit of one execution.
    pub run_timeout: Millis,
    /// Limit of a request body, bytes.
    pub max_request_bytes: usize,
    /// Runtimes alive at most.
    pub max_runtimes: usize,
    /// Runtimes created or loaded at once, at most.
    pub max_loading: usize,
    /// Runtime kinds by name.
    pub runtimes: BTreeMap<String, RuntimeKind>,
}

/// How to start runtimes of one kind.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeKind {
    /// Program and arguments; `{shims}` is the folder of the bundled shims.
    pub command: Vec<String>,
    /// How many wait unspecialised.
    pub pool: usize,
    /// What an unspecialised one is counted as, MB.
    pub memory_mb: f64,
}

impl Agent {
    pub(super) fn check(&self) -> Result<(), Error> {
        ensure(self.max_runtimes > 0, "agent.max_runtimes", 0, "at least 1")?;
        ensure(self.max_loading > 0, "agent.max_loading", 0, "at least 1")?;
        for (name, kind) in &self.runtimes {
            let key = format!("agent.runtimes.{name}");
            ensure(!kind.command.is_empty(), &format!("{key}.command"), "empty", "a program and its arguments")?;
            let sane = kind.memory_mb.is_finite() && kind.memory_mb >= 0.0;
            ensure(sane, &format!("{key}.memory_mb"), kind.memory_mb, "a number of MB")?;
        }
        let pooled: usize = self.runtimes.values().map(|kind| kind.pool).sum();
        let key = "agent.runtimes.*.pool";
        ensure(pooled < self.max_runtimes, key, format!("{pooled} together"), "fewer than agent.max_runtimes")
    }

    /// The name of this node.
    pub fn node_name(&self) -> String {
        if !self.node.is_empty() {
            return self.node.clone();
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        if host.is_empty() { "node".to_owned() } else { host }
    }
}
