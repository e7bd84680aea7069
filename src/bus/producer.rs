//! Writing records, in order, for as long as it takes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

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

/// Where a keyed event was read first.
pub const SOURCE_HEADER: &str = "pilotlight-source";

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
    /// Goes into the header [`SOURCE_HEADER`].
    pub source: Option<&'a str>,
}

/// What became of the records handed over.
#[derive(Debug, Default)]
struct Deliveries {
    /// Records that will never be delivered.
    failed: AtomicU64,
    /// Topic and reason of the last of them.
    last: Mutex<Option<(String, String)>>,
    /// The records since the last [`Producer::receipt`].
    latest: Mutex<Arc<Outstanding>>,
}

/// Records handed over between two receipts: each holds this until it is delivered, and this holds those that came
/// later. So when it is gone, all records up to the receipt are delivered, in whatever order that happened.
#[derive(Debug, Default)]
struct Outstanding {
    _later: OnceLock<Arc<Outstanding>>,
}

/// For all records that were handed over before it was asked for.
#[derive(Debug, Clone)]
pub struct Receipt(Weak<Outstanding>);

impl Receipt {
    /// Whether all of them were delivered; for ever `false` when one never will be.
    pub fn is_delivered(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl client::Own for Deliveries {}

impl ProducerContext for client::Context<Deliveries> {
    type DeliveryOpaque = Arc<Outstanding>;

    fn delivery(&self, result: &DeliveryResult<'_>, outstanding: Arc<Outstanding>) {
        if result.is_err() {
            // It stays outstanding.
            std::mem::forget(outstanding);
        }
        match result {
            Ok(_) => self.health.up(),
            // Ours: `purge` at the end of a run that could not wait.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue), _)) => {}
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::PurgeInflight), _)) => {}
            Err((error, message)) => {
                self.own.failed.fetch_add(1, Ordering::Relaxed);
                let mut last = self.own.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                *last = Some((message.topic().to_owned(), error.to_string()));
            }
        }
    }
}

/// Writes records. Cheap to clone.
#[derive(Clone)]
pub struct Producer(Arc<ThreadedProducer<client::Context<Deliveries>>>);

impl Producer {
    /// Opens a producer. Returns at once, whether a broker answers or not.
    pub fn open(kafka: &Kafka, purpose: &'static str) -> Result<Self, Error> {
        let context = client::Context::new(purpose, kafka, Deliveries::default());
        let producer = client::options(kafka, &WRITING).create_with_context(context);
        let producer = producer.map_err(|error| client::unusable(kafka, error))?;
        Ok(Self(Arc::new(producer)))
    }

    /// Whether a broker answered last time.
    pub fn health(&self) -> &Health {
        &self.0.context().health
    }

    /// How many records will never be delivered, of those handed over since the last call, and why the last one won't.
    pub fn take_failures(&self) -> Option<(u64, Error)> {
        let own = &self.0.context().own;
        let count = own.failed.swap(0, Ordering::Relaxed);
        let last = own.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        last.map(|(topic, reason)| (count, Error::Delivery { topic, reason }))
    }

    /// For all records that were handed over so far.
    pub fn receipt(&self) -> Receipt {
        let mut latest = self.latest();
        let before = std::mem::take(&mut *latest);
        // Empty until now.
        let _ = before._later.set(Arc::clone(&latest));
        Receipt(Arc::downgrade(&before))
    }

    fn latest(&self) -> std::sync::MutexGuard<'_, Arc<Outstanding>> {
        self.0.context().own.latest.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Hands `record` over; `false` when as much waits as is allowed.
    pub fn try_send(&self, record: Record<'_>) -> Result<bool, Error> {
        let outstanding = Arc::clone(&self.latest());
        let mut base = BaseRecord::<str, [u8], _>::with_opaque_to(record.topic, outstanding).key(record.key);
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
        if let Some(source) = record.source {
            base = base.headers(OwnedHeaders::new().insert(Header { key: SOURCE_HEADER, value: Some(source) }));
        }
        match self.0.send(base) {
            Ok(()) => Ok(true),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(false),
            Err((error, _)) => Err(Error::Delivery { topic: record.topic.to_owned(), reason: error.to_string() }),
        }
    }

    /// Hands `record` over, waiting for room. `false` when it is time to end before there is any; no receipt from then on
    /// is ever delivered.
    pub fn send(&self, record: Record<'_>, shutdown: &Shutdown) -> Result<bool, Error> {
        self.send_while(record, shutdown, |_| Ok(()))
    }

    /// The same. While there is no room, `waiting` is called every few milliseconds, with the time waited so far; an error
    /// ends the waiting.
    pub fn send_while<E: From<Error>>(
        &self,
        record: Record<'_>,
        shutdown: &Shutdown,
        mut waiting: impl FnMut(Duration) -> Result<(), E>,
    ) -> Result<bool, E> {
        let began = Instant::now();
        while !self.try_send(record)? {
            if shutdown.is_requested() {
                std::mem::forget(Arc::clone(&self.latest()));
                return Ok(false);
            }
            shutdown.sleep(Duration::from_millis(5));
            waiting(began.elapsed())?;
        }
        Ok(true)
    }

    /// Waits until all that was handed over is delivered, for at most `timeout`; says whether it is.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.0.flush(timeout).is_ok()
    }

    /// Waits until all that was handed over is delivered, for at most `timeout`; says whether it is. What is not is
    /// given up.
    pub fn finish(&self, timeout: Duration) -> bool {
        let delivered = self.flush(timeout);
        if !delivered {
            self.0.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
        }
        delivered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Embedded;
    use crate::config::Settings;

    #[test]
    fn a_receipt_is_for_all_that_was_handed_over_before_it() {
        let mut settings = Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
        let bus = Embedded::start(&mut settings).unwrap();
        let record = Record {
            topic: &settings.topics.decisions,
            key: "app",
            payload: Some(b"{}"),
            timestamp_ms: None,
            version: None,
            source: None,
        };
        let producer = Producer::open(&settings.kafka, "testing").unwrap();
        assert!(producer.receipt().is_delivered(), "there is nothing to wait for");
        let receipts: Vec<_> = (0..100)
            .map(|_| {
                assert!(producer.try_send(record).unwrap());
                producer.receipt()
            })
            .collect();
        assert!(producer.finish(Duration::from_secs(30)));
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while !receipts.iter().all(Receipt::is_delivered) {
            assert!(std::time::Instant::now() < deadline, "all was delivered");
            std::thread::sleep(Duration::from_millis(1));
        }

        drop(bus);
        assert!(producer.try_send(record).unwrap());
        let receipt = producer.receipt();
        assert!(!receipt.is_delivered());
        assert!(!producer.finish(Duration::from_millis(200)), "nobody answers any more");
        assert!(!receipt.is_delivered(), "given up is not delivered");
        assert!(!producer.receipt().is_delivered(), "nor is what comes after it");
    }
}
