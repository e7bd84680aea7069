//! What is asked of the engine.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerUpdateBody, HostConfig, HostConfigLogConfig,
};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, CreateImageOptionsBuilder,
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker, errors};
use futures::TryStreamExt;
use tokio::sync::{OnceCell, Semaphore};
use tracing::info;

use crate::agent::backend::action;
use crate::config::{self, RuntimeKind};

/// Limit of one request, seconds.
const REQUEST_LIMIT_S: u64 = 60;
/// Containers removed at once.
const REMOVALS: usize = 8;
/// Bytes of a MB.
const MB: f64 = (1 << 20) as f64;
/// Billionths of a CPU.
const NANO_CPUS: f64 = 1e9;

const NODE_LABEL: &str = "pilotlight.node";
const LIFE_LABEL: &str = "pilotlight.life";
const KIND_LABEL: &str = "pilotlight.runtime";

/// What can go wrong with containers.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the engine at '{host}' can't be reached: {reason}; check agent.docker.host, and whether it runs")]
    Unreachable { host: String, reason: String },
    #[error("the image is not here (yet): {0}")]
    NoImage(String),
    #[error("the engine says: {0}")]
    Engine(errors::Error),
    #[error("the container ended at once; --log debug shows its words")]
    Ended,
    #[error("{0}")]
    NoPort(String),
    #[error("it does not listen: {0}")]
    Deaf(action::Error),
    #[error("the agent is ending")]
    Closing,
}

/// A stream of a container's output.
pub(super) type Output = futures::stream::BoxStream<'static, Result<bollard::container::LogOutput, errors::Error>>;

/// The connection to an engine, opened when it is first needed.
pub(super) struct Engine {
    settings: config::Docker,
    node: String,
    life: String,
    docker: OnceCell<Docker>,
    removals: Semaphore,
}

impl Engine {
    /// For the containers of a node, in a new life.
    pub fn new(settings: config::Docker, node: String) -> Self {
        let life = format!("{:016x}", rand::random::<u64>());
        Self { settings, node, life, docker: OnceCell::new(), removals: Semaphore::new(REMOVALS) }
    }

    /// Opens the connection, unless it is open.
    pub async fn connect(&self) -> Result<(), Error> {
        self.docker().await.map(|_| ())
    }

    async fn docker(&self) -> Result<&Docker, Error> {
        let connect = async || {
            let docker = Docker::connect_with_unix(&self.settings.host, REQUEST_LIMIT_S, API_DEFAULT_VERSION)?;
            docker.negotiate_version().await
        };
        self.docker.get_or_try_init(connect).await.map_err(|error| self.classify(error))
    }

    fn classify(&self, error: errors::Error) -> Error {
        match error {
            errors::Error::SocketNotFoundError(path) => {
                Error::Unreachable { host: self.settings.host.clone(), reason: format!("there is no file '{path}'") }
            }
            errors::Error::HyperLegacyError { err } if err.is_connect() => {
                // The reason is what lies at the bottom.
                let mut reason: &dyn std::error::Error = &err;
                while let Some(source) = reason.source() {
                    reason = source;
                }
                Error::Unreachable { host: self.settings.host.clone(), reason: reason.to_string() }
            }
            other => Error::Engine(other),
        }
    }

    // ── Images ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// Fetches an image from its registry, unless the engine has it.
    pub async fn pull_if_missing(&self, image: &str) -> Result<(), Error> {
        let docker = self.docker().await?;
        match docker.inspect_image(image).await {
            Ok(_) => return Ok(()),
            Err(error) if status(&error) == Some(404) => {}
            Err(error) => return Err(self.classify(error)),
        }
        info!(image, "pulling an image");
        let options = CreateImageOptionsBuilder::default().from_image(&with_tag(image)).build();
        docker
            .create_image(Some(options), None, None)
            .try_for_each(|_| std::future::ready(Ok(())))
            .await
            .map_err(|error| self.classify(error))?;
        info!(image, "pulled an image");
        Ok(())
    }

    // ── One container ────────────────────────────────────────────────────────────────────────────────────────────

    pub async fn create(&self, name: &str, runtime: &str, kind: &RuntimeKind, memory_mb: f64) -> Result<(), Error> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let body = self.body(runtime, kind, memory_mb);
        match self.docker().await?.create_container(Some(options), body).await {
            Ok(_) => Ok(()),
            Err(error) if status(&error) == Some(404) => Err(Error::NoImage(message(&error))),
            Err(error) => Err(self.classify(error)),
        }
    }

    fn body(&self, runtime: &str, kind: &RuntimeKind, memory_mb: f64) -> ContainerCreateBody {
        let text = |text: &str| text.to_owned();
        let labels = [(NODE_LABEL, &self.node), (LIFE_LABEL, &self.life), (KIND_LABEL, &runtime.to_owned())];
        let limits = &self.settings;
        let host_config = HostConfig {
            memory: Some(bytes(memory_mb)),
            // Together with the memory: no swap.
            memory_swap: Some(bytes(memory_mb)),
            nano_cpus: (limits.cpus > 0.0).then_some((limits.cpus * NANO_CPUS) as i64),
            pids_limit: (limits.pids > 0).then_some(i64::from(limits.pids)),
            network_mode: Some(limits.network.clone()),
            readonly_rootfs: Some(kind.read_only_root),
            // In memory, which counts as the container's.
            tmpfs: Some(HashMap::from([(text("/tmp"), text("rw,exec,nosuid,nodev"))])),
            cap_drop: Some(vec![text("ALL")]),
            security_opt: Some(vec![text("no-new-privileges")]),
            // What it prints is read as it comes, and must not pile up.
            log_config: Some(HostConfigLogConfig { typ: Some(text("none")), config: None }),
            // One that ends by itself, as when its agent was killed, leaves nothing.
            auto_remove: Some(true),
            ..HostConfig::default()
        };
        ContainerCreateBody {
            image: kind.image.clone(),
            labels: Some(labels.into_iter().map(|(label, value)| (text(label), value.clone())).collect()),
            host_config: Some(host_config),
            ..ContainerCreateBody::default()
        }
    }

    /// What a container prints from now on; the end of the stream is its end.
    pub async fn attach(&self, name: &str) -> Result<Output, Error> {
        let options = AttachContainerOptionsBuilder::default().stream(true).stdout(true).stderr(true).build();
        let attached = self.docker().await?.attach_container(name, Some(options)).await;
        attached.map(|attached| attached.output).map_err(|error| self.classify(error))
    }

    pub async fn start(&self, name: &str) -> Result<(), Error> {
        self.docker().await?.start_container(name, None).await.map_err(|error| self.classify(error))
    }

    pub async fn inspect(&self, name: &str) -> Result<ContainerInspectResponse, Error> {
        self.docker().await?.inspect_container(name, None).await.map_err(|error| self.classify(error))
    }

    pub async fn set_memory(&self, name: &str, memory_mb: f64) -> Result<(), Error> {
        let bytes = Some(bytes(memory_mb));
        let body = ContainerUpdateBody { memory: bytes, memory_swap: bytes, ..ContainerUpdateBody::default() };
        self.docker().await?.update_container(name, body).await.map_err(|error| self.classify(error))
    }

    pub async fn pause(&self, name: &str) -> Result<(), Error> {
        self.docker().await?.pause_container(name).await.map_err(|error| self.classify(error))
    }

    pub async fn unpause(&self, name: &str) -> Result<(), Error> {
        self.docker().await?.unpause_container(name).await.map_err(|error| self.classify(error))
    }

    /// Kills a container and removes it; one that is not there, or being removed already, is no failure.
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        let _turn = self.removals.acquire().await;
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.docker().await?.remove_container(name, Some(options)).await {
            Err(error) if !matches!(status(&error), Some(404 | 409)) => Err(self.classify(error)),
            _ => Ok(()),
        }
    }

    /// Returns when all removals that wait have begun, so that what is started is not far ahead of what ends.
    pub async fn wait_for_removals(&self) {
        // The semaphore is fair.
        drop(self.removals.acquire().await);
    }

    /// The engine's network that containers are on; `None`: each is on one of its own.
    pub fn network(&self) -> Option<&str> {
        Some(self.settings.network.as_str()).filter(|network| *network != config::Docker::NO_NETWORK)
    }

    // ── All containers of the node ───────────────────────────────────────────────────────────────────────────────

    /// What earlier agents of this node left behind.
    pub async fn containers_of_other_lives(&self) -> Result<Vec<String>, Error> {
        self.containers(|life| life != Some(&self.life)).await
    }

    /// Removes all containers of this life, and returns when they are gone.
    pub async fn remove_all(&self) -> Result<(), Error> {
        if !self.docker.initialized() {
            return Ok(());
        }
        loop {
            let left = self.containers(|life| life == Some(&self.life)).await?;
            if left.is_empty() {
                return Ok(());
            }
            let removals = left.into_iter().map(|name| async move { self.remove(&name).await });
            futures::future::try_join_all(removals).await?;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn containers(&self, is_wanted: impl Fn(Option<&String>) -> bool) -> Result<Vec<String>, Error> {
        let label = format!("{NODE_LABEL}={}", self.node);
        let filters = HashMap::from([("label", vec![label.as_str()])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found = self.docker().await?.list_containers(Some(options)).await.map_err(|error| self.classify(error))?;
        let is_wanted =
            |life: Option<&HashMap<String, String>>| is_wanted(life.and_then(|labels| labels.get(LIFE_LABEL)));
        let wanted = found.into_iter().filter(|container| is_wanted(container.labels.as_ref()));
        Ok(wanted.filter_map(|container| container.id).collect())
    }
}

fn bytes(memory_mb: f64) -> i64 {
    (memory_mb * MB) as i64
}

/// The image's name with a tag: without one, engines pull all that there are.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

fn status(error: &errors::Error) -> Option<u16> {
    match error {
        errors::Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

fn message(error: &errors::Error) -> String {
    match error {
        errors::Error::DockerResponseServerError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::with_tag;

    #[test]
    fn an_image_is_pulled_in_one_version() {
        for (image, pulled) in [
            ("openwhisk/action-nodejs-v20", "openwhisk/action-nodejs-v20:latest"),
            ("openwhisk/action-nodejs-v20:nightly", "openwhisk/action-nodejs-v20:nightly"),
            ("localhost:5000/python", "localhost:5000/python:latest"),
            ("localhost:5000/python:3", "localhost:5000/python:3"),
            ("python@sha256:aa", "python@sha256:aa"),
        ] {
            assert_eq!(with_tag(image), pulled);
        }
    }
}
