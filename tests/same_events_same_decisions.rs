//! The same events in, the same decisions out, to the byte: whoever reads the input again publishes what was published,
//! also where the price follows from a budget.

#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::time::Duration;

use support::program::Program;
use support::{kafka, schema, topic, wait_for};

type Records = std::collections::BTreeMap<String, topic::Record>;

/// Reads everything into topics of its own, and gives back what compaction leaves of decisions and curves.
fn decide(bootstrap: &str, name: &str, events: f64) -> [Records; 2] {
    let decisions = format!("topics.decisions=decisions-{name}");
    let curves = format!("topics.curves=curves-{name}");
    let group = format!("input.group=group-{name}");
    let pipeline = Program::start_ready(&[
        "pipeline",
        "--bootstrap-servers",
        bootstrap,
        "--budget-memory",
        "8GB",
        "--set",
        &decisions,
        "--set",
        &curves,
        "--set",
        &group,
        "--set",
        "publish.forget_after=2d",
    ]);
    wait_for("all events read", Duration::from_secs(60), || {
        (pipeline.metric("pilotlight_events_total") == events).then_some(())
    });
    // Ends only when all is delivered.
    assert_eq!(pipeline.interrupt().0, Some(0));
    ["decisions", "curves"].map(|topic| topic::compacted(bootstrap, &format!("{topic}-{name}")))
}

fn same(first: &Records, second: &Records) {
    for (key, record) in first {
        let other = &second[key];
        let text = |record: &topic::Record| {
            record.payload.as_deref().map(|payload| String::from_utf8_lossy(payload).into_owned())
        };
        assert_eq!(text(record), text(other), "{key}");
        assert_eq!(record.partition, other.partition, "{key}");
        if record.payload.is_some() {
            assert_eq!(record.timestamp_ms, other.timestamp_ms, "{key}");
        }
    }
    assert_eq!(first.len(), second.len());
}

#[test]
fn two_runs_over_the_same_topic_end_in_the_same_bytes() {
    let Some(broker) = kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    // Makes the topics.
    drop(Program::start_ready(&["pipeline", "--bootstrap-servers", &bootstrap]));

    let writer = topic::Writer::open(&bootstrap);
    let minute = 60_000;
    let begin = 1_700_000_000_000_i64;
    let mut events = 0.0;
    for i in 0..20_000_i64 {
        let app = i * 7919 % 97;
        // Busy apps, rare ones, timers, bursts that overlap, ends out of order, and some that fall silent.
        let (gap, duration) = match app % 5 {
            0 => (minute / 7, 40.0),
            1 => (minute * (3 + i % 2), 0.0),
            2 => (minute * 200, 1234.5),
            3 => (i % 4 * minute, 90_000.0),
            _ => (minute * (i * 7919 % 300), 10.0),
        };
        if app % 5 == 4 && i > 2_000 {
            continue;
        }
        let started_at_ms = begin + i * gap / 40;
        writer.write(
            "pilotlight.invocations",
            &format!("app-{app}"),
            &topic::event(&format!("app-{app}"), started_at_ms, duration),
        );
        events += 1.0;
    }
    writer.flush();

    let [first, first_curves] = decide(&bootstrap, "a", events);
    let [second, second_curves] = decide(&bootstrap, "b", events);
    assert!(first.len() > 60, "{}", first.len());
    assert!(first.values().any(|record| record.payload.is_none()), "some app was forgotten");
    same(&first, &second);

    assert_eq!(first_curves.len(), 8, "one for each partition");
    same(&first_curves, &second_curves);
    let valid = schema("curve.v1.json");
    for record in first_curves.values() {
        let curve = serde_json::from_slice(record.payload.as_deref().unwrap()).unwrap();
        let errors: Vec<_> = valid.iter_errors(&curve).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}
