//! Each file of `sql/` answers what its comment promises: on published traces as in `tests/golden/sql/`, on rows of
//! history as counted by hand. Where its tables are missing, it says so.
//!
//! `UPDATE_GOLDEN=1 cargo test --test sql_files` writes the golden files anew. They were checked once by counting the same
//! from the CSV files with a few lines of Python (`csv`, `collections.Counter`, `math.ceil`), without any of this
//! project's code: see `tests/golden/sql/check.py`, which prints each figure that differs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect")]

mod support;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use datafusion::arrow::csv::WriterBuilder;
use futures::TryStreamExt;
use pilotlight::config;
use pilotlight::query::Engine;

/// Files that a trace of Azure Functions 2019 serves.
const OF_COUNTS: [&str; 9] = [
    "execution_time",
    "functions_per_app",
    "load_over_time",
    "memory",
    "rates_of_apps",
    "rates_of_functions",
    "skew",
    "trigger_mix_of_apps",
    "triggers",
];

/// Files that a trace of Azure Functions 2021 serves.
const OF_SINGLES: [&str; 2] = ["inter_arrival_cv_of_invocations", "functions_per_app"];

/// Files that need more than a trace has, and what they find missing in one of Azure Functions 2019.
const OF_HISTORY: [(&str, &str); 7] = [
    ("always_cold", "No field named idle_ms"),
    ("changed_since_yesterday", "No field named missed"),
    ("cold_starts_by_app", "No field named missed"),
    ("idle_memory_by_policy", "table 'pilotlight.t.decision_history' not found"),
    ("inter_arrival_cv", "No field named gaps"),
    ("most_idle_memory", "table 'pilotlight.t.apps' not found"),
    ("most_to_gain", "No field named missed"),
];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sql").join(name).with_extension("sql")
}

fn run(name: &str, trace: &Path) -> Output {
    let mount = format!("t={}", trace.display());
    let file = file(name);
    support::program::run(&["sql", "--mount", &mount, "--schema", "t", "-f", file.to_str().unwrap(), "--format", "csv"])
}

/// What a real `psql` is told by a server on the same trace.
fn psql_agrees(names: &[&str], trace: &str) {
    let Some(folder) = support::trace(trace) else { return };
    let mount = format!("t={}", folder.display());
    let server = support::program::Program::start(&["sql", "--mount", &mount, "--schema", "t"]);
    let answers = names.iter().map(|name| (*name, cells(&run(name, &folder).stdout))).collect();
    psql_agrees_with(&server, &answers);
}

/// A real `psql` is told by `server` what the command line was.
fn psql_agrees_with(server: &support::program::Program, answers: &HashMap<&str, Vec<Vec<String>>>) {
    support::wait_for("the server", Duration::from_secs(30), || server.logs().contains("answered").then_some(()));
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    for (name, by_command) in answers {
        let psql = ["-X", "-h", "127.0.0.1", "-p", &port, "-U", "test", "-d", "pilotlight", "--csv", "-f"];
        let Ok(output) = Command::new("psql").args(psql).arg(file(name)).output() else {
            assert!(std::env::var_os("PILOTLIGHT_TEST_NOTHING_SKIPPED").is_none(), "psql is missing");
            eprintln!("skipped: psql is not here");
            return;
        };
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let by_psql = cells(&output.stdout);
        assert_eq!(&by_psql, by_command, "{name}");
    }
}

/// Cells of a CSV text, numbers as such and times without their way of writing.
fn cells(csv: &[u8]) -> Vec<Vec<String>> {
    let plain = |cell: &str| match cell.parse::<f64>() {
        Ok(number) => number.to_string(),
        Err(_) => {
            cell.replace('T', " ").trim_end_matches('Z').trim_end_matches("+00").trim_end_matches(".000000").to_owned()
        }
    };
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv);
    reader.records().map(|record| record.unwrap().iter().map(plain).collect()).collect()
}

#[test]
fn psql_gets_what_the_command_line_gets() {
    psql_agrees(&OF_COUNTS, "azure2019-d07-sample");
    psql_agrees(&OF_SINGLES, "azure2021-head998");
}

fn is_golden(name: &str, trace: &str) {
    let Some(folder) = support::trace(trace) else { return };
    let output = run(name, &folder);
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let found = String::from_utf8(output.stdout).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sql").join(format!("{name}.{trace}.csv"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(found, expected, "{name} on {trace}; UPDATE_GOLDEN=1 takes it as the golden result");
}

#[test]
fn on_counts_by_minute() {
    OF_COUNTS.iter().for_each(|name| is_golden(name, "azure2019-d07-sample"));
}

#[test]
fn on_single_invocations() {
    OF_SINGLES.iter().for_each(|name| is_golden(name, "azure2021-head998"));
}

#[test]
fn what_a_trace_lacks_is_named() {
    let Some(folder) = support::trace("azure2019-d01-head9") else { return };
    // This trace has no files for durations and memory.
    let lacking = [("memory", "table 'pilotlight.t.app_memory' not found")];
    for (name, expected) in OF_HISTORY.into_iter().chain(lacking) {
        let output = run(name, &folder);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{name}");
        assert!(said.contains(expected), "{name} says {said:?}, expected {expected:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{name}");
    }
}

#[test]
fn each_file_is_tested_and_says_what_it_needs() {
    let named = OF_COUNTS.iter().chain(&OF_SINGLES).chain(OF_HISTORY.iter().map(|(name, _)| name));
    let tested: BTreeSet<PathBuf> = named.map(|name| file(name)).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
    let found: BTreeSet<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(tested, found);
    for file in tested {
        let text = std::fs::read_to_string(&file).unwrap();
        let comment: String = text.lines().take_while(|line| line.starts_with("--")).collect();
        assert!(comment.contains("Needs "), "{}", file.display());
        assert!(
            comment.contains("\"Serverless in the Wild\"") || comment.contains("operator's daily question"),
            "{}",
            file.display()
        );
    }
}

/// Each file on the history of a generated workload, by `pilotlight sql` and by `psql`, and what must agree among them.
#[test]
fn on_the_history_of_a_generated_workload() {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("history");
    let made = support::program::run(&[
        "generate",
        "--format",
        "history",
        "--apps",
        "12",
        "--days",
        "1",
        "--seed",
        "5",
        "--out",
        history.to_str().unwrap(),
    ]);
    let said = String::from_utf8(made.stdout).unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let invocations = said.split(' ').next().unwrap().replace(',', "");
    let url = format!("file://{}", history.display());
    let all =
        OF_COUNTS.iter().chain(&["inter_arrival_cv_of_invocations"]).chain(OF_HISTORY.iter().map(|(name, _)| name));
    let names: Vec<_> = all.copied().filter(|name| *name != "most_idle_memory").collect();
    let answers: HashMap<_, _> = names
        .iter()
        .map(|name| {
            let file = file(name);
            let output =
                support::program::run(&["sql", "--history", &url, "-f", file.to_str().unwrap(), "--format", "csv"]);
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            (*name, cells(&output.stdout))
        })
        .collect();
    let column = |name: &str, column: &str| -> Vec<String> {
        let rows = &answers[name];
        let at = rows[0].iter().position(|header| header == column).unwrap();
        rows[1..].iter().map(|row| row[at].clone()).collect()
    };
    let sum = |values: Vec<String>| values.iter().map(|value| value.parse::<f64>().unwrap()).sum::<f64>();
    assert_eq!(sum(column("load_over_time", "invocations")).to_string(), invocations);
    assert_eq!(sum(column("triggers", "invocations")).to_string(), invocations);
    // Roll-ups and single invocations tell the same of gaps.
    let regular = |name: &str, row: usize| column(name, "percent_up_to_1")[row].clone();
    assert_eq!(regular("inter_arrival_cv", 0), regular("inter_arrival_cv_of_invocations", 0));
    // Each app's first invocation is cold, and by this policy few others are.
    let cold: f64 = column("cold_starts_by_app", "cold_percent_p50")[0].parse().unwrap();
    assert!(cold > 0.0 && cold < 100.0, "{cold}");
    assert_eq!(column("idle_memory_by_policy", "policy"), ["frontier"]);
    assert_eq!(column("cold_starts_by_app", "apps"), [sum(column("functions_per_app", "apps")).to_string()]);

    let server = support::program::Program::start(&["sql", "--history", &url]);
    psql_agrees_with(&server, &answers);
}

/// Rows of history of four apps over two days: `steady` (every hour, never cold), `rare` (always cold), `once`, and
/// `worse` (cold on the second day only).
const HISTORY: [&str; 3] = [
    "CREATE TABLE invocations_per_minute AS
     SELECT app, trigger, CAST(minute AS TIMESTAMP) AS minute, invocations, missed, idle_times, idle_ms, gaps, gap_ms, gap_ms2,
            memory_mb
     FROM (VALUES
        ('steady', 'timer', '2026-01-01T11:00:00', 20, 0, 20, 72e6, 20, 72e6, 2592e11, 100.0),
        ('steady', 'timer', '2026-01-02T11:00:00', 20, 0, 20, 72e6, 20, 72e6, 2592e11, 120.0),
        ('rare',   'http',  '2026-01-01T12:00:00', 2,  2, 1, 60000.0, 1, 60000.0, 36e8, 200.0),
        ('rare',   'queue', '2026-01-02T12:00:00', 1,  1, 1, 180000.0, 1, 180000.0, 324e8, 200.0),
        ('once',   'http',  '2026-01-02T12:30:00', 1,  1, 0, 0.0, 0, 0.0, 0.0, 50.0),
        ('worse',  'http',  '2026-01-01T13:00:00', 10, 0, 10, 600000.0, 10, 600000.0, 36e9, 64.0),
        ('worse',  'timer', '2026-01-02T13:00:00', 10, 8, 10, 600000.0, 10, 600000.0, 36e9, 64.0)
     ) AS rows(app, trigger, minute, invocations, missed, idle_times, idle_ms, gaps, gap_ms, gap_ms2, memory_mb)",
    "CREATE TABLE decision_history AS
     SELECT * FROM (VALUES
        ('a', 'hybrid', 100.0, 0.5), ('a', 'hybrid', 300.0, 0.0), ('b', 'hybrid', 200.0, 0.1), ('b', 'fixed', 900.0, 0.2)
     ) AS rows(app, policy, idle_mb_s, cold_probability)",
    "CREATE TABLE apps AS
     SELECT * FROM (VALUES
        ('a', 'histogram', 7, 128.0, 0.1, 250.0), ('b', 'forecast', 3, 256.0, 0.2, 750.0), ('c', 'learning', 1, NULL, NULL, NULL)
     ) AS rows(app, regime, invocations, memory_mb, cold_probability, idle_mb_s)",
];

#[tokio::test]
async fn on_rows_of_history() {
    let settings = config::Settings::load(Some(Path::new("/dev/null")), &[]).unwrap();
    let engine = Engine::new(&config::Query { threads: 2, ..settings.query }).unwrap();
    for statement in HISTORY {
        engine.context().sql(statement).await.unwrap().collect().await.unwrap();
    }
    for (name, expected) in [
        // `steady` and `worse` were not always cold, `once` was invoked once. 240,000 ms in 2 idle times are 2 min each.
        ("always_cold", "rare,3,2.0,2026-01-02T12:00:00\n"),
        // The table ends on the second day at 13:00, so that all of it are 24 hours: `worse` went from 0 to 8 of 10.
        ("changed_since_yesterday", "worse,10,10,0,8,8\nonce,0,1,0,1,1\nrare,2,1,2,1,-1\nsteady,20,20,0,0,0\n"),
        // 0, 40, 100 and 100 %.
        ("cold_starts_by_app", "4,0.0,40.0,100.0,100.0,25.0,50.0\n"),
        ("idle_memory_by_policy", "fixed,1,1,900.0,20.0\nhybrid,2,3,200.0,20.0\n"),
        // CVs: steady 0 and worse 0 by equal gaps, rare (60 s and 180 s) 60 / 120 = 0.5; once has no gap.
        (
            "inter_arrival_cv",
            "all,3,66.667,100.0,100.0,100.0,100.0,100.0\nno timers,1,0.0,100.0,100.0,100.0,100.0,100.0\n\
             only timers,1,100.0,100.0,100.0,100.0,100.0,100.0\nsome timers,1,100.0,100.0,100.0,100.0,100.0,100.0\n",
        ),
        ("most_idle_memory", "b,forecast,3,256.0,0.2,750.0,75.0\na,histogram,7,128.0,0.1,250.0,25.0\n"),
        ("most_to_gain", "worse,20,8,40.0,1.0,0.0,64.0\nrare,3,3,100.0,2.0,0.5,200.0\nonce,1,1,100.0,,,50.0\n"),
    ] {
        let sql = std::fs::read_to_string(file(name)).unwrap();
        let answer = engine.query(&sql).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let rows: Vec<_> = answer.rows.try_collect().await.unwrap();
        let mut csv = Vec::new();
        let mut writer = WriterBuilder::new().with_header(false).build(&mut csv);
        rows.iter().for_each(|batch| writer.write(batch).unwrap());
        drop(writer);
        assert_eq!(String::from_utf8(csv).unwrap(), expected, "{name}");
    }
}
