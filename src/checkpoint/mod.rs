//! Checkpoints: the state of a partition together with the offset that it stands for, in an object store.
//!
//! The state of a partition follows from its events up to an offset, and what is published from the state and the events
//! after it. So a partition that is resumed from a checkpoint goes on as if nothing had been, as long as three things
//! hold, and each is kept in one place:
//!
//! 1. All of the state comes back, to the bit: [`Columns`], where each type names its fields once for both directions.
//! 2. What was published before the checkpoint is on the control topic when the checkpoint counts: [`Writer`].
//! 3. The state and the log fit together: [`next_step`], the rules of recovery.
//!
//! What lies between the checkpoint and the last decision published is read and published again, with the same versions
//! and the same bytes, and consumers drop it.

mod columns;
mod file;
mod recovery;
mod store;
mod writer;

pub use columns::{BATCH_ROWS, Columns, Number, Reader, Writer as RowWriter, read_rows};
pub use file::{About, Packed, SCHEMA, Snapshot, Unusable, decode, encode, read_stream, stream};
pub use recovery::{Found, Health, Log, Step, next_step};
pub use store::{Error as StoreError, Name, Store};
pub use writer::{Error, Job, Outcome, Writer, write};
