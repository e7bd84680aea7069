//! One node of the fleet: carries out what the warm set commands; [`invoke`] executes invocations, [`totals`] tells people.

mod invoke;
mod totals;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tracing::{debug, info, warn};

use crate::config;
use crate::model::{Code, Decision, Version, now_ms};
use crate::telemetry::AgentMetrics;

use super::backend::action::Init;
use super::backend::process::{Runtime, StartError};
use super::budget::{Budget, Place};
use super::events::Events;
use super::journal::{self, Journal};
use super::pool::{Pools, Stem};
use super::prefetch::CodeCache;
use super::registry::{AppSpec, Registry};
use super::warm_set::{Command, WarmSet};
use totals::Counts;

pub use invoke::{InvokeError, Outcome, Request};
pub use totals::Totals;

/// After a load ahead of time failed, and after a pool could not be filled.
const RETRY: Duration = Duration::from_secs(10);
/// How often to look for runtimes that ended by themselves, and to refresh the gauges.
const EVERY_SECOND: Duration = Duration::from_secs(1);
/// How long invocations under way may take to finish when the node ends.
const GRACE: Duration = Duration::from_secs(10);
/// Code to fetch ahead of time that waits at most; more is fetched when it is used.
const PREFETCH_QUEUE: usize = 10_000;

/// A node. Cheap to clone.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    settings: config::Agent,
    name: String,
    speed: f64,
    clock: Clock,
    warm: Mutex<Warm>,
    pools: Mutex<Pools>,
    cache: CodeCache,
    registry: Registry,
    events: Events,
    journal: Journal,
    metrics: AgentMetrics,
    counts: Counts,
    /// What may be alive, and how many runtimes may be created or loaded at once.
    budget: Budget,
    loading: Semaphore,
    /// Something was let go of, or became idle: who waits for room tries again.
    room: Notify,
    /// Invocations that wait for room.
    queued: AtomicUsize,
    /// The next due moment may have changed.
    wake: Notify,
    prefetches: mpsc::Sender<Code>,
    prefetch_queue: Mutex<Option<mpsc::Receiver<Code>>>,
    feed_connected: AtomicBool,
    decisions_read: AtomicBool,
    apps_read: AtomicBool,
    /// Invocations under way.
    under_way: AtomicUsize,
    closing: AtomicBool,
}

struct Warm {
    set: WarmSet<Instance>,
    /// Invocations that wait for a load that began ahead of them.
    waiting: HashMap<String, VecDeque<oneshot::Sender<Instance>>>,
    prefetched: HashSet<String>,
}

/// A runtime with an app's code.
struct Instance {
    runtime: Runtime,
    spec: Arc<AppSpec>,
    _place: Place,
}

/// Wall-clock time that never steps: the clock is read once, the rest is measured.
struct Clock {
    began_ms: i64,
    began: Instant,
}

impl Clock {
    fn now_ms(&self) -> i64 {
        self.began_ms + self.began.elapsed().as_millis() as i64
    }
}

impl Node {
    pub(super) fn new(
        settings: &config::Agent,
        speed: f64,
        shims: PathBuf,
        cache: CodeCache,
        registry: Registry,
        events: Events,
        metrics: AgentMetrics,
    ) -> Self {
        let (prefetches, prefetch_queue) = mpsc::channel(PREFETCH_QUEUE);
        let retry_ms = RETRY.as_millis() as i64;
        let warm = Warm {
            set: WarmSet::new(settings.default_keep_alive.0, retry_ms),
            waiting: HashMap::new(),
            prefetched: HashSet::new(),
        };
        let node = Self(Arc::new(Inner {
            name: settings.node_name(),
            speed,
            clock: Clock { began_ms: now_ms(), began: Instant::now() },
            warm: Mutex::new(warm),
            pools: Mutex::new(Pools::new(&settings.runtimes, shims)),
            cache,
            registry,
            events,
            journal: Journal::default(),
            metrics,
            counts: Counts::default(),
            budget: Budget::new(settings.max_runtimes, settings.memory_mb()),
            room: Notify::new(),
            queued: AtomicUsize::new(0),
            loading: Semaphore::new(settings.max_loading),
            wake: Notify::new(),
            prefetches,
            prefetch_queue: Mutex::new(Some(prefetch_queue)),
            feed_connected: AtomicBool::new(false),
            decisions_read: AtomicBool::new(false),
            apps_read: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            settings: settings.clone(),
        }));
        for spec in node.0.registry.all().values() {
            node.prefetch(&spec.code);
        }
        node
    }

    // ── Decisions ────────────────────────────────────────────────────────────────────────────────────────────────

    /// Takes a decision of a partition of the control topic over.
    pub(super) fn decide(&self, decision: &Decision, partition: i32) {
        let commands = {
            let mut warm = self.warm();
            // Under the lock: an app that is registered right now is either seen here, or finds the decision.
            let loadable = self.0.registry.get(&decision.app).is_some();
            warm.set.decide(decision, partition, loadable, self.now_ms())
        };
        let Some(commands) = commands else { return };
        self.0.metrics.decisions.inc();
        if let Some(code) = &decision.code {
            self.prefetch(code);
        }
        self.carry_out(commands);
    }

    pub(super) fn forget(&self, app: &str, version: Option<Version>) {
        let commands = self.warm().set.forget(app, version, self.now_ms());
        self.carry_out(commands);
    }

    /// A partition of the control topic has been read for the first time.
    pub(super) fn begin(&self, partition: i32) {
        let commands = self.warm().set.begin(partition, self.now_ms());
        self.carry_out(commands);
    }

    /// Another node acts on the decisions of a partition from now on.
    pub(super) fn lose(&self, partition: i32) {
        let commands = self.warm().set.lose(partition, self.now_ms());
        self.carry_out(commands);
    }

    /// The decisions that were there at the start have been read.
    pub(super) fn set_decisions_read(&self) {
        self.0.decisions_read.store(true, Ordering::Relaxed);
    }

    /// The apps that were registered at the start have been read.
    pub(super) fn set_apps_read(&self) {
        self.0.apps_read.store(true, Ordering::Relaxed);
    }

    pub(super) fn set_feed_connected(&self, connected: bool) {
        self.0.feed_connected.store(connected, Ordering::Relaxed);
        self.0.metrics.connected.set(i64::from(connected));
    }

    /// Whether the feed of decisions is connected, and decisions and apps have been read.
    pub fn is_ready(&self) -> bool {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        is(&self.0.feed_connected) && is(&self.0.decisions_read) && is(&self.0.apps_read) && !self.is_closing()
    }

    // ── The loop ─────────────────────────────────────────────────────────────────────────────────────────────────

    /// Loads and unloads when it is due, keeps the pools filled, fetches code. Never ends by itself.
    pub(super) async fn run(&self) {
        let queue = self.0.prefetch_queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let prefetching = async {
            if let Some(queue) = queue {
                self.prefetch_all(queue).await;
            }
            std::future::pending::<()>().await;
        };
        let timing = async {
            let mut looked_around = Instant::now();
            loop {
                self.refill();
                if looked_around.elapsed() >= EVERY_SECOND {
                    looked_around = Instant::now();
                    self.bury();
                    self.report();
                }
                let (commands, next_ms) = {
                    let now_ms = self.now_ms();
                    let mut warm = self.warm();
                    (warm.set.tick(now_ms), warm.set.next_due_ms())
                };
                self.start_and_end(commands);
                let wait_ms = next_ms.map_or(1000, |next_ms| (next_ms - self.now_ms()).clamp(0, 1000));
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(wait_ms.unsigned_abs())) => {}
                    () = self.0.wake.notified() => {}
                }
            }
        };
        tokio::join!(prefetching, timing);
    }

    /// Takes no more invocations, lets those that execute finish for a moment, ends every runtime.
    pub(super) async fn close(&self) {
        self.0.closing.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + GRACE;
        while self.0.under_way.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let idle = self.warm().set.drain();
        drop(idle);
        self.pools().clear();
        let node = self.clone();
        let _ = tokio::task::spawn_blocking(move || node.0.events.finish()).await;
    }

    /// Does what the warm set commands, and has the loop look at what is due next.
    fn carry_out(&self, commands: Vec<Command<Instance>>) {
        self.start_and_end(commands);
        self.0.room.notify_waiters();
        self.0.wake.notify_one();
    }

    fn start_and_end(&self, commands: Vec<Command<Instance>>) {
        for command in commands {
            match command {
                Command::Load(app) => {
                    let node = self.clone();
                    tokio::spawn(async move { node.load_ahead(&app).await });
                }
                Command::Unload(app, instance, why) => {
                    drop(instance);
                    self.0.metrics.unloads.inc();
                    self.note(&app, journal::Kind::Unloaded, why);
                }
            }
        }
    }

    async fn load_ahead(&self, app: &str) {
        let began = Instant::now();
        let loaded = match self.0.registry.get(app) {
            Some(spec) => match self.place(&spec, Some(app)) {
                // A pooled runtime is left for those who can't wait.
                Ok(place) => self.load(app, spec, Err(place)).await,
                Err(error) => Err(error),
            },
            None => Err(InvokeError::UnknownApp(app.to_owned())),
        };
        let now_ms = self.now_ms();
        let commands = match loaded {
            Ok(instance) => {
                let took = began.elapsed();
                self.note(app, journal::Kind::Prewarmed, format!("loaded ahead of time in {} ms", took.as_millis()));
                self.0.metrics.prewarms.inc();
                let mut warm = self.warm();
                warm.set.note_load(app, took.as_millis() as i64);
                match hand_over(&mut warm, app, instance) {
                    Some(instance) => {
                        let memory_mb = instance.spec.memory_mb;
                        warm.set.loaded(app, instance, memory_mb, now_ms)
                    }
                    None => Vec::new(),
                }
            }
            Err(error) => {
                debug!(app, "not loaded ahead of time: {error}");
                self.note(app, journal::Kind::LoadFailed, error.to_string());
                let mut warm = self.warm();
                // Whoever waited for it has to load for itself.
                warm.waiting.remove(app);
                warm.set.load_failed(app, now_ms)
            }
        };
        self.carry_out(commands);
    }

    /// Takes runtimes that ended by themselves out of the books.
    fn bury(&self) {
        let now_ms = self.now_ms();
        for name in self.pools().bury(now_ms) {
            let hint = self.0.settings.runtimes.get(&name).map(|kind| kind.command.join(" ")).unwrap_or_default();
            info!(
                "a waiting runtime '{name}' ended by itself: is what '{hint}' needs installed? --log debug shows its words"
            );
        }
        let dead = self.warm().set.remove_dead(|instance| instance.runtime.has_died(), now_ms);
        for (app, _) in dead {
            self.0.metrics.unloads.inc();
            self.note(&app, journal::Kind::Unloaded, "its runtime ended by itself");
        }
    }

    /// Keeps the pools filled, without ever being waited for.
    fn refill(&self) {
        if self.is_closing() {
            return;
        }
        for name in self.pools().start_missing(self.now_ms()) {
            let node = self.clone();
            tokio::spawn(async move {
                let memory_mb = node.0.settings.runtimes.get(&name).map_or(0.0, |kind| kind.memory_mb);
                let Some(place) = node.0.budget.take(memory_mb) else {
                    node.pools().not_started(&name, node.now_ms());
                    return;
                };
                match node.start(&name).await {
                    Ok(runtime) => node.pools().started(&name, (runtime, place), node.now_ms()),
                    Err(error) => {
                        if node.pools().not_started(&name, node.now_ms()) {
                            info!("{error}; apps of this kind can't run here until that is mended");
                        }
                    }
                }
            });
        }
    }

    fn prefetch(&self, code: &Code) {
        let Some(digest) = &code.sha256 else { return };
        if code.uri.starts_with("data:") || self.warm().prefetched.contains(digest) {
            return;
        }
        if self.0.prefetches.try_send(code.clone()).is_ok() {
            self.warm().prefetched.insert(digest.clone());
        }
    }

    async fn prefetch_all(&self, mut queue: mpsc::Receiver<Code>) {
        while let Some(code) = queue.recv().await {
            let cache = self.0.cache.clone();
            let digest = code.sha256.clone().unwrap_or_default();
            match tokio::task::spawn_blocking(move || cache.get(&code)).await {
                Ok(Ok((_, true))) => drop(self.0.metrics.prefetches.inc()),
                Ok(Ok((_, false))) => {}
                Ok(Err(error)) => {
                    warn!("not prefetched: {error}; it is tried again when the app is loaded");
                    self.warm().prefetched.remove(&digest);
                }
                Err(_) => return,
            }
        }
    }

    /// Loads an app into a pooled runtime, or into a new one in a place of its own.
    async fn load(&self, app: &str, spec: Arc<AppSpec>, stem: Result<Stem, Place>) -> Result<Instance, InvokeError> {
        let began = Instant::now();
        let _turn = self.0.loading.acquire().await.map_err(|_| InvokeError::Closing)?;
        let cache = self.0.cache.clone();
        let code = spec.code.clone();
        let limit = self.0.settings.init_timeout.duration();
        let code = async move {
            let read = tokio::task::spawn_blocking(move || cache.get(&code));
            tokio::time::timeout(limit, read).await.map_err(|_| InvokeError::SlowCode { app: app.to_owned(), limit })
        };
        let stem = async {
            match stem {
                Ok(stem) => Ok(stem),
                Err(place) => self.start(&spec.runtime).await.map(|runtime| (runtime, place)),
            }
        };
        let (code, stem) = tokio::join!(code, stem);
        let (code, _) = code?
            .map_err(|_| InvokeError::Closing)?
            .map_err(|source| InvokeError::Code { app: app.to_owned(), source })?;
        let (mut runtime, place) = stem.map_err(|source| InvokeError::Start { app: app.to_owned(), source })?;
        let init = Init { name: app, main: &spec.main, code: &code };
        runtime.client.init(&init, limit).await.map_err(|source| InvokeError::Init { app: app.to_owned(), source })?;
        self.0.metrics.load_seconds.observe(began.elapsed().as_secs_f64());
        Ok(Instance { runtime, spec, _place: place })
    }

    async fn start(&self, name: &str) -> Result<Runtime, StartError> {
        let recipe = self.pools().recipe(name).map(|(kind, shims)| (kind, shims.to_owned()));
        match recipe {
            Some((kind, shims)) => Runtime::start(name, &kind, &shims).await,
            None => Err(StartError::unknown(name)),
        }
    }

    /// A place for one more runtime, made by ending idle ones if need be. For an app that is loaded `ahead` of time only those
    /// that are worth less.
    fn place(&self, spec: &AppSpec, ahead: Option<&str>) -> Result<Place, InvokeError> {
        self.make_room(spec.memory_mb, ahead, || self.0.budget.take(spec.memory_mb))
    }

    /// Makes the place of a pooled runtime one for the app that is loaded into it.
    fn resize(&self, place: &mut Place, spec: &AppSpec) -> Result<(), InvokeError> {
        self.make_room(spec.memory_mb, None, || self.0.budget.resize(place, spec.memory_mb).then_some(()))
    }

    /// What `take` gives, once enough was ended that it gives anything.
    fn make_room<R>(
        &self,
        memory_mb: f64,
        ahead: Option<&str>,
        mut take: impl FnMut() -> Option<R>,
    ) -> Result<R, InvokeError> {
        let memory = self.0.budget.memory_mb();
        if !self.0.budget.holds(memory_mb) {
            return Err(InvokeError::TooLarge { memory_mb, of_mb: memory });
        }
        loop {
            if let Some(taken) = take() {
                return Ok(taken);
            }
            let now_ms = self.now_ms();
            let evicted = self.warm().set.evict(ahead.map(|app| (app, memory_mb)), now_ms);
            if let Some((app, instance)) = evicted {
                drop(instance);
                self.0.metrics.unloads.inc();
                self.note(&app, journal::Kind::Unloaded, "evicted: the node is full");
                continue;
            }
            // Nobody waits for what is loaded ahead of time: it leaves pooled runtimes to those who do.
            if ahead.is_some() || self.pools().give_way(now_ms).is_none() {
                // What had died was let go of on the way.
                return take().ok_or(InvokeError::Full { runtimes: self.0.settings.max_runtimes, memory_mb: memory });
            }
        }
    }

    fn note(&self, app: &str, kind: journal::Kind, detail: impl Into<String>) {
        let detail = detail.into();
        debug!(app, ?kind, "{detail}");
        self.0.journal.add(self.now_ms(), app, kind, detail);
    }

    fn is_closing(&self) -> bool {
        self.0.closing.load(Ordering::Relaxed)
    }

    fn now_ms(&self) -> i64 {
        self.0.clock.now_ms()
    }

    fn warm(&self) -> MutexGuard<'_, Warm> {
        self.0.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.0.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Instance {
    fn is_usable(&self, spec: &Arc<AppSpec>) -> bool {
        Arc::ptr_eq(&self.spec, spec) && !self.runtime.has_died()
    }
}

/// Gives a loaded instance to the first invocation that waits for one; gives it back if none does.
fn hand_over(warm: &mut Warm, app: &str, mut instance: Instance) -> Option<Instance> {
    while let Some(waiting) = warm.waiting.get_mut(app).and_then(VecDeque::pop_front) {
        match waiting.send(instance) {
            Ok(()) => {
                warm.set.claimed(app);
                return None;
            }
            Err(returned) => instance = returned,
        }
    }
    Some(instance)
}
