//! Runs contenders over a trace, with the pipeline's own state and policy code, and counts what each would have cost.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::policy::{Planner, Policy};
use crate::shadow::Account;

use super::budget::Budget;
use super::contender::Contender;
use super::greedy_dual::GreedyDual;
use super::oracle;
use super::steps::{Minutes, NEVER, Step};
use super::traces::{Placement, Trace};

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

/// How a simulation is to be made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Where in its minute an invocation lies of which only the minute is known.
    pub placement: Placement,
    /// Memory of an app that never told its own, MB.
    pub default_memory_mb: f64,
}

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
    let next = AtomicUsize::new(0);
    let parts = AtomicU64::new(0);
    let tell = |more: u64| progress(parts.fetch_add(more, Ordering::Relaxed) + more);
    let outcomes: Mutex<Vec<Option<Outcome>>> = Mutex::new(vec![None; contenders.len()]);
    let work = || {
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            let Some((name, contender)) = contenders.get(turn) else { return };
            let (costs, price_mb_s) = costs(trace, name, contender, rules, &tell);
            let outcome = outcome(name, &costs, price_mb_s);
            outcomes.lock().unwrap_or_else(PoisonError::into_inner)[turn] = Some(outcome);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(contenders.len());
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| {
            scope.spawn(work);
        });
    });
    outcomes.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()
}

/// The costs of each app, and the price at the end where it was solved for, MB·s.
fn costs(
    trace: &Trace,
    name: &str,
    contender: &Contender,
    rules: Rules,
    tell: &impl Fn(u64),
) -> (Vec<AppCosts>, Option<f64>) {
    let memory_mb = |app: usize| trace.apps()[app].memory_mb.unwrap_or(rules.default_memory_mb);
    match contender {
        Contender::Policy(policy) => {
            let mut planner = Planner::new(policy.clone());
            let mut accounts: Vec<Option<Account>> = vec![None; trace.apps().len()];
            // What one app teaches about others has to come before they are planned for.
            let order = if matches!(policy, Policy::Frontier(_)) { Order::Time } else { Order::Apps };
            let mut budget: Option<Budget> = None;
            walk(trace, rules.placement, order, tell, |app, steps| {
                if let (Some(_), Some(first)) = (planner.target(), steps.first()) {
                    let budget = budget.get_or_insert_with(|| Budget::new(first.start_ms(), &planner));
                    budget.pass(first.start_ms(), &mut planner, trace.apps(), &accounts);
                }
                for step in steps {
                    match (&mut accounts[app], step) {
                        (Some(account), Step::One { start_ms, end_ms, trigger }) => {
                            account.arrive(&mut planner, *start_ms, *end_ms, *trigger);
                        }
                        (Some(account), Step::Run(run)) => account.run(&mut planner, run),
                        (empty, Step::One { start_ms, end_ms, trigger }) => {
                            let account = Account::open(&mut planner, *start_ms, *end_ms, *trigger, memory_mb(app));
                            *empty = Some(account);
                        }
                        // A run comes after one invocation at least.
                        (None, Step::Run(_)) => {}
                    }
                }
            });
            budget.inspect(|budget| budget.finish(name));
            let costs = accounts.iter().flatten().map(|account| app_costs(account, trace.end_ms())).collect();
            (costs, planner.target().and(planner.price_mb_s()))
        }
        Contender::GreedyDual { memory_mb: most_mb } => {
            let mut cache = GreedyDual::new((0..trace.apps().len()).map(memory_mb), *most_mb);
            walk(trace, rules.placement, Order::Time, tell, |app, steps| cache.take(app, steps));
            (cache.finish(trace.end_ms()), None)
        }
        Contender::Oracle { price_mb_s, kind } => {
            let mut apps = vec![oracle::IdleTimes::default(); trace.apps().len()];
            walk(trace, rules.placement, Order::Apps, tell, |app, steps| apps[app].take(steps));
            let costs = |(app, times): (usize, &oracle::IdleTimes)| {
                times.costs(*kind, *price_mb_s, memory_mb(app), trace.end_ms())
            };
            (apps.iter().enumerate().map(costs).filter(|costs| costs.invocations > 0).collect(), None)
        }
    }
}

fn app_costs(account: &Account, end_ms: i64) -> AppCosts {
    let (idle_ms, idle_mb_ms) = account.idle(end_ms);
    AppCosts { invocations: account.invocations, cold: account.cold, idle_ms, idle_mb_ms }
}

/// In which order to go through a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// One app after another, each from beginning to end: what is known of it stays in the processor's cache.
    Apps,
    /// All apps minute by minute; within a minute in the order of their first starts.
    Time,
}

/// Calls `visit` with the steps of an app, in the order of their starts.
fn walk(trace: &Trace, placement: Placement, order: Order, tell: &impl Fn(u64), mut visit: impl FnMut(usize, &[Step])) {
    let mut told = 0;
    let mut tell = |done: u64, all: u64| {
        let parts = PARTS * done / all.max(1);
        if parts > told {
            tell(parts - told);
            told = parts;
        }
    };
    if let Some(arrivals) = trace.singles() {
        let mut apps = vec![0; trace.functions().len()];
        for (app, functions) in trace.apps().iter().enumerate() {
            functions.functions.iter().for_each(|function| apps[*function as usize] = app);
        }
        for (done, arrival) in arrivals.iter().enumerate() {
            let end_ms = arrival.at_ms + arrival.duration_ms.round() as i64;
            let trigger = trace.functions()[arrival.function as usize].trigger;
            visit(apps[arrival.function as usize], &[Step::One { start_ms: arrival.at_ms, end_ms, trigger }]);
            tell(done as u64 + 1, arrivals.len() as u64);
        }
        return;
    }
    let all = trace.apps().len();
    let mut steps = Vec::new();
    match order {
        Order::Apps => {
            for app in 0..all {
                let mut minutes = Minutes::new(trace, app, placement);
                let mut minute = minutes.peek();
                while minute != NEVER {
                    steps.clear();
                    minutes.take(minute, &mut steps);
                    visit(app, &steps);
                    minute = minutes.peek();
                }
                tell(app as u64 + 1, all as u64);
            }
        }
        Order::Time => {
            let mut apps: Vec<_> = (0..all).map(|app| Minutes::new(trace, app, placement)).collect();
            let mut next: Vec<u32> = apps.iter_mut().map(Minutes::peek).collect();
            let mut turns = Vec::new();
            let end = (trace.end_ms() / super::traces::MINUTE_MS) as u32;
            for minute in 0..=end {
                steps.clear();
                turns.clear();
                for app in 0..all {
                    if next[app] == minute {
                        let from = steps.len();
                        apps[app].take(minute, &mut steps);
                        next[app] = apps[app].peek();
                        turns.push((steps[from].start_ms(), app, from, steps.len()));
                    }
                }
                turns.sort_unstable();
                turns.iter().for_each(|(_, app, from, until)| visit(*app, &steps[*from..*until]));
                tell(u64::from(minute), u64::from(end));
            }
        }
    }
}

fn outcome(name: &str, apps: &[AppCosts], price_mb_s: Option<f64>) -> Outcome {
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
        price_gb_s: price_mb_s.map(|price_mb_s| price_mb_s / 1024.0),
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
    use super::*;
    use crate::policy::parse;
    use crate::simulate::traces;

    #[test]
    fn nearest_ranks() {
        let four = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(
            [1, 25, 26, 50, 75, 90, 100].map(|percent| nearest_rank(&four, percent)),
            [1.0, 1.0, 2.0, 2.0, 3.0, 4.0, 4.0]
        );
        assert_eq!(nearest_rank(&[], 50), 0.0);
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
