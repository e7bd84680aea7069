//! Instances of one group share the partitions; when one is killed the others take over, and what is on the control
//! topic in the end is what one undisturbed instance would have published.

mod support;

use std::sync::mpsc;
use std::time::Duration;

use pilotlight::bus::{Change, GroupConsumer};
use support::program::Program;
use support::{kafka, topic, wait_for};

const EVENTS: i64 = 20_000;

#[test]
fn one_killed_the_other_takes_over() {
    let Some(broker) = kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    let instance = |group: &str, decisions: &str| {
        let (group, decisions) = (format!("input.group={group}"), format!("topics.decisions={decisions}"));
        let timeout = "kafka.session.timeout.ms=6000";
        Program::start_ready(&[
            "pipeline",
            "--bootstrap-servers",
            &bootstrap,
            "--set",
            &group,
            "--set",
            &decisions,
            "--set",
            timeout,
        ])
    };
    let partitions = |program: &Program| program.metric("pilotlight_partitions");
    let write = |range: std::ops::Range<i64>| {
        let writer = topic::Writer::open(&bootstrap);
        for i in range {
            let app = format!("app-{}", i % 211);
            let started_at_ms = 1_700_000_000_000 + i * 400 + i % 7 * 60_000;
            writer.write("pilotlight.invocations", &app, &topic::event(&app, started_at_ms, 25.0));
        }
        writer.flush();
    };

    let doomed = instance("shared", "decisions-shared");
    let survivor = instance("shared", "decisions-shared");
    wait_for("both have partitions", Duration::from_secs(30), || {
        let (a, b) = (partitions(&doomed), partitions(&survivor));
        (a > 0.0 && b > 0.0 && a + b == 8.0).then_some(())
    });
    write(0..EVENTS / 2);
    // In the middle of it, and not asked to end.
    drop(doomed);
    write(EVENTS / 2..EVENTS);
    wait_for("the survivor has all partitions", Duration::from_secs(40), || {
        (partitions(&survivor) == 8.0).then_some(())
    });

    let undisturbed = instance("alone", "decisions-alone");
    wait_for("the undisturbed one has read all", Duration::from_secs(60), || {
        (undisturbed.metric("pilotlight_events_total") == EVENTS as f64).then_some(())
    });
    assert_eq!(undisturbed.interrupt().0, Some(0));
    let expected = topic::compacted(&bootstrap, "decisions-alone");
    assert_eq!(expected.len(), 211);
    wait_for("the same decisions, to the byte", Duration::from_secs(60), || {
        (topic::compacted(&bootstrap, "decisions-shared") == expected).then_some(())
    });
    assert_eq!(survivor.interrupt().0, Some(0));
}

/// As a member does that is asked to end while it takes over.
#[test]
fn one_that_takes_only_some_of_what_it_gained_can_leave() {
    let Some(broker) = kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    broker.tool(
        &"org.apache.kafka.tools.TopicCommand --create --topic pilotlight.invocations --partitions 8"
            .split(' ')
            .collect::<Vec<_>>(),
    );
    for taken in [0, 3] {
        let kafka = pilotlight::config::Kafka::at(bootstrap.clone());
        let consumer = GroupConsumer::join(&kafka, "hasty", &["pilotlight.invocations"]).unwrap();
        let gained = wait_for("partitions", Duration::from_secs(30), || {
            drop(consumer.poll(Duration::from_millis(50)).unwrap());
            consumer.change()
        });
        let Change::Gained(gained) = gained else { panic!("{gained:?}") };
        assert_eq!(gained.len(), 8);
        consumer.take(&gained.iter().take(taken).map(|position| (position, 0)).collect::<Vec<_>>());
        let (left, leaves) = mpsc::channel();
        std::thread::spawn(move || {
            drop(consumer);
            let _ = left.send(());
        });
        assert!(leaves.recv_timeout(Duration::from_secs(20)).is_ok(), "{taken} of 8 taken: it never leaves");
    }
}
