//! Runs policies over a trace, with the pipeline's own state and policy code, and counts what each would have cost.

use serde::Serialize;

use crate::policy::Policy;
use crate::shadow::Shadow;

use super::traces::{Placement, Trace};

/// What one policy would have cost on a trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The policy, as it was asked for.
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
}

/// Runs each policy (its name and itself) over `trace`; apps of unknown memory count with `default_memory_mb`.
/// `progress` is told how many invocations are done. O(invocations × policies).
pub fn simulate(
    trace: &Trace,
    policies: &[(String, Policy)],
    placement: Placement,
    default_memory_mb: f64,
    progress: impl Fn(u64),
) -> Vec<Outcome> {
    let mut shadows: Vec<Shadow> =
        policies.iter().map(|(_, policy)| Shadow::new(policy.clone(), default_memory_mb)).collect();
    for (done, arrival) in trace.arrivals(placement).enumerate() {
        let invocation = trace.invocation(&arrival, arrival.at_ms);
        for shadow in &mut shadows {
            shadow.observe(&invocation);
        }
        if done.is_multiple_of(1 << 16) {
            progress(done as u64);
        }
    }
    policies.iter().zip(&shadows).map(|((name, _), shadow)| outcome(name, shadow, trace.end_ms())).collect()
}

fn outcome(name: &str, shadow: &Shadow, end_ms: i64) -> Outcome {
    let costs = shadow.costs(end_ms);
    let mut percents = Vec::new();
    let mut always_cold_apps = 0;
    for (invocations, cold) in shadow.by_app() {
        percents.push(100.0 * cold as f64 / invocations as f64);
        always_cold_apps += usize::from(invocations == cold);
    }
    percents.sort_unstable_by(f64::total_cmp);
    Outcome {
        policy: name.to_owned(),
        apps: percents.len(),
        invocations: costs.invocations,
        cold_starts: costs.cold,
        cold_percent_p50: nearest_rank(&percents, 50),
        cold_percent_p75: nearest_rank(&percents, 75),
        cold_percent_p90: nearest_rank(&percents, 90),
        cold_percent_mean: percents.iter().sum::<f64>() / percents.len().max(1) as f64,
        always_cold_apps,
        idle_app_minutes: costs.idle_ms as f64 / 60_000.0,
        idle_gb_hours: costs.idle_mb_s / 1024.0 / 3600.0,
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
            let policies = [(policy.to_owned(), parse(policy).unwrap())];
            let trace_read = traces::open(&folder).unwrap();
            let outcomes = simulate(&trace_read, &policies, Placement::Even, 170.0, |_| ());
            let outcome = &outcomes[0];
            assert_eq!(outcome.cold_starts, cold, "{policy} on {trace}");
            let found = outcome.idle_app_minutes;
            assert!((found - minutes).abs() <= 0.01, "{policy} on {trace}: {found}");
            assert!(p75.is_none_or(|p75| p75 == outcome.cold_percent_p75), "{outcome:?}");
        }
    }
}
