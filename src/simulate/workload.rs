//! The small workload that `up` brings along: 40 apps that are called the way real ones are, timers, bursts of HTTP,
//! rare ones and a daily one.

use std::sync::Arc;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp, LogNormal};

use crate::model::Trigger;

use super::{Arrival, Function};

const MINUTE_MS: f64 = 60_000.0;
const HOUR_MS: f64 = 60.0 * MINUTE_MS;

/// Periods of the timers, minutes.
const TIMERS: [f64; 14] = [1.0, 1.0, 2.0, 3.0, 3.0, 5.0, 5.0, 10.0, 15.0, 15.0, 20.0, 30.0, 30.0, 60.0];
/// Mean times from one burst of HTTP to the next, minutes.
const BURSTS: [f64; 13] = [6.0, 8.0, 10.0, 12.0, 15.0, 15.0, 20.0, 20.0, 25.0, 30.0, 30.0, 40.0, 50.0];
/// Mean times between the calls of the rare ones, minutes.
const RARE: [f64; 12] = [12.0, 15.0, 20.0, 25.0, 30.0, 35.0, 45.0, 50.0, 60.0, 75.0, 90.0, 120.0];

/// When an app is called.
#[derive(Debug, Clone, PartialEq)]
enum Pattern {
    Timer { period_ms: f64, phase_ms: f64 },
    Bursts { mean_gap_ms: f64 },
    Rare { mean_gap_ms: f64 },
    Daily { at_ms: f64 },
}

/// An app of the workload.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    pattern: Pattern,
    /// Mean of the logs of its durations, ln ms.
    log_duration: f64,
    seed: u64,
}

/// Apps and when they are called, the same for the same seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    apps: Vec<App>,
    functions: Vec<Function>,
}

impl Workload {
    /// The apps.
    pub fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut workload = Self { apps: Vec::new(), functions: Vec::new() };
        for (i, minutes) in TIMERS.iter().enumerate() {
            let period_ms = minutes * MINUTE_MS;
            let pattern = Pattern::Timer { period_ms, phase_ms: rng.random_range(0.0..period_ms) };
            workload.add(format!("timer-{minutes}m-{i}"), Trigger::Timer, pattern, &mut rng);
        }
        for (i, minutes) in BURSTS.iter().enumerate() {
            let pattern = Pattern::Bursts { mean_gap_ms: minutes * MINUTE_MS };
            workload.add(format!("http-bursts-{i}"), Trigger::Http, pattern, &mut rng);
        }
        for (i, minutes) in RARE.iter().enumerate() {
            let pattern = Pattern::Rare { mean_gap_ms: minutes * MINUTE_MS };
            let trigger = [Trigger::Http, Trigger::Queue, Trigger::Storage][i % 3];
            workload.add(format!("rare-{i}"), trigger, pattern, &mut rng);
        }
        // Early enough that a run of some hours sees it.
        let pattern = Pattern::Daily { at_ms: rng.random_range(0.5..5.0) * HOUR_MS };
        workload.add("daily-report".to_owned(), Trigger::Timer, pattern, &mut rng);
        workload
    }

    fn add(&mut self, name: String, trigger: Trigger, pattern: Pattern, rng: &mut ChaCha8Rng) {
        let mut memory_mb = [64.0, 96.0, 128.0, 128.0, 170.0, 192.0, 256.0, 320.0];
        memory_mb.shuffle(rng);
        self.functions.push(Function {
            app: Arc::from(name),
            name: Arc::from("main"),
            trigger: Some(trigger),
            memory_mb: Some(memory_mb[0]),
        });
        let log_duration = rng.random_range(f64::ln(400.0)..f64::ln(3_000.0));
        self.apps.push(App { pattern, log_duration, seed: rng.next_u64() });
    }

    /// The functions, one an app; an [`Arrival`] names one by its index.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// All arrivals before `until_ms`, in the order of their starts.
    pub fn arrivals(&self, until_ms: i64) -> Vec<Arrival> {
        let mut arrivals: Vec<_> =
            self.apps.iter().enumerate().flat_map(|(i, app)| app.arrivals(i as u32, until_ms)).collect();
        arrivals.sort_by_key(|arrival| (arrival.at_ms, arrival.function));
        arrivals
    }
}

impl App {
    fn arrivals(&self, function: u32, until_ms: i64) -> Vec<Arrival> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let until = until_ms as f64;
        let mut starts = Vec::new();
        match self.pattern {
            Pattern::Timer { period_ms, phase_ms } => {
                let mut at = phase_ms;
                while at < until {
                    starts.push(at);
                    at += period_ms;
                }
            }
            Pattern::Daily { at_ms } => {
                starts.extend((0..).map(|day| at_ms + f64::from(day) * 24.0 * HOUR_MS).take_while(|at| *at < until))
            }
            Pattern::Rare { mean_gap_ms } => {
                let mut at = exponential(mean_gap_ms, &mut rng);
                while at < until {
                    starts.push(at);
                    at += exponential(mean_gap_ms, &mut rng);
                }
            }
            Pattern::Bursts { mean_gap_ms } => {
                let mut at = exponential(mean_gap_ms, &mut rng);
                while at < until {
                    for _ in 0..rng.random_range(2..12) {
                        starts.push(at);
                        at += exponential(8_000.0, &mut rng);
                    }
                    at += exponential(mean_gap_ms, &mut rng);
                }
            }
        }
        let durations = LogNormal::new(self.log_duration, 0.4).ok();
        starts
            .into_iter()
            .filter(|at| *at < until)
            .map(|at| {
                let duration_ms = durations.as_ref().map_or(1000.0, |durations| durations.sample(&mut rng));
                Arrival { at_ms: at as i64, duration_ms: duration_ms.round(), function }
            })
            .collect()
    }
}

fn exponential(mean: f64, rng: &mut ChaCha8Rng) -> f64 {
    Exp::new(1.0 / mean).map_or(mean, |distribution| distribution.sample(rng))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_workload() {
        let hours = 8 * 3_600_000;
        let (a, b) = (Workload::new(1).arrivals(hours), Workload::new(1).arrivals(hours));
        assert_eq!(a, b);
        assert_ne!(a, Workload::new(2).arrivals(hours));
        assert_eq!(Workload::new(1).functions().len(), 40);
        assert!(a.is_sorted_by_key(|arrival| arrival.at_ms));
        assert!((1_000..10_000).contains(&a.len()), "{}", a.len());
    }
}
