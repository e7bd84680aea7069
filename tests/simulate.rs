//! `simulate` counts what policies would have cost, in the order asked, and the same each time.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use pilotlight::simulate::recording::Recording;
use support::program::run;

#[test]
fn one_object_a_policy_in_the_order_asked() {
    let Some(trace) = support::trace("azure2021-head998") else { return };
    let trace = trace.to_str().unwrap();
    let policies = ["hybrid:forecast=off", "fixed:60m", "fixed:10m"];
    let mut arguments = vec!["simulate", trace, "--format", "json"];
    arguments.extend(policies.iter().flat_map(|policy| ["--policy", policy]));
    let output = run(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let outcomes: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let found: Vec<_> =
        outcomes.iter().map(|outcome| (outcome["policy"].as_str(), outcome["cold_starts"].as_u64())).collect();
    assert_eq!(found, policies.into_iter().map(Some).zip([23, 21, 38].map(Some)).collect::<Vec<_>>());
    for outcome in &outcomes {
        assert_eq!((outcome["apps"].as_u64(), outcome["invocations"].as_u64()), (Some(21), Some(998)), "{outcome}");
        for key in [
            "cold_percent_p50",
            "cold_percent_p75",
            "cold_percent_p90",
            "cold_percent_mean",
            "always_cold_apps",
            "idle_app_minutes",
            "idle_gb_hours",
        ] {
            assert!(outcome[key].is_number(), "{key} in {outcome}");
        }
    }
}

/// The history that a pipeline would have written of a trace of single invocations.
fn record(trace: &std::path::Path, folder: &std::path::Path) -> String {
    const BEGIN_MS: i64 = 1_612_051_200_000; // 2021-01-31
    let url = format!("file://{}", folder.display());
    let flags = [("history.url", url.clone()), ("history.rows", "100".to_owned())];
    let settings = pilotlight::config::Settings::load(Some("/dev/null".as_ref()), &flags).unwrap();
    let trace = pilotlight::simulate::traces::open(trace, |_, _| {}).unwrap();
    let mut recording = Recording::begin(&settings).unwrap();
    for arrival in trace.arrivals(pilotlight::simulate::traces::Placement::Even) {
        recording.add(&trace.invocation(&arrival, BEGIN_MS + arrival.at_ms)).unwrap();
    }
    recording.finish().unwrap();
    format!("history.url={url}")
}

#[test]
fn what_ran_costs_what_its_trace_costs() {
    let Some(trace) = support::trace("azure2021-head998") else { return };
    let folder = tempfile::tempdir().unwrap();
    let history = record(&trace, folder.path());
    let outcomes = |of: &[&str]| -> Vec<serde_json::Value> {
        // Each app for itself: what learns from all apps follows the order of those that start in one ms.
        let policies = ["fixed:10m", "fixed:60m", "hybrid:forecast=off"];
        let mut arguments = [&["simulate", "--format", "json"], of].concat();
        arguments.extend(policies.iter().flat_map(|policy| ["--policy", policy]));
        let output = run(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let of_history = outcomes(&["history", "--set", &history]);
    assert_eq!(of_history, outcomes(&[trace.to_str().unwrap()]));
    let cold: Vec<_> = of_history.iter().map(|outcome| outcome["cold_starts"].as_u64()).collect();
    assert_eq!(cold, [Some(38), Some(21), Some(23)], "as an independent program counted");

    let without = run(&["simulate", "history"]);
    assert_eq!(without.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&without.stderr).contains("history.url is not set"));
    let nothing = tempfile::tempdir().unwrap();
    let empty = run(&["simulate", "history", "--set", &format!("history.url=file://{}", nothing.path().display())]);
    assert!(String::from_utf8_lossy(&empty.stderr).contains("no invocations"), "{empty:?}");
}

#[test]
fn what_of_a_trace_cannot_be_read_is_said_and_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("invocations_per_function_md.anon.d01.csv");
    std::fs::write(&file, "HashApp,HashFunction,Trigger,1,2\na,f,timer,1,abc\nb,f,http,-1,2\nc\n").unwrap();
    let output = run(&["simulate", folder.path().to_str().unwrap(), "--policy", "fixed:10m", "--format", "json"]);
    assert!(output.status.success());
    let outcomes: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((outcomes[0]["apps"].as_u64(), outcomes[0]["invocations"].as_u64()), (Some(2), Some(3)));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "1 row and 2 cells of invocations_per_function_md.anon.d01.csv could not be read: first at line 2: 'abc' is no \
         count\n"
    );
}

#[test]
fn uniform_placement_follows_its_seed() {
    let Some(trace) = support::trace("azure2019-d01-head9") else { return };
    let count = |seed: &str| {
        let arguments =
            ["simulate", trace.to_str().unwrap(), "--placement", "uniform", "--seed", seed, "--format", "csv"];
        String::from_utf8(run(&arguments).stdout).unwrap()
    };
    let first = count("7");
    assert!(first.starts_with("policy,apps,invocations,cold_starts,"), "{first}");
    assert_eq!(first, count("7"));
    assert_ne!(first, count("8"));
}
