//! A workload as history, as a pipeline that had seen it would have written it: with what its policy decided.

use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::fast::FixedState;
use tokio::runtime::Runtime;

use crate::bus::Position;
use crate::config::Settings;
use crate::history::{Store, Writer, store, upkeep};
use crate::model::Invocation;
use crate::pipeline::{Decider, Shard};
use crate::policy::SpecError;
use crate::telemetry::HistoryMetrics;

/// Why it can't be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No policy.
    #[error(transparent)]
    Policy(#[from] SpecError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Its files can't be made few.
    #[error(transparent)]
    Upkeep(#[from] upkeep::Error),
    /// No threads.
    #[error("no thread can be started: {0}")]
    Thread(#[from] std::io::Error),
    /// The store does not take files.
    #[error("the history at {0} can't be written")]
    NotWritten(String),
}

/// The history of `settings.history`, being written.
pub struct Recording {
    decider: Decider,
    partitions: Vec<(Position, Shard, i64)>,
    writer: Writer,
    url: String,
}

impl Recording {
    /// Begins one, with as many partitions as `settings.topics` has.
    pub fn begin(settings: &Settings) -> Result<Self, Error> {
        let decider = Decider::new(settings)?;
        let url = settings.history.url().unwrap_or_default().to_owned();
        let writer = Writer::start(Store::open(&url)?, runtime()?, HistoryMetrics::default())?;
        let partition = |partition| {
            let mut shard = Shard::new(&decider, 0);
            shard.record_from(0, &decider);
            (Position { topic: settings.topics.invocations.clone(), partition }, shard, 0)
        };
        let partitions = (0..settings.topics.partitions.max(1)).map(partition).collect();
        Ok(Self { decider, partitions, writer, url })
    }

    /// Adds an invocation; they come in the order of their starts.
    pub fn add(&mut self, invocation: &Invocation) -> Result<(), Error> {
        let partition = FixedState::default().hash_one(&*invocation.app) as usize % self.partitions.len();
        let Some((position, shard, offset)) = self.partitions.get_mut(partition) else { return Ok(()) };
        shard.receive(std::slice::from_ref(invocation), Some(invocation.ended_at_ms()), *offset, &self.decider);
        *offset += 1;
        shard.forget_silent(&self.decider);
        if let Some((_, piece)) = shard.cut_history(position, *offset, &self.decider) {
            piece.into_iter().for_each(|piece| self.writer.give(piece));
            self.check()?;
        }
        Ok(())
    }

    /// Writes what is left, and makes few files of many.
    pub fn finish(mut self) -> Result<(), Error> {
        for (position, shard, offset) in &mut self.partitions {
            shard.settle(&self.decider);
            // What waits for its turn comes out with whatever comes long after it.
            shard.receive(&[], Some(i64::MAX), *offset, &self.decider);
            let rest = shard.record_from(0, &self.decider).map(|recorder| recorder.so_far(position, 0, *offset + 1));
            rest.into_iter().for_each(|rest| self.writer.give(rest));
        }
        let receipt = self.writer.receipt();
        while !receipt.is_stored() {
            self.check()?;
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.writer);
        runtime()?.block_on(upkeep::settle(&Store::open(&self.url)?))?;
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        if self.writer.is_failing() { Err(Error::NotWritten(self.url.clone())) } else { Ok(()) }
    }
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}
