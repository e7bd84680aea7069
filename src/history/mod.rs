//! History: invocations and decisions as Parquet files, which SQL here and any engine elsewhere read.
//!
//! In the order of the data: a partition's [`Recorder`] keeps [`rows`] of what it applies and decides; now and then it cuts
//! a [`Piece`]; the [`Writer`] makes [`parquet`] files of it in the [`store`], laid out as [`layout`] says; [`upkeep`] makes
//! few files of many and deletes what is old. [`tables`] says which columns there are.
//!
//! Nothing is lost: a checkpoint counts only once all files of the events before it are stored, and the rows that are in no
//! file yet are part of it. Nothing is twice: where a piece ends follows from the events alone, so what is recorded again
//! after a crash makes the same files again.

mod keeper;
pub mod layout;
pub mod parquet;
pub mod piece;
pub mod reading;
pub mod recorder;
pub mod rows;
pub mod store;
pub mod tables;
#[cfg(test)]
mod tests;
pub mod upkeep;
mod writer;

pub use keeper::{Error, Keeper};
pub use piece::Piece;
pub use recorder::{Cut, Recorder, Saved};
pub use rows::Met;
pub use store::Store;
pub use tables::Table;
pub use writer::{Receipt, Writer};
