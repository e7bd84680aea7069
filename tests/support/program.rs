//! The `pilotlight` program as users run it.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use super::wait_for;

/// How long a program may take to be ready or to end; a second or two where nothing else runs.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A running `pilotlight`. Killed when dropped.
pub struct Program {
    child: Child,
    logs: PathBuf,
    _folder: tempfile::TempDir,
    /// `http://HOST:PORT`
    pub url: String,
}

/// Runs `pilotlight` to its end.
pub fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pilotlight"));
    // A folder without a settings file.
    command.args(arguments).current_dir(std::env::temp_dir()).stdin(Stdio::null());
    command
}

/// A loopback port that nobody listens on.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Program {
    /// Starts `pilotlight` with `--listen` on a free port. Does not wait for anything.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// The same, with more variables of the environment.
    pub fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_at(&format!("127.0.0.1:{}", free_port()), arguments, variables)
    }

    /// The same, at an address that others know.
    pub fn start_at(listen: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        let file = File::create(&logs).unwrap();
        let child = command(arguments)
            .args(["--listen", listen])
            // For checkpoints: each program has its own, unless a test says otherwise.
            .env("XDG_DATA_HOME", folder.path())
            .envs(variables.iter().copied())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, logs, _folder: folder, url: format!("http://{listen}") }
    }

    /// Starts it and waits until it says that it is ready.
    pub fn start_ready(arguments: &[&str]) -> Self {
        let program = Self::start(arguments);
        program.wait_ready();
        program
    }

    pub fn wait_ready(&self) {
        wait_for(&format!("readiness; logs:\n{}", self.logs()), PATIENCE, || {
            (self.status("/readyz") == Some(200)).then_some(())
        });
    }

    /// Where it answers: `http://HOST:PORT`.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The status of a `GET`, if there is an answer.
    pub fn status(&self, path: &str) -> Option<u16> {
        agent().get(format!("{}{path}", self.url)).call().ok().map(|response| response.status().as_u16())
    }

    /// The body of a `GET`.
    pub fn get(&self, path: &str) -> String {
        agent().get(format!("{}{path}", self.url)).call().unwrap().body_mut().read_to_string().unwrap()
    }

    /// The body of a `GET` as JSON.
    pub fn get_json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.get(path)).unwrap()
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no metric {name} in:\n{text}")).parse().unwrap()
    }

    /// Registers an app with inline code.
    pub fn register(&self, app: &str, runtime: &str, code: &str) {
        use base64::Engine;
        let data = base64::engine::general_purpose::STANDARD.encode(code);
        let spec = serde_json::json!({
            "runtime": runtime, "memory_mb": 64, "code": {"uri": format!("data:;base64,{data}")}
        });
        let response = agent().put(format!("{}/apps/{app}", self.url)).send_json(spec).unwrap();
        assert_eq!(response.status(), 204);
    }

    /// Invokes `main` of an app: status, start temperature and body.
    pub fn invoke(&self, app: &str, arguments: &str) -> (u16, Option<String>, serde_json::Value) {
        let url = format!("{}/apps/{app}/functions/main", self.url);
        let mut response = agent().post(url).send(arguments).unwrap();
        let start = response.headers().get("x-pilotlight-start").map(|value| value.to_str().unwrap().to_owned());
        let body = response.body_mut().read_to_string().unwrap();
        let body = serde_json::from_str(&body).unwrap_or(serde_json::Value::String(body));
        (response.status().as_u16(), start, body)
    }

    /// What it has printed so far.
    pub fn logs(&self) -> String {
        std::fs::read_to_string(&self.logs).unwrap_or_default()
    }

    /// Asks it to end, as Ctrl-C does, and waits for it: its exit code and what it printed.
    pub fn interrupt(mut self) -> (Option<i32>, String) {
        self.signal(rustix::process::Signal::INT);
        let status = wait_for("an end after Ctrl-C", PATIENCE, || self.child.try_wait().unwrap());
        (status.code(), self.logs())
    }

    /// Sends it a signal, such as SIGSTOP.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills it, as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it ends by itself: its exit code and what it printed.
    pub fn wait_for_end(mut self) -> (Option<i32>, String) {
        let status = wait_for("an end by itself", PATIENCE, || self.child.try_wait().unwrap());
        (status.code(), self.logs())
    }

    /// The memory of its process that is resident now and at most so far (MB).
    pub fn resident_mb(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let field = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- logs of the program at {}:\n{}", self.url, self.logs());
        }
    }
}

/// An HTTP client that gives back every status as a response.
fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(90)))
        .build()
        .into()
}
