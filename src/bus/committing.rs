//! Reading as a member of a consumer group that commits how far it has come.

use std::cell::Cell;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::{debug, warn};

use crate::config::Kafka;

use super::client;
use super::consumer::positions;
use super::member::{join, leave, poll};
use super::{Change, Error, Position};

/// Changes of ownership that were not looked at yet.
#[derive(Debug, Default)]
struct Changed(Mutex<Vec<Change>>);

impl client::Own for Changed {}

impl ConsumerContext for client::Context<Changed> {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let change = match rebalance {
            Rebalance::Assign(partitions) => Change::Gained(positions(partitions)),
            Rebalance::Revoke(partitions) => Change::Revoked(positions(partitions)),
            Rebalance::Error(error) => {
                warn!("the consumer group could not rebalance: {error}; retrying");
                return;
            }
        };
        self.own.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(change);
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, _: &TopicPartitionList) {
        if let Err(error) = result {
            debug!("offsets were not committed: {error}; they will be with the next ones");
        }
    }
}

/// A member of a consumer group whose partitions are read from where the group has committed.
pub struct CommittingConsumer {
    consumer: BaseConsumer<client::Context<Changed>>,
    asked: Cell<Instant>,
}

impl CommittingConsumer {
    /// Joins `group` for `topics`. Returns at once, whether a broker answers or not.
    pub fn join(kafka: &Kafka, group: &str, topics: &[&str]) -> Result<Self, Error> {
        let context = client::Context::new("keying events", kafka, Changed::default());
        Ok(Self { consumer: join(kafka, group, topics, &[], context)?, asked: Cell::new(Instant::now()) })
    }

    /// The next message, waiting for at most `timeout`. [`Self::changes`] is to be asked before it is used.
    pub fn poll(&self, timeout: Duration) -> Result<Option<BorrowedMessage<'_>>, Error> {
        poll(&self.consumer, &self.asked, timeout)
    }

    /// What changed in the ownership of partitions since the last call, in order.
    pub fn changes(&self) -> Vec<Change> {
        let own = &self.consumer.context().own;
        std::mem::take(&mut *own.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// Reads these no further. What has been fetched of them ahead is fetched again later.
    pub fn pause(&self, positions: &[Position]) {
        self.change(positions, BaseConsumer::pause);
    }

    /// Reads these again.
    pub fn resume(&self, positions: &[Position]) {
        self.change(positions, BaseConsumer::resume);
    }

    fn change(
        &self,
        positions: &[Position],
        change: impl Fn(&BaseConsumer<client::Context<Changed>>, &TopicPartitionList) -> Result<(), KafkaError>,
    ) {
        if positions.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for position in positions {
            list.add_partition(&position.topic, position.partition);
        }
        // Those that are not ours any more.
        if let Err(error) = change(&self.consumer, &list) {
            debug!("partitions could not be paused or resumed: {error}");
        }
    }

    /// Commits that everything before these offsets is done. Does not wait: what gets lost is committed with the next
    /// ones.
    pub fn commit<'a>(&self, offsets: impl Iterator<Item = (&'a Position, i64)>) {
        let mut list = TopicPartitionList::new();
        for (position, offset) in offsets {
            let _ = list.add_partition_offset(&position.topic, position.partition, Offset::Offset(offset));
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            debug!("offsets were not committed: {error}; they will be with the next ones");
        }
    }

    /// Leaves the group at once, so that others take over without waiting for a time-out.
    pub fn leave(self) {
        leave(&self.consumer);
    }
}
