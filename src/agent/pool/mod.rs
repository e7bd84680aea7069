//! Unspecialised runtimes that wait, started and without code, for an app that needs one at once.
//!
//! How many wait follows [`demand`], between a floor and a ceiling. One that is too many is ended, at once where another pool
//! needs its room, and else after a while.

mod demand;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::RuntimeKind;

use super::backend::Runtime;
use super::budget::Place;
use super::warm_set::{IdleMemory, LoadTimes};
use demand::Demand;

/// After a failure to start a runtime, or one that did not live.
const RETRY_MS: i64 = 10_000;
/// How often targets are looked at anew.
const EVERY_MS: i64 = 1_000;
/// How long one may be too many before it is ended.
const PATIENCE_MS: i64 = 60_000;
/// Runtimes of one kind that are started at once at most: who serves needs the processors.
const STARTING: usize = 2;

/// A started runtime and its place among those that the node allows.
pub(super) type Stem = (Runtime, Place);

/// The pools, one a runtime kind.
pub(super) struct Pools {
    kinds: BTreeMap<String, Pool>,
    quantile: f64,
    idle_memory: IdleMemory,
}

struct Pool {
    kind: RuntimeKind,
    demand: Demand,
    starts: LoadTimes,
    target: usize,
    looked_ms: i64,
    /// Since when there are more than the target.
    surplus_since_ms: Option<i64>,
    waiting: Vec<Stem>,
    starting: usize,
    hits: u64,
    misses: u64,
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
    /// How many should wait now,
    pub target: usize,
    /// at least,
    pub floor: usize,
    /// and at most.
    pub ceiling: usize,
    /// How many do.
    pub waiting: usize,
    /// How many are being started.
    pub starting: usize,
    /// Times in a row that starting one failed.
    pub failures: u32,
    /// Times that one was wanted and there,
    pub hits: u64,
    /// and wanted and not there.
    pub misses: u64,
    /// How long starting one takes: the 95th percentile, ms; 0 while unknown.
    pub start_ms: i64,
}

impl Pool {
    fn new(kind: &RuntimeKind, hour_ms: i64) -> Self {
        Self {
            kind: kind.clone(),
            demand: Demand::new(hour_ms),
            starts: LoadTimes::default(),
            target: kind.pool,
            looked_ms: i64::MIN,
            surplus_since_ms: None,
            waiting: Vec::new(),
            starting: 0,
            hits: 0,
            misses: 0,
            failures: 0,
            no_start_before_ms: 0,
        }
    }

    /// Looks at the demand anew, if it was not lately.
    fn aim(&mut self, quantile: f64, now_ms: i64) {
        if now_ms < self.looked_ms.saturating_add(EVERY_MS) {
            return;
        }
        self.looked_ms = now_ms;
        let wanted = self.demand.quantile(quantile, self.starts.p95_ms(), now_ms);
        self.target = wanted.clamp(self.kind.pool, self.kind.ceiling());
        let is_surplus = self.waiting.len() > self.target;
        self.surplus_since_ms = self.surplus_since_ms.or(Some(now_ms)).filter(|_| is_surplus);
    }

    fn pop(&mut self, idle_memory: &mut IdleMemory, now_ms: i64) -> Option<Stem> {
        while let Some(stem) = self.waiting.pop() {
            idle_memory.remove(self.kind.memory_mb, now_ms);
            if !stem.0.has_died() {
                return Some(stem);
            }
        }
        None
    }

    /// Starts no more for a while; says whether this is the first failure in a row.
    fn fail(&mut self, now_ms: i64) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.no_start_before_ms = now_ms + RETRY_MS;
        self.failures == 1
    }
}

impl Pools {
    /// Empty ones. Each holds what is wanted with a probability of `quantile` while it is refilled; an hour of the workload
    /// lasts `hour_ms` here.
    pub fn new(kinds: &BTreeMap<String, RuntimeKind>, quantile: f64, hour_ms: i64) -> Self {
        let kinds = kinds.iter().map(|(name, kind)| (name.clone(), Pool::new(kind, hour_ms))).collect();
        Self { kinds, quantile, idle_memory: IdleMemory::default() }
    }

    /// Takes one that waits, for an app that is to be loaded.
    pub fn take(&mut self, name: &str, now_ms: i64) -> Option<Stem> {
        let pool = self.kinds.get_mut(name)?;
        pool.demand.note(now_ms);
        let stem = pool.pop(&mut self.idle_memory, now_ms);
        *(if stem.is_some() { &mut pool.hits } else { &mut pool.misses }) += 1;
        stem
    }

    /// Puts back one that was taken and not used.
    pub fn put_back(&mut self, name: &str, stem: Stem, now_ms: i64) {
        if let Some(pool) = self.kinds.get_mut(name) {
            pool.waiting.push(stem);
            self.idle_memory.add(pool.kind.memory_mb, now_ms);
        }
    }

    /// Takes any one that waits, to make room: of the pool that has most for what it should have.
    pub fn give_way(&mut self, now_ms: i64) -> Option<Stem> {
        let excess = |pool: &Pool| pool.waiting.len() as i64 - pool.target as i64;
        let most = self.kinds.values_mut().filter(|pool| !pool.waiting.is_empty()).max_by_key(|pool| excess(pool))?;
        most.pop(&mut self.idle_memory, now_ms)
    }

    /// The kinds that want one more; each is counted as being started from now on.
    pub fn start_missing(&mut self, now_ms: i64) -> Vec<String> {
        let mut missing = Vec::new();
        for (name, pool) in &mut self.kinds {
            pool.aim(self.quantile, now_ms);
            if now_ms < pool.no_start_before_ms {
                continue;
            }
            while pool.waiting.len() + pool.starting < pool.target && pool.starting < STARTING {
                pool.starting += 1;
                missing.push(name.clone());
            }
        }
        missing
    }

    /// Takes one that is too many, for a pool that needs its room.
    pub fn give_surplus(&mut self, now_ms: i64) -> Option<Stem> {
        let pool = self.kinds.values_mut().find(|pool| pool.waiting.len() > pool.target)?;
        pool.pop(&mut self.idle_memory, now_ms)
    }

    /// Takes those that have been too many for a while.
    pub fn shrink(&mut self, now_ms: i64) -> Vec<Stem> {
        let mut surplus = Vec::new();
        for pool in self.kinds.values_mut() {
            if pool.surplus_since_ms.is_some_and(|since_ms| now_ms - since_ms >= PATIENCE_MS) {
                pool.surplus_since_ms = None;
                while pool.waiting.len() > pool.target
                    && let Some(stem) = pool.pop(&mut self.idle_memory, now_ms)
                {
                    surplus.push(stem);
                }
            }
        }
        surplus
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

    /// One was started, which took so long.
    pub fn started(&mut self, name: &str, stem: Stem, took_ms: i64, now_ms: i64) {
        if let Some(pool) = self.kinds.get_mut(name) {
            pool.starts.note(took_ms);
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
                target: pool.target,
                floor: pool.kind.pool,
                ceiling: pool.kind.ceiling(),
                waiting: pool.waiting.len(),
                starting: pool.starting,
                failures: pool.failures,
                hits: pool.hits,
                misses: pool.misses,
                start_ms: pool.starts.p95_ms(),
            })
            .collect()
    }

    /// Ends all that wait.
    pub fn clear(&mut self) {
        for pool in self.kinds.values_mut() {
            (pool.kind.pool, pool.kind.pool_max) = (0, Some(0));
            pool.target = 0;
            pool.waiting.clear();
        }
    }
}
