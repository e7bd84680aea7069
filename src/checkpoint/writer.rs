//! Writes checkpoints on a thread of its own, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use arrow_schema::ArrowError;

use crate::bus::{Position, Receipt};
use crate::history;

use super::file::{Snapshot, encode};
use super::store::{self, Name, Store};

/// A checkpoint to be written.
pub struct Job {
    /// Of which partition.
    pub position: Position,
    /// What to write.
    pub snapshot: Snapshot,
    /// For all that was published before it was taken: without that, a crash could lose decisions.
    pub published: Receipt,
    /// The same for the history of the events before it.
    pub recorded: history::Receipt,
}

/// A checkpoint that was written, or why it was not.
pub struct Outcome {
    /// Of which partition.
    pub position: Position,
    /// Which.
    pub name: Name,
    /// Whether it is in the store now.
    pub result: Result<(), Error>,
}

/// Why a checkpoint was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The state is none that Arrow takes.
    #[error("a checkpoint can't be encoded: {0}")]
    Encode(#[from] ArrowError),
}

/// The thread. It ends when this is dropped, after what it is writing; nobody waits for that, because a store can take
/// long over its answers.
pub struct Writer {
    jobs: Sender<Job>,
    outcomes: Receiver<Outcome>,
    ending: Arc<AtomicBool>,
}

impl Writer {
    /// Starts it.
    pub fn start(store: Arc<Store>) -> std::io::Result<Self> {
        let (jobs, todo) = channel::<Job>();
        let (done, outcomes) = channel();
        let ending = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ending);
        std::thread::Builder::new().name("checkpoint-writer".to_owned()).spawn(move || {
            for Job { position, snapshot, published, recorded } in todo {
                let may_go_on = || published.is_delivered() && recorded.is_stored() || stop.load(Ordering::Relaxed);
                while !may_go_on() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let result = write(&store, &position, &snapshot);
                if done.send(Outcome { position, name: snapshot.name(), result }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs, outcomes, ending })
    }

    /// Takes one more. What waits is bounded by who asks: one checkpoint for each partition.
    pub fn give(&self, job: Job) {
        // Only a thread that broke off takes none; then no outcome comes, which is noticed by its age.
        let _ = self.jobs.send(job);
    }

    /// What came of one of them, waiting for at most `timeout`.
    pub fn outcome(&self, timeout: Duration) -> Option<Outcome> {
        self.outcomes.recv_timeout(timeout).ok()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
    }
}

/// Writes a checkpoint here and now.
pub fn write(store: &Store, position: &Position, snapshot: &Snapshot) -> Result<(), Error> {
    Ok(store.put(position, snapshot.name(), encode(snapshot)?)?)
}
