//! `[agent]`

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Docker, Error, Millis, Process, ensure};

/// The invoker-fleet agent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Where the gateway listens.
    pub listen: SocketAddr,
    /// Name of this node in events; empty: the host's name.
    pub node: String,
    /// Agents with the same name of a fleet share the apps; empty: this one is alone.
    pub fleet: String,
    /// URL under which other agents of the fleet reach this gateway; empty: from `listen`.
    pub advertise: String,
    /// Files with the tokens of tenants; `*` is the operator.
    pub tokens: BTreeMap<String, PathBuf>,
    /// Whether everybody may do everything who reaches the gateway from elsewhere, where there are no tokens.
    pub open: bool,
    /// Keep-alive of an app without a valid decision.
    pub default_keep_alive: Millis,
    /// File with app definitions; empty: none.
    pub apps: String,
    /// Folder of the code cache and the shims; empty: one under the user's cache folder.
    pub cache: String,
    /// Size of the code cache at most, MB.
    pub cache_mb: u32,
    /// Code fetched at once at most, ahead of time, and as many again by starts that wait for it.
    pub max_fetching: usize,
    /// Limit of one fetch.
    pub fetch_timeout: Millis,
    /// Limit of loading an app.
    pub init_timeout: Millis,
    /// Limit of one execution.
    pub run_timeout: Millis,
    /// Limit of a request body, bytes.
    pub max_request_bytes: usize,
    /// Runtimes alive at most.
    pub max_runtimes: usize,
    /// Memory that they take together at most, MB; 0: three quarters of the machine's.
    pub memory_mb: u32,
    /// Invocations that wait while the node is full, at most,
    pub max_waiting: usize,
    /// and for how long.
    pub max_wait: Millis,
    /// Whom a loaded runtime serves.
    pub isolation: Isolation,
    /// Whether code is loaded anew before each further use.
    pub reset: bool,
    /// Executions after which a runtime is replaced; 0: never.
    pub max_uses: u64,
    /// Age past which it executes nothing more; 0: none.
    pub max_age: Millis,
    /// Runtimes created or loaded at once, at most.
    pub max_loading: usize,
    /// How likely the pool of a kind is to have what is wanted while it is refilled.
    pub pool_quantile: f64,
    /// Limits of runtimes that are processes.
    pub process: Process,
    /// The engine of runtimes that are containers.
    pub docker: Docker,
    /// Runtime kinds by name.
    pub runtimes: BTreeMap<String, RuntimeKind>,
}

/// Whom a runtime serves that has been loaded once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// The app that it was loaded for.
    App,
    /// Any app of the same tenant, whose code is then loaded into it.
    Tenant,
}

/// How to start runtimes of one kind.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeKind {
    /// Program and arguments; `{shims}` is the folder of the bundled shims. Not used where there is an image.
    #[serde(default)]
    pub command: Vec<String>,
    /// Image whose containers are the runtimes; none: they are processes.
    pub image: Option<String>,
    /// Whether functions in a container can write nowhere but to `/tmp`.
    #[serde(default = "yes")]
    pub read_only_root: bool,
    /// How many wait unspecialised at least.
    pub pool: usize,
    /// How many do at most; without it always as many as at least.
    pub pool_max: Option<usize>,
    /// What an unspecialised one is counted as, MB.
    pub memory_mb: f64,
}

fn yes() -> bool {
    true
}

/// The least memory that engines give to a container, MB.
const LEAST_CONTAINER_MB: f64 = 6.0;

impl RuntimeKind {
    /// What its runtimes are started from, for people.
    pub fn origin(&self) -> String {
        self.image.clone().unwrap_or_else(|| self.command.join(" "))
    }

    /// How many wait unspecialised at most.
    pub fn ceiling(&self) -> usize {
        self.pool_max.unwrap_or(self.pool)
    }

    fn check(&self, key: &str) -> Result<(), Error> {
        let (least_mb, expected) = match &self.image {
            Some(image) => {
                ensure(!image.trim().is_empty(), &format!("{key}.image"), "empty", "the name of an image")?;
                (LEAST_CONTAINER_MB, "at least 6 MB, the least that engines give to a container")
            }
            None => {
                let found = !self.command.is_empty();
                ensure(found, &format!("{key}.command"), "empty", "a program and its arguments, or an image instead")?;
                (0.0, "a number of MB")
            }
        };
        let sane = self.memory_mb.is_finite() && self.memory_mb >= least_mb;
        ensure(sane, &format!("{key}.memory_mb"), self.memory_mb, expected)?;
        ensure(self.ceiling() >= self.pool, &format!("{key}.pool_max"), self.ceiling(), "no less than its pool")
    }
}

impl Agent {
    pub(super) fn check(&self) -> Result<(), Error> {
        ensure(self.max_runtimes > 0, "agent.max_runtimes", 0, "at least 1")?;
        ensure(self.max_loading > 0, "agent.max_loading", 0, "at least 1")?;
        let quantile = self.pool_quantile;
        ensure((0.0..1.0).contains(&quantile), "agent.pool_quantile", quantile, "a number from 0 to less than 1")?;
        ensure(
            self.cache_mb >= 64,
            "agent.cache_mb",
            self.cache_mb,
            "at least 64, the most that the code of one app has",
        )?;
        ensure(self.max_fetching > 0, "agent.max_fetching", 0, "at least 1")?;
        ensure(self.fetch_timeout.0 > 0, "agent.fetch_timeout", "0s", "more than no time")?;
        let is_url = self.advertise.is_empty()
            || url::Url::parse(&self.advertise).is_ok_and(|url| {
                url.scheme() == "http" && url.has_host() && url.path() == "/" && url.query().is_none()
            });
        ensure(is_url, "agent.advertise", format!("'{}'", self.advertise), "http://HOST:PORT, or empty")?;
        for (name, kind) in &self.runtimes {
            kind.check(&format!("agent.runtimes.{name}"))?;
        }
        self.process.check()?;
        self.docker.check()?;
        let pooled_mb: f64 = self.runtimes.values().map(|kind| kind.pool as f64 * kind.memory_mb.ceil()).sum();
        let found = format!("{} MB, and the pools take {pooled_mb} MB", self.memory_mb());
        ensure(pooled_mb < f64::from(self.memory_mb()), "agent.memory_mb", found, "more than the pools take")?;
        let pooled: usize = self.runtimes.values().map(|kind| kind.pool).sum();
        let key = "agent.runtimes.*.pool";
        ensure(pooled < self.max_runtimes, key, format!("{pooled} together"), "fewer than agent.max_runtimes")
    }

    /// `Err` where anybody on the network could run code here without having been let in.
    pub fn ensure_guarded(&self, has_tokens: bool) -> Result<(), Error> {
        let holds = has_tokens || self.open || self.listen.ip().is_loopback();
        let expected = "an address of this machine only, or tokens under [agent.tokens]; agent.open = true lets everybody \
                        who reaches it run code";
        ensure(holds, "agent.listen", self.listen, expected)
    }

    /// URL under which other agents reach this gateway.
    pub fn advertised(&self) -> String {
        if !self.advertise.is_empty() {
            return self.advertise.trim_end_matches('/').to_owned();
        }
        if !self.listen.ip().is_unspecified() {
            return format!("http://{}", self.listen);
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        format!("http://{host}:{}", self.listen.port())
    }

    /// Memory in force, MB.
    pub fn memory_mb(&self) -> u32 {
        if self.memory_mb > 0 {
            return self.memory_mb;
        }
        let info = rustix::system::sysinfo();
        let machine_mb = info.totalram as u64 * u64::from(info.mem_unit) / (1 << 20);
        // What a container may take, where this is one.
        let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
        let limit_mb = limit.and_then(|text| text.trim().parse::<u64>().ok()).map(|bytes| bytes >> 20);
        u32::try_from(limit_mb.map_or(machine_mb, |limit_mb| limit_mb.min(machine_mb)) * 3 / 4).unwrap_or(u32::MAX)
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
