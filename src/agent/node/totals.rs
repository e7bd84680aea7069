//! What a node knows, did and holds, for people.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::agent::journal::Journal;
use crate::agent::pool::PoolView;
use crate::agent::registry::{self, AppSpec, Registry};
use crate::agent::warm_set::AppView;

use super::Node;

#[derive(Default)]
pub(super) struct Counts {
    pub(super) cold: AtomicU64,
    pub(super) specialised: AtomicU64,
    pub(super) ahead: AtomicU64,
    pub(super) warm: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Totals {
    /// Invocations executed.
    pub invocations: u64,
    /// Those for which a runtime was created.
    pub cold: u64,
    /// Those that found a pooled runtime, or the app loaded ahead of time.
    pub prewarmed: u64,
    /// Those that found the app loaded and used before.
    pub warm: u64,
    /// Of the prewarmed, those that specialised a pooled runtime.
    pub specialised: u64,
    /// Invocations that failed.
    pub failed: u64,
    /// Memory of apps and pools while loaded and not executing, MB·s of the workload's own time.
    pub idle_mb_s: f64,
    /// The part of it that the pools hold.
    pub pool_idle_mb_s: f64,
}

impl Node {
    /// Takes an app over that was registered, in place of an older version if there is one; what is loaded of that is
    /// not used again.
    pub(in crate::agent) fn register(&self, app: &str, spec: AppSpec) -> Result<(), registry::Error> {
        self.0.registry.put(app, spec)?;
        self.want_code(app);
        let unloads = self.warm().set.became_loadable(app, self.now_ms());
        self.carry_out(unloads);
        Ok(())
    }

    /// Takes note that an app is not registered any more.
    pub(in crate::agent) fn unregister(&self, app: &str) {
        if self.0.registry.remove(app) {
            let unloads = self.warm().set.became_unknown(app, self.now_ms());
            self.carry_out(unloads);
        }
    }

    /// The apps registered.
    pub(in crate::agent) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// Memory that runtimes may take together, and the part of it that is free, MB.
    pub(in crate::agent) fn memory_mb(&self) -> (u32, u32) {
        let all_mb = self.0.budget.memory_mb();
        let taken_mb = u32::try_from(self.0.budget.taken_mb()).unwrap_or(all_mb);
        (all_mb, all_mb.saturating_sub(taken_mb))
    }

    /// The apps registered.
    pub fn apps(&self) -> BTreeMap<String, Arc<AppSpec>> {
        self.0.registry.all()
    }

    /// What is loaded, and when that will change.
    pub fn warm_view(&self) -> Vec<AppView> {
        let mut apps = self.warm().set.view(self.now_ms());
        for app in &mut apps {
            app.idle_since_ms = app.idle_since_ms.map(|at_ms| self.0.clock.wall_ms(at_ms));
        }
        apps
    }

    /// The pools.
    pub fn pools_view(&self) -> Vec<PoolView> {
        self.pools().view()
    }

    /// What was done lately.
    pub fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// Counts so far.
    pub fn totals(&self) -> Totals {
        let now_ms = self.now_ms();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.0.counts;
        let (cold, specialised, ahead, warm) =
            (load(&counts.cold), load(&counts.specialised), load(&counts.ahead), load(&counts.warm));
        let to_mb_s = |mb_ms: f64| (mb_ms / 1000.0 * self.0.speed).round();
        let pool_idle_mb_s = to_mb_s(self.pools().idle_mb_ms(now_ms));
        Totals {
            invocations: cold + specialised + ahead + warm,
            cold,
            prewarmed: specialised + ahead,
            warm,
            specialised,
            failed: load(&counts.failed),
            idle_mb_s: to_mb_s(self.warm().set.idle_mb_ms(now_ms)) + pool_idle_mb_s,
            pool_idle_mb_s,
        }
    }

    pub(super) fn report(&self) {
        let totals = self.totals();
        self.0.metrics.idle_mb_s.set(totals.idle_mb_s);
        self.0.metrics.loaded.set(self.warm().set.loaded_instances() as i64);
        self.0.metrics.taken_mb.set(self.0.budget.taken_mb() as i64);
        self.0.metrics.queued.set(self.0.queued.load(Ordering::Relaxed) as i64);
        self.0.metrics.pooled.set(self.pools().waiting() as i64);
    }
}
