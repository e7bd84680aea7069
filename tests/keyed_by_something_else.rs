//! Events that are not keyed by app, in several formats and partitions: keyed first, with a crash in the middle of it,
//! they lead to the decisions that they would have led to had they been keyed by app.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pilotlight::ingest::format::Mapping;
use pilotlight::ingest::{self, Format, Limits, Message};
use serde_json::{Value, json};
use support::program::Program;
use support::{kafka, topic, wait_for};

const EVENTS: i64 = 12_000;
const BAD: usize = 4;

/// An event as its platform writes it.
struct Event {
    topic: &'static str,
    ended_at_ms: i64,
    payload: Vec<u8>,
}

/// Half a day of events up to an hour ago, of two platforms, in the order in which they end.
fn events() -> Vec<Event> {
    let begin_ms = pilotlight::model::now_ms() - 3_600_000 - EVENTS * 4_000;
    let mut events = Vec::new();
    for i in 0..EVENTS {
        let (start_ms, took_ms) = (begin_ms + i * 4_000, 10 + i * 7919 % 3_000);
        let event = |start_ms: i64, took_ms: i64| match i % 3 {
            0 => {
                let body = json!({"name": format!("guest/a{}", i % 13), "statusCode": 0, "duration": took_ms,
                    "waitTime": 0, "initTime": 0, "kind": "python:3", "conductor": false, "memory": 256,
                    "activationId": format!("{i}-{start_ms}")});
                let event = json!({"eventType": "Activation", "source": "invoker0", "namespace": "guest",
                    "subject": "guest", "userId": "u", "timestamp": start_ms + took_ms, "body": body});
                Event { topic: "whisk", ended_at_ms: start_ms + took_ms, payload: event.to_string().into_bytes() }
            }
            _ => {
                let payload = topic::event(&format!("app-{}", i % 41), start_ms, took_ms as f64);
                Event { topic: "native", ended_at_ms: start_ms + took_ms, payload }
            }
        };
        events.push(event(start_ms, took_ms));
        // A call in the midst of it, which ends before it or after it.
        if i % 10 == 0 && i < EVENTS - 1_000 {
            events.push(event(start_ms + 301, 501));
        }
    }
    events.sort_by_key(|event| event.ended_at_ms);
    events
}

/// The event as the native format has it, by the code whose formats `tests/formats.rs` checks.
fn as_native(event: &Event) -> (String, Vec<u8>) {
    let format =
        Format::from_name(if event.topic == "whisk" { "openwhisk" } else { "native" }, &Arc::<Mapping>::default());
    let limits = Limits { max_event_bytes: 10_000, max_future_ms: 0, max_past_ms: 0 };
    let message = Message { payload: Some(&event.payload), ..Message::default() };
    let invocation = ingest::decode(&message, &format.unwrap(), &limits).unwrap().remove(0);
    (invocation.app.to_string(), serde_json::to_vec(&invocation).unwrap())
}

#[test]
fn decisions_are_those_of_events_keyed_by_app() {
    let Some(broker) = kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    topic::create_with(&bootstrap, &["native", "whisk"], 4);
    topic::create(&bootstrap, &["reference"]);
    let events = events();
    let writer = topic::Writer::open(&bootstrap);
    let write = |events: &[Event]| {
        for (i, event) in events.iter().enumerate() {
            // By request, not by app.
            writer.write_at(event.topic, &format!("request-{i}"), &event.payload, event.ended_at_ms);
        }
        writer.flush();
    };
    for event in &events {
        let (app, payload) = as_native(event);
        writer.write_at("reference", &app, &payload, event.ended_at_ms);
    }

    let common = ["pipeline", "--bootstrap-servers", &bootstrap, "--policy", "hybrid"];
    let session = ["--set", "kafka.session.timeout.ms=6000"];
    let keying = ["--input", "native,whisk:openwhisk", "--set", "input.keyed_by_app=false"];
    let start = |group: &str| {
        let group = format!("input.group={group}");
        Program::start_ready(&[&common[..], &session, &keying, &["--set", &group]].concat())
    };
    // Reads until each event has come once, and ends only when all is delivered.
    let finish = |pipeline: Program, read_at_least: usize| {
        wait_for("each event once", Duration::from_secs(90), || {
            let read = pipeline.metric("pilotlight_events_total");
            let twice = pipeline.metric("pilotlight_duplicates_total");
            (read >= read_at_least as f64 && read - twice == events.len() as f64).then_some(())
        });
        assert_eq!(pipeline.interrupt().0, Some(0));
    };
    let (first, second) = events.split_at(events.len() / 2);
    write(first);
    let doomed = start("one");
    wait_for("some are keyed", Duration::from_secs(60), || {
        (doomed.metric("pilotlight_keyed_total") > 0.0).then_some(())
    });
    // Not asked to end.
    drop(doomed);
    write(second);
    for i in 0..BAD {
        writer.write_at("native", &format!("bad-{i}"), b"{\"app\":", pilotlight::model::now_ms());
    }
    writer.flush();
    finish(start("one"), events.len());
    // As if no offset had been committed: all is keyed a second time, and counts once.
    finish(start("another"), 2 * events.len());
    assert_eq!(topic::compacted(&bootstrap, "pilotlight.dead-letters").len(), BAD);

    let own = ["--input", "reference", "--set", "topics.decisions=expected", "--set", "input.group=reference"];
    let reference = Program::start_ready(&[&common[..], &own].concat());
    wait_for("all of the reference read", Duration::from_secs(60), || {
        (reference.metric("pilotlight_events_total") == events.len() as f64).then_some(())
    });
    assert_eq!(reference.interrupt().0, Some(0));

    let decisions = |topic: &str| -> Vec<Value> {
        let records = topic::compacted(&bootstrap, topic);
        let decision = |record: &topic::Record| {
            let mut decision: Value = serde_json::from_slice(record.payload.as_deref().unwrap()).unwrap();
            decision.as_object_mut().unwrap().remove("version");
            decision
        };
        records.values().map(decision).collect()
    };
    let (found, expected) = (decisions("pilotlight.decisions"), decisions("expected"));
    assert_eq!(expected.len(), 41 + 13);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
    // An app's events are in one partition, the one in which Kafka's own clients would put them.
    let keyed = topic::read_all(&bootstrap, "pilotlight.invocations");
    let places: BTreeSet<_> = keyed.iter().map(|record| (&record.key, record.partition)).collect();
    assert_eq!(places.len(), expected.len());
}
