//! A bus inside of this process, for `up` and for tests that need no durability. Memory only: it is librdkafka's mock
//! cluster, which speaks the real protocol on a loopback port, keeps at most 5 MiB a partition, drops the oldest
//! silently, and compacts nothing.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::config::{Kafka, Settings};

use super::Error;

/// A memory-only bus. It ends when this is dropped.
pub struct Embedded {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Embedded {
    /// Starts one with the topics of `settings`, and points `settings` to it.
    pub fn start(settings: &mut Settings) -> Result<Self, Error> {
        let cluster = MockCluster::new(1).map_err(Error::Embedded)?;
        for topic in settings.topics.wanted() {
            cluster.create_topic(topic.name, topic.partitions, 1).map_err(Error::Embedded)?;
        }
        let mut embedded = Self { cluster };
        embedded.point(settings);
        Ok(embedded)
    }

    /// `host:port` of the bus.
    pub fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    fn point(&mut self, settings: &mut Settings) {
        settings.kafka = Kafka::at(self.bootstrap_servers());
        settings.input.topics = vec![settings.topics.invocations.clone()];
        // There is nothing to create and no admin interface to ask.
        settings.topics.create = false;
        // State that outlived the events would be no use.
        settings.checkpoint.url = "memory:///".to_owned();
    }
}
