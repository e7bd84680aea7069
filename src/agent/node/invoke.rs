//! Executing invocations.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::agent::backend::StartError;
use crate::agent::backend::action::{self, Run};
use crate::agent::registry::AppSpec;
use crate::agent::{journal, prefetch};
use crate::config::Isolation;
use crate::ingest::MAX_NAME_BYTES;
use crate::model::{Invocation, Status, Temperature, Trigger};
use crate::telemetry::Kind;

use super::loading::Origin;
use super::{Instance, Node};

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
    /// Whether it may wait for room.
    pub waits: bool,
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
    #[error(
        "this node is full of functions that execute (agent.max_runtimes = {runtimes}, agent.memory_mb = {memory_mb}): try again"
    )]
    Full {
        /// Runtimes that may be alive.
        runtimes: usize,
        /// Memory that they may take together, MB.
        memory_mb: u32,
    },
    /// It would not fit if nothing else were there.
    #[error("the app takes {memory_mb} MB, and this node has {of_mb} MB: raise agent.memory_mb, or declare less")]
    TooLarge {
        /// What the app declares, MB.
        memory_mb: f64,
        /// What there is, MB.
        of_mb: u32,
    },
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
            | InvokeError::Full { .. }
            | InvokeError::TooLarge { .. }
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

/// What there is of an app.
enum Found {
    Loaded(Instance, Temperature),
    Loading(oneshot::Receiver<Instance>),
    Nothing,
}

impl Node {
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
        let started_at_ms = self.wall_ms();
        let id = format!("{:032x}", rand::random::<u128>());
        let spec = self.spec(&request.app)?;

        let acquired = self.acquire_in_time(&request, &spec).await;
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
            deadline_ms: self.wall_ms() + limit.as_millis() as i64,
            value: &request.arguments,
        };
        let result = instance.runtime.run(&run, limit).await;
        let now_ms = self.now_ms();
        let ended = match &result {
            Ok(answer) if answer.ok => "ok".to_owned(),
            Ok(_) => "the function failed".to_owned(),
            Err(error) => error.to_string(),
        };
        self.note(&request.app, journal::Kind::Ended, ended);
        instance.uses += 1;
        let no_more = match &result {
            Ok(_) => instance.worn(&self.0.settings),
            Err(error) => Some(error.to_string()),
        };
        let unloads = if let Some(why) = no_more {
            drop(instance);
            self.0.metrics.unloads.inc();
            self.note(&request.app, journal::Kind::Unloaded, format!("its runtime was ended: {why}"));
            self.warm().set.lost(&request.app, now_ms)
        } else {
            let memory_mb = instance.spec.memory_mb;
            self.warm().set.release(&request.app, instance, memory_mb, now_ms)
        };
        self.carry_out(unloads);
        result.map_err(|source| InvokeError::Run {
            app: request.app.clone(),
            function: request.function.clone(),
            source,
        })
    }

    /// The same as [`Node::acquire`], waiting while the node is full of functions that execute: a burst takes its turns.
    async fn acquire_in_time(&self, request: &Request, spec: &Arc<AppSpec>) -> Result<(Instance, Source), InvokeError> {
        let deadline = tokio::time::Instant::now() + self.0.settings.max_wait.duration();
        let mut queued = None;
        loop {
            let mut room = std::pin::pin!(self.0.room.notified());
            // Before trying, so that what is let go of meanwhile is not missed.
            room.as_mut().enable();
            let acquired = self.acquire(&request.app, spec).await;
            let is_full = matches!(acquired, Err(InvokeError::Full { .. }));
            if !is_full || !request.waits || self.is_closing() {
                return acquired;
            }
            if queued.is_none() {
                if self.0.queued.load(Ordering::Relaxed) >= self.0.settings.max_waiting {
                    return acquired;
                }
                queued = Some(UnderWay::begin(&self.0.queued));
            }
            if tokio::time::timeout_at(deadline, room).await.is_err() {
                return acquired;
            }
        }
    }

    /// An instance for an invocation: one that is loaded, one that is being loaded, or one loaded now.
    async fn acquire(&self, app: &str, spec: &Arc<AppSpec>) -> Result<(Instance, Source), InvokeError> {
        let waiting = loop {
            match self.find(app, spec) {
                Found::Loaded(instance, temperature) => {
                    if let Some(instance) = self.renew(app, instance, temperature).await {
                        return Ok((instance, Source::Found(temperature)));
                    }
                    self.warm().set.discard(app);
                }
                Found::Loading(waiting) => break Some(waiting),
                Found::Nothing => break None,
            }
        };
        if let Some(waiting) = waiting
            && let Ok(instance) = waiting.await
        {
            if instance.is_usable(spec, &self.0.settings) {
                return Ok((instance, Source::AwaitedAhead));
            }
            self.warm().set.discard(app);
        }
        let began = Instant::now();
        let stem = self.pools().take(&spec.runtime, self.now_ms());
        self.0.wake.notify_one();
        let (origin, temperature) = match stem {
            Some((runtime, mut place)) => match self.resize(&mut place, spec) {
                Ok(()) => (Origin::Pooled((runtime, place)), Temperature::Prewarmed),
                Err(error) => {
                    self.pools().put_back(&spec.runtime, (runtime, place), self.now_ms());
                    return Err(error);
                }
            },
            None => {
                self.0.metrics.pool_misses.inc();
                if let Some(instance) = self.take_from_tenant(app, spec).await {
                    self.warm().set.start_busy(app, self.now_ms());
                    return Ok((instance, Source::Loaded(Temperature::Prewarmed)));
                }
                (Origin::New(self.place(spec, None)?), Temperature::Cold)
            }
        };
        let instance = self.load(app, Arc::clone(spec), self.bring_code(app, spec), origin).await?;
        let took_ms = began.elapsed().as_millis() as i64;
        self.note(app, journal::Kind::Loaded, format!("in {took_ms} ms ({})", temperature.as_str()));
        let mut warm = self.warm();
        warm.set.note_load(app, took_ms);
        warm.set.start_busy(app, self.now_ms());
        Ok((instance, Source::Loaded(temperature)))
    }

    /// What there is of an app: an instance, which counts as executing from now on, or one that is being loaded and not waited
    /// for by others.
    fn find(&self, app: &str, spec: &Arc<AppSpec>) -> Found {
        let mut warm = self.warm();
        while let Some((instance, temperature)) = warm.set.acquire(app, self.now_ms()) {
            if instance.is_usable(spec, &self.0.settings) {
                return Found::Loaded(instance, temperature);
            }
            warm.set.discard(app);
        }
        let loading = warm.set.loading(app);
        let queue = warm.waiting.entry(app.to_owned()).or_default();
        queue.retain(|waiting| !waiting.is_closed());
        if queue.len() < loading {
            let (sender, receiver) = oneshot::channel();
            queue.push_back(sender);
            return Found::Loading(receiver);
        }
        if queue.is_empty() {
            warm.waiting.remove(app);
        }
        Found::Nothing
    }

    /// The instance with its code loaded anew, where agent.reset wants that before each further use; none if that failed.
    async fn renew(&self, app: &str, mut instance: Instance, temperature: Temperature) -> Option<Instance> {
        if !self.0.settings.reset || temperature != Temperature::Warm {
            return Some(instance);
        }
        let renewed = match self.code(app, &instance.spec).await {
            Ok(code) => self.init(app, &mut instance.runtime, &instance.spec, &code).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &renewed {
            self.note(app, journal::Kind::Unloaded, format!("its code could not be loaded anew: {error}"));
        }
        renewed.is_ok().then_some(instance)
    }

    /// A runtime that was loaded for another app of the same tenant, with this one's code, where that may be.
    async fn take_from_tenant(&self, app: &str, spec: &Arc<AppSpec>) -> Option<Instance> {
        if self.0.settings.isolation != Isolation::Tenant {
            return None;
        }
        let taken = self.warm().set.take_fit(|instance| instance.is_fit(spec), self.now_ms());
        let (other, Instance { runtime, mut place, loaded, uses, .. }) = taken?;
        self.0.metrics.unloads.inc();
        self.note(&other, journal::Kind::Unloaded, format!("its runtime was given to '{app}' of the same tenant"));
        self.resize(&mut place, spec).ok()?;
        let origin = Origin::Used((runtime, place));
        let began = Instant::now();
        match self.load(app, Arc::clone(spec), self.bring_code(app, spec), origin).await {
            Ok(instance) => {
                self.note(
                    app,
                    journal::Kind::Loaded,
                    format!("in {} ms (from '{other}')", began.elapsed().as_millis()),
                );
                Some(Instance { loaded, uses, ..instance })
            }
            // A runtime that takes code only once: this one has a new one then.
            Err(error) => {
                self.note(app, journal::Kind::LoadFailed, error.to_string());
                None
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
            // Code within its own reference would make every event as large as itself; a query may be a signature.
            code: prefetch::is_public(&spec.code.uri).then(|| spec.code.clone()),
            ..Invocation::new(&request.app, &request.function, started_at_ms, round(duration_ms))
        });
    }
}
