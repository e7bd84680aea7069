//! An agent whose machine's clock is set: nothing that is warm goes, windows keep their lengths, decisions made after it are
//! acted on when they say, and what the agent tells others is in the time that the clock shows.
//!
//! It is the agent alone whose clock is set, by a library that is loaded into it.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::program::{Program, free_port};
use support::{topic, wait_for};

const PATIENCE: Duration = Duration::from_secs(30);
const HOUR_MS: i64 = 3_600_000;

/// The agent's clock.
struct Clock {
    shift: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// One that shows the real time, to be loaded into a program.
    fn build(folder: &Path) -> Self {
        let clock = Self { shift: folder.join("shift"), library: folder.join("clock.so") };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clock/clock.c");
        let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&clock.library, &source]).status();
        assert!(built.unwrap().success(), "cc");
        clock.set(0);
        clock
    }

    /// Sets it to so many hours ahead of the real time; says what it shows then.
    fn set(&self, hours: i64) -> i64 {
        // In place: it is mapped.
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&self.shift).unwrap();
        file.write_all(&(hours * HOUR_MS / 1000).to_ne_bytes()).unwrap();
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64 + hours * HOUR_MS
    }
}

fn decide(bootstrap: &str, app: &str, idle_since_ms: i64, windows: &Value) {
    let decision = json!({
        "app": app, "version": {"epoch": 0, "position": 1}, "decided_at_ms": idle_since_ms, "policy": "test",
        "regime": "override", "idle_since_ms": idle_since_ms, "instances": 1, "windows": windows,
        "valid_until_ms": idle_since_ms + 12 * HOUR_MS, "reason": "a test wants it"
    });
    let writer = topic::Writer::open(bootstrap);
    writer.write("pilotlight.decisions", app, decision.to_string().as_bytes());
    writer.flush();
}

/// When the agent did something with an app last, by its own words.
fn last(agent: &Program, app: &str, kind: &str) -> Option<i64> {
    let events = agent.get_json(&format!("/events?app={app}&last=100"));
    let of_kind = |event: &&Value| event["kind"] == kind;
    events.as_array().unwrap().iter().rev().find(of_kind).map(|event| event["at_ms"].as_i64().unwrap())
}

#[test]
fn a_clock_that_is_set_moves_no_window() {
    let mut settings = pilotlight::config::Settings::load(Some(Path::new("/dev/null")), &[]).unwrap();
    let bus = pilotlight::bus::Embedded::start(&mut settings).unwrap();
    let bootstrap = bus.bootstrap_servers();
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::build(folder.path());
    let agent = Program::start_at(
        &format!("127.0.0.1:{}", free_port()),
        &["agent", "--bootstrap-servers", &bootstrap, "--set", "topics.create=false", "--set", "agent.fleet="],
        &[("LD_PRELOAD", clock.library.to_str().unwrap()), ("CLOCK_FILE", clock.shift.to_str().unwrap())],
    );
    agent.wait_ready();
    for app in ["kept", "later"] {
        agent.register(app, "sh", "main() { echo '{}'; }");
    }
    let now_ms = clock.set(0);
    decide(&bootstrap, "kept", now_ms, &json!([{"from_ms": 0, "until_ms": HOUR_MS}]));
    wait_for("the decision", PATIENCE, || {
        agent.get_json("/warm").as_array().unwrap().iter().any(|app| app["decided"] == true).then_some(())
    });
    assert_eq!(agent.invoke("kept", "{}").0, 200);

    for hours in [3, -20] {
        let shows_ms = clock.set(hours);
        let (status, start, _) = agent.invoke("kept", "{}");
        assert_eq!((status, start.as_deref()), (200, Some("warm")), "{hours} hours\n{}", agent.logs());
        assert_eq!(last(&agent, "kept", "unloaded"), None, "{hours} hours");
        let started_ms = last(&agent, "kept", "started").unwrap();
        assert!(
            (0..10_000).contains(&(started_ms - shows_ms)),
            "{hours} hours: {started_ms}, the clock shows {shows_ms}"
        );
    }
    let events = wait_for("the events", PATIENCE, || {
        let events = topic::read_json(&bootstrap, "pilotlight.invocations");
        (events.len() == 3).then_some(events)
    });
    let apart = events[2]["started_at_ms"].as_i64().unwrap() - events[1]["started_at_ms"].as_i64().unwrap();
    assert!((apart + 23 * HOUR_MS).abs() < 60_000, "{events:?}");

    // What is decided by the clock that was set happens when it says: nothing now, and loaded a little before four seconds.
    let shows_ms = clock.set(-20);
    decide(&bootstrap, "later", shows_ms, &json!([{"from_ms": 4000, "until_ms": HOUR_MS}]));
    let loaded_ms = wait_for("it is loaded in its window", PATIENCE, || last(&agent, "later", "prewarmed"));
    assert!((2000..10_000).contains(&(loaded_ms - shows_ms)), "{loaded_ms}, idle since {shows_ms}");
}
