//! The loop closes: each finished execution goes to the bus as an invocation event.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::error;

use crate::bus::{Producer, Record};
use crate::model::Invocation;
use crate::telemetry::AgentMetrics;

/// Sees every finished execution, in this process.
pub type Observer = Arc<dyn Fn(&Invocation<'_>) + Send + Sync>;

/// Publishes invocation events. What the bus does not take yet waits, within bounds; past those, serving goes on and
/// what is lost is counted.
pub(super) struct Events {
    producer: Producer,
    topic: String,
    metrics: AgentMetrics,
    observer: Option<Observer>,
    said: AtomicBool,
}

impl Events {
    pub(super) fn new(producer: Producer, topic: &str, metrics: AgentMetrics, observer: Option<Observer>) -> Self {
        Self { producer, topic: topic.to_owned(), metrics, observer, said: AtomicBool::new(false) }
    }

    pub(super) fn publish(&self, invocation: &Invocation<'_>) {
        if let Some(observer) = &self.observer {
            observer(invocation);
        }
        let Ok(payload) = serde_json::to_vec(invocation) else { return };
        let record = Record {
            topic: &self.topic,
            key: &invocation.app,
            payload: Some(&payload),
            timestamp_ms: None,
            version: None,
            source: None,
        };
        match self.producer.try_send(record) {
            Ok(true) => {}
            Ok(false) => self.lost(1, "as many events wait for the broker as are allowed"),
            Err(error) => self.lost(1, &error.to_string()),
        }
        match self.producer.take_failures() {
            Some((count, error)) => self.lost(count, &error.to_string()),
            None => self.said.store(false, Ordering::Relaxed),
        }
    }

    fn lost(&self, count: u64, reason: &str) {
        self.metrics.events_lost.inc_by(count);
        if !self.said.swap(true, Ordering::Relaxed) {
            error!("invocation events are being lost: {reason}");
        }
    }

    /// Waits a moment for what was not delivered yet. Blocks.
    pub(super) fn finish(&self) {
        self.producer.finish(Duration::from_secs(3));
    }
}
