//! Two ways to read: as a member of a consumer group, and a whole topic from its beginning.

use std::cell::Cell;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use tracing::warn;

use crate::config::Kafka;

use super::Error;
use super::client::{self, Health};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
}

/// A change in what this member of the group owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These are ours now, and are read from their beginning.
    Gained(Vec<Position>),
    /// These are ours no more.
    Lost(Vec<Position>),
}

/// For catching up fast without adding more than 50 ms when little happens (measured: docs/benchmarks.md).
const READING: [(&str, &str); 9] = [
    ("enable.auto.commit", "false"),
    ("auto.offset.reset", "earliest"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("fetch.queue.backoff.ms", "50"),
    ("fetch.min.bytes", "100000"),
    ("fetch.wait.max.ms", "50"),
    ("queued.min.messages", "1000000"),
    // Of all partitions together, as they share one queue: bounds what waits in memory. On top comes an answer that was
    // under way, of any number of partitions, from each broker.
    ("queued.max.messages.kbytes", "4096"),
    ("fetch.max.bytes", "16777216"),
];

/// Changes of ownership that were not looked at yet.
type Changes = Mutex<Vec<Change>>;

impl ConsumerContext for client::Context<()> {}

impl ConsumerContext for client::Context<Changes> {
    // Runs inside of `poll`, on the polling thread.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let (change, result) = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                // From the beginning, whatever offsets anybody may have committed for this group.
                let begun = partitions.set_all_offsets(Offset::Beginning);
                let assigned = begun.and_then(|()| match cooperative {
                    true => consumer.incremental_assign(partitions),
                    false => consumer.assign(partitions),
                });
                (Change::Gained(positions(partitions)), assigned)
            }
            _ => {
                let taken = match cooperative {
                    true => consumer.incremental_unassign(partitions),
                    false => consumer.unassign(),
                };
                (Change::Lost(positions(partitions)), taken)
            }
        };
        if let Err(error) = result {
            warn!("the consumer group could not rebalance: {error}; retrying");
        }
        self.own.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(change);
    }
}

fn positions(partitions: &TopicPartitionList) -> Vec<Position> {
    partitions
        .elements()
        .iter()
        .map(|element| Position { topic: element.topic().to_owned(), partition: element.partition() })
        .collect()
}

/// A member of a consumer group. It commits no offsets: whoever gains a partition reads it from its beginning, which
/// gives the same state that its last owner had.
pub struct GroupConsumer {
    consumer: BaseConsumer<client::Context<Changes>>,
    asked: Cell<Instant>,
}

impl GroupConsumer {
    /// Joins `group` for `topics`. Returns at once, whether a broker answers or not.
    pub fn join(kafka: &Kafka, group: &str, topics: &[&str]) -> Result<Self, Error> {
        let mut options = client::options(kafka, &READING);
        options.set("group.id", group);
        let context = client::Context::new("reading events", kafka, Changes::default());
        let consumer: BaseConsumer<_> =
            options.create_with_context(context).map_err(|error| client::unusable(kafka, error))?;
        // Serves the request for a token, if there is one; messages there are none before the subscription.
        drop(consumer.poll(Duration::ZERO));
        consumer.subscribe(topics).map_err(|source| Error::Subscribe { topic: topics.join(", "), source })?;
        let consumer = Self { consumer, asked: Cell::new(Instant::now()) };
        consumer.health().ask(consumer.consumer.client(), Duration::from_secs(2));
        Ok(consumer)
    }

    /// Whether a broker answers.
    pub fn health(&self) -> &Health {
        &self.consumer.context().health
    }

    /// The next message, waiting for at most `timeout`. `Ok(None)` also when something else happened: look at
    /// [`Self::changes`] then.
    pub fn poll(&self, timeout: Duration) -> Result<Option<BorrowedMessage<'_>>, Error> {
        // Only while nothing comes anyway: asking takes time.
        if !self.health().is_connected() && self.asked.get().elapsed() > Duration::from_secs(1) {
            self.health().ask(self.consumer.client(), Duration::from_secs(1));
            self.asked.set(Instant::now());
        }
        match self.consumer.poll(timeout) {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(message)),
            Some(Err(error)) => handle(self.consumer.context(), error).map(|()| None),
        }
    }

    /// What changed in the ownership of partitions since the last call, in order. To be asked after every poll and
    /// before its message is used.
    pub fn changes(&self) -> Vec<Change> {
        let mut changes = self.consumer.context().own.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        std::mem::take(&mut changes)
    }

    /// Leaves the group at once, so that others take over without waiting for a time-out.
    pub fn leave(self) {
        self.consumer.unsubscribe();
        // Consumers can hang when dropped while assigned: let the revocation be served first.
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.consumer.assignment().is_ok_and(|owned| owned.count() > 0) && Instant::now() < deadline {
            drop(self.consumer.poll(Duration::from_millis(20)));
        }
    }
}

fn handle<T>(context: &client::Context<T>, error: KafkaError) -> Result<(), Error> {
    match &error {
        KafkaError::MessageConsumptionFatal(_) => return Err(Error::Fatal(error)),
        KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition) => {
            warn!("an input topic does not exist: {error}; waiting for it (input.topics)");
        }
        _ => context.note(&error, &error.to_string()),
    }
    Ok(())
}

/// Reads all partitions of one topic from their beginning, outside of any group.
pub struct TableConsumer {
    consumer: BaseConsumer<client::Context<()>>,
    topic: String,
    partitions: i32,
    /// Partitions whose end was reached once.
    caught_up: std::collections::BTreeSet<i32>,
    asked: Instant,
}

impl TableConsumer {
    /// Opens `topic`. Returns at once, whether a broker answers or not.
    pub fn open(kafka: &Kafka, topic: &str) -> Result<Self, Error> {
        let mut options = client::options(kafka, &READING);
        // Never used, but librdkafka wants one for assigning; never the user's, which is a pipeline's.
        options.set("group.id", "pilotlight-table").set("enable.partition.eof", "true");
        let context = client::Context::new("reading decisions", kafka, ());
        let consumer: BaseConsumer<_> =
            options.create_with_context(context).map_err(|error| client::unusable(kafka, error))?;
        drop(consumer.poll(Duration::ZERO));
        let asked = Instant::now() - Duration::from_secs(60);
        Ok(Self { consumer, topic: topic.to_owned(), partitions: 0, caught_up: Default::default(), asked })
    }

    /// Whether a broker answers.
    pub fn health(&self) -> &Health {
        &self.consumer.context().health
    }

    /// Whether all that was there at the start has been read.
    pub fn is_caught_up(&self) -> bool {
        self.partitions > 0 && self.caught_up.len() as i32 >= self.partitions
    }

    /// The next message, waiting for at most `timeout`.
    pub fn poll(&mut self, timeout: Duration) -> Result<Option<BorrowedMessage<'_>>, Error> {
        let often = if self.partitions == 0 || !self.health().is_connected() { 1 } else { 30 };
        if self.asked.elapsed() > Duration::from_secs(often) {
            self.asked = Instant::now();
            self.assign()?;
        }
        match self.consumer.poll(timeout) {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.caught_up.insert(partition);
                Ok(None)
            }
            Some(Err(error)) => handle(self.consumer.context(), error).map(|()| None),
        }
    }

    /// Takes partitions on that are new to us: all of them at first, added ones later.
    fn assign(&mut self) -> Result<(), Error> {
        let metadata = match self.consumer.fetch_metadata(Some(&self.topic), Duration::from_secs(1)) {
            Ok(metadata) => metadata,
            Err(error) => {
                self.health().down(&error.to_string());
                return Ok(());
            }
        };
        let topic = metadata.topics().first();
        if let Some(error) = topic.and_then(|topic| topic.error()) {
            let error = RDKafkaErrorCode::from(error);
            self.health().down(&format!("topic {} can't be read: {error}", self.topic));
            return Ok(());
        }
        self.health().up();
        let found = topic.map_or(0, |topic| topic.partitions().len() as i32);
        if found > self.partitions {
            let mut added = TopicPartitionList::new();
            for partition in self.partitions..found {
                // An offset can't be refused.
                let _ = added.add_partition_offset(&self.topic, partition, Offset::Beginning);
            }
            self.consumer
                .incremental_assign(&added)
                .map_err(|source| Error::Subscribe { topic: self.topic.clone(), source })?;
            self.partitions = found;
        }
        Ok(())
    }
}

impl Drop for TableConsumer {
    fn drop(&mut self) {
        let _ = self.consumer.unassign();
    }
}
