//! SQL over the workload: what runs now, what ran, and published traces.
//!
//! [`engine`] runs a statement within limits, on [`threads`] of its own, with the [`functions`] that SQL lacks. Its tables
//! are the state of a running pipeline ([`live`]), what it did ([`history`]) and published traces ([`mount`]). [`output`] writes rows. [`http`] and
//! [`postgres`] are the ways in, and [`client`] comes in by the former. `ballista` has a cluster run what reads history.

#[cfg(feature = "ballista")]
pub mod ballista;
pub mod client;
mod describe;
pub mod engine;
pub mod functions;
pub mod history;
pub mod http;
pub mod live;
pub mod mount;
pub mod output;
pub mod postgres;
pub mod threads;
mod time_limit;

pub use describe::COMMENT;
pub use engine::{Answer, CATALOG, Engine, Error, SCHEMA, split};
