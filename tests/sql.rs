//! SQL over a running pipeline: `psql`, a Python driver, HTTP and `pilotlight sql` get the same answers; what must not be is
//! refused, and harms nothing.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::program::{Program, free_port, run};
use support::{kafka, topic, wait_for};

const START_MS: i64 = 1_700_000_000_000;

/// A pipeline that has seen 30 apps, the n-th of them invoked n + 1 times, every 3 minutes.
struct Workload {
    pipeline: Program,
    postgres: u16,
    psycopg: String,
    _broker: kafka::Broker,
}

impl Workload {
    /// `None`, with a clear line, where Kafka or a client is missing.
    fn start(settings: &[&str]) -> Option<Self> {
        let broker = kafka::Broker::start()?;
        let psycopg = fetch()?;
        let bootstrap = broker.bootstrap();
        let postgres = free_port();
        let address = format!("127.0.0.1:{postgres}");
        let mut arguments =
            vec!["pipeline", "--bootstrap-servers", &bootstrap, "--policy", "hybrid", "--postgres", &address];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let pipeline = Program::start_ready(&arguments);
        let writer = topic::Writer::open(&bootstrap);
        for turn in 0..30 {
            for app in turn..30 {
                let name = format!("app-{app:02}");
                let event = topic::event(&name, START_MS + i64::from(turn) * 180_000, 5.0);
                writer.write("pilotlight.invocations", &name, &event);
            }
        }
        writer.flush();
        wait_for("all events", Duration::from_secs(30), || {
            (pipeline.metric("pilotlight_events_total") == 465.0).then_some(())
        });
        Some(Self { pipeline, postgres, psycopg, _broker: broker })
    }

    fn by_psql(&self, sql: &str) -> (bool, String) {
        let port = self.postgres.to_string();
        let psql =
            ["-X", "-h", "127.0.0.1", "-p", &port, "-U", "test", "-d", "pilotlight", "--csv", "-v", "ON_ERROR_STOP=1"];
        let output = Command::new("psql").args(psql).args(["-c", sql]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    fn by_driver(&self, sql: &str, parameters: &[&str]) -> Vec<Vec<serde_json::Value>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql/ask.py");
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", &self.psycopg).arg(script).arg(self.postgres.to_string()).arg(sql).args(parameters);
        let output = python.output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn by_command(&self, sql: &str) -> (bool, String) {
        let output = run(&["sql", "--url", &self.pipeline.url(), "--format", "csv", sql]);
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    fn by_http(&self, accept: &str, body: &str) -> (u16, String) {
        let mut answer = self.post(accept, body).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    fn post(&self, accept: &str, body: &str) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("{}/api/sql", self.pipeline.url());
        agent.post(url).header("accept", accept).content_type("text/plain").send(body)
    }
}

fn fetch() -> Option<String> {
    let fetch = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql/fetch");
    let output = Command::new(fetch).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Some(said);
    }
    let strict = std::env::var_os("PILOTLIGHT_TEST_NOTHING_SKIPPED").is_some();
    assert!(!strict, "nothing may be skipped here, but {said}");
    eprintln!("skipped: {said}");
    None
}

/// The cells of a CSV text below its header, numbers as such, so that 5 and 5.0 are the same.
fn cells(csv: &str) -> Vec<Vec<String>> {
    let plain = |cell: &str| cell.parse::<f64>().map_or_else(|_| cell.to_owned(), |number| number.to_string());
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    reader.records().map(|record| record.unwrap().iter().map(plain).collect()).collect()
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::Number(number) => number.as_f64().unwrap().to_string(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[test]
fn every_way_in_gives_the_same_answers() {
    let Some(workload) = Workload::start(&[]) else { return };
    const QUESTIONS: [(&str, usize); 7] = [
        ("SELECT app, invocations, idle_times, mean_idle_ms, regime, runtime FROM apps ORDER BY app", 30),
        ("SELECT app, from_ms, until_ms, count FROM idle_times ORDER BY app, from_ms", 29),
        ("SELECT a.app, d.policy, d.regime, d.instances FROM apps a JOIN decisions d ON a.app = d.app ORDER BY 1", 30),
        ("SELECT sum(next_offset), sum(apps) FROM partitions", 1),
        ("SELECT regime, count(*) FROM apps WHERE cold_probability < 0.5 GROUP BY regime ORDER BY regime", 2),
        ("SELECT app, function, trigger, invocations, mean_duration_ms FROM functions ORDER BY app", 30),
        ("SELECT app FROM forecasts", 0),
    ];
    for (question, rows) in QUESTIONS {
        let (ok, by_command) = workload.by_command(question);
        assert!(ok, "{question}: {by_command}");
        let expected = cells(&by_command);
        assert_eq!(expected.len(), rows, "{question}: {by_command}");
        let (ok, by_psql) = workload.by_psql(question);
        assert!(ok, "{question}: {by_psql}");
        assert_eq!(cells(&by_psql), expected, "{question}");
        let by_driver: Vec<Vec<_>> =
            workload.by_driver(question, &[]).iter().map(|row| row.iter().map(plain).collect()).collect();
        assert_eq!(by_driver, expected, "{question}");
        let (status, json) = workload.by_http("application/json", question);
        let json: Vec<serde_json::Map<_, _>> = serde_json::from_str(&json).unwrap();
        let by_http: Vec<Vec<_>> = json.iter().map(|row| row.values().map(plain).collect()).collect();
        assert_eq!((status, by_http.len()), (200, rows), "{question}");
        assert_eq!(workload.by_http("text/csv", question), (200, by_command), "{question}");
    }

    // Against what was written: the n-th app has n idle times of 3 minutes less 5 ms.
    let (_, found) = workload.by_command("SELECT app, invocations, idle_times, mean_idle_ms FROM apps ORDER BY app");
    let written: Vec<Vec<_>> = (0..30)
        .map(|n| {
            let mean = if n == 0 { String::new() } else { "179995".to_owned() };
            vec![format!("app-{n:02}"), (n + 1).to_string(), n.to_string(), mean]
        })
        .collect();
    assert_eq!(cells(&found), written);

    let (_, found) =
        workload.by_command("SELECT app, function, invocations, failed, mean_duration_ms FROM functions ORDER BY 1");
    let written = (0..30).map(|n| [&format!("app-{n:02}"), "f", &(n + 1).to_string(), "0", "5"].map(str::to_owned));
    assert_eq!(cells(&found), written.collect::<Vec<_>>());

    // Parameters, and what there is to ask about.
    let found =
        workload.by_driver("SELECT app, invocations FROM apps WHERE invocations > %s AND app < %s", &["27", "app-29"]);
    assert_eq!(found.len(), 2, "{found:?}");
    let columns = "SELECT column_name, comment FROM information_schema.columns WHERE table_name = %s ORDER BY 1";
    let columns = workload.by_driver(columns, &["partitions"]);
    assert!(
        columns.iter().any(|row| row[0] == "checkpoint_age_ms" && row[1].as_str().unwrap().contains("ms")),
        "{columns:?}"
    );
    let (ok, described) = workload.by_command("DESCRIBE apps");
    assert!(ok && described.contains("memory_mb,Float64,YES,\"Memory, MB;"), "{described}");
    let (ok, listed) = workload.by_psql("\\dt");
    let tables = ["apps", "decisions", "forecasts", "functions", "idle_times", "partitions"];
    assert!(ok && tables.iter().all(|table| listed.contains(table)), "{listed}");
    let (ok, described) = workload.by_psql("\\d idle_times");
    assert!(ok && described.contains("until_ms,bigint"), "{described}");
}

#[test]
fn what_must_not_be_is_refused_and_harms_nothing() {
    let limits = ["query.time_limit=2s", "query.max_rows=100", "query.memory_mb=16", "query.spill_mb=1"];
    let Some(workload) = Workload::start(&limits) else { return };
    const ENDLESS: &str =
        "SELECT sum(a.value * b.value) FROM generate_series(1, 1000) a, generate_series(1, 100000000) b";
    const HUGE: &str = "SELECT value % 7919, value FROM generate_series(1, 100000000) ORDER BY 1, 2 DESC";
    let refused = [
        ("DROP TABLE apps", "can only be read"),
        ("CREATE TABLE mine AS SELECT 1", "can only be read"),
        ("CREATE EXTERNAL TABLE mine STORED AS CSV LOCATION '/etc/passwd'", "can only be read"),
        ("INSERT INTO apps (app) VALUES ('x')", "can only be read"),
        ("DELETE FROM apps", "can only be read"),
        ("COPY (SELECT 1) TO '/tmp/pilotlight-must-not-be.csv'", "can only be read"),
        ("SET datafusion.execution.batch_size = 1", "can only be read"),
        ("SELECT * FROM '/etc/passwd'", "not found"),
        ("SELEC 1", "can't be read"),
        ("SELECT nothing FROM apps", "nothing"),
        ("", "no statement"),
        (ENDLESS, "time limit of 2s"),
        (HUGE, "query."),
        ("SELECT value FROM generate_series(1, 101)", "more than 100 rows"),
    ];
    for (statement, because) in refused {
        let (status, said) = workload.by_http("application/json", statement);
        assert!((400..=504).contains(&status) && said.contains(because), "{statement}: {status} {said}");
        assert!(said.starts_with("{\"error\":"), "{statement}: {said}");
    }
    assert!(!Path::new("/tmp/pilotlight-must-not-be.csv").exists());
    // PostgreSQL's grammar has no external tables.
    for (statement, because) in refused[..7].iter().filter(|(statement, _)| !statement.contains("EXTERNAL")) {
        let (ok, said) = workload.by_psql(statement);
        assert!(!ok && said.contains(because), "{statement}: {said}");
    }
    let (ok, said) = workload.by_psql(ENDLESS);
    assert!(!ok && said.contains("time limit of 2s"), "{said}");
    // It is refused by its length: the connection may be closed before all of it is sent.
    if let Ok(answer) = workload.post("application/json", &format!("SELECT '{}'", "x".repeat(2 << 20))) {
        assert_eq!(answer.status(), 413);
    }
    let (status, said) = workload.by_http("image/png", "SELECT 1");
    assert_eq!(status, 406, "{said}");

    // Clients that say nothing, or leave in the middle.
    let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(("127.0.0.1", workload.postgres)).unwrap()).collect();
    for _ in 0..5 {
        let address = workload.pipeline.url().trim_start_matches("http://").to_owned();
        let mut leaver = TcpStream::connect(address).unwrap();
        let request =
            format!("POST /api/sql HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{ENDLESS}", ENDLESS.len());
        std::io::Write::write_all(&mut leaver, request.as_bytes()).unwrap();
        leaver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(leaver.read(&mut [0; 16]).is_err(), "it can't be done yet");
    }
    assert_eq!(workload.by_http("text/csv", "SELECT count(*) AS n FROM apps"), (200, "n\n30\n".to_owned()));
    assert_eq!(workload.by_psql("SELECT count(*) AS n FROM apps"), (true, "n\n30\n".to_owned()));
    drop(silent);
    assert_eq!(workload.pipeline.status("/readyz"), Some(200));
    assert_eq!(workload.pipeline.metric("pilotlight_events_total"), 465.0);
}

#[test]
fn lag_is_what_was_not_read_yet() {
    const EVENTS: i64 = 150_000;
    let Some(broker) = kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    topic::create_with(&bootstrap, &["pilotlight.invocations"], 4);
    let writer = topic::Writer::open(&bootstrap);
    for i in 0..EVENTS {
        let app = format!("app-{}", i % 97);
        writer.write("pilotlight.invocations", &app, &topic::event(&app, START_MS + i * 40, 5.0));
    }
    writer.flush();
    let pipeline = Program::start_ready(&["pipeline", "--bootstrap-servers", &bootstrap]);
    let question = "SELECT count(lag), sum(lag), sum(lag + next_offset) FROM partitions";
    let mut lags = Vec::new();
    wait_for("no lag", Duration::from_secs(120), || {
        let output = run(&["sql", "--url", &pipeline.url(), "--format", "csv", question]);
        let found = cells(&String::from_utf8(output.stdout).unwrap());
        let [known, lag, end] = found.first()?.as_slice() else { return None };
        if known == "4" {
            assert_eq!(*end, EVENTS.to_string());
            lags.push(lag.parse::<i64>().unwrap());
        }
        (lags.last() == Some(&0)).then_some(())
    });
    assert!(lags.len() > 1 && lags.is_sorted_by(|a, b| a >= b), "{lags:?}");
}
