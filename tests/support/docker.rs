//! A real Docker engine (Debian's) for a test: its own process, socket, data and cgroup in a temporary folder, and an image
//! that runs functions in Python.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerSummary, NetworkCreateRequest};
use bollard::query_parameters::{CreateImageOptionsBuilder, ListContainersOptionsBuilder};
use futures::TryStreamExt;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::wait_for;

/// The image.
pub const IMAGE: &str = "pilotlight-test:latest";
const COMMAND: &str = r#"CMD ["/python3", "-u", "/shim.py", "--listen", "8080"]"#;
/// How long the engine may take to start or to end; a second where nothing else runs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running engine. Ends when dropped, with all its containers.
pub struct Engine {
    docker: Docker,
    runtime: Runtime,
    daemon: Daemon,
}

struct Daemon {
    /// A shell that reads from this process, and ends the engine when there is nothing more to read: so the engine never
    /// outlives this process, however that ends.
    shell: Child,
    folder: TempDir,
}

impl Engine {
    /// Starts an engine with the image. `None`, after one line that says why, where it is missing and may not be installed, or
    /// this is not root; with `PILOTLIGHT_TEST_NOTHING_SKIPPED` set that is a panic.
    pub fn start() -> Option<Self> {
        if let Err(missing) = install() {
            let strict = std::env::var_os("PILOTLIGHT_TEST_NOTHING_SKIPPED").is_some();
            assert!(!strict, "nothing may be skipped here, but no Docker engine can be started: {missing}");
            eprintln!("skipped: no Docker engine can be started here: {missing}");
            return None;
        }
        let daemon = Daemon::start();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let docker = wait_for("a Docker engine", PATIENCE, || {
            let docker = Docker::connect_with_unix(&daemon.path("socket"), 60, bollard::API_DEFAULT_VERSION).ok()?;
            runtime.block_on(docker.negotiate_version()).ok()
        });
        let engine = Self { docker, runtime, daemon };
        engine.import();
        Some(engine)
    }

    fn import(&self) {
        let file = self.daemon.path("image.tar");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker/image");
        let made = Command::new(script).arg(&file).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let (name, tag) = IMAGE.split_once(':').unwrap();
        let options =
            CreateImageOptionsBuilder::default().from_src("-").repo(name).tag(tag).changes(vec![COMMAND.to_owned()]);
        let body = bollard::body_full(std::fs::read(&file).unwrap().into());
        let imported = self.docker.create_image(Some(options.build()), Some(body), None).try_collect::<Vec<_>>();
        self.runtime.block_on(imported).unwrap();
    }

    /// Where it listens: `unix:///PATH`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.daemon.path("socket"))
    }

    /// All containers, running or not.
    pub fn containers(&self) -> Vec<ContainerSummary> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        self.runtime.block_on(self.docker.list_containers(Some(options))).unwrap()
    }

    /// Their ids.
    pub fn ids(&self) -> Vec<String> {
        self.containers().into_iter().filter_map(|container| container.id).collect()
    }

    /// What the engine knows of a container; `None` if there is none.
    pub fn inspect(&self, id: &str) -> Option<ContainerInspectResponse> {
        self.runtime.block_on(self.docker.inspect_container(id, None)).ok()
    }

    /// Makes a network.
    pub fn create_network(&self, name: &str) {
        let request = NetworkCreateRequest { name: name.to_owned(), ..NetworkCreateRequest::default() };
        self.runtime.block_on(self.docker.create_network(request)).unwrap();
    }

    /// Removes a network.
    pub fn remove_network(&self, name: &str) {
        self.runtime.block_on(self.docker.remove_network(name)).unwrap();
    }

    /// What the system has of a container: cgroups, and the socket of the process that looks after it.
    pub fn traces_of(&self, id: &str) -> Vec<String> {
        let parent = self.daemon.cgroup();
        let controllers = std::fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
        let cgroups = controllers.chain(["/sys/fs/cgroup".into()]).map(|root| root.join(&parent).join(id));
        // containerd: sha256 of its own socket's path, the namespace and the id.
        let containerd = format!("{}/{id}", self.daemon.path("exec/containerd/containerd.sock/moby"));
        let socket = pilotlight::model::sha256_hex(containerd.as_bytes());
        let socket = Path::new("/run/containerd/s").join(socket);
        let found = cgroups.chain([socket]).filter(|path| path.exists());
        found.map(|path| path.display().to_string()).collect()
    }
}

impl Daemon {
    fn start() -> Self {
        let folder = TempDir::with_prefix("pilotlight-docker-").unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        // Not what this machine has configured for its own engine, if any.
        std::fs::write(path("config"), "{}").unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let shell = Command::new("sh")
            .args(["-c", "dockerd \"$@\" </dev/null & read -r _; kill -TERM $!; wait $!", "sh"])
            .args(["--iptables=false", "--bridge=none", "--ip-forward=false", "--ip-masq=false"])
            .args(["--storage-driver=vfs", "--data-root", &path("data"), "--exec-root", &path("exec")])
            .args(["--config-file", &path("config"), "--pidfile", &path("pid"), "--shutdown-timeout=1"])
            .args(["--cgroup-parent", &cgroup_of(&folder), "--host", &format!("unix://{}", path("socket"))])
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { shell, folder }
    }

    /// A path in its folder.
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The cgroup in which it has those of its containers.
    fn cgroup(&self) -> String {
        cgroup_of(&self.folder)
    }
}

fn cgroup_of(folder: &TempDir) -> String {
    folder.path().file_name().unwrap().to_str().unwrap().to_owned()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
            eprintln!("--- the end of the engine's log:\n{}", &log[log.len().saturating_sub(3000)..]);
        }
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
        // What the engine leaves: the parent of its cgroups, and mounts under its folders.
        let parent = self.cgroup();
        let mut controllers: Vec<_> =
            std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()).collect();
        controllers.push("/sys/fs/cgroup".into());
        for controller in controllers {
            let _ = std::fs::remove_dir(controller.join(&parent));
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|path| Path::new(path).starts_with(self.folder.path()));
        for mount in own {
            let _ = Command::new("umount").arg("--lazy").arg(mount).status();
        }
    }
}

/// Labels that say which node a container is of.
pub fn node_of(container: &ContainerSummary) -> Option<&str> {
    let labels: &HashMap<_, _> = container.labels.as_ref()?;
    labels.get("pilotlight.node").map(String::as_str)
}

fn install() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("that takes root".to_owned());
    }
    let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/install");
    let installed =
        Command::new(install).args(["dockerd=docker.io", "python3=python3"]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&installed.stdout).trim().to_owned();
    match installed.status.code() {
        Some(0) => Ok(()),
        Some(3) => Err(said),
        _ => panic!("tests/support/install failed: {said}"),
    }
}
