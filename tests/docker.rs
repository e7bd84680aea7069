//! Runtimes as containers of a real Docker engine: the whole cycle of a container's life, its limits, and nothing left of it,
//! whatever ends the agent.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use serde_json::{Value, json};
use support::docker::{Engine, IMAGE, node_of};
use support::program::{self, Program};
use support::topic::Writer;
use support::wait_for;

const NODE: &str = "test-node";
const PATIENCE: Duration = Duration::from_secs(120);
const MB: i64 = 1 << 20;
/// What a pooled runtime takes, and what an app does (see `Program::register`), MB.
const POOLED_MB: i64 = 30;
const APP_MB: i64 = 64;
/// Room for two apps, a pooled runtime, and one that is started in its place; not for three apps.
const NODE_MB: i64 = 190;

const CODE: &str = "\
import json, os, time
def main(args):
    if 'sleep' in args: time.sleep(args['sleep'])
    if 'mb' in args: return {'bytes': len(b'x' * (args['mb'] << 20))}
    return {'hello': 'world'}
def writes(args):
    with open(args['file'], 'w') as file: file.write('x')
    return {}
def sees(args):
    status = dict(line.split(':', 1) for line in open('/proc/self/status'))
    interfaces = [line.split(':')[0].strip() for line in list(open('/proc/net/dev'))[2:]]
    return {'effective': status['CapEff'].strip(), 'bounding': status['CapBnd'].strip(),
            'no_new_privileges': status['NoNewPrivs'].strip(), 'seccomp': status['Seccomp'].strip(),
            'interfaces': interfaces, 'environment': sorted(os.environ)}
";

/// Two engines at once would say little that one does not, and take long.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bus() -> (pilotlight::bus::Embedded, String) {
    let mut settings = pilotlight::config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    let bus = pilotlight::bus::Embedded::start(&mut settings).unwrap();
    let servers = bus.bootstrap_servers();
    (bus, servers)
}

/// An agent with one kind of runtime, in containers.
fn agent(servers: &str, host: &str, settings: &[&str]) -> Program {
    let own = [
        "topics.create=false",
        &format!("agent.node={NODE}"),
        &format!("agent.memory_mb={NODE_MB}"),
        &format!("agent.docker.host={host}"),
        &format!("agent.runtimes.py.image={IMAGE}"),
        "agent.runtimes.py.pool=1",
        &format!("agent.runtimes.py.memory_mb={POOLED_MB}.0"),
        "agent.runtimes.sh.pool=0",
        "agent.runtimes.python3.pool=0",
        "agent.runtimes.nodejs.pool=0",
        "agent.init_timeout=60s",
    ];
    let mut arguments = vec!["agent", "--bootstrap-servers", servers];
    own.iter().chain(settings).for_each(|setting| arguments.extend(["--set", setting]));
    Program::start_ready(&arguments)
}

fn wait_for_pool(agent: &Program) {
    wait_for("a pooled container", PATIENCE, || {
        let pools = agent.get_json("/pools");
        let pool = pools.as_array().unwrap().iter().find(|pool| pool["runtime"] == "py").unwrap().clone();
        (pool["waiting"] == 1).then_some(())
    });
}

/// What an agent did about an app, the latest last.
fn events(agent: &Program, app: &str, kind: &str) -> Vec<String> {
    let events = agent.get_json(&format!("/events?app={app}&last=1000"));
    let wanted = events.as_array().unwrap().iter().filter(|event| event["kind"] == kind);
    wanted.map(|event| event["detail"].as_str().unwrap().to_owned()).collect()
}

/// Invokes a function that must succeed: start temperature and answer.
fn call(agent: &Program, app: &str, function: &str, arguments: &Value) -> (String, Value) {
    let mut response =
        ureq::post(format!("{}/apps/{app}/functions/{function}", agent.url)).send(arguments.to_string()).unwrap();
    let start = response.headers().get("x-pilotlight-start").unwrap().to_str().unwrap().to_owned();
    (start, serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap())
}

/// The memory that the containers may take together, MB.
fn allowed_mb(engine: &Engine) -> i64 {
    let found = engine.ids().into_iter().filter_map(|id| engine.inspect(&id));
    found.map(|container| container.host_config.unwrap().memory.unwrap() / MB).sum()
}

fn check_limits(container: &ContainerInspectResponse, memory_mb: i64) {
    let limits = container.host_config.as_ref().unwrap();
    assert_eq!((limits.memory, limits.memory_swap), (Some(memory_mb * MB), Some(memory_mb * MB)));
    assert_eq!((limits.nano_cpus, limits.pids_limit), (Some(1_000_000_000), Some(256)));
    assert_eq!(limits.cap_drop, Some(vec!["ALL".to_owned()]));
    assert_eq!(limits.security_opt, Some(vec!["no-new-privileges".to_owned()]));
    assert_eq!(limits.readonly_rootfs, Some(true));
    assert!(limits.privileged != Some(true) && limits.binds.as_ref().is_none_or(Vec::is_empty));
}

fn wait_until_gone(engine: &Engine, ids: &[String]) {
    wait_for("no container", PATIENCE, || {
        let left = engine.ids();
        ids.iter().all(|id| !left.contains(id)).then_some(())
    });
    for id in ids {
        wait_for("no cgroup and no socket", PATIENCE, || engine.traces_of(id).is_empty().then_some(()));
    }
}

/// ms, of entries such as "in 12 ms (prewarmed)", in ascending order.
fn load_times(agent: &Program, apps: &[String]) -> Vec<u32> {
    let details = apps.iter().flat_map(|app| events(agent, app, "loaded"));
    let mut times: Vec<u32> = details.map(|detail| detail.split(' ').nth(1).unwrap().parse().unwrap()).collect();
    times.sort_unstable();
    times
}

#[test]
fn the_whole_cycle() {
    let _turn = one_at_a_time();
    let Some(engine) = Engine::start() else { return };
    let (_bus, servers) = bus();
    let mut agent = agent(&servers, &engine.host(), &[]);

    // Pool: a container without code, within its limits.
    wait_for_pool(&agent);
    let [pooled] = &engine.ids()[..] else { panic!("{:?}", engine.containers()) };
    check_limits(&engine.inspect(pooled).unwrap(), POOLED_MB);
    assert!(!engine.traces_of(pooled).is_empty(), "or else nothing is proved by there being none");

    // Specialise: the same container, within the app's limits, and what it sees from inside.
    agent.register("a", "py", CODE);
    let (start, answer) = call(&agent, "a", "main", &json!({}));
    assert_eq!((start.as_str(), answer), ("prewarmed", json!({"hello": "world"})));
    check_limits(&engine.inspect(pooled).unwrap(), APP_MB);
    let (start, seen) = call(&agent, "a", "sees", &json!({}));
    assert_eq!(start, "warm", "reuse");
    let none = "0000000000000000";
    let expected =
        json!({"effective": none, "bounding": none, "no_new_privileges": "1", "seccomp": "2", "interfaces": ["lo"]});
    assert!(expected.as_object().unwrap().iter().all(|(name, value)| seen[name] == *value), "{seen}");
    assert!(!seen["environment"].to_string().contains("XDG"), "{seen}");
    call(&agent, "a", "writes", &json!({"file": "/tmp/x"}));
    let refused = ureq::post(format!("{}/apps/a/functions/writes", agent.url)).send(r#"{"file": "/x"}"#);
    assert!(matches!(refused, Err(ureq::Error::StatusCode(502))), "{refused:?}");

    // More memory than the app declares: killed, said, replaced.
    let (status, _, body) = agent.invoke("a", r#"{"mb": 200}"#);
    assert!(status == 502 && body["error"].as_str().unwrap().contains("went away"), "{status} {body}");
    wait_until_gone(&engine, std::slice::from_ref(pooled));
    assert_eq!(agent.invoke("a", "{}").0, 200);

    // Unload at once, and load again ahead of the next call.
    wait_for_pool(&agent);
    let before = engine.ids();
    assert_eq!(before.len(), 2);
    let unloaded = events(&agent, "a", "unloaded").len();
    let idle_since_ms = pilotlight::model::now_ms();
    let decision = json!({
        "app": "a", "version": {"epoch": 0, "position": 1}, "decided_at_ms": idle_since_ms, "policy": "test",
        "regime": "histogram", "windows": [{"from_ms": 6_000, "until_ms": 3_600_000}], "idle_since_ms": idle_since_ms,
        "instances": 1, "valid_until_ms": idle_since_ms + 3_600_000, "reason": "a test"
    });
    let writer = Writer::open(&servers);
    writer.write("pilotlight.decisions", "a", decision.to_string().as_bytes());
    writer.flush();
    wait_for("an unload", PATIENCE, || (events(&agent, "a", "unloaded").len() > unloaded).then_some(()));
    let is_gone = |id: &String| engine.inspect(id).is_none();
    wait_for("its container to be gone", PATIENCE, || before.iter().any(is_gone).then_some(()));
    wait_for("a pre-warm", PATIENCE, || (!events(&agent, "a", "prewarmed").is_empty()).then_some(()));
    wait_for_pool(&agent);
    let ahead = engine.ids();
    assert_eq!(ahead.len(), 2);
    assert_eq!(call(&agent, "a", "main", &json!({})).0, "prewarmed");
    assert!(ahead.iter().all(|id| engine.inspect(id).is_some()), "nothing was created for it");

    // Evict: three apps and a pooled one do not fit.
    for app in ["b", "c", "d"] {
        agent.register(app, "py", CODE);
        assert_eq!(agent.invoke(app, "{}").0, 200);
        assert!(agent.metric("pilotlight_memory_mb") <= NODE_MB as f64);
    }
    let mut evicted = ["b", "c"].iter().flat_map(|app| events(&agent, app, "unloaded"));
    assert!(evicted.any(|why| why == "evicted: the node is full"));
    wait_for("what was evicted to be gone", PATIENCE, || (allowed_mb(&engine) <= NODE_MB).then_some(()));

    // How long it takes to give a waiting container an app, and later to create one.
    let apps: Vec<String> = (0..5).map(|i| format!("pooled-{i}")).collect();
    for app in &apps {
        agent.register(app, "py", CODE);
        wait_for_pool(&agent);
        assert_eq!(agent.invoke(app, "{}").1.as_deref(), Some("prewarmed"));
    }
    let specialised = load_times(&agent, &apps);

    // A crash, with functions at work, idle ones and pooled ones.
    let url = format!("{}/apps/d/functions/main", agent.url);
    let caller = std::thread::spawn(move || ureq::post(url).send(r#"{"sleep": 600}"#).is_err());
    wait_for("a function at work", PATIENCE, || {
        let warm = agent.get_json("/warm");
        let at_work = |app: &Value| app["app"] == "d" && app["busy"].as_u64().is_some_and(|busy| busy > 0);
        warm.as_array().unwrap().iter().any(at_work).then_some(())
    });
    let strays = engine.ids();
    agent.kill();
    assert!(caller.join().unwrap(), "its caller is told");
    drop(agent);
    let still_there: Vec<String> = strays.into_iter().filter(|id| engine.inspect(id).is_some()).collect();
    assert!(!still_there.is_empty(), "one at work does not notice");
    assert!(engine.containers().iter().all(|container| node_of(container) == Some(NODE)));
    // A node of another name leaves them alone.
    let other = self::agent(&servers, &engine.host(), &["agent.node=other-node", "agent.runtimes.py.pool=0"]);
    other.register("a", "py", CODE);
    assert_eq!(other.invoke("a", "{}").0, 200);
    assert!(
        still_there.iter().any(|id| engine.inspect(id).is_some_and(|found| found.state.unwrap().running == Some(true)))
    );
    assert_eq!(other.interrupt().0, Some(0));
    // The next agent of the node does not.
    let agent = self::agent(&servers, &engine.host(), &["agent.runtimes.py.pool=0"]);
    wait_until_gone(&engine, &still_there);
    let apps: Vec<String> = (0..5).map(|i| format!("created-{i}")).collect();
    for app in &apps {
        agent.register(app, "py", CODE);
        assert_eq!(agent.invoke(app, "{}").1.as_deref(), Some("cold"));
    }
    eprintln!(
        "ms to load an app into a pooled container: {specialised:?}, into a new one: {:?}",
        load_times(&agent, &apps)
    );

    // An orderly end leaves nothing either.
    let ids = engine.ids();
    assert!(!ids.is_empty());
    let (code, logs) = agent.interrupt();
    assert_eq!(code, Some(0), "{logs}");
    assert_eq!(engine.ids(), Vec::<String>::new(), "gone before the agent is");
    wait_until_gone(&engine, &ids);
}

#[test]
fn idle_containers_are_paused_and_networks_granted() {
    let _turn = one_at_a_time();
    let Some(engine) = Engine::start() else { return };
    let (_bus, servers) = bus();
    engine.create_network("granted");
    let agent = agent(&servers, &engine.host(), &["agent.docker.network=granted", "agent.docker.pause_idle=true"]);
    let all_are_paused = || {
        let found: Vec<_> = engine.ids().iter().filter_map(|id| engine.inspect(id)).collect();
        (found.len() == 2 && found.iter().all(|container| container.state.as_ref().unwrap().paused == Some(true)))
            .then_some(())
    };
    wait_for_pool(&agent);
    agent.register("a", "py", CODE);
    assert_eq!(agent.invoke("a", "{}").0, 200);
    wait_for("the app's and the pooled one to be paused", PATIENCE, all_are_paused);
    let (start, seen) = call(&agent, "a", "sees", &json!({}));
    let interfaces: BTreeSet<&str> = seen["interfaces"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!((start.as_str(), interfaces), ("warm", BTreeSet::from(["eth0", "lo"])));
    agent.register("b", "py", CODE);
    assert_eq!(call(&agent, "b", "main", &json!({})).0, "prewarmed", "a paused one of the pool");
    assert_eq!(agent.interrupt().0, Some(0));
    assert_eq!(engine.ids(), Vec::<String>::new());
    engine.remove_network("granted");
}

#[test]
fn without_an_engine_all_else_goes_on() {
    let (_bus, servers) = bus();
    let agent = agent(&servers, "unix:///nonexistent/docker.sock", &[]);
    agent.register("contained", "py", CODE);
    let (status, _, body) = agent.invoke("contained", "{}");
    let error = body["error"].as_str().unwrap();
    assert!(status == 502 && error.contains("'unix:///nonexistent/docker.sock' can't be reached"), "{status} {error}");
    agent.register("plain", "sh", "main() { echo '{}'; }");
    assert_eq!(agent.invoke("plain", "{}").0, 200);
    let (code, logs) = agent.interrupt();
    assert_eq!(code, Some(0));
    assert!(logs.contains("it is tried again until it works"), "{logs}");

    let refused = program::run(&["agent", "--set", "agent.docker.network=host"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("agent.docker.network"), "{refused:?}");
}
