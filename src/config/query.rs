//! `[query]`

use std::fmt;
use std::net::SocketAddr;

use serde::Deserialize;

use super::{Error, Millis, ensure};

/// What SQL may take.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Where PostgreSQL clients are answered; empty: nowhere.
    pub listen: String,
    /// Threads that run queries; 0 takes half of the cores, at least one.
    pub threads: usize,
    /// Memory of all queries together, MB.
    pub memory_mb: usize,
    /// What queries may write to temporary files, MB.
    pub spill_mb: u64,
    /// How long one may take.
    pub time_limit: Millis,
    /// Rows of one result over HTTP at most.
    pub max_rows: usize,
    /// Where the instances are whose state the live tables show together; empty: this one's alone.
    pub fleet: Vec<String>,
}

/// Instances of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Members {
    /// The one at `HOST:PORT`.
    At(String),
    /// All that have a name in DNS.
    Named {
        /// The name.
        name: String,
        /// The port of each.
        port: u16,
    },
}

impl Members {
    fn parse(text: &str) -> Option<Self> {
        let named = text.strip_prefix("dns:");
        let (host, port) = named.unwrap_or(text).rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        let is_address = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .is_some_and(|host| named.is_none() && host.parse::<std::net::Ipv6Addr>().is_ok());
        let is_name =
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        (is_name || is_address).then(|| match named {
            Some(_) => Self::Named { name: host.to_owned(), port },
            None => Self::At(text.to_owned()),
        })
    }
}

impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Members::At(address) => f.write_str(address),
            Members::Named { name, port } => write!(f, "dns:{name}:{port}"),
        }
    }
}

impl Query {
    pub(super) fn check(&self) -> Result<(), Error> {
        self.listen()?;
        self.fleet()?;
        ensure(self.threads <= 1024, "query.threads", self.threads, "0 to 1024")?;
        ensure((16..=1 << 24).contains(&self.memory_mb), "query.memory_mb", self.memory_mb, "16 to 16777216 MB")?;
        ensure(self.spill_mb <= 1 << 24, "query.spill_mb", self.spill_mb, "0 to 16777216 MB")?;
        let time_limit = super::show_ms(self.time_limit.0);
        ensure(self.time_limit.0 >= 1, "query.time_limit", time_limit, "at least 1ms")?;
        ensure((1..=10_000_000).contains(&self.max_rows), "query.max_rows", self.max_rows, "1 to 10,000,000")
    }

    /// Where PostgreSQL clients are answered, if anywhere.
    pub fn listen(&self) -> Result<Option<SocketAddr>, Error> {
        if self.listen.is_empty() {
            return Ok(None);
        }
        let address = self.listen.parse();
        ensure(address.is_ok(), "query.listen", format!("'{}'", self.listen), "an address such as 127.0.0.1:5433")?;
        Ok(address.ok())
    }

    /// The instances whose state the live tables show together, if it is more than this one's.
    pub fn fleet(&self) -> Result<Vec<Members>, Error> {
        let members = self.fleet.iter().map(|text| {
            let members = Members::parse(text);
            let expected = "addresses such as 10.0.0.7:7465, or dns:NAME:PORT for all that have a name";
            ensure(members.is_some(), "query.fleet", format!("'{text}'"), expected)?;
            Ok(members)
        });
        Ok(members.collect::<Result<Vec<_>, Error>>()?.into_iter().flatten().collect())
    }

    /// The same, for a process that does nothing else.
    #[must_use]
    pub fn all_cores(&self) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads: if self.threads > 0 { self.threads } else { cores }, ..self.clone() }
    }

    /// Threads in force.
    pub fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if self.threads > 0 { self.threads } else { (cores / 2).max(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_a_fleet() {
        let named = |name: &str| Some(Members::Named { name: name.to_owned(), port: 7465 });
        assert_eq!(Members::parse("dns:pilotlight.apps.svc:7465"), named("pilotlight.apps.svc"));
        for one in ["10.0.0.7:7465", "pod-1.local:80", "[::1]:7465"] {
            assert_eq!(Members::parse(one), Some(Members::At(one.to_owned())));
        }
        for none in [
            "",
            "host",
            ":7465",
            "host:0",
            "host:70000",
            "http://host:7465",
            "host:7465/x",
            "dns:host",
            "dns:::1:7",
            "::1:7465",
        ] {
            assert_eq!(Members::parse(none), None, "{none}");
        }
    }
}
