//! What policies give on this machine, for real: 68 apps of a published trace are invoked at an agent, which starts, keeps
//! and ends their runtimes as the pipeline decides, policy by policy: `cargo bench --bench replay`.
//!
//! As in "Serverless in the Wild" (Shahrad et al., ATC 2020, §5.3): eight hours of 68 apps of middle popularity, against a
//! fixed keep-alive of 10 minutes. The sample is fixed: of the apps between the quartiles of the number of invocations, in
//! the order of their names, evenly spaced ones; invocations are placed at random in their minutes. All policies are played
//! at the same time, each at an agent of its own. `PILOTLIGHT_BENCH_SPEED` says how many times as fast (default 20: 24
//! minutes), `PILOTLIGHT_BENCH_PICTURES` into which folder pictures go. Runtimes are processes, and containers where a Docker
//! engine can be started; with pools and without: `cargo bench --bench replay -- docker no-pools` is one of these four.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pilotlight::simulate::plot;
use support::docker::{Engine, IMAGE};
use support::program::{Program, run};

const POLICIES: [(&str, &str); 4] = [
    ("fixed", "fixed, 10 min"),
    ("hybrid", "hybrid"),
    ("frontier", "frontier"),
    ("frontier:price=800GBs", "frontier, 800 GB·s"),
];
const APPS: usize = 68;
/// The columns of an invocation file before its minutes.
const NAMES: usize = 4;

struct Answer {
    app: String,
    start: String,
    init_ms: f64,
    /// In the workload's own time: as long as the trace says, and the wait for the app.
    response_ms: f64,
}

struct Outcome {
    answers: Vec<Answer>,
    /// Hours of the workload, MB that all runtimes take.
    memory: Vec<(f64, f64)>,
    idle_gb_h: f64,
    failed: usize,
}

fn main() {
    let speed: f64 = std::env::var("PILOTLIGHT_BENCH_SPEED").map_or(20.0, |speed| speed.parse().unwrap());
    let Some(trace) = support::trace("azure2019-d07-sample") else { return };
    let sample = tempfile::tempdir().unwrap();
    let invocations = write_sample(&trace, sample.path());
    println!("{APPS} apps, {invocations} invocations in 8 hours, {speed} times as fast\n");
    let engine = Engine::start();
    let container = engine.as_ref().map(|engine| {
        vec![format!("agent.docker.host={}", engine.host()), format!("agent.runtimes.python3.image={IMAGE}")]
    });
    let backends = [("process", Some(Vec::new())), ("docker", container)];
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| {
        let others = asked.iter().all(|asked| asked.contains("pools") != name.contains("pools"));
        others || asked.iter().any(|asked| asked == name)
    };
    let backends = backends.into_iter().filter(|(name, _)| wanted(name));
    let backends = backends.filter_map(|(name, settings)| Some((name, settings?)));
    let pools: Vec<_> = [("no-pools", 0), ("pools", 2)].into_iter().filter(|(name, _)| wanted(name)).collect();
    for ((backend, settings), (slug, pool)) in
        backends.flat_map(|backend| pools.iter().map(move |pools| (backend.clone(), *pools)))
    {
        println!("{backend} backend, python3, pools of {pool} to {}\n", 4 * pool);
        println!(
            "| policy | cold | prewarmed | warm | start overhead, ms: mean | p99 | of later invocations: mean | p99 | response, s: mean | p99 | idle memory, GB·h |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let (sample, settings) = (sample.path(), &settings);
            let playing = POLICIES.map(|(policy, name)| {
                let node = format!("agent.node={}", policy.replace([':', '='], "-"));
                (name, scope.spawn(move || play(sample, policy, pool, &[&settings[..], &[node]].concat(), speed)))
            });
            playing.into_iter().map(|(name, outcome)| (name, outcome.join().unwrap())).collect()
        });
        for (name, outcome) in &outcomes {
            print(name, outcome);
        }
        println!();
        if let Ok(folder) = std::env::var("PILOTLIGHT_BENCH_PICTURES") {
            draw(Path::new(&folder), &format!("{backend}-{slug}"), &outcomes);
        }
    }
}

/// The rows of the sample's apps, in files of their own: how many invocations there are.
fn write_sample(trace: &Path, folder: &Path) -> u64 {
    let files: Vec<_> = std::fs::read_dir(trace).unwrap().map(|entry| entry.unwrap().path()).collect();
    let invocations = files.iter().find(|file| file.to_string_lossy().contains("invocations_per_function")).unwrap();
    let rows = std::fs::read_to_string(invocations).unwrap();
    let count = |row: &str| row.split(',').skip(NAMES).map(|count| count.trim().parse::<u64>().unwrap()).sum::<u64>();
    let mut by_app: BTreeMap<&str, u64> = BTreeMap::new();
    for row in rows.lines().skip(1) {
        *by_app.entry(row.split(',').nth(1).unwrap()).or_default() += count(row);
    }
    let mut counts: Vec<_> = by_app.values().copied().collect();
    counts.sort_unstable();
    let middle = counts[counts.len() / 4]..=counts[counts.len() * 3 / 4];
    let candidates: Vec<_> = by_app.iter().filter(|(_, count)| middle.contains(count)).collect();
    let chosen: BTreeMap<_, _> = candidates.into_iter().step_by(by_app.len() / 2 / APPS).take(APPS).collect();
    assert_eq!(chosen.len(), APPS);
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let kept = text
            .lines()
            .enumerate()
            .filter(|(i, row)| *i == 0 || row.split(',').any(|cell| chosen.contains_key(&cell)));
        let kept: Vec<_> = kept.map(|(_, row)| row).collect();
        if file.extension().is_some_and(|extension| extension == "csv") {
            std::fs::write(folder.join(file.file_name().unwrap()), kept.join("\n") + "\n").unwrap();
        }
    }
    chosen.values().copied().sum()
}

fn play(sample: &Path, policy: &str, pool: usize, backend: &[String], speed: f64) -> Outcome {
    let mut settings = pilotlight::config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    let bus = pilotlight::bus::Embedded::start(&mut settings).unwrap();
    let servers = bus.bootstrap_servers();
    let speed_flag = speed.to_string();
    let common = ["--bootstrap-servers", &servers, "--set", "topics.create=false", "--speed", &speed_flag];
    let _pipeline = Program::start_ready(&[&["pipeline", "--policy", policy][..], &common].concat());
    let pools: Vec<_> = ["python3", "nodejs", "sh"]
        .into_iter()
        .flat_map(|kind| {
            let pool = if kind == "python3" { pool } else { 0 };
            [("pool", pool), ("pool_max", 4 * pool)].map(|(key, count)| format!("agent.runtimes.{kind}.{key}={count}"))
        })
        .collect();
    let mut arguments = vec!["agent"];
    arguments.extend(common);
    pools.iter().chain(backend).for_each(|setting| arguments.extend(["--set", setting]));
    let agent = Program::start_ready(&arguments);
    let out = tempfile::NamedTempFile::new().unwrap();
    let played = AtomicBool::new(false);
    let (memory, output) = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let began = Instant::now();
            let mut memory = Vec::new();
            while !played.load(Ordering::Relaxed) {
                let hours = began.elapsed().as_secs_f64() * speed / 3600.0;
                memory.push((hours, agent.metric("pilotlight_memory_mb")));
                std::thread::sleep(Duration::from_secs(2));
            }
            memory
        });
        let (sample, out) = (sample.to_str().unwrap(), out.path().to_str().unwrap());
        let output = run(&[
            "replay",
            sample,
            "--speed",
            &speed_flag,
            "--placement",
            "uniform",
            "--runtime",
            "python3",
            "--to",
            "agent",
            &agent.url,
            "--out",
            out,
        ]);
        played.store(true, Ordering::Relaxed);
        (looking.join().unwrap(), output)
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let idle_gb_h = agent.metric("pilotlight_idle_mb_s") / 1024.0 / 3600.0;
    let lines = std::fs::read_to_string(out.path()).unwrap();
    let (mut answers, mut failed) = (Vec::new(), 0);
    for line in lines.lines().skip(1) {
        let cells: Vec<_> = line.split(',').collect();
        let [_, app, status, start, init_ms, sleep_ms, response_ms] = cells[..] else { panic!("{line}") };
        let [init_ms, sleep_ms, response_ms] = [init_ms, sleep_ms, response_ms].map(|ms| ms.parse::<f64>().unwrap());
        failed += usize::from(status != "200");
        answers.push(Answer {
            app: app.to_owned(),
            start: start.to_owned(),
            init_ms,
            response_ms: response_ms - sleep_ms + sleep_ms * speed,
        });
    }
    Outcome { answers, memory, idle_gb_h, failed }
}

fn print(name: &str, outcome: &Outcome) {
    let Outcome { answers, idle_gb_h, failed, .. } = outcome;
    let starts = ["cold", "prewarmed", "warm"].map(|name| answers.iter().filter(|answer| answer.start == name).count());
    let all = mean_and_p99(answers.iter().map(|answer| answer.init_ms));
    let later = mean_and_p99(later(answers).map(|answer| answer.init_ms));
    let response = mean_and_p99(answers.iter().map(|answer| answer.response_ms / 1000.0));
    let failed = if *failed > 0 { format!(" ({failed} failed)") } else { String::new() };
    println!(
        "| {name}{failed} | {} | {} | {} | {:.2} | {:.1} | {:.2} | {:.1} | {:.3} | {:.2} | {idle_gb_h:.2} |",
        starts[0], starts[1], starts[2], all.0, all.1, later.0, later.1, response.0, response.1
    );
}

/// All but the first of each app, which no policy can foresee.
fn later(answers: &[Answer]) -> impl Iterator<Item = &Answer> {
    let mut seen = BTreeSet::new();
    answers.iter().filter(move |answer| !seen.insert(answer.app.clone()))
}

fn mean_and_p99(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let rank = (0.99 * values.len() as f64).ceil() as usize;
    (values.iter().sum::<f64>() / values.len() as f64, values[rank.max(1) - 1])
}

fn draw(folder: &Path, slug: &str, outcomes: &[(&str, Outcome)]) {
    std::fs::create_dir_all(folder).unwrap();
    let memory: Vec<_> = outcomes.iter().map(|(name, outcome)| ((*name).to_owned(), outcome.memory.clone())).collect();
    let picture = plot::lines("Memory of all runtimes", "hours", "MB", &memory);
    std::fs::write(folder.join(format!("replay-{slug}-memory.svg")), picture.file()).unwrap();
    let starts: Vec<_> = outcomes
        .iter()
        .map(|(name, outcome)| {
            let waits = outcome.answers.iter().map(|answer| answer.init_ms.max(0.1)).collect();
            ((*name).to_owned(), waits)
        })
        .collect();
    let picture = plot::distributions("Wait for the app to be loaded", "ms", 0.1, &starts);
    std::fs::write(folder.join(format!("replay-{slug}-starts.svg")), picture.file()).unwrap();
}
