use std::sync::Arc;

use super::*;
use crate::model::Trigger;
use crate::simulate::Function;
use crate::simulate::characterize::{characterize, compare};
use crate::simulate::traces::Trace;

fn outcome(policy: &str, p75: f64, idle_gb_hours: f64) -> Outcome {
    Outcome {
        policy: policy.to_owned(),
        apps: 2,
        invocations: 300,
        cold_starts: 30,
        cold_percent_p50: p75 / 2.0,
        cold_percent_p75: p75,
        cold_percent_p90: p75,
        cold_percent_mean: p75,
        always_cold_apps: 0,
        idle_app_minutes: 60.0,
        idle_gb_hours,
        price_gb_s: None,
        cold_percents: vec![p75 / 2.0, p75],
    }
}

fn workload() -> Characterization {
    let function = |app: &str, trigger| Function {
        app: Arc::from(app),
        name: Arc::from("f"),
        trigger: Some(trigger),
        memory_mb: Some(150.0),
    };
    let functions = vec![function("<b>shop</b>\" onload=\"x", Trigger::Http), function("clock", Trigger::Timer)];
    let cells = [vec![(0, 3), (9, 1), (700, 2)], (0..1440).step_by(5).map(|minute| (minute, 1)).collect()];
    characterize(&Trace::from_cells(functions, vec![20.0, 900.0], cells, 1440), |_| ())
}

fn page(workload: &Characterization, outcomes: &[Outcome]) -> String {
    let comparisons = compare(workload);
    render(&Report {
        title: "Ours & <theirs>",
        source: "a trace",
        workload,
        comparisons: &comparisons,
        outcomes,
        answers: &[],
    })
}

/// Each tag that is opened is closed, in order; `meta` and the like stand alone.
fn assert_well_formed(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    let body = html.strip_prefix("<!doctype html>").unwrap();
    for piece in body.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').unwrap_or_else(|| panic!("a tag has no end: {piece}"));
        let name = tag.trim_start_matches('/').split_whitespace().next().unwrap_or_default();
        match () {
            () if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "{piece}"),
            () if tag.ends_with('/') || name == "meta" => {}
            () => open.push(name),
        }
        assert!(!text.contains('>') || open.last() == Some(&"style"), "{text}");
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_page_has_all_sections_and_needs_nothing_else() {
    let outcomes = [outcome("fixed:10m", 50.0, 2.0), outcome("hybrid", 20.0, 1.9)];
    let page = page(&workload(), &outcomes);
    assert_well_formed(&page);
    for id in [
        "triggers",
        "combinations",
        "sizes",
        "rates",
        "skew",
        "arrivals",
        "durations",
        "memory",
        "load",
        "policies",
        "busiest",
    ] {
        assert!(page.contains(&format!("id=\"{id}\"")) && page.contains(&format!("href=\"#{id}\"")), "{id}");
    }
    for outside in ["http://", "https://", "<script", "url(", "@import", "src="] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf "), "figures are figures");
    assert_eq!(page.matches("<svg").count(), 13);
}

#[test]
fn names_are_no_markup() {
    let page = page(&workload(), &[outcome("<i>fixed</i>", 1.0, 1.0)]);
    assert!(page.contains("<h1>Ours &amp; &lt;theirs&gt;</h1>"));
    assert!(page.contains("&lt;b&gt;shop&lt;/b&gt;&quot; onload=&quot;x"));
    assert!(!page.contains("<b>shop") && !page.contains("<i>fixed"));
}

#[test]
fn the_papers_claim_is_checked_where_both_policies_were_tried() {
    let both = page(&workload(), &[outcome("fixed:10m", 50.0, 2.0), outcome("hybrid:forecast=off", 20.0, 1.9)]);
    assert!(both.contains("<td>2.50 ×</td>") && both.contains("<td>0.95 ×</td>"));
    let never_cold = page(&workload(), &[outcome("fixed:10m", 50.0, 2.0), outcome("hybrid", 0.0, 1.9)]);
    assert!(never_cold.contains("<td>–</td>"), "no ratio to nothing");
    assert!(!page(&workload(), &[outcome("fixed:10m", 50.0, 2.0)]).contains("The paper's claim"));
}

#[test]
fn little_is_said_of_little() {
    let one = Function { app: Arc::from("a"), name: Arc::from("f"), trigger: None, memory_mb: None };
    for cells in [vec![], vec![(0, 1)], vec![(3, 2), (9, 70_000)]] {
        let workload = characterize(&Trace::from_cells(vec![one.clone()], vec![], [cells], 10), |_| ());
        let page = page(&workload, &[]);
        assert_well_formed(&page);
        assert!(page.contains("The trace does not tell") && !page.contains("NaN"));
        assert!(!page.contains("id=\"policies\""));
    }
}
