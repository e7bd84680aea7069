//! Events that come twice.

use std::collections::{HashSet, VecDeque};

use foldhash::fast::RandomState;
use sha2::{Digest, Sha256};

use crate::checkpoint::Columns;
use crate::model::Invocation;

/// Events of a partition that are known again at most: some 6 MB.
pub const MAX_KNOWN: usize = 100_000;

/// What stands for an event: a digest of its app, id and start. The start is in it because some platforms give a retry
/// the id of the first attempt.
pub type Fingerprint = u128;

/// The events of the last while, by id. One without an id is always new.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Duplicates {
    /// In the order in which they came: the latest end that had come by then, epoch ms, and the event.
    queue: VecDeque<(i64, Fingerprint)>,
    /// The same events; follows from `queue`.
    known: HashSet<Fingerprint, RandomState>,
}

impl Duplicates {
    /// Goes on from what [`Duplicates::known`] gave.
    pub fn restore(known: impl IntoIterator<Item = (i64, Fingerprint)>) -> Self {
        let queue: VecDeque<_> = known.into_iter().collect();
        Self { known: queue.iter().map(|(_, event)| *event).collect(), queue }
    }

    /// As columns: when each came, and its fingerprint in two halves.
    pub fn columns(&mut self, columns: &mut impl Columns) {
        let mut came_ms: Vec<i64> = self.queue.iter().map(|(came_ms, _)| *came_ms).collect();
        let mut high: Vec<u64> = self.queue.iter().map(|(_, event)| (event >> 64) as u64).collect();
        let mut low: Vec<u64> = self.queue.iter().map(|(_, event)| *event as u64).collect();
        columns.list("known_came_ms", &mut came_ms);
        columns.list("known_high", &mut high);
        columns.list("known_low", &mut low);
        let events = high.into_iter().zip(low).map(|(high, low)| u128::from(high) << 64 | u128::from(low));
        *self = Self::restore(came_ms.into_iter().zip(events));
    }

    /// What is known, oldest first: the latest end that had come by then, epoch ms, and the event.
    pub fn known(&self) -> impl ExactSizeIterator<Item = (i64, Fingerprint)> {
        self.queue.iter().copied()
    }

    /// Whether the event did not come within the last `window_ms` of event time; from now on it did. `newest_end_ms` is
    /// the latest end that has come, epoch ms.
    pub fn is_new(&mut self, invocation: &Invocation, newest_end_ms: i64, window_ms: i64) -> bool {
        let Some(id) = invocation.id.as_deref().filter(|_| window_ms > 0) else { return true };
        let oldest_ms = newest_end_ms.saturating_sub(window_ms);
        while let Some((came_ms, event)) = self.queue.front()
            && (*came_ms < oldest_ms || self.queue.len() >= MAX_KNOWN)
        {
            self.known.remove(event);
            self.queue.pop_front();
        }
        let event = fingerprint(&invocation.app, id, invocation.started_at_ms);
        let is_new = self.known.insert(event);
        if is_new {
            self.queue.push_back((newest_end_ms, event));
        }
        is_new
    }
}

/// The same on every machine and in every version, since checkpoints keep it.
fn fingerprint(app: &str, id: &str, started_at_ms: i64) -> Fingerprint {
    // A length before the first text: "ab" and "c" are not "a" and "bc".
    let digest = Sha256::new()
        .chain_update(started_at_ms.to_be_bytes())
        .chain_update((app.len() as u64).to_be_bytes())
        .chain_update(app)
        .chain_update(id)
        .finalize();
    digest.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes))
}
