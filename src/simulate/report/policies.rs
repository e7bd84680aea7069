//! What policies would have cost on the workload, beside what the paper reports of them.

use crate::html::{escape, table};
use crate::simulate::Outcome;
use crate::simulate::characterize::published::FIXED_OVER_HYBRID;
use crate::simulate::plot::{self, Measure};

use super::page::mark;

/// How much the paper's ratios may differ and still count as alike.
const RATIO: f64 = 1.25;

/// The section; empty without outcomes.
pub(super) fn section(outcomes: &[Outcome]) -> String {
    let pictures = [
        plot::cold_start_cdf(outcomes),
        plot::trade_off(outcomes, Measure::ColdPercentP75),
        plot::trade_off(outcomes, Measure::ColdStarts),
    ];
    let pictures: Vec<_> = pictures.into_iter().flatten().collect();
    if pictures.is_empty() {
        return String::new();
    }
    let figures: String = pictures.iter().map(|picture| format!("<figure>\n{}</figure>\n", picture.inline())).collect();
    format!(
        "<section id=\"policies\">\n<h2>What policies would have cost</h2>\n\
         <p>A policy decides how long an app stays loaded after it ran. Less idle memory means more cold starts, and the \
         other way round; a policy is better than another if it has less of both, further down and to the left. Cold is an \
         app's first invocation, and any for which it was no longer loaded.</p>\n\
         <div class=\"pictures\">\n{figures}</div>\n{}{}</section>\n",
        plot::table(outcomes),
        statement(outcomes),
    )
}

/// The paper's statement on the fixed 10-minute keep-alive and the hybrid policy, and what is found here; empty if they
/// were not both tried.
fn statement(outcomes: &[Outcome]) -> String {
    let find = |is_it: &dyn Fn(&str) -> bool| outcomes.iter().find(|outcome| is_it(outcome.policy.trim()));
    let fixed = find(&|policy| policy == "fixed:10m");
    let hybrid = find(&|policy| policy == "hybrid").or_else(|| find(&|policy| policy.starts_with("hybrid:")));
    let (Some(fixed), Some(hybrid)) = (fixed, hybrid) else { return String::new() };
    let row = |what: &str, part: f64, whole: f64, published: f64| {
        let here = (whole > 0.0).then(|| part / whole);
        let is_alike = here.map(|here| (published / RATIO..=published * RATIO).contains(&here));
        let here = here.map_or("–".to_owned(), |here| format!("{here:.2} ×"));
        vec![what.to_owned(), here, format!("{published} ×"), format!("×{RATIO}"), mark(is_alike).to_owned()]
    };
    let rows = [
        row(
            "cold starts of the 75th-percentile app, fixed over hybrid",
            fixed.cold_percent_p75,
            hybrid.cold_percent_p75,
            FIXED_OVER_HYBRID,
        ),
        row("idle memory, hybrid over fixed", hybrid.idle_gb_hours, fixed.idle_gb_hours, 1.0),
    ];
    let name = escape(&hybrid.policy);
    format!(
        "<h3>The paper's claim</h3>\n<p>“Serverless in the Wild” reports that a fixed keep-alive of 10 minutes has about \
         {FIXED_OVER_HYBRID} times the cold starts of the hybrid policy at the 75th-percentile app, with the same idle \
         memory. Here, <code>fixed:10m</code> and <code>{name}</code>:</p>\n{}",
        table(&["what", "here", "paper", "tolerance", ""], &rows)
    )
}
