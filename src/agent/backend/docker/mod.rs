//! Runtimes as containers of a Docker-compatible engine on this machine. [`container`] is one of them, [`port`] the way to
//! it, [`engine`] what is asked of the engine.
//!
//! Containers carry the labels `pilotlight.node`, the name of the node, and `pilotlight.life`, which is drawn anew at each
//! start of the agent. So an agent that was killed leaves nothing for good: the next one of its node removes what has another
//! life's label.

mod container;
mod engine;
mod port;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::RwLock;
use tracing::{info, warn};

use crate::config::{self, RuntimeKind};

use super::action::ActionClient;
use super::{Backend, Life, Runtime, StartError};
use container::Container;
use engine::{Engine, Error};

/// How long the end of the agent waits for containers that are being started, and then for all to be gone.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);
/// Waits before what failed is tried again: the first, which doubles up to the last.
const RETRY: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];

/// Starts runtimes as containers.
pub struct Containers {
    engine: Arc<Engine>,
    kinds: BTreeMap<String, RuntimeKind>,
    /// How long a container may take until it listens.
    limit: Duration,
    pause_idle: bool,
    /// Held while a container is started; false at the end.
    open: RwLock<bool>,
}

impl Containers {
    /// Of these kinds, all with an image. Makes no connection yet.
    pub fn new(settings: &config::Agent, kinds: BTreeMap<String, RuntimeKind>) -> Self {
        Self {
            engine: Arc::new(Engine::new(settings.docker.clone(), settings.node_name())),
            kinds,
            limit: settings.init_timeout.duration(),
            pause_idle: settings.docker.pause_idle,
            open: RwLock::new(true),
        }
    }

    async fn start_container(&self, name: &str, kind: &RuntimeKind, memory_mb: f64) -> Result<Runtime, Error> {
        let open = self.open.read().await;
        if !*open {
            return Err(Error::Closing);
        }
        self.engine.wait_for_removals().await;
        let container = Container::create(&self.engine, name, kind, memory_mb, self.pause_idle).await?;
        let port = container.start().await?;
        let client = ActionClient::dial(Box::new(port), self.limit).await.map_err(Error::Deaf)?;
        container.rest();
        Ok(Runtime::new(client, Box::new(container)))
    }

    async fn remove_strays(&self) -> Result<(), Error> {
        let strays = self.engine.containers_of_other_lives().await?;
        if !strays.is_empty() {
            info!(containers = strays.len(), "removing containers that an earlier agent of this node left behind");
        }
        futures::future::join_all(strays.iter().map(|name| self.engine.remove(name))).await.into_iter().collect()
    }
}

#[async_trait]
impl Backend for Containers {
    async fn prepare(&self) {
        until_done("reaching the engine", || self.engine.connect()).await;
        let strays = until_done("removing containers of an earlier agent", || self.remove_strays());
        let images: BTreeSet<&str> = self.kinds.values().filter_map(|kind| kind.image.as_deref()).collect();
        let pulls = images.into_iter().map(|image| async move {
            until_done(&format!("pulling image '{image}'"), || self.engine.pull_if_missing(image)).await;
        });
        tokio::join!(strays, futures::future::join_all(pulls));
    }

    async fn start(&self, name: &str, memory_mb: f64) -> Result<Runtime, StartError> {
        let kind = self.kinds.get(name).ok_or_else(|| StartError::unknown(name))?;
        let started = self.start_container(name, kind, memory_mb).await;
        started.map_err(|error| StartError::new(name, &kind.origin(), io::Error::other(error)))
    }

    async fn close(&self) {
        let closed = async {
            *self.open.write().await = false;
            self.engine.remove_all().await
        };
        match tokio::time::timeout(CLOSE_LIMIT, closed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!("containers may be left behind, for the next agent of this node to remove: {error}")
            }
            Err(_) => warn!("containers are left behind, for the next agent of this node to remove: no end in sight"),
        }
    }
}

/// Tries until it works; says so at the first failure, and when it works after all.
async fn until_done<F: Future<Output = Result<(), Error>>>(what: &str, mut attempt: impl FnMut() -> F) {
    let [mut wait, longest] = RETRY;
    let mut said = false;
    while let Err(error) = attempt().await {
        if !std::mem::replace(&mut said, true) {
            warn!("{what} failed: {error}; it is tried again until it works");
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(longest);
    }
    if said {
        info!("{what} works now");
    }
}
