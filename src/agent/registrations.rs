//! The topic of apps: what `PUT` and `DELETE /apps/{app}` of any agent write, every agent reads.
//!
//! An app is registered once this agent has read it back, and so in the order in which all others read it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::Message;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tracing::info;

use crate::bus::{Producer, Record, TableConsumer};
use crate::shutdown::Shutdown;

use super::feed;
use super::node::Node;
use super::registry::AppSpec;

/// For how long a registration is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// An app as it stands on the topic: `schemas/app.v1.json`. The key of its record is the app.
#[derive(Debug, Serialize, Deserialize)]
struct AppRecord {
    app: String,
    /// Random: tells registrations of the same app apart.
    revision: String,
    spec: AppSpec,
}

/// Why an app was not registered, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be.
    #[error(transparent)]
    Refused(#[from] super::registry::Error),
    /// The broker does not take it.
    #[error("the registration of app '{app}' was not taken: {reason}")]
    NotTaken {
        /// The app.
        app: String,
        /// Why not.
        reason: String,
    },
    /// No answer yet.
    #[error(
        "Kafka did not confirm the registration of app '{app}' within {} s: it may still come into force, try again",
        PATIENCE.as_secs()
    )]
    Late {
        /// The app.
        app: String,
    },
}

/// Registers apps. Cheap to clone.
#[derive(Clone)]
pub(super) struct Registrations {
    producer: Producer,
    topic: Arc<str>,
    /// Those that were written and not read back yet.
    waiting: Arc<Mutex<Vec<Waiting>>>,
}

struct Waiting {
    app: String,
    /// `None`: a tombstone.
    revision: Option<String>,
    is_read: oneshot::Sender<()>,
}

impl Registrations {
    pub(super) fn new(producer: Producer, topic: &str) -> Self {
        Self { producer, topic: topic.into(), waiting: Arc::default() }
    }

    /// Registers an app, or replaces it.
    pub(super) async fn put(&self, node: &Node, app: &str, spec: AppSpec) -> Result<(), Error> {
        node.registry().check(app, &spec)?;
        let revision = format!("{:032x}", rand::random::<u128>());
        let record = AppRecord { app: app.to_owned(), revision: revision.clone(), spec };
        let payload = serde_json::to_vec(&record).map_err(|error| not_taken(app, error))?;
        self.write(app, Some((revision, payload))).await
    }

    /// Takes an app out.
    pub(super) async fn delete(&self, node: &Node, app: &str) -> Result<(), Error> {
        if node.registry().is_in_file(app) {
            return Err(super::registry::Error::InFile(app.to_owned()).into());
        }
        self.write(app, None).await
    }

    async fn write(&self, app: &str, content: Option<(String, Vec<u8>)>) -> Result<(), Error> {
        let (revision, payload) = content.unzip();
        let (sender, is_read) = oneshot::channel();
        self.waiting().push(Waiting { app: app.to_owned(), revision, is_read: sender });
        let record = Record {
            topic: &self.topic,
            key: app,
            payload: payload.as_deref(),
            timestamp_ms: None,
            version: None,
            source: None,
        };
        match self.producer.try_send(record) {
            Ok(true) => {}
            Ok(false) => return Err(not_taken(app, "too many records wait for the broker")),
            Err(error) => return Err(not_taken(app, error)),
        }
        match tokio::time::timeout(PATIENCE, is_read).await {
            Ok(Ok(())) => Ok(()),
            _ => match self.producer.take_failures() {
                Some((_, error)) => Err(not_taken(app, error)),
                None => Err(Error::Late { app: app.to_owned() }),
            },
        }
    }

    /// Reads the apps, from the beginning, until it is time to end. Blocks.
    pub(super) fn read(&self, mut consumer: TableConsumer, node: &Node, shutdown: &Shutdown) {
        let mut caught_up = false;
        while !shutdown.is_requested() {
            if let Some(message) = feed::next(&mut consumer, shutdown)
                && let Some(app) = feed::key(&message)
            {
                let revision = match message.payload().map(serde_json::from_slice::<AppRecord>).transpose() {
                    Ok(None) => {
                        node.unregister(&app);
                        None
                    }
                    Ok(Some(record)) => {
                        if let Err(error) = node.register(&app, record.spec) {
                            feed::pass_over(&message, error);
                        }
                        Some(record.revision)
                    }
                    Err(error) => {
                        feed::pass_over(&message, format!("a record of the topic of apps is no app: {error}"));
                        continue;
                    }
                };
                self.confirm(&app, revision.as_deref());
            }
            if !caught_up && consumer.is_caught_up() {
                caught_up = true;
                info!("the apps that were registered have been read");
                node.set_apps_read();
            }
        }
    }

    /// Tells who waits for a record that it was read.
    fn confirm(&self, app: &str, revision: Option<&str>) {
        let mut waiting = self.waiting();
        waiting.retain(|waiting| !waiting.is_read.is_closed());
        let is_it = |waiting: &mut Waiting| waiting.app == app && waiting.revision.as_deref() == revision;
        for confirmed in waiting.extract_if(.., is_it) {
            // Who gave up meanwhile does not mind.
            let _ = confirmed.is_read.send(());
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_taken(app: &str, reason: impl ToString) -> Error {
    Error::NotTaken { app: app.to_owned(), reason: reason.to_string() }
}
