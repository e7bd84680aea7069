//! Agents of one fleet share the apps: whichever is asked, an app runs at its home; what is registered with one is known to
//! all; and when one is killed, its callers get an answer or are told what may have happened, and the others take its apps
//! over.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};
use support::program::{Program, free_port};
use support::{kafka, schema, topic, wait_for};

const PATIENCE: Duration = Duration::from_secs(120);
const NODES: [&str; 3] = ["a", "b", "c"];

/// What `main` of an app does: writes its argument down, so that what was executed can be counted.
fn diary(file: &std::path::Path) -> String {
    let file = file.display();
    format!(
        "main() {{ id=$(printf '%s' \"$1\" | sed -n 's/.*\"id\":\"\\([^\"]*\\)\".*/\\1/p'); echo \"$id\" >> {file}; echo '{{}}'; }}"
    )
}

fn start(bootstrap: &str, node: &str, more: &[&str]) -> Program {
    let node = format!("agent.node={node}");
    let own = [
        &node,
        // Only what is called or decided is loaded.
        "agent.runtimes.sh.pool=0",
        "agent.runtimes.python3.pool=0",
        "agent.runtimes.nodejs.pool=0",
        "agent.memory_mb=4096",
    ];
    let mut arguments = vec!["agent", "--bootstrap-servers", bootstrap];
    own.iter().chain(more).for_each(|setting| arguments.extend(["--set", setting]));
    Program::start_at(&format!("127.0.0.1:{}", free_port()), &arguments, &[])
}

/// The partitions of each node, as an agent sees them.
fn homes(agent: &Program) -> BTreeMap<String, BTreeSet<i64>> {
    let agents = agent.get_json("/agents");
    let partitions = |agent: &Value| {
        agent["partitions"].as_array().unwrap().iter().map(|claim| claim["partition"].as_i64().unwrap()).collect()
    };
    agents
        .as_array()
        .unwrap()
        .iter()
        .map(|agent| (agent["node"].as_str().unwrap().to_owned(), partitions(agent)))
        .collect()
}

/// Waits until all of `agents` agree that all eight partitions have a home among `nodes`, each with some.
fn settled(agents: &[&Program], nodes: &[&str]) -> BTreeMap<String, BTreeSet<i64>> {
    wait_for("the same homes everywhere", PATIENCE, || {
        let mut seen = homes(agents[0]);
        seen.retain(|_, partitions| !partitions.is_empty());
        let all: Vec<i64> = seen.values().flatten().copied().collect();
        let whole = all.len() == 8 && all.iter().collect::<BTreeSet<_>>().len() == 8;
        let agreed = agents.iter().all(|agent| {
            let mut theirs = homes(agent);
            theirs.retain(|_, partitions| !partitions.is_empty());
            theirs == seen
        });
        (whole && agreed && seen.keys().map(String::as_str).eq(nodes.iter().copied())).then_some(seen)
    })
}

struct Answer {
    status: u16,
    node: Option<String>,
    text: String,
}

fn client() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
    config.build().into()
}

fn invoke(client: &ureq::Agent, url: &str, app: &str, id: &str) -> Option<Answer> {
    let mut answer =
        client.post(format!("{url}/apps/{app}/functions/main")).send(json!({"id": id}).to_string()).ok()?;
    let node = answer.headers().get("x-pilotlight-node").map(|node| node.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    Some(Answer { status, node, text: answer.body_mut().read_to_string().ok()? })
}

/// Publishes, for each app, that it is to be loaded from `from` to `until` after now.
fn decide(bootstrap: &str, apps: impl Iterator<Item = String>, from: Duration, until: Duration) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).set("partitioner", "murmur2_random").create().unwrap();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    for app in apps {
        let decision = json!({
            "app": app, "version": {"epoch": 0, "position": now_ms}, "decided_at_ms": now_ms, "policy": "fixed",
            "regime": "override", "idle_since_ms": now_ms, "instances": 1, "valid_until_ms": now_ms + 3_600_000,
            "windows": [{"from_ms": from.as_millis(), "until_ms": until.as_millis()}], "reason": "a test wants it"
        });
        let payload = decision.to_string();
        producer.send(BaseRecord::to("pilotlight.decisions").key(&app).payload(&payload)).ok().unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// The apps of which something is loaded.
fn loaded(agent: &Program) -> BTreeSet<String> {
    let warm = agent.get_json("/warm");
    let idle = warm.as_array().unwrap().iter().filter(|app| app["idle"].as_u64().unwrap() > 0);
    idle.map(|app| app["app"].as_str().unwrap().to_owned()).collect()
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * percent / 100]
}

#[test]
fn whichever_is_asked_and_whichever_is_killed() {
    let Some(broker) = kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("executed");
    let mut agents: Vec<Program> = NODES.iter().map(|node| start(&bootstrap, node, &[])).collect();
    agents.iter().for_each(Program::wait_ready);
    let all: Vec<&Program> = agents.iter().collect();
    let before = settled(&all, &NODES);
    println!("homes: {before:?}");

    // What is registered with one is known to all, and runs at its home.
    let app = |i: usize| format!("app-{i}");
    const APPS: usize = 24;
    (0..APPS).for_each(|i| agents[0].register(&app(i), "sh", &diary(&written)));
    let client = client();
    let mut home_of = BTreeMap::new();
    for i in 0..APPS {
        let mut nodes = BTreeSet::new();
        for (at, agent) in agents.iter().enumerate() {
            let answer = wait_for("the app is known", PATIENCE, || {
                let answer = invoke(&client, &agent.url, &app(i), &format!("first-{i}-{at}")).unwrap();
                (answer.status != 404).then_some(answer)
            });
            assert_eq!(answer.status, 200, "{}", answer.text);
            nodes.insert(answer.node.unwrap());
        }
        assert_eq!(nodes.len(), 1, "{} ran at {nodes:?}", app(i));
        home_of.insert(app(i), nodes.pop_first().unwrap());
    }
    assert_eq!(home_of.values().collect::<BTreeSet<_>>().len(), 3, "each has some: {home_of:?}");

    // What a pass-on adds: the same warm app, asked for at its home and at another.
    let home = NODES.iter().position(|node| *node == home_of[&app(0)]).unwrap();
    let mut medians = [home, (home + 1) % 3].map(|at| {
        let mut times: Vec<Duration> = (0..200)
            .map(|_| {
                let began = Instant::now();
                assert_eq!(invoke(&client, &agents[at].url, &app(0), "timed").unwrap().status, 200);
                began.elapsed()
            })
            .collect();
        [percentile(&mut times, 50), percentile(&mut times, 99)]
    });
    println!("warm at the home (p50, p99): {:?}; passed on: {:?}", medians[0], medians[1]);
    medians.reverse();
}
