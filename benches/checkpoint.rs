//! What a checkpoint of many apps costs: how long the flow stands still for it, how long it is until it is in the store,
//! and how long until a restart has its state again. `cargo bench --bench checkpoint -- [APPS]`
#![allow(clippy::unwrap_used, reason = "a benchmark ends where it can't go on")]

use std::time::Instant;

use pilotlight::bus::Position;
use pilotlight::checkpoint::{Name, Store, decode, encode};
use pilotlight::config::Settings;
use pilotlight::model::{Invocation, Trigger};
use pilotlight::pipeline::{Decider, Shard};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() {
    // Cargo adds --bench.
    let apps = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000_u64);
    let folder = tempfile::tempdir().unwrap();
    let flags = [("checkpoint.url", format!("file://{}", folder.path().display()))];
    let settings = Settings::load(Some("/dev/null".as_ref()), &flags).unwrap();
    let decider = Decider::new(&settings).unwrap();
    let position = Position { topic: "events".to_owned(), partition: 0 };
    let mut shard = Shard::new(&decider, 0);
    let events = fill(&mut shard, apps, &decider);
    println!("{apps} apps with {events} invocations, policy {}", settings.policy.name);

    let began = Instant::now();
    let measured = |what: &str, since: &mut Instant| {
        println!("{what:<48} {:>8.0} ms", since.elapsed().as_secs_f64() * 1000.0);
        *since = Instant::now();
    };
    let mut since = began;
    let snapshot = shard.save(None, &position, events, &decider).unwrap();
    measured("snapshot (the flow stands still)", &mut since);
    let store = Store::open(&settings.checkpoint, "bench").unwrap();
    let bytes = encode(&snapshot).unwrap();
    measured("encode, compress, checksum (on its own thread)", &mut since);
    let size_mb = bytes.len() as f64 / 1e6;
    let name = Name { epoch: 0, offset: events };
    store.put(&position, name, bytes).unwrap();
    measured(&format!("write {size_mb:.0} MB (on its own thread)"), &mut since);

    let restore = Instant::now();
    since = restore;
    let bytes = store.get(&position, name).unwrap();
    measured("read", &mut since);
    let snapshot = decode(bytes).unwrap();
    measured("check and decode", &mut since);
    let restored = Shard::load(&snapshot, &decider).unwrap();
    measured("build the state", &mut since);
    assert_eq!(restored.apps(), shard.apps());
    println!("restore: {:.2} s", restore.elapsed().as_secs_f64());
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
