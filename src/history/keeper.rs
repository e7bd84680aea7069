//! What a pipeline needs of its history: where pieces go, and what recovery asks.

use tokio::runtime::Runtime;

use crate::bus::Position;
use crate::checkpoint::Name as Checkpoint;
use crate::config::History;
use crate::telemetry::HistoryMetrics;

use super::layout::{File, Listed};
use super::piece::Piece;
use super::store::{self, About, Store};
use super::tables::Table;
use super::upkeep::{Keep, Upkeep};
use super::writer::{Receipt, Writer};

/// The history of one pipeline.
pub struct Keeper {
    store: Store,
    runtime: Runtime,
    writer: Writer,
    upkeep: Upkeep,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// No threads.
    #[error("no thread can be started: {0}")]
    Thread(#[from] std::io::Error),
}

impl Keeper {
    /// The one of the settings, if they want one.
    pub fn open(settings: &History, metrics: &HistoryMetrics) -> Result<Option<Self>, Error> {
        let Some(url) = settings.url() else { return Ok(None) };
        // Each on threads of its own: connections belong to the runtime that made them.
        let runtime = |name: &str| {
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build()
        };
        Ok(Some(Self {
            store: Store::open(url)?,
            runtime: runtime("history-store")?,
            writer: Writer::start(Store::open(url)?, runtime("history-files")?, metrics.clone())?,
            upkeep: Upkeep::start(Store::open(url)?, runtime("history-upkeep")?, Keep::new(settings), metrics.clone())?,
        }))
    }

    /// Has a piece written.
    pub fn give(&self, piece: Piece) {
        self.writer.give(piece);
    }

    /// For all pieces that were given so far.
    pub fn receipt(&self) -> Receipt {
        self.writer.receipt()
    }

    /// The pieces of a partition that are not stored yet.
    pub fn waiting(&self, position: &Position) -> Vec<Piece> {
        self.writer.waiting(position)
    }

    /// Whether the store failed last time.
    pub fn is_failing(&self) -> bool {
        self.writer.is_failing()
    }

    /// Whether partitions must be resumed from their checkpoints: see [`Writer::must_begin_anew`].
    pub fn must_begin_anew(&self) -> bool {
        self.writer.must_begin_anew()
    }

    /// Says which partitions are owned, with the offsets of their last checkpoints.
    pub fn set_saved(&self, saved: Vec<(Position, i64)>) {
        self.upkeep.set_saved(saved);
    }

    /// Up to which offset the events of a partition are in files, whatever their epoch; `end` is the end of its log. Files
    /// that say more than there is are of another topic that had its name. Those of the epoch of the last checkpoint, after
    /// it, may not be whole: they are deleted, and their events are to be recorded again.
    pub fn recorded_until(&self, position: &Position, last: Option<Checkpoint>, end: i64) -> Result<i64, Error> {
        let mut files = self.files_of(position)?;
        if files.iter().any(|file| file.name.until > end) {
            return Ok(0);
        }
        if let Some(last) = last {
            let is_after = |file: &mut File| file.name.epoch == last.epoch && file.name.until > last.offset;
            for file in files.extract_if(.., is_after) {
                self.runtime.block_on(self.store.delete(&file))?;
            }
        }
        Ok(files.into_iter().map(|file| file.name.until).max().unwrap_or(0))
    }

    /// Deletes the files of a partition and epoch that hold events from offset `from` on: they are cut otherwise now, and
    /// are made again.
    pub fn remove_from(&self, position: &Position, epoch: u64, from: i64) -> Result<(), Error> {
        for file in self.files_of(position)? {
            if file.name.epoch == epoch && file.name.from >= from {
                self.runtime.block_on(self.store.delete(&file))?;
            }
        }
        Ok(())
    }

    fn files_of(&self, position: &Position) -> Result<Vec<File>, Error> {
        let mut files = Vec::new();
        for table in Table::ALL {
            let listed: Vec<Listed<About>> = self.runtime.block_on(self.store.list(table))?;
            files.extend(listed.into_iter().map(|listed| listed.file));
        }
        files.retain(|file| file.name.partition == position.partition && file.name.topic == position.topic);
        Ok(files)
    }
}
