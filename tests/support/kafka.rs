//! A real Apache Kafka broker for a test: its own process, its own free ports on 127.0.0.1, its own temporary folder.
//!
//! ```ignore
//! let Some(mut broker) = Broker::start() else { return }; // says "skipped: ..." where there is no Java
//! let bootstrap = broker.bootstrap();
//! broker.stop(); // as a crash does: SIGKILL
//! broker.restart(); // same port, same data
//! ```
//!
//! [`Broker::start_secured`] starts one with a second listener, over TLS and with sign-in.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a broker may take to become usable; it takes one to three seconds on an idle machine.
const START_DEADLINE: Duration = Duration::from_secs(180);

/// What Kafka logs once its broker is registered, unfenced and accepts clients.
const STARTED: &str = "Kafka Server started";

/// A running (or, after [`Broker::stop`], stopped) Kafka broker. Dropping it kills the process and removes its data.
pub struct Broker {
    kafka: &'static Kafka,
    port: u16,
    /// Holds `server.properties`, `data/` and `broker.log`.
    folder: TempDir,
    running: Option<Running>,
    secured: Option<Secured>,
}

/// A listener over TLS that wants a sign-in: as [`USER`] with [`PASSWORD`], or with an unsigned token.
#[derive(Debug, Clone)]
pub struct Secured {
    /// What clients connect to.
    pub bootstrap: String,
    /// The certificate that clients have to trust.
    pub certificate: PathBuf,
    /// Another one of the same name.
    pub wrong_certificate: PathBuf,
}

/// Who may sign in at a secured listener.
pub const USER: &str = "pilotlight-test";
/// Their password.
pub const PASSWORD: &str = "orange-Tulip_7719";

/// The broker's process, and one that ends it should this test process die without dropping the [`Broker`].
struct Running {
    java: Child,
    watchdog: Child,
}

/// Where `tests/kafka/fetch` left the jars, the formatted data folder and the class archive.
struct Kafka {
    home: PathBuf,
}

impl Broker {
    /// Starts a broker and waits until it is usable. Topics are not created by themselves; compaction runs within a
    /// second of a closed segment (a topic's `segment.ms` closes one).
    ///
    /// Returns `None`, after one line that says why, where Kafka or Java is missing and may not be installed; with
    /// `PILOTLIGHT_TEST_NOTHING_SKIPPED` set that is a panic. So is a broker that is not usable within 180 s.
    pub fn start() -> Option<Broker> {
        Self::start_with(|_, _| None)
    }

    /// Like [`Broker::start`], with a second listener: SASL_SSL, with SCRAM, PLAIN and OAUTHBEARER. Takes some seconds
    /// more, most of them for certificates.
    pub fn start_secured() -> Option<Broker> {
        Self::start_with(|kafka, folder| Some(kafka.secure(folder)))
    }

    /// The listener of [`Broker::start_secured`].
    pub fn secured(&self) -> &Secured {
        self.secured.as_ref().unwrap_or_else(|| panic!("this broker has no secured listener"))
    }

    fn start_with(secure: impl FnOnce(&Kafka, &Path) -> Option<(Secured, String)>) -> Option<Broker> {
        let kafka = kafka()?;
        let folder =
            TempDir::with_prefix("pilotlight-kafka-").unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        let port = free_port_pair();
        let properties_path = folder.path().join("server.properties");
        let properties = properties(port, folder.path());
        let secured = match secure(kafka, folder.path()) {
            Some((secured, more)) => {
                write(&properties_path, &with_listener(&properties, &secured, &more));
                kafka.format_with_users(&properties_path);
                Some(secured)
            }
            None => {
                copy_folder(&kafka.home.join("formatted"), &folder.path().join("data"));
                write(&properties_path, &properties);
                None
            }
        };
        let mut broker = Broker { kafka, port, folder, running: None, secured };
        broker.restart();
        Some(broker)
    }

    /// What clients connect to: `127.0.0.1:PORT`. It stays the same over [`Broker::restart`].
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills the broker as a crash would (SIGKILL). Its data and its port are kept for [`Broker::restart`].
    pub fn stop(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        // The watchdog goes first: it must never outlive the broker and then hit another process of the same id.
        for child in [&mut running.watchdog, &mut running.java] {
            let _ = child.kill(); // fails only when it has ended already
            let _ = child.wait();
        }
    }

    /// Starts the broker again on the same port and data, and waits until it is usable. Stops it first if it runs.
    pub fn restart(&mut self) {
        self.stop();
        let log_path = self.folder.path().join("broker.log");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .unwrap_or_else(|error| panic!("{}: {error}", log_path.display()));
        let seen = log.metadata().map_or(0, |metadata| metadata.len());
        let errors = log.try_clone().unwrap_or_else(|error| panic!("broker.log: {error}"));
        let started_at = Instant::now();

        let mut command = self.kafka.java();
        // The first stage of the compiler only: half the start time, and a test's broker never becomes hot.
        command.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg("kafka.Kafka").arg(self.folder.path().join("server.properties"));
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let java = command.spawn().unwrap_or_else(|error| panic!("java does not start: {error}"));
        let watchdog = spawn_watchdog(&java, self.folder.path());
        self.running = Some(Running { java, watchdog });

        loop {
            if read_from(&log_path, seen).contains(STARTED) && TcpStream::connect(self.bootstrap()).is_ok() {
                return;
            }
            let ended = self.running.as_mut().and_then(|it| it.java.try_wait().ok().flatten());
            let waited = started_at.elapsed();
            let problem = match ended {
                Some(status) => format!("ended while starting ({status})"),
                None if waited > START_DEADLINE => format!("is not usable after {waited:.0?}"),
                None => {
                    thread::sleep(Duration::from_millis(20));
                    continue;
                }
            };
            panic!("Kafka {problem}; the end of its log:\n{}", tail(&read_from(&log_path, seen)));
        }
    }

    /// Runs one of Kafka's command-line tools against this broker and returns what it printed on stdout. The first of
    /// `class_and_args` is the class; `--bootstrap-server` is added. Takes about a second, most of it Java's start.
    ///
    /// `broker.tool(&["org.apache.kafka.tools.TopicCommand", "--describe", "--topic", "pilotlight.decisions"])`
    ///
    /// Panics with what the tool printed when it fails.
    pub fn tool(&self, class_and_args: &[&str]) -> String {
        let (class, args) = class_and_args.split_first().unwrap_or_else(|| panic!("which tool's class?"));
        let output = self
            .kafka
            .java()
            .args(["-Xshare:auto", "-XX:TieredStopAtLevel=1"])
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error")
            .arg(class)
            .args(["--bootstrap-server", &self.bootstrap()])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("java does not start: {error}"));
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{class} failed ({}):\n{stdout}{stderr}", output.status);
        stdout
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Kafka {
    /// `java` with Kafka on its class path and, where there is one, the archive of its classes.
    fn java(&self) -> Command {
        let mut command = Command::new("java");
        // Relative, because the archive holds only for the class path that it was made with.
        command.current_dir(&self.home).args(["-cp", "libs/*"]);
        if self.home.join("kafka.jsa").exists() {
            command.arg("-XX:SharedArchiveFile=kafka.jsa");
        }
        command
    }
}

impl Kafka {
    /// Certificates in `folder`, and the properties of a listener that uses them.
    fn secure(&self, folder: &Path) -> (Secured, String) {
        let certificate = |name: &str| {
            let (store, certificate) = (folder.join(format!("{name}.p12")), folder.join(format!("{name}.pem")));
            let common = ["-alias", "broker", "-storetype", "PKCS12", "-storepass", STORE_PASSWORD, "-keystore"];
            let keytool = |arguments: &[&str]| {
                let mut command = Command::new("keytool");
                run(command.arg(arguments[0]).args(common).arg(&store).args(&arguments[1..]))
            };
            let names = ["-dname", "CN=127.0.0.1", "-ext", "SAN=ip:127.0.0.1", "-ext", "bc=ca:true"];
            keytool(&[&["-genkeypair", "-keyalg", "EC", "-validity", "2"], &names[..]].concat());
            let pem = keytool(&["-exportcert", "-rfc"]);
            write(&certificate, &pem);
            certificate
        };
        let secured = Secured {
            bootstrap: format!("127.0.0.1:{}", free_port_pair()),
            certificate: certificate("broker"),
            wrong_certificate: certificate("another"),
        };
        let login = "org.apache.kafka.common.security";
        let properties = format!(
            "sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER
listener.name.secured.ssl.keystore.type=PKCS12
listener.name.secured.ssl.keystore.location={}
listener.name.secured.ssl.keystore.password={STORE_PASSWORD}
listener.name.secured.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;
listener.name.secured.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;
listener.name.secured.plain.sasl.jaas.config={login}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";
listener.name.secured.oauthbearer.sasl.jaas.config={login}.oauthbearer.OAuthBearerLoginModule required \
unsecuredLoginStringClaim_sub=\"broker\";
",
            folder.join("broker.p12").display()
        );
        (secured, properties)
    }

    /// Formats the data folder, with [`USER`] among the users that SCRAM knows.
    fn format_with_users(&self, properties: &Path) {
        let user = |mechanism: &str| format!("{mechanism}=[name={USER},password={PASSWORD}]");
        let mut command = self.java();
        // A cluster id is any 16 bytes in base64.
        command.args(["-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format"]);
        command.args(["--cluster-id", "cGlsb3RsaWdodC10ZXN0cw", "--config"]).arg(properties);
        command.args(["--add-scram", &user("SCRAM-SHA-256"), "--add-scram", &user("SCRAM-SHA-512")]);
        run(&mut command);
    }
}

const STORE_PASSWORD: &str = "keeps-no-secret";

/// `properties` with one more listener.
fn with_listener(properties: &str, secured: &Secured, more: &str) -> String {
    let with = properties.replace("listeners=", &format!("listeners=SECURED://{},", secured.bootstrap));
    let map = "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURED:SASL_SSL";
    format!("{with}inter.broker.listener.name=PLAINTEXT\n{map}\n{more}")
}

/// Runs a command to its end and returns what it printed on stdout; panics with all of it where it fails.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed ({}):\n{stdout}{stderr}", output.status);
    stdout
}

/// Kafka, fetched at the first call of this process. `None` where it is missing and may not be installed.
fn kafka() -> Option<&'static Kafka> {
    static KAFKA: OnceLock<Result<Kafka, String>> = OnceLock::new();
    let kafka = KAFKA.get_or_init(|| {
        let fetch = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/fetch");
        let output = Command::new(&fetch)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", fetch.display()));
        let stderr = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => {
                let stdout = String::from_utf8_lossy(&output.stdout);
                let libs = Path::new(stdout.trim());
                let home = libs.parent().unwrap_or_else(|| panic!("no folder: {stdout:?}"));
                Ok(Kafka { home: home.to_owned() })
            }
            // Its last line says what is missing; before it may stand what an installer printed.
            Some(3) => Err(stderr.lines().last().unwrap_or("Kafka is missing").to_owned()),
            _ => panic!("tests/kafka/fetch failed ({}):\n{stderr}", output.status),
        }
    });
    match kafka {
        Ok(kafka) => Some(kafka),
        Err(missing) if std::env::var_os("PILOTLIGHT_TEST_NOTHING_SKIPPED").is_some() => {
            panic!("nothing may be skipped here, but a Kafka broker cannot be started: {missing}")
        }
        Err(missing) => {
            // Straight to stderr: the test runner would hide what a passed test prints with `eprintln!`.
            let line = format!("skipped: no Kafka broker can be started here: {missing}\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
            None
        }
    }
}

/// The settings of a broker that is its own controller and whose data nobody needs for long.
fn properties(port: u16, folder: &Path) -> String {
    let controller_port = port + 1;
    let data = folder.join("data");
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
log.dirs={}
num.partitions=1
auto.create.topics.enable=false

# One broker holds everything, and the internal topics stay small.
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# No waiting: the first member of a group gets its partitions at once; after a SIGKILL the controller refuses the new
# process until the old one's session has ended (9 s by default).
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000

# Compact as soon as there is something to compact, with a buffer of 2 MB instead of 128.
log.cleaner.backoff.ms=200
log.cleaner.min.cleanable.ratio=0.01
log.cleaner.dedupe.buffer.size=2097152
",
        data.display()
    )
}

/// A port for clients, free together with the next one (the controller's). Both lie below the range from which the system
/// picks the ports of outgoing connections: while the broker is down, none of those, not even a client's own
/// reconnection attempt, can take them.
fn free_port_pair() -> u16 {
    const FIRST: u16 = 20_000;
    const PAIRS: u16 = 6_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    // Processes begin in different places, so that two of them do not try the same port at the same time.
    let offset = u64::from(std::process::id()) * 37 % u64::from(PAIRS);
    let offset = u16::try_from(offset).unwrap_or(0);
    (0..PAIRS)
        .map(|_| (NEXT.fetch_add(1, Ordering::Relaxed) % PAIRS + offset) % PAIRS)
        .map(|pair| FIRST + 2 * pair)
        .find(|&port| is_free(port) && is_free(port + 1))
        .unwrap_or_else(|| panic!("no two free ports from {FIRST} on"))
}

/// A shell that reads from this process. When this process ends, however it ends, the shell reads the end of its input,
/// kills the broker and removes its folder; a [`Broker`] kept in a `static` is never dropped and needs this.
fn spawn_watchdog(broker: &Child, folder: &Path) -> Child {
    Command::new("sh")
        // Ctrl-C goes to this shell too, and must not end it before its work is done.
        .args(["-c", "trap '' INT; read -r _; kill -KILL \"$0\"; rm -rf \"$1\""])
        .arg(broker.id().to_string())
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("sh does not start: {error}"))
}

/// The files of a folder without sub-folders.
fn copy_folder(from: &Path, to: &Path) {
    let copy = || -> std::io::Result<()> {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        Ok(())
    };
    copy().unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// What stands in a growing file from byte `offset` on.
fn read_from(path: &Path, offset: u64) -> String {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(offset))?;
        file.read_to_end(&mut bytes)
    });
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
