//! Completion events come by end, some of them twice. Decisions are those of the same events in order of start, each
//! once, and none waits for a later event where its app was silent before.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::program::Program;
use support::{kafka, topic, wait_for};

const BURSTS: i64 = 2_000;
const APPS: i64 = 17;

/// Calls of an app within a burst: start after the burst's, duration; ms. By end the second is the last.
const CALLS: [(i64, i64); 4] = [(0, 10), (100, 1_500), (300, 500), (900, 10)];

struct Event {
    app: String,
    start_ms: i64,
    took_ms: i64,
}

fn write(bootstrap: &str, topic: &str, events: &[Event], is_twice: impl Fn(usize) -> bool) -> f64 {
    let writer = topic::Writer::open(bootstrap);
    let mut twice = 0.0;
    for (i, Event { app, start_ms, took_ms }) in events.iter().enumerate() {
        let event = json!({"app": app, "function": "f", "started_at_ms": start_ms, "duration_ms": took_ms,
            "id": format!("{app}/{start_ms}")});
        let event = event.to_string();
        writer.write(topic, app, event.as_bytes());
        if is_twice(i) {
            writer.write(topic, app, event.as_bytes());
            twice += 1.0;
        }
    }
    writer.flush();
    twice
}

#[test]
fn they_are_decided_as_if_they_came_by_start() {
    let Some(broker) = kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    // One partition of decisions, so that their order is seen.
    topic::create(&bootstrap, &["by-start", "by-end", "decisions-by-start", "decisions-by-end"]);
    let begin_ms = 1_700_000_000_000;
    let mut events = Vec::new();
    for i in 0..BURSTS {
        // Bursts of several apps meet.
        let (app, burst_ms) = (format!("app-{}", i % APPS), begin_ms + i * 10_000 + i % 3 * 9_500);
        let calls = CALLS.map(|(after_ms, took_ms)| Event { app: app.clone(), start_ms: burst_ms + after_ms, took_ms });
        events.extend(calls);
    }
    let last_ms = begin_ms + BURSTS * 10_000 + 60_000;
    events.push(Event { app: "alone".to_owned(), start_ms: last_ms, took_ms: 10 });
    events.sort_by_key(|event| event.start_ms);
    write(&bootstrap, "by-start", &events, |_| false);
    events.sort_by_key(|event| event.start_ms + event.took_ms);
    let twice = write(&bootstrap, "by-end", &events, |i| i % 7 == 0);

    let decide = |topic: &str, twice: f64| -> Vec<Value> {
        let decisions = format!("decisions-{topic}");
        let sets = [format!("topics.decisions={decisions}"), format!("input.group={topic}")];
        let arguments = ["pipeline", "--bootstrap-servers", &bootstrap, "--input", topic, "--policy", "hybrid"];
        let pipeline = Program::start_ready(&[&arguments[..], &["--set", &sets[0], "--set", &sets[1]]].concat());
        wait_for("all events read", Duration::from_secs(60), || {
            (pipeline.metric("pilotlight_events_total") == events.len() as f64 + twice).then_some(())
        });
        assert_eq!(pipeline.metric("pilotlight_duplicates_total"), twice);
        assert_eq!(pipeline.metric("pilotlight_late_total"), 0.0);
        // Ends only when all is delivered.
        assert_eq!(pipeline.interrupt().0, Some(0));
        let mut decisions = topic::read_json(&bootstrap, &decisions);
        let mut position = -1;
        for decision in &mut decisions {
            let version = decision.as_object_mut().unwrap().remove("version").unwrap();
            assert!(version["position"].as_i64().unwrap() >= position, "positions grow");
            position = version["position"].as_i64().unwrap();
        }
        assert_eq!(decisions.last().unwrap()["app"], "alone", "nothing came after it");
        decisions.sort_by_key(|decision| decision["app"].as_str().unwrap().to_owned());
        decisions
    };
    let by_start = decide("by-start", 0.0);
    let by_end = decide("by-end", twice);
    assert!(by_start.len() as i64 > APPS);
    for (found, expected) in by_end.iter().zip(&by_start) {
        assert_eq!(found, expected);
    }
    assert_eq!(by_end.len(), by_start.len());
}
