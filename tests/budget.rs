//! A policy with a budget keeps to it: the price is solved for as the workload goes on.

#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use support::program::run;

/// Outcomes on eight hours of the Azure sample.
fn outcomes(arguments: &[&str]) -> Option<Vec<serde_json::Value>> {
    let trace = support::trace("azure2019-d07-sample")?;
    let output = run(&[&["simulate", trace.to_str().unwrap(), "--format", "json"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn figure(outcome: &serde_json::Value, name: &str) -> f64 {
    outcome[name].as_f64().unwrap()
}

#[test]
fn idle_memory_comes_to_the_budget() {
    let budgets = [8.0, 16.0, 32.0];
    let policies = budgets.map(|budget| format!("frontier:budget={budget}GB"));
    let arguments: Vec<_> = policies.iter().flat_map(|policy| ["--policy", policy]).collect();
    let Some(outcomes) = outcomes(&arguments) else { return };
    for (budget, outcome) in budgets.iter().zip(&outcomes) {
        let idle_gb = figure(outcome, "idle_gb_hours") / 8.0;
        assert!((idle_gb / budget - 1.0).abs() <= 0.15, "{idle_gb} GB of {budget}");
    }
    let prices: Vec<_> = outcomes.iter().map(|outcome| figure(outcome, "price_gb_s")).collect();
    assert!(prices.is_sorted() && prices[0] < prices[2], "{prices:?}");
}

#[test]
fn cold_starts_stay_within_their_rates() {
    let arguments = ["--policy", "frontier", "--max-cold-rate", "0.1%", "--max-cold-rate-p75", "50%"];
    let Some(outcomes) = outcomes(&arguments) else { return };
    let [plain, rate, p75] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!(rate["policy"], "frontier:cold_rate=0.1%");
    assert_eq!(p75["policy"], "frontier:cold_rate_p75=50%,weight=app");
    assert!(figure(rate, "cold_starts") / figure(rate, "invocations") <= 0.001, "{rate}");
    assert!(figure(p75, "cold_percent_p75") <= 50.0, "{p75}");
    assert!(plain.get("price_gb_s").is_none(), "its price was given");
}

#[test]
fn what_can_not_be_met_is_said() {
    let Some(trace) = support::trace("azure2019-d01-head9") else { return };
    let output = run(&["simulate", trace.to_str().unwrap(), "--policy", "frontier:cold_rate=0%"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success());
    assert!(said.contains("frontier:cold_rate=0%: no price meets it here"), "{said}");
    assert!(said.contains("ended at a price of"), "{said}");
}
