//! Step 6: decisions → warm runtimes, which execute functions.
//!
//! [`feed`] reads the decisions and the apps ([`registrations`], [`registry`]), [`warm_set`] knows what should be
//! loaded and when, [`node`] carries it out with the [`pool`] of unspecialised runtimes, the code from [`prefetch`] and
//! the processes or containers of [`backend`]; [`gateway`] is the door for callers ([`tokens`] says who may), [`fleet`]
//! shares the apps out between agents, [`events`] closes the loop by publishing each finished execution.

pub mod backend;
mod budget;
pub mod events;
mod feed;
mod fleet;
mod gateway;
mod journal;
mod node;
mod pool;
pub mod prefetch;
mod registrations;
pub mod registry;
mod shims;
mod tokens;
pub mod warm_set;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::bus;
use crate::config::{self, Settings};
use crate::shutdown::Shutdown;
use crate::telemetry::{AgentMetrics, CodeMetrics, Metrics};

use fleet::{Fleet, PassOn};
use gateway::Gateway;
use registrations::Registrations;
use tokens::Tokens;

pub use events::Observer;
pub use gateway::{INIT_MS as INIT_HEADER, START as START_HEADER, TRIGGER as TRIGGER_HEADER};
pub use node::{InvokeError, Node, Outcome, Request, Totals};

/// How much longer than the limits of an invocation another agent's answer may take.
const SLACK: Duration = Duration::from_secs(5);

/// What an agent says that is not ready: see [`Node::is_ready`].
pub const NOT_READY: &str = "no broker answers, or decisions and apps have not been read yet";

/// Why an agent can't be built or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder for code and shims can't be used.
    #[error("the agent's cache folder '{path}' can't be used: {source}; set agent.cache to one that can be written")]
    Cache {
        /// The folder.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The file with app definitions can't be used.
    #[error(transparent)]
    Apps(#[from] registry::Error),
    /// The bus can't be used.
    #[error(transparent)]
    Bus(#[from] bus::Error),
    /// A setting that only the agent looks at.
    #[error(transparent)]
    Settings(#[from] config::Error),
}

/// The agent, ready to run.
pub struct Agent {
    settings: Settings,
    node: Node,
    fleet: Fleet,
    registrations: Registrations,
    tokens: Tokens,
    /// Of what agents say to each other.
    producer: bus::Producer,
}

impl Agent {
    /// Checks the settings, writes the shims, and makes no connection yet. `speed` is how many times as fast as its own
    /// clock the workload runs: totals are counted in the workload's time. `observer` sees every finished execution.
    pub fn build(
        settings: &Settings,
        metrics: &Metrics,
        speed: f64,
        observer: Option<Observer>,
    ) -> Result<Self, Error> {
        bus::check_options(&settings.kafka)?;
        let tokens = Tokens::read(&settings.agent.tokens)?;
        settings.agent.ensure_guarded(!tokens.is_empty())?;
        let folder = cache_folder(&settings.agent.cache);
        let unusable = |source| Error::Cache { path: folder.display().to_string(), source };
        let shims = shims::write(&folder).map_err(unusable)?;
        let backends = backend::Backends::new(&settings.agent, shims);
        let code_metrics = CodeMetrics::register(metrics);
        let code = prefetch::CodeStore::open(&folder.join("code"), &settings.agent, code_metrics).map_err(unusable)?;
        let registry = registry::Registry::load(&settings.agent.apps)?;
        let producer = bus::Producer::open(&settings.kafka, "publishing invocation events")?;
        let registering = bus::Producer::open(&settings.kafka, "registering apps")?;
        let metrics = AgentMetrics::register(metrics);
        let events = events::Events::new(producer, &settings.topics.invocations, metrics.clone(), observer);
        let node = Node::new(&settings.agent, speed, backends, code, registry, events, metrics.clone());
        Ok(Self {
            fleet: Fleet::new(&settings.agent, metrics.clone()),
            registrations: Registrations::new(registering.clone(), &settings.topics.apps),
            producer: registering,
            settings: settings.clone(),
            node,
            tokens,
        })
    }

    /// For invoking functions and looking at what is loaded.
    pub fn node(&self) -> Node {
        self.node.clone()
    }

    /// The door for callers.
    pub fn routes(&self) -> axum::Router {
        let agent = &self.settings.agent;
        let gateway = Gateway {
            node: self.node.clone(),
            fleet: self.fleet.clone(),
            registrations: self.registrations.clone(),
            tokens: self.tokens.clone(),
            pass_on: PassOn::new(agent.init_timeout.duration() + agent.run_timeout.duration() + SLACK),
        };
        gateway::routes(gateway, agent.max_request_bytes)
    }

    /// Runs until it is time to end; then lets running executions finish for a moment and ends every runtime.
    pub async fn run(self, mut shutdown: Shutdown) -> Result<(), Error> {
        let mut feed = feed::start(&self.settings, &self.node, &self.fleet, &self.registrations, &shutdown);
        let node = Arc::new(self.node);
        // Ends with its last word: the others are to know before the node closes.
        let announcing = self.fleet.announce(&node, &self.producer, &self.settings.topics.agents, shutdown.clone());
        let fed = tokio::select! {
            () = node.run() => None,
            () = async { tokio::join!(announcing, shutdown.requested()); } => None,
            fed = &mut feed => Some(fed),
        };
        node.close().await;
        let fed = match fed {
            Some(fed) => fed,
            None => feed.await,
        };
        fed.unwrap_or(Ok(())).map_err(Error::Bus)
    }
}

fn cache_folder(configured: &str) -> PathBuf {
    if !configured.is_empty() {
        return PathBuf::from(configured);
    }
    config::folders::cache().unwrap_or_else(|| std::env::temp_dir().join("pilotlight"))
}
