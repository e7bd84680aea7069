//! What others see of a running pipeline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::live::{Asked, Look, Recent};

/// What others can see of a running pipeline. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle(pub(super) Arc<Status>);

/// What a pipeline says of itself while it runs, and what it is asked.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub ready: AtomicBool,
    pub events: AtomicU64,
    pub decisions: AtomicU64,
    pub skipped: AtomicU64,
    pub dead_letters: AtomicU64,
    pub apps: AtomicU64,
    /// Age of the last checkpoint in seconds, while checkpoints fail; else 0.
    pub failing_for_s: AtomicU64,
    pub asked: Asked<Look>,
    pub asked_recent: Asked<Vec<Recent>>,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Messages read, good and bad.
    pub events: u64,
    /// Decisions published.
    pub decisions: u64,
    /// Messages that hold no invocation by the rules of their format.
    pub skipped: u64,
    /// Messages that became dead letters.
    pub dead_letters: u64,
    /// Apps in memory now.
    pub apps: u64,
}

impl Handle {
    /// Whether a broker answers and the group has given this instance its share.
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Relaxed)
    }

    /// For how long events have waited for a checkpoint, while checkpoints can't be written.
    pub fn checkpoints_fail_for(&self) -> Option<Duration> {
        match self.0.failing_for_s.load(Ordering::Relaxed) {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        }
    }

    /// The state of all apps at one moment, which is soon or was lately. Never comes while no broker answers.
    pub async fn look(&self) -> Option<Arc<Look>> {
        self.0.asked.ask().await.ok()
    }

    /// The rows of history that are in no file yet, of each partition; none where history is not kept. Never comes while no
    /// broker answers.
    pub async fn recent(&self) -> Option<Arc<Vec<Recent>>> {
        self.0.asked_recent.ask().await.ok()
    }

    /// Counts so far.
    pub fn counts(&self) -> Counts {
        Counts {
            events: self.0.events.load(Ordering::Relaxed),
            decisions: self.0.decisions.load(Ordering::Relaxed),
            skipped: self.0.skipped.load(Ordering::Relaxed),
            dead_letters: self.0.dead_letters.load(Ordering::Relaxed),
            apps: self.0.apps.load(Ordering::Relaxed),
        }
    }
}
