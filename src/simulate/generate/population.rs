//! One app: its functions, what causes their invocations and how often, how long they run, how much memory they take.

use std::fmt::Write;
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use sha2::{Digest, Sha256};

use super::arrivals::{Calls, Pattern, Profile};
use super::mix::{self, TRIGGERS};
use super::plan::Plan;
use super::timers::Grid;
use crate::simulate::Function;

/// Which functions an app has beyond one a trigger, as weights in the order of [`TRIGGERS`]; chosen so that functions by
/// trigger come out as published (§3.2, figure 2).
const MORE_FUNCTIONS: [f64; 7] = [1.0, 0.48, 0.03, 4.4, 0.26, 0.09, 0.04];

/// Averages of functions are log-normal in seconds (§3.4, figure 7).
const DURATION_LN_S: (f64, f64) = (-0.38, 2.36);
/// Shortest and longest average, ms.
const DURATION_RANGE_MS: (f64, f64) = (1.0, 3_600_000.0);
/// No function keeps more executions than this running on average: the busiest ones are short.
const MOST_RUNNING: f64 = 500.0;

/// Memory of apps is Burr XII: c, k and scale in MB (§3.4, figure 8).
const MEMORY_BURR: (f64, f64, f64) = (11.652, 0.221, 107.083);
/// The Burr distribution has no end; apps do, MB.
const MOST_MEMORY_MB: f64 = 4000.0;

/// An app of the workload.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// Who owns it: 64 hex digits.
    pub owner: Arc<str>,
    /// Its name: 64 hex digits.
    pub name: Arc<str>,
    /// Memory while it is loaded, MB.
    pub memory: Memory,
    /// Its functions, at least one.
    pub functions: Vec<AppFunction>,
    /// When functions without a schedule are called.
    pub(super) pattern: Pattern,
    /// How its load changes over the day and the week.
    pub(super) profile: Profile,
    /// Number of its random streams.
    pub(super) index: u32,
}

/// A function of an app.
#[derive(Debug, Clone, PartialEq)]
pub struct AppFunction {
    /// As traces have it.
    pub function: Function,
    /// How long its executions take.
    pub duration: Duration,
    pub(super) calls: Calls,
}

/// Log-normal time of execution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Duration {
    /// Mean, ms.
    pub average_ms: f64,
    /// Standard deviation of the logs.
    pub sigma: f64,
}

/// Memory of an app while it is loaded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// Mean, MB.
    pub average_mb: f64,
    /// Most, MB.
    pub maximum_mb: f64,
}

/// The app with this plan; `apps` is how many there are.
pub(super) fn app(plan: &Plan, index: u32, apps: u32, seed: u64) -> App {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream(index, 0));
    let average_mb = memory_mb(rng);
    let spread: f64 = StandardNormal.sample(rng);
    let memory = Memory {
        average_mb,
        maximum_mb: (average_mb * (0.15 * spread.abs() + 0.14 * spread * spread).exp()).min(MOST_MEMORY_MB),
    };
    // A few owners have many apps.
    let owner: f64 = rng.random_range(0.0..1.0);
    let owner = (f64::from(apps) * 0.4 * owner * owner) as u64;
    let owner = id(seed, "owner", owner, 0);
    let name = id(seed, "app", u64::from(index), 0);
    let (triggers, pattern, calls) = drawn(plan, index, seed);
    let profile = Profile::draw(plan, rng);
    let functions = triggers
        .iter()
        .zip(calls)
        .enumerate()
        .map(|(place, (trigger, calls))| AppFunction {
            function: Function {
                app: Arc::clone(&name),
                name: id(seed, "function", u64::from(index), place as u32),
                trigger: Some(TRIGGERS[*trigger]),
                memory_mb: Some(memory.average_mb.round()),
            },
            duration: duration(&calls, rng),
            calls,
        })
        .collect();
    App { owner, name, memory, functions, pattern, profile, index }
}

/// The random stream of an app: 0 and 1 are its properties, later ones its days.
pub(super) fn stream(index: u32, number: u32) -> u64 {
    (u64::from(index) + 1) << 32 | u64::from(number)
}

/// Invocations a day of the app with this plan, by trigger in the order of [`TRIGGERS`].
pub(super) fn per_day(plan: &Plan, index: u32, seed: u64) -> [f64; TRIGGERS.len()] {
    let (triggers, _, calls) = drawn(plan, index, seed);
    let mut per_day = [0.0; TRIGGERS.len()];
    triggers.iter().zip(&calls).for_each(|(trigger, calls)| per_day[*trigger] += calls.per_day());
    per_day
}

/// Triggers of the functions, and when each is called.
fn drawn(plan: &Plan, index: u32, seed: u64) -> (Vec<usize>, Pattern, Vec<Calls>) {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream(index, 1));
    let triggers = triggers(plan, rng);
    let (pattern, calls) = calls(plan, &triggers, rng);
    (triggers, pattern, calls)
}

/// The triggers of the functions; the first is the lead.
fn triggers(plan: &Plan, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut triggers = vec![plan.lead];
    triggers.extend(plan.triggers.iter().filter(|trigger| *trigger != plan.lead));
    let total: f64 = plan.triggers.iter().map(|trigger| MORE_FUNCTIONS[trigger]).sum();
    while triggers.len() < plan.functions as usize {
        let mut left = rng.random_range(0.0..total);
        let more = plan.triggers.iter().find(|trigger| {
            left -= MORE_FUNCTIONS[*trigger];
            left < 0.0
        });
        triggers.push(more.unwrap_or(plan.lead));
    }
    triggers
}

/// When each function is called.
fn calls(plan: &Plan, triggers: &[usize], rng: &mut ChaCha8Rng) -> (Pattern, Vec<Calls>) {
    let mixed = triggers.iter().any(|trigger| *trigger != mix::TIMER);
    let mut first: Option<Grid> = None;
    let timers: Vec<Option<Grid>> = triggers
        .iter()
        .map(|trigger| {
            (*trigger == mix::TIMER).then(|| {
                let timer = Grid::timer(first.as_ref(), mixed, rng);
                first.get_or_insert(timer);
                timer
            })
        })
        .collect();
    let others = timers.iter().filter(|timer| timer.is_none()).count();
    let scheduled: f64 = timers.iter().flatten().map(Grid::per_day).sum();
    // Beside timers, most apps do little else: that is why their times between invocations vary so little (figure 6).
    let per_day = plan.per_day.unwrap_or_else(|| {
        let ratio: f64 = StandardNormal.sample(rng);
        scheduled * (0.003f64.ln() + 2.2 * ratio).exp().min(20.0)
    });
    let per_day = per_day.max(others as f64 / 7.0);
    let weights = weights(plan, others, rng);
    let (pattern, regular) = Pattern::draw(plan, per_day, others, rng);
    let mut weights = weights.into_iter();
    let calls = timers
        .into_iter()
        .enumerate()
        .map(|(place, timer)| match (timer, &regular) {
            (Some(timer), _) => Calls::Grid(timer),
            (None, Some(regular)) if place == 0 => {
                weights.next();
                Calls::Grid(*regular)
            }
            (None, _) => Calls::at_rate(per_day * weights.next().unwrap_or(0.0)),
        })
        .collect();
    (pattern, calls)
}

/// How an app's load divides into its functions without a timer: the first has most. Sum 1.
fn weights(plan: &Plan, count: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    // The steps of a workflow are called about as often as each other.
    let sigma = if plan.triggers.has(mix::ORCHESTRATION) { 1.5 } else { 3.5 };
    let mut weights: Vec<f64> = (0..count)
        .map(|_| {
            let z: f64 = StandardNormal.sample(rng);
            (sigma * z).exp()
        })
        .collect();
    if let Some(most) = (0..count).max_by(|a, b| weights[*a].total_cmp(&weights[*b])) {
        weights.swap(0, most);
    }
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum);
    weights
}

fn duration(calls: &Calls, rng: &mut ChaCha8Rng) -> Duration {
    let most_ms = match calls {
        // A timer waits for its last execution.
        Calls::Grid(grid) => grid.period_s * 800.0,
        Calls::Rate { .. } => MOST_RUNNING * 86_400_000.0 / calls.per_day().max(1.0),
    };
    let most_ms = most_ms.clamp(DURATION_RANGE_MS.0, DURATION_RANGE_MS.1);
    let mut average_ms = f64::INFINITY;
    for _ in 0..16 {
        let z: f64 = StandardNormal.sample(rng);
        average_ms = average_ms.min((DURATION_LN_S.0 + DURATION_LN_S.1 * z).exp() * 1000.0);
        if average_ms <= most_ms {
            break;
        }
    }
    Duration { average_ms: average_ms.clamp(DURATION_RANGE_MS.0, most_ms), sigma: rng.random_range(0.2..1.0) }
}

fn memory_mb(rng: &mut ChaCha8Rng) -> f64 {
    let (c, k, scale) = MEMORY_BURR;
    let u: f64 = rng.random_range(0.0..1.0);
    (scale * ((1.0 - u).powf(-1.0 / k) - 1.0).powf(1.0 / c)).clamp(1.0, MOST_MEMORY_MB)
}

/// 64 hex digits, as published traces have them.
fn id(seed: u64, what: &str, index: u64, place: u32) -> Arc<str> {
    let mut hash = Sha256::new();
    hash.update(what);
    hash.update(seed.to_le_bytes());
    hash.update(index.to_le_bytes());
    hash.update(place.to_le_bytes());
    let mut text = String::with_capacity(64);
    for byte in hash.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}
