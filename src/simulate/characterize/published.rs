//! The published figures: "Serverless in the Wild" (Shahrad et al., USENIX ATC 2020), and those that its authors published
//! with the released data set, which leaves some apps out. All stand in [`TARGETS`], each with how far a workload may be
//! from it and still count as alike.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Characterization;

/// A subject of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Functions and invocations by trigger.
    Triggers,
    /// Apps by combination of triggers.
    Combinations,
    /// Functions per app.
    Sizes,
    /// How often apps are invoked.
    Rates,
    /// What the busiest make.
    Skew,
    /// Times between invocations.
    Arrivals,
    /// Execution times.
    Durations,
    /// Memory.
    Memory,
    /// Load over time.
    Load,
}

/// A published value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Published {
    /// One value.
    One(f64),
    /// The paper's, and that of the released data.
    PaperAndReleased(f64, f64),
    /// Read off a plot, or stated as a range.
    Between(f64, f64),
}

/// How far a value may be from the published one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// So much more or less, in the value's own unit.
    Points(f64),
    /// So many times as much, or one so-manieth.
    Factor(f64),
}

/// What a value is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Percent; differences are percentage points.
    Percent,
    /// MB.
    Megabytes,
    /// No unit.
    Number,
}

/// A published figure, and how to take the same from a workload.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Where it belongs.
    pub subject: Subject,
    /// What it is.
    pub what: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// The published value.
    pub published: Published,
    /// What still counts as alike.
    pub tolerance: Tolerance,
    /// Section, figure or data set.
    pub source: &'static str,
    /// For a point of a distribution: at which value it lies.
    pub at: Option<f64>,
    /// The workload's value; `None` where it can't be known.
    pub here: fn(&Characterization) -> Option<f64>,
}

/// Execution times, s: log-normal with this mean and standard deviation of the logarithms (§3.4).
pub const DURATION_LOG_NORMAL: (f64, f64) = (-0.38, 2.36);

/// Memory, MB: Burr XII with this c, k and scale (§3.5).
pub const MEMORY_BURR: (f64, f64, f64) = (11.652, 0.221, 107.083);

/// The quietest hour in percent of the busiest one (§3.3).
pub const LOAD_BASE_PERCENT: f64 = 50.0;

/// Cold starts of the 75th-percentile app: a fixed 10-minute keep-alive over the hybrid policy (§5), at about the same
/// idle memory.
pub const FIXED_OVER_HYBRID: f64 = 2.5;

/// Shares of functions, of apps by their triggers, and of apps by their size.
const SHARE: Tolerance = Tolerance::Points(3.0);
/// Shares of invocations: a handful of busy apps decides them.
const INVOCATIONS: Tolerance = Tolerance::Points(10.0);
/// Points of distributions that were read off plots.
const CDF: Tolerance = Tolerance::Points(4.0);
/// What the busiest make.
const SKEW: Tolerance = Tolerance::Points(5.0);
/// Shares below 5 %: of them, 3 points would be too many.
const SMALL: Tolerance = Tolerance::Points(1.5);
/// Shares far below 1 %.
const TINY: Tolerance = Tolerance::Points(0.1);
/// Jumps of a distribution.
const JUMP: Tolerance = Tolerance::Points(2.0);
/// Shares close to 100 %.
const NEARLY_ALL: Tolerance = Tolerance::Points(1.0);
/// Parameters of fitted distributions.
const FIT: Tolerance = Tolerance::Points(0.3);
/// Sizes in MB.
const SIZE: Tolerance = Tolerance::Factor(1.15);

const PER_HOUR: f64 = 24.0;
const PER_MINUTE: f64 = 24.0 * 60.0;
const PER_SECOND: f64 = 24.0 * 3600.0;

/// A coefficient of variation this small is drawn at 0.
const NO_VARIATION: f64 = 0.05;

const SECTION_3_2: &str = "paper, §3.2";
const SECTION_3_2_AND_DATA: &str = "paper, §3.2; released data";
const SECTION_3_3: &str = "paper, §3.3";
const PLOT_3_3: &str = "paper, §3.3, read off a plot";
const PLOT_3_3_AND_DATA: &str = "paper, §3.3, and released data, read off plots";
const PLOT_3_4: &str = "paper, §3.4, read off a plot";
const PLOT_3_4_AND_DATA: &str = "paper, §3.4, and released data, read off plots";
const FIT_3_4: &str = "paper, §3.4, fit";
const FIT_3_5: &str = "paper, §3.5, fit";

/// One row of [`TARGETS`], all in percent.
macro_rules! percent {
    ($subject:ident, $what:literal, $published:expr, $tolerance:ident, $source:ident, $here:expr) => {
        Target {
            subject: Subject::$subject,
            what: $what,
            unit: Unit::Percent,
            published: $published,
            tolerance: $tolerance,
            source: $source,
            at: None,
            here: $here,
        }
    };
}

/// The same for a point of a distribution: `$here` takes the workload and the value at which the point lies.
macro_rules! point {
    ($subject:ident, $what:literal, $at:expr, $published:expr, $tolerance:ident, $source:ident, $here:expr) => {
        Target { at: Some($at), ..percent!($subject, $what, $published, $tolerance, $source, |c| $here(c, $at)) }
    };
}

use Published::{Between, One, PaperAndReleased};

/// All published figures, by subject.
pub const TARGETS: &[Target] = &[
    percent!(Triggers, "functions: HTTP", PaperAndReleased(55.0, 43.3), SHARE, SECTION_3_2_AND_DATA, |c| functions(
        c, "http"
    )),
    percent!(Triggers, "functions: queue", PaperAndReleased(15.2, 15.1), SHARE, SECTION_3_2_AND_DATA, |c| functions(
        c, "queue"
    )),
    percent!(Triggers, "functions: event", PaperAndReleased(2.2, 2.6), SMALL, SECTION_3_2_AND_DATA, |c| functions(
        c, "event"
    )),
    percent!(Triggers, "functions: orchestration", PaperAndReleased(6.9, 8.2), SHARE, SECTION_3_2_AND_DATA, |c| {
        functions(c, "orchestration")
    }),
    percent!(Triggers, "functions: timer", PaperAndReleased(15.6, 28.5), SHARE, SECTION_3_2_AND_DATA, |c| functions(
        c, "timer"
    )),
    percent!(Triggers, "functions: storage", PaperAndReleased(2.8, 2.3), SMALL, SECTION_3_2_AND_DATA, |c| functions(
        c, "storage"
    )),
    percent!(Triggers, "functions: other", PaperAndReleased(2.2, 5.7), SMALL, SECTION_3_2_AND_DATA, |c| functions(
        c, "other"
    )),
    percent!(Triggers, "invocations: HTTP", PaperAndReleased(35.9, 22.5), INVOCATIONS, SECTION_3_2_AND_DATA, |c| {
        invocations(c, "http")
    }),
    percent!(Triggers, "invocations: queue", PaperAndReleased(33.5, 42.4), INVOCATIONS, SECTION_3_2_AND_DATA, |c| {
        invocations(c, "queue")
    }),
    percent!(Triggers, "invocations: event", PaperAndReleased(24.7, 30.9), INVOCATIONS, SECTION_3_2_AND_DATA, |c| {
        invocations(c, "event")
    }),
    percent!(Triggers, "invocations: orchestration", PaperAndReleased(2.3, 1.4), SMALL, SECTION_3_2_AND_DATA, |c| {
        invocations(c, "orchestration")
    }),
    percent!(Triggers, "invocations: timer", PaperAndReleased(2.0, 1.8), SMALL, SECTION_3_2_AND_DATA, |c| {
        invocations(c, "timer")
    }),
    percent!(Triggers, "invocations: storage", PaperAndReleased(0.7, 0.8), SMALL, SECTION_3_2_AND_DATA, |c| {
        invocations(c, "storage")
    }),
    percent!(Triggers, "invocations: other", PaperAndReleased(1.0, 0.1), SMALL, SECTION_3_2_AND_DATA, |c| {
        invocations(c, "other")
    }),
    percent!(Combinations, "HTTP", One(43.27), SHARE, SECTION_3_2, |c| apps(c, "http")),
    percent!(Combinations, "timer", One(13.36), SHARE, SECTION_3_2, |c| apps(c, "timer")),
    percent!(Combinations, "queue", One(9.47), SHARE, SECTION_3_2, |c| apps(c, "queue")),
    percent!(Combinations, "HTTP and timer", One(4.59), SMALL, SECTION_3_2, |c| apps(c, "http+timer")),
    percent!(Combinations, "HTTP and queue", One(4.22), SMALL, SECTION_3_2, |c| apps(c, "http+queue")),
    percent!(Combinations, "event", One(3.01), SMALL, SECTION_3_2, |c| apps(c, "event")),
    percent!(Combinations, "storage", One(2.80), SMALL, SECTION_3_2, |c| apps(c, "storage")),
    percent!(Combinations, "timer and queue", One(2.57), SMALL, SECTION_3_2, |c| apps(c, "queue+timer")),
    percent!(Combinations, "HTTP, timer and queue", One(2.48), SMALL, SECTION_3_2, |c| apps(c, "http+queue+timer")),
    percent!(Combinations, "any timer", One(29.15), SHARE, SECTION_3_2, |c| c.triggers.any_timer_percent),
    percent!(Sizes, "1 function", One(54.0), SHARE, SECTION_3_2, |c| size(c, 0)),
    percent!(Sizes, "2", One(16.0), SHARE, SECTION_3_2, |c| size(c, 1)),
    percent!(Sizes, "3", One(10.0), SHARE, SECTION_3_2, |c| size(c, 2)),
    percent!(Sizes, "4-5", One(8.0), SHARE, SECTION_3_2, |c| size(c, 3)),
    percent!(Sizes, "6-10", One(7.0), SHARE, SECTION_3_2, |c| size(c, 4)),
    percent!(Sizes, "11 and more", One(5.0), SHARE, SECTION_3_2, |c| size(c, 5)),
    percent!(Sizes, "over 100", One(0.04), TINY, SECTION_3_2, |c| c.population.over_100_percent),
    percent!(Sizes, "invocations of apps with at most 3", Between(50.0, 59.0), INVOCATIONS, SECTION_3_2, |c| {
        c.population.small_apps_invocations_percent
    }),
    point!(Rates, "apps with at most 1.1 a day", 1.1, PaperAndReleased(22.0, 19.0), CDF, PLOT_3_3_AND_DATA, daily),
    point!(Rates, "at most 10 a day", 10.0, PaperAndReleased(39.0, 36.0), CDF, PLOT_3_3_AND_DATA, daily),
    point!(Rates, "at most 1 an hour", PER_HOUR, One(45.0), CDF, SECTION_3_3, daily),
    point!(Rates, "at most 108 a day", 108.0, PaperAndReleased(56.0, 53.0), CDF, PLOT_3_3_AND_DATA, daily),
    point!(Rates, "at most 1,000 a day", 1_000.0, PaperAndReleased(79.0, 78.0), CDF, PLOT_3_3_AND_DATA, daily),
    point!(Rates, "at most 1 a minute", PER_MINUTE, One(81.0), CDF, SECTION_3_3, daily),
    point!(Rates, "at most 10,000 a day", 10_000.0, Between(92.0, 93.0), CDF, PLOT_3_3_AND_DATA, daily),
    point!(Rates, "at most 1 a second", PER_SECOND, Between(97.0, 98.0), CDF, PLOT_3_3_AND_DATA, daily),
    percent!(Rates, "above 1 a second", One(3.0), SMALL, SECTION_3_3, |c| Some(100.0 - daily(c, PER_SECOND)?)),
    percent!(Rates, "at 1 in 5 minutes (a jump)", One(4.0), JUMP, PLOT_3_3_AND_DATA, |c| c
        .population
        .at_daily(PER_MINUTE / 5.0)),
    percent!(Rates, "at 1 a minute (a jump)", One(4.0), JUMP, PLOT_3_3_AND_DATA, |c| c.population.at_daily(PER_MINUTE)),
    percent!(Rates, "invocations of apps above 1 a minute", One(99.6), NEARLY_ALL, SECTION_3_3, |c| {
        c.population.busy_apps_invocations_percent
    }),
    percent!(Rates, "timer functions at most 1 a minute", One(95.0), SHARE, SECTION_3_3, |c| c
        .triggers
        .slow_timers_percent),
    Target {
        subject: Subject::Rates,
        what: "orders of magnitude, rarest to busiest",
        unit: Unit::Number,
        published: One(8.0),
        tolerance: Tolerance::Points(1.0),
        source: SECTION_3_3,
        at: None,
        here: |c| c.population.orders_of_magnitude(),
    },
    point!(Skew, "invocations of the top 0.1 % of apps", 0.1, Between(52.0, 61.0), SKEW, PLOT_3_3_AND_DATA, top_apps),
    point!(Skew, "top 1 % of apps", 1.0, Between(86.0, 89.0), SKEW, PLOT_3_3_AND_DATA, top_apps),
    point!(Skew, "top 10 % of apps", 10.0, One(99.0), NEARLY_ALL, PLOT_3_3_AND_DATA, top_apps),
    point!(Skew, "top 0.1 % of functions", 0.1, Between(63.0, 70.0), SKEW, PLOT_3_3_AND_DATA, top_functions),
    point!(Skew, "top 1 % of functions", 1.0, Between(91.0, 93.0), SKEW, PLOT_3_3_AND_DATA, top_functions),
    point!(Skew, "top 10 % of functions", 10.0, One(99.5), NEARLY_ALL, PLOT_3_3_AND_DATA, top_functions),
    point!(Arrivals, "all apps: about 0", NO_VARIATION, One(20.0), CDF, PLOT_3_3, all),
    point!(Arrivals, "all apps: at most 0.5", 0.5, One(44.0), CDF, PLOT_3_3, all),
    point!(Arrivals, "all apps: at most 1", 1.0, One(57.0), CDF, PLOT_3_3, all),
    point!(Arrivals, "all apps: at most 2", 2.0, One(71.0), CDF, PLOT_3_3, all),
    point!(Arrivals, "all apps: at most 4", 4.0, One(85.0), CDF, PLOT_3_3, all),
    point!(Arrivals, "all apps: at most 10", 10.0, One(94.5), CDF, PLOT_3_3, all),
    point!(Arrivals, "no timers: about 0", NO_VARIATION, One(11.0), CDF, PLOT_3_3, no_timers),
    point!(Arrivals, "no timers: at most 0.5", 0.5, One(22.0), CDF, PLOT_3_3, no_timers),
    point!(Arrivals, "no timers: at most 1", 1.0, One(35.0), CDF, PLOT_3_3, no_timers),
    point!(Arrivals, "no timers: at most 2", 2.0, One(54.0), CDF, PLOT_3_3, no_timers),
    point!(Arrivals, "no timers: at most 4", 4.0, One(76.0), CDF, PLOT_3_3, no_timers),
    point!(Arrivals, "no timers: at most 10", 10.0, One(91.0), CDF, PLOT_3_3, no_timers),
    point!(Arrivals, "only timers: about 0", NO_VARIATION, One(45.0), CDF, PLOT_3_3, only_timers),
    point!(Arrivals, "only timers: at most 0.5", 0.5, One(83.0), CDF, PLOT_3_3, only_timers),
    point!(Arrivals, "only timers: at most 1", 1.0, One(93.0), CDF, PLOT_3_3, only_timers),
    point!(Arrivals, "only timers: at most 2", 2.0, One(98.0), CDF, PLOT_3_3, only_timers),
    point!(Arrivals, "only timers: at most 4", 4.0, One(99.0), CDF, PLOT_3_3, only_timers),
    point!(Arrivals, "only timers: at most 10", 10.0, One(100.0), CDF, PLOT_3_3, only_timers),
    point!(Durations, "functions of at most 0.1 s", 0.1, One(14.0), CDF, PLOT_3_4, executions),
    point!(Durations, "at most 1 s", 1.0, Between(51.0, 54.0), CDF, PLOT_3_4_AND_DATA, executions),
    point!(Durations, "at most 10 s", 10.0, One(84.0), CDF, PLOT_3_4, executions),
    point!(Durations, "at most 60 s", 60.0, One(95.5), CDF, PLOT_3_4, executions),
    Target {
        subject: Subject::Durations,
        what: "log-normal: mean of ln(s)",
        unit: Unit::Number,
        published: One(DURATION_LOG_NORMAL.0),
        tolerance: FIT,
        source: FIT_3_4,
        at: None,
        here: |c| c.executions.durations_s.log_moments().map(|(mean, _)| mean),
    },
    Target {
        subject: Subject::Durations,
        what: "log-normal: sigma",
        unit: Unit::Number,
        published: One(DURATION_LOG_NORMAL.1),
        tolerance: FIT,
        source: FIT_3_4,
        at: None,
        here: |c| c.executions.durations_s.log_moments().map(|(_, sigma)| sigma),
    },
    Target {
        subject: Subject::Memory,
        what: "median app, MB",
        unit: Unit::Megabytes,
        published: One(140.0),
        tolerance: SIZE,
        source: FIT_3_5,
        at: None,
        here: |c| c.executions.memory_mb.percentile(50.0),
    },
    Target {
        subject: Subject::Memory,
        what: "90th-percentile app, MB",
        unit: Unit::Megabytes,
        published: One(262.0),
        tolerance: SIZE,
        source: FIT_3_5,
        at: None,
        here: |c| c.executions.memory_mb.percentile(90.0),
    },
    percent!(Load, "quietest hour, of the busiest", One(LOAD_BASE_PERCENT), INVOCATIONS, SECTION_3_3, |c| c
        .load
        .base_percent()),
];

fn functions(c: &Characterization, trigger: &str) -> Option<f64> {
    c.triggers.share(trigger).map(|share| share.functions_percent)
}

fn invocations(c: &Characterization, trigger: &str) -> Option<f64> {
    c.triggers.share(trigger).map(|share| share.invocations_percent)
}

fn apps(c: &Characterization, triggers: &str) -> Option<f64> {
    c.triggers.combination_percent(triggers)
}

fn size(c: &Characterization, class: usize) -> Option<f64> {
    c.population.sizes_percent.get(class).copied()
}

fn daily(c: &Characterization, limit: f64) -> Option<f64> {
    c.population.at_most_daily(limit)
}

fn top_apps(c: &Characterization, percent: f64) -> Option<f64> {
    c.population.app_skew.top(percent)
}

fn top_functions(c: &Characterization, percent: f64) -> Option<f64> {
    c.population.function_skew.top(percent)
}

fn all(c: &Characterization, limit: f64) -> Option<f64> {
    c.arrivals.all.percent_at_most(limit)
}

fn no_timers(c: &Characterization, limit: f64) -> Option<f64> {
    c.arrivals.no_timers.percent_at_most(limit)
}

fn only_timers(c: &Characterization, limit: f64) -> Option<f64> {
    c.arrivals.only_timers.percent_at_most(limit)
}

fn executions(c: &Characterization, limit_s: f64) -> Option<f64> {
    c.executions.durations_s.percent_at_most(limit_s)
}

impl Published {
    /// The least and the greatest value.
    pub fn bounds(self) -> (f64, f64) {
        match self {
            One(value) => (value, value),
            PaperAndReleased(a, b) | Between(a, b) => (a.min(b), a.max(b)),
        }
    }
}

impl Tolerance {
    /// Whether a value counts as alike. Values on the edge do.
    pub fn allows(self, here: f64, published: Published) -> bool {
        let (least, most) = published.bounds();
        let (least, most) = match self {
            Tolerance::Points(points) => (least - points, most + points),
            Tolerance::Factor(factor) => (least / factor, most * factor),
        };
        (least - 1e-9..=most + 1e-9).contains(&here)
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            One(value) => write!(f, "{value}"),
            PaperAndReleased(paper, released) => write!(f, "{paper} (released {released})"),
            Between(least, most) => write!(f, "{least}–{most}"),
        }
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tolerance::Points(points) => write!(f, "±{points}"),
            Tolerance::Factor(factor) => write!(f, "×{factor}"),
        }
    }
}

impl Serialize for Published {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Tolerance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alike_is_within_the_tolerance_of_the_nearest_published_value() {
        for (here, published, tolerance, expected) in [
            (46.0, PaperAndReleased(55.0, 43.3), SHARE, true),
            (40.3, PaperAndReleased(55.0, 43.3), SHARE, true),
            (40.2, PaperAndReleased(55.0, 43.3), SHARE, false),
            (58.1, PaperAndReleased(55.0, 43.3), SHARE, false),
            (161.0, One(140.0), SIZE, true),
            (121.0, One(140.0), SIZE, false),
            (f64::NAN, One(1.0), SHARE, false),
        ] {
            assert_eq!(tolerance.allows(here, published), expected, "{here} for {published}");
        }
    }

    #[test]
    fn published_shares_add_up() {
        let sum = |prefix: &str, subject: Subject, take: fn(Published) -> f64| -> f64 {
            TARGETS
                .iter()
                .filter(|target| target.subject == subject && target.what.starts_with(prefix))
                .map(|target| take(target.published))
                .sum()
        };
        let paper = |published: Published| match published {
            One(value) | PaperAndReleased(value, _) | Between(value, _) => value,
        };
        let released = |published: Published| match published {
            One(value) | PaperAndReleased(_, value) | Between(_, value) => value,
        };
        for prefix in ["functions: ", "invocations: "] {
            for take in [paper, released] {
                let sum = sum(prefix, Subject::Triggers, take);
                assert!((99.0..=106.0).contains(&sum), "{prefix} {sum}");
            }
        }
    }
}
