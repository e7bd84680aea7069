//! Who goes first when a node is full: greedy-dual order (Cao and Irani, USITS 1997; for functions, Fuerst and Sharma,
//! "FaasCache", ASPLOS 2021), with what the decisions expect.
//!
//! Keeping an idle instance is worth the loading that it is expected to save, for the memory that it takes: the chance that the
//! next start finds it × time to load / memory. What was evicted last sets the clock from which the worth of whatever is used
//! next counts, so that what is not used grows old, however much it is worth.
//!
//! The code cache ranks its files alike ([`crate::agent::prefetch`]).

use std::sync::Arc;

use super::order::Order;

/// Chance that an app's next start finds it loaded, where no decision says.
pub(super) const EVEN: f32 = 0.5;

/// Apps that have something idle, the one that is worth least first.
#[derive(Debug, Default)]
pub(in crate::agent) struct Ranking {
    clock: f64,
    ranked: Order<Worth>,
}

/// What keeping an instance is worth; a number of at least 0, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::agent) struct Worth(u64);

impl Worth {
    fn new(worth: f64) -> Self {
        // In order for all numbers that are no less than 0.
        Self(worth.max(0.0).to_bits())
    }
}

impl Ranking {
    /// The worth of an app that is used now.
    pub fn worth(&self, hit: Option<f32>, load_ms: i64, memory_mb: f64) -> Worth {
        let hit = f64::from(hit.unwrap_or(EVEN));
        self.worth_of(hit * load_ms.max(1) as f64 / memory_mb.max(1.0))
    }

    /// The worth of what is used now, and saves so much for its size.
    pub fn worth_of(&self, saved: f64) -> Worth {
        Worth::new(self.clock + saved)
    }

    /// Ranks an app anew, or not any more.
    pub fn rank(&mut self, app: &Arc<str>, before: Option<Worth>, now: Option<Worth>) {
        self.ranked.put(app, before, now);
    }

    /// The app that is worth least, if it is worth less than `than`.
    pub fn least(&self, than: Option<Worth>) -> Option<Arc<str>> {
        let (worth, app) = self.ranked.first()?;
        than.is_none_or(|than| worth < than).then(|| Arc::clone(app))
    }

    /// The apps, the one that is worth least first.
    pub fn in_order(&self) -> impl Iterator<Item = &Arc<str>> {
        self.ranked.in_order()
    }

    /// One of `worth` was evicted.
    pub fn evicted(&mut self, worth: Worth) {
        self.clock = self.clock.max(f64::from_bits(worth.0));
    }
}
