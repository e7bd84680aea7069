//! What this agent reads: the decisions, the apps registered, and who else is there.

use std::time::Duration;

use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{info, warn};

use crate::bus::{self, TableConsumer};
use crate::config::Settings;
use crate::model::{Decision, Version};
use crate::shutdown::Shutdown;

use super::fleet::Fleet;
use super::node::Node;
use super::registrations::Registrations;

/// Starts reading. It ends by itself only where nothing will ever come: brokers refuse us, or no client can be made.
pub(super) fn start(
    settings: &Settings,
    node: &Node,
    fleet: &Fleet,
    registrations: &Registrations,
    shutdown: &Shutdown,
) -> JoinHandle<Result<(), bus::Error>> {
    let (settings, node, fleet) = (settings.clone(), node.clone(), fleet.clone());
    let (registrations, shutdown) = (registrations.clone(), shutdown.clone());
    tokio::spawn(async move {
        let ensured = {
            let (settings, shutdown) = (settings.clone(), shutdown.clone());
            spawn_blocking(move || bus::ensure(&settings.kafka, &settings.topics, &shutdown))
        };
        // Only then: a consumer that is let go of while brokers refuse it can take long to end.
        ensured.await.unwrap_or(Ok(()))?;
        let open = |topic, purpose| TableConsumer::open(&settings.kafka, topic, purpose);
        let apps = {
            let consumer = open(&settings.topics.apps, "reading apps")?;
            let (node, shutdown) = (node.clone(), shutdown.clone());
            spawn_blocking(move || registrations.read(consumer, &node, &shutdown))
        };
        let reading = if fleet.is_alone() {
            let consumer = open(&settings.topics.decisions, "reading decisions")?;
            spawn_blocking(move || read_alone(consumer, &node, &shutdown)).await
        } else {
            let consumer = open(&settings.topics.agents, "reading agents")?;
            let agents = {
                let (fleet, node, shutdown) = (fleet.clone(), node.clone(), shutdown.clone());
                spawn_blocking(move || fleet.read_agents(consumer, &node, &shutdown))
            };
            let reading = spawn_blocking(move || fleet.read_decisions(&settings, &node, &shutdown)).await;
            let _ = agents.await;
            reading
        };
        let _ = apps.await;
        reading.unwrap_or(Ok(()))
    })
}

/// Reads all decisions, from the beginning. Blocks.
fn read_alone(mut consumer: TableConsumer, node: &Node, shutdown: &Shutdown) -> Result<(), bus::Error> {
    let mut caught_up = false;
    while !shutdown.is_requested() {
        node.set_feed_connected(consumer.health().is_connected());
        if let Some(message) = next(&mut consumer, shutdown) {
            apply(node, &message);
        }
        consumer.ended().into_iter().for_each(|partition| node.begin(partition));
        if !caught_up && consumer.is_caught_up() {
            caught_up = true;
            info!("the decisions that were there have been read");
            node.set_decisions_read();
        }
    }
    Ok(())
}

/// The next message of a table. What goes wrong is said, and tried again: what is known stays in force until it
/// expires.
pub(super) fn next<'c>(consumer: &'c mut TableConsumer, shutdown: &Shutdown) -> Option<BorrowedMessage<'c>> {
    consumer.poll(Duration::from_millis(50)).unwrap_or_else(|error| {
        warn!("{error}; trying again");
        shutdown.sleep(Duration::from_secs(1));
        None
    })
}

/// Says that a record is passed over, and why.
pub(super) fn pass_over(message: &BorrowedMessage<'_>, reason: impl std::fmt::Display) {
    let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
    warn!(topic, partition, offset, "{reason}; it is passed over");
}

/// The key of a message, as text.
pub(super) fn key(message: &BorrowedMessage<'_>) -> Option<String> {
    message.key().map(|key| String::from_utf8_lossy(key).into_owned())
}

/// Takes a record of the control topic over.
pub(super) fn apply(node: &Node, message: &BorrowedMessage<'_>) {
    match message.payload() {
        Some(payload) => match serde_json::from_slice::<Decision>(payload) {
            Ok(decision) => node.decide(&decision, message.partition()),
            Err(error) => pass_over(message, format!("a record of the control topic is no decision: {error}")),
        },
        None => {
            if let Some(app) = key(message) {
                node.forget(&app, version(message));
            }
        }
    }
}

/// The version that a tombstone carries, if it does.
fn version(message: &BorrowedMessage<'_>) -> Option<Version> {
    let header = message.headers()?.iter().find(|header| header.key == bus::VERSION_HEADER)?;
    let (epoch, position) = std::str::from_utf8(header.value?).ok()?.split_once('/')?;
    Some(Version { epoch: epoch.parse().ok()?, position: position.parse().ok()? })
}
