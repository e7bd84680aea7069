//! The page: heading, key figures, one section a subject, policies, sources.

use crate::html::{self, escape};
use crate::simulate::characterize::published::{Subject, Unit};
use crate::simulate::characterize::{Characterization, Comparison};
use crate::simulate::plot::{self, Picture};

use super::{Report, alike, figures, policies, questions};

/// Subjects in the order of the page: identifier, heading, and what a reader should know first.
const SECTIONS: [(Subject, &str, &str, &str); 9] = [
    (
        Subject::Triggers,
        "triggers",
        "What causes invocations",
        "A few busy functions make most invocations, so shares of invocations differ from those of functions, and from \
         one workload to the next.",
    ),
    (
        Subject::Combinations,
        "combinations",
        "Which triggers apps combine",
        "An app is loaded as a whole. An app with a timer and something else is harder to foresee than its timer alone.",
    ),
    (Subject::Sizes, "sizes", "How many functions an app has", "Functions of one app keep each other warm."),
    (
        Subject::Rates,
        "rates",
        "How often apps are invoked",
        "Rare apps are where cold starts are. An app that is invoked more than once a minute hardly ever is cold.",
    ),
    (
        Subject::Skew,
        "skew",
        "How much the busiest make",
        "Read: the busiest x % of apps, or of functions, make y % of all invocations.",
    ),
    (
        Subject::Arrivals,
        "arrivals",
        "How regular invocations are",
        "The coefficient of variation of the times between an app's invocations. Regular apps can be loaded just in time. \
         Invocations are counted by minute and taken as evenly spread within one, so bursts shorter than that do not \
         show. Apps with fewer than three invocations are left out.",
    ),
    (
        Subject::Durations,
        "durations",
        "How long executions take",
        "The average of each function. Where executions are as short as this, a cold start of a second dominates.",
    ),
    (Subject::Memory, "memory", "How much memory apps take", "What it costs to keep an app loaded."),
    (Subject::Load, "load", "Load over time", "Invocations of each whole hour, relative to the busiest one."),
];

/// Looks of this page, beside those of all pages.
const STYLE: &str = include_str!("report.css");

/// The page, which needs nothing but itself.
pub fn render(report: &Report<'_>) -> String {
    let sections: String = SECTIONS.iter().map(|one| section(*one, report)).collect();
    let body = format!(
        "<main>\n<header>\n<h1>{title}</h1>\n<p class=\"soft\">{source}. Beside it, the published figures of Azure \
         Functions: “Serverless in the Wild”, 2020.</p>\n</header>\n{tiles}{notes}{contents}{sections}{policies}{busiest}\
         {sources}</main>\n",
        title = escape(report.title),
        source = escape(report.source),
        tiles = tiles(report),
        notes = notes(report.workload),
        contents = contents(report),
        policies = policies::section(report.outcomes) + &questions::of(report.answers, None),
        busiest = busiest(report.workload),
        sources = SOURCES,
    );
    html::page(report.title, &[plot::PAGE_STYLE, Picture::style(), STYLE].concat(), &body)
}

/// Where the published figures are from.
const SOURCES: &str = "<footer>\n<h2>Sources</h2>\n<p>M. Shahrad et al., “Serverless in the Wild: Characterizing and \
    Optimizing the Serverless Workload at a Large Cloud Provider”, USENIX ATC 2020, and figures of its authors on the \
    released data set, Azure Functions Trace 2019, which leaves some apps out. Values read off plots are within about 2 \
    points.</p>\n</footer>\n";

fn tiles(report: &Report<'_>) -> String {
    let workload = report.workload;
    let (alike, all) = alike(report.comparisons, None);
    let tiles = [
        (plain(workload.apps as f64), "apps"),
        (plain(workload.functions as f64), "functions"),
        (plain(workload.invocations as f64), "invocations"),
        (span(workload.days), "observed"),
        (format!("{alike} of {all}"), "figures like the published ones"),
    ];
    let tiles: String = tiles
        .iter()
        .map(|(figure, name)| format!("<div><strong>{}</strong><span>{}</span></div>\n", escape(figure), escape(name)))
        .collect();
    format!("<div class=\"tiles\">\n{tiles}</div>\n")
}

/// What keeps this workload from being compared.
fn notes(workload: &Characterization) -> String {
    let mut notes = vec![
        "<b class=\"like\">✓</b> marks a figure within the tolerance that its row states, <b class=\"unlike\">≠</b> one \
         beyond it: there your workload is another than the published one, which is no fault. Differences in percent are \
         percentage points, counted from the nearest published value."
            .to_owned(),
    ];
    if workload.days < 1.0 {
        notes.push(format!(
            "The trace covers {} only. Daily figures are scaled up from that; apps that are called more rarely can't show, \
             nor can cycles of the day.",
            span(workload.days)
        ));
    } else if workload.days < 7.0 {
        notes.push(format!("The trace covers {}, too little for cycles of the week.", span(workload.days)));
    }
    if workload.triggers.shares.is_empty() && workload.functions > 0 {
        notes.push("The trace does not tell triggers.".to_owned());
    }
    let executions = &workload.executions;
    for (what, known, all, of) in [
        ("execution time", executions.durations_s.count(), workload.functions, "functions"),
        ("memory", executions.memory_mb.count(), workload.apps, "apps"),
    ] {
        if known < all {
            let unknown = plain((all - known) as f64);
            notes.push(format!("The {what} of {unknown} of {} {of} is not known.", plain(all as f64)));
        }
    }
    let items: String = notes.iter().map(|note| format!("<li>{note}</li>\n")).collect();
    format!("<ul class=\"notes\">\n{items}</ul>\n")
}

fn contents(report: &Report<'_>) -> String {
    let mut items: String = SECTIONS
        .iter()
        .map(|(subject, id, heading, _)| {
            let (alike, all) = alike(report.comparisons, Some(*subject));
            let count = if all > 0 { format!("{alike} of {all} alike") } else { "not known".to_owned() };
            format!("<li><a href=\"#{id}\">{heading}</a> <small>{count}</small></li>\n")
        })
        .collect();
    if !report.outcomes.is_empty() {
        items.push_str("<li><a href=\"#policies\">What policies would have cost</a></li>\n");
    }
    items.push_str("<li><a href=\"#busiest\">The busiest apps</a></li>\n");
    format!("<nav aria-label=\"contents\"><ol>\n{items}</ol></nav>\n")
}

fn section((subject, id, heading, lead): (Subject, &str, &str, &str), report: &Report<'_>) -> String {
    let rows: Vec<_> = report.comparisons.iter().filter(|row| row.subject == subject).collect();
    let pictures = figures::of(subject, report.workload, &rows);
    let figures: String = pictures.iter().map(|picture| format!("<figure>\n{}</figure>\n", picture.inline())).collect();
    let is_known = !figures.is_empty() || rows.iter().any(|row| row.here.is_some());
    let (class, content) = if is_known {
        ("subject both", format!("<div>{figures}</div>\n<div>{}</div>\n", comparison_table(&rows)))
    } else {
        ("subject", "<p class=\"soft\">The trace does not tell.</p>\n".to_owned())
    };
    format!(
        "<section id=\"{id}\" class=\"{class}\">\n<div class=\"lead\"><h2>{heading}</h2>\n<p>{lead}</p></div>\n\
         {content}{questions}</section>\n",
        questions = questions::of(report.answers, Some(subject)),
    )
}

/// One row a figure: what, here, published, difference with tolerance, mark.
fn comparison_table(rows: &[&Comparison]) -> String {
    let body: String = rows
        .iter()
        .map(|row| {
            let here = row.here.map_or("–".to_owned(), |here| value(here, row.unit));
            let difference = row.difference.map_or(String::new(), |difference| match difference {
                difference if difference.abs() < 0.005 => "0".to_owned(),
                difference => format!("{}{}", if difference > 0.0 { "+" } else { "−" }, number(difference.abs())),
            });
            let class = match row.is_alike {
                Some(true) => "like",
                Some(false) => "unlike",
                None => "soft",
            };
            format!(
                "<tr title=\"{}\"><th scope=\"row\">{}</th><td>{here}</td><td>{}</td><td>{difference}</td>\
                 <td class=\"soft\">{}</td><td class=\"{class}\">{}</td></tr>\n",
                escape(row.source),
                escape(row.what),
                escape(&row.published.to_string().replace('-', "−")),
                row.tolerance,
                mark(row.is_alike),
            )
        })
        .collect();
    let unit = match rows.first().map(|row| row.unit) {
        Some(Unit::Percent) => "%",
        _ => "",
    };
    let mut sources: Vec<&str> = rows.iter().map(|row| row.source).collect();
    sources.dedup();
    sources.sort_unstable();
    sources.dedup();
    format!(
        "<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">{unit}</th><th scope=\"col\">here</th>\
         <th scope=\"col\">published</th><th scope=\"col\">difference</th><th scope=\"col\">tolerance</th>\
         <th scope=\"col\"><span class=\"hidden\">alike</span></th></tr></thead>\n\
         <tbody>\n{body}</tbody>\n</table></div>\n<p class=\"source\">Published: {}.</p>\n",
        escape(&sources.join(" · "))
    )
}

/// Whether a figure is alike, in one character with a name for those who can't see it.
pub(super) fn mark(is_alike: Option<bool>) -> &'static str {
    match is_alike {
        Some(true) => "✓",
        Some(false) => "≠",
        None => "",
    }
}

fn busiest(workload: &Characterization) -> String {
    let rows: Vec<_> = workload
        .busiest
        .iter()
        .map(|app| {
            vec![
                app.name.to_string(),
                plain(app.invocations as f64),
                format!("{:.2}", 100.0 * app.invocations as f64 / workload.invocations.max(1) as f64),
                app.functions.to_string(),
                if app.triggers.is_empty() { "–".to_owned() } else { app.triggers.replace('+', " + ") },
                app.cv.map_or("–".to_owned(), |cv| format!("{cv:.2}")),
                app.memory_mb.map_or("–".to_owned(), |memory_mb| format!("{memory_mb:.0}")),
            ]
        })
        .collect();
    let header = ["app", "invocations", "% of all", "functions", "triggers", "variation", "memory, MB"];
    format!(
        "<section id=\"busiest\" class=\"names\">\n<h2>The busiest apps</h2>\n{}</section>\n",
        html::table(&header, &rows)
    )
}

fn value(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Megabytes => format!("{value:.0}"),
        Unit::Percent | Unit::Number => number(value).replace('-', "−"),
    }
}

/// As many digits as say something.
fn number(value: f64) -> String {
    match value.abs() {
        size if (99.0..99.995).contains(&size) => format!("{value:.2}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A whole number, thousands apart.
fn plain(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn span(days: f64) -> String {
    match days {
        days if days >= 2.0 => format!("{} days", number(days).trim_end_matches('0').trim_end_matches('.')),
        days if days * 24.0 >= 1.0 => {
            format!("{} hours", number(days * 24.0).trim_end_matches('0').trim_end_matches('.'))
        }
        days => format!("{:.0} minutes", days * 24.0 * 60.0),
    }
}
