//! A backlog that the broker hands out faster than it can be read, and a control topic that takes nothing for a while:
//! memory stays where it is, and afterwards all is published.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::time::Duration;

use support::program::Program;
use support::{kafka, topic, wait_for};

const APPS: usize = 200_000;
const ROUNDS: i64 = 7;
const EVENTS: usize = APPS * ROUNDS as usize;
/// What the pipeline may take (MB): the state of all apps, 100,000 decisions that wait, and what was read ahead. The
/// backlog alone would take some 1,000 MB in a client's memory.
const BOUND_MB: f64 = 400.0;

#[test]
fn memory_stays_flat_while_the_control_topic_stalls() {
    let Some(broker) = kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    let tool = |arguments: &str| broker.tool(&arguments.split(' ').collect::<Vec<_>>());
    tool("org.apache.kafka.tools.TopicCommand --create --topic pilotlight.invocations --partitions 8");
    let writer = topic::Writer::open(&bootstrap);
    for round in 0..ROUNDS {
        let started_at_ms = 1_700_000_000_000 + round * 60_000;
        for app in 0..APPS {
            let app = format!("app-{app}");
            let event = format!(
                r#"{{"app":"{app}","function":"{:0>100}","started_at_ms":{started_at_ms},"duration_ms":5}}"#,
                "main"
            );
            writer.write("pilotlight.invocations", &app, event.as_bytes());
        }
    }
    writer.flush();
    // A quota of a kilobyte a second: the broker takes a request of the producer and then none for ten seconds.
    let quota = "kafka.admin.ConfigCommand --alter --entity-type clients --entity-default";
    tool(&format!("{quota} --add-config producer_byte_rate=1000"));

    let pipeline = Program::start_ready(&["pipeline", "--bootstrap-servers", &bootstrap, "--policy", "fixed"]);
    let events = || pipeline.metric("pilotlight_events_total") as usize;
    // Blocked: no event more within a second.
    let mut seen = (0, 0);
    wait_for("the stall", Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_millis(100));
        let now = events();
        seen = if now == seen.0 { (now, seen.1 + 1) } else { (now, 0) };
        (now > 0 && seen.1 >= 10).then_some(())
    });
    assert!(events() < EVENTS, "the control topic never stalled");
    let (stalled_mb, _) = pipeline.resident_mb();
    tool(&format!("{quota} --delete-config producer_byte_rate"));
    wait_for("all events", Duration::from_secs(120), || (events() == EVENTS).then_some(()));
    wait_for("a decision for each app", Duration::from_secs(60), || {
        (topic::compacted(&bootstrap, "pilotlight.decisions").len() == APPS).then_some(())
    });
    let (_, most_mb) = pipeline.resident_mb();
    eprintln!("resident: {stalled_mb:.0} MB while stalled, at most {most_mb:.0} MB");
    assert!(most_mb < BOUND_MB, "{most_mb:.0} MB, {stalled_mb:.0} MB of them while stalled: expected {BOUND_MB} MB");
}
