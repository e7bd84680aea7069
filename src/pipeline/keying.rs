//! Before the flow, where the input is not keyed by app: reads it as it is, and writes it to `topics.invocations` as
//! canonical JSON keyed by app, from where the pipeline reads it.
//!
//! **Nothing is lost**: an offset is committed once all that came of its message, and of those before it, was
//! delivered. **Nothing counts twice**: after a crash some messages are keyed again. Each event carries its source
//! position, the events of a source partition are written in their order, and the reader drops those that are not
//! past the furthest position that it has seen (`ingest/order/source.rs`).

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use tracing::{debug, info};

use crate::bus::{Change, CommittingConsumer, Position, Producer, Record};
use crate::config::{Settings, Source};
use crate::ingest::order::{Place, SourcePosition};
use crate::ingest::{DeadLetter, Origin};
use crate::model::{Version, now_ms};
use crate::shutdown::Shutdown;
use crate::telemetry::{Kind, PipelineMetrics};

use super::merge::{Merge, Waiting};
use super::reading::{Reader, received_ms};
use super::status::Status;
use super::{BATCH_MESSAGES, BATCH_TIME, Error};

/// A message that was written longer ago than this (ms) waits for those of other partitions that may be earlier,
const OLD_MS: i64 = 1_000;
/// for at most this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// The stage, ready to run.
pub struct Keying<'a> {
    /// All settings.
    pub settings: &'a Settings,
    /// The topics that are not keyed by app.
    pub sources: &'a [Source],
    /// Shared with the pipeline.
    pub metrics: &'a PipelineMetrics,
    /// The same.
    pub status: &'a Status,
}

/// What comes of a message.
struct Keyed {
    offset: i64,
    received_ms: Option<i64>,
    records: Vec<Out>,
}

/// A record to write.
struct Out {
    key: String,
    payload: Vec<u8>,
    /// Where the event was read; `None`: it is a dead letter.
    source: Option<String>,
}

/// The running stage.
struct Run<'a> {
    keying: &'a Keying<'a>,
    shutdown: &'a Shutdown,
    reader: Reader<'a>,
    consumer: &'a CommittingConsumer,
    producer: &'a Producer,
    merge: Merge<Keyed>,
    /// When something went last, or nothing waited.
    moved: Instant,
}

impl Keying<'_> {
    /// Runs until it is time to end. Blocks; give it a thread.
    pub fn run(&self, shutdown: &Shutdown) -> Result<(), Error> {
        let producer = Producer::open(&self.settings.kafka, "writing keyed events")?;
        let topics: Vec<_> = self.sources.iter().map(|source| source.topic.as_str()).collect();
        let group = format!("{}-keying", self.settings.input.group);
        let consumer = CommittingConsumer::join(&self.settings.kafka, &group, &topics)?;
        let mut run = Run {
            keying: self,
            shutdown,
            reader: Reader::new(self.sources, &self.settings.input),
            consumer: &consumer,
            producer: &producer,
            merge: Merge::default(),
            moved: Instant::now(),
        };
        while !shutdown.is_requested() {
            run.one_batch()?;
        }
        consumer.leave();
        Ok(())
    }
}

impl Run<'_> {
    fn one_batch(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let mut wait = BATCH_TIME;
        for _ in 0..BATCH_MESSAGES {
            let message = self.consumer.poll(wait)?;
            self.follow_ownership();
            let Some(message) = message else { break };
            self.take(&message)?;
            wait = Duration::ZERO;
            if began.elapsed() > BATCH_TIME {
                break;
            }
        }
        if !self.merge.is_waiting() {
            self.moved = Instant::now();
        } else if self.moved.elapsed() > PATIENCE {
            self.merge.wait_no_more();
        }
        let mut done = BTreeMap::new();
        while let Some((position, keyed)) = self.merge.pop() {
            self.moved = Instant::now();
            if !done.contains_key(position) {
                done.insert(position.clone(), 0);
            }
            if let Some(next) = done.get_mut(position) {
                *next = keyed.offset + 1;
            }
            self.write(&keyed)?;
        }
        let by_room = self.merge.by_room();
        self.consumer.pause(&by_room.pause);
        self.consumer.resume(&by_room.resume);
        if !done.is_empty() && self.is_delivered()? {
            self.consumer.commit(done.iter().map(|(position, next)| (position, *next)));
        }
        Ok(())
    }

    /// Reads a message, and puts it where it waits for its turn.
    fn take(&mut self, message: &BorrowedMessage<'_>) -> Result<(), Error> {
        let (metrics, status) = (self.keying.metrics, self.keying.status);
        let opened = self.reader.open(message, self.shutdown)?;
        let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
        let received_ms = received_ms(message);
        let mut records = Vec::new();
        let mut ended_at_ms = i64::MIN;
        match self.reader.decode(&opened) {
            Ok(invocations) => {
                metrics.skipped.inc_by(u64::from(invocations.is_empty()));
                status.skipped.fetch_add(u64::from(invocations.is_empty()), Ordering::Relaxed);
                let version = Version { epoch: self.keying.settings.publish.epoch, position: offset };
                for (index, invocation) in (0..).zip(&invocations) {
                    ended_at_ms = ended_at_ms.max(invocation.ended_at_ms());
                    let source = SourcePosition { topic, partition, place: Place { version, index } };
                    let payload = serde_json::to_vec(invocation)?;
                    records.push(Out { key: invocation.app.to_string(), payload, source: Some(source.to_string()) });
                }
            }
            Err(reason) => {
                let origin = Origin { topic, partition, offset };
                let letter = DeadLetter::new(origin, received_ms, message.key(), message.payload(), &reason);
                debug!(?origin, %reason, "dead letter");
                metrics.dead_letters.get_or_create(&Kind { kind: letter.kind() }).inc();
                status.dead_letters.fetch_add(1, Ordering::Relaxed);
                let payload = serde_json::to_vec(&letter)?;
                records.push(Out { key: letter.record_key(), payload, source: None });
            }
        }
        let bytes = records.iter().map(|record| size_of::<Out>() + record.key.len() + record.payload.len()).sum();
        let is_old = received_ms.is_some_and(|received_ms| now_ms() - received_ms > OLD_MS);
        let keyed = Keyed { offset, received_ms, records };
        let position = Position { topic: topic.to_owned(), partition };
        self.merge.push(&position, Waiting { ended_at_ms, bytes, is_old, message: keyed });
        Ok(())
    }

    fn write(&self, keyed: &Keyed) -> Result<(), Error> {
        let topics = &self.keying.settings.topics;
        for Out { key, payload, source } in &keyed.records {
            let record = Record {
                topic: if source.is_some() { &topics.invocations } else { &topics.dead_letters },
                key,
                payload: Some(payload),
                // The source's, against which the clocks of senders are checked.
                timestamp_ms: keyed.received_ms,
                version: None,
                source: source.as_deref(),
            };
            // Not sent means that it is time to end: nothing is committed then.
            self.producer.send(record, self.shutdown)?;
        }
        self.keying.metrics.keyed.inc_by(keyed.records.iter().filter(|record| record.source.is_some()).count() as u64);
        Ok(())
    }

    /// Waits until all that was written is delivered; `false` when it is time to end before.
    fn is_delivered(&self) -> Result<bool, Error> {
        let mut delivered = false;
        while !delivered && !self.shutdown.is_requested() {
            delivered = self.producer.flush(Duration::from_millis(100));
        }
        match self.producer.take_failures() {
            Some((_, error)) => Err(error.into()),
            None => Ok(delivered && !self.shutdown.is_requested()),
        }
    }

    fn follow_ownership(&mut self) {
        for change in self.consumer.changes() {
            let (verb, changed) = match change {
                Change::Gained(gained) => {
                    gained.iter().for_each(|position| self.merge.gain(position.clone()));
                    ("gained", gained)
                }
                Change::Revoked(lost) => {
                    lost.iter().for_each(|position| self.merge.lose(position));
                    ("lost", lost)
                }
            };
            let partitions: Vec<_> = changed.iter().map(|position| position.partition).collect();
            info!("keying: {verb} partitions {partitions:?}");
        }
    }
}
