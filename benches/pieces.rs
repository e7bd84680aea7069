//! What each step costs per event: `cargo bench --bench pieces`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pilotlight::config::Settings;
use pilotlight::ingest::{self, Format, Limits, Message};
use pilotlight::model::Invocation;
use pilotlight::pipeline::{Decider, Shard};
use pilotlight::policy::{self, Learner, Planner};
use pilotlight::state::{AppState, Arrivals};

const MINUTE: i64 = 60_000;

fn decode(c: &mut Criterion) {
    let limits = Limits { max_event_bytes: 262_144, max_future_ms: 300_000, max_past_ms: 0 };
    let event = br#"{"app":"d9e0c9a330d5a8eff2ff30a61e26f78e","function":"6b6c3f35","started_at_ms":1700000000000,"duration_ms":12.5,"trigger":"http","memory_mb":170,"node":"n1"}"#;
    let mut group = c.benchmark_group("ingest");
    group.throughput(Throughput::Bytes(event.len() as u64));
    group.bench_function("decode", |b| {
        b.iter(|| {
            let message =
                Message { payload: black_box(Some(event)), received_ms: Some(1_700_000_000_000), ..Message::default() };
            ingest::decode(&message, &Format::Native, &limits).unwrap()[0].ended_at_ms()
        });
    });
    group.finish();
}

fn state(c: &mut Criterion) {
    for policy in ["hybrid", "frontier"] {
        let kept = policy::parse(policy).unwrap().kept();
        let mut app = AppState::first(&Invocation::new("a", "f", 0, 10.0), 0, &kept);
        let mut now_ms = 0;
        c.bench_function(&format!("state/apply for {policy}"), |b| {
            b.iter(|| {
                now_ms += 3 * MINUTE + now_ms % 7 * MINUTE;
                app.apply(black_box(&Invocation::new("a", "f", now_ms, 10.0)), |arrivals, idle_ms| {
                    arrivals.record(&arrivals.look(idle_ms, now_ms, &kept), 1, &kept);
                })
            });
        });
    }
}

fn plan(c: &mut Criterion) {
    for (policy, text) in [("hybrid", "hybrid, all 240 bins"), ("frontier", "frontier, all 230 bins")] {
        let mut planner = Planner::new(policy::parse(policy).unwrap());
        let kept = *planner.kept();
        let mut arrivals = Arrivals::first(0, 10, 0, None, &kept);
        let mut now_ms = 0;
        for i in 0..1000 {
            now_ms += if i % 50 == 0 { 239 * MINUTE } else { 120 * MINUTE + i % 7 * 1000 };
            let idle_ms = now_ms - arrivals.last_end_ms;
            planner.record(&mut arrivals, idle_ms, now_ms, 1);
            arrivals.execute(now_ms, now_ms + 10);
        }
        c.bench_function(&format!("policy/{text}"), |b| b.iter(|| planner.plan(black_box(&arrivals), 170.0)));
    }
}

fn shard(c: &mut Criterion) {
    let decider = Decider::new(&Settings::load(Some("/dev/null".as_ref()), &[]).unwrap()).unwrap();
    let apps: Vec<String> = (0..10_000).map(|i| format!("app-{i}")).collect();
    let mut shard = Shard::new(&decider, 0);
    let mut i = 0_i64;
    c.bench_function("pipeline/shard, 10,000 apps", |b| {
        b.iter(|| {
            i += 1;
            let app = &apps[(i * 7919 % 10_000) as usize];
            shard.receive(black_box(&[Invocation::new(app, "f", i * 100, 10.0)]), Some(i * 100), i, &decider)
        });
    });
}

criterion_group!(benches, decode, state, plan, shard);
criterion_main!(benches);
