//! What the agent adds to an invocation, what starts cost, and how long a million decisions take to load:
//! `cargo bench --bench agent`, or `-- decisions` for one of `warm`, `starts` and `decisions`. Ratios and figures of one run; the clients run on the same processors.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use support::program::Program;

const CODE: &str = "def main(args):\n    return {}";
const CALLS: usize = 5_000;
const CLIENTS: usize = 8;
const LOAD: Duration = Duration::from_secs(5);
const STARTS: usize = 30;
const DECISIONS: usize = 1_000_000;

fn main() {
    let mut settings = pilotlight::config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    let bus = pilotlight::bus::Embedded::start(&mut settings).unwrap();
    let servers = bus.bootstrap_servers();
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|asked| asked == name);
    if wanted("warm") {
        warm(&servers);
    }
    if wanted("starts") {
        starts(&servers);
    }
    if wanted("decisions") {
        decisions();
    }
}

fn agent(servers: &str, settings: &[&str]) -> Program {
    let mut arguments = vec!["agent", "--bootstrap-servers", servers, "--set", "topics.create=false"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    Program::start_ready(&arguments)
}

// ── Warm invocations ─────────────────────────────────────────────────────────────────────────────────────────────────

/// The same function called directly, over a socket pair as the agent does, and through the gateway, in turns.
fn warm(servers: &str) {
    let agent = agent(servers, &["agent.runtimes.python3.pool=4"]);
    agent.register("warm", "python3", CODE);
    let mut gateway = Http::new(TcpStream::connect(agent.url.trim_start_matches("http://")).unwrap());
    let (mut shim, direct) = shim();
    let mut direct = Http::new(direct);
    direct.post("/init", &serde_json::json!({"value": {"name": "warm", "main": "main", "code": CODE}}).to_string());
    let invoke = "/apps/warm/functions/main";
    for _ in 0..200 {
        gateway.post(invoke, "{}");
        direct.post("/run", "{\"value\":{}}");
    }
    let (mut through, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..CALLS {
        alone.push(timed(|| direct.post("/run", "{\"value\":{}}")));
        through.push(timed(|| gateway.post(invoke, "{}")));
    }
    let (through, alone) = (Percentiles::of(through), Percentiles::of(alone));
    println!("a warm invocation, {CALLS} calls one after the other (ms: median, p99)");
    println!("  {:<36} {:>8.3} {:>8.3}", "the function, called directly", alone.p50, alone.p99);
    println!("  {:<36} {:>8.3} {:>8.3}", "through the gateway", through.p50, through.p99);
    println!("  {:<36} {:>8.3} {:>8.3}", "added", through.p50 - alone.p50, through.p99 - alone.p99);
    drop(direct);
    shim.wait().unwrap();

    (0..CLIENTS).for_each(|client| agent.register(&format!("warm-{client}"), "python3", CODE));
    let began = Instant::now();
    let counts: Vec<_> = std::thread::scope(|scope| {
        let address = agent.url.trim_start_matches("http://");
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || {
                    let mut http = Http::new(TcpStream::connect(address).unwrap());
                    let path = format!("/apps/warm-{client}/functions/main");
                    let mut took = Vec::new();
                    while began.elapsed() < LOAD {
                        took.push(timed(|| http.post(&path, "{}")));
                    }
                    took
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let took = counts.concat();
    let rate = took.len() as f64 / began.elapsed().as_secs_f64();
    let took = Percentiles::of(took);
    println!("  {CLIENTS} clients at once: {rate:.0} a second; each {:.3} and {:.3} ms", took.p50, took.p99);
}

/// The bundled shim of Python with the other end of its connection.
fn shim() -> (std::process::Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/runtimes/python3/shim.py");
    let shim = Command::new("python3")
        .args(["-u", path])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (shim, ours)
}

// ── Starts ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/// How long an app waits to be loaded: into a pooled runtime, and into one that is created.
fn starts(servers: &str) {
    println!("loading an app, {STARTS} each, one after the other (ms: median, p99)");
    for (kind, code) in
        [("python3", CODE), ("nodejs", "function main() { return {} }"), ("sh", "main() { echo '{}'; }")]
    {
        let [pooled, created] = [4, 0].map(|pool| {
            let setting = format!("agent.runtimes.{kind}.pool={pool}");
            let most = format!("agent.runtimes.{kind}.pool_max={pool}");
            let agent = agent(servers, &[&setting, &most]);
            let mut http = Http::new(TcpStream::connect(agent.url.trim_start_matches("http://")).unwrap());
            let took = (0..STARTS).map(|i| {
                agent.register(&format!("app-{i}"), kind, code);
                // For the pool to be full again, and the machine to be quiet.
                std::thread::sleep(Duration::from_millis(300));
                http.post(&format!("/apps/app-{i}/functions/main"), "{}")
            });
            Percentiles::of(took.collect())
        });
        println!(
            "  {kind:<8} specialised {:>7.1} {:>7.1}   created {:>7.1} {:>7.1}   {:.1} times",
            pooled.p50,
            pooled.p99,
            created.p50,
            created.p99,
            created.p50 / pooled.p50
        );
    }
}

// ── Decisions ────────────────────────────────────────────────────────────────────────────────────────────────────────

/// From the start of the agent until it has read a million decisions from a real broker.
fn decisions() {
    let Some(broker) = support::kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    support::topic::create_with(&bootstrap, &["pilotlight.decisions", "pilotlight.apps", "pilotlight.agents"], 8);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &bootstrap)
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "50")
        .set("queue.buffering.max.messages", "500000")
        .create()
        .unwrap();
    let now_ms = pilotlight::model::now_ms();
    for i in 0..DECISIONS {
        let app = format!("app-{i:07}");
        // Each has a window ahead within the next day: all wait for their moment.
        let from_ms = 3_600_000 + (i as i64 * 7_919) % 82_800_000;
        let decision = serde_json::json!({
            "app": app, "version": {"epoch": 0, "position": i}, "decided_at_ms": now_ms, "policy": "frontier",
            "regime": "histogram", "windows": [{"from_ms": from_ms, "until_ms": from_ms + 600_000}],
            "idle_since_ms": now_ms, "instances": 1, "memory_mb": 170.0,
            "expected": {"cold_probability": 0.1, "idle_mb_s": 100.0}, "valid_until_ms": now_ms + 90_000_000,
            "reason": "of 120 idle times, 115 ended within the window",
        });
        let payload = decision.to_string();
        while producer.send(BaseRecord::to("pilotlight.decisions").key(&app).payload(&payload)).is_err() {
            producer.poll(Duration::from_millis(10));
        }
    }
    producer.flush(Duration::from_secs(120)).unwrap();
    let began = Instant::now();
    let none = ["python3", "nodejs", "sh"].map(|kind| format!("agent.runtimes.{kind}.pool=0"));
    let agent = agent(&bootstrap, &none.each_ref().map(String::as_str));
    let took = began.elapsed();
    let (resident_mb, most_mb) = agent.resident_mb();
    assert_eq!(agent.metric("pilotlight_agent_decisions_total") as usize, DECISIONS);
    println!(
        "{DECISIONS} decisions from a broker: {:.1} s from the agent's start until it is ready, {resident_mb:.0} MB ({most_mb:.0} MB at most)",
        took.as_secs_f64()
    );
}

// ── Measuring ────────────────────────────────────────────────────────────────────────────────────────────────────────

struct Percentiles {
    p50: f64,
    p99: f64,
}

impl Percentiles {
    /// Nearest rank.
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |p: f64| values[((p * values.len() as f64).ceil() as usize).clamp(1, values.len()) - 1];
        Self { p50: at(0.5), p99: at(0.99) }
    }
}

/// How long it took, ms.
fn timed<R>(what: impl FnOnce() -> R) -> f64 {
    let began = Instant::now();
    std::hint::black_box(what());
    began.elapsed().as_secs_f64() * 1000.0
}

/// Requests over one connection, with as little of its own as can be.
struct Http<S: Read + Write>(BufReader<S>);

impl<S: Read + Write> Http<S> {
    fn new(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    /// The milliseconds that the answer says its app took to be loaded; 0 where it says none.
    fn post(&mut self, path: &str, body: &str) -> f64 {
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{path}: {line}");
        let (mut length, mut init_ms) = (0, 0.0);
        loop {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "x-pilotlight-init-ms" => init_ms = value.trim().parse().unwrap(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        init_ms
    }
}
