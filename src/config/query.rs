//! `[query]`

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
}

impl Query {
    pub(super) fn check(&self) -> Result<(), Error> {
        self.listen()?;
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
