//! One node of the fleet: carries out what the warm set wants; [`invoke`] executes invocations, [`loading`] has their
//! apps loaded, [`fetching`] gets their code, [`totals`] tells people.

mod clock;
mod fetching;
mod invoke;
mod loading;
mod totals;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, oneshot};
use tracing::{debug, info};

use crate::config;
use crate::model::{Decision, Version};
use crate::telemetry::AgentMetrics;

use super::backend::{Backends, Runtime};
use super::budget::{Budget, Place};
use super::events::Events;
use super::journal::{self, Journal};
use super::pool::Pools;
use super::prefetch::{CodeStore, Need};
use super::registry::{AppSpec, Registry};
use super::warm_set::{Unload, WarmSet};
use clock::Clock;
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

/// A runtime with an app's code.
struct Instance {
    runtime: Runtime,
    spec: Arc<AppSpec>,
    loaded: Instant,
    uses: u64,
    place: Place,
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
            clock: Clock::new(),
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
        let decision = &*self.0.clock.decision(decision);
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

    fn note(&self, app: &str, kind: journal::Kind, detail: impl Into<String>) {
        let detail = detail.into();
        debug!(app, ?kind, "{detail}");
        self.0.journal.add(self.wall_ms(), app, kind, detail);
    }

    fn is_closing(&self) -> bool {
        self.0.closing.load(Ordering::Relaxed)
    }

    fn now_ms(&self) -> i64 {
        self.0.clock.now_ms()
    }

    /// Now, as it is told to others.
    fn wall_ms(&self) -> i64 {
        self.0.clock.wall_ms(self.now_ms())
    }

    fn warm(&self) -> MutexGuard<'_, Warm> {
        self.0.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.0.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
