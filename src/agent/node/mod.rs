//! One node of the fleet: carries out what the warm set commands; [`invoke`] executes invocations, [`fetching`]
//! gets their code, [`totals`] tells people.

mod fetching;
mod invoke;
mod totals;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::sync::{Notify, Semaphore, oneshot};
use tracing::{debug, info};

use crate::config;
use crate::model::{Decision, Version, now_ms};
use crate::telemetry::AgentMetrics;

use super::backend::action::Init;
use super::backend::{Backends, Runtime};
use super::budget::{Budget, Place};
use super::events::Events;
use super::journal::{self, Journal};
use super::pool::{Pools, Stem};
use super::prefetch::{CodeStore, Need};
use super::registry::{AppSpec, Registry};
use super::warm_set::{Unload, WarmSet};
use totals::Counts;

pub use invoke::{InvokeError, Outcome, Request};
pub use totals::Totals;

/// After a load ahead of time failed, and after a pool could not be filled.
const RETRY: Duration = Duration::from_secs(10);
/// How often to look for runtimes that ended by themselves, and to refresh the gauges.
const EVERY_SECOND: Duration = Duration::from_secs(1);
const HOUR_MS: f64 = 3_600_000.0;
/// How long invocations under way may take to finish when the node ends.
const GRACE: Duration = Duration::from_secs(10);

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
    backends: Backends,
    code: CodeStore,
    registry: Registry,
    events: Events,
    journal: Journal,
    metrics: AgentMetrics,
    counts: Counts,
    /// What may be alive, and how many runtimes may be created or loaded at once; some of them ahead of time.
    budget: Budget,
    loading: Semaphore,
    ahead: Arc<Semaphore>,
    /// Something was let go of, or became idle: who waits for room tries again.
    room: Notify,
    /// Invocations that wait for room.
    queued: AtomicUsize,
    /// The next due moment may have changed.
    wake: Notify,
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
}

/// Where a runtime for an app comes from.
enum Origin {
    /// Unspecialised, from a pool.
    Pooled(Stem),
    /// With the code of another app of the same tenant.
    Used(Stem),
    /// Yet to be started, in this place.
    New(Place),
}

/// A runtime with an app's code.
struct Instance {
    runtime: Runtime,
    spec: Arc<AppSpec>,
    loaded: Instant,
    uses: u64,
    place: Place,
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
        backends: Backends,
        code: CodeStore,
        registry: Registry,
        events: Events,
        metrics: AgentMetrics,
    ) -> Self {
        let retry_ms = RETRY.as_millis() as i64;
        let hour_ms = (HOUR_MS / speed) as i64;
        let warm = Warm { set: WarmSet::new(settings.default_keep_alive.0, retry_ms), waiting: HashMap::new() };
        let node = Self(Arc::new(Inner {
            name: settings.node_name(),
            speed,
            clock: Clock { began_ms: now_ms(), began: Instant::now() },
            warm: Mutex::new(warm),
            pools: Mutex::new(Pools::new(&settings.runtimes, settings.pool_quantile, hour_ms)),
            backends,
            code,
            registry,
            events,
            journal: Journal::default(),
            metrics,
            counts: Counts::default(),
            budget: Budget::new(settings.max_runtimes, settings.memory_mb()),
            room: Notify::new(),
            queued: AtomicUsize::new(0),
            loading: Semaphore::new(settings.max_loading),
            ahead: Arc::new(Semaphore::new(settings.max_loading.div_ceil(2))),
            wake: Notify::new(),
            feed_connected: AtomicBool::new(false),
            decisions_read: AtomicBool::new(false),
            apps_read: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            settings: settings.clone(),
        }));
        for app in node.0.registry.all().keys() {
            node.0.code.want(app, Need::SOME_DAY);
        }
        node
    }

    // ── Decisions ────────────────────────────────────────────────────────────────────────────────────────────────

    /// Takes a decision of a partition of the control topic over.
    pub(super) fn decide(&self, decision: &Decision, partition: i32) {
        let (unloads, acts) = {
            let mut warm = self.warm();
            // Under the lock: an app that is registered right now is either seen here, or finds the decision.
            let loadable = self.0.registry.get(&decision.app).is_some();
            let unloads = warm.set.decide(decision, partition, loadable, self.now_ms());
            (unloads, warm.set.has_begun(partition))
        };
        let Some(unloads) = unloads else { return };
        self.0.metrics.decisions.inc();
        self.want_code_for(decision);
        // While its partition is read for the first time, nothing follows.
        if acts {
            self.carry_out(unloads);
        } else {
            self.end(unloads);
        }
    }

    pub(super) fn forget(&self, app: &str, version: Option<Version>) {
        let unloads = self.warm().set.forget(app, version, self.now_ms());
        self.carry_out(unloads);
    }

    /// A partition of the control topic has been read for the first time.
    pub(super) fn begin(&self, partition: i32) {
        let unloads = self.warm().set.begin(partition, self.now_ms());
        self.carry_out(unloads);
    }

    /// Another node acts on the decisions of a partition from now on.
    pub(super) fn lose(&self, partition: i32) {
        let unloads = self.warm().set.lose(partition, self.now_ms());
        self.carry_out(unloads);
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
        let timing = async {
            let mut looked_around = Instant::now();
            loop {
                self.refill();
                if looked_around.elapsed() >= EVERY_SECOND {
                    looked_around = Instant::now();
                    self.bury();
                    let surplus = self.pools().shrink(self.now_ms());
                    drop(surplus);
                    self.report();
                }
                let (unloads, next_ms) = {
                    let now_ms = self.now_ms();
                    let mut warm = self.warm();
                    (warm.set.tick(now_ms), warm.set.next_due_ms())
                };
                self.end(unloads);
                self.load_what_is_wanted();
                let wait_ms = next_ms.map_or(1000, |next_ms| (next_ms - self.now_ms()).clamp(0, 1000));
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(wait_ms.unsigned_abs())) => {}
                    () = self.0.wake.notified() => {}
                }
            }
        };
        tokio::join!(self.fetch_ahead(), timing, self.0.backends.prepare());
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
        self.0.backends.close().await;
        let node = self.clone();
        let _ = tokio::task::spawn_blocking(move || node.0.events.finish()).await;
    }

    /// Ends what the warm set lets go of, and has the loop look at what is due next.
    fn carry_out(&self, unloads: Vec<Unload<Instance>>) {
        self.end(unloads);
        self.0.room.notify_waiters();
        self.0.wake.notify_one();
    }

    fn end(&self, unloads: Vec<Unload<Instance>>) {
        for Unload { app, instance, why } in unloads {
            drop(instance);
            self.0.metrics.unloads.inc();
            self.note(&app, journal::Kind::Unloaded, why);
        }
    }

    /// Begins to load ahead of time, as many at once as may be: the rest waits in the order of its urgency, not of its arrival.
    fn load_what_is_wanted(&self) {
        while let Ok(turn) = Arc::clone(&self.0.ahead).try_acquire_owned() {
            let Some(app) = self.warm().set.next_load(self.now_ms()) else { return };
            let node = self.clone();
            tokio::spawn(async move {
                let unloads = node.load_ahead(&app).await;
                drop(turn);
                node.carry_out(unloads);
            });
        }
    }

    async fn load_ahead(&self, app: &str) -> Vec<Unload<Instance>> {
        let began = Instant::now();
        let loaded = match self.0.registry.get(app) {
            // Its code first: an app without it must not make room for itself.
            Some(spec) => {
                match self.bring_code(app, &spec).await.and_then(|code| Ok((code, self.place(&spec, Some(app))?))) {
                    // A pooled runtime is left for those who can't wait.
                    Ok((code, place)) => self.load(app, spec, std::future::ready(Ok(code)), Origin::New(place)).await,
                    Err(error) => Err(error),
                }
            }
            None => Err(InvokeError::UnknownApp(app.to_owned())),
        };
        let now_ms = self.now_ms();
        match loaded {
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
        }
    }

    /// Takes runtimes that ended by themselves out of the books.
    fn bury(&self) {
        let now_ms = self.now_ms();
        for name in self.pools().bury(now_ms) {
            let hint = self.0.settings.runtimes.get(&name).map(config::RuntimeKind::origin).unwrap_or_default();
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
                let Some(place) = node.place_in_pool(memory_mb) else {
                    node.pools().not_started(&name, node.now_ms());
                    return;
                };
                let began = Instant::now();
                match node.0.backends.start(&name, memory_mb).await {
                    Ok(runtime) => {
                        let took_ms = began.elapsed().as_millis() as i64;
                        node.pools().started(&name, (runtime, place), took_ms, node.now_ms());
                        // There may be more to start.
                        node.0.wake.notify_one();
                    }
                    Err(error) => {
                        if node.pools().not_started(&name, node.now_ms()) {
                            info!("{error}; apps of this kind can't run here until that is mended");
                        }
                    }
                }
            });
        }
    }

    /// A place for one more pooled runtime, if need be that of one that is too many in another pool.
    fn place_in_pool(&self, memory_mb: f64) -> Option<Place> {
        loop {
            if let Some(place) = self.0.budget.take(memory_mb) {
                return Some(place);
            }
            drop(self.pools().give_surplus(self.now_ms())?);
        }
    }

    /// Loads an app whose `code` is brought meanwhile.
    async fn load(
        &self,
        app: &str,
        spec: Arc<AppSpec>,
        code: impl Future<Output = Result<Option<Bytes>, InvokeError>>,
        origin: Origin,
    ) -> Result<Instance, InvokeError> {
        let began = Instant::now();
        let is_pooled = matches!(origin, Origin::Pooled(_));
        let stem = async {
            match origin {
                Origin::Pooled(stem) | Origin::Used(stem) => Ok(stem),
                Origin::New(place) => {
                    let _turn = self.0.loading.acquire().await.map_err(|_| InvokeError::Closing)?;
                    let started = self.0.backends.start(&spec.runtime, spec.memory_mb).await;
                    let runtime = started.map_err(|source| InvokeError::Start { app: app.to_owned(), source })?;
                    Ok((runtime, place))
                }
            }
        };
        // A server that does not answer must not take a turn that others need.
        let (code, stem) = tokio::join!(code, stem);
        let (code, (mut runtime, place)) = match (code, stem) {
            (Ok(code), stem) => (code, stem?),
            (Err(error), stem) => {
                if is_pooled && let Ok(stem) = stem {
                    self.give_back(&spec.runtime, stem);
                }
                return Err(error);
            }
        };
        let _turn = self.0.loading.acquire().await.map_err(|_| InvokeError::Closing)?;
        let code = match code {
            Some(code) => code,
            None => self.code(app, &spec).await?,
        };
        self.init(app, &mut runtime, &spec, &code).await?;
        self.0.metrics.load_seconds.observe(began.elapsed().as_secs_f64());
        Ok(Instance { runtime, spec, loaded: Instant::now(), uses: 0, place })
    }

    async fn init(&self, app: &str, runtime: &mut Runtime, spec: &AppSpec, code: &[u8]) -> Result<(), InvokeError> {
        let limit = self.0.settings.init_timeout.duration();
        let init = Init { name: app, main: &spec.main, code };
        let specialised = runtime.specialise(&init, spec.memory_mb, limit).await;
        specialised.map_err(|source| InvokeError::Init { app: app.to_owned(), source })
    }

    /// Puts a pooled runtime back that was taken for an app and not touched.
    fn give_back(&self, name: &str, (runtime, mut place): Stem) {
        let memory_mb = self.0.settings.runtimes.get(name).map_or(0.0, |kind| kind.memory_mb);
        if self.0.budget.resize(&mut place, memory_mb) {
            self.pools().put_back(name, (runtime, place), self.now_ms());
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
    fn is_usable(&self, spec: &Arc<AppSpec>, settings: &config::Agent) -> bool {
        Arc::ptr_eq(&self.spec, spec) && !self.runtime.has_died() && self.worn(settings).is_none()
    }

    /// Whether it may take the code of an app of `spec`, by agent.isolation = "tenant". What limits its memory can't always be
    /// raised again.
    fn is_fit(&self, spec: &AppSpec) -> bool {
        let same_tenant = spec.tenant.is_some() && self.spec.tenant == spec.tenant;
        same_tenant
            && spec.memory_mb <= self.spec.memory_mb
            && self.spec.runtime == spec.runtime
            && !self.runtime.has_died()
    }

    /// Why it is to execute nothing more.
    fn worn(&self, settings: &config::Agent) -> Option<String> {
        let max_age = settings.max_age.duration();
        if settings.max_uses > 0 && self.uses >= settings.max_uses {
            return Some(format!("used {} times (agent.max_uses)", self.uses));
        }
        let is_old = !max_age.is_zero() && self.loaded.elapsed() >= max_age;
        is_old.then(|| "old (agent.max_age)".to_owned())
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
