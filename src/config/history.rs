//! `[history]`

use serde::Deserialize;

use super::{Error, Millis, ensure};

/// What of the past is kept, where, and for how long.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// URL of an object store; empty: nothing is kept.
    pub url: String,
    /// Rows become files after so many invocations of a partition,
    pub rows: usize,
    /// or so much of its time.
    pub every: Millis,
    /// For how long invocations and decisions are kept.
    pub keep: Millis,
    /// For how long roll-ups are.
    pub keep_rollups: Millis,
    /// Size of all files at most, MB; 0: no limit.
    pub max_mb: u64,
}

impl History {
    pub(super) fn check(&self) -> Result<(), Error> {
        // What is in the memory of one reader is not seen by the others.
        let is_url = url::Url::parse(&self.url).is_ok_and(|url| url.scheme() != "memory");
        let expected = "a URL such as file:///folder or s3://bucket/folder, or nothing";
        ensure(self.url.is_empty() || is_url, "history.url", format!("'{}'", self.url), expected)?;
        ensure((1..=1_000_000).contains(&self.rows), "history.rows", self.rows, "1 to 1,000,000")?;
        for (key, span) in
            [("history.every", self.every), ("history.keep", self.keep), ("history.keep_rollups", self.keep_rollups)]
        {
            ensure(span.0 >= 1000, key, super::show_ms(span.0), "at least 1s")?;
        }
        Ok(())
    }

    /// Where it is, if anywhere.
    pub fn url(&self) -> Option<&str> {
        Some(self.url.as_str()).filter(|url| !url.is_empty())
    }
}
