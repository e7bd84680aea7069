//! What can be asked of the state while it runs: all apps as they are between two batches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use tokio::sync::oneshot;
use tracing::warn;

use crate::bus::{GroupConsumer, Position};
use crate::checkpoint::{Columns, RowWriter};
use crate::history::Piece;
use crate::model::{now_ms, window_columns};
use crate::state::Shape;

use super::checkpointer::{Checkpointer, Partition};
use super::shard::{Decider, Entry};
use super::status::Status;

/// The flow stands still while a look is taken; for so many times as long it goes on before the next one is. Who asks
/// meanwhile sees the last one.
const APART: u32 = 10;

/// The state of all apps of this instance at one moment, as tables whose columns [`crate::query`] knows.
#[derive(Debug)]
pub struct Look {
    /// When it was taken, epoch ms.
    pub taken_at_ms: i64,
    /// The policy's name.
    pub policy: String,
    /// Bins of the idle times.
    pub shape: Shape,
    /// Memory of an app that never told its own, MB.
    pub default_memory_mb: f64,
    /// The partitions that this instance owns.
    pub partitions: Vec<PartitionLook>,
    /// How many partitions each topic has, where a broker told it.
    pub topics: BTreeMap<String, i32>,
}

/// The state of one partition.
#[derive(Debug)]
pub struct PartitionLook {
    /// Which.
    pub position: Position,
    /// First part of the versions of its decisions.
    pub epoch: u64,
    /// Offset of the next event.
    pub next_offset: i64,
    /// Its own row.
    pub row: Vec<RecordBatch>,
    /// One row for each app.
    pub apps: Vec<RecordBatch>,
}

impl Look {
    /// What it takes in memory, bytes.
    pub fn bytes(&self) -> usize {
        let batches = self.partitions.iter().flat_map(|partition| partition.row.iter().chain(&partition.apps));
        batches.map(RecordBatch::get_array_memory_size).sum()
    }
}

/// The rows of history of a partition that are in no file yet.
#[derive(Debug, Clone)]
pub struct Recent {
    /// The partition.
    pub position: Position,
    /// First part of the versions of its decisions.
    pub epoch: u64,
    /// Offset of the first event that is in no file.
    pub from: i64,
    /// Its rows.
    pub pieces: Vec<Piece>,
}

/// Who waits for a look.
#[derive(Debug)]
pub(super) struct Asked<T>(Mutex<Vec<oneshot::Sender<Arc<T>>>>);

impl<T> Default for Asked<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Asked<T> {
    /// The next look; never comes where nothing runs.
    pub(super) fn ask(&self) -> oneshot::Receiver<Arc<T>> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Who went away waits no more.
        waiting.retain(|sender| !sender.is_closed());
        waiting.push(sender);
        receiver
    }

    fn take(&self) -> Vec<oneshot::Sender<Arc<T>>> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes looks, not too often.
#[derive(Default)]
pub(super) struct Looks {
    state: Last<Look>,
    recent: Last<Vec<Recent>>,
}

/// The last look of a kind.
struct Last<T>(Option<(Arc<T>, Instant)>);

impl Looks {
    /// Answers who asked. Cheap where nobody did.
    pub(super) fn answer(
        &mut self,
        status: &Status,
        partitions: &mut Checkpointer<'_>,
        decider: &Decider,
        consumer: &GroupConsumer,
    ) {
        self.state.answer(&status.asked, || take(partitions.owned_mut(), decider, consumer));
        self.recent.answer(&status.asked_recent, || Ok(recent(partitions)));
    }

    /// Forgets a look that nobody has asked for lately, with the memory that it takes.
    pub(super) fn tidy(&mut self) {
        self.state.tidy();
        self.recent.tidy();
    }
}

impl<T> Default for Last<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Last<T> {
    fn answer(&mut self, asked: &Asked<T>, take: impl FnOnce() -> Result<T, ArrowError>) {
        let waiting = asked.take();
        if waiting.is_empty() {
            return;
        }
        let began = Instant::now();
        let look = match &self.0 {
            Some((look, holds_until)) if began < *holds_until => Arc::clone(look),
            _ => match take() {
                Ok(look) => {
                    let look = Arc::new(look);
                    self.0 = Some((Arc::clone(&look), Instant::now() + began.elapsed() * APART));
                    look
                }
                Err(error) => {
                    warn!("the state can't be shown: {error}");
                    return;
                }
            },
        };
        for sender in waiting {
            // Who went away needs no answer.
            let _ = sender.send(Arc::clone(&look));
        }
    }

    fn tidy(&mut self) {
        const KEPT: Duration = Duration::from_secs(30);
        if self.0.as_ref().is_some_and(|(_, holds_until)| holds_until.elapsed() > KEPT) {
            self.0 = None;
        }
    }
}

fn recent(partitions: &Checkpointer<'_>) -> Vec<Recent> {
    let Some(keeper) = partitions.history() else { return Vec::new() };
    let of_partition = |owned: &Partition| {
        let Partition { position, shard, next_offset, .. } = owned;
        let recorder = shard.history.as_ref()?;
        let mut pieces = keeper.waiting(position);
        let from = pieces.first().map_or(recorder.from(), |piece| piece.events.from);
        pieces.push(recorder.so_far(position, shard.epoch, *next_offset));
        Some(Recent { position: position.clone(), epoch: shard.epoch, from, pieces })
    };
    partitions.owned().iter().filter_map(of_partition).collect()
}

fn take(owned: &mut [Partition], decider: &Decider, consumer: &GroupConsumer) -> Result<Look, ArrowError> {
    let log_ends = consumer.log_ends();
    let look = |partition: &mut Partition| {
        let (mut row, mut apps) = (RowWriter::default(), RowWriter::default());
        let end = log_ends.end(&partition.position);
        row.row(|columns| partition.columns(end, columns))?;
        let Partition { position, shard, next_offset, .. } = partition;
        for (app, entry) in shard.apps.iter_mut() {
            apps.row(|columns| {
                columns.text("app", &mut Some(app.to_owned()));
                columns.number("kafka_partition", &mut position.partition);
                entry.glance(columns);
            })?;
        }
        let (row, apps) = (row.finish()?, apps.finish()?);
        Ok(PartitionLook { position: position.clone(), epoch: shard.epoch, next_offset: *next_offset, row, apps })
    };
    let partitions = owned.iter_mut().map(look).collect::<Result<_, ArrowError>>()?;
    Ok(Look {
        taken_at_ms: now_ms(),
        policy: decider.policy.name().to_owned(),
        shape: decider.policy.shape(),
        default_memory_mb: decider.rules().default_memory_mb,
        partitions,
        topics: log_ends.topics().map(|(topic, partitions)| (topic.to_owned(), partitions)).collect(),
    })
}

impl Partition {
    /// `end` is the end of its log, where that is known.
    fn columns(&mut self, end: Option<i64>, columns: &mut impl Columns) {
        columns.text("topic", &mut Some(self.position.topic.clone()));
        columns.number("kafka_partition", &mut self.position.partition);
        columns.number("epoch", &mut (self.shard.epoch as i64));
        columns.number("next_offset", &mut self.next_offset);
        columns.optional("lag", &mut end.map(|end| (end - self.next_offset).max(0)));
        columns.number("checkpoint_offset", &mut self.saved_offset);
        columns.number("checkpoint_age_ms", &mut (self.saved_at.elapsed().as_millis() as i64));
        columns.number("apps", &mut (self.shard.apps() as i64));
        columns.number("held_events", &mut (self.shard.order.held().len() as i64));
        let mut watermark_ms = Some(self.shard.watermark_ms).filter(|at_ms| *at_ms > 0);
        columns.optional("watermark_ms", &mut watermark_ms);
        columns.optional("price_mb_s", &mut self.shard.price_mb_s());
    }
}

impl Entry {
    /// What the tables show of it; leaves it as it is.
    fn glance(&mut self, columns: &mut impl Columns) {
        let arrivals = &self.state.arrivals;
        columns.number("invocations", &mut (self.state.invocations as i64));
        columns.number("idle_times", &mut i64::from(arrivals.idle_times));
        let mut idle_ms = arrivals.idle_ms;
        columns.number("idle_ms", &mut idle_ms);
        let (mut last_start_ms, mut last_end_ms) = (arrivals.last_start_ms, arrivals.last_end_ms);
        columns.number("last_start_ms", &mut last_start_ms);
        columns.number("last_end_ms", &mut last_end_ms);
        columns.number("triggers", &mut arrivals.triggers.bits());
        let mut out_of_bounds = arrivals.idle.out_of_bounds();
        columns.number("idle_out_of_bounds", &mut out_of_bounds);
        columns.list("idle_counts", &mut arrivals.idle.counts().to_vec());
        columns.optional("memory_mb", &mut self.state.memory_mb());
        self.state.functions.columns(columns);
        let mut runtime = self.state.traits.as_ref().and_then(|traits| traits.runtime.clone());
        columns.text("runtime", &mut runtime);
        let plan = &mut self.in_force.plan;
        plan.regime.column("regime", columns);
        window_columns(&mut plan.windows, ["from_ms", "until_ms"], columns);
        self.published.columns(columns);
    }
}
