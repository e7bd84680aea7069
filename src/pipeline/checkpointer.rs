//! The partitions that this instance owns, and their checkpoints: resumed from one when gained, stored now and then, and
//! stored when lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::bus::{GroupConsumer, Position, Producer};
use crate::checkpoint::{
    self, Found, Health, Job, Log, Name, Outcome, Packed, Step, Store, Unusable, Writer, next_step,
};
use crate::config::Settings;
use crate::history::{self, Keeper};
use crate::shutdown::Shutdown;
use crate::telemetry::{CheckpointMetrics, HistoryMetrics};

use super::Error;
use super::shard::{Decider, Shard};

/// From one checkpoint of a partition to the next at least: catching up passes through much event time at once.
const APART: Duration = Duration::from_secs(10);
/// For how long lost partitions are held on to, so that their decisions can be delivered and their checkpoints written.
pub(super) const LETTING_GO: Duration = Duration::from_secs(10);
/// For how long a store may fail while a partition waits for its state.
const PATIENCE: Duration = Duration::from_secs(60);
/// After a failure the next attempt waits for so long, then twice as long, and so on up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// One partition that this instance owns.
pub(super) struct Partition {
    pub(super) position: Position,
    pub(super) shard: Shard,
    /// Offset of the next event: what a checkpoint taken now stands for.
    pub(super) next_offset: i64,
    /// Whether it is time for a checkpoint.
    pub(super) wanted: bool,
    /// What the last checkpoint stands for that is in the store.
    pub(super) saved_offset: i64,
    pub(super) saved_at: Instant,
    taken_at: Instant,
    /// Checkpoints given to the writer. By their names, because an outcome may be that of one which was given before the
    /// partition was lost and gained again.
    in_flight: Vec<Name>,
}

/// What is to be known of checkpoints from outside.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Condition {
    /// For how long the partition that waits longest has waited for its events to be in a checkpoint.
    pub(super) age: Duration,
    /// Whether the store failed last time.
    pub(super) failing: bool,
}

/// The partitions and what their checkpoints need.
pub(super) struct Checkpointer<'a> {
    decider: &'a Decider,
    metrics: &'a CheckpointMetrics,
    store: Arc<Store>,
    writer: Writer,
    /// Where history goes, if it is kept.
    history: Option<Keeper>,
    every: Duration,
    /// Id of the Kafka cluster, once it told it.
    cluster: Option<String>,
    least_epoch: u64,
    owned: Vec<Partition>,
    /// The partition of the last message, which is mostly that of the next one.
    last: usize,
    /// How long to wait after the next failure, while the store fails.
    backoff: Option<Duration>,
    not_before: Instant,
}

impl Partition {
    fn is_dirty(&self) -> bool {
        self.next_offset > self.saved_offset
    }
}

impl<'a> Checkpointer<'a> {
    pub(super) fn open(
        settings: &Settings,
        decider: &'a Decider,
        metrics: &'a CheckpointMetrics,
        history_metrics: &HistoryMetrics,
    ) -> Result<Self, Error> {
        let store = Arc::new(Store::open(&settings.checkpoint, &settings.input.group)?);
        Ok(Self {
            decider,
            metrics,
            writer: Writer::start(Arc::clone(&store)).map_err(Error::Thread)?,
            store,
            history: Keeper::open(&settings.history, history_metrics)?,
            every: Duration::from_millis(settings.checkpoint.every.0.unsigned_abs()),
            cluster: None,
            least_epoch: settings.publish.epoch,
            owned: Vec::new(),
            last: 0,
            backoff: None,
            not_before: Instant::now(),
        })
    }

    /// The partitions owned.
    pub(super) fn owned(&self) -> &[Partition] {
        &self.owned
    }

    /// The same, to write their columns.
    pub(super) fn owned_mut(&mut self) -> &mut [Partition] {
        &mut self.owned
    }

    /// Their shards.
    pub(super) fn shards(&mut self) -> impl Iterator<Item = &mut Shard> {
        self.owned.iter_mut().map(|owned| &mut owned.shard)
    }

    /// Where history goes, if it is kept.
    pub(super) const fn history(&self) -> Option<&Keeper> {
        self.history.as_ref()
    }

    /// A partition, if it is owned.
    pub(super) fn get(&mut self, topic: &str, partition: i32) -> Option<&mut Partition> {
        let is_it = |owned: &Partition| owned.position.partition == partition && owned.position.topic == topic;
        if !self.owned.get(self.last).is_some_and(is_it) {
            self.last = self.owned.iter().position(is_it)?;
        }
        self.owned.get_mut(self.last)
    }

    /// Takes over what the group gave, each with the state of its last checkpoint.
    pub(super) fn gain(
        &mut self,
        gained: &[Position],
        consumer: &GroupConsumer,
        shutdown: &Shutdown,
    ) -> Result<(), Error> {
        if self.cluster.is_none() {
            self.cluster = consumer.cluster_id(Duration::from_secs(1));
        }
        let mut begin = Vec::new();
        for position in gained {
            let partition = match self.recover(position, consumer, shutdown) {
                Ok(Some(partition)) => partition,
                ended => {
                    // The group waits for an answer.
                    consumer.take(&[]);
                    return ended.map(|_| ());
                }
            };
            begin.push((position, partition.next_offset));
            self.owned.retain(|owned| owned.position != *position);
            self.owned.push(partition);
        }
        consumer.take(&begin);
        self.tell_history();
        Ok(())
    }

    fn tell_history(&self) {
        if let Some(history) = &self.history {
            history.set_saved(self.owned.iter().map(|owned| (owned.position.clone(), owned.saved_offset)).collect());
        }
    }

    /// Lets go of what the group took, with a last checkpoint of each.
    pub(super) fn lose(&mut self, lost: &[Position], consumer: &GroupConsumer, producer: &Producer) {
        self.save_now(lost, producer);
        self.owned.retain(|owned| !lost.contains(&owned.position));
        self.tell_history();
        consumer.release(lost);
    }

    /// Stores the state of all partitions, before the end.
    pub(super) fn save_all(&mut self, producer: &Producer) {
        let all: Vec<_> = self.owned.iter().map(|owned| owned.position.clone()).collect();
        self.save_now(&all, producer);
    }

    fn save_now(&mut self, positions: &[Position], producer: &Producer) {
        let meant = |owned: &Partition| positions.contains(&owned.position);
        for i in 0..self.owned.len() {
            if meant(&self.owned[i]) && self.owned[i].is_dirty() {
                self.take(i, producer);
            }
        }
        let deadline = Instant::now() + LETTING_GO;
        while self.owned.iter().any(|owned| meant(owned) && !owned.in_flight.is_empty()) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.writer.outcome(left) {
                Some(outcome) => self.note(outcome),
                None => {
                    warn!("checkpoints took too long: the next owner reads more events again");
                    return;
                }
            }
        }
    }

    /// Notes what was written since the last call, and takes a checkpoint where one is due: one at a time, because the
    /// flow stands still meanwhile.
    pub(super) fn step(&mut self, producer: &Producer) {
        while let Some(outcome) = self.writer.outcome(Duration::ZERO) {
            self.note(outcome);
        }
        let now = Instant::now();
        let apart = APART.min(self.every);
        let due = |owned: &Partition| {
            let since = now.duration_since(owned.taken_at);
            owned.is_dirty() && owned.in_flight.is_empty() && since >= apart && (owned.wanted || since >= self.every)
        };
        if now >= self.not_before
            && let Some(i) = self.owned.iter().position(due)
        {
            self.take(i, producer);
        }
    }

    pub(super) fn condition(&self) -> Condition {
        let dirty = self.owned.iter().filter(|owned| owned.is_dirty());
        let age = dirty.map(|owned| owned.saved_at.elapsed()).max().unwrap_or_default();
        let history_fails = self.history.as_ref().is_some_and(Keeper::is_failing);
        Condition { age, failing: self.backoff.is_some() || history_fails }
    }

    fn take(&mut self, i: usize, producer: &Producer) {
        let owned = &mut self.owned[i];
        let began = Instant::now();
        (owned.taken_at, owned.wanted) = (began, false);
        match owned.shard.save(self.cluster.as_deref(), &owned.position, owned.next_offset, self.decider) {
            Ok(snapshot) => {
                owned.in_flight.push(snapshot.name());
                let recorded = self.history.as_ref().map(Keeper::receipt).unwrap_or_default();
                let (position, published) = (owned.position.clone(), producer.receipt());
                self.writer.give(Job { position, snapshot, published, recorded });
                self.metrics.pause.set(began.elapsed().as_secs_f64());
            }
            Err(error) => self.fail(&error.to_string()),
        }
    }

    fn note(&mut self, Outcome { position, name, result }: Outcome) {
        let mut owned = self.owned.iter_mut().find(|owned| owned.position == position);
        if let Some(partition) = &mut owned {
            match partition.in_flight.iter().position(|given| *given == name) {
                Some(given) => drop(partition.in_flight.remove(given)),
                None => owned = None,
            }
        }
        match result {
            Ok(()) => {
                if let Some(owned) = owned {
                    owned.saved_offset = owned.saved_offset.max(name.offset);
                    owned.saved_at = Instant::now();
                }
                self.metrics.written.inc();
                self.tell_history();
                if self.backoff.take().is_some() {
                    info!("checkpoints are written again");
                }
            }
            Err(error) => {
                if let Some(owned) = owned {
                    owned.wanted = true;
                }
                self.fail(&error.to_string());
            }
        }
    }

    fn fail(&mut self, reason: &str) {
        self.metrics.failed.inc();
        if self.backoff.is_none() {
            warn!("{reason}; going on without checkpoints, and retrying: a restart now would read more events again");
        }
        let wait = self.backoff.unwrap_or(BACKOFF.0);
        self.not_before = Instant::now() + wait;
        self.backoff = Some((wait * 2).min(BACKOFF.1));
    }

    /// The state to go on with, and from where. `None` when it is time to end.
    fn recover(
        &self,
        position: &Position,
        consumer: &GroupConsumer,
        shutdown: &Shutdown,
    ) -> Result<Option<Partition>, Error> {
        let began = Instant::now();
        let mut said = false;
        while !shutdown.is_requested() {
            // A broker that is away is waited for; its absence is said elsewhere.
            let attempt = match consumer.watermarks(position, Duration::from_secs(5)) {
                Ok(log) => self.try_recover(position, log),
                Err(error) => {
                    tracing::debug!("{error}");
                    shutdown.sleep(Duration::from_millis(100));
                    continue;
                }
            };
            match attempt {
                Err(error @ (Error::Store(_) | Error::History(history::Error::Store(_))))
                    if began.elapsed() < PATIENCE =>
                {
                    if !said {
                        warn!("{error}; retrying, because the state of {position} is there");
                        said = true;
                    }
                    shutdown.sleep(BACKOFF.0);
                }
                recovered => return recovered.map(Some),
            }
        }
        Ok(None)
    }

    fn try_recover(&self, position: &Position, log: Log) -> Result<Partition, Error> {
        let unread = |name| Found { name, health: Health::Unread };
        let mut found: Vec<_> = self.store.list(position)?.into_iter().map(unread).collect();
        let mut sound = None;
        loop {
            match next_step(&found, log, self.least_epoch) {
                Step::Read(i) => {
                    let health;
                    (health, sound) = self.read(position, found[i].name)?;
                    found[i].health = health;
                }
                Step::Resume(i) => {
                    let Some(mut shard) = sound else { return Err(Error::Refused(format!("{position} has no state"))) };
                    self.resume_history(position, &mut shard, found[i].name.offset)?;
                    return Ok(Partition::new(position, shard, found[i].name.offset));
                }
                Step::Anew { epoch, because } => {
                    let mut shard = Shard::new(self.decider, epoch);
                    if let (Some(history), Some(recorder)) = (&self.history, shard.record_from(log.low, self.decider)) {
                        let last = found.first().map(|found| found.name);
                        recorder.begin_at(history.recorded_until(position, last, log.high)?.max(log.low));
                    }
                    let mut partition = Partition::new(position, shard, log.low);
                    if let Some(because) = because {
                        warn!(
                            "the state of {position} starts anew at offset {}, with epoch {epoch}: {because}",
                            log.low
                        );
                        self.mark(&mut partition);
                    }
                    return Ok(partition);
                }
                Step::Refuse(why) => return Err(Error::Refused(format!("{position}: {why}"))),
            }
        }
    }

    /// Goes on recording where the checkpoint stopped. Files that were written after it are written again alike, unless
    /// they are cut otherwise now.
    fn resume_history(&self, position: &Position, shard: &mut Shard, offset: i64) -> Result<(), Error> {
        let epoch = shard.epoch;
        if let (Some(history), Some(recorder)) = (&self.history, shard.record_from(offset, self.decider))
            && recorder.has_new_cut()
        {
            history.remove_from(position, epoch, recorder.from())?;
        }
        Ok(())
    }

    /// Reads one checkpoint, and what is in it if it can be used.
    fn read(&self, position: &Position, name: Name) -> Result<(Health, Option<Shard>), Error> {
        let began = Instant::now();
        let packed = match Packed::open(self.store.get(position, name)?) {
            Ok(packed) => packed,
            Err(Unusable::Newer(schema)) => return Ok((Health::Newer(Unusable::Newer(schema).to_string()), None)),
            Err(damaged) => {
                warn!("checkpoint {name} of {position} is left out: {damaged}; the one before is used");
                return Ok((Health::Damaged, None));
            }
        };
        if let Some(misfit) = self.decider.misfit(&packed.about, self.cluster.as_deref()) {
            return Ok((Health::Unfit(misfit), None));
        }
        match Shard::load(&packed, self.decider) {
            Ok(shard) => {
                info!(apps = shard.apps(), offset = name.offset, "{position} resumes after {:.1?}", began.elapsed());
                Ok((Health::Sound, Some(shard)))
            }
            Err(error) => {
                warn!("checkpoint {name} of {position} is left out: {error}; the one before is used");
                Ok((Health::Damaged, None))
            }
        }
    }

    /// Stores that the epoch grew, before anything is published with it.
    fn mark(&self, partition: &mut Partition) {
        let Partition { position, shard, next_offset, .. } = partition;
        let snapshot =
            shard.save(self.cluster.as_deref(), position, *next_offset, self.decider).map_err(checkpoint::Error::from);
        if let Err(error) = snapshot.and_then(|snapshot| checkpoint::write(&self.store, position, &snapshot)) {
            warn!("{error}; going on");
        }
    }
}

impl Partition {
    fn new(position: &Position, shard: Shard, offset: i64) -> Self {
        let now = Instant::now();
        Self {
            position: position.clone(),
            shard,
            next_offset: offset,
            wanted: false,
            saved_offset: offset,
            saved_at: now,
            taken_at: now,
            in_flight: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn what_was_given_before_a_partition_was_lost_and_gained_again_does_not_stop_its_checkpoints() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display());
        let flags = [("checkpoint.url", url), ("checkpoint.every", "100ms".to_owned())];
        let settings = Settings::load(Some("/dev/null".as_ref()), &flags).unwrap();
        let (decider, metrics) = (Decider::new(&settings).unwrap(), CheckpointMetrics::register(&Metrics::default()));
        let producer = Producer::open(&settings.kafka, "testing").unwrap();
        let mut partitions = Checkpointer::open(&settings, &decider, &metrics, &HistoryMetrics::default()).unwrap();
        let position = Position { topic: "events".to_owned(), partition: 0 };
        let gain = |partitions: &mut Checkpointer, read: i64| {
            let mut partition = Partition::new(&position, Shard::new(&decider, 0), 0);
            partition.next_offset = read;
            partitions.owned = vec![partition];
        };
        gain(&mut partitions, 10);
        partitions.take(0, &producer);
        // Its outcome comes when the partition is another one.
        gain(&mut partitions, 20);
        let deadline = Instant::now() + Duration::from_secs(60);
        let stored = |offset| partitions.store.list(&position).unwrap().contains(&Name { epoch: 0, offset });
        while !stored(10) {
            assert!(Instant::now() < deadline, "the first is stored");
        }
        while !partitions.store.list(&position).unwrap().contains(&Name { epoch: 0, offset: 20 }) {
            assert!(Instant::now() < deadline, "and then the second");
            partitions.step(&producer);
        }
    }
}
