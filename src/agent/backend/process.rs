//! Runtimes as processes of this machine. The connection is a socket pair whose other end is the process's standard
//! input, as under inetd: there is no port or path that anyone else could reach, nothing to clean up, and a process
//! whose agent dies reads end-of-file.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, prlimit};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tracing::debug;

use crate::config::{self, RuntimeKind};

use super::action::ActionClient;
use super::{Backend, Life, Runtime, StartError};

/// Bytes of a MB.
const MB: f64 = (1 << 20) as f64;

/// Starts runtimes as processes.
pub struct Processes {
    limits: config::Process,
    kinds: BTreeMap<String, RuntimeKind>,
    shims: PathBuf,
}

impl Processes {
    /// Of these kinds, with the bundled shims in a folder.
    pub fn new(limits: config::Process, kinds: BTreeMap<String, RuntimeKind>, shims: PathBuf) -> Self {
        Self { limits, kinds, shims }
    }

    /// Starts a process group that sees nothing of the agent's environment but the search path.
    async fn start(&self, name: &str, kind: &RuntimeKind) -> io::Result<Runtime> {
        let shims = self.shims.to_string_lossy();
        let words: Vec<String> = kind.command.iter().map(|word| word.replace("{shims}", &shims)).collect();
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::NotFound)?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()))
            .env("LANG", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn()?;
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(pass_on(stdout, name.to_owned()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(pass_on(stderr, name.to_owned()));
        }
        let data_bytes = AtomicU64::new(u64::MAX);
        let group = Group { child, memory_limit: self.limits.memory_limit, data_bytes };
        group.limit(Resource::Core, 0)?;
        if self.limits.files > 0 {
            group.limit(Resource::Nofile, self.limits.files)?;
        }
        let stream = UnixStream::from_std(ours)?;
        let client = ActionClient::connect(stream).await.map_err(io::Error::other)?;
        Ok(Runtime::new(client, Box::new(group)))
    }
}

#[async_trait]
impl Backend for Processes {
    async fn start(&self, name: &str, _memory_mb: f64) -> Result<Runtime, StartError> {
        let kind = self.kinds.get(name).ok_or_else(|| StartError::unknown(name))?;
        self.start(name, kind).await.map_err(|source| StartError::new(name, &kind.origin(), source))
    }
}

/// A process group, by its leader. Dropped, it is killed as a whole.
struct Group {
    child: Child,
    /// Multiple of the declared memory; 0: no limit.
    memory_limit: f64,
    /// What it may allocate, bytes: without a privilege, a limit can't be raised again.
    data_bytes: AtomicU64,
}

impl Group {
    /// While the process has not been waited for, its id can't belong to anybody else.
    fn leader(&self) -> Option<Pid> {
        self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
    }

    /// Lowers a limit of the leader and of all that it starts from now on; never raises one.
    fn limit(&self, resource: Resource, most: u64) -> io::Result<()> {
        let Some(leader) = self.leader() else { return Ok(()) };
        let ours = getrlimit(resource).maximum;
        let most = Some(ours.map_or(most, |ours| ours.min(most)));
        prlimit(Some(leader), resource, Rlimit { current: most, maximum: most })?;
        Ok(())
    }
}

#[async_trait]
impl Life for Group {
    /// Limits what each process may allocate. What the runtime takes without any code counts besides: interpreters set
    /// aside far more than they use.
    async fn allow(&self, memory_mb: f64) -> io::Result<()> {
        let Some(leader) = self.leader().filter(|_| self.memory_limit > 0.0) else { return Ok(()) };
        let own = allocated_bytes(leader)?;
        let most = own.saturating_add((self.memory_limit * memory_mb * MB) as u64);
        let before = self.data_bytes.fetch_min(most, Ordering::Relaxed);
        if most < before { self.limit(Resource::Data, most) } else { Ok(()) }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader() {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// What a process has allocated as `RLIMIT_DATA` counts it, bytes: proc(5), `VmData`.
fn allocated_bytes(process: Pid) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.as_raw_pid()))?;
    let field = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kb = field.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    // A process that has ended has no memory, and what is wrong with it shows when it is spoken to.
    Ok(kb.unwrap_or(0) * 1024)
}

/// Passes a function's output on to the log, in pieces of bounded size.
async fn pass_on(mut output: impl AsyncRead + Unpin, runtime: String) {
    let mut buffer = [0; 8192];
    while let Ok(read @ 1..) = output.read(&mut buffer).await {
        debug!(target: "function", runtime, "{}", String::from_utf8_lossy(&buffer[..read]).trim_end());
    }
}
