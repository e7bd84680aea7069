//! Reads the decisions of the partitions that the fleet's consumer group gives to this agent, from their beginning.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::Message;
use tracing::{info, warn};

use crate::agent::feed;
use crate::agent::node::Node;
use crate::bus::{self, Change, GroupConsumer};
use crate::config::Settings;
use crate::shutdown::Shutdown;

use super::Fleet;

/// How often to ask how many partitions the control topic has.
const ASKING: Duration = Duration::from_secs(30);

/// Reads until it is time to end. An error is one of making a client. Blocks.
pub(super) fn read(settings: &Settings, fleet: &Fleet, node: &Node, shutdown: &Shutdown) -> Result<(), bus::Error> {
    while !shutdown.is_requested() {
        let consumer = GroupConsumer::join_table(&settings.kafka, &fleet.0.name, &settings.topics.decisions)?;
        let mut reading = Reading {
            topic: &settings.topics.decisions,
            fleet,
            node,
            consumer,
            joined: false,
            unread: BTreeSet::new(),
        };
        if let Err(error) = reading.read(shutdown) {
            warn!("{error}; joining the fleet again");
            fleet.take_all().into_iter().for_each(|partition| node.lose(partition));
            shutdown.sleep(Duration::from_secs(1));
        }
    }
    Ok(())
}

struct Reading<'a> {
    topic: &'a str,
    fleet: &'a Fleet,
    node: &'a Node,
    consumer: GroupConsumer,
    joined: bool,
    /// Partitions that were given to us and not read to their end yet.
    unread: BTreeSet<i32>,
}

impl Reading<'_> {
    fn read(&mut self, shutdown: &Shutdown) -> Result<(), bus::Error> {
        let mut asked: Option<Instant> = None;
        let mut caught_up = false;
        while !shutdown.is_requested() {
            let is_connected = self.consumer.health().is_connected();
            self.node.set_feed_connected(is_connected);
            if is_connected && asked.is_none_or(|asked| asked.elapsed() > ASKING) {
                let partitions = self.consumer.partitions(self.topic, Duration::from_secs(1));
                partitions.inspect(|partitions| self.fleet.set_partitions(*partitions));
                asked = partitions.map(|_| Instant::now());
            }
            if let Some(message) = self.consumer.poll(Duration::from_millis(50))?
                && self.fleet.is_given(message.partition())
            {
                feed::apply(self.node, &message);
                if let Some(app) = feed::key(&message) {
                    self.fleet.check_partition(&app, message.partition());
                }
            }
            for partition in self.consumer.ended() {
                if self.unread.remove(&partition) {
                    self.fleet.has_read(partition);
                    self.node.begin(partition);
                }
            }
            self.follow();
            if !caught_up && self.joined && self.unread.is_empty() {
                caught_up = true;
                info!("the decisions that were there have been read");
                self.node.set_decisions_read();
            }
        }
        Ok(())
    }

    /// Follows what changed in the group.
    fn follow(&mut self) {
        while let Some(change) = self.consumer.change() {
            let partitions = |positions: &[bus::Position]| -> Vec<i32> {
                positions.iter().map(|position| position.partition).collect()
            };
            match change {
                Change::Gained(gained) => {
                    self.joined = true;
                    let partitions = partitions(&gained);
                    info!("reads the decisions of partitions {partitions:?}");
                    self.fleet.give(&partitions);
                    self.unread.extend(partitions);
                    let from_the_beginning: Vec<_> = gained.iter().map(|position| (position, 0)).collect();
                    self.consumer.take(&from_the_beginning);
                }
                Change::Revoked(revoked) => {
                    let partitions = partitions(&revoked);
                    info!("the fleet takes partitions {partitions:?}");
                    self.unread.retain(|partition| !partitions.contains(partition));
                    self.fleet.take(&partitions).into_iter().for_each(|partition| self.node.lose(partition));
                    self.consumer.release(&revoked);
                }
            }
        }
    }
}
