//! One node of the fleet: carries out what the warm set commands, and executes invocations.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use serde_json::value::RawValue;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::{debug, info, warn};

use crate::config;
use crate::model::{Code, Decision, Invocation, Status, Temperature, Trigger, Version, now_ms};
use crate::telemetry::{AgentMetrics, Kind};

use crate::ingest::MAX_NAME_BYTES;

use super::backend::action::{self, Init, Run};
use super::backend::process::{Runtime, StartError};
use super::events::Events;
use super::journal::{self, Journal};
use super::pool::{PoolView, Pools, Stem};
use super::prefetch::{self, CodeCache};
use super::registry::{AppSpec, Registry};
use super::warm_set::{AppView, Command, WarmSet};

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
    /// Runtimes that may be alive, and that may be created or loaded at once.
    places: Arc<Semaphore>,
    loading: Semaphore,
    /// The next due moment may have changed.
    wake: Notify,
    prefetches: mpsc::Sender<Code>,
    prefetch_queue: Mutex<Option<mpsc::Receiver<Code>>>,
    feed_connected: AtomicBool,
    caught_up: AtomicBool,
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
    _place: OwnedSemaphorePermit,
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

#[derive(Default)]
struct Counts {
    cold: AtomicU64,
    specialised: AtomicU64,
    ahead: AtomicU64,
    warm: AtomicU64,
    failed: AtomicU64,
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

/// One invocation to execute.
#[derive(Debug)]
pub struct Request {
    /// The app.
    pub app: String,
    /// The function.
    pub function: String,
    /// The arguments: a JSON object.
    pub arguments: Box<RawValue>,
    /// What caused it, where known.
    pub trigger: Option<Trigger>,
}

/// One invocation that was executed.
#[derive(Debug)]
pub struct Outcome {
    /// Id of the invocation.
    pub id: String,
    /// What it found.
    pub temperature: Temperature,
    /// How long it waited for its app to be loaded, ms.
    pub init_ms: f64,
    /// From arrival to answer, ms.
    pub duration_ms: f64,
    /// Whether the function says that it went well.
    pub ok: bool,
    /// Its answer: a JSON object.
    pub body: Bytes,
}

/// Why an invocation was not executed, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// Nobody registered the app.
    #[error("app '{0}' is not known here: register it with PUT /apps/{0}, or in the file agent.apps")]
    UnknownApp(String),
    /// The app's runtime kind is not configured.
    #[error("app '{app}' needs the runtime '{runtime}', which is not configured: expected one of {known}")]
    UnknownRuntime {
        /// The app.
        app: String,
        /// The kind that it needs.
        runtime: String,
        /// The kinds that there are.
        known: String,
    },
    /// No room for one more runtime.
    #[error("this node runs as many runtimes as it may ({0}), all of them executing: try again")]
    Full(usize),
    /// The app's code can't be had.
    #[error("app '{app}' can't be loaded: {source}")]
    Code {
        /// The app.
        app: String,
        /// Why not.
        source: prefetch::Error,
    },
    /// The app's code takes too long to read.
    #[error("app '{app}' can't be loaded: its code could not be read within {} ms", limit.as_millis())]
    SlowCode {
        /// The app.
        app: String,
        /// The limit.
        limit: Duration,
    },
    /// The runtime can't be started.
    #[error("app '{app}' can't be loaded: {source}")]
    Start {
        /// The app.
        app: String,
        /// Why not.
        source: StartError,
    },
    /// The code can't be loaded.
    #[error("app '{app}' can't be loaded: {source}")]
    Init {
        /// The app.
        app: String,
        /// Why not.
        source: action::Error,
    },
    /// The execution broke off; its runtime was replaced.
    #[error("function '{function}' of app '{app}' broke off: {source}")]
    Run {
        /// The app.
        app: String,
        /// The function.
        function: String,
        /// How.
        source: action::Error,
    },
    /// A name that no event could carry.
    #[error("the function's name has {0} bytes: expected 1 to {MAX_NAME_BYTES}")]
    FunctionName(usize),
    /// The node is ending.
    #[error("this node is shutting down: try another")]
    Closing,
}

impl InvokeError {
    /// How the invocation's event names it; `None` where nothing was tried.
    pub fn status(&self) -> Option<Status> {
        match self {
            InvokeError::UnknownApp(_)
            | InvokeError::UnknownRuntime { .. }
            | InvokeError::Full(_)
            | InvokeError::FunctionName(_)
            | InvokeError::Closing => None,
            InvokeError::Run { source: action::Error::Timeout { .. }, .. } => Some(Status::Timeout),
            InvokeError::Run { .. } => Some(Status::Error),
            InvokeError::Code { .. }
            | InvokeError::SlowCode { .. }
            | InvokeError::Start { .. }
            | InvokeError::Init { .. } => Some(Status::InitFailed),
        }
    }
}

/// Counts an invocation as under way until it is dropped.
struct UnderWay<'a>(&'a AtomicUsize);

impl<'a> UnderWay<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where an instance for an invocation came from.
enum Source {
    Found(Temperature),
    /// Was being loaded ahead of time, and waited for.
    AwaitedAhead,
    /// Loaded for it; from the pool or from nothing.
    Loaded(Temperature),
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
            places: Arc::new(Semaphore::new(settings.max_runtimes)),
            loading: Semaphore::new(settings.max_loading),
            wake: Notify::new(),
            prefetches,
            prefetch_queue: Mutex::new(Some(prefetch_queue)),
            feed_connected: AtomicBool::new(false),
            caught_up: AtomicBool::new(false),
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

    pub(super) fn decide(&self, decision: &Decision) {
        self.0.registry.learn(decision);
        let loadable = self.0.registry.get(&decision.app).is_some();
        let commands = self.warm().set.decide(decision, loadable, self.now_ms());
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

    /// The feed has been read for the first time.
    pub(super) fn begin(&self) {
        self.0.caught_up.store(true, Ordering::Relaxed);
        let commands = self.warm().set.begin(self.now_ms());
        self.carry_out(commands);
    }

    pub(super) fn set_feed_connected(&self, connected: bool) {
        self.0.feed_connected.store(connected, Ordering::Relaxed);
        self.0.metrics.connected.set(i64::from(connected));
    }

    /// Whether the feed of decisions is connected and has been read.
    pub fn is_ready(&self) -> bool {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        is(&self.0.feed_connected) && is(&self.0.caught_up) && !self.is_closing()
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
            Some(spec) => match self.place() {
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
                let Ok(place) = Arc::clone(&node.0.places).try_acquire_owned() else {
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

    // ── Invocations ──────────────────────────────────────────────────────────────────────────────────────────────

    /// Executes one invocation and publishes its event. Goes on to its end even if nobody waits for the answer.
    pub async fn invoke(&self, request: Request) -> Result<Outcome, InvokeError> {
        let node = self.clone();
        let task = tokio::spawn(async move { node.invoke_here(request).await });
        task.await.unwrap_or(Err(InvokeError::Closing))
    }

    async fn invoke_here(&self, request: Request) -> Result<Outcome, InvokeError> {
        let _under_way = UnderWay::begin(&self.0.under_way);
        if self.is_closing() {
            return Err(InvokeError::Closing);
        }
        if request.function.is_empty() || request.function.len() > MAX_NAME_BYTES {
            return Err(InvokeError::FunctionName(request.function.len()));
        }
        let began = Instant::now();
        let started_at_ms = self.now_ms();
        let id = format!("{:032x}", rand::random::<u128>());
        let spec = self.spec(&request.app)?;

        let acquired = self.acquire(&request.app, &spec).await;
        let init_ms = began.elapsed().as_secs_f64() * 1000.0;
        let (result, temperature, init_ms) = match acquired {
            Err(error) => (Err(error), Temperature::Cold, init_ms),
            Ok((instance, source)) => {
                let (temperature, init_ms) = match source {
                    Source::Found(temperature) => (temperature, 0.0),
                    Source::AwaitedAhead => (Temperature::Prewarmed, init_ms),
                    Source::Loaded(temperature) => (temperature, init_ms),
                };
                self.count(temperature, &source);
                self.note(&request.app, journal::Kind::Started, temperature.as_str());
                (self.execute(instance, &request, &id).await, temperature, init_ms)
            }
        };
        let duration_ms = began.elapsed().as_secs_f64() * 1000.0;
        let status = match &result {
            Ok(answer) if answer.ok => Some(Status::Ok),
            Ok(_) => Some(Status::Error),
            Err(error) => error.status(),
        };
        if let Some(status) = status {
            self.publish(&request, &spec, &id, started_at_ms, duration_ms, init_ms, temperature, status);
        }
        let answer = result?;
        Ok(Outcome { id, temperature, init_ms, duration_ms, ok: answer.ok, body: answer.body })
    }

    async fn execute(
        &self,
        mut instance: Instance,
        request: &Request,
        id: &str,
    ) -> Result<action::Answer, InvokeError> {
        let limit = self.0.settings.run_timeout.duration();
        let run = Run {
            app: &request.app,
            function: &request.function,
            activation_id: id,
            deadline_ms: self.now_ms() + limit.as_millis() as i64,
            value: &request.arguments,
        };
        let result = instance.runtime.client.run(&run, limit).await;
        let now_ms = self.now_ms();
        let ended = match &result {
            Ok(answer) if answer.ok => "ok".to_owned(),
            Ok(_) => "the function failed".to_owned(),
            Err(error) => error.to_string(),
        };
        self.note(&request.app, journal::Kind::Ended, ended);
        let commands = match &result {
            Ok(_) => {
                let memory_mb = instance.spec.memory_mb;
                self.warm().set.release(&request.app, instance, memory_mb, now_ms)
            }
            Err(error) => {
                drop(instance);
                self.0.metrics.unloads.inc();
                self.note(&request.app, journal::Kind::Unloaded, format!("its runtime was ended: {error}"));
                self.warm().set.lost(&request.app, now_ms)
            }
        };
        self.carry_out(commands);
        result.map_err(|source| InvokeError::Run {
            app: request.app.clone(),
            function: request.function.clone(),
            source,
        })
    }

    /// An instance for an invocation: one that is loaded, one that is being loaded, or one loaded now.
    async fn acquire(&self, app: &str, spec: &Arc<AppSpec>) -> Result<(Instance, Source), InvokeError> {
        let waiting = {
            let mut warm = self.warm();
            while let Some((instance, temperature)) = warm.set.acquire(app, self.now_ms()) {
                if instance.is_usable(spec) {
                    return Ok((instance, Source::Found(temperature)));
                }
                warm.set.discard(app);
            }
            let loading = warm.set.loading(app);
            let queue = warm.waiting.entry(app.to_owned()).or_default();
            queue.retain(|waiting| !waiting.is_closed());
            if queue.len() < loading {
                let (sender, receiver) = oneshot::channel();
                queue.push_back(sender);
                Some(receiver)
            } else {
                if queue.is_empty() {
                    warm.waiting.remove(app);
                }
                None
            }
        };
        if let Some(waiting) = waiting
            && let Ok(instance) = waiting.await
        {
            if instance.is_usable(spec) {
                return Ok((instance, Source::AwaitedAhead));
            }
            self.warm().set.discard(app);
        }
        let began = Instant::now();
        let stem = self.pools().take(&spec.runtime, self.now_ms());
        self.0.wake.notify_one();
        let (stem, temperature) = match stem {
            Some(stem) => (Ok(stem), Temperature::Prewarmed),
            None => {
                self.0.metrics.pool_misses.inc();
                (Err(self.place()?), Temperature::Cold)
            }
        };
        let instance = self.load(app, Arc::clone(spec), stem).await?;
        let took_ms = began.elapsed().as_millis() as i64;
        self.note(app, journal::Kind::Loaded, format!("in {took_ms} ms ({})", temperature.as_str()));
        let mut warm = self.warm();
        warm.set.note_load(app, took_ms);
        warm.set.start_busy(app);
        Ok((instance, Source::Loaded(temperature)))
    }

    /// Loads an app into a pooled runtime, or into a new one in a place of its own.
    async fn load(
        &self,
        app: &str,
        spec: Arc<AppSpec>,
        stem: Result<Stem, OwnedSemaphorePermit>,
    ) -> Result<Instance, InvokeError> {
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

    /// A place for one more runtime, made by ending one that is idle if need be.
    fn place(&self) -> Result<OwnedSemaphorePermit, InvokeError> {
        loop {
            if let Ok(place) = Arc::clone(&self.0.places).try_acquire_owned() {
                return Ok(place);
            }
            let now_ms = self.now_ms();
            let evicted = self.warm().set.evict(now_ms);
            if let Some((app, instance)) = evicted {
                drop(instance);
                self.0.metrics.unloads.inc();
                self.note(&app, journal::Kind::Unloaded, "evicted: the node is full");
                continue;
            }
            if self.pools().give_way(now_ms).is_none() {
                // What had died was let go of on the way.
                let place = Arc::clone(&self.0.places).try_acquire_owned();
                return place.map_err(|_| InvokeError::Full(self.0.settings.max_runtimes));
            }
        }
    }

    fn spec(&self, app: &str) -> Result<Arc<AppSpec>, InvokeError> {
        let spec = self.0.registry.get(app).ok_or_else(|| InvokeError::UnknownApp(app.to_owned()))?;
        if !self.0.settings.runtimes.contains_key(&spec.runtime) {
            let known: Vec<&str> = self.0.settings.runtimes.keys().map(String::as_str).collect();
            let (app, runtime) = (app.to_owned(), spec.runtime.clone());
            return Err(InvokeError::UnknownRuntime { app, runtime, known: known.join(", ") });
        }
        Ok(spec)
    }

    fn count(&self, temperature: Temperature, source: &Source) {
        let counts = &self.0.counts;
        let counter = match (temperature, source) {
            (Temperature::Cold, _) => &counts.cold,
            (Temperature::Prewarmed, Source::Loaded(_)) => &counts.specialised,
            (Temperature::Prewarmed, Source::Found(_) | Source::AwaitedAhead) => &counts.ahead,
            (Temperature::Warm, _) => &counts.warm,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.0.metrics.invocations.get_or_create(&Kind { kind: temperature.as_str() }).inc();
    }

    #[expect(clippy::too_many_arguments, reason = "one field of the event each")]
    fn publish(
        &self,
        request: &Request,
        spec: &AppSpec,
        id: &str,
        started_at_ms: i64,
        duration_ms: f64,
        init_ms: f64,
        temperature: Temperature,
        status: Status,
    ) {
        if status != Status::Ok {
            self.0.counts.failed.fetch_add(1, Ordering::Relaxed);
            let kind = match status {
                Status::Timeout => "timeout",
                Status::InitFailed => "init_failed",
                Status::Ok | Status::Error => "error",
            };
            self.0.metrics.failures.get_or_create(&Kind { kind }).inc();
        }
        let round = |ms: f64| (ms * 1000.0).round() / 1000.0;
        self.0.events.publish(&Invocation {
            id: Some(id.into()),
            tenant: spec.tenant.as_deref().map(Into::into),
            trigger: request.trigger,
            init_ms: (init_ms > 0.0).then(|| round(init_ms)),
            memory_mb: Some(spec.memory_mb),
            runtime: Some(spec.runtime.as_str().into()),
            status: Some(status),
            temperature: Some(temperature),
            node: Some(self.0.name.as_str().into()),
            // Code within its own reference needs no fetching, and would make every event as large as itself.
            code: (!spec.code.uri.starts_with("data:")).then(|| spec.code.clone()),
            ..Invocation::new(&request.app, &request.function, started_at_ms, round(duration_ms))
        });
    }

    // ── For people ───────────────────────────────────────────────────────────────────────────────────────────────

    /// Registers an app, or replaces it; what is loaded of an older version is not used again.
    pub fn register(&self, app: &str, spec: AppSpec) -> Result<(), super::registry::Error> {
        let code = spec.code.clone();
        self.0.registry.put(app, spec)?;
        self.prefetch(&code);
        let commands = self.warm().set.became_loadable(app, self.now_ms());
        self.carry_out(commands);
        Ok(())
    }

    /// The apps registered.
    pub fn apps(&self) -> std::collections::BTreeMap<String, Arc<AppSpec>> {
        self.0.registry.all()
    }

    /// What is loaded, and when that will change.
    pub fn warm_view(&self) -> Vec<AppView> {
        self.warm().set.view(self.now_ms())
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

    fn report(&self) {
        let totals = self.totals();
        self.0.metrics.idle_mb_s.set(totals.idle_mb_s);
        self.0.metrics.loaded.set(self.warm().set.loaded_instances() as i64);
        self.0.metrics.pooled.set(self.pools().waiting() as i64);
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
