//! Writing records, in order, for as long as it takes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use crate::config::Kafka;
use crate::model::Version;
use crate::shutdown::Shutdown;

use super::Error;
use super::client::{self, Health};

/// A record is retried until it is delivered, in order; what waits is bounded.
const WRITING: [(&str, &str); 7] = [
    // As Kafka's Java client does it: an app's events must all go to one partition, whoever writes them.
    ("partitioner", "murmur2_random"),
    ("enable.idempotence", "true"),
    ("message.timeout.ms", "0"),
    ("linger.ms", "5"),
    ("compression.type", "lz4"),
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "65536"),
];

/// Version of a decision or tombstone: `epoch/position`.
pub const VERSION_HEADER: &str = "pilotlight-version";

/// One record to write. No payload: a tombstone.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Key.
    pub key: &'a str,
    /// Payload.
    pub payload: Option<&'a [u8]>,
    /// Time of the record, epoch ms; `None`: now.
    pub timestamp_ms: Option<i64>,
    /// Goes into the header [`VERSION_HEADER`], where even a tombstone has it.
    pub version: Option<Version>,
}

/// Records that will never be delivered.
#[derive(Debug, Default)]
struct Failed {
    count: AtomicU64,
    /// Topic and reason of the last one.
    last: Mutex<Option<(String, String)>>,
}

impl ProducerContext for client::Context<Failed> {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => self.health.up(),
            // Ours: `purge` at the end of a run that could not wait.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue), _)) => {}
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::PurgeInflight), _)) => {}
            Err((error, message)) => {
                self.own.count.fetch_add(1, Ordering::Relaxed);
                let mut last = self.own.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                *last = Some((message.topic().to_owned(), error.to_string()));
            }
        }
    }
}

/// Writes records. Cheap to clone.
#[derive(Clone)]
pub struct Producer(std::sync::Arc<ThreadedProducer<client::Context<Failed>>>);

impl Producer {
    /// Opens a producer. Returns at once, whether a broker answers or not.
    pub fn open(kafka: &Kafka, purpose: &'static str) -> Result<Self, Error> {
        let context = client::Context::new(purpose, kafka, Failed::default());
        let producer = client::options(kafka, &WRITING).create_with_context(context);
        let producer = producer.map_err(|error| client::unusable(kafka, error))?;
        Ok(Self(std::sync::Arc::new(producer)))
    }

    /// Whether a broker answered last time.
    pub fn health(&self) -> &Health {
        &self.0.context().health
    }

    /// How many records will never be delivered, of those handed over since the last call, and why the last one won't.
    pub fn take_failures(&self) -> Option<(u64, Error)> {
        let failed = &self.0.context().own;
        let count = failed.count.swap(0, Ordering::Relaxed);
        let last = failed.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        last.map(|(topic, reason)| (count, Error::Delivery { topic, reason }))
    }

    /// Hands `record` over; `false` when as much waits as is allowed.
    pub fn try_send(&self, record: Record<'_>) -> Result<bool, Error> {
        let mut base = BaseRecord::<str, [u8]>::to(record.topic).key(record.key);
        if let Some(payload) = record.payload {
            base = base.payload(payload);
        }
        if let Some(timestamp_ms) = record.timestamp_ms {
            base = base.timestamp(timestamp_ms);
        }
        if let Some(Version { epoch, position }) = record.version {
            let value = format!("{epoch}/{position}");
            base = base.headers(OwnedHeaders::new().insert(Header { key: VERSION_HEADER, value: Some(&value) }));
        }
        match self.0.send(base) {
            Ok(()) => Ok(true),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(false),
            Err((error, _)) => Err(Error::Delivery { topic: record.topic.to_owned(), reason: error.to_string() }),
        }
    }

    /// Hands `record` over, waiting for room. `false` when it is time to end before there is any.
    pub fn send(&self, record: Record<'_>, shutdown: &Shutdown) -> Result<bool, Error> {
        while !self.try_send(record)? {
            if shutdown.is_requested() {
                return Ok(false);
            }
            shutdown.sleep(Duration::from_millis(5));
        }
        Ok(true)
    }

    /// Waits until all that was handed over is delivered, for at most `timeout`; says whether it is. What is not is
    /// given up.
    pub fn finish(&self, timeout: Duration) -> bool {
        let delivered = self.0.flush(timeout).is_ok();
        if !delivered {
            self.0.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
        }
        delivered
    }
}
