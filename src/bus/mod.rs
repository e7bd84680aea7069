//! Kafka: the only room that speaks to it.

mod client;
mod committing;
mod consumer;
mod embedded;
mod log_ends;
mod member;
mod oauth;
mod producer;
#[cfg(feature = "avro")]
mod schema_registry;
mod topics;

pub use client::{Health, check_options};
pub use committing::CommittingConsumer;
pub use consumer::{Change, GroupConsumer, Position, TableConsumer};
pub use embedded::Embedded;
pub use log_ends::LogEnds;
pub use producer::{Producer, Receipt, Record, SOURCE_HEADER, VERSION_HEADER};
#[cfg(feature = "avro")]
pub use schema_registry::{RegistryError, SchemaRegistry};
pub use topics::{Wanted, ensure};

use rdkafka::error::KafkaError;

/// What can go wrong with the bus past retrying.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option that librdkafka doesn't take.
    #[error("setting 'kafka.{option}' is '{value}': {reason}{hint}")]
    Option {
        /// The option.
        option: String,
        /// Its value.
        value: String,
        /// What librdkafka says of it.
        reason: String,
        /// The nearest option that exists.
        hint: String,
    },
    /// A client that could not be made.
    #[error("no Kafka client could be made: {0}; check the [kafka] section")]
    Client(KafkaError),
    /// Brokers that refuse us, or that we can't trust.
    #[error("Kafka at {servers} can't be used: {refusal}")]
    Refused {
        /// The brokers.
        servers: String,
        /// Why, and what to check.
        refusal: String,
    },
    /// A subscription or assignment that was refused.
    #[error("topic {topic} can't be read: {source}")]
    Subscribe {
        /// The topics.
        topic: String,
        /// Why not.
        source: KafkaError,
    },
    /// A partition whose offsets the broker does not tell.
    #[error("the offsets of {topic}/{partition} can't be asked for: {source}")]
    Offsets {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Why not.
        source: KafkaError,
    },
    /// Partitions that can't be paused.
    #[error("partitions can't be paused or resumed: {0}")]
    Pause(KafkaError),
    /// A record that will never be delivered.
    #[error("a record for topic {topic} was not delivered: {reason}; check the topic and the rights to write to it")]
    Delivery {
        /// The topic.
        topic: String,
        /// Why not.
        reason: String,
    },
    /// A client that can't go on.
    #[error("the Kafka client gave up: {0}")]
    Fatal(KafkaError),
    /// Another member has its name; or the broker forgot it, as one does that was killed.
    #[error("the group takes another member for the one named kafka.group.instance.id: is that name used twice?")]
    Fenced,
    /// The embedded bus did not start.
    #[error("the embedded bus could not be started: {0}")]
    Embedded(KafkaError),
}
