//! The agents of a fleet: each is the home of some partitions of the control topic, and so of the apps whose decisions
//! are in them.
//!
//! [`decisions`] joins the consumer group that shares the partitions out, [`members`] knows who is the home of what,
//! [`announce`] says so to the others on the topic of agents, [`pass_on`] brings an invocation to its app's home.

mod announce;
mod decisions;
mod members;
mod partition;
mod pass_on;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::Message;
use tokio::sync::Notify;
use tracing::{error, info, warn};

use crate::bus::{self, TableConsumer};
use crate::config::{self, Settings};
use crate::model::now_ms;
use crate::shutdown::Shutdown;
use crate::telemetry::{AgentMetrics, Kind};

use super::feed;
use super::node::Node;

pub use members::AgentRecord;
pub(super) use members::Home;
use members::{Members, Peer};
pub(super) use pass_on::{PASSED_ON, PassOn, Passed};

/// For how long an agent that could not be reached is not tried again, unless it says something.
const AWAY: Duration = Duration::from_secs(5);

/// The fleet as one of its agents sees it. Cheap to clone.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    /// The fleet's name: the consumer group. Empty: this agent is alone.
    name: String,
    node: String,
    /// Random, for as long as this agent runs.
    run: String,
    url: String,
    members: Mutex<Members>,
    /// Partitions of the control topic; 0 while that is not known.
    partitions: AtomicI32,
    /// What is ours has changed.
    changed: Notify,
    /// Agents that could not be reached, and when that was.
    away: Mutex<HashMap<String, Instant>>,
    said_named_twice: AtomicBool,
    said_elsewhere: AtomicBool,
    metrics: AgentMetrics,
}

impl Fleet {
    /// The fleet of the settings, of which nothing is known yet.
    pub(super) fn new(settings: &config::Agent, metrics: AgentMetrics) -> Self {
        let node = settings.node_name();
        let run = format!("{:016x}", rand::random::<u64>());
        Self(Arc::new(Inner {
            name: settings.fleet.clone(),
            url: settings.advertised(),
            members: Mutex::new(Members::new(&node, &run)),
            run,
            node,
            partitions: AtomicI32::new(0),
            changed: Notify::new(),
            away: Mutex::default(),
            said_named_twice: AtomicBool::new(false),
            said_elsewhere: AtomicBool::new(false),
            metrics,
        }))
    }

    /// Whether this agent is alone, the home of all apps.
    pub(super) fn is_alone(&self) -> bool {
        self.0.name.is_empty()
    }

    /// The name of this node.
    pub(super) fn node(&self) -> &str {
        &self.0.node
    }

    /// The home of an app. One that could not be reached lately is not known.
    pub(super) fn home(&self, app: &str) -> Home {
        if self.is_alone() {
            return Home::Here;
        }
        let partitions = self.0.partitions.load(Ordering::Relaxed);
        let Some(partition) = partition::partition_of(app, partitions) else { return Home::Unknown };
        match self.members().home(partition) {
            Home::At(peer) if self.is_away(&peer) => Home::Unknown,
            home => home,
        }
    }

    /// What the agents of the fleet say of themselves.
    pub(super) fn agents(&self) -> Vec<AgentRecord> {
        self.members().view()
    }

    /// Reads the decisions of what the fleet gives to this agent, until it is time to end. Blocks.
    pub(super) fn read_decisions(
        &self,
        settings: &Settings,
        node: &Node,
        shutdown: &Shutdown,
    ) -> Result<(), bus::Error> {
        decisions::read(settings, self, node, shutdown)
    }

    /// Reads who is there, until it is time to end. Blocks.
    pub(super) fn read_agents(&self, mut consumer: TableConsumer, node: &Node, shutdown: &Shutdown) {
        while !shutdown.is_requested() {
            let Some(message) = feed::next(&mut consumer, shutdown) else { continue };
            let Some(name) = feed::key(&message) else { continue };
            let record = message.payload().map(serde_json::from_slice).transpose();
            match record {
                Ok(record) => self.read(&name, record).into_iter().for_each(|partition| node.lose(partition)),
                Err(error) => feed::pass_over(&message, format!("a record of the topic of agents is none: {error}")),
            }
        }
    }

    /// An agent can't be reached.
    fn note_away(&self, peer: &Peer) {
        if self.away().insert(peer.node.clone(), Instant::now()).is_none() {
            info!(
                node = peer.node,
                url = peer.url,
                "an agent can't be reached: its apps run here until it can, or another takes them over"
            );
        }
    }

    fn is_away(&self, peer: &Peer) -> bool {
        self.away().get(&peer.node).is_some_and(|since| since.elapsed() < AWAY)
    }

    /// A record of the topic of agents was read. The partitions that are ours no more.
    fn read(&self, node: &str, record: Option<AgentRecord>) -> Vec<i32> {
        self.away().remove(node);
        // Of another fleet: it is none of ours, or not any more.
        let record = record.filter(|record| record.fleet == self.0.name && record.node == node);
        let mut members = self.members();
        let lost = members.read(node, record);
        if members.is_named_twice() && !self.0.said_named_twice.swap(true, Ordering::Relaxed) {
            error!(node = self.0.node, "another agent of this fleet has the name of this one: set agent.node");
        }
        drop(members);
        self.tell(&lost);
        lost
    }

    fn is_given(&self, partition: i32) -> bool {
        self.members().is_given(partition)
    }

    fn set_partitions(&self, partitions: i32) {
        self.0.partitions.store(partitions, Ordering::Relaxed);
    }

    /// Says so where an app's decisions are not in the partition that makes an agent its home: then an agent acts on
    /// them to which the others do not pass its invocations on.
    fn check_partition(&self, app: &str, partition: i32) {
        let expected = partition::partition_of(app, self.0.partitions.load(Ordering::Relaxed));
        if expected.is_some_and(|expected| expected != partition)
            && !self.0.said_elsewhere.swap(true, Ordering::Relaxed)
        {
            warn!(
                app,
                partition,
                ?expected,
                "decisions are written with another partitioner than murmur2_random: apps are loaded on agents that are \
                 not asked for them; look at kafka.partitioner of the pipelines"
            );
        }
    }

    fn give(&self, partitions: &[i32]) {
        self.members().give(partitions);
    }

    fn has_read(&self, partition: i32) {
        self.members().has_read(partition, now_ms());
        self.note_change();
    }

    /// The group takes partitions away. Those of them that are ours no more.
    fn take(&self, partitions: &[i32]) -> Vec<i32> {
        let lost = self.members().take(partitions);
        self.tell(&lost);
        lost
    }

    /// We are no member of the group any more. The partitions that are ours no more.
    fn take_all(&self) -> Vec<i32> {
        let given = self.members().given();
        self.take(&given)
    }

    fn tell(&self, lost: &[i32]) {
        if !lost.is_empty() {
            info!("another agent is the home of the partitions {lost:?} now");
            self.note_change();
        }
    }

    fn note_change(&self) {
        let ours = self.members().ours().len();
        self.0.metrics.home_partitions.set(ours as i64);
        self.0.changed.notify_one();
    }

    fn note_passed_on(&self, kind: &'static str) {
        self.0.metrics.passed_on.get_or_create(&Kind { kind }).inc();
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.0.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn away(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
