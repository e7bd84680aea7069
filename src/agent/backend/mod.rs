//! What a runtime is made of. A [`Backend`] starts runtimes: [`process`] as processes of this machine, [`docker`] as
//! containers of an engine. Whatever it is, a [`Runtime`] is spoken to in one way, by [`action`], and ends when it is dropped.

pub mod action;
pub mod docker;
pub mod process;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::config;

use action::{ActionClient, Answer, Init, Run};

/// What starts runtimes of some kinds.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Fetches what its kinds need ahead of their first use, and removes what an earlier agent of this node left behind. What
    /// fails is said once and tried again until it works. Nobody waits for it.
    async fn prepare(&self) {}

    /// Starts an unspecialised runtime of a kind, which may take so much memory.
    async fn start(&self, kind: &str, memory_mb: f64) -> Result<Runtime, StartError>;

    /// Starts no more, and returns when all that it started is gone.
    async fn close(&self) {}
}

/// What keeps a runtime alive: dropping it ends the runtime and all that it started.
#[async_trait]
pub trait Life: Send + Sync {
    /// Whether the runtime has ended by itself, where its connection does not tell.
    fn has_ended(&self) -> bool {
        false
    }

    /// Has it take so much memory from now on, as the app declares whose code comes next.
    async fn allow(&self, memory_mb: f64) -> io::Result<()>;

    /// It is about to be used. Returns when it can be.
    async fn wake(&self) -> io::Result<()> {
        Ok(())
    }

    /// Nobody uses it for now. Returns at once.
    fn rest(&self) {}
}

/// A started runtime. Dropping it ends it.
pub struct Runtime {
    client: ActionClient,
    life: Box<dyn Life>,
}

impl Runtime {
    /// Of its two halves.
    pub fn new(client: ActionClient, life: Box<dyn Life>) -> Self {
        Self { client, life }
    }

    /// Makes it the app's: limits it to the memory that the app declares, and loads the app's code.
    pub async fn specialise(&mut self, init: &Init<'_>, memory_mb: f64, limit: Duration) -> Result<(), action::Error> {
        let unfit = |error: io::Error| action::Error::Unfit(error.to_string());
        self.life.wake().await.map_err(unfit)?;
        self.life.allow(memory_mb).await.map_err(unfit)?;
        let result = self.client.init(init, limit).await;
        self.life.rest();
        result
    }

    /// Executes a function of the loaded code.
    pub async fn run(&mut self, run: &Run<'_>, limit: Duration) -> Result<Answer, action::Error> {
        self.life.wake().await.map_err(|error| action::Error::Unfit(error.to_string()))?;
        let result = self.client.run(run, limit).await;
        self.life.rest();
        result
    }

    /// Whether it has ended by itself.
    pub fn has_died(&self) -> bool {
        self.client.is_lost() || self.life.has_ended()
    }
}

/// Why a runtime can't be started.
#[derive(Debug, thiserror::Error)]
#[error("runtime '{kind}' can't be started from '{origin}': {source}; see [agent.runtimes.{kind}]")]
pub struct StartError {
    kind: String,
    origin: String,
    source: io::Error,
}

impl StartError {
    /// Of a kind that is made from `origin` (a command or an image).
    pub fn new(kind: &str, origin: &str, source: io::Error) -> Self {
        Self { kind: kind.to_owned(), origin: origin.to_owned(), source }
    }

    /// There is no such kind.
    fn unknown(kind: &str) -> Self {
        Self::new(kind, "", io::ErrorKind::NotFound.into())
    }
}

/// The backends that are configured, and which of them starts which kind.
pub struct Backends {
    all: Vec<Arc<dyn Backend>>,
    by_kind: BTreeMap<String, Arc<dyn Backend>>,
}

impl Backends {
    /// As configured: kinds with an image are containers, all others processes. Makes no connection.
    pub fn new(settings: &config::Agent, shims: PathBuf) -> Self {
        let (images, commands): (BTreeMap<_, _>, BTreeMap<_, _>) =
            settings.runtimes.clone().into_iter().partition(|(_, kind)| kind.image.is_some());
        let mut backends = Self { all: Vec::new(), by_kind: BTreeMap::new() };
        if !images.is_empty() {
            let names = images.keys().cloned().collect();
            backends.add(names, Arc::new(docker::Containers::new(settings, images)));
        }
        let names = commands.keys().cloned().collect();
        backends.add(names, Arc::new(process::Processes::new(settings.process.clone(), commands, shims)));
        backends
    }

    fn add(&mut self, kinds: Vec<String>, backend: Arc<dyn Backend>) {
        self.by_kind.extend(kinds.into_iter().map(|kind| (kind, Arc::clone(&backend))));
        self.all.push(backend);
    }

    /// [`Backend::prepare`] of all.
    pub async fn prepare(&self) {
        futures::future::join_all(self.all.iter().map(|backend| backend.prepare())).await;
    }

    /// [`Backend::start`] of the one for this kind.
    pub async fn start(&self, kind: &str, memory_mb: f64) -> Result<Runtime, StartError> {
        let backend = self.by_kind.get(kind).ok_or_else(|| StartError::unknown(kind))?;
        backend.start(kind, memory_mb).await
    }

    /// [`Backend::close`] of all.
    pub async fn close(&self) {
        futures::future::join_all(self.all.iter().map(|backend| backend.close())).await;
    }
}
