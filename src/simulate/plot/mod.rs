//! Pictures of what policies would have cost.

pub(crate) mod axis;
pub(crate) mod bars;
pub(crate) mod chart;
mod label;
mod svg;
#[cfg(test)]
mod tests;

use std::path::Path;

use axis::Axis;
use chart::{Chart, Line, Look, Spot};

pub use svg::Picture;

use super::{Distribution, Outcome};
use crate::html;

/// Beyond this ratio of the greatest to the least figure, an axis is logarithmic.
const WIDE: f64 = 30.0;

/// Style of pages, beside that of pictures.
pub(crate) const PAGE_STYLE: &str = include_str!("page.css");

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to show.
    #[error("there is no picture of no policies: expected what at least one would have cost")]
    Nothing,
    /// The file's ending says nothing.
    #[error("file '{path}' {found}: expected .svg for a picture or .html for a page")]
    Ending {
        /// The file.
        path: String,
        /// What was found of an ending.
        found: String,
    },
    /// The file can't be written.
    #[error("file '{path}' can't be written: {source}; check the folder and its permissions")]
    Unwritable {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// What a trade-off weighs against idle memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// All cold starts: every invocation counts the same.
    ColdStarts,
    /// Cold starts of the 75th-percentile app in percent of its invocations: every app counts the same.
    ColdPercentP75,
}

impl Measure {
    /// What these policies were asked to weigh: apps where one of them says `weight=app`, otherwise invocations.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let is_by_app = |outcome: &Outcome| outcome.policy.replace(' ', "").contains("weight=app");
        if outcomes.iter().any(is_by_app) { Measure::ColdPercentP75 } else { Measure::ColdStarts }
    }

    fn take(self, outcome: &Outcome) -> f64 {
        match self {
            Measure::ColdStarts => outcome.cold_starts as f64,
            Measure::ColdPercentP75 => outcome.cold_percent_p75,
        }
    }
}

/// Lines `(name, [(x, y)])` over one pair of linear axes from 0, such as a figure over time.
pub fn lines(title: &str, x: &str, y: &str, lines: &[(String, Vec<(f64, f64)>)]) -> Picture {
    let most = |of: fn(&(f64, f64)) -> f64| lines.iter().flat_map(|(_, points)| points).map(of).fold(0.0, f64::max);
    let mut chart = Chart::new(title, Axis::linear(x, most(|point| point.0)), Axis::linear(y, most(|point| point.1)));
    chart.lines = lines
        .iter()
        .enumerate()
        .map(|(i, (name, points))| Line { name: name.clone(), points: points.clone(), look: Look::Own(i) })
        .collect();
    chart.picture()
}

/// Distributions `(name, values)` of what is at least `least`, on a logarithmic axis; y is percent of the values.
pub fn distributions(title: &str, x: &str, least: f64, of: &[(String, Vec<f64>)]) -> Picture {
    let most = of.iter().flat_map(|(_, values)| values).copied().fold(least, f64::max);
    let mut chart = Chart::new(title, Axis::log(x, least, most), Axis::percent("share at most so large"));
    for (i, (name, values)) in of.iter().enumerate() {
        chart.add_steps(name, &Distribution::new(values.clone()).steps(), Look::Own(i));
    }
    chart.picture()
}

/// How cold starts are distributed over apps, as in "Serverless in the Wild" (Shahrad et al., ATC 2020, §5): x is cold
/// starts of an app in percent of its invocations, y percent of apps, one line a policy.
///
/// # Errors
/// Without outcomes.
pub fn cold_start_cdf(outcomes: &[Outcome]) -> Result<Picture, Error> {
    if outcomes.is_empty() {
        return Err(Error::Nothing);
    }
    let x = Axis::percent("cold starts of an app, % of its invocations");
    let mut chart = Chart::new("Cold starts by app", x, Axis::percent("apps, %"));
    chart.y_guides = vec![(75.0, "75 % of apps")];
    for (number, outcome) in outcomes.iter().enumerate() {
        let steps = Distribution::new(outcome.cold_percents.clone()).steps();
        chart.add_steps(&outcome.policy, &steps, Look::Own(number));
    }
    Ok(chart.picture())
}

/// Cold starts against idle memory, GB·h: every policy a labelled point. Policies of the family `frontier` are joined by
/// a curve in the order of their idle memory.
///
/// # Errors
/// Without outcomes.
pub fn trade_off(outcomes: &[Outcome], measure: Measure) -> Result<Picture, Error> {
    if outcomes.is_empty() {
        return Err(Error::Nothing);
    }
    let (title, cold) = match measure {
        Measure::ColdStarts => ("Cold starts against idle memory", "cold starts"),
        Measure::ColdPercentP75 => {
            ("Cold starts of the 75th-percentile app against idle memory", "cold starts of that app, %")
        }
    };
    let x = axis("idle memory, GB·h", outcomes.iter().map(|outcome| outcome.idle_gb_hours));
    let y = axis(cold, outcomes.iter().map(|outcome| measure.take(outcome)));
    // More than all invocations of an app can't be cold.
    let y = if measure == Measure::ColdPercentP75 && y.to > 100.0 { Axis::percent(cold) } else { y };
    let mut chart = Chart::new(title, x, y);
    let at = |outcome: &Outcome| (outcome.idle_gb_hours, measure.take(outcome));
    let mut frontier: Vec<_> = outcomes.iter().filter(|outcome| family(outcome) == "frontier").map(at).collect();
    frontier.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let has_curve = frontier.len() > 1;
    if has_curve {
        chart.lines.push(Line { name: "frontier, by price".to_owned(), points: frontier, look: Look::Published });
    }
    chart.spots = outcomes
        .iter()
        .enumerate()
        .map(|(number, outcome)| Spot {
            at: at(outcome),
            label: match outcome.policy.split_once(':') {
                Some((_, parameters)) if has_curve && family(outcome) == "frontier" => parameters.to_owned(),
                _ => outcome.policy.clone(),
            },
            hint: format!(
                "{}: {} cold starts, 75th-percentile app {:.1} %, {:.2} GB·h idle",
                outcome.policy, outcome.cold_starts, outcome.cold_percent_p75, outcome.idle_gb_hours
            ),
            colour: number,
        })
        .collect();
    Ok(chart.picture())
}

fn family(outcome: &Outcome) -> &str {
    outcome.policy.split(':').next().unwrap_or_default().trim()
}

/// An axis for figures that may lie close together or orders of magnitude apart.
fn axis(title: &str, figures: impl Iterator<Item = f64> + Clone) -> Axis {
    let most = figures.clone().fold(0.0, f64::max);
    let least = figures.fold(f64::INFINITY, f64::min);
    if least > 0.0 && most / least > WIDE {
        Axis::log(&format!("{title} (log scale)"), least, most)
    } else {
        // Some air above, so that no point sticks to the frame.
        Axis::linear(title, most * 1.04)
    }
}

/// A page with pictures and the figures behind them. `title` is text.
pub fn page(title: &str, pictures: &[Picture], outcomes: &[Outcome]) -> String {
    let pictures: String = pictures.iter().map(|one| format!("<figure>\n{}</figure>\n", one.inline())).collect();
    let body = format!("<main>\n<h1>{}</h1>\n{pictures}{}</main>\n", html::escape(title), table(outcomes));
    html::page(title, &(PAGE_STYLE.to_owned() + Picture::style()), &body)
}

/// What each policy would have cost, as a table of a page.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let header = [
        "policy",
        "cold starts",
        "cold, % of invocations",
        "median app, %",
        "75th-percentile app, %",
        "90th, %",
        "always cold apps",
        "idle memory, GB·h",
    ];
    let rows: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            vec![
                outcome.policy.clone(),
                outcome.cold_starts.to_string(),
                format!("{:.3}", 100.0 * outcome.cold_starts as f64 / outcome.invocations.max(1) as f64),
                format!("{:.2}", outcome.cold_percent_p50),
                format!("{:.2}", outcome.cold_percent_p75),
                format!("{:.2}", outcome.cold_percent_p90),
                outcome.always_cold_apps.to_string(),
                format!("{:.2}", outcome.idle_gb_hours),
            ]
        })
        .collect();
    html::table(&header, &rows)
}

/// Writes both pictures: one below the other into a `.svg`, or as a page with a table into a `.html`.
///
/// # Errors
/// Without outcomes, for another ending (see [`check`]), or if the file can't be written.
pub fn write(path: &Path, outcomes: &[Outcome]) -> Result<(), Error> {
    let kind = check(path)?;
    let pictures = [cold_start_cdf(outcomes)?, trade_off(outcomes, Measure::of(outcomes))?];
    let title = "What policies would have cost";
    let text = match kind {
        Kind::Svg => Picture::stacked(title, &pictures).file(),
        Kind::Html => page(title, &pictures, outcomes),
    };
    std::fs::write(path, text).map_err(|source| Error::Unwritable { path: path.display().to_string(), source })
}

/// What a file is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A picture.
    Svg,
    /// A page.
    Html,
}

/// What the file is to hold, by its ending: to be asked before a long simulation, rather than after it.
///
/// # Errors
/// For an ending that is neither `.svg` nor `.html`, and for a folder that is not there.
pub fn check(path: &Path) -> Result<Kind, Error> {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    let shown = path.display().to_string();
    let kind = match ending.as_deref() {
        Some("svg") => Kind::Svg,
        Some("html" | "htm") => Kind::Html,
        Some(other) => return Err(Error::Ending { path: shown, found: format!("ends in '.{other}'") }),
        None => return Err(Error::Ending { path: shown, found: "has no ending".to_owned() }),
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.map_or(Ok(()), |folder| std::fs::metadata(folder).map(drop)) {
        Ok(()) => Ok(kind),
        Err(source) => Err(Error::Unwritable { path: shown, source }),
    }
}
