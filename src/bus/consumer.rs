//! Two ways to read: as a member of a consumer group, and a whole topic from its beginning.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use tracing::warn;

use crate::checkpoint::Log;
use crate::config::Kafka;

use super::Error;
use super::client::{self, Health};
use super::log_ends::LogEnds;
use super::member::{join, leave, poll};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A change in what this member of the group owns. The group waits until it is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These are ours from now on: [`GroupConsumer::take`] them.
    Gained(Vec<Position>),
    /// These are ours no more: [`GroupConsumer::release`] them.
    Revoked(Vec<Position>),
}

/// For catching up fast without adding more than 50 ms when little happens (measured: docs/benchmarks.md).
pub(super) const READING: [(&str, &str); 9] = [
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

/// For members that hold a table of their partitions: another one is to take over soon, and the end of what is there is
/// told.
const KEEPING: [(&str, &str); 5] = [
    ("session.timeout.ms", "6000"),
    ("heartbeat.interval.ms", "1000"),
    ("enable.partition.eof", "true"),
    SIPS[0],
    SIPS[1],
];

/// For tables, which are read once and need memory for better things: an answer is ten times as large when it is unpacked.
const SIPS: [(&str, &str); 2] = [("fetch.max.bytes", "1048576"), ("max.partition.fetch.bytes", "262144")];

/// Changes of ownership that were not followed yet.
#[derive(Debug, Default)]
struct Ownership {
    changes: Mutex<VecDeque<Change>>,
    /// Whether nobody will follow any more.
    leaving: AtomicBool,
    /// Partitions whose end was reached and not yet told.
    ended: Mutex<Vec<i32>>,
    log_ends: Mutex<Arc<LogEnds>>,
}

impl Ownership {
    fn changes(&self) -> MutexGuard<'_, VecDeque<Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl client::Own for Ownership {
    fn note_statistics(&self, statistics: &[u8]) {
        let log_ends = Arc::new(LogEnds::read(statistics));
        *self.log_ends.lock().unwrap_or_else(PoisonError::into_inner) = log_ends;
    }

    fn note_end(&self, partition: i32) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(partition);
    }
}

impl ConsumerContext for client::Context<()> {}

impl ConsumerContext for client::Context<Ownership> {
    // Runs inside of `poll`, on the polling thread. Only notes what is wanted: it may take a while to follow, and the
    // library lets that happen after the callback.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let gained = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.own.leaving.load(Ordering::Relaxed) {
            assign(consumer, gained, partitions);
            return;
        }
        let positions = positions(partitions);
        let change = if gained { Change::Gained(positions) } else { Change::Revoked(positions) };
        self.own.changes().push_back(change);
    }
}

/// Adds `partitions` to what is assigned, or takes them out.
fn assign(consumer: &BaseConsumer<client::Context<Ownership>>, gained: bool, partitions: &TopicPartitionList) {
    let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
    let result = match (gained, cooperative) {
        (true, true) => consumer.incremental_assign(partitions),
        (true, false) => consumer.assign(partitions),
        (false, true) => taken(consumer, partitions).and_then(|taken| consumer.incremental_unassign(&taken)),
        (false, false) => consumer.unassign(),
    };
    if let Err(error) = result {
        warn!("the consumer group could not rebalance: {error}; retrying");
    }
}

/// Those of `partitions` that were taken: the library refuses all where one was not, and its consumer never ends then.
fn taken(
    consumer: &BaseConsumer<client::Context<Ownership>>,
    partitions: &TopicPartitionList,
) -> Result<TopicPartitionList, KafkaError> {
    let assigned = consumer.assignment()?;
    let mut taken = TopicPartitionList::new();
    for Position { topic, partition } in positions(partitions) {
        if assigned.find_partition(&topic, partition).is_some() {
            taken.add_partition(&topic, partition);
        }
    }
    Ok(taken)
}

pub(super) fn positions(partitions: &TopicPartitionList) -> Vec<Position> {
    partitions
        .elements()
        .iter()
        .map(|element| Position { topic: element.topic().to_owned(), partition: element.partition() })
        .collect()
}

/// A member of a consumer group. It commits no offsets: whoever takes a partition says where to begin.
pub struct GroupConsumer {
    consumer: BaseConsumer<client::Context<Ownership>>,
    asked: Cell<Instant>,
}

impl GroupConsumer {
    /// Joins `group` for `topics`. Returns at once, whether a broker answers or not.
    pub fn join(kafka: &Kafka, group: &str, topics: &[&str]) -> Result<Self, Error> {
        Self::join_for("reading events", kafka, group, topics, &[])
    }

    /// Joins `group` for a compacted topic of which each member holds what its partitions say. One that is killed is
    /// replaced within seconds, and [`Self::ended`] tells which partitions have been read. Returns at once.
    pub fn join_table(kafka: &Kafka, group: &str, topic: &str) -> Result<Self, Error> {
        Self::join_for("reading decisions", kafka, group, &[topic], &KEEPING)
    }

    fn join_for(
        purpose: &'static str,
        kafka: &Kafka,
        group: &str,
        topics: &[&str],
        own: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let context = client::Context::new(purpose, kafka, Ownership::default());
        let consumer = Self { consumer: join(kafka, group, topics, own, context)?, asked: Cell::new(Instant::now()) };
        consumer.health().ask(consumer.consumer.client(), Duration::from_secs(2));
        Ok(consumer)
    }

    /// Whether a broker answers.
    pub fn health(&self) -> &Health {
        &self.consumer.context().health
    }

    /// The next message, waiting for at most `timeout`. `Ok(None)` also when something else happened: look at
    /// [`Self::change`] then.
    pub fn poll(&self, timeout: Duration) -> Result<Option<BorrowedMessage<'_>>, Error> {
        poll(&self.consumer, &self.asked, timeout)
    }

    /// Reads no partition any further until [`Self::resume`]. What has been fetched ahead is fetched again then.
    pub fn pause(&self) -> Result<(), Error> {
        self.consumer.assignment().and_then(|owned| self.consumer.pause(&owned)).map_err(Error::Pause)
    }

    /// Reads all partitions again.
    pub fn resume(&self) -> Result<(), Error> {
        self.consumer.assignment().and_then(|owned| self.consumer.resume(&owned)).map_err(Error::Pause)
    }

    /// Whether partitions are to be released.
    pub fn is_asked_to_release(&self) -> bool {
        self.own().changes().iter().any(|change| matches!(change, Change::Revoked(_)))
    }

    /// What changed in the ownership of partitions, the earliest that was not followed yet. To be asked after every poll and
    /// before its message is used.
    pub fn change(&self) -> Option<Change> {
        self.own().changes().front().cloned()
    }

    /// Follows [`Change::Gained`]: reads each of the partitions from the offset beside it on.
    pub fn take(&self, gained: &[(&Position, i64)]) {
        let mut partitions = TopicPartitionList::new();
        for (Position { topic, partition }, offset) in gained {
            // An offset can't be refused.
            let _ = partitions.add_partition_offset(topic, *partition, Offset::Offset(*offset));
        }
        self.follow(true, &partitions);
    }

    /// Follows [`Change::Revoked`].
    pub fn release(&self, revoked: &[Position]) {
        let mut partitions = TopicPartitionList::new();
        for Position { topic, partition } in revoked {
            partitions.add_partition(topic, *partition);
        }
        self.follow(false, &partitions);
    }

    /// The partitions of [`Self::join_table`] whose end was reached since the last call.
    pub fn ended(&self) -> Vec<i32> {
        std::mem::take(&mut *self.own().ended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many partitions `topic` has; `None` while nobody says. Blocks for at most `timeout`.
    pub fn partitions(&self, topic: &str, timeout: Duration) -> Option<i32> {
        let metadata = self.consumer.fetch_metadata(Some(topic), timeout).ok()?;
        let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        i32::try_from(partitions).ok().filter(|partitions| *partitions > 0)
    }

    fn follow(&self, gained: bool, partitions: &TopicPartitionList) {
        assign(&self.consumer, gained, partitions);
        self.own().changes().pop_front();
    }

    fn own(&self) -> &Ownership {
        &self.consumer.context().own
    }

    /// The id of the Kafka cluster, where it tells one.
    pub fn cluster_id(&self, timeout: Duration) -> Option<String> {
        self.consumer.client().fetch_cluster_id(timeout)
    }

    /// Where the logs end, as of the last second in which something was fetched. Asks nobody.
    pub fn log_ends(&self) -> Arc<LogEnds> {
        Arc::clone(&self.own().log_ends.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The offsets of a partition's first event and of the one to come. Blocks for at most `timeout`.
    pub fn watermarks(&self, Position { topic, partition }: &Position, timeout: Duration) -> Result<Log, Error> {
        self.consumer
            .fetch_watermarks(topic, *partition, timeout)
            .map(|(low, high)| Log { low, high })
            .map_err(|source| Error::Offsets { topic: topic.clone(), partition: *partition, source })
    }
}

impl Drop for GroupConsumer {
    /// Leaves the group at once, so that others take over without waiting for a time-out.
    fn drop(&mut self) {
        self.own().leaving.store(true, Ordering::Relaxed);
        // One that was never followed would keep the consumer from ending.
        while let Some(change) = self.change() {
            match change {
                Change::Gained(_) => self.take(&[]),
                Change::Revoked(revoked) => self.release(&revoked),
            }
        }
        leave(&self.consumer);
    }
}

pub(super) fn handle<T: client::Own>(context: &client::Context<T>, error: KafkaError) -> Result<(), Error> {
    match &error {
        KafkaError::PartitionEOF(partition) => context.own.note_end(*partition),
        KafkaError::MessageConsumptionFatal(RDKafkaErrorCode::FencedInstanceId) => return Err(Error::Fenced),
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
    caught_up: BTreeSet<i32>,
    /// Those of them that were not yet told.
    ended: Vec<i32>,
    asked: Instant,
}

impl TableConsumer {
    /// Opens `topic`. Returns at once, whether a broker answers or not.
    /// `purpose` is what that is for, as the log says it.
    pub fn open(kafka: &Kafka, topic: &str, purpose: &'static str) -> Result<Self, Error> {
        // A single record is to be seen at once.
        let mut options = client::options(kafka, &[&READING[..], &SIPS, &[("fetch.min.bytes", "1")]].concat());
        // Never used, but librdkafka wants one for assigning; never the user's, which is a pipeline's.
        options.set("group.id", "pilotlight-table").set("enable.partition.eof", "true");
        let context = client::Context::new(purpose, kafka, ());
        let consumer: BaseConsumer<_> =
            options.create_with_context(context).map_err(|error| client::unusable(kafka, error))?;
        drop(consumer.poll(Duration::ZERO));
        let asked = Instant::now() - Duration::from_secs(60);
        let topic = topic.to_owned();
        Ok(Self { consumer, topic, partitions: 0, caught_up: BTreeSet::new(), ended: Vec::new(), asked })
    }

    /// Whether a broker answers.
    pub fn health(&self) -> &Health {
        &self.consumer.context().health
    }

    /// The partitions whose end was reached for the first time, since the last call.
    pub fn ended(&mut self) -> Vec<i32> {
        std::mem::take(&mut self.ended)
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
                if self.caught_up.insert(partition) {
                    self.ended.push(partition);
                }
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
