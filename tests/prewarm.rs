//! An app that is called every three minutes on the dot ends up unloaded between its calls and loaded before each.

mod support;

use std::time::{Duration, Instant};

use support::program::Program;

/// Three minutes are 750 ms.
const SPEED: &str = "240";
const PERIOD: Duration = Duration::from_millis(750);
const CALLS: u32 = 36;

#[test]
fn a_timer_is_unloaded_between_calls_and_pre_warmed_before_each() {
    let mut settings = pilotlight::config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    let bus = pilotlight::bus::Embedded::start(&mut settings).unwrap();
    let servers = bus.bootstrap_servers();
    let common = ["--bootstrap-servers", &servers, "--set", "topics.create=false", "--speed", SPEED];
    let _pipeline = Program::start_ready(&[&["pipeline", "--policy", "hybrid"], &common[..]].concat());
    let agent = Program::start_ready(&[&["agent"], &common[..]].concat());
    agent.register("timer", "sh", include_str!("../runtimes/examples/hello.sh"));

    let began = Instant::now();
    let mut starts = Vec::new();
    for call in 0..CALLS {
        std::thread::sleep((PERIOD * call).saturating_sub(began.elapsed()));
        let (status, start, _) = agent.invoke("timer", "{}");
        assert_eq!(status, 200);
        starts.push(start.unwrap());
    }

    // Ten idle times make a histogram; then every call finds the app loaded ahead of it.
    let events = agent.get_json("/events?app=timer&last=1000");
    let kinds: Vec<&str> = events.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    let cycle = ["unloaded", "prewarmed", "started", "ended"];
    let whole = kinds.windows(cycle.len()).filter(|kinds| *kinds == cycle).count();
    let ahead = starts[12..].iter().filter(|start| *start == "prewarmed").count();
    // A shared machine may stumble once or twice.
    assert!(ahead >= 20, "of {} calls: {starts:?}\n{events:#}", starts.len() - 12);
    assert!(whole >= 20, "{kinds:?}");
    assert_eq!(starts[1..10].iter().filter(|start| *start == "warm").count(), 9, "kept while learning: {starts:?}");
}
