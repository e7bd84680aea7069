//! Unspecialised runtimes that wait, started and without code, for an app that needs one at once.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::RuntimeKind;

use super::backend::Runtime;
use super::budget::Place;
use super::warm_set::IdleMemory;

/// After a failure to start a runtime, or one that did not live.
const RETRY_MS: i64 = 10_000;

/// A started runtime and its place among those that the node allows.
pub(super) type Stem = (Runtime, Place);

/// The pools, one a runtime kind.
pub(super) struct Pools {
    kinds: BTreeMap<String, Pool>,
    idle_memory: IdleMemory,
}

struct Pool {
    kind: RuntimeKind,
    waiting: Vec<Stem>,
    starting: usize,
    /// Times in a row that starting one failed.
    failures: u32,
    /// After such a failure.
    no_start_before_ms: i64,
}

/// One pool as people see it.
#[derive(Debug, Clone, Serialize)]
pub struct PoolView {
    /// The runtime kind.
    pub runtime: String,
    /// How many should wait.
    pub target: usize,
    /// How many do.
    pub waiting: usize,
    /// How many are being started.
    pub starting: usize,
    /// Times in a row that starting one failed.
    pub failures: u32,
}

impl Pool {
    /// Starts no more for a while; says whether this is the first failure in a row.
    fn fail(&mut self, now_ms: i64) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.no_start_before_ms = now_ms + RETRY_MS;
        self.failures == 1
    }
}

impl Pools {
    pub fn new(kinds: &BTreeMap<String, RuntimeKind>) -> Self {
        let pool = |kind: &RuntimeKind| Pool {
            kind: kind.clone(),
            waiting: Vec::new(),
            starting: 0,
            failures: 0,
            no_start_before_ms: 0,
        };
        let kinds = kinds.iter().map(|(name, kind)| (name.clone(), pool(kind))).collect();
        Self { kinds, idle_memory: IdleMemory::default() }
    }

    /// Takes one that waits.
    pub fn take(&mut self, name: &str, now_ms: i64) -> Option<Stem> {
        let pool = self.kinds.get_mut(name)?;
        while let Some(stem) = pool.waiting.pop() {
            self.idle_memory.remove(pool.kind.memory_mb, now_ms);
            if !stem.0.has_died() {
                return Some(stem);
            }
        }
        None
    }

    /// Puts back one that was taken and not used.
    pub fn put_back(&mut self, name: &str, stem: Stem, now_ms: i64) {
        if let Some(pool) = self.kinds.get_mut(name) {
            pool.waiting.push(stem);
            self.idle_memory.add(pool.kind.memory_mb, now_ms);
        }
    }

    /// Takes any one that waits, to make room.
    pub fn give_way(&mut self, now_ms: i64) -> Option<Stem> {
        let fullest = self.kinds.iter().max_by_key(|(_, pool)| pool.waiting.len()).map(|(name, _)| name.clone())?;
        self.take(&fullest, now_ms)
    }

    /// The kinds that want one more; each is counted as being started from now on.
    pub fn start_missing(&mut self, now_ms: i64) -> Vec<String> {
        let mut missing = Vec::new();
        for (name, pool) in self.kinds.iter_mut().filter(|(_, pool)| now_ms >= pool.no_start_before_ms) {
            while pool.waiting.len() + pool.starting < pool.kind.pool {
                pool.starting += 1;
                missing.push(name.clone());
            }
        }
        missing
    }

    /// Lets go of those that ended by themselves while they waited; names the kinds of which that is news.
    pub fn bury(&mut self, now_ms: i64) -> Vec<String> {
        let mut news = Vec::new();
        for (name, pool) in &mut self.kinds {
            let waiting = pool.waiting.len();
            pool.waiting.retain(|stem| !stem.0.has_died());
            let dead = waiting - pool.waiting.len();
            if dead > 0 {
                self.idle_memory.remove(pool.kind.memory_mb * dead as f64, now_ms);
                if pool.fail(now_ms) {
                    news.push(name.clone());
                }
            } else if waiting > 0 {
                // They have lived for a while: whatever was wrong is mended.
                pool.failures = 0;
            }
        }
        news
    }

    /// One was started.
    pub fn started(&mut self, name: &str, stem: Stem, now_ms: i64) {
        if let Some(pool) = self.kinds.get_mut(name) {
            pool.starting = pool.starting.saturating_sub(1);
            pool.waiting.push(stem);
            self.idle_memory.add(pool.kind.memory_mb, now_ms);
        }
    }

    /// One could not be started, and will be tried again later; says whether that is news.
    pub fn not_started(&mut self, name: &str, now_ms: i64) -> bool {
        self.kinds.get_mut(name).is_some_and(|pool| {
            pool.starting = pool.starting.saturating_sub(1);
            pool.fail(now_ms)
        })
    }

    /// Memory of those that wait, so far, MB·ms.
    pub fn idle_mb_ms(&self, now_ms: i64) -> f64 {
        self.idle_memory.total(now_ms)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.kinds.values().map(|pool| pool.waiting.len()).sum()
    }

    /// The pools, by name.
    pub fn view(&self) -> Vec<PoolView> {
        self.kinds
            .iter()
            .map(|(runtime, pool)| PoolView {
                runtime: runtime.clone(),
                target: pool.kind.pool,
                waiting: pool.waiting.len(),
                starting: pool.starting,
                failures: pool.failures,
            })
            .collect()
    }

    /// Ends all that wait.
    pub fn clear(&mut self) {
        for pool in self.kinds.values_mut() {
            pool.kind.pool = 0;
            pool.waiting.clear();
        }
    }
}
