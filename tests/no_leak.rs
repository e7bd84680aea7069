//! Runtimes that are started and ended again and again leave nothing behind: no process, no file, no memory. As many cycles as
//! `PILOTLIGHT_TEST_CYCLES` says, 500 without it; the long tests have 10,000.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::path::Path;
use std::time::Duration;

use support::program::Program;
use support::wait_for;

/// Cycles at once, each of an app of its own.
const CLIENTS: usize = 4;
/// What the agent may hold more of after all cycles than after the first tenth (MB): events that wait for the bus, and what
/// the allocator keeps.
const MORE_MB: f64 = 24.0;

/// What an agent holds.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    children: usize,
    files: usize,
}

#[test]
fn runtimes_that_come_and_go_leave_nothing_behind() {
    let cycles: usize = std::env::var("PILOTLIGHT_TEST_CYCLES").map_or(500, |cycles| cycles.parse().unwrap());
    let mut settings = pilotlight::config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    let bus = pilotlight::bus::Embedded::start(&mut settings).unwrap();
    // Each execution is its runtime's last one.
    let agent = Program::start_ready(&[
        "agent",
        "--bootstrap-servers",
        &bus.bootstrap_servers(),
        "--set",
        "topics.create=false",
        "--set",
        "agent.max_uses=1",
        "--set",
        "agent.runtimes.python3.pool=0",
        "--set",
        "agent.runtimes.nodejs.pool=0",
        "--set",
        "agent.runtimes.sh.pool_max=2",
    ]);
    (0..CLIENTS).for_each(|i| agent.register(&format!("app-{i}"), "sh", "main() { echo '{}'; }"));
    run(&agent, cycles / 10);
    let before = settled(&agent);
    let (before_mb, _) = agent.resident_mb();
    run(&agent, cycles - cycles / 10);
    let after = settled(&agent);
    let (after_mb, _) = agent.resident_mb();
    eprintln!("{cycles} cycles: {before:?} and {before_mb:.0} MB, then {after:?} and {after_mb:.0} MB");
    assert_eq!(after, before);
    assert!(after_mb < before_mb + MORE_MB, "{before_mb:.0} MB after a tenth, {after_mb:.0} MB in the end");
    assert!(agent.metric("pilotlight_unloads_total") >= cycles as f64);
}

fn run(agent: &Program, cycles: usize) {
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                for _ in 0..cycles / CLIENTS + 1 {
                    assert_eq!(agent.invoke(&format!("app-{client}"), "{}").0, 200);
                }
            });
        }
    });
}

/// What the agent holds when its pools are full and all that ended is gone.
fn settled(agent: &Program) -> Held {
    let mut seen = (Held { children: 0, files: 0 }, 0);
    wait_for("nothing to change any more", Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_millis(500));
        let process = Path::new("/proc").join(agent.id().to_string());
        let tasks = std::fs::read_dir(process.join("task")).unwrap();
        let children = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap());
        let children = children.map(|children| children.split_whitespace().count()).sum();
        let files = std::fs::read_dir(process.join("fd")).unwrap().count();
        let now = Held { children, files };
        let times = if now == seen.0 { seen.1 + 1 } else { 0 };
        seen = (now, times);
        (times >= 6).then_some(())
    });
    seen.0
}
