//! Which kinds of apps there are, and how busy each is: what must hold over all apps together.
//!
//! A few apps make most invocations, so independent draws would miss the published shares even with 50,000 apps. Kinds
//! are therefore apportioned, rates are taken from equal slices of their distribution, and the busiest apps get the
//! triggers that still lack invocations.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::mix::{self, Kind, TRIGGERS, Triggers};
use super::population;

/// What is fixed of an app before its own random numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// The triggers of its functions.
    pub triggers: Triggers,
    /// How many functions it has, at least one a trigger.
    pub functions: u32,
    /// The trigger of its busiest function, an index into [`TRIGGERS`]; a timer only where there is nothing else.
    pub lead: usize,
    /// Invocations a day that no timer causes; none where that follows from the app's timers.
    pub per_day: Option<f64>,
    /// Whether it is one of the very busy apps, whose load many users make.
    pub top: bool,
}

/// Share of the apps whose rates come from [`TAIL`].
const TOP_SHARE: f64 = 0.03;

/// The busiest apps: `(share of all apps that are busier, invocations a day)`, a power law in between. Read from the
/// CDF of rates and the skew (§3.3, figure 5).
const TAIL: [(f64, f64); 5] = [(1e-5, 9.0e7), (1e-4, 4.4e7), (1e-3, 1.05e7), (1e-2, 2.9e5), (TOP_SHARE, 86_400.0)];

/// The other apps without timers: `(share of them that are rarer, invocations a day)`. What the published CDF of all
/// apps leaves after the apps with timers, whose rates follow from their periods.
const BODY: [(f64, f64); 14] = [
    (0.0, 1.0 / 7.0),
    (0.14, 0.35),
    (0.305, 1.1),
    (0.405, 3.0),
    (0.52, 10.0),
    (0.58, 24.0),
    (0.655, 108.0),
    (0.70, 280.0),
    (0.78, 500.0),
    (0.86, 1000.0),
    (0.865, 1440.0),
    (0.93, 6000.0),
    (0.965, 12_000.0),
    (1.0, 86_400.0),
];

/// Invocations by trigger in the order of [`TRIGGERS`] without timers, which follow from their periods (§3.2, figure 2).
const INVOCATION_SHARES: [f64; 7] = [0.359, 0.335, 0.247, 0.023, 0.0, 0.007, 0.010];
/// About what apps below the top contribute to that, as shares of all invocations: taken off before the top is planned.
const BELOW_THE_TOP: [f64; 7] = [0.029, 0.010, 0.002, 0.002, 0.0, 0.002, 0.002];
/// Invocations of the top in apps of more than three functions; they are one app in five.
const LARGE_SHARE: f64 = 0.45;
/// The plans of all apps, in the order of their indices.
pub(super) fn plans(apps: u32, seed: u64) -> Vec<Plan> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut indices: Vec<u32> = (0..apps).collect();
    indices.shuffle(&mut rng);
    let mut pool = mix::apportion(apps, &mut rng);
    pool.shuffle(&mut rng);
    let (timers, mut pool): (Vec<_>, Vec<_>) = pool.into_iter().partition(|kind| kind.triggers == Triggers::TIMER);
    let mut plans = top(&indices, seed, &mut pool, &mut rng);
    let (mixed, body): (Vec<_>, Vec<_>) = pool.into_iter().partition(|kind| kind.triggers.has(mix::TIMER));
    let mut rest = below(body, &mut rng);
    rest.extend(timers.into_iter().chain(mixed).map(|Kind { triggers, functions }| Plan {
        triggers,
        functions,
        lead: lead(triggers, &mut rng),
        per_day: None,
        top: false,
    }));
    plans.extend(indices.into_iter().skip(plans.len()).zip(rest));
    plans.sort_by_key(|(index, _)| *index);
    plans.into_iter().map(|(_, plan)| plan).collect()
}

/// The busiest apps, each with the trigger and the size that lack most invocations.
fn top(indices: &[u32], seed: u64, pool: &mut Vec<Kind>, rng: &mut ChaCha8Rng) -> Vec<(u32, Plan)> {
    let apps = indices.len() as u32;
    let count = ((f64::from(apps) * TOP_SHARE).round() as usize).min(pool.len());
    let rates: Vec<f64> = (0..count)
        .map(|rank| {
            let slice = (rank as f64 / f64::from(apps), (rank + 1) as f64 / f64::from(apps));
            tail_mean(slice) * rng.random_range(0.97..1.03)
        })
        .collect();
    let total: f64 = rates.iter().sum();
    let lacking = |trigger: usize| (INVOCATION_SHARES[trigger] - BELOW_THE_TOP[trigger]).max(0.0);
    let all: f64 = (0..TRIGGERS.len()).map(lacking).sum();
    let mut lacking: Vec<f64> = (0..TRIGGERS.len()).map(|trigger| lacking(trigger) / all * total).collect();
    let mut large_lacking = total * LARGE_SHARE;
    let mut small_lacking = total - large_lacking;
    let mut plans = Vec::with_capacity(count);
    for per_day in rates {
        let large = large_lacking > small_lacking;
        let wanted = (0..lacking.len()).max_by(|a, b| lacking[*a].total_cmp(&lacking[*b])).unwrap_or(0);
        let start = rng.random_range(0..pool.len());
        let find = |fits: &dyn Fn(&Kind) -> bool| (start..pool.len()).chain(0..start).find(|place| fits(&pool[*place]));
        let place = find(&|kind| kind.triggers.has(wanted) && kind.is_large() == large)
            .or_else(|| find(&|kind| kind.triggers.has(wanted)))
            .unwrap_or(start);
        let kind = pool.swap_remove(place);
        let lead = if kind.triggers.has(wanted) { wanted } else { lead(kind.triggers, rng) };
        *(if kind.is_large() { &mut large_lacking } else { &mut small_lacking }) -= per_day;
        let plan = Plan { triggers: kind.triggers, functions: kind.functions, lead, per_day: Some(per_day), top: true };
        let index = indices[plans.len()];
        for (lacking, per_day) in lacking.iter_mut().zip(population::per_day(&plan, index, seed)) {
            *lacking -= per_day;
        }
        plans.push((index, plan));
    }
    plans
}

/// Apps without timers below the top, from the rarest on. An app has no more functions than it can call in a week.
fn below(kinds: Vec<Kind>, rng: &mut ChaCha8Rng) -> Vec<Plan> {
    let count = kinds.len();
    let mut waiting: Vec<Kind> = Vec::new();
    let mut kinds = kinds.into_iter();
    let mut plans = Vec::with_capacity(count);
    for rank in 0..count {
        let share = (rank as f64 + rng.random_range(0.0..1.0)) / count as f64;
        let per_day = interpolated(&BODY, share);
        let fits = |kind: &Kind| f64::from(kind.functions) <= (per_day * 7.0 * 0.8).max(1.0);
        let kind = match waiting.iter().position(fits) {
            Some(place) => Some(waiting.remove(place)),
            None => loop {
                match kinds.next() {
                    Some(kind) if fits(&kind) => break Some(kind),
                    Some(kind) => waiting.push(kind),
                    None => break waiting.pop(),
                }
            },
        };
        let Some(kind) = kind else { break };
        let lead = lead(kind.triggers, rng);
        plans.push(Plan {
            triggers: kind.triggers,
            functions: kind.functions,
            lead,
            per_day: Some(per_day),
            top: false,
        });
    }
    plans
}

/// Any of the triggers but a timer.
fn lead(triggers: Triggers, rng: &mut ChaCha8Rng) -> usize {
    let candidates: Vec<usize> = triggers.iter().filter(|trigger| *trigger != mix::TIMER).collect();
    if candidates.is_empty() { mix::TIMER } else { candidates[rng.random_range(0..candidates.len())] }
}

/// Mean of [`TAIL`] over a slice of the apps, so that the skew is the same however many apps there are.
fn tail_mean((from, until): (f64, f64)) -> f64 {
    let mut sum = 0.0;
    let mut segment_from = 0.0;
    for (i, (segment_until, _)) in TAIL.iter().enumerate() {
        let (low, high) = (from.max(segment_from), until.min(*segment_until));
        if low < high {
            let (share, rate) = TAIL[i.max(1)];
            let (other_share, other_rate) = TAIL[i.max(1) - 1];
            // Beyond the last point the law gets flatter: no app has all invocations.
            let slope = (other_rate / rate).ln() / (share / other_share).ln() * if i == 0 { 0.6 } else { 1.0 };
            let (share, rate) = TAIL[i];
            // ∫ rate·(p / share)^-slope dp
            let integral = |p: f64| rate * share.powf(slope) * p.powf(1.0 - slope) / (1.0 - slope);
            sum += integral(high) - integral(low);
        }
        segment_from = *segment_until;
    }
    sum / (until - from)
}

/// The second figure at the first, logarithmic in the second.
fn interpolated(points: &[(f64, f64)], at: f64) -> f64 {
    let right = points.iter().position(|(share, _)| *share > at).unwrap_or(points.len() - 1).max(1);
    let ((x0, y0), (x1, y1)) = (points[right - 1], points[right]);
    (y0.ln() + (y1 / y0).ln() * (at - x0) / (x1 - x0)).exp()
}
