//! Runs contenders over a trace, with the pipeline's own state and policy code, and counts what each would have cost.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use serde::Serialize;
use tracing::warn;

use crate::policy::{Learner, Planner};

use super::budget::Budget;
use super::contender::Contender;
use super::greedy_dual::GreedyDual;
use super::lane::{Lane, app_of_function};
use super::steps::{Minutes, Step};
use super::traces::{MINUTE_MS, Placement, Trace};

/// What one contender would have cost on a trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The contender, as it was asked for.
    pub policy: String,
    /// Apps that were invoked.
    pub apps: usize,
    /// Invocations.
    pub invocations: u64,
    /// Those that would have been cold.
    pub cold_starts: u64,
    /// Cold starts of an app in percent of its invocations: the median app (nearest rank).
    pub cold_percent_p50: f64,
    /// The same of the 75th-percentile app.
    pub cold_percent_p75: f64,
    /// The same of the 90th-percentile app.
    pub cold_percent_p90: f64,
    /// The same, mean over apps.
    pub cold_percent_mean: f64,
    /// Apps whose every invocation would have been cold.
    pub always_cold_apps: usize,
    /// Time that apps would have been loaded and idle, minutes.
    pub idle_app_minutes: f64,
    /// The same times memory, GB·h (1 GB = 1024 MB).
    pub idle_gb_hours: f64,
    /// Worth of one avoided cold start at the end, GB·s, where it was solved for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_gb_s: Option<f64>,
    /// Cold starts of each app in percent of its invocations, ascending.
    #[serde(skip)]
    pub cold_percents: Vec<f64>,
}

/// What one app would have cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct AppCosts {
    pub invocations: u64,
    pub cold: u64,
    pub idle_ms: f64,
    pub idle_mb_ms: f64,
}

/// What became of one contender.
#[derive(Debug, Clone, Default)]
struct Found {
    /// Of the apps that were invoked.
    costs: Vec<AppCosts>,
    /// The price at the end where it was solved for, MB·s.
    price_mb_s: Option<f64>,
    /// Whether no price met the target at the end.
    is_out_of_reach: bool,
}

/// How a simulation is to be made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Where in its minute an invocation lies of which only the minute is known.
    pub placement: Placement,
    /// Memory of an app that never told its own, MB.
    pub default_memory_mb: f64,
}

/// A block of time is at most this part of what went before it,
const BLOCK_SHARE: u32 = 16;
/// at most so long, minutes,
const MOST_BLOCK: u32 = 60;
/// and a minute long for every so many apps: what was learned is known that much later than a pipeline would know it.
const APPS_A_MINUTE: usize = 800;

/// Progress of one contender, in parts of its work.
pub const PARTS: u64 = 1000;

/// Runs each contender (its name and itself) over `trace`, on all cores. `progress` is told how many [`PARTS`] are done,
/// of all contenders together. The work grows with minutes and apps, not with invocations, unless they are placed at
/// random.
pub fn simulate(
    trace: &Trace,
    contenders: &[(String, Contender)],
    rules: Rules,
    progress: impl Fn(u64) + Sync,
) -> Vec<Outcome> {
    let parts = AtomicU64::new(0);
    let tell = |more: u64| progress(parts.fetch_add(more, Ordering::Relaxed) + more);
    let (caches, others): (Vec<_>, Vec<_>) = contenders
        .iter()
        .enumerate()
        .partition(|(_, (_, contender))| matches!(contender, Contender::GreedyDual { .. }));
    let mut found = vec![Found::default(); contenders.len()];
    std::thread::scope(|scope| {
        // A cache decides on all apps at once: its steps have to come in the order of time, one by one.
        let caches: Vec<_> = caches
            .into_iter()
            .map(|(place, (_, contender))| {
                let memory_mb = if let Contender::GreedyDual { memory_mb } = contender { *memory_mb } else { 0.0 };
                let tell = &tell;
                (place, scope.spawn(move || cache(trace, memory_mb, rules, tell)))
            })
            .collect();
        let (places, others): (Vec<_>, Vec<_>) = others.into_iter().map(|(place, (_, one))| (place, one)).unzip();
        for (place, one) in places.into_iter().zip(app_by_app(trace, &others, rules, &tell)) {
            found[place] = one;
        }
        for (place, cache) in caches {
            found[place].costs = cache.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    contenders.iter().zip(found).map(|((name, _), found)| outcome(name, &found)).collect()
}

/// Runs contenders that decide on each app by itself. All apps go through a block of time before any goes through the
/// next, side by side on all cores; in between, what was learned from one comes to be known for the others.
fn app_by_app(trace: &Trace, contenders: &[&Contender], rules: Rules, tell: &(impl Fn(u64) + Sync)) -> Vec<Found> {
    let mut lanes = Lane::of_all(trace, contenders, rules);
    let mut planners: Vec<Option<Planner>> = contenders.iter().map(|contender| contender.planner()).collect();
    let begin_ms = lanes.iter().filter_map(Lane::first_start_ms).min().unwrap_or(0);
    planners.iter_mut().flatten().for_each(|planner| planner.begin(begin_ms));
    let budget = |planner: &Planner| planner.target().map(|_| Budget::new(begin_ms, planner));
    let mut budgets: Vec<_> = planners.iter().map(|planner| planner.as_ref().and_then(budget)).collect();

    let (begin, end) = ((begin_ms / MINUTE_MS) as u32, (trace.end_ms() / MINUTE_MS) as u32 + 1);
    let longest = ((lanes.len() / APPS_A_MINUTE) as u32).clamp(1, MOST_BLOCK);
    let mut told = 0;
    let mut minute = begin;
    while minute < end {
        minute += ((minute - begin) / BLOCK_SHARE).clamp(1, longest);
        lanes.par_iter_mut().for_each_init(Vec::new, |steps, lane| lane.run_until(minute, &planners, steps));
        for (place, planner) in planners.iter_mut().enumerate() {
            let Some(planner) = planner.as_mut().filter(|planner| planner.learns()) else { continue };
            lanes.iter_mut().flat_map(|lane| lane.lessons(place)).for_each(|lesson| planner.take(lesson));
            if let Some(budget) = &mut budgets[place] {
                let accounts = lanes.iter().map(|lane| lane.account(place));
                budget.pass(i64::from(minute) * MINUTE_MS, planner, trace.apps().iter().zip(accounts));
            }
        }
        let done = PARTS * contenders.len() as u64 * u64::from(minute.min(end)) / u64::from(end);
        tell(done - told);
        told = done;
    }
    let found = |(place, (planner, budget)): (usize, (Option<Planner>, Option<Budget>))| Found {
        costs: lanes.iter().filter_map(|lane| lane.costs(place)).collect(),
        price_mb_s: budget.as_ref().and_then(|_| planner?.price_mb_s()),
        is_out_of_reach: budget.is_some_and(|budget| budget.is_out_of_reach()),
    };
    planners.into_iter().zip(budgets).enumerate().map(found).collect()
}

fn cache(trace: &Trace, most_mb: f64, rules: Rules, tell: &impl Fn(u64)) -> Vec<AppCosts> {
    let apps = trace.apps().iter();
    let mut cache = GreedyDual::new(apps.map(|app| app.memory_mb.unwrap_or(rules.default_memory_mb)), most_mb);
    let mut told = 0;
    let mut tell = |done: u64, all: u64| {
        let parts = PARTS * done / all.max(1);
        if parts > told {
            tell(parts - told);
            told = parts;
        }
    };
    if let Some(arrivals) = trace.singles() {
        let apps = app_of_function(trace);
        for (done, arrival) in arrivals.iter().enumerate() {
            cache.take(apps[arrival.function as usize], &[Step::of(arrival, trace)]);
            tell(done as u64 + 1, arrivals.len() as u64);
        }
        return cache.finish(trace.end_ms());
    }
    let mut minutes: Vec<_> =
        (0..trace.apps().len()).map(|app| Minutes::new(trace, app, rules.placement).apart()).collect();
    let (mut steps, mut turns) = (Vec::new(), Vec::new());
    let end = (trace.end_ms() / MINUTE_MS) as u32;
    for minute in 0..=end {
        steps.clear();
        turns.clear();
        for (app, minutes) in minutes.iter_mut().enumerate().filter(|(_, minutes)| minutes.next() == minute) {
            let from = steps.len();
            minutes.take_until(minute + 1, &mut steps);
            turns.push((steps[from].start_ms(), app, from, steps.len()));
        }
        turns.sort_unstable();
        turns.iter().for_each(|(_, app, from, until)| cache.take(*app, &steps[*from..*until]));
        tell(u64::from(minute), u64::from(end));
    }
    cache.finish(trace.end_ms())
}

fn outcome(name: &str, found: &Found) -> Outcome {
    if found.is_out_of_reach {
        warn!("{name}: no price meets it here; the figures are those of the price that comes nearest");
    }
    let apps = &found.costs;
    let mut percents: Vec<f64> = apps.iter().map(|app| 100.0 * app.cold as f64 / app.invocations as f64).collect();
    percents.sort_unstable_by(f64::total_cmp);
    Outcome {
        policy: name.to_owned(),
        apps: apps.len(),
        invocations: apps.iter().map(|app| app.invocations).sum(),
        cold_starts: apps.iter().map(|app| app.cold).sum(),
        cold_percent_p50: nearest_rank(&percents, 50),
        cold_percent_p75: nearest_rank(&percents, 75),
        cold_percent_p90: nearest_rank(&percents, 90),
        cold_percent_mean: percents.iter().sum::<f64>() / percents.len().max(1) as f64,
        always_cold_apps: apps.iter().filter(|app| app.cold == app.invocations).count(),
        idle_app_minutes: apps.iter().map(|app| app.idle_ms).sum::<f64>() / 60_000.0,
        idle_gb_hours: apps.iter().map(|app| app.idle_mb_ms).sum::<f64>() / 1000.0 / 1024.0 / 3600.0,
        price_gb_s: found.price_mb_s.map(|price_mb_s| price_mb_s / 1024.0),
        cold_percents: percents,
    }
}

/// The smallest of `sorted` that at least `percent` % of them do not exceed; 0 of none.
fn nearest_rank(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}
#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::model::Trigger;
    use crate::policy::parse;
    use crate::shadow::Account;
    use crate::simulate::{Function, traces};

    #[test]
    fn nearest_ranks() {
        let four = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(
            [1, 25, 26, 50, 75, 90, 100].map(|percent| nearest_rank(&four, percent)),
            [1.0, 1.0, 2.0, 2.0, 3.0, 4.0, 4.0]
        );
        assert_eq!(nearest_rank(&[], 50), 0.0);
    }

    /// What happens to apps, one invocation at a time.
    fn one_by_one(trace: &Trace, policy: &str) -> (u64, f64) {
        let mut planner = Planner::new(parse(policy).unwrap());
        let apps = app_of_function(trace);
        let mut accounts: Vec<Option<Account>> = vec![None; trace.apps().len()];
        for arrival in trace.arrivals(Placement::Even) {
            let Step::One { start_ms, end_ms, trigger } = Step::of(&arrival, trace) else { continue };
            match &mut accounts[apps[arrival.function as usize]] {
                Some(account) => account.arrive(&mut planner, start_ms, end_ms, trigger),
                empty => *empty = Some(Account::open(&planner, start_ms, end_ms, trigger, 170.0)),
            }
        }
        let idle_ms = accounts.iter().flatten().map(|account| account.idle(trace.end_ms()).0).sum::<f64>();
        (accounts.iter().flatten().map(|account| account.cold).sum(), idle_ms / 60_000.0)
    }

    /// Apps with one to four functions over three days: timers, rare ones, ones with up to `most` in a minute.
    fn workload(most: u32) -> Trace {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let (mut functions, mut durations_ms, mut cells) = (Vec::new(), Vec::new(), Vec::new());
        for app in 0..60 {
            for function in 0..random.random_range(1..=4) {
                functions.push(Function {
                    app: format!("a{app}").into(),
                    name: format!("f{function}").into(),
                    trigger: [None, Some(Trigger::Timer), Some(Trigger::Http)][random.random_range(0..3)],
                    memory_mb: None,
                });
                durations_ms.push([0.0, 40.0, 700.0, 3_000.0, 90_000.0][random.random_range(0..5)]);
                let period = [1, 1, 5, 60, 400][random.random_range(0..5)];
                let (first, is_timer) = (random.random_range(0..500), random.random_bool(0.5));
                let minutes = (first..3 * 1440_u32).filter(|minute| match is_timer {
                    true => (minute - first) % period == 0,
                    false => random.random_bool(1.0 / f64::from(period)),
                });
                let minutes: Vec<u32> = minutes.collect();
                let count = |random: &mut ChaCha8Rng| if is_timer { 1 } else { random.random_range(1..=most) };
                cells.push(minutes.into_iter().map(|minute| (minute, count(&mut random))).collect::<Vec<_>>());
            }
        }
        Trace::from_cells(functions, durations_ms, cells, 3 * 1440)
    }

    #[test]
    fn steps_cost_what_their_invocations_cost_one_by_one() {
        let rules = Rules { placement: Placement::Even, default_memory_mb: 170.0 };
        for (most, tolerance) in [(3, 0.0), (200, 0.005)] {
            let trace = workload(most);
            for policy in ["fixed:10m", "fixed:20s", "fixed:1m", "hybrid", "hybrid:forecast=off,range=1h"] {
                let (cold, minutes) = one_by_one(&trace, policy);
                let contenders = [(policy.to_owned(), Contender::Policy(parse(policy).unwrap()))];
                let found = &simulate(&trace, &contenders, rules, |_| ())[0];
                let what = format!(
                    "{policy}, {most}: {} and {}, not {cold} and {minutes}",
                    found.cold_starts, found.idle_app_minutes
                );
                assert!(found.cold_starts.abs_diff(cold) as f64 <= tolerance * cold as f64, "{what}");
                assert!((found.idle_app_minutes - minutes).abs() <= (tolerance * minutes).max(1e-3), "{what}");
            }
        }
    }

    /// Figures that an independent program counted on the same traces.
    #[test]
    fn agrees_with_an_independent_count() {
        for (trace, policy, cold, minutes, p75) in [
            ("azure2021-head998", "fixed:10m", 38, 1076.82, Some(50.0)),
            ("azure2021-head998", "fixed:60m", 21, 1568.54, None),
            ("azure2021-head998", "hybrid:forecast=off", 23, 1403.51, None),
            ("azure2019-d01-head9", "fixed:10m", 9, 3371.49, None),
            ("azure2019-d01-head9", "hybrid:forecast=off", 11, 879.84, None),
        ] {
            let folder = std::path::Path::new("../shared/traces").join(trace);
            if !folder.is_dir() {
                let strict = std::env::var_os("PILOTLIGHT_TEST_NOTHING_SKIPPED").is_some();
                assert!(!strict, "nothing may be skipped here, but {} is missing", folder.display());
                eprintln!("skipped: {} is not here", folder.display());
                return;
            }
            let contenders = [(policy.to_owned(), Contender::Policy(parse(policy).unwrap()))];
            let read = traces::open(&folder, |_, _| ()).unwrap();
            let rules = Rules { placement: Placement::Even, default_memory_mb: 170.0 };
            let outcomes = simulate(&read, &contenders, rules, |_| ());
            let outcome = &outcomes[0];
            assert_eq!(outcome.cold_starts, cold, "{policy} on {trace}");
            let found = outcome.idle_app_minutes;
            assert!((found - minutes).abs() <= 0.01, "{policy} on {trace}: {found}");
            assert!(p75.is_none_or(|p75| p75 == outcome.cold_percent_p75), "{outcome:?}");
        }
    }
}
