//! Pools of unspecialised runtimes follow demand; what was loaded is used again as far as the operator allows, never across
//! tenants.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::time::Duration;

use support::program::Program;
use support::wait_for;

fn agent(bus: &str, settings: &[&str]) -> Program {
    let own = [
        "topics.create=false",
        "agent.runtimes.sh.pool=1",
        "agent.runtimes.python3.pool=0",
        "agent.runtimes.nodejs.pool=0",
    ];
    let mut arguments = vec!["agent", "--bootstrap-servers", bus];
    own.iter().chain(settings).for_each(|setting| arguments.extend(["--set", setting]));
    Program::start_ready(&arguments)
}

/// A figure of the pool of `sh`.
fn pool(agent: &Program, figure: &str) -> u64 {
    let pools = agent.get_json("/pools");
    let sh = pools.as_array().unwrap().iter().find(|pool| pool["runtime"] == "sh").unwrap();
    sh[figure].as_u64().unwrap()
}

const CODE: &str = "main() { echo '{}'; }";

#[test]
fn a_pool_grows_with_demand_up_to_its_ceiling_and_says_when_it_was_empty() {
    let mut settings = pilotlight::config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    let bus = pilotlight::bus::Embedded::start(&mut settings).unwrap();
    let agent = agent(&bus.bootstrap_servers(), &["agent.runtimes.sh.pool_max=3"]);
    wait_for("the pool", Duration::from_secs(30), || (pool(&agent, "waiting") == 1).then_some(()));
    assert_eq!((pool(&agent, "target"), pool(&agent, "floor"), pool(&agent, "ceiling")), (1, 1, 3));
    // More than one in each of more than 1 % of the seconds of ten minutes.
    let mut apps = 0;
    wait_for("a larger pool", Duration::from_secs(60), || {
        let names: Vec<_> = (apps..apps + 5).map(|i| format!("app-{i}")).collect();
        apps += names.len();
        names.iter().for_each(|app| agent.register(app, "sh", CODE));
        std::thread::scope(|scope| {
            let calls: Vec<_> = names.iter().map(|app| scope.spawn(|| agent.invoke(app, "{}").0)).collect();
            calls.into_iter().for_each(|call| assert_eq!(call.join().unwrap(), 200));
        });
        std::thread::sleep(Duration::from_millis(500));
        (pool(&agent, "target") == 3).then_some(())
    });
    wait_for("three that wait", Duration::from_secs(30), || (pool(&agent, "waiting") == 3).then_some(()));
    assert_eq!(pool(&agent, "hits") + pool(&agent, "misses"), apps as u64);
    assert!(pool(&agent, "hits") > 0 && pool(&agent, "misses") > 0, "five at once found one");
    assert!(pool(&agent, "start_ms") > 0);
}

#[test]
fn a_runtime_is_replaced_after_as_many_uses_as_it_may_have() {
    let mut settings = pilotlight::config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    let bus = pilotlight::bus::Embedded::start(&mut settings).unwrap();
    let agent = agent(&bus.bootstrap_servers(), &["agent.max_uses=2", "agent.runtimes.sh.pool=0"]);
    agent.register("counts", "sh", "main() { echo \"{\\\"pid\\\":$$}\"; }");
    let calls: Vec<_> = (0..5).map(|_| agent.invoke("counts", "{}")).collect();
    let temperatures: Vec<_> = calls.iter().map(|(_, start, _)| start.as_deref().unwrap()).collect();
    assert_eq!(temperatures, ["cold", "warm", "cold", "warm", "cold"]);
    let pids: Vec<_> = calls.iter().map(|(_, _, body)| body["pid"].as_u64().unwrap()).collect();
    assert!(pids[0] == pids[1] && pids[1] != pids[2] && pids[2] == pids[3] && pids[3] != pids[4], "{pids:?}");
    let events = agent.get("/events?app=counts");
    assert!(events.contains("used 2 times (agent.max_uses)"), "{events}");
}

/// Counts its uses in a variable of its own.
const COUNTS: &str = "import os\nuses = 0\ndef main(args):\n    global uses\n    uses += 1\n    return {'uses': uses, 'pid': os.getpid()}";

fn register(agent: &Program, app: &str, runtime: &str, code: &str, tenant: Option<&str>) {
    let mut spec = serde_json::json!({"runtime": runtime, "memory_mb": 64, "code": {"uri": format!("data:;base64,{}", base64(code))}});
    if let Some(tenant) = tenant {
        spec["tenant"] = tenant.into();
    }
    ureq::put(format!("{}/apps/{app}", agent.url)).send_json(spec).unwrap();
}

fn base64(text: &str) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text)
}

#[test]
fn a_loaded_runtime_goes_to_apps_of_its_tenant_only() {
    let mut settings = pilotlight::config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    let bus = pilotlight::bus::Embedded::start(&mut settings).unwrap();
    let agent = agent(&bus.bootstrap_servers(), &["agent.isolation=tenant"]);
    for (app, tenant) in [("a1", Some("a")), ("a2", Some("a")), ("b1", Some("b")), ("n1", None), ("n2", None)] {
        register(&agent, app, "python3", COUNTS, tenant);
    }
    let call = |app: &str| {
        let (status, start, body) = agent.invoke(app, "{}");
        assert_eq!(status, 200, "{app}: {body}");
        (start.unwrap(), body["uses"].as_u64().unwrap(), body["pid"].as_u64().unwrap())
    };
    let (a1, n1) = (call("a1"), call("n1"));
    assert_eq!((a1.0.as_str(), n1.0.as_str()), ("cold", "cold"));
    let b1 = call("b1");
    assert!(b1.0 == "cold" && b1.2 != a1.2 && b1.2 != n1.2, "another tenant");
    assert!(call("n2").0 == "cold", "no tenant shares with nobody");
    assert_eq!(call("a2"), ("prewarmed".to_owned(), 1, a1.2), "the same process with other code");
    assert_eq!(call("a2"), ("warm".to_owned(), 2, a1.2));
    assert_eq!(call("a1").0, "prewarmed", "and back");
    // A runtime that takes code once only is replaced.
    register(&agent, "s1", "sh", CODE, Some("a"));
    register(&agent, "s2", "sh", CODE, Some("a"));
    assert_eq!(agent.invoke("s1", "{}").0, 200);
    assert_eq!(agent.invoke("s2", "{}").0, 200);
}

#[test]
fn code_is_loaded_anew_before_each_further_use_if_wanted() {
    let mut settings = pilotlight::config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    let bus = pilotlight::bus::Embedded::start(&mut settings).unwrap();
    let agent = agent(&bus.bootstrap_servers(), &["agent.reset=true"]);
    let node = "let uses = 0; function main() { uses += 1; return { uses, pid: process.pid }; }";
    for (runtime, code) in [("python3", COUNTS), ("nodejs", node), ("sh", "main() { echo \"{\\\"uses\\\":1}\"; }")] {
        agent.register(runtime, runtime, code);
        let calls: Vec<_> = (0..3).map(|_| agent.invoke(runtime, "{}")).collect();
        assert!(calls.iter().all(|(status, _, body)| *status == 200 && body["uses"] == 1), "{calls:?}");
        if runtime != "sh" {
            assert!(calls.iter().all(|(_, _, body)| body["pid"] == calls[0].2["pid"]), "one process: {calls:?}");
        }
    }
}
