//! SQL over the workload: what runs now, what ran, and published traces.
//!
//! [`engine`] runs a statement within limits, on [`threads`] of its own; [`output`] writes its rows. [`mount`] makes a
//! trace a schema of tables, [`functions`] are those that SQL lacks. [`http`] and
//! [`postgres`] are the ways in, and [`client`] comes in by the former.

pub mod client;
pub mod engine;
pub mod functions;
pub mod http;
pub mod mount;
pub mod output;
pub mod postgres;
pub mod threads;
mod time_limit;

pub use engine::{Answer, CATALOG, Engine, Error, SCHEMA, split};
