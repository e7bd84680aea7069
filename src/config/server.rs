//! `[server]`

use std::net::SocketAddr;

use serde::Deserialize;

/// HTTP of the pipeline.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Where it listens.
    pub listen: SocketAddr,
}
