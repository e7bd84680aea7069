//! Agents of one fleet share the apps: whichever is asked, an app runs at its home; what is registered with one is
//! known to all; and when one is killed, its callers get an answer or are told what may have happened, and the others
//! take its apps over.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};
use support::program::{Program, free_port};
use support::{kafka, schema, topic, wait_for};

const PATIENCE: Duration = Duration::from_secs(120);
const NODES: [&str; 3] = ["a", "b", "c"];
const APPS: usize = 24;
const HOUR: Duration = Duration::from_secs(3600);

fn app(i: usize) -> String {
    format!("app-{i}")
}

/// An app that writes down what it is called with, so that executions can be counted.
fn diary(file: &std::path::Path) -> String {
    format!("main() {{ id=${{1#*:\\\"}}; echo \"${{id%%\\\"*}}\" >> '{}'; echo '{{}}'; }}", file.display())
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
fn decide(bootstrap: &str, apps: impl Iterator<Item = String>, from: Duration, until: Duration, valid: Duration) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).set("partitioner", "murmur2_random").create().unwrap();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    for app in apps {
        let decision = json!({
            "app": app, "version": {"epoch": 0, "position": now_ms}, "decided_at_ms": now_ms, "policy": "fixed",
            "regime": "override", "idle_since_ms": now_ms, "instances": 1, "valid_until_ms": now_ms + valid.as_millis() as i64,
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

#[test]
fn whichever_is_asked_and_whichever_is_killed() {
    let Some(broker) = kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    let folder = tempfile::tempdir().unwrap();
    let executed = folder.path().join("executed");
    let mut agents: Vec<Program> = NODES.iter().map(|node| start(&bootstrap, node, &[])).collect();
    agents.iter().for_each(Program::wait_ready);
    settled(&agents.iter().collect::<Vec<_>>(), &NODES);

    // What is registered with one is known to all, and runs at its home.
    (0..APPS).for_each(|i| agents[i % 3].register(&app(i), "sh", &diary(&executed)));
    let client = client();
    let mut home_of = BTreeMap::new();
    for i in 0..APPS {
        let ran_at = agents.iter().enumerate().map(|(at, agent)| {
            wait_for("the app is known", PATIENCE, || {
                let answer = invoke(&client, &agent.url, &app(i), &format!("first-{i}-{at}")).unwrap();
                (answer.status == 200).then_some(answer.node.unwrap())
            })
        });
        let ran_at: BTreeSet<String> = ran_at.collect();
        assert_eq!(ran_at.len(), 1, "{} ran at {ran_at:?}", app(i));
        home_of.insert(app(i), ran_at.first().unwrap().clone());
    }
    assert!(home_of.values().map(String::as_str).collect::<BTreeSet<_>>().len() == 3, "each has some: {home_of:?}");
    print_added_latency(&client, &agents);

    // Their decisions are acted on at their homes.
    decide(&bootstrap, (0..APPS).map(app), Duration::from_millis(1), HOUR, HOUR);
    let at_home = |agent: &Program, node: &str| {
        let apps = home_of.iter().filter(|(_, home)| *home == node).map(|(app, _)| app.clone());
        let apps: BTreeSet<String> = apps.collect();
        wait_for("all are loaded at home", PATIENCE, || loaded(agent).is_superset(&apps).then_some(()));
    };
    agents.iter().zip(NODES).for_each(|(agent, node)| at_home(agent, node));

    // One is killed at load, while callers call the others.
    let victim = NODES[1];
    let orphans = home_of.iter().filter(|(_, home)| *home == victim).map(|(app, _)| app.clone());
    let orphans: BTreeSet<String> = orphans.collect();
    let uncalled = orphans.iter().filter(|app| !called().any(|called| called == **app)).count();
    assert!(uncalled > 0, "what is loaded of these, decisions have loaded: {orphans:?}");
    let mut killed = agents.remove(1);
    let (calls, ()) = at_load("kill", &agents, || {
        killed.kill();
        let began = Instant::now();
        settled(&agents.iter().collect::<Vec<_>>(), &[NODES[0], NODES[2]]);
        let took = began.elapsed();
        wait_for("the orphans are loaded", PATIENCE, || {
            let loaded: BTreeSet<String> = agents.iter().flat_map(loaded).collect();
            loaded.is_superset(&orphans).then_some(())
        });
        println!("taken over in {took:.1?}; its {} apps loaded after {:.1?}", orphans.len(), began.elapsed());
    });
    println!("calls while one was killed, by status: {:?}", told(&calls, &executed));

    // It comes back under its name, knows what was registered, and gets its share.
    agents.insert(1, start(&bootstrap, victim, &[]));
    agents[1].wait_ready();
    assert_eq!(agents[1].get_json("/apps").as_object().unwrap().len(), APPS + 1);
    settled(&agents.iter().collect::<Vec<_>>(), &NODES);
    let homes: Vec<(String, String)> =
        (0..APPS).map(|i| (app(i), invoke(&client, &agents[0].url, &app(i), "last").unwrap().node.unwrap())).collect();
    wait_for("each app is loaded at its home", PATIENCE, || {
        let loaded: Vec<BTreeSet<String>> = agents.iter().map(loaded).collect();
        let is_home = |home: &String, app: &String| {
            NODES.iter().zip(&loaded).any(|(node, apps)| home == node && apps.contains(app))
        };
        homes.iter().all(|(app, home)| is_home(home, app)).then_some(())
    });
    assert!(homes.iter().any(|(_, home)| home == victim), "{homes:?}");
    let let_go = agents.iter().any(|agent| agent.get("/events?last=10000").contains("another node is its home now"));
    assert!(let_go, "what it got, the others have let go of");

    // What is taken out is unknown to all.
    let deleted = client.delete(format!("{}/apps/{}", agents[2].url, app(0))).call().unwrap();
    assert_eq!(deleted.status(), 204);
    wait_for("the app is gone", PATIENCE, || {
        agents.iter().all(|agent| agent.invoke(&app(0), "{}").0 == 404).then_some(())
    });

    // What stands on the topics is as the schemas say.
    for (name, topic) in [("app.v1.json", "pilotlight.apps"), ("agent.v1.json", "pilotlight.agents")] {
        let records = topic::read_json(&bootstrap, topic);
        let schema = schema(name);
        assert!(records.len() > 3);
        records.iter().for_each(|record| assert!(schema.is_valid(record), "{topic}: {record}"));
    }

    // One that is asked to end at load says so, and nobody is the worse for it.
    let ending = agents.remove(2);
    let (calls, (code, logs)) = at_load("end", &agents, || ending.interrupt());
    assert_eq!(code, Some(0), "{logs}");
    println!("calls while one ended, by status: {:?}", told(&calls, &executed));
    let said = topic::compacted(&bootstrap, "pilotlight.agents");
    assert!(said["c"].payload.is_none() && said["a"].payload.is_some(), "who ends says so");
}

/// The apps that are called at load; the others only decisions keep loaded.
fn called() -> impl Iterator<Item = String> {
    (2..APPS).step_by(2).map(app)
}

type Calls = Vec<(String, Option<Answer>)>;

/// Does something while callers call apps at `agents`, from two seconds before it to a second after.
fn at_load<R>(name: &str, agents: &[Program], act: impl FnOnce() -> R) -> (Calls, R) {
    /// Also where `act` panics: the callers are waited for.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (done, calls) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let apps: Vec<String> = called().collect();
    let result = std::thread::scope(|scope| {
        let _done = Done(&done);
        for caller in 0..4 {
            let (done, calls, apps) = (&done, &calls, &apps);
            scope.spawn(move || {
                let client = client();
                for number in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
                    let id = format!("{name}-{caller}-{number}");
                    let url = &agents[(caller + number / apps.len()) % agents.len()].url;
                    let answer = invoke(&client, url, &apps[number % apps.len()], &id);
                    calls.lock().unwrap().push((id, answer));
                }
            });
        }
        std::thread::sleep(Duration::from_secs(2));
        let result = act();
        std::thread::sleep(Duration::from_secs(1));
        result
    });
    (calls.into_inner().unwrap(), result)
}

/// Checks that each caller knows what may have happened, by what was really executed; the calls by status.
fn told(calls: &Calls, executed: &std::path::Path) -> BTreeMap<u16, usize> {
    let text = std::fs::read_to_string(executed).unwrap();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    text.lines().for_each(|id| *times.entry(id).or_default() += 1);
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for (id, answer) in calls {
        let answer = answer.as_ref().unwrap_or_else(|| panic!("{id} got no answer"));
        *counts.entry(answer.status).or_default() += 1;
        let times = times.get(id.as_str()).copied().unwrap_or_default();
        match answer.status {
            200 => assert_eq!(times, 1, "{id}"),
            503 => assert_eq!(times, 0, "{id}"),
            502 => assert!(times <= 1 && answer.text.contains("it may have been executed"), "{id}: {}", answer.text),
            other => panic!("{id}: {other} {}", answer.text),
        }
    }
    assert!(counts.get(&200).is_some_and(|answered| *answered > 50), "{counts:?}");
    counts
}

/// What a pass-on adds: a warm app that does nothing, asked for at its home and at another agent.
fn print_added_latency(client: &ureq::Agent, agents: &[Program]) {
    let quick = "quick";
    agents[0].register(quick, "sh", "main() { echo '{}'; }");
    let node = invoke(client, &agents[0].url, quick, "x").unwrap().node;
    let home = NODES.iter().position(|home| node.as_deref() == Some(*home)).unwrap();
    wait_for("all know it", PATIENCE, || {
        agents.iter().all(|agent| agent.get_json("/apps")[quick].is_object()).then_some(())
    });
    let mut times = [home, (home + 1) % 3].map(|at| {
        let mut times: Vec<Duration> = (0..300)
            .map(|_| {
                let began = Instant::now();
                assert_eq!(invoke(client, &agents[at].url, quick, "timed").unwrap().status, 200);
                began.elapsed()
            })
            .collect();
        times.sort();
        times
    });
    for (what, times) in ["at its home", "passed on"].iter().zip(&mut times) {
        println!("a warm invocation {what}: median {:.2?}, 99 % {:.2?}", times[150], times[297]);
    }
}

#[test]
fn without_kafka_each_goes_on_with_what_it_has() {
    let Some(mut broker) = kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    let agents = NODES.map(|node| start(&bootstrap, node, &["agent.default_keep_alive=3s"]));
    agents.iter().for_each(Program::wait_ready);
    let all: Vec<&Program> = agents.iter().collect();
    settled(&all, &NODES);
    (0..8).for_each(|i| agents[0].register(&app(i), "sh", "main() { echo '{}'; }"));
    wait_for("the others know them too", PATIENCE, || {
        let know = |agent: &Program| agent.get_json("/apps").as_object().unwrap().len() == 8;
        agents.iter().all(know).then_some(())
    });
    decide(&bootstrap, (0..6).map(app), Duration::from_millis(1), HOUR, HOUR);
    decide(&bootstrap, (6..8).map(app), Duration::from_millis(1), HOUR, Duration::from_secs(45));
    let at_home = || -> Vec<BTreeSet<String>> { agents.iter().map(loaded).collect() };
    let before = wait_for("all are loaded", PATIENCE, || {
        let at_home = at_home();
        (at_home.iter().map(BTreeSet::len).sum::<usize>() == 8).then_some(at_home)
    });

    broker.stop();
    let stopped = Instant::now();
    agents.iter().for_each(|agent| {
        wait_for("it is said", PATIENCE, || (agent.status("/readyz") == Some(503)).then_some(()));
    });
    // For longer than the session of the group.
    std::thread::sleep(Duration::from_secs(10));
    let client = client();
    for i in 0..8 {
        let home = before.iter().position(|apps| apps.contains(&app(i))).unwrap();
        for agent in &agents {
            let answer = invoke(&client, &agent.url, &app(i), "x").unwrap();
            assert_eq!((answer.status, answer.node.as_deref()), (200, Some(NODES[home])), "{}", answer.text);
        }
    }
    wait_for("all are loaded where they were", PATIENCE, || (at_home() == before).then_some(()));

    // What was decided for a while is over then, and the agents' own default holds.
    std::thread::sleep(Duration::from_secs(60).saturating_sub(stopped.elapsed()));
    let of_long = |apps: &BTreeSet<String>| apps.iter().filter(|name| **name < app(6)).cloned().collect();
    let in_force: Vec<BTreeSet<String>> = before.iter().map(of_long).collect();
    assert_eq!(at_home(), in_force);

    broker.restart();
    agents.iter().for_each(Program::wait_ready);
    settled(&all, &NODES);
    wait_for("each app that should be is loaded at one agent", PATIENCE, || {
        let loaded: BTreeSet<String> = at_home().into_iter().flatten().collect();
        (loaded.len() == 6 && at_home().iter().map(BTreeSet::len).sum::<usize>() == 6).then_some(())
    });
}

#[test]
fn a_home_that_is_full_leaves_it_to_who_was_asked() {
    let Some(broker) = kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    // One app of 64 MB at a time.
    let agents: Vec<Program> =
        NODES[..2].iter().map(|node| start(&bootstrap, node, &["agent.memory_mb=100"])).collect();
    agents.iter().for_each(Program::wait_ready);
    settled(&agents.iter().collect::<Vec<_>>(), &NODES[..2]);
    (0..8).for_each(|i| agents[0].register(&app(i), "sh", "main() { case $1 in *long*) sleep 3;; esac; echo '{}'; }"));
    let client = client();
    let asked = |i: usize, argument: &str| invoke(&client, &agents[0].url, &app(i), argument).unwrap();
    let away: Vec<usize> = (0..8).filter(|i| asked(*i, "x").node.as_deref() == Some("b")).collect();
    let (busy, other) = (away[0], away[1]);
    std::thread::scope(|scope| {
        let long = scope.spawn(|| asked(busy, "long"));
        wait_for("the home is busy", PATIENCE, || {
            let warm = agents[1].get_json("/warm");
            warm.as_array().unwrap().iter().any(|app| app["busy"].as_u64() == Some(1)).then_some(())
        });
        let answer = asked(other, "x");
        assert_eq!((answer.status, answer.node.as_deref()), (200, Some("a")), "{}", answer.text);
        let answer = long.join().unwrap();
        assert_eq!((answer.status, answer.node.as_deref()), (200, Some("b")), "{}", answer.text);
    });
    assert_eq!(asked(other, "x").node.as_deref(), Some("b"), "when there is room again");
}

#[test]
fn a_tenant_does_what_its_token_says_and_no_more() {
    let mut settings = pilotlight::config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    let bus = pilotlight::bus::Embedded::start(&mut settings).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let token = |tenant: &str, key: &str| {
        let path = folder.path().join(tenant);
        std::fs::write(&path, format!("secret-of-{tenant}\n")).unwrap();
        format!("agent.tokens.{key}={}", path.display())
    };
    let sets = [token("acme", "acme"), token("other", "other"), token("operator", "*")];
    let mut more = vec!["topics.create=false", "agent.fleet="];
    more.extend(sets.iter().map(String::as_str));
    let agent = start(&bus.bootstrap_servers(), "a", &more);
    agent.wait_ready();
    let client = client();
    let bearer = |who: &str| format!("Bearer secret-of-{who}");
    let put = |who: &str, app: &str, tenant: Option<&str>| {
        let mut spec = json!({"runtime": "sh", "code": {"uri": "data:,main()%20%7B%20echo%20'%7B%7D'%3B%20%7D"}});
        tenant.into_iter().for_each(|tenant| spec["tenant"] = tenant.into());
        let request = client.put(format!("{}/apps/{app}", agent.url)).header("authorization", bearer(who));
        request.send_json(spec).unwrap().status().as_u16()
    };
    let call = |who: Option<&str>, app: &str| {
        let request = client.post(format!("{}/apps/{app}/functions/main", agent.url));
        let request = who.into_iter().fold(request, |request, who| request.header("authorization", bearer(who)));
        let mut answer = request.send("{}").unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    let see = |who: &str, path: &str| -> (u16, Value) {
        let mut answer =
            client.get(format!("{}{path}", agent.url)).header("authorization", bearer(who)).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
    };

    assert_eq!([put("acme", "shop", None), put("other", "bank", Some("other"))], [204, 204]);
    assert_eq!(
        [put("other", "shop", None), put("acme", "mine", Some("other")), put("nobody", "x", None)],
        [403, 403, 401]
    );
    assert_eq!(put("operator", "mail", Some("acme")), 204);
    for (who, app, status, text) in [
        (Some("acme"), "shop", 200, ""),
        (Some("acme"), "mail", 200, ""),
        (Some("operator"), "bank", 200, ""),
        (Some("acme"), "bank", 403, "does not belong to the tenant of this token"),
        (Some("nobody"), "shop", 401, "the token is not known here"),
        (None, "shop", 401, "send the header 'Authorization: Bearer TOKEN'"),
        (Some("acme"), "none", 404, "is not known here"),
    ] {
        let (found, said) = call(who, app);
        assert!(found == status && said.contains(text), "{who:?} {app}: {found} {said}");
    }

    let (_, apps) = see("acme", "/apps");
    assert_eq!(apps.as_object().unwrap().keys().collect::<Vec<_>>(), ["mail", "shop"]);
    assert_eq!(apps["shop"]["tenant"], "acme", "the token says whose it is");
    let (_, events) = see("other", "/events");
    assert!(events.as_array().unwrap().iter().all(|event| event["app"] == "bank") && events[0].is_object(), "{events}");
    assert_eq!([see("acme", "/pools").0, see("acme", "/agents").0, see("operator", "/pools").0], [403, 403, 200]);
    let delete = |who: &str| {
        let request = client.delete(format!("{}/apps/shop", agent.url)).header("authorization", bearer(who));
        request.call().unwrap().status().as_u16()
    };
    assert_eq!([delete("other"), delete("acme"), delete("acme")], [403, 204, 404]);
    assert!(!agent.logs().contains("secret-of-") && agent.status("/readyz") == Some(200));
}

#[test]
fn nobody_listens_to_everybody_by_accident() {
    let listen = format!("0.0.0.0:{}", free_port());
    let said = support::program::run(&["agent", "--listen", &listen, "--bootstrap-servers", "127.0.0.1:1"]);
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(2), "{text}");
    assert!(text.contains("agent.listen") && text.contains("tokens under [agent.tokens]"), "{text}");
}
