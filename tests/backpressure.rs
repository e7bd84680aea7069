//! A backlog that the broker hands out faster than it can be read, and a control topic that takes nothing for a while,
//! longer than a member of a group may be silent: memory stays where it is, the group keeps its member, and afterwards all
//! is published.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::time::Duration;

use support::checkpoints::Checkpoints;
use support::kafka::Broker;
use support::program::Program;
use support::{topic, wait_for};

const APPS: usize = 200_000;
const ROUNDS: i64 = 7;
const EVENTS: usize = APPS * ROUNDS as usize;
/// After so long without a poll the group takes a member for dead; no less than the session, which the broker wants to last.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(6);
/// What the pipeline may take (MB): the state of all apps, 100,000 decisions that wait, and what was read ahead. The
/// backlog alone would take some 1,000 MB in a client's memory.
const BOUND_MB: f64 = 400.0;

/// Writes so many events of each of so many apps to a topic with 8 partitions.
fn write(broker: &Broker, apps: usize, rounds: i64) {
    tool(broker, "TopicCommand --create --topic pilotlight.invocations --partitions 8");
    let writer = topic::Writer::open(&broker.bootstrap());
    for round in 0..rounds {
        let started_at_ms = 1_700_000_000_000 + round * 60_000;
        for app in 0..apps {
            let app = format!("app-{app}");
            let event = format!(
                r#"{{"app":"{app}","function":"{:0>100}","started_at_ms":{started_at_ms},"duration_ms":5}}"#,
                "main"
            );
            writer.write("pilotlight.invocations", &app, event.as_bytes());
        }
    }
    writer.flush();
}

fn tool(broker: &Broker, arguments: &str) {
    let package = if arguments.starts_with("Config") { "kafka.admin" } else { "org.apache.kafka.tools" };
    broker.tool(&format!("{package}.{arguments}").split(' ').collect::<Vec<_>>());
}

/// A quota of a kilobyte a second: the broker takes a request of a producer and then none for ten seconds.
fn stall(broker: &Broker) {
    tool(broker, "ConfigCommand --alter --entity-type clients --entity-default --add-config producer_byte_rate=1000");
}

fn stall_no_more(broker: &Broker) {
    tool(broker, "ConfigCommand --alter --entity-type clients --entity-default --delete-config producer_byte_rate");
}

/// Waits until the pipeline reads nothing more.
fn wait_for_stall(pipeline: &Program) {
    let mut seen = (0.0, 0);
    wait_for("the stall", Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_millis(100));
        let now = pipeline.metric("pilotlight_events_total");
        seen = if now == seen.0 { (now, seen.1 + 1) } else { (now, 0) };
        (now > 0.0 && seen.1 >= 10).then_some(())
    });
}

/// Has a member that does not poll taken for dead soon.
const SOON_DEAD: [&str; 4] = ["--set", "kafka.session.timeout.ms=6000", "--set", "kafka.max.poll.interval.ms=6000"];

#[test]
fn memory_and_the_group_stay_as_they_are_while_the_control_topic_stalls() {
    let Some(broker) = Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    write(&broker, APPS, ROUNDS);
    stall(&broker);
    let common = ["pipeline", "--bootstrap-servers", &bootstrap, "--policy", "fixed"];
    let pipeline = Program::start_ready(&[&common[..], &SOON_DEAD].concat());
    let events = || pipeline.metric("pilotlight_events_total") as usize;
    wait_for_stall(&pipeline);
    // What the group would notice in the end.
    std::thread::sleep(2 * MAX_POLL_INTERVAL);
    assert!(events() < EVENTS, "the stall was over too soon");
    let (stalled_mb, _) = pipeline.resident_mb();
    stall_no_more(&broker);
    wait_for("all events", Duration::from_secs(120), || (events() == EVENTS).then_some(()));
    wait_for("a decision for each app", Duration::from_secs(60), || {
        (topic::compacted(&bootstrap, "pilotlight.decisions").len() == APPS).then_some(())
    });
    assert_eq!(events(), EVENTS, "none was read again");
    assert!(!pipeline.logs().contains("lost partitions"), "{}", pipeline.logs());
    let (_, most_mb) = pipeline.resident_mb();
    eprintln!("resident: {stalled_mb:.0} MB while stalled, at most {most_mb:.0} MB");
    assert!(most_mb < BOUND_MB, "{most_mb:.0} MB, {stalled_mb:.0} MB of them while stalled: expected {BOUND_MB} MB");
}

#[test]
fn partitions_that_are_taken_away_meanwhile_lose_nothing_and_go_back_to_nothing() {
    let Some(broker) = Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    const ROUNDS: i64 = 2;
    write(&broker, APPS, ROUNDS);
    let shared = Checkpoints::new();
    stall(&broker);
    let first = start(&bootstrap, "shared", &shared);
    wait_for_stall(&first);
    let second = start(&bootstrap, "shared", &shared);
    wait_for_anew(&first);
    stall_no_more(&broker);
    wait_for_events("shared", &shared, APPS * ROUNDS as usize);
    assert_eq!(first.interrupt().0, Some(0));
    assert_eq!(second.interrupt().0, Some(0));

    assert_ends_as_undisturbed(&bootstrap, APPS, ROUNDS as usize);
}

#[test]
fn what_waits_when_the_broker_goes_away_is_published_when_it_is_back() {
    let Some(mut broker) = Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    // Fewer than may wait: the pipeline reads on.
    const APPS: usize = 50_000;
    write(&broker, APPS, 2);
    stall(&broker);
    let shared = Checkpoints::new();
    let pipeline = start(&bootstrap, "shared", &shared);
    wait_for("all events read", Duration::from_secs(60), || {
        (pipeline.metric("pilotlight_events_total") as usize == 2 * APPS).then_some(())
    });
    broker.stop();
    // For longer than a session lasts.
    wait_for_anew(&pipeline);
    broker.restart();
    stall_no_more(&broker);
    wait_for_events("shared", &shared, 2 * APPS);
    assert_eq!(pipeline.interrupt().0, Some(0));
    assert_ends_as_undisturbed(&bootstrap, APPS, 2);
}

fn start(bootstrap: &str, group: &str, checkpoints: &Checkpoints) -> Program {
    let settings = [
        format!("input.group={group}"),
        format!("topics.decisions=decisions-{group}"),
        checkpoints.setting(),
        "checkpoint.every=500ms".to_owned(),
    ];
    let mut arguments = vec!["pipeline", "--bootstrap-servers", bootstrap, "--policy", "fixed"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    arguments.extend(SOON_DEAD);
    Program::start_ready(&arguments)
}

/// Waits until the pipeline gives up what it can't deliver.
fn wait_for_anew(pipeline: &Program) {
    wait_for("a new beginning", Duration::from_secs(120), || {
        pipeline.logs().contains("what comes after the checkpoints is read again").then_some(())
    });
}

fn wait_for_events(group: &str, checkpoints: &Checkpoints, events: usize) {
    wait_for("all events in checkpoints", Duration::from_secs(240), || {
        (checkpoints.offsets(group, "pilotlight.invocations") == events as u64).then_some(())
    });
}

/// The control topic of the group `shared` has what that of a run without disturbance has.
fn assert_ends_as_undisturbed(bootstrap: &str, apps: usize, rounds: usize) {
    let alone = Checkpoints::new();
    let undisturbed = start(bootstrap, "alone", &alone);
    wait_for_events("alone", &alone, apps * rounds);
    assert_eq!(undisturbed.interrupt().0, Some(0));
    let decisions = |group: &str| topic::compacted(bootstrap, &format!("decisions-{group}"));
    let (found, expected) = (decisions("shared"), decisions("alone"));
    assert_eq!(expected.len(), apps);
    assert!(found == expected, "the control topic ends as that of an undisturbed run");
}
