//! Tells the fleet that this agent is there, and what it is the home of.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::agent::node::Node;
use crate::bus::{Producer, Record};
use crate::model::now_ms;
use crate::shutdown::Shutdown;

use super::{AgentRecord, Fleet};

/// How often to look whether there is something new to say,
const LOOKING: Duration = Duration::from_secs(3);
/// and how often to say it anyway, as old records are deleted.
const ANYWAY: Duration = Duration::from_secs(60);
/// How long the last word may take.
const LAST_WORD: Duration = Duration::from_secs(1);

impl Fleet {
    /// Publishes this agent's record whenever it changes, and its tombstone when it is time to end.
    pub(in crate::agent) async fn announce(
        &self,
        node: &Node,
        producer: &Producer,
        topic: &str,
        mut shutdown: Shutdown,
    ) {
        if self.is_alone() {
            return;
        }
        let mut said: Option<(AgentRecord, Instant)> = None;
        while !shutdown.is_requested() {
            let record = self.record(node);
            let is_new = said.as_ref().is_none_or(|(said, at)| {
                at.elapsed() >= ANYWAY || *said != AgentRecord { at_ms: said.at_ms, ..record.clone() }
            });
            if is_new {
                let payload = serde_json::to_vec(&record).unwrap_or_default();
                self.publish(producer, topic, Some(&payload));
                said = Some((record, Instant::now()));
            }
            tokio::select! {
                () = self.0.changed.notified() => {}
                () = tokio::time::sleep(LOOKING) => {}
                () = shutdown.requested() => {}
            }
        }
        self.publish(producer, topic, None);
        let producer = producer.clone();
        let _ = tokio::task::spawn_blocking(move || producer.finish(LAST_WORD)).await;
    }

    fn publish(&self, producer: &Producer, topic: &str, payload: Option<&[u8]>) {
        let key = self.node();
        let record = Record { topic, key, payload, timestamp_ms: None, version: None, source: None };
        if let Err(error) = producer.try_send(record) {
            warn!("{error}; the fleet does not know of this agent");
        }
    }

    fn record(&self, node: &Node) -> AgentRecord {
        let (memory_mb, free_mb) = node.memory_mb();
        AgentRecord {
            node: self.0.node.clone(),
            fleet: self.0.name.clone(),
            run: self.0.run.clone(),
            url: self.0.url.clone(),
            partitions: self.members().ours(),
            memory_mb,
            free_mb,
            at_ms: now_ms(),
        }
    }
}
