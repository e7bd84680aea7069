//! A broker that is absent at the start or lost later: said at once, retried, and nothing is lost.

mod support;

use std::time::{Duration, Instant};

use support::program::{Program, free_port};
use support::{kafka, topic, wait_for};

#[test]
fn absent_at_the_start_is_said_at_once_and_not_ready() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let began = Instant::now();
    let mut pipeline = Program::start(&["pipeline", "--bootstrap-servers", &nobody]);
    wait_for("a clear line", Duration::from_secs(10), || {
        pipeline.logs().contains("no Kafka broker answers").then_some(())
    });
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!((pipeline.status("/livez"), pipeline.status("/readyz")), (Some(200), Some(503)));
    assert!(pipeline.is_running());
    let (code, logs) = pipeline.interrupt();
    assert_eq!(code, Some(0), "{logs}");
    assert_eq!(logs.matches("no Kafka broker answers").count(), 1, "once, not again and again:\n{logs}");
}

#[test]
fn lost_later_nothing_is_lost() {
    let Some(mut broker) = kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    let pipeline = Program::start_ready(&["pipeline", "--bootstrap-servers", &bootstrap]);
    let agent = Program::start_ready(&["agent", "--bootstrap-servers", &bootstrap]);
    agent.register("hello", "sh", include_str!("../runtimes/examples/hello.sh"));
    let write = |apps: std::ops::Range<i32>| {
        let writer = topic::Writer::open(&bootstrap);
        for app in apps {
            let app = format!("app-{app}");
            writer.write("pilotlight.invocations", &app, &topic::event(&app, 1_700_000_000_000, 5.0));
        }
        writer.flush();
    };
    write(0..100);
    wait_for("the first events", Duration::from_secs(30), || {
        (pipeline.metric("pilotlight_events_total") == 100.0).then_some(())
    });

    broker.stop();
    for program in [&pipeline, &agent] {
        wait_for("not ready without a broker", Duration::from_secs(30), || {
            (program.status("/readyz") == Some(503)).then_some(())
        });
    }
    assert!(pipeline.logs().contains("no Kafka broker answers"), "{}", pipeline.logs());
    // Serving goes on; the event waits.
    assert_eq!(agent.invoke("hello", "{}").0, 200);

    broker.restart();
    write(100..200);
    pipeline.wait_ready();
    agent.wait_ready();
    wait_for("all events, before and after, and the one that waited", Duration::from_secs(60), || {
        (pipeline.metric("pilotlight_events_total") == 201.0).then_some(())
    });
    let decided = wait_for("a decision for each app", Duration::from_secs(30), || {
        let decided = topic::compacted(&bootstrap, "pilotlight.decisions");
        (decided.len() == 201).then_some(decided)
    });
    assert!(decided.contains_key("hello") && decided.contains_key("app-199"));
}
