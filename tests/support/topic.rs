//! Reading and writing topics, with a client of the tests' own.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub key: String,
    pub payload: Option<Vec<u8>>,
    pub timestamp_ms: Option<i64>,
}

/// Makes topics of one partition each.
pub fn create(bootstrap: &str, topics: &[&str]) {
    create_with(bootstrap, topics, 1);
}

/// Makes topics of so many partitions each.
pub fn create_with(bootstrap: &str, topics: &[&str], partitions: i32) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let new: Vec<_> = topics.iter().map(|topic| NewTopic::new(topic, partitions, TopicReplication::Fixed(1))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for made in runtime.block_on(admin.create_topics(&new, &AdminOptions::new())).unwrap() {
        made.unwrap();
    }
}

/// All records of a topic, from its beginning to its present end, partition by partition.
pub fn read_all(bootstrap: &str, topic: &str) -> Vec<Record> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "test-reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
    let partitions = metadata.topics()[0].partitions().len();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition as i32, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut records = Vec::new();
    let mut ended = 0;
    while ended < partitions {
        match consumer.poll(Duration::from_secs(20)).expect("the topic can be read to its end") {
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => panic!("{error}"),
            Ok(message) => records.push(Record {
                partition: message.partition(),
                key: String::from_utf8(message.key().unwrap_or_default().to_vec()).unwrap(),
                payload: message.payload().map(<[u8]>::to_vec),
                timestamp_ms: message.timestamp().to_millis(),
            }),
        }
    }
    consumer.unassign().unwrap();
    records.sort_by_key(|record| record.partition);
    records
}

/// What compaction leaves of a topic: the last record of each key, tombstones included.
pub fn compacted(bootstrap: &str, topic: &str) -> BTreeMap<String, Record> {
    read_all(bootstrap, topic).into_iter().map(|record| (record.key.clone(), record)).collect()
}

/// The payloads of a topic as JSON.
pub fn read_json(bootstrap: &str, topic: &str) -> Vec<serde_json::Value> {
    let records = read_all(bootstrap, topic);
    records
        .iter()
        .filter_map(|record| record.payload.as_deref())
        .map(|payload| serde_json::from_slice(payload).unwrap())
        .collect()
}

/// Writes records and waits for their delivery.
pub struct Writer(BaseProducer);

impl Writer {
    pub fn open(bootstrap: &str) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .create();
        Self(producer.unwrap())
    }

    pub fn write(&self, topic: &str, key: &str, payload: &[u8]) {
        self.send(BaseRecord::to(topic).key(key.as_bytes()).payload(payload));
    }

    /// Writes a record of a time of its own.
    pub fn write_at(&self, topic: &str, key: &str, payload: &[u8], timestamp_ms: i64) {
        self.send(BaseRecord::to(topic).key(key.as_bytes()).payload(payload).timestamp(timestamp_ms));
    }

    /// Writes a record without a key, of a time of its own where that is given.
    pub fn write_with(&self, topic: &str, headers: &[(&str, &[u8])], payload: &[u8], timestamp_ms: Option<i64>) {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).payload(payload);
        record.timestamp = timestamp_ms;
        if !headers.is_empty() {
            let none = OwnedHeaders::new_with_capacity(headers.len());
            let headers =
                headers.iter().fold(none, |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
            record = record.headers(headers);
        }
        self.send(record);
    }

    fn send(&self, mut record: BaseRecord<'_, [u8], [u8]>) {
        loop {
            match self.0.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(rdkafka::types::RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.0.poll(Duration::from_millis(10));
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
    }

    pub fn flush(&self) {
        self.0.flush(Duration::from_secs(60)).unwrap();
    }
}

/// A native event in JSON.
pub fn event(app: &str, started_at_ms: i64, duration_ms: f64) -> Vec<u8> {
    let event = serde_json::json!({
        "app": app, "function": "f", "started_at_ms": started_at_ms, "duration_ms": duration_ms
    });
    event.to_string().into_bytes()
}
