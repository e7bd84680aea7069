//! Reads the control topic from its beginning, and goes on from there.

use std::time::Duration;

use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{info, warn};

use crate::bus::{self, TableConsumer};
use crate::config::Settings;
use crate::model::{Decision, Version};
use crate::shutdown::Shutdown;

use super::node::Node;

/// The version that a tombstone carries, if it does.
fn version(message: &BorrowedMessage<'_>) -> Option<Version> {
    let header = message.headers()?.iter().find(|header| header.key == bus::VERSION_HEADER)?;
    let (epoch, position) = std::str::from_utf8(header.value?).ok()?.split_once('/')?;
    Some(Version { epoch: epoch.parse().ok()?, position: position.parse().ok()? })
}

/// Starts reading. It ends by itself only where no decision will ever come: brokers refuse us, or no client can be made.
pub(super) fn start(settings: &Settings, node: Node, shutdown: Shutdown) -> JoinHandle<Result<(), bus::Error>> {
    let settings = settings.clone();
    spawn_blocking(move || {
        bus::ensure(&settings.kafka, &settings.topics, &shutdown)?;
        // Only now: a consumer that is let go of while brokers refuse it can take long to end.
        let mut consumer = TableConsumer::open(&settings.kafka, &settings.topics.decisions)?;
        let mut caught_up = false;
        while !shutdown.is_requested() {
            node.set_feed_connected(consumer.health().is_connected());
            let message = match consumer.poll(Duration::from_millis(50)) {
                Ok(message) => message,
                // What is known stays in force until it expires.
                Err(error) => {
                    warn!("{error}; trying again");
                    shutdown.sleep(Duration::from_secs(1));
                    continue;
                }
            };
            if let Some(message) = message {
                let key = message.key().map(String::from_utf8_lossy);
                match (message.payload(), key) {
                    (Some(payload), _) => match serde_json::from_slice::<Decision>(payload) {
                        Ok(decision) => node.decide(&decision),
                        Err(error) => warn!(
                            topic = message.topic(),
                            partition = message.partition(),
                            offset = message.offset(),
                            "a record of the control topic is no decision: {error}; it is passed over"
                        ),
                    },
                    (None, Some(app)) => node.forget(&app, version(&message)),
                    (None, None) => {}
                }
            }
            if !caught_up && consumer.is_caught_up() {
                caught_up = true;
                info!("the decisions that were there have been read");
                node.begin();
            }
        }
        Ok(())
    })
}
