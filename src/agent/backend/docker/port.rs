//! The way to a container: its port, in the engine's network or in a network namespace of its own.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bollard::models::ContainerInspectResponse;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::agent::backend::action::Dial;

/// Where runtimes listen: the OpenWhisk action-runtime protocol.
const PORT: u16 = 8080;
/// Between two attempts to connect to a runtime that does not listen yet.
const BETWEEN: Duration = Duration::from_millis(2);

/// Where a container listens.
pub(super) struct Port(Arc<Place>);

struct Place {
    /// The container's own; none: it is reached from the machine's.
    namespace: Option<File>,
    address: SocketAddr,
    /// Whether there is any use in waiting for it.
    ended: Arc<AtomicBool>,
}

impl Port {
    /// The port of a container that was started: on a `network` of the engine, or in its own namespace.
    pub fn of(
        container: &ContainerInspectResponse,
        network: Option<&str>,
        ended: Arc<AtomicBool>,
    ) -> Result<Self, String> {
        let (namespace, address) = match network {
            Some(network) => (None, address_in(container, network)?),
            None => (Some(namespace_of(container)?), IpAddr::V4(Ipv4Addr::LOCALHOST)),
        };
        Ok(Self(Arc::new(Place { namespace, address: SocketAddr::new(address, PORT), ended })))
    }
}

#[async_trait]
impl Dial for Port {
    async fn dial(&self, limit: Duration) -> io::Result<TcpStream> {
        let place = Arc::clone(&self.0);
        let (sender, receiver) = oneshot::channel();
        // A thread of its own, since it may move into another network for good. The connection stays what it is.
        std::thread::Builder::new().name("container".to_owned()).spawn(move || sender.send(place.connect(limit)))?;
        let connected = receiver.await.map_err(|_| io::ErrorKind::Interrupted)?;
        TcpStream::from_std(connected?)
    }
}

impl Place {
    fn connect(&self, limit: Duration) -> io::Result<std::net::TcpStream> {
        if let Some(namespace) = &self.namespace {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|error| {
                io::Error::other(format!(
                    "its network can't be entered: {error}; that takes root (CAP_SYS_ADMIN), or a network in \
                     agent.docker.network"
                ))
            })?;
        }
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(BETWEEN);
            let refused = match std::net::TcpStream::connect_timeout(&self.address, left) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_nonblocking(true)?;
                    return Ok(stream);
                }
                Err(error) => error,
            };
            if self.ended.load(Ordering::Relaxed) {
                return Err(io::Error::other("the container ended; --log debug shows its words"));
            }
            if Instant::now() >= deadline {
                let within = limit.as_millis();
                return Err(io::Error::other(format!("nobody listens on port {PORT} within {within} ms: {refused}")));
            }
            std::thread::sleep(BETWEEN);
        }
    }
}

fn address_in(container: &ContainerInspectResponse, network: &str) -> Result<IpAddr, String> {
    let networks = container.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
    let endpoint = networks.and_then(|networks| networks.get(network));
    let address = endpoint.and_then(|endpoint| endpoint.ip_address.as_deref()).unwrap_or_default();
    address.parse().map_err(|_| format!("it has no address in the network '{network}': check agent.docker.network"))
}

fn namespace_of(container: &ContainerInspectResponse) -> Result<File, String> {
    let process = container.state.as_ref().and_then(|state| state.pid).filter(|id| *id > 0);
    let process = process.ok_or("it has no process")?;
    let path = format!("/proc/{process}/ns/net");
    let open = |path: &str| File::open(path).map_err(|error| format!("its network '{path}' can't be opened: {error}"));
    let (namespace, ours) = (open(&path)?, open("/proc/self/ns/net")?);
    let inode = |file: &File| file.metadata().map(|metadata| metadata.ino()).map_err(|error| error.to_string());
    // As when it has ended, and its process id is another's by now: code must not go to whoever listens on this machine.
    if inode(&namespace)? == inode(&ours)? {
        return Err(format!("its network '{path}' is that of the agent"));
    }
    Ok(namespace)
}
