//! What a forecast costs: `cargo bench --bench forecast`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::time::Instant;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use pilotlight::forecast::{ForecastPool, arima, forecast, stale_prefix, two_means};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

const SERIES: u64 = 2_000;

/// Idle times in ms around 1 minute to 1 day: autoregressive, with shocks that linger, and every third in two clusters.
fn series(seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let level = 60_000.0 * 1440.0_f64.powf(rng.random_range(0.0..1.0));
    let noise = rng.random_range(0.01..0.3);
    let (phi, theta) = (rng.random_range(-0.9..0.9), rng.random_range(-0.8..0.8));
    let (mut around, mut shock) = (0.0, 0.0);
    let length = rng.random_range(5..=200);
    let mut next = || {
        let noise_now: f64 = noise * Distribution::<f64>::sample(&StandardNormal, &mut rng);
        around = phi * around + noise_now + theta * shock;
        shock = noise_now;
        let long = seed.is_multiple_of(3) && rng.random_range(0.0..1.0) < 0.3;
        level * f64::exp(around) * if long { 10.0 } else { 1.0 }
    };
    (0..length).map(|_| next()).collect()
}

/// Criterion tells the mean; what the simulator feels, and an event that must wait, is the distribution over series. Each
/// takes the least of five runs, which is what the work takes rather than what else the machine does.
fn distribution<T>(name: &str, all: &[Vec<f64>], work: impl Fn(&[f64]) -> T) {
    let timed = |series: &[f64]| {
        let started = Instant::now();
        black_box(work(black_box(series)));
        started.elapsed().as_secs_f64() * 1e3
    };
    let least = |series: &Vec<f64>| (0..5).map(|_| timed(series)).fold(f64::INFINITY, f64::min);
    let mut took_ms: Vec<f64> = all.iter().map(least).collect();
    took_ms.sort_by(f64::total_cmp);
    let at = |share: f64| took_ms[((took_ms.len() - 1) as f64 * share) as usize];
    println!(
        "{name}, {} series of 5-200: p50 {:.4} ms, p99 {:.4} ms, max {:.4} ms",
        all.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn one_forecast(c: &mut Criterion) {
    let all: Vec<Vec<f64>> = (0..SERIES).map(series).collect();
    distribution("forecast", &all, forecast);
    distribution("change", &all, stale_prefix);

    let hundred = all.iter().find(|series| series.len() >= 100).unwrap();
    c.bench_function("forecast/arima, 100 idle times", |b| b.iter(|| arima::forecast(black_box(hundred))));
    c.bench_function("forecast/two means, 100 idle times", |b| b.iter(|| two_means::forecast(black_box(hundred))));
    c.bench_function("forecast/change, 100 idle times", |b| b.iter(|| stale_prefix(black_box(hundred))));
    let pool = ForecastPool::new(1).unwrap();
    c.bench_function("forecast/pool, 100 idle times there and back", |b| {
        b.iter_batched(|| hundred.clone(), |series| pool.submit(series).wait(), BatchSize::SmallInput);
    });
}

criterion_group!(benches, one_forecast);
criterion_main!(benches);
