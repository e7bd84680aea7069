//! SQL over the workload: what runs now, what ran, and published traces.
//!
//! The tables come from [`live`] (the state of a running pipeline).
//!
//! [`engine`] runs a statement within limits, on [`threads`] of its own; [`output`] writes its rows. [`http`] and
//! [`postgres`] are the ways in, and [`client`] comes in by the former.

pub mod client;
mod describe;
pub mod engine;
pub mod http;
pub mod live;
pub mod output;
pub mod postgres;
pub mod threads;
mod time_limit;

pub use engine::{Answer, CATALOG, Engine, Error, SCHEMA, split};
