//! One container, from its creation to its removal.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tracing::{debug, warn};

use crate::agent::backend::Life;
use crate::config::RuntimeKind;

use super::engine::{Engine, Error, Output};
use super::port::Port;

/// How long a container is idle before it is paused.
const PAUSE_AFTER: Duration = Duration::from_secs(1);
/// Waits between attempts to remove one.
const REMOVAL_RETRIES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// A container. Dropped, it is removed.
pub(super) struct Container {
    engine: Arc<Engine>,
    name: String,
    runtime: String,
    /// MB.
    memory_mb: Mutex<f64>,
    ended: Arc<AtomicBool>,
    pausing: Option<Arc<Pausing>>,
    handle: Handle,
}

/// Pauses a container that is idle.
struct Pausing {
    /// How often it has begun or stopped being idle: even while it is used.
    turns: AtomicU64,
    is_paused: Mutex<bool>,
}

impl Container {
    /// Creates one, not started yet.
    pub async fn create(
        engine: &Arc<Engine>,
        runtime: &str,
        kind: &RuntimeKind,
        memory_mb: f64,
        pause_idle: bool,
    ) -> Result<Self, Error> {
        let pausing = || Arc::new(Pausing { turns: AtomicU64::new(0), is_paused: Mutex::new(false) });
        // From here on it is removed, whatever becomes of the request.
        let container = Self {
            engine: Arc::clone(engine),
            name: format!("pilotlight-{:016x}", rand::random::<u64>()),
            runtime: runtime.to_owned(),
            memory_mb: Mutex::new(memory_mb),
            ended: Arc::new(AtomicBool::new(false)),
            pausing: pause_idle.then(pausing),
            handle: Handle::current(),
        };
        engine.create(&container.name, runtime, kind, memory_mb).await?;
        Ok(container)
    }

    /// Starts it; returns the port on which it is going to listen.
    pub async fn start(&self) -> Result<Port, Error> {
        let output = self.engine.attach(&self.name).await?;
        tokio::spawn(pass_on(output, self.runtime.clone(), Arc::clone(&self.ended)));
        self.engine.start(&self.name).await?;
        let found = self.engine.inspect(&self.name).await.and_then(|container| {
            Port::of(&container, self.engine.network(), Arc::clone(&self.ended)).map_err(Error::NoPort)
        });
        found.map_err(|error| if self.has_ended() { Error::Ended } else { error })
    }
}

#[async_trait]
impl Life for Container {
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    async fn allow(&self, memory_mb: f64) -> io::Result<()> {
        let mut allowed_mb = self.memory_mb.lock().await;
        if *allowed_mb != memory_mb {
            self.engine.set_memory(&self.name, memory_mb).await.map_err(|error| {
                io::Error::other(format!(
                    "the container can't be limited to {memory_mb} MB, which the app declares; does '{}' itself take \
                     more? {error}",
                    self.runtime
                ))
            })?;
            *allowed_mb = memory_mb;
        }
        Ok(())
    }

    async fn wake(&self) -> io::Result<()> {
        let Some(pausing) = &self.pausing else { return Ok(()) };
        pausing.turns.fetch_add(1, Ordering::Relaxed);
        let mut is_paused = pausing.is_paused.lock().await;
        if *is_paused {
            self.engine.unpause(&self.name).await.map_err(io::Error::other)?;
            *is_paused = false;
        }
        Ok(())
    }

    fn rest(&self) {
        let Some(pausing) = self.pausing.clone() else { return };
        let turn = pausing.turns.fetch_add(1, Ordering::Relaxed) + 1;
        let (engine, name) = (Arc::clone(&self.engine), self.name.clone());
        self.handle.spawn(async move {
            tokio::time::sleep(PAUSE_AFTER).await;
            let mut is_paused = pausing.is_paused.lock().await;
            if pausing.turns.load(Ordering::Relaxed) == turn {
                match engine.pause(&name).await {
                    Ok(()) => *is_paused = true,
                    // It ended, most likely.
                    Err(error) => debug!(name, "not paused: {error}"),
                }
            }
        });
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(pausing) = &self.pausing {
            pausing.turns.fetch_add(1, Ordering::Relaxed);
        }
        let (engine, name) = (Arc::clone(&self.engine), std::mem::take(&mut self.name));
        self.handle.spawn(async move {
            for wait in REMOVAL_RETRIES {
                match engine.remove(&name).await {
                    Ok(()) => return,
                    Err(error) => debug!(name, "not removed, and tried again: {error}"),
                }
                tokio::time::sleep(wait).await;
            }
            if let Err(error) = engine.remove(&name).await {
                warn!(name, "a container can't be removed: {error}; the next agent of this node will try again");
            }
        });
    }
}

/// Passes on what a container prints, and notes its end.
async fn pass_on(mut output: Output, runtime: String, ended: Arc<AtomicBool>) {
    while let Some(Ok(piece)) = output.next().await {
        debug!(target: "function", runtime, "{}", piece.to_string().trim_end());
    }
    ended.store(true, Ordering::Relaxed);
}
