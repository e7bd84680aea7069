//! The topics that are Pilotlight's own.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::types::RDKafkaErrorCode;
use tracing::{info, warn};

use crate::config::{Kafka, Topics};
use crate::shutdown::Shutdown;

use super::Error;
use super::client;

/// A topic as it should be.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Name.
    pub name: &'a str,
    /// `cleanup.policy`.
    pub cleanup: &'static str,
    /// Partitions.
    pub partitions: i32,
}

impl Topics {
    /// How each of the topics should be.
    pub fn wanted(&self) -> [Wanted<'_>; 6] {
        let partitions = self.partitions;
        [
            Wanted { name: &self.invocations, cleanup: "delete", partitions },
            Wanted { name: &self.decisions, cleanup: "compact", partitions },
            Wanted { name: &self.curves, cleanup: "compact", partitions },
            // Keyed by origin: what is read again gives the same dead letter.
            Wanted { name: &self.dead_letters, cleanup: "compact,delete", partitions },
            Wanted { name: &self.apps, cleanup: "compact", partitions },
            // All in one order: of two agents that say that a partition is theirs, the later one is right.
            Wanted { name: &self.agents, cleanup: "compact,delete", partitions: 1 },
        ]
    }
}

/// Waits for a broker; then creates those topics that are missing and warns of those that are not as they should be,
/// retrying until it is done or it is time to end. A broker that refuses us is an error at once. Blocks.
pub fn ensure(kafka: &Kafka, topics: &Topics, shutdown: &Shutdown) -> Result<(), Error> {
    client::connect(kafka, shutdown)?;
    if !topics.create {
        return Ok(());
    }
    if kafka.mechanism() == "OAUTHBEARER" {
        // rdkafka's admin client never asks for a token.
        warn!("topics are not created over OAUTHBEARER: create those that are missing, and set topics.create = false");
        return Ok(());
    }
    let context = client::Context::new("creating topics", kafka, ());
    let health = context.health.clone();
    let admin: AdminClient<_> =
        client::options(kafka, &[]).create_with_context(context).map_err(|error| client::unusable(kafka, error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Client(rdkafka::error::KafkaError::ClientCreation(error.to_string())))?;
    let mut backoff = Duration::from_millis(100);
    while !shutdown.is_requested() {
        match runtime.block_on(create(&admin, topics)) {
            Ok(()) => {
                health.up();
                runtime.block_on(check(&admin, topics));
                return Ok(());
            }
            Err(reason) => health.down(&reason),
        }
        shutdown.sleep(backoff);
        backoff = (backoff * 2).min(Duration::from_secs(5));
    }
    Ok(())
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(Duration::from_secs(3))).operation_timeout(Some(Duration::from_secs(3)))
}

async fn create(admin: &AdminClient<client::Context<()>>, topics: &Topics) -> Result<(), String> {
    let wanted = topics.wanted();
    let new = wanted.iter().map(|topic| {
        NewTopic::new(topic.name, topic.partitions, TopicReplication::Fixed(topics.replication))
            .set("cleanup.policy", topic.cleanup)
    });
    let new: Vec<_> = new.collect();
    let results = admin.create_topics(&new, &admin_options()).await.map_err(|error| error.to_string())?;
    for result in results {
        match result {
            Ok(topic) => info!(topic, "topic created"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((
                topic,
                code @ (RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed),
            )) => {
                warn!(topic, "the topic can't be created ({code}); going on as if it were there (topics.create)");
            }
            Err((topic, code)) => return Err(format!("topic {topic} can't be created: {code}")),
        }
    }
    Ok(())
}

/// A control topic that is not compacted loses decisions after a while: say so.
async fn check(admin: &AdminClient<client::Context<()>>, topics: &Topics) {
    let resource = ResourceSpecifier::Topic(&topics.decisions);
    let Ok(described) = admin.describe_configs([&resource], &admin_options()).await else { return };
    let found = described.iter().flatten().find_map(|resource| {
        resource.entries.iter().find(|entry| entry.name == "cleanup.policy").and_then(|entry| entry.value.clone())
    });
    if let Some(found) = found.filter(|found| found != "compact") {
        warn!(
            topic = topics.decisions,
            "the control topic has cleanup.policy={found}: expected compact, or decisions of quiet apps get lost; \
             change it with kafka-configs"
        );
    }
}
