//! What a node has loaded never takes more memory than it may: what is idle makes room, a burst takes its turns, and only
//! functions that execute keep others out.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::program::Program;

/// Three apps of 64 MB and one pooled runtime of 8.
const MEMORY_MB: f64 = 200.0;
const SLEEPS: &str = "main() { sleep 0.3; echo '{}'; }";

fn agent(bus: &str, settings: &[&str]) -> Program {
    let memory = format!("agent.memory_mb={MEMORY_MB}");
    let own = [
        "topics.create=false",
        &memory,
        "agent.runtimes.sh.pool=1",
        // Each is alone: neither passes anything on to the other.
        "agent.fleet=",
        "agent.runtimes.python3.pool=0",
        "agent.runtimes.nodejs.pool=0",
    ];
    let mut arguments = vec!["agent", "--bootstrap-servers", bus];
    own.iter().chain(settings).for_each(|setting| arguments.extend(["--set", setting]));
    Program::start_ready(&arguments)
}

/// Runs `load`, looking all the while at how much memory is taken; the most.
fn most_mb(agent: &Program, load: impl FnOnce()) -> f64 {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut most_mb = 0.0_f64;
            while !done.load(Ordering::Relaxed) {
                most_mb = most_mb.max(agent.metric("pilotlight_memory_mb"));
                std::thread::sleep(Duration::from_millis(20));
            }
            most_mb
        });
        load();
        // The metric follows within a second.
        std::thread::sleep(Duration::from_millis(1_500));
        done.store(true, Ordering::Relaxed);
        looking.join().unwrap()
    })
}

/// So many invocations of as many apps at once: their answers.
fn burst(agent: &Program, apps: usize) -> Vec<u16> {
    (0..apps).for_each(|i| agent.register(&format!("app-{i}"), "sh", SLEEPS));
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..apps).map(|i| scope.spawn(move || agent.invoke(&format!("app-{i}"), "{}").0)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

#[test]
fn what_is_loaded_stays_within_the_budget() {
    let mut settings = pilotlight::config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    let bus = pilotlight::bus::Embedded::start(&mut settings).unwrap();
    let servers = bus.bootstrap_servers();

    let patient = agent(&servers, &["agent.max_wait=60s"]);
    let most = most_mb(&patient, || {
        // One after the other: what is idle makes room.
        for i in 0..8 {
            let app = format!("calm-{i}");
            patient.register(&app, "sh", "main() { echo '{}'; }");
            assert_eq!(patient.invoke(&app, "{}").0, 200);
        }
        // All at once: three at a time.
        assert_eq!(burst(&patient, 9), [200; 9]);
    });
    assert!((64.0..=MEMORY_MB).contains(&most), "{most} MB");
    assert!(patient.metric("pilotlight_unloads_total") >= 13.0, "all but those that fit had to go");

    let strict = agent(&servers, &["agent.max_wait=1ms"]);
    let answers = burst(&strict, 9);
    let refused = answers.iter().filter(|status| **status == 503).count();
    assert!((1..=6).contains(&refused) && answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
    // Nobody waits any more, and there is room again.
    assert_eq!(strict.invoke("app-0", "{}").0, 200);

    let spec = serde_json::json!({"runtime": "sh", "memory_mb": 500, "code": {"uri": "data:,x"}});
    ureq::put(format!("{}/apps/large", strict.url)).send_json(spec).unwrap();
    let (status, _, body) = strict.invoke("large", "{}");
    assert_eq!(status, 422);
    assert!(body["error"].as_str().unwrap().contains("takes 500 MB, and this node has 200 MB"), "{body}");
}
