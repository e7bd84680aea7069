//! `[agent.process]` and `[agent.docker]`

use serde::Deserialize;

use super::{Error, ensure};

/// Limits of runtimes that are processes of this machine.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// What each process may allocate beyond the runtime's own memory, as a multiple of what its app declares; 0: no limit.
    pub memory_limit: f64,
    /// Files that each may have open; 0: as many as the agent.
    pub files: u64,
}

/// The engine of runtimes that are containers, and their limits.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Docker {
    /// Socket of the engine: `unix:///PATH`.
    pub host: String,
    /// The engine's network that containers are on; `none`: they reach nothing but themselves.
    pub network: String,
    /// CPUs that a container may use; 0: all.
    pub cpus: f64,
    /// Processes and threads that it may have; 0: no limit.
    pub pids: u32,
    /// Whether one that is idle is paused.
    pub pause_idle: bool,
}

impl Process {
    pub(super) fn check(&self) -> Result<(), Error> {
        let sane = self.memory_limit == 0.0 || (1.0..=1e6).contains(&self.memory_limit);
        ensure(sane, "agent.process.memory_limit", self.memory_limit, "0, or a number from 1 on")?;
        // A runtime has its own files open, and needs some to load code.
        let enough = self.files == 0 || self.files >= 64;
        ensure(enough, "agent.process.files", self.files, "0, or a number from 64 on")
    }
}

impl Docker {
    /// The name of no network at all.
    pub const NO_NETWORK: &str = "none";

    pub(super) fn check(&self) -> Result<(), Error> {
        let is_socket = self.host.strip_prefix("unix://").is_some_and(|path| path.starts_with('/'));
        let expected = "unix:///PATH, the socket of an engine on this machine";
        ensure(is_socket, "agent.docker.host", format!("'{}'", self.host), expected)?;
        let own = !["", "host", "default"].contains(&self.network.as_str()) && !self.network.contains(':');
        let expected = "none, or the name of a network of the engine; functions on the machine's own network ('host'), or \
                        in that of another container, are not supported";
        ensure(own, "agent.docker.network", format!("'{}'", self.network), expected)?;
        let sane = self.cpus == 0.0 || (0.01..=1e4).contains(&self.cpus);
        ensure(sane, "agent.docker.cpus", self.cpus, "0, or a number from 0.01 on")
    }
}
