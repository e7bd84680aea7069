//! Apps in the order of something that changes.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Apps by `K`, each at most once: where it is stands with the app, so that it is found again. All steps take O(log apps).
#[derive(Debug)]
pub(super) struct Order<K>(BTreeSet<(K, Arc<str>)>);

impl<K: Ord> Default for Order<K> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<K: Ord + Copy> Order<K> {
    /// Moves an app from where it was to where it is now; nowhere is a place too.
    pub fn put(&mut self, app: &Arc<str>, before: Option<K>, now: Option<K>) {
        if before == now {
            return;
        }
        if let Some(before) = before {
            self.0.remove(&(before, Arc::clone(app)));
        }
        if let Some(now) = now {
            self.0.insert((now, Arc::clone(app)));
        }
    }

    /// The first app.
    pub fn first(&self) -> Option<(K, &Arc<str>)> {
        self.0.first().map(|(key, app)| (*key, app))
    }

    /// All apps, the first first.
    pub fn in_order(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().map(|(_, app)| app)
    }

    /// The last app.
    pub fn last(&self) -> Option<(K, &Arc<str>)> {
        self.0.last().map(|(key, app)| (*key, app))
    }
}
