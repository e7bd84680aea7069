//! Runtimes as processes of this machine. The connection is a socket pair whose other end is the process's standard
//! input, as under inetd: there is no port or path that anyone else could reach, nothing to clean up, and a process
//! whose agent dies reads end-of-file.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tracing::debug;

use crate::config::RuntimeKind;

use super::action::ActionClient;

/// Why a runtime can't be started.
#[derive(Debug, thiserror::Error)]
#[error("runtime '{kind}' can't be started with '{program}': {source}; see [agent.runtimes.{kind}]")]
pub struct StartError {
    kind: String,
    program: String,
    source: std::io::Error,
}

impl StartError {
    /// There is no such kind.
    pub fn unknown(kind: &str) -> Self {
        Self { kind: kind.to_owned(), program: String::new(), source: std::io::ErrorKind::NotFound.into() }
    }
}

/// A runtime: a process group and the connection to it. Dropping it ends the whole group.
pub struct Runtime {
    /// Speaks to it.
    pub client: ActionClient,
    child: Child,
}

impl Runtime {
    /// Starts an unspecialised runtime of a kind. It sees nothing of the agent's environment but the search path.
    pub async fn start(name: &str, kind: &RuntimeKind, shims: &Path) -> Result<Self, StartError> {
        let shims = shims.to_string_lossy();
        let words: Vec<String> = kind.command.iter().map(|word| word.replace("{shims}", &shims)).collect();
        let failed = |source| StartError { kind: name.to_owned(), program: kind.command.join(" "), source };
        let (program, arguments) = words.split_first().ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
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
        let mut child = command.spawn().map_err(failed)?;
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(pass_on(stdout, name.to_owned()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(pass_on(stderr, name.to_owned()));
        }
        let stream = UnixStream::from_std(ours).map_err(failed)?;
        let client = ActionClient::connect(stream).await.map_err(|error| failed(std::io::Error::other(error)))?;
        Ok(Self { client, child })
    }

    /// Whether the process has ended by itself, or closed the connection, which comes to the same.
    pub fn has_died(&self) -> bool {
        self.client.is_closed()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // While the process has not been waited for, its id can't belong to anybody else.
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = id {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Passes a function's output on to the log, in pieces of bounded size.
async fn pass_on(mut output: impl AsyncRead + Unpin, runtime: String) {
    let mut buffer = [0; 8192];
    while let Ok(read @ 1..) = output.read(&mut buffer).await {
        debug!(target: "function", runtime, "{}", String::from_utf8_lossy(&buffer[..read]).trim_end());
    }
}
