//! What is loaded on this node, and what should be. Pure: it is told the time and what happens, and answers with what to
//! unload and, as soon as there is somebody to do it, what to load next; [`super::node`] carries that out.
//!
//! Windows count from the end of an app's last execution: the one that this node saw or the one that the decision
//! names, whichever is later. While an app executes, no window counts.

mod app;
mod idle_memory;
mod loads;
mod order;
pub(in crate::agent) mod ranking;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::model::{Decision, Temperature, Version, Window, Windows};

use app::{App, Idle, ReceivedPlan};
pub use idle_memory::IdleMemory;
pub(in crate::agent) use loads::LoadTimes;
use loads::Urgency;
use order::Order;
use ranking::{EVEN, Ranking, Worth};

/// An instance of an app that is no longer wanted: end it. `T` is what an instance is to the caller.
#[derive(Debug, PartialEq, Eq)]
pub struct Unload<T> {
    /// The app.
    pub app: Arc<str>,
    /// The instance.
    pub instance: T,
    /// Why, in words.
    pub why: &'static str,
}

/// The apps of a node.
#[derive(Debug)]
pub struct WarmSet<T> {
    /// Boxed, as a table of a million has up to two million places.
    apps: HashMap<Arc<str>, Box<App<T>>, RandomState>,
    /// When to look at which app again.
    due: Order<i64>,
    /// What is to be loaded ahead of time.
    wanted: Order<Urgency>,
    default_keep_alive_ms: i64,
    retry_ms: i64,
    /// Partitions of the control topic whose decisions are acted on. While one is being read for the first time, old
    /// decisions must not start anything.
    begun: BTreeSet<i32>,
    idle_memory: IdleMemory,
    /// Who goes first.
    ranking: Ranking,
    /// Loaded, idle and busy.
    instances: usize,
}

/// One app as people see it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct AppView {
    /// The app.
    pub app: String,
    /// Instances loaded and idle.
    pub idle: usize,
    /// Instances executing.
    pub busy: usize,
    /// Instances being loaded ahead of time.
    pub loading: usize,
    /// Whether the windows are those of a valid decision, or this node's default.
    pub decided: bool,
    /// When to be loaded, relative to `idle_since_ms`.
    pub windows: Windows,
    /// End of the last execution known, epoch ms.
    pub idle_since_ms: Option<i64>,
    /// How much earlier than a window loading begins, ms.
    pub lead_ms: i64,
}

impl<T> WarmSet<T> {
    /// Nothing loaded. An app without a valid decision stays loaded for `default_keep_alive_ms`; a load ahead of time
    /// that failed is tried again after `retry_ms`. Nothing is loaded ahead of time for decisions of a partition until
    /// [`Self::begin`].
    pub fn new(default_keep_alive_ms: i64, retry_ms: i64) -> Self {
        Self {
            apps: HashMap::default(),
            due: Order::default(),
            wanted: Order::default(),
            default_keep_alive_ms,
            retry_ms,
            begun: BTreeSet::new(),
            idle_memory: IdleMemory::default(),
            ranking: Ranking::default(),
            instances: 0,
        }
    }

    /// A partition of the control topic has been read for the first time: from now on its decisions are acted on.
    pub fn begin(&mut self, partition: i32, now_ms: i64) -> Vec<Unload<T>> {
        if !self.begun.insert(partition) {
            return Vec::new();
        }
        self.of_partition(partition).iter().flat_map(|app| self.reconcile(app, now_ms)).collect()
    }

    /// Whether decisions of the partition are acted on.
    pub fn has_begun(&self, partition: i32) -> bool {
        self.begun.contains(&partition)
    }

    /// A partition is another node's from now on: its decisions are forgotten, and what of its apps is idle is ended.
    pub fn lose(&mut self, partition: i32, now_ms: i64) -> Vec<Unload<T>> {
        self.begun.remove(&partition);
        let mut unloads = Vec::new();
        for app in self.of_partition(partition) {
            if let Some(entry) = self.apps.get_mut(&app) {
                entry.plan = None;
            }
            unloads.extend(self.dismiss(&app, "another node is its home now", now_ms));
            self.remove_unused(&app);
        }
        unloads
    }

    /// The app is not registered any more.
    pub fn became_unknown(&mut self, app: &str, now_ms: i64) -> Vec<Unload<T>> {
        let Some(entry) = self.apps.get_mut(app) else { return Vec::new() };
        entry.loadable = false;
        let key = self.key(app);
        self.dismiss(&key, "it is not registered any more", now_ms)
    }

    /// The apps with a decision of `partition`. O(apps).
    fn of_partition(&self, partition: i32) -> Vec<Arc<str>> {
        let decided = |app: &App<T>| app.plan.as_ref().is_some_and(|plan| plan.partition == partition);
        self.apps.iter().filter(|(_, app)| decided(app)).map(|(key, _)| Arc::clone(key)).collect()
    }

    /// Takes the app out of the books if nothing of it is there; says whether it did.
    fn remove_unused(&mut self, key: &Arc<str>) -> bool {
        let unused = |entry: &App<T>| entry.idle.is_empty() && entry.busy == 0 && entry.loading == 0;
        if !self.apps.get(key).is_some_and(|entry| unused(entry)) {
            return false;
        }
        if let Some(entry) = self.apps.remove(key) {
            self.due.put(key, entry.due_ms, None);
            self.wanted.put(key, entry.urgency, None);
        }
        true
    }

    /// Ends what of the app is idle.
    fn dismiss(&mut self, key: &Arc<str>, why: &'static str, now_ms: i64) -> Vec<Unload<T>> {
        let Some(entry) = self.apps.get_mut(key) else { return Vec::new() };
        let idle = std::mem::take(&mut entry.idle);
        self.instances -= idle.len();
        idle.iter().for_each(|idle| self.idle_memory.remove(idle.memory_mb, now_ms));
        let unload = |idle: Idle<T>| Unload { app: Arc::clone(key), instance: idle.instance, why };
        let mut unloads: Vec<_> = idle.into_iter().map(unload).collect();
        unloads.extend(self.reconcile(key, now_ms));
        unloads
    }

    /// Takes a decision of a partition of the control topic over, unless it is not newer than the last one about the
    /// app; says whether it did. Only a `loadable` app, one whose code this node knows, is loaded ahead of time.
    pub fn decide(
        &mut self,
        decision: &Decision,
        partition: i32,
        loadable: bool,
        now_ms: i64,
    ) -> Option<Vec<Unload<T>>> {
        let key = self.key(&decision.app);
        let app = self.apps.entry(Arc::clone(&key)).or_default();
        if app.plan.as_ref().is_some_and(|plan| decision.version <= plan.version) {
            return None;
        }
        app.loadable = loadable;
        app.plan = Some(ReceivedPlan::of(decision, partition));
        Some(self.reconcile(&key, now_ms))
    }

    /// The app's code has become known.
    pub fn became_loadable(&mut self, app: &str, now_ms: i64) -> Vec<Unload<T>> {
        let Some(entry) = self.apps.get_mut(app) else { return Vec::new() };
        entry.loadable = true;
        let key = self.key(app);
        self.reconcile(&key, now_ms)
    }

    /// The pipeline has forgotten the app, as of `version` where it says so.
    pub fn forget(&mut self, app: &str, version: Option<Version>, now_ms: i64) -> Vec<Unload<T>> {
        let Some((key, entry)) = self.apps.get_key_value(app) else { return Vec::new() };
        if let (Some(version), Some(plan)) = (version, &entry.plan)
            && version <= plan.version
        {
            return Vec::new();
        }
        let key = Arc::clone(key);
        if self.remove_unused(&key) {
            return Vec::new();
        }
        if let Some(entry) = self.apps.get_mut(&key) {
            entry.plan = None;
        }
        self.reconcile(&key, now_ms)
    }

    /// An invocation wants an instance: takes a loaded one, the one used last first.
    pub fn acquire(&mut self, app: &str, now_ms: i64) -> Option<(T, Temperature)> {
        let entry = self.apps.get_mut(app)?;
        let at = entry.idle.iter().rposition(|idle| idle.used).or(entry.idle.len().checked_sub(1))?;
        let idle = entry.idle.remove(at);
        self.idle_memory.remove(idle.memory_mb, now_ms);
        entry.busy += 1;
        let key = self.key(app);
        self.rank(&key);
        self.want(&key, 0, now_ms);
        Some((idle.instance, if idle.used { Temperature::Warm } else { Temperature::Prewarmed }))
    }

    /// An instance that was acquired can't be used: nothing was executed on it.
    pub fn discard(&mut self, app: &str) {
        if let Some(entry) = self.apps.get_mut(app) {
            entry.busy = entry.busy.saturating_sub(1);
            self.instances -= 1;
        }
    }

    /// Instances of the app that are being loaded ahead of time.
    pub fn loading(&self, app: &str) -> usize {
        self.apps.get(app).map_or(0, |entry| entry.loading as usize)
    }

    /// An invocation got an instance that was loaded for it: from now on it counts as executing.
    pub fn start_busy(&mut self, app: &str, now_ms: i64) {
        let key = self.key(app);
        self.apps.entry(Arc::clone(&key)).or_default().busy += 1;
        self.instances += 1;
        self.want(&key, 0, now_ms);
    }

    /// The app of which one more instance is to be loaded ahead of time, the most urgent first; the caller loads it, and says
    /// so with [`Self::loaded`] or [`Self::load_failed`].
    pub fn next_load(&mut self, now_ms: i64) -> Option<Arc<str>> {
        let key = Arc::clone(self.wanted.last()?.1);
        let entry = self.apps.get_mut(&key)?;
        entry.loading += 1;
        let missing = entry.missing.saturating_sub(1);
        self.want(&key, missing, now_ms);
        Some(key)
    }

    /// Loading the app took so long.
    pub fn note_load(&mut self, app: &str, took_ms: i64) {
        let key = self.key(app);
        self.apps.entry(key).or_default().loads.note(took_ms);
    }

    /// A load ahead of time is done.
    pub fn loaded(&mut self, app: &str, instance: T, memory_mb: f64, now_ms: i64) -> Vec<Unload<T>> {
        let key = self.key(app);
        let entry = self.apps.entry(Arc::clone(&key)).or_default();
        entry.loading = entry.loading.saturating_sub(1);
        entry.idle.push(Idle { instance, memory_mb, used: false });
        self.instances += 1;
        self.idle_memory.add(memory_mb, now_ms);
        self.touch(&key, memory_mb, now_ms);
        self.reconcile(&key, now_ms)
    }

    /// A load ahead of time is done, and its instance goes to an invocation that has been waiting for it.
    pub fn claimed(&mut self, app: &str) {
        if let Some(entry) = self.apps.get_mut(app) {
            entry.loading = entry.loading.saturating_sub(1);
            entry.busy += 1;
            self.instances += 1;
        }
    }

    /// A load ahead of time failed.
    pub fn load_failed(&mut self, app: &str, now_ms: i64) -> Vec<Unload<T>> {
        let retry_ms = self.retry_ms;
        if let Some(entry) = self.apps.get_mut(app) {
            entry.loading = entry.loading.saturating_sub(1);
            entry.no_load_before_ms = now_ms + retry_ms;
        }
        let key = self.key(app);
        self.reconcile(&key, now_ms)
    }

    /// An execution is over and its instance can go on.
    pub fn release(&mut self, app: &str, instance: T, memory_mb: f64, now_ms: i64) -> Vec<Unload<T>> {
        let key = self.key(app);
        let entry = self.apps.entry(Arc::clone(&key)).or_default();
        entry.busy = entry.busy.saturating_sub(1);
        entry.idle_since_ms = Some(now_ms);
        entry.idle.push(Idle { instance, memory_mb, used: true });
        self.idle_memory.add(memory_mb, now_ms);
        self.touch(&key, memory_mb, now_ms);
        self.reconcile(&key, now_ms)
    }

    /// An execution is over and its instance is gone.
    pub fn lost(&mut self, app: &str, now_ms: i64) -> Vec<Unload<T>> {
        let key = self.key(app);
        let entry = self.apps.entry(Arc::clone(&key)).or_default();
        entry.busy = entry.busy.saturating_sub(1);
        entry.idle_since_ms = Some(now_ms);
        self.instances -= 1;
        self.reconcile(&key, now_ms)
    }

    /// Takes out the idle instance that is worth least, to make room; for a load of `app` ahead of time, of `memory_mb`, only
    /// one that is worth less.
    pub fn evict(&mut self, ahead_of: Option<(&str, f64)>, now_ms: i64) -> Option<(Arc<str>, T)> {
        let than = ahead_of.map(|(app, memory_mb)| self.worth(app, memory_mb, now_ms));
        let key = self.ranking.least(than)?;
        self.ranking.evicted(self.apps.get(&key)?.ranked?);
        self.take_idle(&key, now_ms)
    }

    /// Takes out the idle instance that is worth least of those that are `fit` for something else. O(apps with something
    /// idle).
    pub fn take_fit(&mut self, fit: impl Fn(&T) -> bool, now_ms: i64) -> Option<(Arc<str>, T)> {
        let is_fit = |app: &App<T>| app.idle.first().is_some_and(|idle| fit(&idle.instance));
        let key = self.ranking.in_order().find(|key| self.apps.get(*key).is_some_and(|app| is_fit(app)))?;
        let key = Arc::clone(key);
        self.take_idle(&key, now_ms)
    }

    fn take_idle(&mut self, key: &Arc<str>, now_ms: i64) -> Option<(Arc<str>, T)> {
        let entry = self.apps.get_mut(key)?;
        // The one used longest ago stands first.
        let idle = entry.idle.remove(0);
        self.idle_memory.remove(idle.memory_mb, now_ms);
        self.instances -= 1;
        self.rank(key);
        Some((Arc::clone(key), idle.instance))
    }

    /// Takes out the idle instances that have ended by themselves. O(apps): for now and then.
    pub fn remove_dead(&mut self, has_died: impl Fn(&T) -> bool, now_ms: i64) -> Vec<(Arc<str>, T)> {
        let mut dead = Vec::new();
        for (key, entry) in &mut self.apps {
            for idle in entry.idle.extract_if(.., |idle| has_died(&idle.instance)) {
                self.idle_memory.remove(idle.memory_mb, now_ms);
                dead.push((Arc::clone(key), idle.instance));
            }
        }
        dead.iter().for_each(|(key, _)| self.rank(key));
        self.instances -= dead.len();
        dead
    }

    /// Does what is due by `now_ms`.
    pub fn tick(&mut self, now_ms: i64) -> Vec<Unload<T>> {
        let mut unloads = Vec::new();
        while let Some((due_ms, app)) = self.due.first().map(|(due_ms, app)| (due_ms, Arc::clone(app)))
            && due_ms <= now_ms
        {
            unloads.extend(self.reconcile(&app, now_ms));
        }
        unloads
    }

    /// When [`Self::tick`] has something to do next.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.due.first().map(|(due_ms, _)| due_ms)
    }

    /// Memory of instances that are loaded and not executing, so far, MB·ms.
    pub fn idle_mb_ms(&self, now_ms: i64) -> f64 {
        self.idle_memory.total(now_ms)
    }

    /// Instances loaded, idle and busy.
    pub fn loaded_instances(&self) -> usize {
        self.instances
    }

    /// The apps with a decision or something loaded, by name.
    pub fn view(&self, now_ms: i64) -> Vec<AppView> {
        let mut views: Vec<_> = self
            .apps
            .iter()
            .map(|(app, entry)| {
                let plan = entry.valid_plan(now_ms);
                let default = Windows::from_slice(&[Window::keep_alive(self.default_keep_alive_ms)]);
                AppView {
                    app: app.to_string(),
                    idle: entry.idle.len(),
                    busy: entry.busy as usize,
                    loading: entry.loading as usize,
                    decided: plan.is_some(),
                    windows: plan.map_or(default, |plan| plan.windows.clone()),
                    idle_since_ms: entry.idle_since_ms(),
                    lead_ms: entry.lead_ms(),
                }
            })
            .collect();
        views.sort_unstable_by(|a, b| a.app.cmp(&b.app));
        views
    }

    /// When the app's next window begins by its decision, epoch ms; now, if it has begun.
    pub fn coming_ms(&self, app: &str, now_ms: i64) -> Option<i64> {
        let entry = self.apps.get(app)?;
        let (plan, idle_since_ms) = (entry.valid_plan(now_ms)?, entry.idle_since_ms()?);
        let idle_ms = now_ms.saturating_sub(idle_since_ms);
        let window = plan.windows.iter().find(|window| idle_ms < window.until_ms)?;
        Some(idle_since_ms.saturating_add(window.from_ms).max(now_ms))
    }

    /// Every idle instance, for the end.
    pub fn drain(&mut self) -> Vec<T> {
        let idle = self.apps.values_mut().flat_map(|entry| entry.idle.drain(..));
        let idle: Vec<T> = idle.map(|idle| idle.instance).collect();
        self.instances -= idle.len();
        let keys: Vec<_> = self.apps.keys().cloned().collect();
        keys.iter().for_each(|key| self.rank(key));
        idle
    }

    /// What keeping an instance of an app is worth that is used now.
    fn worth(&self, app: &str, memory_mb: f64, now_ms: i64) -> Worth {
        let entry = self.apps.get(app);
        let plan = entry.and_then(|entry| entry.valid_plan(now_ms));
        let load_ms = entry.map_or(0, |entry| entry.lead_ms());
        self.ranking.worth(plan.and_then(|plan| plan.hit), load_ms, memory_mb)
    }

    /// Something of the app is idle from now on.
    fn touch(&mut self, key: &Arc<str>, memory_mb: f64, now_ms: i64) {
        let worth = self.worth(key, memory_mb, now_ms);
        if let Some(entry) = self.apps.get_mut(key) {
            entry.worth = Some(worth);
        }
        self.rank(key);
    }

    /// Ranks the app, if something of it is idle.
    fn rank(&mut self, key: &Arc<str>) {
        if let Some(entry) = self.apps.get_mut(key) {
            let now = entry.worth.filter(|_| !entry.idle.is_empty());
            let before = std::mem::replace(&mut entry.ranked, now);
            self.ranking.rank(key, before, now);
        }
    }

    fn key(&self, app: &str) -> Arc<str> {
        self.apps.get_key_value(app).map_or_else(|| Arc::from(app), |(key, _)| Arc::clone(key))
    }

    /// Brings one app to what its windows wish for.
    fn reconcile(&mut self, key: &Arc<str>, now_ms: i64) -> Vec<Unload<T>> {
        let Some(entry) = self.apps.get_mut(key) else { return Vec::new() };
        let wish = entry.wish(now_ms, self.default_keep_alive_ms);
        let mut unloads = Vec::new();
        while entry.idle.len() > wish.keep as usize {
            // The one used longest ago stands first.
            let idle = entry.idle.remove(0);
            self.idle_memory.remove(idle.memory_mb, now_ms);
            self.instances -= 1;
            unloads.push(Unload { app: Arc::clone(key), instance: idle.instance, why: wish.why_not });
        }
        let now = entry.worth.filter(|_| !entry.idle.is_empty());
        let before = std::mem::replace(&mut entry.ranked, now);
        self.ranking.rank(key, before, now);
        let acts = entry.plan.as_ref().is_some_and(|plan| self.begun.contains(&plan.partition));
        let may_load = acts && entry.loadable && now_ms >= entry.no_load_before_ms;
        let missing = if may_load { wish.have.saturating_sub(entry.idle.len() as u32 + entry.loading) } else { 0 };
        // A load that failed is tried again within the window.
        let retry_ms = Some(entry.no_load_before_ms).filter(|retry_ms| wish.have > 0 && now_ms < *retry_ms);
        let until_ms = [wish.until_ms, retry_ms].into_iter().flatten().min();
        self.want(key, missing, now_ms);
        self.look_again(key, until_ms, now_ms);
        unloads
    }

    /// So many more instances of an app are to be loaded ahead of time.
    fn want(&mut self, key: &Arc<str>, missing: u32, now_ms: i64) {
        let Some(entry) = self.apps.get_mut(key) else { return };
        if missing == 0 && entry.urgency.is_none() {
            return;
        }
        entry.missing = missing;
        let now = (missing > 0).then(|| {
            let hit = entry.valid_plan(now_ms).and_then(|plan| plan.hit);
            Urgency::new(hit.unwrap_or(EVEN), entry.urgency.map_or(now_ms, Urgency::since_ms))
        });
        let before = std::mem::replace(&mut entry.urgency, now);
        self.wanted.put(key, before, now);
    }

    fn look_again(&mut self, key: &Arc<str>, at_ms: Option<i64>, now_ms: i64) {
        let Some(entry) = self.apps.get_mut(key) else { return };
        // Never at once: what can't be done now can't be done without time passing.
        let at_ms = at_ms.map(|at_ms| at_ms.max(now_ms + 1));
        let before = std::mem::replace(&mut entry.due_ms, at_ms);
        self.due.put(key, before, at_ms);
    }
}

#[cfg(test)]
mod tests;
