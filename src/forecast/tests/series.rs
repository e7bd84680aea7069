//! Idle times made up after the kinds that real apps show, in ms.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, StandardNormal};

pub const MINUTE: f64 = 60_000.0;

pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

pub fn normal(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// An ARMA(2, 2) process of unit noise around 0, past its beginnings.
pub fn arma(rng: &mut ChaCha8Rng, n: usize, phi: [f64; 2], theta: [f64; 2]) -> Vec<f64> {
    let (mut y, mut e) = ([0.0; 2], [0.0; 2]);
    let mut series = Vec::new();
    for _ in 0..n + 100 {
        let noise = normal(rng);
        let next = phi[0] * y[0] + phi[1] * y[1] + noise + theta[0] * e[0] + theta[1] * e[1];
        (y, e) = ([next, y[0]], [noise, e[0]]);
        series.push(next);
    }
    series.split_off(100)
}

/// A level in minutes and a noise in shares of it, drawn anew for each app.
fn level_and_noise(rng: &mut ChaCha8Rng) -> (f64, f64) {
    (10.0_f64.powf(rng.random_range(1.0..3.0)) * MINUTE, rng.random_range(0.01..0.12))
}

/// Short and long take turns.
pub fn alternating(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    let (level, noise) = level_and_noise(rng);
    let ratio = rng.random_range(2.0..20.0);
    (0..n).map(|i| level * if i % 2 == 0 { 1.0 } else { ratio } * (noise * normal(rng)).exp()).collect()
}

/// Around a mean, the next close to the last.
pub fn autoregressive(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    let (level, noise) = level_and_noise(rng);
    let phi = rng.random_range(0.3..0.95);
    let around = arma(rng, n, [phi, 0.0], [0.0; 2]);
    around.iter().map(|x| level * (1.0 + noise * x).max(0.1)).collect()
}

/// Two behaviours, each of which tends to go on (or to give way).
pub fn two_clusters(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    let (level, noise) = level_and_noise(rng);
    let ratio = rng.random_range(3.0..30.0);
    let stay = [rng.random_range(0.05..0.95), rng.random_range(0.05..0.95)];
    let mut cluster = 0;
    let mut next = || {
        cluster = if rng.random_range(0.0..1.0) < stay[cluster] { cluster } else { 1 - cluster };
        level * if cluster == 0 { 1.0 } else { ratio } * (noise * normal(rng)).exp()
    };
    (0..n).map(|_| next()).collect()
}

/// Steadily longer or shorter.
pub fn trend(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    let (level, noise) = level_and_noise(rng);
    let end = rng.random_range(0.3..4.0);
    (0..n)
        .map(|i| level * (1.0 + (end - 1.0) * i as f64 / n as f64) * (1.0 + 0.5 * noise * normal(rng)).max(0.1))
        .collect()
}

/// Calls that know nothing of each other.
pub fn poisson(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    let (level, _) = level_and_noise(rng);
    (0..n).map(|_| level * Distribution::<f64>::sample(&Exp1, rng)).map(|idle: f64| idle.max(1.0)).collect()
}

/// A timer whose function takes its time now and then.
pub fn timer(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    let (level, _) = level_and_noise(rng);
    (0..n).map(|_| level * (1.0 - 0.005 * Distribution::<f64>::sample(&Exp1, rng)).max(0.5)).collect()
}

/// One app's idle times.
pub type Kind = fn(&mut ChaCha8Rng, usize) -> Vec<f64>;

pub const KINDS: [(&str, Kind); 6] = [
    ("alternating", alternating),
    ("autoregressive", autoregressive),
    ("two clusters", two_clusters),
    ("trend", trend),
    ("poisson", poisson),
    ("timer", timer),
];
