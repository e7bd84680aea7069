//! History holds each invocation once: rows that are in no file yet, in files, after a restart, with another policy, with
//! files cut otherwise, and after its store failed.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use support::checkpoints::Checkpoints;
use support::kafka::Broker;
use support::program::{PATIENCE, Program};
use support::{kafka, sql, topic, wait_for};

const TOPIC: &str = "pilotlight.invocations";
const START_MS: i64 = 1_700_000_000_000;

/// A pipeline on topics with one partition, its checkpoints and its history.
struct Setup {
    broker: Broker,
    checkpoints: Checkpoints,
    history: tempfile::TempDir,
}

impl Setup {
    fn new() -> Option<Self> {
        let broker = kafka::Broker::start()?;
        Some(Self { broker, checkpoints: Checkpoints::new(), history: tempfile::tempdir().unwrap() })
    }

    fn folder(&self) -> PathBuf {
        self.history.path().join("history")
    }

    fn url(&self) -> String {
        format!("file://{}", self.folder().display())
    }

    fn start(&self, settings: &[&str]) -> Program {
        let own = [
            self.checkpoints.setting(),
            format!("history.url={}", self.url()),
            "topics.partitions=1".to_owned(),
            "checkpoint.every=500ms".to_owned(),
            "policy.name=hybrid".to_owned(),
            "history.rows=500".to_owned(),
            "history.every=30d".to_owned(),
        ];
        let bootstrap = self.broker.bootstrap();
        let mut arguments = vec!["pipeline", "--bootstrap-servers", &bootstrap];
        own.iter()
            .map(String::as_str)
            .chain(settings.iter().copied())
            .for_each(|setting| arguments.extend(["--set", setting]));
        Program::start_ready(&arguments)
    }

    fn write(&self, events: std::ops::Range<i64>) {
        let writer = topic::Writer::open(&self.broker.bootstrap());
        for i in events {
            let app = format!("app-{}", i % 23);
            writer.write(TOPIC, &app, &topic::event(&app, START_MS + i * 20_000, 100.0));
        }
        writer.flush();
    }

    fn in_files(&self) -> u64 {
        count(&sql::ask_files(&self.url(), "SELECT count(*) FROM invocations"))
    }
}

fn count(rows: &[Vec<String>]) -> u64 {
    rows[0][0].parse().unwrap()
}

/// Waits until the pipeline shows as many invocations, each once, in rows and in roll-ups.
fn shows(pipeline: &Program, expected: u64) {
    let url = pipeline.url();
    wait_for(&format!("{expected} invocations; logs:\n{}", pipeline.logs()), PATIENCE, || {
        (count(&sql::ask(&url, "SELECT count(*) FROM invocations")) >= expected).then_some(())
    });
    let question =
        "SELECT count(*), count(DISTINCT kafka_offset), count(gap_ms), min(gap_ms), max(gap_ms) FROM invocations";
    let gaps = expected - 23;
    assert_eq!(
        sql::ask(&url, question),
        [[expected, expected, gaps, 460_000, 460_000].map(|number| number.to_string())]
    );
    let rolled_up = sql::ask(&url, "SELECT sum(invocations), sum(gaps) FROM invocations_per_minute");
    assert_eq!(rolled_up, [[expected, gaps].map(|number| number.to_string())]);
}

fn ends(pipeline: Program) {
    let (code, logs) = pipeline.interrupt();
    assert_eq!(code, Some(0), "{logs}");
}

#[test]
fn rows_are_there_before_they_are_in_files_and_go_on_after_a_restart() {
    let Some(setup) = Setup::new() else { return };
    let pipeline = setup.start(&[]);
    setup.write(0..2100);
    shows(&pipeline, 2100);
    ends(pipeline);
    assert_eq!(setup.in_files(), 2000, "100 are in the checkpoint");

    let pipeline = setup.start(&[]);
    shows(&pipeline, 2100);
    setup.write(2100..2600);
    shows(&pipeline, 2600);
    let url = pipeline.url();
    let by_command = |question: &str| sql::ask(&url, question);
    let described = by_command("DESCRIBE decision_history");
    assert!(described.iter().flatten().any(|cell| cell.contains("MB*s")), "{described:?}");
    // What was decided last is what is in force, and the views of roll-ups are those that traces have.
    let same = "SELECT count(*) FROM decisions d JOIN
                (SELECT app, last_value(instances ORDER BY kafka_offset) AS instances FROM decision_history GROUP BY app) h
                ON d.app = h.app AND d.instances = h.instances";
    assert_eq!(count(&by_command(same)), 23);
    assert_eq!(by_command("SELECT sum(count), avg(average_ms) FROM function_durations"), [["2600", "100.0"]]);
    assert_eq!(by_command("SELECT count(*) FROM app_memory"), [["0"]], "no event told it");
    let hours = "SELECT count(*) FROM invocations WHERE date = '2023-11-14' AND hour = 23";
    assert_eq!(count(&by_command(hours)), 180, "one every 20 s");
    let spans =
        "SELECT count(*) FROM invocations WHERE start >= '2023-11-14T23:00:00Z' AND start < '2023-11-15T00:00:00Z'";
    assert_eq!(count(&by_command(spans)), 180);
    let plan = by_command(&format!("EXPLAIN {spans}"));
    let files = plan.iter().flatten().find(|cell| cell.contains("DataSourceExec")).unwrap();
    assert!(files.contains("hour=23") && !files.contains("hour=22"), "other hours are not read: {files}");
    ends(pipeline);
    assert_eq!(setup.in_files(), 2500);
}

#[test]
fn nothing_is_twice_with_another_policy_or_files_cut_otherwise() {
    let Some(setup) = Setup::new() else { return };
    let pipeline = setup.start(&[]);
    setup.write(0..2100);
    shows(&pipeline, 2100);
    ends(pipeline);
    // State of other bins is none to go on with: all events are read again, with a higher epoch.
    let other = "policy.hybrid.range=2h";
    let pipeline = setup.start(&[other]);
    shows(&pipeline, 2100);
    assert!(pipeline.logs().contains("starts anew"), "{}", pipeline.logs());
    setup.write(2100..4000);
    shows(&pipeline, 4000);
    assert_eq!(count(&sql::ask(&pipeline.url(), "SELECT max(epoch) FROM decision_history")), 1);
    ends(pipeline);

    // What was written after the last checkpoint before a crash is written again, in other pieces.
    let mut pipeline = setup.start(&[other, "checkpoint.every=30d"]);
    setup.write(4000..6000);
    wait_for("files", PATIENCE, || (setup.in_files() >= 5500).then_some(()));
    pipeline.kill();
    let pipeline = setup.start(&[other, "history.rows=300"]);
    shows(&pipeline, 6000);
    ends(pipeline);
}

#[test]
fn a_store_that_fails_loses_nothing() {
    let Some(setup) = Setup::new() else { return };
    let pipeline = setup.start(&[]);
    setup.write(0..1000);
    shows(&pipeline, 1000);
    wait_for("files", PATIENCE, || (setup.in_files() == 1000).then_some(()));
    let aside = setup.history.path().join("aside");
    let (folder, no_folder) = (setup.folder(), Path::new("not a folder"));
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, no_folder.as_os_str().as_encoded_bytes()).unwrap();
    setup.write(1000..2000);
    wait_for("a failure", PATIENCE, || (pipeline.metric("pilotlight_history_failing") == 1.0).then_some(()));
    wait_for("a warning", PATIENCE, || pipeline.logs().contains("check history.url").then_some(()));
    let at_failure = setup.checkpoints.offsets("pilotlight", TOPIC);
    assert!(at_failure <= 1500, "no checkpoint goes past what is in no file: {at_failure}");
    wait_for("decisions go on", PATIENCE, || (pipeline.metric("pilotlight_events_total") == 2000.0).then_some(()));

    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    wait_for("all files", Duration::from_secs(90), || (setup.in_files() == 2000).then_some(()));
    shows(&pipeline, 2000);
    ends(pipeline);
    assert_eq!(setup.checkpoints.offsets("pilotlight", TOPIC), 2000);
}
