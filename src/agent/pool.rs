//! Unspecialised runtimes that wait, started and without code, for an app that needs one at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::config::RuntimeKind;

use super::backend::process::Runtime;
use super::warm_set::IdleMemory;

/// A started runtime and its place among those that the node allows.
pub(super) type Stem = (Runtime, OwnedSemaphorePermit);

/// The pools, one a runtime kind.
pub(super) struct Pools {
    kinds: BTreeMap<String, Pool>,
    shims: PathBuf,
    idle_memory: IdleMemory,
}

struct Pool {
    kind: RuntimeKind,
    waiting: Vec<Stem>,
    starting: usize,
    /// Times in a row that starting one failed.
    failures: u32,
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

impl Pools {
    pub fn new(kinds: &BTreeMap<String, RuntimeKind>, shims: PathBuf) -> Self {
        let pool = |kind: &RuntimeKind| Pool { kind: kind.clone(), waiting: Vec::new(), starting: 0, failures: 0 };
        let kinds = kinds.iter().map(|(name, kind)| (name.clone(), pool(kind))).collect();
        Self { kinds, shims, idle_memory: IdleMemory::default() }
    }

    /// How to start a runtime of a kind: the kind and the folder of the shims.
    pub fn recipe(&self, name: &str) -> Option<(RuntimeKind, &Path)> {
        self.kinds.get(name).map(|pool| (pool.kind.clone(), self.shims.as_path()))
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

    /// Takes any one that waits, to make room.
    pub fn give_way(&mut self, now_ms: i64) -> Option<Stem> {
        let fullest = self.kinds.iter().max_by_key(|(_, pool)| pool.waiting.len()).map(|(name, _)| name.clone())?;
        self.take(&fullest, now_ms)
    }

    /// The kinds that want one more; each is counted as being started from now on.
    pub fn start_missing(&mut self) -> Vec<String> {
        let mut missing = Vec::new();
        for (name, pool) in &mut self.kinds {
            // One that can't be started is tried again only now and then: see `Node::refill`.
            let most = if pool.failures > 0 { 1 } else { pool.kind.pool };
            while pool.waiting.len() + pool.starting < pool.kind.pool && pool.starting < most {
                pool.starting += 1;
                missing.push(name.clone());
            }
        }
        missing
    }

    /// One was started.
    pub fn started(&mut self, name: &str, stem: Stem, now_ms: i64) {
        if let Some(pool) = self.kinds.get_mut(name) {
            pool.starting = pool.starting.saturating_sub(1);
            pool.failures = 0;
            pool.waiting.push(stem);
            self.idle_memory.add(pool.kind.memory_mb, now_ms);
        }
    }

    /// One could not be started; returns how many times in a row that makes.
    pub fn failed(&mut self, name: &str) -> u32 {
        self.kinds.get_mut(name).map_or(0, |pool| {
            pool.failures = pool.failures.saturating_add(1);
            pool.failures
        })
    }

    /// A start is given up or will be tried anew.
    pub fn not_started(&mut self, name: &str) {
        if let Some(pool) = self.kinds.get_mut(name) {
            pool.starting = pool.starting.saturating_sub(1);
        }
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
