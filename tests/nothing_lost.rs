//! Nothing is lost and nothing counts twice: whatever is killed at whatever moment, the control topic ends as that of an
//! undisturbed run, to the byte, each app's invocations are counted once, and history has each of them once.
//!
//! The short version runs with all tests, the long one (10 million events, 20 kills, 5 broker restarts, 10 joins and
//! leaves) with `PILOTLIGHT_TEST_LONG=1 cargo test --release --test nothing_lost`.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::checkpoints::Checkpoints;
use support::program::{PATIENCE, Program};
use support::{kafka, sql, topic, wait_for};

const TOPIC: &str = "pilotlight.invocations";
const SEED: u64 = 5;
const APPS: u64 = 997;

#[derive(Debug, Clone, Copy)]
enum Disturbance {
    /// `kill -9` of the instance that is always there.
    Kill,
    /// The same of the broker.
    BrokerRestart,
    /// Another instance comes and goes, in peace or killed.
    JoinAndLeave { in_peace: bool },
}

struct Plan {
    events: u64,
    kills: usize,
    broker_restarts: usize,
    joins: usize,
    patience: Duration,
}

impl Plan {
    fn from_environment() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        if std::env::var_os("PILOTLIGHT_TEST_LONG").is_some() {
            return Self { events: 10_000_000, kills: 20, broker_restarts: 5, joins: 10, patience: minutes(30) };
        }
        Self { events: 1_000_000, kills: 5, broker_restarts: 1, joins: 1, patience: minutes(10) }
    }

    fn disturbances(&self, random: &mut ChaCha8Rng) -> Vec<Disturbance> {
        let mut all = vec![Disturbance::Kill; self.kills];
        all.extend(vec![Disturbance::BrokerRestart; self.broker_restarts]);
        all.extend((0..self.joins).map(|i| Disturbance::JoinAndLeave { in_peace: i % 2 == 0 }));
        all.shuffle(random);
        all
    }
}

/// The `i`th event: its app, start and duration. Busy apps and rare ones, timers, bursts that overlap, and ends out of
/// order, over a few days.
fn event(i: u64, random: &mut ChaCha8Rng) -> (String, i64, f64) {
    // The square makes some apps much busier than others.
    let app = (random.random::<f64>().powi(2) * APPS as f64) as u64;
    let at_ms = 1_700_000_000_000 + i as i64 * 40;
    let (start_ms, duration_ms) = match app % 4 {
        0 => (at_ms / 300_000 * 300_000, 30.0),
        1 => (at_ms - random.random_range(0..5_000), random.random_range(0.0..20_000.0)),
        _ => (at_ms, random.random_range(0.0..500.0)),
    };
    (format!("app-{app}"), start_ms, duration_ms)
}

/// How many events may be written; dropped, all of them, so that nobody waits for a test that failed.
struct Allowed<'a>(&'a AtomicU64);

impl Drop for Allowed<'_> {
    fn drop(&mut self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }
}

/// Writes all events, each once so many are `allowed`; how often each app was invoked.
fn write(bootstrap: &str, events: u64, allowed: &AtomicU64) -> BTreeMap<String, u64> {
    let writer = topic::Writer::open(bootstrap);
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut counts = BTreeMap::new();
    for i in 0..events {
        while i >= allowed.load(Ordering::Relaxed) {
            writer.flush();
            std::thread::sleep(Duration::from_millis(20));
        }
        let (app, start_ms, duration_ms) = event(i, &mut random);
        writer.write(TOPIC, &app, &topic::event(&app, start_ms, duration_ms));
        *counts.entry(app).or_default() += 1;
    }
    writer.flush();
    counts
}

/// What an instance that owns all partitions says of what ran: each invocation once, in both tables. Returns what is said
/// of the decisions.
fn history_of(instance: &Program, counts: &BTreeMap<String, u64>) -> Vec<Vec<String>> {
    let url = instance.url();
    let owned = || instance.metric("pilotlight_partitions") == 8.0;
    wait_for("all partitions", PATIENCE, || owned().then_some(()));
    let expected: Vec<_> = counts.iter().map(|(app, count)| vec![app.clone(), count.to_string()]).collect();
    for question in [
        "SELECT app, count(*) FROM invocations GROUP BY app ORDER BY app",
        "SELECT app, sum(invocations) FROM invocations_per_minute GROUP BY app ORDER BY app",
    ] {
        assert_eq!(sql::ask(&url, question), expected, "{question}");
    }
    let total: u64 = counts.values().sum();
    assert_eq!(sql::ask(&url, "SELECT count(*) FROM invocations"), [[total.to_string()]]);
    sql::ask(
        &url,
        "SELECT app, count(*), min(kafka_offset), max(kafka_offset), sum(CAST(decided_at AS BIGINT)), max(regime)
         FROM decision_history GROUP BY app ORDER BY app",
    )
}

#[test]
fn the_end_is_that_of_an_undisturbed_run() {
    let Some(mut broker) = kafka::Broker::start() else { return };
    let plan = Plan::from_environment();
    let bootstrap = broker.bootstrap();
    let (disturbed, undisturbed) = (Checkpoints::new(), Checkpoints::new());
    let history = tempfile::tempdir().unwrap();
    let instance = |name: &str, group: &str, checkpoints: &Checkpoints| {
        Program::start(&[
            "pipeline",
            "--bootstrap-servers",
            &bootstrap,
            "--set",
            &format!("input.group={group}"),
            "--set",
            &format!("topics.decisions=decisions-{group}"),
            "--set",
            &checkpoints.setting(),
            "--set",
            "checkpoint.events=10000",
            "--set",
            "checkpoint.every=1s",
            "--set",
            &format!("history.url=file://{}/{group}", history.path().display()),
            "--set",
            "history.rows=3000",
            // Who comes back under its name gets its partitions back at once.
            "--set",
            &format!("kafka.group.instance.id={name}"),
            "--set",
            "kafka.session.timeout.ms=6000",
        ])
    };
    let mut first = instance("first", "disturbed", &disturbed);
    first.wait_ready();

    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let disturbances = plan.disturbances(&mut random);
    let began = Instant::now();
    let count = AtomicU64::new(0);
    let counts = std::thread::scope(|scope| {
        let allowed = Allowed(&count);
        let writing = scope.spawn(|| write(&bootstrap, plan.events, &count));
        let parts = disturbances.len() as u64 + 1;
        for (i, disturbance) in disturbances.into_iter().enumerate() {
            let read = || disturbed.offsets("disturbed", TOPIC);
            let events = plan.events * i as u64 / parts;
            // At each disturbance there is something under way: what is read again after one would else be all.
            allowed.0.store(events + 2 * plan.events / parts, Ordering::Relaxed);
            wait_for("progress", plan.patience, || (read() >= events).then_some(()));
            // The moment is what is random here; there is nothing to wait for.
            std::thread::sleep(Duration::from_millis(random.random_range(0..3_000)));
            eprintln!("{:>6.1?}  {disturbance:?}  read: {}", began.elapsed(), read());
            match disturbance {
                Disturbance::Kill => {
                    first.kill();
                    first = instance("first", "disturbed", &disturbed);
                    if random.random_bool(0.5) {
                        first.wait_ready();
                    }
                }
                Disturbance::BrokerRestart => broker.restart(),
                Disturbance::JoinAndLeave { in_peace } => {
                    let second = instance("second", "disturbed", &disturbed);
                    second.wait_ready();
                    wait_for("the second has partitions", PATIENCE, || {
                        (second.metric("pilotlight_partitions") > 0.0).then_some(())
                    });
                    std::thread::sleep(Duration::from_millis(random.random_range(200..3_000)));
                    if in_peace {
                        assert_eq!(second.interrupt().0, Some(0));
                    }
                }
            }
        }
        drop(allowed);
        writing.join().unwrap()
    });

    wait_for("all events in checkpoints", plan.patience, || {
        (disturbed.offsets("disturbed", TOPIC) == plan.events).then_some(())
    });
    let of_disturbed = history_of(&first, &counts);
    assert_eq!(first.interrupt().0, Some(0));
    assert_eq!(disturbed.invocations("disturbed", TOPIC), counts, "each invocation counts once");

    let alone = instance("alone", "undisturbed", &undisturbed);
    wait_for("all events in checkpoints", plan.patience, || {
        (undisturbed.offsets("undisturbed", TOPIC) == plan.events).then_some(())
    });
    assert_eq!(history_of(&alone, &counts), of_disturbed, "history is that of an undisturbed run");
    assert_eq!(alone.interrupt().0, Some(0));
    let expected = topic::compacted(&bootstrap, "decisions-undisturbed");
    let found = topic::compacted(&bootstrap, "decisions-disturbed");
    assert_eq!(expected.len(), counts.len());
    for (app, record) in &expected {
        let text = |record: &topic::Record| String::from_utf8_lossy(record.payload.as_deref().unwrap()).into_owned();
        assert_eq!(text(&found[app]), text(record));
        assert_eq!(&found[app], record);
    }
    assert_eq!(found.len(), expected.len());
}
