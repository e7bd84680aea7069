//! What all clients have in common: their options, and whether a broker answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::{Client, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tracing::{debug, info, warn};

use crate::config::{Kafka, TOKEN, is_secret, nearest};
use crate::shutdown::Shutdown;

use super::{Error, oauth};

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

/// A topic to ask for: asking for all of them costs more, and no topic needs to be there for an answer.
const PROBE: &str = "__pilotlight_probe";
/// What [`connect`] is for.
const CONNECTING: &str = "connecting";

/// A client's options: `defaults` where the user's say nothing.
pub(super) fn options(kafka: &Kafka, defaults: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (option, value) in defaults {
        config.set(*option, *value);
    }
    for (option, value) in kafka.for_librdkafka() {
        config.set(option, value);
    }
    // Why a connection broke is information to librdkafka.
    config.set_log_level(RDKafkaLogLevel::Info);
    config
}

/// Whether librdkafka takes all of the user's options; makes no connection.
pub fn check_options(kafka: &Kafka) -> Result<(), Error> {
    if kafka.mechanism() == "OAUTHBEARER" {
        oauth::token(kafka).map_err(|reason| Error::Option {
            option: TOKEN.to_owned(),
            value: "(hidden)".to_owned(),
            reason,
            hint: String::new(),
        })?;
    }
    options(kafka, &[]).create_native_config().map(drop).map_err(|error| unusable(kafka, error))
}

/// Why no client could be made, without secrets.
pub(super) fn unusable(kafka: &Kafka, error: KafkaError) -> Error {
    let KafkaError::ClientConfig(_, reason, option, value) = error else { return Error::Client(error) };
    let near = nearest(&option, COMMON_OPTIONS.into_iter()).filter(|near| *near != option);
    let hint = near.map_or(String::new(), |near| format!("; did you mean 'kafka.{near}'?"));
    let value = if is_secret(&option) { "(hidden)".to_owned() } else { kafka.without_secrets(&value) };
    Error::Option { option, value, reason: kafka.without_secrets(&reason), hint }
}

/// Waits until a broker answers or it is time to end. Brokers that are down are waited for; that one refuses us, or
/// that its certificate can't be trusted, is an error as long as no other one answers. Blocks.
pub(super) fn connect(kafka: &Kafka, shutdown: &Shutdown) -> Result<(), Error> {
    let context = Context::new(CONNECTING, kafka, ());
    let client: BaseConsumer<_> =
        options(kafka, &[]).create_with_context(context).map_err(|error| unusable(kafka, error))?;
    let health = &client.context().health;
    while !shutdown.is_requested() {
        // Polling serves errors and the request for a token; messages there are none.
        while client.poll(Duration::ZERO).is_some() {}
        let answer = client.client().fetch_metadata(Some(PROBE), Duration::from_millis(500));
        while client.poll(Duration::ZERO).is_some() {}
        match (answer, health.refusal()) {
            (Ok(_), _) => return Ok(()),
            (Err(_), Some(refusal)) => return Err(Error::Refused { servers: health.0.servers.clone(), refusal }),
            (Err(error), None) => health.down(&error.to_string()),
        }
        shutdown.sleep(Duration::from_millis(100));
    }
    Ok(())
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
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Whether the log has said that nobody answers.
    said: bool,
    /// What went wrong with a connection last, in more words than "all brokers are down".
    detail: Option<String>,
    /// Why a broker refused us since one answered.
    refusal: Option<String>,
}

impl Health {
    fn new(purpose: &'static str, kafka: &Kafka) -> Self {
        let servers = kafka.bootstrap_servers().to_owned();
        Self(Arc::new(Inner { purpose, servers, connected: AtomicBool::new(false), known: Mutex::default() }))
    }

    /// Whether a broker answered last time.
    pub fn is_connected(&self) -> bool {
        self.0.connected.load(Ordering::Relaxed)
    }

    pub(super) fn up(&self) {
        if self.0.connected.swap(true, Ordering::Relaxed) {
            return;
        }
        info!(servers = %self.0.servers, "Kafka answers ({})", self.0.purpose);
        *self.known() = Known::default();
    }

    pub(super) fn down(&self, reason: &str) {
        self.0.connected.store(false, Ordering::Relaxed);
        let mut known = self.known();
        if !known.said {
            let reason = known.refusal.as_deref().or(known.detail.as_deref()).unwrap_or(reason);
            warn!(
                servers = %self.0.servers,
                "no Kafka broker answers ({}): {reason}; retrying until one does", self.0.purpose
            );
            known.said = true;
        }
    }

    /// Why a broker refuses us, and what to check, if one did since the last answer.
    fn refusal(&self) -> Option<String> {
        self.known().refusal.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Asks for a broker's answer, for at most `timeout`.
    pub(super) fn ask<C: ClientContext>(&self, client: &Client<C>, timeout: Duration) {
        match client.fetch_metadata(Some(PROBE), timeout) {
            Ok(_) => self.up(),
            Err(error) => self.down(&error.to_string()),
        }
    }
}

/// The context of every client: passes librdkafka's own words on, and tokens to it. `T` is what the kind of client
/// adds.
#[derive(Debug)]
pub(super) struct Context<T> {
    pub health: Health,
    pub own: T,
    kafka: Kafka,
}

impl<T> Context<T> {
    /// `purpose` is what the connection is for, as the log says it.
    pub(super) fn new(purpose: &'static str, kafka: &Kafka, own: T) -> Self {
        Self { health: Health::new(purpose, kafka), own, kafka: kafka.clone() }
    }

    /// Takes an error that librdkafka will retry by itself into account.
    pub(super) fn note(&self, error: &KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        let reason = self.readable(reason);
        match error.rdkafka_error_code() {
            Some(Code::AllBrokersDown) => self.health.down(&reason),
            Some(Code::BrokerTransportFailure | Code::Resolve) => self.health.known().detail = Some(reason),
            Some(Code::Authentication | Code::SaslAuthenticationFailed) => {
                let check = match self.kafka.mechanism() {
                    "OAUTHBEARER" => "kafka.sasl.oauthbearer.token",
                    _ => "kafka.sasl.mechanism, kafka.sasl.username and kafka.sasl.password",
                };
                self.refused(format!("it refuses the sign-in ({reason}); check {check}"));
            }
            Some(Code::SSL) => self.refused(format!(
                "there is no TLS with it ({reason}); check kafka.ssl.ca.location and, where it wants a certificate of \
                 ours, kafka.ssl.certificate.location and kafka.ssl.key.location"
            )),
            _ => debug!("librdkafka: {error}: {reason}"),
        }
    }

    /// What librdkafka says, without secrets, its thread, and after how many milliseconds in which state it happened.
    fn readable(&self, reason: &str) -> String {
        let reason =
            reason.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")).map_or(reason, |rest| rest.1);
        let reason = reason.rsplit_once(" (after ").map_or(reason, |(reason, _)| reason);
        self.kafka.without_secrets(reason)
    }

    fn refused(&self, refusal: String) {
        self.health.known().refusal = Some(refusal.clone());
        // While connecting, `connect` says it, as an error.
        if self.health.0.purpose != CONNECTING {
            self.health.down(&refusal);
        }
    }
}

/// What a kind of client adds to [`Context`].
pub(super) trait Own: Send + Sync + 'static {
    /// Takes librdkafka's statistics (JSON) into account, where they are asked for.
    fn note_statistics(&self, _: &[u8]) {}

    /// The end of a partition was reached, where that is asked for.
    fn note_end(&self, _: i32) {}
}

impl Own for () {}

impl<T: Own> ClientContext for Context<T> {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn stats_raw(&self, statistics: &[u8]) {
        self.own.note_statistics(statistics);
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let mut message = self.readable(message);
        debug!(target: "librdkafka", ?level, facility, "{message}");
        // A connection broke. Mostly there is no error of its own about it, only that all brokers are down.
        if facility == "FAIL" {
            // What a listener for TLS does with anything else.
            if self.health.0.purpose == CONNECTING && message.contains("Disconnected") {
                message.push_str(" (is kafka.security.protocol that of this listener?)");
            }
            self.health.known().detail = Some(message);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(&error, reason);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        Ok(oauth::token(&self.kafka)?)
    }
}
