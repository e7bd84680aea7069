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

#[cfg(test)]
mod tests {
    use super::super::Settings;

    #[test]
    fn says_what_cannot_be() {
        let load = |flags: &[(&str, &str)]| {
            let flags: Vec<_> = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
            Settings::load(Some("/dev/null".as_ref()), &flags).map_err(|error| error.to_string())
        };
        let image = ("agent.runtimes.python3.image", "python");
        let settings = load(&[image, ("agent.docker.network", "functions"), ("agent.docker.cpus", "0.5")]).unwrap();
        assert_eq!(settings.agent.runtimes["python3"].origin(), "python", "its command is not used");
        assert!(settings.agent.runtimes["python3"].read_only_root);
        for (key, value, text) in [
            ("agent.docker.host", "tcp://engine:2375", "unix:///PATH"),
            ("agent.docker.network", "host", "not supported"),
            ("agent.docker.network", "container:x", "not supported"),
            ("agent.docker.cpus", "-1", "0, or a number from 0.01 on"),
            ("agent.process.memory_limit", "0.5", "0, or a number from 1 on"),
            ("agent.process.files", "10", "0, or a number from 64 on"),
            ("agent.runtimes.python3.memory_mb", "4", "at least 6 MB"),
            ("agent.runtimes.python3.image", "", "the name of an image"),
            ("agent.runtimes.ruby.pool", "1", "memory_mb"),
        ] {
            let error = load(&[image, (key, value)]).unwrap_err();
            assert!(error.contains(key.rsplit_once('.').unwrap().0) && error.contains(text), "{key}: {error}");
        }
        let error = load(&[("agent.runtimes.ruby", "{ pool = 1, memory_mb = 8.0 }")]).unwrap_err();
        assert!(error.contains("agent.runtimes.ruby.command") && error.contains("or an image"), "{error}");
    }
}
