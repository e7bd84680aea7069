//! Having apps loaded: for invocations, and ahead of them.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use hyper::body::Bytes;
use tokio::sync::SemaphorePermit;
use tracing::debug;

use crate::agent::backend::Runtime;
use crate::agent::backend::action::Init;
use crate::agent::budget::Place;
use crate::agent::journal;
use crate::agent::pool::Stem;
use crate::agent::registry::AppSpec;
use crate::agent::warm_set::Unload;
use crate::config;

use super::{Instance, InvokeError, Node, Warm};

/// Where a runtime for an app comes from.
pub(super) enum Origin {
    /// Unspecialised, from a pool.
    Pooled(Stem),
    /// With the code of another app of the same tenant.
    Used(Stem),
    /// Yet to be started, in this place.
    New(Place),
}

impl Node {
    /// Begins to load ahead of time, as many at once as may be: the rest waits in the order of its urgency, not of its arrival.
    pub(super) fn load_what_is_wanted(&self) {
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

    /// One of the turns to create runtimes and load code into them, of which there are so many that a storm of loads does not
    /// slow down each of them.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, InvokeError> {
        self.0.loading.acquire().await.map_err(|_| InvokeError::Closing)
    }

    /// Loads an app whose `code` is brought meanwhile.
    pub(super) async fn load(
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
                Origin::Pooled(stem) | Origin::Used(stem) => Ok((stem, None)),
                Origin::New(place) => {
                    let turn = self.turn().await?;
                    let started = self.0.backends.start(&spec.runtime, spec.memory_mb).await;
                    let runtime = started.map_err(|source| InvokeError::Start { app: app.to_owned(), source })?;
                    Ok(((runtime, place), Some(turn)))
                }
            }
        };
        let (code, stem) = {
            let (mut code, mut stem) = (pin!(code), pin!(stem));
            tokio::select! {
                biased;
                code = &mut code => (code, stem.await),
                // A server that does not answer must not take a turn that others need.
                stem = &mut stem => {
                    let stem = stem.map(|(stem, _turn)| (stem, None));
                    (code.await, stem)
                }
            }
        };
        let (code, ((mut runtime, place), turn)) = match (code, stem) {
            (Ok(code), stem) => (code, stem?),
            (Err(error), stem) => {
                if is_pooled && let Ok((stem, _)) = stem {
                    self.give_back(&spec.runtime, stem);
                }
                return Err(error);
            }
        };
        // The same turn, if it can be: a runtime that was started has most of its own start still to do.
        let _turn = match turn {
            Some(turn) => turn,
            None => self.turn().await?,
        };
        let code = match code {
            Some(code) => code,
            None => self.code(app, &spec).await?,
        };
        self.init(app, &mut runtime, &spec, &code).await?;
        self.0.metrics.load_seconds.observe(began.elapsed().as_secs_f64());
        Ok(Instance { runtime, spec, loaded: Instant::now(), uses: 0, place })
    }

    pub(super) async fn init(
        &self,
        app: &str,
        runtime: &mut Runtime,
        spec: &AppSpec,
        code: &[u8],
    ) -> Result<(), InvokeError> {
        let limit = self.0.settings.init_timeout.duration();
        let init = Init { name: app, main: &spec.main, code };
        let specialised = runtime.specialise(&init, spec.memory_mb, limit).await;
        specialised.map_err(|source| InvokeError::Init { app: app.to_owned(), source })
    }

    /// Puts a pooled runtime back that was taken for an app and not touched.
    pub(super) fn give_back(&self, name: &str, (runtime, mut place): Stem) {
        let memory_mb = self.0.settings.runtimes.get(name).map_or(0.0, |kind| kind.memory_mb);
        if self.0.budget.resize(&mut place, memory_mb) {
            self.pools().put_back(name, (runtime, place), self.now_ms());
        }
    }

    /// A place for one more runtime, made by ending idle ones if need be. For an app that is loaded `ahead` of time only those
    /// that are worth less.
    pub(super) fn place(&self, spec: &AppSpec, ahead: Option<&str>) -> Result<Place, InvokeError> {
        self.make_room(spec.memory_mb, ahead, || self.0.budget.take(spec.memory_mb))
    }

    /// Makes the place of a pooled runtime one for the app that is loaded into it.
    pub(super) fn resize(&self, place: &mut Place, spec: &AppSpec) -> Result<(), InvokeError> {
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
}

impl Instance {
    pub(super) fn is_usable(&self, spec: &Arc<AppSpec>, settings: &config::Agent) -> bool {
        Arc::ptr_eq(&self.spec, spec) && !self.runtime.has_died() && self.worn(settings).is_none()
    }

    /// Whether it may take the code of an app of `spec`, by agent.isolation = "tenant". What limits its memory can't always be
    /// raised again.
    pub(super) fn is_fit(&self, spec: &AppSpec) -> bool {
        let same_tenant = spec.tenant.is_some() && self.spec.tenant == spec.tenant;
        same_tenant
            && spec.memory_mb <= self.spec.memory_mb
            && self.spec.runtime == spec.runtime
            && !self.runtime.has_died()
    }

    /// Why it is to execute nothing more.
    pub(super) fn worn(&self, settings: &config::Agent) -> Option<String> {
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
