//! Writes pieces as files on a thread of its own, in the order in which each partition cuts them.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow_schema::ArrowError;
use datafusion::parquet::errors::ParquetError;
use tokio::runtime::Runtime;
use tracing::{info, warn};

use crate::bus::Position;
use crate::telemetry::HistoryMetrics;

use super::layout::File;
use super::parquet;
use super::piece::Piece;
use super::store::{self, Store};
use super::tables::Table;

/// Invocations that wait to be written at most.
const MAX_WAITING: usize = 2_000_000;
/// For how long the flow stands still for a store that is slow.
const STANDSTILL: Duration = Duration::from_secs(5);
/// After a failure the next attempt waits for so long, then twice as long, and so on up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Why a piece was not written.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("a file of history can't be made: {0}")]
    Rows(#[from] ArrowError),
    #[error("a file of history can't be made: {0}")]
    Parquet(#[from] ParquetError),
}

/// The thread. It ends when this is dropped, after the file that it is writing: what waits then comes of events that are in
/// no checkpoint, and is recorded again.
pub struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What waits; the first is being written.
    waiting: VecDeque<Piece>,
    given: u64,
    stored: u64,
    failing: bool,
    /// Too much waited, and was dropped.
    has_dropped: bool,
    ending: bool,
}

/// Tells whether all pieces that were given until some moment are stored.
#[derive(Clone, Default)]
pub struct Receipt(Option<(Arc<Shared>, u64)>);

impl Receipt {
    /// Whether they are. Never, once pieces had to be dropped.
    pub fn is_stored(&self) -> bool {
        let Some((shared, given)) = &self.0 else { return true };
        let state = shared.state();
        state.stored >= *given && !state.has_dropped
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, timeout: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl State {
    fn rows(&self) -> usize {
        self.waiting.iter().map(Piece::invocations).sum()
    }
}

impl Writer {
    /// Starts it. The runtime is what the store is asked on.
    pub fn start(store: Store, runtime: Runtime, metrics: HistoryMetrics) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let thread = Thread { shared: Arc::clone(&shared), store, runtime, metrics };
        std::thread::Builder::new().name("history-writer".to_owned()).spawn(move || thread.run())?;
        Ok(Self { shared })
    }

    /// Takes a piece. Waits while too much waits; where that does not help because the store fails, pieces are dropped from
    /// then on, and no checkpoint is taken: see [`Writer::must_begin_anew`].
    pub fn give(&self, piece: Piece) {
        let began = Instant::now();
        let mut state = self.shared.state();
        while !state.has_dropped && state.rows() >= MAX_WAITING {
            let left = STANDSTILL.saturating_sub(began.elapsed());
            if state.failing || left.is_zero() {
                warn!(
                    "history can't be written for too long: rows are dropped from here on, and recorded again from the last \
                     checkpoints once the store takes them"
                );
                state.has_dropped = true;
                // The first tells when the store is back.
                state.waiting.truncate(1);
            } else {
                state = self.shared.wait(state, left);
            }
        }
        if !state.has_dropped {
            state.given += 1;
            state.waiting.push_back(piece);
            self.shared.changed.notify_all();
        }
    }

    /// For all that was given so far.
    pub fn receipt(&self) -> Receipt {
        let given = self.shared.state().given;
        Receipt(Some((Arc::clone(&self.shared), given)))
    }

    /// The pieces of a partition that are not stored yet, in order.
    pub fn waiting(&self, position: &Position) -> Vec<Piece> {
        let is_its =
            |piece: &&Piece| piece.events.partition == position.partition && piece.events.topic == position.topic;
        self.shared.state().waiting.iter().filter(is_its).cloned().collect()
    }

    /// Whether the store failed last time.
    pub fn is_failing(&self) -> bool {
        self.shared.state().failing
    }

    /// Whether pieces were dropped and the store takes files again: all partitions are to be resumed from their
    /// checkpoints, so that what was dropped is recorded again.
    pub fn must_begin_anew(&self) -> bool {
        let state = self.shared.state();
        state.has_dropped && state.waiting.is_empty()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.state().ending = true;
        self.shared.changed.notify_all();
    }
}

struct Thread {
    shared: Arc<Shared>,
    store: Store,
    runtime: Runtime,
    metrics: HistoryMetrics,
}

impl Thread {
    fn run(self) {
        let mut backoff = None;
        while let Some(piece) = self.next() {
            let result = self.write(&piece);
            let mut state = self.shared.state();
            state.failing = result.is_err();
            self.metrics.failing.set(i64::from(state.failing));
            match result {
                Ok(()) => {
                    state.waiting.pop_front();
                    state.stored += 1;
                    self.shared.changed.notify_all();
                    if backoff.take().is_some() {
                        info!("history is written again");
                    }
                }
                Err(error) => {
                    if backoff.is_none() {
                        warn!("{error}; retrying: what is not written is in memory, and checkpoints wait for it");
                    }
                    let wait = backoff.unwrap_or(BACKOFF.0);
                    backoff = Some((wait * 2).min(BACKOFF.1));
                    let until = Instant::now() + wait;
                    while !state.ending && Instant::now() < until {
                        state = self.shared.wait(state, until.saturating_duration_since(Instant::now()));
                    }
                }
            }
        }
        // Answers that are still to come are not waited for.
        self.runtime.shutdown_background();
    }

    /// The piece to write, which stays where it is; `None` when it is time to end.
    fn next(&self) -> Option<Piece> {
        let mut state = self.shared.state();
        loop {
            if state.ending {
                return None;
            }
            match state.waiting.front() {
                Some(piece) => return Some(piece.clone()),
                None => state = self.shared.wait(state, BACKOFF.1),
            }
        }
    }

    fn write(&self, piece: &Piece) -> Result<(), Error> {
        for table in Table::ALL {
            for (folder_ms, batch) in piece.folders(table)? {
                let bytes = parquet::encode(table, &batch)?;
                let file = File { table, folder_ms, name: piece.events.clone() };
                self.metrics.files.inc();
                self.metrics.bytes.inc_by(bytes.len() as u64);
                self.runtime.block_on(self.store.put(&file, bytes))?;
            }
        }
        self.metrics.rows.inc_by(piece.invocations() as u64);
        Ok(())
    }
}
