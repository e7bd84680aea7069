//! What all clients have in common: their options, and whether a broker answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tracing::{debug, info, warn};

use crate::config::{Kafka, nearest};

use super::Error;

/// Options that people set most, for naming the nearest one.
const COMMON_OPTIONS: [&str; 24] = [
    "bootstrap.servers",
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "enable.ssl.certificate.verification",
    "client.id",
    "client.rack",
    "group.instance.id",
    "session.timeout.ms",
    "max.poll.interval.ms",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "queued.max.messages.kbytes",
    "linger.ms",
    "batch.size",
    "compression.type",
    "socket.timeout.ms",
    "broker.address.family",
];

/// A client's options: `defaults` where the user's say nothing.
pub(super) fn options(kafka: &Kafka, defaults: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (option, value) in defaults {
        config.set(*option, *value);
    }
    for (option, value) in &kafka.0 {
        config.set(option, value);
    }
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// Whether librdkafka takes all of the user's options; makes no connection.
pub fn check_options(kafka: &Kafka) -> Result<(), Error> {
    match options(kafka, &[]).create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, reason, option, value)) => {
            let near = nearest(&option, COMMON_OPTIONS.into_iter()).filter(|near| *near != option);
            let hint = near.map_or(String::new(), |near| format!("; did you mean 'kafka.{near}'?"));
            Err(Error::Option { option, value, reason, hint })
        }
        Err(error) => Err(Error::Client(error)),
    }
}

/// Whether a broker answers. Says so once when that changes, in the log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What the connection is for, as the log says it.
    purpose: &'static str,
    servers: String,
    connected: AtomicBool,
    /// Whether the log has said that nobody answers.
    said: Mutex<bool>,
}

impl Health {
    pub(super) fn new(purpose: &'static str, kafka: &Kafka) -> Self {
        let servers = kafka.bootstrap_servers().to_owned();
        Self(Arc::new(Inner { purpose, servers, connected: AtomicBool::new(false), said: Mutex::new(false) }))
    }

    /// Whether a broker answered last time.
    pub fn is_connected(&self) -> bool {
        self.0.connected.load(Ordering::Relaxed)
    }

    pub(super) fn up(&self) {
        if self.0.connected.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut said = self.0.said.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        info!(servers = %self.0.servers, "Kafka answers ({})", self.0.purpose);
        *said = false;
    }

    pub(super) fn down(&self, reason: &str) {
        self.0.connected.store(false, Ordering::Relaxed);
        let mut said = self.0.said.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !*said {
            warn!(
                servers = %self.0.servers,
                "no Kafka broker answers ({}): {reason}; retrying until one does", self.0.purpose
            );
            *said = true;
        }
    }

    /// Asks for a broker's answer, for at most `timeout`.
    pub(super) fn ask<C: ClientContext>(&self, client: &Client<C>, timeout: Duration) {
        match client.fetch_metadata(Some("__pilotlight_probe"), timeout) {
            Ok(_) => self.up(),
            Err(error) => self.down(&error.to_string()),
        }
    }
}

/// The context of every client: passes librdkafka's own words on. `T` is what the kind of client adds.
#[derive(Debug)]
pub(super) struct Context<T> {
    pub health: Health,
    pub own: T,
}

impl<T: Send + Sync + 'static> ClientContext for Context<T> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(target: "librdkafka", ?level, facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        note(&self.health, &error, reason);
    }
}

/// Takes an error that librdkafka will retry by itself into account.
pub(super) fn note(health: &Health, error: &KafkaError, reason: &str) {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::AllBrokersDown) => health.down(reason),
        Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL) => health.down(reason),
        Some(Code::Resolve) => health.down(reason),
        _ => debug!("librdkafka: {error}: {reason}"),
    }
}
