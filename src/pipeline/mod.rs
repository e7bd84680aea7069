//! The flow on one page: messages in, decisions out.
//!
//! One thread polls, decodes, applies and publishes, in batches; there is no task, lock or metric per record. What it
//! publishes follows from the order of the events of a partition alone, so whoever resumes a partition from a checkpoint
//! publishes what came after it again, with the same versions, and consumers drop it. That is why no offsets are
//! committed: they are part of the checkpoints.

mod checkpointer;
mod keying;
mod live;
mod merge;
mod reading;
mod saved;
mod shard;
mod status;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use tracing::{debug, info, warn};

use crate::bus::{self, Change, GroupConsumer, Producer, Record, SOURCE_HEADER};
use crate::checkpoint::StoreError;
use crate::config::{self, Settings, Source};
use crate::forecast::{self, ForecastPool};
use crate::history;
use crate::ingest::order::SourcePosition;
use crate::ingest::{self, DeadLetter, Format, Invocations, Origin};
use crate::model::{Decision, Version, now_ms};
use crate::policy::budget::ShardCurve;
use crate::shutdown::{self, Shutdown};
use crate::telemetry::{CheckpointMetrics, HistoryMetrics, Kind, Metrics, PipelineMetrics};

use checkpointer::{Checkpointer, LETTING_GO};
use keying::Keying;
use live::Looks;
pub use live::{Look, PartitionLook, Recent};
use reading::{Reader, header, received_ms};
pub use shard::{Decider, Later, Outcome, Repriced, Shard};
use status::Status;
pub use status::{Counts, Handle};

/// A batch ends after so many messages,
const BATCH_MESSAGES: usize = 10_000;
/// or after so long.
const BATCH_TIME: Duration = Duration::from_millis(50);
/// Who waits longer than this for room for a decision reads nothing meanwhile.
const STALL: Duration = Duration::from_secs(1);
/// Threads that forecast while a batch is read.
const FORECAST_WORKERS: usize = 2;
/// A broker that was killed may take a member with a name for another one, once; more often, two members have the name.
const FENCED_APART: Duration = Duration::from_secs(60);

/// Why a pipeline ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings name no policy.
    #[error("setting 'policy.name': {0}")]
    Policy(#[from] crate::policy::SpecError),
    /// The settings name no format.
    #[error("{0}")]
    Settings(#[from] config::Error),
    /// The schema registry can't be used.
    #[cfg(feature = "avro")]
    #[error(transparent)]
    Registry(#[from] bus::RegistryError),
    /// The bus can't be used.
    #[error(transparent)]
    Bus(#[from] bus::Error),
    /// The checkpoints can't be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was found there is none that this version may overrule.
    #[error("{0}")]
    Refused(String),
    /// What can't be delivered must not come after what the next owner of its partition publishes.
    #[error("decisions wait for their delivery while the group takes their partitions away")]
    Overdue,
    /// History can't be kept.
    #[error(transparent)]
    History(#[from] history::Error),
    /// What history lacks is to be recorded again.
    #[error("history lacks what was dropped while its store failed")]
    HistoryDropped,
    /// No threads for forecasts.
    #[error(transparent)]
    Forecasts(#[from] forecast::pool::Error),
    /// No thread for writing checkpoints.
    #[error("no thread can be started: {0}")]
    Thread(std::io::Error),
    /// A record that can't be written as JSON.
    #[error("a record can't be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The pipeline, ready to run.
pub struct Pipeline {
    settings: Settings,
    /// The topics to decide on.
    sources: Vec<Source>,
    /// The topics that must be keyed by app first.
    to_key: Vec<Source>,
    decider: Decider,
    metrics: PipelineMetrics,
    checkpoint_metrics: CheckpointMetrics,
    history_metrics: HistoryMetrics,
    status: Arc<Status>,
}

impl Pipeline {
    /// Checks the settings and makes no connection yet.
    pub fn build(settings: &Settings, metrics: &Metrics) -> Result<Self, Error> {
        bus::check_options(&settings.kafka)?;
        let (mut sources, mut to_key) = (settings.input.sources()?, Vec::new());
        if !settings.input.keyed_by_app {
            to_key = sources;
            sources = vec![Source { topic: settings.topics.invocations.clone(), format: Format::Native }];
        }
        Ok(Self {
            decider: Decider::new(settings)?,
            sources,
            to_key,
            settings: settings.clone(),
            metrics: PipelineMetrics::register(metrics),
            checkpoint_metrics: CheckpointMetrics::register(metrics),
            history_metrics: HistoryMetrics::register(metrics),
            status: Arc::default(),
        })
    }

    /// For looking at it while it runs.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.status))
    }

    /// Runs until it is time to end. Blocks; give it a thread.
    pub fn run(mut self, shutdown: &Shutdown) -> Result<(), Error> {
        bus::ensure(&self.settings.kafka, &self.settings.topics, shutdown)?;
        if shutdown.is_requested() {
            return Ok(());
        }
        if self.decider.policy.forecasts() {
            self.decider = self.decider.forecasting_with(ForecastPool::new(FORECAST_WORKERS)?);
        }
        let mut fenced: Option<Instant> = None;
        loop {
            match self.run_once(shutdown) {
                Err(error @ Error::Bus(bus::Error::Fenced)) if fenced.is_none_or(|at| at.elapsed() > FENCED_APART) => {
                    warn!("{error}; joining again");
                    fenced = Some(Instant::now());
                }
                // The next start does it then.
                Err(Error::Overdue | Error::HistoryDropped) if shutdown.is_requested() => return Ok(()),
                Err(error @ Error::Overdue) => {
                    warn!("{error}; they are dropped, and what comes after the checkpoints is read again");
                }
                Err(error @ Error::HistoryDropped) => warn!("{error}; going back to the last checkpoints to record it"),
                ended => return ended,
            }
        }
    }

    /// Joins the group and runs until it is time to end or something is wrong.
    fn run_once(&self, shutdown: &Shutdown) -> Result<(), Error> {
        let partitions =
            Checkpointer::open(&self.settings, &self.decider, &self.checkpoint_metrics, &self.history_metrics)?;
        let producer = Producer::open(&self.settings.kafka, "publishing decisions")?;
        let input = &self.settings.input;
        let topics: Vec<_> = self.sources.iter().map(|source| source.topic.as_str()).collect();
        let consumer = GroupConsumer::join(&self.settings.kafka, &input.group, &topics)?;
        let mut run = Run {
            reader: Reader::new(&self.sources, input),
            pipeline: self,
            consumer: &consumer,
            producer: &producer,
            shutdown,
            partitions,
            joined: false,
            looks: Looks::default(),
            buffer: Vec::new(),
            batch: Batch::default(),
        };
        // Ends the keying when this ends, however it does.
        let (stop, stopped) = shutdown::channel();
        let ended = std::thread::scope(|scope| {
            let stop = stop;
            let keying = (!self.to_key.is_empty()).then(|| {
                let (settings, metrics, status) = (&self.settings, &self.metrics, &*self.status);
                let keying = Keying { settings, sources: &self.to_key, metrics, status };
                scope.spawn(move || keying.run(&stopped))
            });
            while !shutdown.is_requested() && !keying.as_ref().is_some_and(|keying| keying.is_finished()) {
                run.one_batch()?;
            }
            drop(stop);
            let keyed = keying.map(|keying| keying.join());
            keyed.unwrap_or(Ok(Ok(()))).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        self.status.ready.store(false, Ordering::Relaxed);
        if let Err(error) = ended {
            // Before the group is left: nothing is to come after what others publish then.
            producer.finish(Duration::ZERO);
            return Err(error);
        }
        let delivered = producer.finish(Duration::from_secs(5));
        if let Some((_, error)) = producer.take_failures() {
            return Err(error.into());
        }
        if delivered {
            run.partitions.save_all(&producer);
        } else {
            info!("the broker does not answer: decisions that wait are dropped; the next start publishes them");
        }
        Ok(())
    }
}

/// A running pipeline.
struct Run<'a> {
    pipeline: &'a Pipeline,
    reader: Reader<'a>,
    consumer: &'a GroupConsumer,
    producer: &'a Producer,
    shutdown: &'a Shutdown,
    partitions: Checkpointer<'a>,
    joined: bool,
    looks: Looks,
    /// For writing JSON into, again and again.
    buffer: Vec<u8>,
    batch: Batch,
}

/// What happened in one batch, for the metrics.
#[derive(Debug, Default)]
struct Batch {
    events: u64,
    decisions: u64,
    skipped: u64,
    dead_letters: u64,
    late: u64,
    duplicates: u64,
    tombstones: u64,
    newest_ms: Option<i64>,
}

impl Run<'_> {
    fn one_batch(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let mut wait = BATCH_TIME;
        for _ in 0..BATCH_MESSAGES {
            let message = self.consumer.poll(wait)?;
            self.follow_ownership()?;
            let Some(message) = message else { break };
            self.one_message(&message)?;
            wait = Duration::ZERO;
            if self.batch.events.is_multiple_of(256) && began.elapsed() > BATCH_TIME {
                break;
            }
        }
        self.settle()?;
        self.partitions.step(self.producer);
        self.looks.answer(&self.pipeline.status, &mut self.partitions, &self.pipeline.decider, self.consumer);
        self.looks.tidy();
        self.report();
        if self.partitions.history().is_some_and(history::Keeper::must_begin_anew) {
            return Err(Error::HistoryDropped);
        }
        // A decision that never arrives would be missing until the next one: better to end, and to begin anew.
        self.producer.take_failures().map_or(Ok(()), |(_, error)| Err(error.into()))
    }

    /// Publishes the decisions that waited for forecasts, which were made while the batch was read.
    fn settle(&mut self) -> Result<(), Error> {
        let later: Vec<_> = self.partitions.shards().flat_map(|shard| shard.settle(&self.pipeline.decider)).collect();
        later.iter().try_for_each(|later| self.publish(&later.decision, later.timestamp_ms))
    }

    fn one_message(&mut self, message: &BorrowedMessage<'_>) -> Result<(), Error> {
        // None of ours: let go of while it was on its way, or read before.
        match self.partitions.get(message.topic(), message.partition()) {
            Some(partition) if message.offset() >= partition.next_offset => {
                partition.next_offset = message.offset() + 1;
            }
            _ => return Ok(()),
        }
        self.batch.events += 1;
        let received_ms = received_ms(message);
        self.batch.newest_ms = received_ms.or(self.batch.newest_ms);
        let opened = self.reader.open(message, self.shutdown)?;
        let invocations = match self.reader.decode(&opened) {
            Ok(_) if self.was_keyed_twice(message) => {
                self.batch.duplicates += 1;
                Invocations::new()
            }
            Ok(invocations) => {
                self.batch.skipped += u64::from(invocations.is_empty());
                invocations
            }
            Err(reason) => {
                self.dead_letter(message, received_ms, &reason)?;
                Invocations::new()
            }
        };
        let decider = &self.pipeline.decider;
        let Some(partition) = self.partitions.get(message.topic(), message.partition()) else { return Ok(()) };
        let shard = &mut partition.shard;
        // A record that tells nothing can still end the waiting of others.
        let outcome = shard.receive(&invocations, received_ms, message.offset(), decider);
        let timestamp_ms = outcome.timestamp_ms(received_ms);
        let (mut forgotten, mut repriced, mut cut) = (Vec::new(), None, None);
        if outcome.newest_end_ms.is_some() {
            forgotten = shard.forget_silent(decider);
            repriced = shard.reprice(decider);
            partition.wanted |= shard.stretch_ends(decider);
            cut = shard.cut_history(&partition.position, partition.next_offset, decider);
        }
        let version = shard.version(message.offset());
        self.batch.late += outcome.late;
        self.batch.duplicates += outcome.duplicates;
        for later in &outcome.later {
            self.publish(&later.decision, later.timestamp_ms)?;
        }
        for decision in &outcome.decisions {
            self.publish(decision, timestamp_ms)?;
        }
        if let Some((later, piece)) = cut {
            later.iter().try_for_each(|later| self.publish(&later.decision, later.timestamp_ms))?;
            piece.into_iter().zip(self.partitions.history()).for_each(|(piece, history)| history.give(piece));
        }
        for app in forgotten {
            debug!(%app, "forgotten after long silence");
            self.batch.tombstones += 1;
            self.send(Record {
                topic: &self.pipeline.settings.topics.decisions,
                key: &app,
                payload: None,
                timestamp_ms: Some(timestamp_ms),
                version: Some(version),
                source: None,
            })?;
        }
        repriced.map_or(Ok(()), |repriced| self.publish_curve(message, repriced, version, timestamp_ms))
    }

    /// Whether the event came here before from its place in the input.
    fn was_keyed_twice(&mut self, message: &BorrowedMessage<'_>) -> bool {
        if self.pipeline.to_key.is_empty() {
            return false;
        }
        // Events that the agent writes here have no such place.
        let source = header(message, SOURCE_HEADER).and_then(SourcePosition::parse);
        let partition = self.partitions.get(message.topic(), message.partition());
        source.zip(partition).is_some_and(|(source, partition)| !partition.shard.is_new_source(&source))
    }

    fn publish_curve(
        &mut self,
        message: &BorrowedMessage<'_>,
        repriced: Repriced,
        version: Version,
        timestamp_ms: i64,
    ) -> Result<(), Error> {
        let price_mb_s = repriced.solution.price_mb_s;
        let price_gb_s = price_mb_s / 1024.0;
        let partition = message.partition();
        if repriced.is_news_that_none_meets {
            warn!(partition, price_gb_s, "no price meets the target; going on with the one that comes nearest");
        } else {
            debug!(partition, price_gb_s, "solved for the price");
        }
        let record = ShardCurve {
            topic: message.topic().to_owned(),
            partition,
            position: message.offset(),
            at_ms: repriced.at_ms,
            price_mb_s,
            curve: repriced.curve,
        };
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, &record)?;
        self.send(Record {
            topic: &self.pipeline.settings.topics.curves,
            key: &record.record_key(),
            payload: Some(&self.buffer),
            timestamp_ms: Some(timestamp_ms),
            version: Some(version),
            source: None,
        })
    }

    fn publish(&mut self, decision: &Decision, timestamp_ms: i64) -> Result<(), Error> {
        self.batch.decisions += 1;
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, decision)?;
        self.send(Record {
            topic: &self.pipeline.settings.topics.decisions,
            key: &decision.app,
            payload: Some(&self.buffer),
            timestamp_ms: Some(timestamp_ms),
            version: Some(decision.version),
            source: None,
        })
    }

    fn dead_letter(
        &mut self,
        message: &BorrowedMessage<'_>,
        received_ms: Option<i64>,
        reason: &ingest::Reason,
    ) -> Result<(), Error> {
        let origin = Origin { topic: message.topic(), partition: message.partition(), offset: message.offset() };
        let letter = DeadLetter::new(origin, received_ms, message.key(), message.payload(), reason);
        debug!(?origin, %reason, "dead letter");
        self.batch.dead_letters += 1;
        self.pipeline.metrics.dead_letters.get_or_create(&Kind { kind: letter.kind() }).inc();
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, &letter)?;
        self.send(Record {
            topic: &self.pipeline.settings.topics.dead_letters,
            key: &letter.record_key(),
            payload: Some(&self.buffer),
            timestamp_ms: received_ms,
            version: None,
            source: None,
        })
    }

    fn send(&self, record: Record<'_>) -> Result<(), Error> {
        let mut paused = false;
        // Not sent means that it is time to end: the next start will read the same event and publish it again.
        self.producer.send_while(record, self.shutdown, |waited| self.stay_in_group(waited, &mut paused))?;
        if paused { Ok(self.consumer.resume()?) } else { Ok(()) }
    }

    /// Keeps this member alive while it can't go on: the group takes one that does not poll for dead.
    fn stay_in_group(&self, waited: Duration, paused: &mut bool) -> Result<(), Error> {
        if waited < STALL {
            return Ok(());
        }
        if !*paused {
            self.consumer.pause()?;
            *paused = true;
        }
        let unexpected = self.consumer.poll(Duration::ZERO)?.is_some();
        // A message that comes nevertheless can't be dealt with now.
        if unexpected || (waited > LETTING_GO && self.consumer.is_asked_to_release()) {
            return Err(Error::Overdue);
        }
        Ok(())
    }

    /// Takes over what the group gave and lets go of what it took.
    fn follow_ownership(&mut self) -> Result<(), Error> {
        while let Some(change) = self.consumer.change() {
            self.settle()?;
            let (verb, changed) = match &change {
                Change::Gained(gained) => {
                    self.partitions.gain(gained, self.consumer, self.shutdown)?;
                    self.joined = true;
                    ("gained", gained)
                }
                Change::Revoked(revoked) => {
                    if !self.producer.flush(LETTING_GO) {
                        return Err(Error::Overdue);
                    }
                    self.partitions.lose(revoked, self.consumer, self.producer);
                    ("lost", revoked)
                }
            };
            let partitions: Vec<_> = changed.iter().map(|position| position.partition).collect();
            info!(owned = self.partitions.owned().len(), "{verb} partitions {partitions:?}");
        }
        Ok(())
    }

    fn report(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let (metrics, status) = (&self.pipeline.metrics, &self.pipeline.status);
        let connected = self.consumer.health().is_connected();
        status.ready.store(connected && self.joined, Ordering::Relaxed);
        metrics.connected.set(i64::from(connected));
        let owned = self.partitions.owned();
        metrics.partitions.set(owned.len() as i64);
        let apps: usize = owned.iter().map(|partition| partition.shard.apps()).sum();
        metrics.apps.set(apps as i64);
        status.apps.store(apps as u64, Ordering::Relaxed);
        let checkpoints = self.partitions.condition();
        self.pipeline.checkpoint_metrics.age.set(checkpoints.age.as_secs_f64());
        let failing_for_s = if checkpoints.failing { checkpoints.age.as_secs().max(1) } else { 0 };
        status.failing_for_s.store(failing_for_s, Ordering::Relaxed);
        if batch.events == 0 {
            return;
        }
        metrics.events.inc_by(batch.events);
        metrics.decisions.inc_by(batch.decisions);
        metrics.skipped.inc_by(batch.skipped);
        metrics.late.inc_by(batch.late);
        metrics.duplicates.inc_by(batch.duplicates);
        metrics.tombstones.inc_by(batch.tombstones);
        if let Some(newest_ms) = batch.newest_ms {
            metrics.lag.set((now_ms() - newest_ms).max(0) as f64 / 1000.0);
        }
        status.events.fetch_add(batch.events, Ordering::Relaxed);
        status.decisions.fetch_add(batch.decisions, Ordering::Relaxed);
        status.skipped.fetch_add(batch.skipped, Ordering::Relaxed);
        status.dead_letters.fetch_add(batch.dead_letters, Ordering::Relaxed);
    }
}
