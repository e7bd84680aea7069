//! Checkpoints in a bucket of a server that speaks S3: a pipeline that was killed finds its state there again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect")]

mod support;

use std::time::Duration;

use support::checkpoints::Checkpoints;
use support::kafka::Broker;
use support::program::Program;
use support::s3::{BUCKET, S3};
use support::{topic, wait_for};

const TOPIC: &str = "pilotlight.invocations";

fn write(broker: &Broker, events: std::ops::Range<i64>) {
    let writer = topic::Writer::open(&broker.bootstrap());
    for i in events {
        let app = format!("app-{}", i * i % 23);
        writer.write(TOPIC, &app, &topic::event(&app, 1_700_000_000_000 + i * 20_000, (i % 11 * 400) as f64));
    }
    writer.flush();
}

#[test]
fn what_was_killed_finds_its_state_in_the_bucket() {
    let (Some(broker), Some(s3)) = (Broker::start(), S3::start()) else { return };
    let bootstrap = broker.bootstrap();
    let variables = s3.variables();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let start = |group: &str, checkpoints: &str| {
        let settings = [
            format!("input.group={group}"),
            format!("topics.decisions=decisions-{group}"),
            format!("checkpoint.url={checkpoints}"),
        ];
        let mut arguments = vec!["pipeline", "--bootstrap-servers", &bootstrap];
        let always = ["topics.partitions=1", "checkpoint.every=500ms", "kafka.session.timeout.ms=6000"];
        settings.iter().map(String::as_str).chain(always).for_each(|setting| arguments.extend(["--set", setting]));
        let program = Program::start_with(&arguments, &variables);
        program.wait_ready();
        program
    };
    let bucket = format!("s3://{BUCKET}/checkpoints");
    let name = |offset: u64| format!("checkpoints/killed/{TOPIC}/0/0-{offset:020}.arrow");
    let wait_for_checkpoint = |offset: u64| {
        wait_for(&name(offset), Duration::from_secs(60), || s3.objects().contains(&name(offset)).then_some(()));
    };

    let mut doomed = start("killed", &bucket);
    for i in 1..=4 {
        write(&broker, (i - 1) * 250..i * 250);
        wait_for_checkpoint(i as u64 * 250);
    }
    wait_for("older ones to go", Duration::from_secs(60), || (!s3.objects().contains(&name(250))).then_some(()));
    assert_eq!(s3.objects(), [500, 750, 1000].map(name), "the last three are kept, and nothing else is there");
    doomed.kill();

    write(&broker, 1000..1500);
    let resumed = start("killed", &bucket);
    wait_for_checkpoint(1500);
    assert!(resumed.logs().contains(&format!("{TOPIC}/0 resumes after")), "{}", resumed.logs());
    assert_eq!(resumed.metric("pilotlight_events_total"), 500.0, "only what came later is read");
    assert_eq!(resumed.interrupt().0, Some(0));

    let local = Checkpoints::new();
    let undisturbed = start("undisturbed", &format!("file://{}", local.folder().display()));
    wait_for("the end of an undisturbed run", Duration::from_secs(60), || {
        (local.offsets("undisturbed", TOPIC) == 1500).then_some(())
    });
    assert_eq!(undisturbed.interrupt().0, Some(0));
    let decisions = |group: &str| topic::compacted(&bootstrap, &format!("decisions-{group}"));
    assert_eq!(decisions("killed"), decisions("undisturbed"));
}
