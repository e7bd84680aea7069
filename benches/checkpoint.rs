//! What a checkpoint of many apps costs: how long the flow stands still for it, how long it is until it is in the store,
//! and how long until a restart has its state again. `cargo bench --bench checkpoint -- [APPS]`
#![allow(clippy::unwrap_used, reason = "a benchmark ends where it can't go on")]

use std::time::Instant;

use pilotlight::bus::Position;
use pilotlight::checkpoint::{Packed, Store, encode};
use pilotlight::config::Settings;
use pilotlight::model::{Invocation, Trigger};
use pilotlight::pipeline::{Decider, Shard};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Says which step a process of its own is for, and in which folder; one after the other, as with a restart: memory that
/// the first one holds would slow down the second.
const STEP: &str = "PILOTLIGHT_BENCH_STEP";
const FOLDER: &str = "PILOTLIGHT_BENCH_FOLDER";

fn main() {
    let folder = std::env::var(FOLDER);
    match (std::env::var(STEP).as_deref(), &folder) {
        (Ok("write"), Ok(folder)) => return write(folder),
        (Ok("restore"), Ok(folder)) => return restore(folder),
        _ => {}
    }
    let folder = tempfile::tempdir().unwrap();
    for step in ["write", "restore"] {
        let mut process = std::process::Command::new(std::env::current_exe().unwrap());
        process.args(std::env::args().skip(1)).env(STEP, step).env(FOLDER, folder.path());
        assert!(process.status().unwrap().success(), "{step}");
    }
}

fn write(folder: &str) {
    // Cargo adds --bench.
    let apps = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000_u64);
    let (store, decider) = open(folder);
    let mut shard = Shard::new(&decider, 0);
    let events = fill(&mut shard, apps, &decider);
    println!("{apps} apps with {events} invocations");

    let mut since = Instant::now();
    let snapshot = shard.save(None, &position(), events, &decider).unwrap();
    since = measured("snapshot (the flow stands still)", since);
    let bytes = encode(&snapshot).unwrap();
    since = measured("encode, compress, checksum (on its own thread)", since);
    let size_mb = bytes.len() as f64 / 1e6;
    store.put(&position(), snapshot.name(), bytes).unwrap();
    measured(&format!("write {size_mb:.0} MB (on its own thread)"), since);
}

fn restore(folder: &str) {
    let (store, decider) = open(folder);
    let began = Instant::now();
    let name = store.list(&position()).unwrap()[0];
    let bytes = store.get(&position(), name).unwrap();
    let since = measured("read", began);
    let packed = Packed::open(bytes).unwrap();
    let since = measured("check", since);
    let shard = Shard::load(&packed, &decider).unwrap();
    measured("unpack, and build the state", since);
    println!("restore of {} apps: {:.2} s", shard.apps(), began.elapsed().as_secs_f64());
    let usage = std::fs::read_to_string("/proc/self/status").unwrap();
    usage.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| println!("{line}"));
}

fn open(folder: &str) -> (Store, Decider) {
    let flags = [("checkpoint.url", format!("file://{folder}"))];
    let settings = Settings::load(Some("/dev/null".as_ref()), &flags).unwrap();
    (Store::open(&settings.checkpoint, "bench").unwrap(), Decider::new(&settings).unwrap())
}

fn position() -> Position {
    Position { topic: "events".to_owned(), partition: 0 }
}

fn measured(what: &str, since: Instant) -> Instant {
    println!("{what:<48} {:>8.0} ms", since.elapsed().as_secs_f64() * 1000.0);
    Instant::now()
}

/// Half of the apps are invoked a few times in two weeks, the others from once an hour to every few minutes; a fifth by
/// timers. Returns the offset of the next event.
fn fill(shard: &mut Shard, apps: u64, decider: &Decider) -> i64 {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut offset = 0;
    for app in 0..apps {
        let name = format!("subscription-{:08x}/app-{app}", app.wrapping_mul(2_654_435_761) as u32);
        let times = if app % 2 == 0 { random.random_range(1..8) } else { random.random_range(10..60) };
        let mut start_ms = 1_700_000_000_000 + random.random_range(0..86_400_000);
        let timer = app % 5 == 0;
        for _ in 0..times {
            let mut event = Invocation::new(&name, "f", start_ms, random.random_range(0.0..2_000.0));
            event.trigger = Some(if timer { Trigger::Timer } else { Trigger::Http });
            event.memory_mb = Some(128.0);
            shard.apply(&event, offset, decider);
            offset += 1;
            start_ms += if timer { 300_000 } else { (300_000.0 / random.random::<f64>()) as i64 };
        }
    }
    offset
}
