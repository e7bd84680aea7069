//! The pictures of a workload, each beside the published one.

use crate::simulate::characterize::published::{
    DURATION_LOG_NORMAL, LOAD_BASE_PERCENT, MEMORY_BURR, Published, Subject,
};
use crate::simulate::characterize::{Characterization, Comparison};
use crate::simulate::plot::Picture;
use crate::simulate::plot::axis::Axis;
use crate::simulate::plot::bars::Bars;
use crate::simulate::plot::chart::{Chart, Line, Look, Marks};

const HERE: Look = Look::Own(0);
const HERE_TOO: Look = Look::Own(1);
const HERE_AS_WELL: Look = Look::Own(2);

/// The pictures of a subject; none where nothing is known.
pub(super) fn of(subject: Subject, workload: &Characterization, rows: &[&Comparison]) -> Vec<Picture> {
    match subject {
        Subject::Triggers => [("functions: ", "Functions by trigger"), ("invocations: ", "Invocations by trigger")]
            .into_iter()
            .filter_map(|(prefix, title)| bars(title, rows, prefix))
            .collect(),
        Subject::Combinations => bars("Apps by combination of triggers", rows, "").into_iter().collect(),
        Subject::Sizes => {
            let classes: Vec<_> = rows.iter().filter(|row| !row.what.contains("invocations")).copied().collect();
            bars("Apps by number of functions", &classes, "").into_iter().collect()
        }
        Subject::Rates => rates(workload, rows).into_iter().collect(),
        Subject::Skew => skew(workload, rows).into_iter().collect(),
        Subject::Arrivals => arrivals(workload, rows).into_iter().collect(),
        Subject::Durations => durations(workload, rows).into_iter().collect(),
        Subject::Memory => memory(workload).into_iter().collect(),
        Subject::Load => load(workload).into_iter().collect(),
    }
}

/// Bars of the rows that begin with `prefix`, in percent.
fn bars(title: &str, rows: &[&Comparison], prefix: &str) -> Option<Picture> {
    let rows: Vec<_> = rows.iter().filter(|row| row.what.starts_with(prefix)).collect();
    if rows.iter().all(|row| row.here.is_none()) {
        return None;
    }
    let has_released = rows.iter().any(|row| matches!(row.published, Published::PaperAndReleased(..)));
    let group = |row: &&&Comparison| {
        let mut values = vec![row.here];
        match row.published {
            Published::One(paper) | Published::Between(paper, _) => values.push(Some(paper)),
            Published::PaperAndReleased(paper, released) => values.extend([Some(paper), Some(released)]),
        }
        (row.what[prefix.len()..].to_owned(), values)
    };
    let mut series = vec!["here", "paper"];
    if has_released {
        series.push("released data");
    }
    let title = format!("{title}, %");
    Some(Bars { title, series, groups: rows.iter().map(group).collect() }.picture())
}

/// The published points of the rows that `belongs` picks.
fn marks(name: &str, rows: &[&Comparison], look: Look, belongs: impl Fn(&str) -> bool) -> Marks {
    let points = rows.iter().filter(|row| belongs(row.what)).filter_map(|row| {
        let (least, most) = row.published.bounds();
        Some((row.at?, least, most, format!("{}: {} % published", row.what, row.published)))
    });
    Marks { name: name.to_owned(), points: points.collect(), look }
}

fn rates(workload: &Characterization, rows: &[&Comparison]) -> Option<Picture> {
    let daily = &workload.population.daily;
    let (least, most) = daily.extremes()?;
    let x = Axis::log("invocations of an app a day, on average (log scale)", least.clamp(1e-3, 0.1), most.max(1e6));
    let mut chart = Chart::new("How often apps are invoked", x, Axis::percent("apps with at most so many"));
    chart.x_guides = vec![(24.0, "1 an hour"), (1_440.0, "1 a minute"), (86_400.0, "1 a second")];
    chart.add_steps("here", &daily.steps(), HERE);
    chart.marks.push(marks("published", rows, Look::Published, |_| true));
    Some(chart.picture())
}

fn skew(workload: &Characterization, rows: &[&Comparison]) -> Option<Picture> {
    let (apps, functions) = (&workload.population.app_skew, &workload.population.function_skew);
    apps.curve.first()?;
    let least = 100.0 / apps.count.max(functions.count) as f64;
    let x = Axis::log("the busiest, % of all (log scale)", least.clamp(1e-3, 0.1), 100.0);
    let mut chart = Chart::new("How much the busiest make", x, Axis::percent("invocations"));
    for (name, skew, look) in [("apps", apps, HERE), ("functions", functions, HERE_TOO)] {
        chart.lines.push(Line { name: format!("{name}, here"), points: skew.curve.clone(), look });
        chart.marks.push(marks(&format!("{name}, published"), rows, look, |what| what.ends_with(name)));
    }
    Some(chart.picture())
}

fn arrivals(workload: &Characterization, rows: &[&Comparison]) -> Option<Picture> {
    let arrivals = &workload.arrivals;
    arrivals.all.extremes()?;
    let x = Axis::linear("coefficient of variation: 0 is a clock, 1 chance, more is bursts", 10.0);
    let mut chart =
        Chart::new("Times between an app's invocations", x, Axis::percent("apps that vary at most so much"));
    let all = [
        ("all apps", &arrivals.all, HERE),
        ("no timers", &arrivals.no_timers, HERE_TOO),
        ("only timers", &arrivals.only_timers, HERE_AS_WELL),
    ];
    for (name, found, look) in all {
        if found.count() > 0 {
            chart.add_steps(name, &found.steps(), look);
        }
        chart.marks.push(marks("", rows, look, |what| what.starts_with(name)));
    }
    // All published points look alike but for their colour, which the lines explain.
    chart.marks.push(Marks { name: "published".to_owned(), points: Vec::new(), look: Look::Published });
    Some(chart.picture())
}

fn durations(workload: &Characterization, rows: &[&Comparison]) -> Option<Picture> {
    const TICKS: [(f64, &str); 9] = [
        (1e-4, "0.1 ms"),
        (1e-3, "1 ms"),
        (0.01, "10 ms"),
        (0.1, "0.1 s"),
        (1.0, "1 s"),
        (10.0, "10 s"),
        (60.0, "1 min"),
        (600.0, "10 min"),
        (3_600.0, "1 h"),
    ];
    let found = &workload.executions.durations_s;
    let (least, most) = found.extremes()?;
    let x =
        Axis::log("average execution time of a function (log scale)", least.clamp(1e-4, 1e-3), most.clamp(1e3, 1e5));
    let y = Axis::percent("functions that take at most so long");
    let mut chart = Chart::new("Execution times", x.labelled(&TICKS), y);
    chart.add_steps("here", &found.steps(), HERE);
    let (mean, sigma) = DURATION_LOG_NORMAL;
    let curve = |duration_s: f64| 100.0 * normal_cdf((duration_s.ln() - mean) / sigma);
    chart.add_curve("published log-normal", curve, Look::Published);
    chart.marks.push(marks("published plot", rows, Look::Published, |_| true));
    Some(chart.picture())
}

fn memory(workload: &Characterization) -> Option<Picture> {
    let found = &workload.executions.memory_mb;
    let most = found.percentile(99.0)?.clamp(400.0, 4_000.0);
    let x = Axis::linear("memory of an app, MB", most);
    let mut chart = Chart::new("Memory", x, Axis::percent("apps that take at most so much"));
    chart.add_steps("here", &found.steps(), HERE);
    let (c, k, scale) = MEMORY_BURR;
    let curve = |memory_mb: f64| 100.0 * (1.0 - (1.0 + (memory_mb / scale).powf(c)).powf(-k));
    chart.add_curve("published Burr", curve, Look::Published);
    Some(chart.picture())
}

fn load(workload: &Characterization) -> Option<Picture> {
    let points = workload.load.relative();
    let (first, last) = (points.first()?.0, points.last()?.0 + 1.0);
    // Days are what a reader of weeks looks for.
    let (unit, title) = if last - first > 72.0 { (24.0, "day") } else { (1.0, "hour, from the first day's midnight") };
    let x = Axis::between(title, first / unit, last / unit);
    let mut chart = Chart::new("Load over time, by hour", x, Axis::percent("invocations, of the busiest hour's"));
    let steps = points.iter().flat_map(|(hour, percent)| [(hour / unit, *percent), ((hour + 1.0) / unit, *percent)]);
    chart.lines.push(Line { name: "here".to_owned(), points: steps.collect(), look: HERE });
    let base = |x: f64| (x, LOAD_BASE_PERCENT);
    let name = "published: the quietest hour is about half of the busiest one".to_owned();
    chart.lines.push(Line { name, points: [first / unit, last / unit].map(base).into(), look: Look::Published });
    Some(chart.picture())
}

/// The standard normal distribution (Abramowitz and Stegun, 26.2.17; off by less than 1e-7).
fn normal_cdf(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let terms = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let tail = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * t);
    let tail = tail * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if z < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::normal_cdf;

    #[test]
    fn normal_percentiles() {
        for (z, share) in [(0.0, 0.5), (1.0, 0.841_344_7), (-1.959_964, 0.025), (3.0, 0.998_650_1), (-9.0, 0.0)] {
            assert!((normal_cdf(z) - share).abs() < 1e-6, "{z}");
        }
    }
}
