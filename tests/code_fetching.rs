//! Code is fetched before it is needed, once, and checked; what goes wrong on the way to it stays with the app that it is of.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use pilotlight::model::{Decision, Regime, Successor, SuccessorOn, Version, Window, Windows, now_ms, sha256_hex};
use support::program::Program;
use support::s3::{BUCKET, S3};
use support::{topic, wait_for};
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(60);

/// The code that stands behind a path.
fn code(path: &str) -> String {
    format!("main() {{ echo '{{\"from\":\"{path}\"}}'; }}\n")
}

/// An HTTP server with code behind each path; how it gives it depends on how the path begins. Ends when dropped.
struct Server {
    runtime: Option<tokio::runtime::Runtime>,
    port: u16,
    desk: Arc<Desk>,
}

struct Desk {
    /// Requests by path.
    requests: Mutex<BTreeMap<String, usize>>,
    /// Whether what hangs goes on.
    released: watch::Sender<bool>,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let desk = Arc::new(Desk { requests: Mutex::default(), released: watch::channel(false).0 });
        let routes = Router::new().fallback(answer).with_state(Arc::clone(&desk));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { runtime: Some(runtime), port, desk }
    }

    fn uri(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn requests(&self, path: &str) -> usize {
        self.desk.requests.lock().unwrap().get(path).copied().unwrap_or(0)
    }

    fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn answer(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let count = {
        let mut requests = desk.requests.lock().unwrap();
        let count = requests.entry(path.clone()).or_default();
        *count += 1;
        *count
    };
    let kind = path[1..].split('/').next().unwrap();
    match kind {
        "code" => code(&path).into_response(),
        // Each fetch makes three requests at most.
        "flaky" if count <= 4 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        "flaky" => code(&path).into_response(),
        "moved" => Redirect::temporary("/code/moved").into_response(),
        "signed" if request.uri().query() == Some("signature=hush") => code(&path).into_response(),
        "signed" => StatusCode::FORBIDDEN.into_response(),
        "other" => "exit 1".into_response(),
        "hangs" => {
            desk.released.subscribe().wait_for(|released| *released).await.unwrap();
            code(&path).into_response()
        }
        // Byte by byte, and without saying how many there are.
        "slow" => stream(code(&path).into_bytes().chunks(1).map(Bytes::copy_from_slice).collect(), 20).into_response(),
        "large" => stream(vec![Bytes::from(vec![b'#'; 1 << 20]); 70], 0).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn stream(chunks: Vec<Bytes>, pause_ms: u64) -> Body {
    Body::from_stream(futures::stream::unfold(chunks.into_iter(), move |mut chunks| async move {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        Some((Ok::<_, std::io::Error>(chunks.next()?), chunks))
    }))
}

/// An embedded bus, an agent on it, and the folder of its code cache.
struct Node {
    bus: pilotlight::bus::Embedded,
    folder: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let mut settings = pilotlight::config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
        let bus = pilotlight::bus::Embedded::start(&mut settings).unwrap();
        Self { bus, folder: tempfile::tempdir().unwrap() }
    }

    fn agent(&self, settings: &[&str], variables: &[(&str, &str)]) -> Program {
        let bus = self.bus.bootstrap_servers();
        let cache = format!("agent.cache={}", self.folder.path().display());
        let mut arguments = vec!["agent", "--bootstrap-servers", &bus, "--set", "topics.create=false", "--set", &cache];
        settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
        let agent = Program::start_with(&arguments, variables);
        agent.wait_ready();
        agent
    }

    fn cached(&self, digest: &str) -> std::path::PathBuf {
        self.folder.path().join("code").join(digest)
    }

    /// Publishes that an app is to be loaded in `from_ms` from now on, and what follows it then with what probability.
    fn decide(&self, app: &str, from_ms: i64, successors: &[(&str, f64)]) {
        let successor = |&(app, probability): &(&str, f64)| Successor {
            app: app.to_owned(),
            on: SuccessorOn::Start,
            from_ms: 0,
            until_ms: 60_000,
            probability,
        };
        let decision = Decision {
            app: app.to_owned(),
            version: Version { epoch: 1, position: 1 },
            decided_at_ms: now_ms(),
            policy: "test".to_owned(),
            regime: Regime::Histogram,
            windows: Windows::from_slice(&[Window { from_ms, until_ms: 600_000 }]),
            idle_since_ms: now_ms(),
            instances: 1,
            runtime: None,
            memory_mb: None,
            code: None,
            successors: successors.iter().map(successor).collect(),
            expected: None,
            valid_until_ms: now_ms() + 3_600_000,
            reason: String::new(),
        };
        let writer = topic::Writer::open(&self.bus.bootstrap_servers());
        writer.write("pilotlight.decisions", app, &serde_json::to_vec(&decision).unwrap());
        writer.flush();
    }
}

fn register(agent: &Program, app: &str, uri: &str, sha256: &str) {
    let spec = serde_json::json!({"runtime": "sh", "memory_mb": 16, "code": {"uri": uri, "sha256": sha256}});
    assert_eq!(ureq::put(format!("{}/apps/{app}", agent.url)).send_json(spec).unwrap().status(), 204);
}

/// The app runs what stands behind the path.
fn runs(agent: &Program, app: &str, path: &str) {
    let (status, _, body) = agent.invoke(app, "{}");
    assert_eq!((status, &body["from"]), (200, &path.into()), "{app}: {body}");
}

fn fails(agent: &Program, app: &str, status: u16, text: &str) {
    let (found, _, body) = agent.invoke(app, "{}");
    assert!(found == status && body["error"].as_str().unwrap().contains(text), "{app}: {found} {body}");
}

fn wait_until_cached(agent: &Program, files: u64) {
    wait_for(&format!("{files} files in the cache"), PATIENCE, || {
        (agent.get_json("/cache")["files"] == files).then_some(())
    });
}

#[test]
fn a_window_ahead_finds_its_code_in_the_cache() {
    let (node, mut server) = (Node::new(), Server::start());
    let agent = node.agent(&[], &[]);
    let digest = |app: &str| sha256_hex(code(&format!("/code/{app}")).as_bytes());
    let apps = ["a", "likely", "unlikely"];
    // There is room: fetched at once.
    apps.iter().for_each(|app| register(&agent, app, &server.uri(&format!("/code/{app}")), &digest(app)));
    wait_until_cached(&agent, 3);
    // Another agent evicts them; a window is near: what it needs is fetched again, before it is loaded.
    apps.iter().for_each(|app| std::fs::remove_file(node.cached(&digest(app))).unwrap());
    node.decide("a", 8_000, &[("unlikely", 0.05), ("likely", 0.5), ("nobody-knows-it", 1.0)]);
    for app in ["a", "likely"] {
        wait_for("the code to be there again", PATIENCE, || node.cached(&digest(app)).exists().then_some(()));
    }
    server.stop();
    assert_eq!(apps.map(|app| server.requests(&format!("/code/{app}"))), [2, 2, 1]);
    let loaded = || agent.get_json("/events?app=a")[0]["kind"].as_str().map(str::to_owned);
    assert_eq!(wait_for("the app to be loaded", PATIENCE, loaded), "prewarmed");
    let (status, start, body) = agent.invoke("a", "{}");
    assert_eq!((status, start.as_deref()), (200, Some("prewarmed")), "{body}");
    assert_eq!(agent.metric("pilotlight_code_misses_total"), 0.0);
}

#[test]
fn a_damaged_file_is_fetched_again_and_a_server_that_is_down_harms_only_those_who_need_it() {
    let (node, mut server) = (Node::new(), Server::start());
    let digest = sha256_hex(code("/code/a").as_bytes());
    let agent = node.agent(&[], &[]);
    register(&agent, "first", &server.uri("/code/a"), &digest);
    wait_until_cached(&agent, 1);
    std::fs::write(node.cached(&digest), code("/code/b")).unwrap();
    // Of the same size, so that only its bytes tell.
    runs(&agent, "first", "/code/a");
    assert_eq!((server.requests("/code/a"), agent.metric("pilotlight_code_damaged_total")), (2, 1.0));
    assert_eq!(agent.interrupt().0, Some(0));

    server.stop();
    let agent = node.agent(&[], &[]);
    assert_eq!(agent.get_json("/cache")["files"], 1, "the cache survives a restart");
    for i in 0..4 {
        register(&agent, &format!("down-{i}"), &server.uri("/code/c"), &sha256_hex(code("/code/c").as_bytes()));
    }
    register(&agent, "second", &server.uri("/code/a"), &digest);
    runs(&agent, "second", "/code/a");
    fails(&agent, "down-0", 502, "/code/c' can't be read: Connection refused");
    wait_for("failures to be told", PATIENCE, || {
        let view = agent.get_json("/cache");
        (0..4).all(|i| view["failing"][format!("down-{i}")]["failures"].as_u64() > Some(1)).then_some(())
    });
    let (_, logs) = agent.interrupt();
    assert_eq!(logs.matches("not prefetched").count(), 4, "once an app:\n{logs}");
}

#[test]
fn what_a_server_does_wrong_is_told_and_what_it_does_late_is_waited_for() {
    let (node, server) = (Node::new(), Server::start());
    let patient = ["agent.init_timeout=60s", "agent.max_fetching=2", "agent.max_loading=2", "agent.runtimes.sh.pool=1"];
    let agent = node.agent(&patient, &[]);
    let digest = |path: &str| sha256_hex(code(path).as_bytes());
    let put =
        |app: &str, path: &str| register(&agent, app, &server.uri(path), &digest(path.split('?').next().unwrap()));

    // A fetch ahead of time that is under way is joined, not made twice.
    put("slow", "/slow/a");
    wait_for("a fetch", PATIENCE, || (server.requests("/slow/a") == 1).then_some(()));
    runs(&agent, "slow", "/slow/a");
    assert_eq!(server.requests("/slow/a"), 1);
    // What fails at first goes well in the end, without anybody asking.
    put("flaky", "/flaky/a");
    wait_until_cached(&agent, 2);
    assert_eq!(server.requests("/flaky/a"), 5);
    runs(&agent, "flaky", "/flaky/a");

    put("large", "/large/a");
    fails(&agent, "large", 502, "has more than 67108864 bytes");
    put("other", "/other/a");
    fails(&agent, "other", 502, &format!("has the sha256 {}: expected {}", sha256_hex(b"exit 1"), digest("/other/a")));
    put("missing", "/missing/a");
    fails(&agent, "missing", 502, "/missing/a' can't be fetched: its server answers 404");
    let unchecked = serde_json::json!({"runtime": "sh", "code": {"uri": server.uri("/code/unchecked")}});
    ureq::put(format!("{}/apps/unchecked", agent.url)).send_json(unchecked).unwrap();
    runs(&agent, "unchecked", "/code/unchecked");
    register(&agent, "moved", &server.uri("/moved/a"), &digest("/code/moved"));
    runs(&agent, "moved", "/code/moved");
    // A query may be a signature: it goes to the server and nowhere else.
    put("signed", "/signed/a?signature=hush");
    runs(&agent, "signed", "/signed/a");
    put("refused", "/signed/b?signature=hush-hush");
    fails(&agent, "refused", 502, "/signed/b' can't be fetched: its server answers 403");
    let events = wait_for("the events", PATIENCE, || {
        let events = topic::read_json(&node.bus.bootstrap_servers(), "pilotlight.invocations");
        let is_there = |app: &str| events.iter().any(|event| event["app"] == app);
        (is_there("signed") && is_there("refused")).then(|| serde_json::to_string(&events).unwrap())
    });
    for text in [agent.logs(), agent.get("/cache"), agent.get("/metrics"), events] {
        assert!(!text.contains("hush"), "{text}");
    }

    // Servers that do not answer hold up nobody whose code is there, however many wait for them.
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..6)
            .map(|i| {
                let (app, path) = (format!("hangs-{i}"), format!("/hangs/{i}"));
                put(&app, &path);
                let agent = &agent;
                scope.spawn(move || runs(agent, &app, &path))
            })
            .collect();
        wait_for("fetches that hang", PATIENCE, || {
            let asked = (0..6).filter(|i| server.requests(&format!("/hangs/{i}")) > 0).count();
            (asked >= 2).then_some(())
        });
        for i in 0..3 {
            let app = format!("there-{i}");
            register(&agent, &app, &server.uri("/slow/a"), &digest("/slow/a"));
            runs(&agent, &app, "/slow/a");
        }
        assert!(waiting.iter().all(|call| !call.is_finished()));
        server.desk.released.send(true).unwrap();
        waiting.into_iter().for_each(|call| call.join().unwrap());
    });
    assert!((0..6).all(|i| server.requests(&format!("/hangs/{i}")) == 1));
    assert_eq!(server.requests("/slow/a"), 1);
}

#[test]
fn code_comes_from_a_bucket() {
    let Some(s3) = S3::start() else { return };
    let node = Node::new();
    let variables = s3.variables();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let agent = node.agent(&[], &variables);
    let (uri, there) = (format!("s3://{BUCKET}/apps/a b.sh"), code("/in/a/bucket"));
    s3.put("apps/a%20b.sh", there.as_bytes());
    register(&agent, "there", &uri, &sha256_hex(there.as_bytes()));
    wait_until_cached(&agent, 1);
    runs(&agent, "there", "/in/a/bucket");
    assert_eq!(agent.metric("pilotlight_code_misses_total"), 0.0);
    register(&agent, "missing", &format!("s3://{BUCKET}/apps/none.sh"), &sha256_hex(b""));
    fails(&agent, "missing", 502, "apps/none.sh' can't be fetched: its server answers 404");
    assert!(Path::new(&node.cached(&sha256_hex(there.as_bytes()))).is_file());
}
