//! What the agent did lately, for people and for tests: `GET /events`.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// Entries kept.
const KEPT: usize = 10_000;

/// One thing that the agent did.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// When, epoch ms.
    pub at_ms: i64,
    /// The app.
    pub app: String,
    /// What.
    pub kind: Kind,
    /// In words.
    pub detail: String,
}

/// Kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Loaded ahead of an invocation.
    Prewarmed,
    /// Loaded because an invocation wanted it.
    Loaded,
    /// Unloaded, or found dead.
    Unloaded,
    /// A load that failed.
    LoadFailed,
    /// An execution began.
    Started,
    /// An execution ended.
    Ended,
}

/// The last entries.
#[derive(Debug, Default)]
pub struct Journal(Mutex<VecDeque<Entry>>);

impl Journal {
    /// Adds one, forgetting the oldest if there are many.
    pub fn add(&self, at_ms: i64, app: &str, kind: Kind, detail: impl Into<String>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == KEPT {
            entries.pop_front();
        }
        entries.push_back(Entry { at_ms, app: app.to_owned(), kind, detail: detail.into() });
    }

    /// The last `most` entries, of one app or of all, the oldest first.
    pub fn last(&self, app: Option<&str>, most: usize) -> Vec<Entry> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = entries.iter().rev().filter(|entry| app.is_none_or(|app| entry.app == app));
        let mut last: Vec<_> = wanted.take(most).cloned().collect();
        last.reverse();
        last
    }
}
