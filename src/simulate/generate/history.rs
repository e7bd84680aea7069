//! Writes a workload as history, as a pipeline that had seen it would have: with what its policy decided.

use std::time::Duration;

use foldhash::fast::FixedState;
use std::hash::BuildHasher;

use crate::bus::Position;
use crate::config::{self, Settings};
use crate::history::{Store, Writer, upkeep};
use crate::model::Invocation;
use crate::pipeline::{Decider, Shard};
use crate::policy::SpecError;
use crate::telemetry::HistoryMetrics;

use super::Generator;
use super::events::{Placed, each};

/// Why it can't be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No policy.
    #[error(transparent)]
    Policy(#[from] SpecError),
    /// The settings name no store.
    #[error(transparent)]
    Settings(#[from] config::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] crate::history::store::Error),
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

/// Writes the workload as the history of `settings.history`, with the partitions of `settings.topics`; returns how many
/// invocations there are.
pub fn write(generator: &Generator, settings: &Settings, progress: impl FnMut(u64)) -> Result<u64, Error> {
    let decider = Decider::new(settings)?;
    let url = settings.history.url().unwrap_or_default();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let writer = Writer::start(Store::open(url)?, runtime()?, HistoryMetrics::default())?;
    let mut partitions: Vec<_> = (0..settings.topics.partitions.max(1))
        .map(|partition| {
            let mut shard = Shard::new(&decider, 0);
            shard.record_from(0, &decider);
            (Position { topic: settings.topics.invocations.clone(), partition }, shard, 0)
        })
        .collect();
    let of = |app: &str| FixedState::default().hash_one(app) as usize % settings.topics.partitions.max(1) as usize;
    let functions: Vec<_> = generator
        .apps()
        .flat_map(|app| app.functions)
        .map(|function| (of(&function.function.app), function.function))
        .collect();
    let written = each(
        generator,
        |Placed { function, start_ms, duration_ms }| {
            let (partition, function) = &functions[function as usize];
            let (position, shard, offset) = &mut partitions[*partition];
            let invocation = Invocation {
                trigger: function.trigger,
                memory_mb: function.memory_mb,
                ..Invocation::new(&function.app, &function.name, start_ms, duration_ms)
            };
            shard.receive(&[invocation], Some(start_ms + duration_ms as i64), *offset, &decider);
            *offset += 1;
            shard.forget_silent(&decider);
            if let Some((_, piece)) = shard.cut_history(position, *offset, &decider) {
                piece.into_iter().for_each(|piece| writer.give(piece));
                if writer.is_failing() {
                    return Err(Error::NotWritten(url.to_owned()));
                }
            }
            Ok(())
        },
        progress,
    )?;
    for (position, shard, offset) in &mut partitions {
        shard.settle(&decider);
        // What waits for its turn comes out with whatever comes long after it.
        shard.receive(&[], Some(i64::MAX), *offset, &decider);
        let rest = shard.record_from(0, &decider).map(|recorder| recorder.so_far(position, 0, *offset + 1));
        rest.into_iter().for_each(|rest| writer.give(rest));
    }
    let receipt = writer.receipt();
    while !receipt.is_stored() {
        if writer.is_failing() {
            return Err(Error::NotWritten(url.to_owned()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(writer);
    runtime()?.block_on(upkeep::settle(&Store::open(url)?))?;
    Ok(written)
}
