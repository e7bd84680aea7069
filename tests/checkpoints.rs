//! Checkpoints are what they promise to be: an earlier version's are taken over, a later version's are not overruled, a
//! damaged one is left out, a log that does not fit starts anew with a higher epoch, and a store that fails stops
//! nothing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use pilotlight::checkpoint::{SCHEMA, decode, encode};
use support::checkpoints::{Checkpoints, read};
use support::kafka::Broker;
use support::program::Program;
use support::{topic, wait_for};

const TOPIC: &str = "pilotlight.invocations";
const SECONDS_30: Duration = Duration::from_secs(30);

/// A pipeline on topics with one partition.
fn pipeline(broker: &Broker, group: &str, checkpoints: &Checkpoints, more: &[&str]) -> Program {
    let settings = [
        format!("input.group={group}"),
        format!("topics.decisions=decisions-{group}"),
        checkpoints.setting(),
        "topics.partitions=1".to_owned(),
        "checkpoint.every=500ms".to_owned(),
    ];
    let bootstrap = broker.bootstrap();
    let mut arguments = vec!["pipeline", "--bootstrap-servers", &bootstrap];
    let more = more.iter().copied();
    for setting in settings.iter().map(String::as_str).chain(more) {
        arguments.extend(["--set", setting]);
    }
    Program::start(&arguments)
}

/// Events that are always the same; a fixture rests on the first 2,000.
fn write(broker: &Broker, events: std::ops::Range<i64>) {
    let writer = topic::Writer::open(&broker.bootstrap());
    for i in events {
        let app = format!("app-{}", i * i % 23);
        let start_ms = 1_700_000_000_000 + i * 20_000 - i % 5 * 7_000;
        writer.write(TOPIC, &app, &topic::event(&app, start_ms, (i % 11 * 400) as f64));
    }
    writer.flush();
}

fn wait_for_checkpoint_at(checkpoints: &Checkpoints, group: &str, offset: u64) {
    wait_for(&format!("a checkpoint at offset {offset}"), SECONDS_30, || {
        (checkpoints.offsets(group, TOPIC) == offset).then_some(())
    });
}

fn wait_for_line(program: &Program, part: &str) {
    wait_for(&format!("a line with '{part}' in:\n{}", program.logs()), SECONDS_30, || {
        program.logs().contains(part).then_some(())
    });
}

/// Ends in peace, and has said so many times that something is wrong.
fn end(program: Program, warnings: usize) {
    let (code, logs) = program.interrupt();
    assert_eq!(code, Some(0), "{logs}");
    assert_eq!(logs.matches(" WARN ").count(), warnings, "{logs}");
}

/// What a run without interruption leaves on its control topic.
fn undisturbed(broker: &Broker, events: u64) -> std::collections::BTreeMap<String, topic::Record> {
    let checkpoints = Checkpoints::new();
    let program = pipeline(broker, "undisturbed", &checkpoints, &[]);
    wait_for_checkpoint_at(&checkpoints, "undisturbed", events);
    end(program, 0);
    topic::compacted(&broker.bootstrap(), "decisions-undisturbed")
}

fn started(program: Program) -> Program {
    program.wait_ready();
    program
}

fn place(checkpoints: &Checkpoints, group: &str, name: &str, bytes: &[u8]) {
    let folder = checkpoints.folder().join(group).join(TOPIC).join("0");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), bytes).unwrap();
}

#[test]
fn an_earlier_versions_is_taken_over_and_a_later_versions_is_refused() {
    let Some(broker) = Broker::start() else { return };
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoint-v1.arrow");
    let old = std::fs::read(fixture).unwrap();
    let mut checkpoint = decode(old.clone()).unwrap();
    assert_eq!((checkpoint.about.schema, checkpoint.about.offset), (1, 2000));
    let name = "0-00000000000000002000.arrow";

    let (upgraded, later) = (Checkpoints::new(), Checkpoints::new());
    place(&upgraded, "upgraded", name, &old);
    // Makes the topics.
    end(started(pipeline(&broker, "other", &Checkpoints::new(), &[])), 0);
    write(&broker, 0..4000);
    let program = started(pipeline(&broker, "upgraded", &upgraded, &[]));
    wait_for_checkpoint_at(&upgraded, "upgraded", 4000);
    assert!(program.logs().contains("resumes"), "{}", program.logs());
    assert_eq!(program.metric("pilotlight_events_total"), 2000.0, "only what came later is read");
    end(program, 0);
    let found = topic::compacted(&broker.bootstrap(), "decisions-upgraded");
    // Which decisions exactly is for the policy of each version to say.
    assert!(found.keys().eq(undisturbed(&broker, 4000).keys()));
    let latest = read(&upgraded.of("upgraded", TOPIC, 0)[0]);
    assert_eq!(latest.about.schema, SCHEMA);
    let known = upgraded.invocations("upgraded", TOPIC).values().sum::<u64>();
    assert!((2000..=4000).contains(&known), "those that version 1 did not count are estimated: {known}");

    checkpoint.about.schema = SCHEMA + 1;
    place(&later, "later", name, &encode(&checkpoint).unwrap());
    let (code, logs) = pipeline(&broker, "later", &later, &[]).wait_for_end();
    assert_eq!(code, Some(1));
    let said = format!(
        "pilotlight: {TOPIC}/0: checkpoint {name} can't be used: its schema is {}, and this version reads up to {SCHEMA}; \
         start that version, or delete it",
        SCHEMA + 1
    );
    assert_eq!(logs.lines().last(), Some(&*said));
}

#[test]
fn a_damaged_one_is_left_out_and_the_one_before_is_used() {
    let Some(broker) = Broker::start() else { return };
    let checkpoints = Checkpoints::new();
    let program = started(pipeline(&broker, "damaged", &checkpoints, &[]));
    for i in 1..=4 {
        write(&broker, (i - 1) * 500..i * 500);
        wait_for_checkpoint_at(&checkpoints, "damaged", i as u64 * 500);
    }
    end(program, 0);
    let all = checkpoints.of("damaged", TOPIC, 0);
    assert_eq!(all.len(), 3, "the last few are kept");
    let mut bytes = std::fs::read(&all[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&all[0], bytes).unwrap();
    std::fs::write(&all[1], b"").unwrap();

    write(&broker, 2000..3000);
    let program = started(pipeline(&broker, "damaged", &checkpoints, &[]));
    wait_for_checkpoint_at(&checkpoints, "damaged", 3000);
    let logs = program.logs();
    assert!(
        logs.contains("is left out: it is damaged: its checksum is another one than when it was written"),
        "{logs}"
    );
    let read = program.metric("pilotlight_events_total");
    assert!((1000.0..3000.0).contains(&read), "from the third-last on: {read}");
    end(program, 2);
    assert_eq!(topic::compacted(&broker.bootstrap(), "decisions-damaged"), undisturbed(&broker, 3000));
}

#[test]
fn a_log_that_does_not_fit_starts_anew_with_a_higher_epoch() {
    let Some(broker) = Broker::start() else { return };
    let checkpoints = Checkpoints::new();
    let epochs = || -> BTreeSet<u64> {
        let decisions = topic::read_json(&broker.bootstrap(), "decisions-anew");
        decisions.iter().map(|decision| decision["version"]["epoch"].as_u64().unwrap()).collect()
    };
    let program = started(pipeline(&broker, "anew", &checkpoints, &[]));
    write(&broker, 0..1000);
    wait_for_checkpoint_at(&checkpoints, "anew", 1000);
    end(program, 0);
    assert_eq!(epochs(), [0].into());

    // What the checkpoint has not seen is gone in part.
    write(&broker, 1000..2000);
    let cut = checkpoints.folder().join("cut.json");
    let json = format!(r#"{{"version":1,"partitions":[{{"topic":"{TOPIC}","partition":0,"offset":1500}}]}}"#);
    std::fs::write(&cut, json).unwrap();
    broker.tool(&["org.apache.kafka.tools.DeleteRecordsCommand", "--offset-json-file", cut.to_str().unwrap()]);
    let program = started(pipeline(&broker, "anew", &checkpoints, &[]));
    let said = format!(
        "the state of {TOPIC}/0 starts anew at offset 1500, with epoch 1: the log begins at offset 1500, and the \
         checkpoint stands at 1000"
    );
    wait_for_line(&program, &said);
    wait_for_checkpoint_at(&checkpoints, "anew", 2000);
    end(program, 1);
    assert_eq!(epochs(), [0, 1].into());

    // A topic of the same name that is another one.
    let topics = "org.apache.kafka.tools.TopicCommand";
    broker.tool(&[topics, "--delete", "--topic", TOPIC]);
    wait_for("no topic", SECONDS_30, || (!broker.tool(&[topics, "--list"]).contains(TOPIC)).then_some(()));
    broker.tool(&[topics, "--create", "--topic", TOPIC, "--partitions", "1"]);
    write(&broker, 0..300);
    let program = started(pipeline(&broker, "anew", &checkpoints, &[]));
    wait_for_line(&program, "the log ends at offset 300, and the checkpoint stands at 2000: the topic was made anew");
    wait_for_checkpoint_at(&checkpoints, "anew", 300);
    end(program, 1);
    assert_eq!(epochs(), [0, 1, 2].into());

    // And from there on as ever.
    let program = started(pipeline(&broker, "anew", &checkpoints, &[]));
    write(&broker, 300..400);
    wait_for_checkpoint_at(&checkpoints, "anew", 400);
    end(program, 0);
    assert_eq!(epochs(), [0, 1, 2].into());
}

#[test]
fn a_store_that_fails_stops_nothing_and_recovers_by_itself() {
    let Some(broker) = Broker::start() else { return };
    let checkpoints = Checkpoints::new();
    let program = started(pipeline(&broker, "failing", &checkpoints, &[]));
    write(&broker, 0..500);
    wait_for_checkpoint_at(&checkpoints, "failing", 500);
    assert_eq!(program.get("/readyz"), "ready\n");

    let (folder, aside) = (checkpoints.folder().join("failing"), checkpoints.folder().join("aside"));
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "a file where a folder should be").unwrap();
    write(&broker, 500..1000);
    wait_for("it is said", SECONDS_30, || {
        program.get("/readyz").starts_with("ready, but checkpoints fail: the last one is ").then_some(())
    });
    wait_for("its age shows", SECONDS_30, || (program.metric("pilotlight_checkpoint_age_seconds") > 1.0).then_some(()));
    wait_for("it is retried", SECONDS_30, || {
        (program.metric("pilotlight_checkpoint_failures_total") > 1.0).then_some(())
    });
    assert_eq!(program.metric("pilotlight_events_total"), 1000.0, "the flow goes on");
    let before = topic::compacted(&broker.bootstrap(), "decisions-failing");

    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    wait_for_checkpoint_at(&checkpoints, "failing", 1000);
    wait_for("it is ready again", SECONDS_30, || (program.get("/readyz") == "ready\n").then_some(()));
    assert_eq!(program.metric("pilotlight_checkpoint_age_seconds"), 0.0);
    end(program, 1);
    assert_eq!(before, undisturbed(&broker, 1000));
}

#[test]
fn a_full_disk_is_survived() {
    let Some(broker) = Broker::start() else { return };
    let checkpoints = Checkpoints::new();
    let Some(_disk) = SmallDisk::mount(checkpoints.folder()) else { return };
    let program = started(pipeline(&broker, "full", &checkpoints, &[]));
    write(&broker, 0..500);
    wait_for_checkpoint_at(&checkpoints, "full", 500);
    let filler = checkpoints.folder().join("filler");
    // As much as there is.
    std::fs::write(&filler, vec![1; 2 << 20]).unwrap_err();
    write(&broker, 500..1000);
    wait_for("it is said", SECONDS_30, || program.get("/readyz").contains("checkpoints fail").then_some(()));
    assert_eq!(program.metric("pilotlight_events_total"), 1000.0);
    std::fs::remove_file(&filler).unwrap();
    wait_for_checkpoint_at(&checkpoints, "full", 1000);
    end(program, 1);
}

/// A file system of 1 MiB.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(folder.to_owned()));
        }
        let strict = std::env::var_os("PILOTLIGHT_TEST_NOTHING_SKIPPED").is_some();
        assert!(!strict, "nothing may be skipped here, but no small file system can be mounted (it takes root)");
        eprintln!("skipped: no small file system can be mounted here");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
