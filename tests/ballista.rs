//! A Ballista cluster answers on a history what is answered here: each file of `sql/` that reads history, and what the
//! tables of history have that plain files don't. What a cluster can't or may not do is said.
//!
//! The cluster is real: a scheduler and two executors as they come from their project, each a process of its own, which
//! is this test program again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests say what they expect")]

mod support;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::start_server;
use support::program::{PATIENCE, free_port, run};
use support::wait_for;

const EXECUTORS: usize = 2;

/// A running cluster. Ends when dropped.
struct Cluster {
    port: u16,
    processes: Vec<Child>,
    folder: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut cluster = Self { port: free_port(), processes: Vec::new(), folder };
        cluster.add("runs_the_scheduler", &[cluster.port]);
        wait_for("the scheduler", PATIENCE, || cluster.status("/healthz"));
        for _ in 0..EXECUTORS {
            cluster.add("runs_an_executor", &[cluster.port, free_port(), free_port()]);
        }
        wait_for("the executors", PATIENCE, || cluster.status("/readyz").filter(|status| *status == 200));
        cluster
    }

    fn add(&mut self, test: &str, ports: &[u16]) {
        let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
        let logs = std::fs::File::create(self.folder.path().join(format!("{}.log", self.processes.len()))).unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture"])
            .env("PORTS", ports.join(","))
            .env("WORK", self.folder.path().join(self.processes.len().to_string()))
            .stdin(Stdio::piped())
            .stdout(logs.try_clone().unwrap())
            .stderr(logs)
            .spawn();
        self.processes.push(process.unwrap());
    }

    fn status(&self, path: &str) -> Option<u16> {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        agent.get(format!("http://{}{path}", self.address())).call().ok().map(|response| response.status().as_u16())
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            for place in 0..self.processes.len() {
                let logs = self.folder.path().join(format!("{place}.log"));
                eprintln!("--- logs of process {place}:\n{}", std::fs::read_to_string(logs).unwrap_or_default());
            }
        }
    }
}

/// Runs a process of the cluster, which ends with the test that started it, however that ends.
fn process<E: std::fmt::Display>(runs: impl AsyncFnOnce(&[u16], PathBuf) -> Result<(), E>) {
    let ports = std::env::var("PORTS").expect("this is no test, but a process that the tests of this file start");
    let ports: Vec<u16> = ports.split(',').map(|port| port.parse().unwrap()).collect();
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(32 << 20).build().unwrap();
    let ended = threads.block_on(runs(&ports, std::env::var_os("WORK").unwrap().into()));
    panic!("it ended: {}", ended.err().map(|error| error.to_string()).unwrap_or_default());
}

#[test]
#[ignore = "a process of the cluster"]
fn runs_the_scheduler() {
    process(async |ports, _| {
        let config = SchedulerConfig {
            external_host: "127.0.0.1".to_owned(),
            bind_port: ports[0],
            min_ready_executors: EXECUTORS,
            ..SchedulerConfig::default()
        };
        let cluster = BallistaCluster::new_from_config(&config).await?;
        start_server(cluster, ([127, 0, 0, 1], ports[0]).into(), Arc::new(config)).await
    });
}

#[test]
#[ignore = "a process of the cluster"]
fn runs_an_executor() {
    process(async |ports, work| {
        std::fs::create_dir_all(&work).unwrap();
        let config = ExecutorProcessConfig {
            external_host: Some("127.0.0.1".to_owned()),
            scheduler_host: "127.0.0.1".to_owned(),
            scheduler_port: ports[0],
            port: ports[1],
            grpc_port: ports[2],
            vcores: 2,
            work_dir: Some(work.display().to_string()),
            ..ExecutorProcessConfig::default()
        };
        start_executor_process(Arc::new(config)).await
    });
}

/// A history of a generated workload of a few days, and its URL.
fn history(folder: &Path) -> String {
    let out = folder.join("history");
    let made = run(&[
        "generate",
        "--format",
        "history",
        "--apps",
        "12",
        "--days",
        "2",
        "--seed",
        "5",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    format!("file://{}", out.display())
}

/// What `pilotlight sql` answers: lines of cells, or what it says is wrong.
fn ask(arguments: &[&str]) -> Result<Vec<Vec<String>>, String> {
    let output = run(&[&["sql", "--format", "csv"], arguments].concat());
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(output.stdout.as_slice());
    Ok(reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect())
}

/// Cells are equal, or numbers that differ as sums in another order do.
fn agree(found: &[Vec<String>], expected: &[Vec<String>]) -> bool {
    let same = |(found, expected): (&String, &String)| match (found.parse::<f64>(), expected.parse::<f64>()) {
        (Ok(found), Ok(expected)) => (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
        _ => found == expected,
    };
    let rows = |(found, expected): (&Vec<String>, &Vec<String>)| {
        found.len() == expected.len() && found.iter().zip(expected).all(same)
    };
    found.len() == expected.len() && found.iter().zip(expected).all(rows)
}

#[test]
fn a_cluster_answers_what_is_answered_here() {
    let folder = tempfile::tempdir().unwrap();
    let history = history(folder.path());
    let cluster = Cluster::start();
    let address = cluster.address();
    let mut wrong = Vec::new();
    let mut both = |question: &[&str], rows: std::ops::RangeInclusive<usize>| {
        let here = ask(&[&["--history", &history], question].concat()).unwrap();
        assert!(rows.contains(&(here.len() - 1)), "{question:?}: {here:?}");
        match ask(&[&["--history", &history, "--ballista", &address], question].concat()) {
            Ok(there) if agree(&there, &here) => {}
            Ok(there) => wrong.push(format!("{question:?}: found {there:?}\nexpected {here:?}")),
            Err(error) => wrong.push(format!("{question:?}: {error}")),
        }
    };

    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("sql")).unwrap();
    for file in files.map(|entry| entry.unwrap().path()) {
        // The one that asks of what runs now.
        if file.file_stem().is_some_and(|name| name != "most_idle_memory") {
            both(&["-f", file.to_str().unwrap()], 1..=1000);
        }
    }
    for (question, rows) in [
        ("SELECT date, hour, count(*) FROM invocations GROUP BY date, hour ORDER BY date, hour", 48),
        ("SELECT count(*) FROM invocations WHERE date = (SELECT max(date) FROM invocations) AND hour < 6", 1),
        ("SELECT count(*), sum(invocations) FROM invocations_per_minute WHERE date = '1999-12-31'", 1),
        ("SELECT * FROM decision_history ORDER BY app, kafka_offset LIMIT 5", 5),
        ("SELECT app, cv(gap_ms), cv(gap_ms) FILTER (WHERE hour < 12) FROM invocations GROUP BY app ORDER BY app", 11),
        ("SELECT nearest_rank(gap_ms, 0), nearest_rank(gap_ms, 0.07), nearest_rank(gap_ms, 1) FROM invocations", 1),
        ("SELECT nearest_rank(gap_ms, 0.5), cv(gap_ms) FROM invocations WHERE app = 'none'", 1),
        (
            "SELECT idle_bin(idle_ms) AS bin, rate_class(count(*)), cv_of_sums(count(*), sum(idle_ms), sum(idle_ms * idle_ms)) \
             FROM invocations WHERE idle_bin(idle_ms) > 235 OR idle_bin(idle_ms) < 2 GROUP BY bin ORDER BY bin",
            3,
        ),
        ("SHOW TABLES", 5),
        ("SELECT column_name FROM information_schema.columns WHERE table_name = 'app_memory'", 5),
    ] {
        both(&[question], rows..=rows);
    }
    // What compaction leaves behind for a while: files whose rows are in another one.
    let covered = folder.path().join("history/invocations");
    for file in files_of(&covered) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let (stem, until) = name.strip_suffix(".parquet").unwrap().rsplit_once('-').unwrap();
        let until: i64 = until.parse().unwrap();
        std::fs::copy(&file, file.with_file_name(format!("{stem}-{:020}.parquet", until - 1))).unwrap();
    }
    both(&["SELECT count(*) FROM invocations"], 1..=1);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));

    let refused = |question: &str, expected: &str| {
        let said = ask(&["--history", &history, "--ballista", &address, question]).unwrap_err();
        assert!(said.contains(expected), "{question}: {said}");
    };
    refused("CREATE TABLE t AS SELECT 1", "is not allowed: tables can only be read");
    refused("INSERT INTO invocations SELECT * FROM invocations", "is not allowed: tables can only be read");
    refused("COPY (SELECT 1) TO '/tmp/x.csv'", "is not allowed: tables can only be read");
    refused(
        "SELECT histogram_percentile([count(*)], [60], 0.5) FROM invocations",
        "histogram_percentile can't be spelled out in functions that a Ballista cluster knows",
    );
    refused("SELECT cv(gap_ms) OVER () FROM invocations", "cv OVER a window can't be spelled out");
    refused("SELECT nearest_rank(gap_ms, 50) FROM invocations", "nearest_rank: found p = 50");
    refused("SELECT cold_starts FROM invocations", "No field named cold_starts");
    let late = ["--history", &history, "--ballista", &address, "--set", "query.time_limit=50ms"];
    let said = ask(&[&late[..], &["SELECT count(*) FROM invocations a JOIN invocations b ON a.app = b.app"]].concat());
    assert!(said.as_ref().is_err_and(|said| said.contains("the time limit of 50ms")), "{said:?}");
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_of(&path) } else { vec![path] }).collect()
}

#[test]
fn a_cluster_that_is_away_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let history = history(folder.path());
    let away = format!("127.0.0.1:{}", free_port());
    let said = ask(&["--history", &history, "--ballista", &away, "SELECT count(*) FROM invocations"]).unwrap_err();
    let expected = format!("no Ballista scheduler can be reached at {away}: Connection refused");
    assert!(said.contains(&expected) && said.trim_end().lines().count() == 1, "{said}");
}
