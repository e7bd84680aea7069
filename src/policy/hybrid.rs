//! The hybrid histogram policy of "Serverless in the Wild" (Shahrad et al., ATC 2020, §4.2).

use smallvec::smallvec;

use crate::config::show_ms;
use crate::forecast::Forecast;
use crate::model::{Regime, Window};
use crate::state::{Arrivals, Kept, Shape};

use super::{FADE_PER_DAY, MINUTE_MS, Plan, shrink_ms};

/// Idle times that a forecast looks at.
const SERIES: usize = 60;

/// Parameters, with the paper's values as defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Hybrid {
    /// Width of a histogram bin, ms.
    pub bin_ms: i64,
    /// Range of the histogram, ms; also the standard keep-alive.
    pub range_ms: i64,
    /// Share of the idle times in bounds that the head leaves out, 0 to 1.
    pub head: f64,
    /// Share of the idle times in bounds at which the tail ends, 0 to 1.
    pub tail: f64,
    /// How much earlier than the head and later than the tail the window reaches, as a share of each.
    pub margin: f64,
    /// Idle times needed before the histogram counts.
    pub min_idle_times: u64,
    /// The coefficient of variation of the bin counts that makes a histogram representative.
    pub min_cv: f64,
    /// The share of idle times out of bounds past which the histogram says nothing, 0 to 1.
    pub max_out_of_bounds: f64,
    /// Whether to forecast the next idle time of apps that the histogram says nothing of; else they get the standard
    /// keep-alive.
    pub forecast: bool,
    /// How much earlier and later than the forecast the window reaches, as a share of it.
    pub forecast_margin: f64,
    /// How long before the window the app is loaded, ms. The paper's production version takes 90 s.
    pub lead_ms: i64,
    pub(super) minute_ms: i64,
}

impl Default for Hybrid {
    fn default() -> Self {
        Self {
            bin_ms: 60_000,
            range_ms: 240 * 60_000,
            head: 0.05,
            tail: 0.99,
            margin: 0.1,
            min_idle_times: 10,
            min_cv: 2.0,
            max_out_of_bounds: 0.5,
            forecast: true,
            forecast_margin: 0.15,
            lead_ms: 0,
            minute_ms: MINUTE_MS,
        }
    }
}

impl Hybrid {
    fn shape(&self) -> Shape {
        Shape::Linear { bin_ms: self.bin_ms, bins: (self.range_ms / self.bin_ms).max(1) as usize }
    }

    pub(super) fn kept(&self) -> Kept {
        Kept {
            shape: self.shape(),
            clock: false,
            series: if self.forecast { SERIES } else { 0 },
            activity: false,
            fade_per_day: FADE_PER_DAY,
            minute_ms: self.minute_ms,
        }
    }

    /// Whether the plan needs a forecast of the app's next idle time.
    pub(super) fn wants_forecast(&self, arrivals: &Arrivals) -> bool {
        self.forecast && self.regime(arrivals) == Regime::Forecast
    }

    pub(super) fn plan(&self, arrivals: &Arrivals, forecast: Option<Forecast>) -> Plan {
        let standard = Window::keep_alive(self.shape().range_ms());
        let plan = |regime, window, steady_for: f64| Plan {
            regime,
            windows: smallvec![window],
            // One less, for what rounding may have added.
            steady_for: (steady_for.ceil() - 2.0).clamp(0.0, f64::from(u32::MAX)) as u32,
            rests_on_last_end: false,
        };
        match self.regime(arrivals) {
            Regime::Learning => {
                let missing = self.min_idle_times.saturating_sub(u64::from(arrivals.idle_times));
                plan(Regime::Learning, standard, missing as f64)
            }
            Regime::Forecast => match forecast {
                Some(forecast) => plan(Regime::Forecast, self.around(forecast.point_ms), 0.0),
                None if self.forecast => plan(Regime::Standard, standard, 0.0),
                None => plan(Regime::Standard, standard, self.out_of_bounds_for(arrivals)),
            },
            Regime::Standard => plan(Regime::Standard, standard, self.shapeless_for(arrivals)),
            _ => match arrivals.idle.bins_at(self.head, self.tail) {
                Some((head, tail)) => {
                    let n = arrivals.idle.in_bounds();
                    let cuts = head.steady_for(self.head, n).min(tail.steady_for(self.tail, n));
                    let window = self.between(head.bin, tail.bin);
                    plan(Regime::Histogram, window, cuts.min(self.shaped_for(arrivals)))
                }
                None => plan(Regime::Standard, standard, 0.0),
            },
        }
    }

    fn regime(&self, arrivals: &Arrivals) -> Regime {
        let idle = &arrivals.idle;
        if u64::from(arrivals.idle_times) < self.min_idle_times {
            Regime::Learning
        } else if idle.out_of_bounds() > self.max_out_of_bounds * idle.total() {
            Regime::Forecast
        } else if idle.coefficient_of_variation(self.shape()) < self.min_cv {
            Regime::Standard
        } else {
            Regime::Histogram
        }
    }

    fn between(&self, head: usize, tail: usize) -> Window {
        let head_ms = (head as i64 * self.bin_ms) as f64;
        let tail_ms = ((tail as i64 + 1) * self.bin_ms) as f64;
        Window {
            from_ms: ((head_ms * (1.0 - self.margin)).round() as i64 - self.lead_ms).max(0),
            until_ms: (tail_ms * (1.0 + self.margin)).round() as i64,
        }
    }

    fn around(&self, point_ms: f64) -> Window {
        let until_ms = (point_ms * (1.0 + self.forecast_margin)).round() as i64;
        let from_ms = (point_ms * (1.0 - self.forecast_margin)).round() as i64 - self.lead_ms;
        Window { from_ms: from_ms.clamp(0, until_ms), until_ms }
    }

    /// How many idle times, whatever they are, leave those out of bounds in the majority.
    fn out_of_bounds_for(&self, arrivals: &Arrivals) -> f64 {
        arrivals.idle.out_of_bounds() / self.max_out_of_bounds - arrivals.idle.total()
    }

    /// How many, whatever they are, leave those in bounds in the majority.
    fn in_bounds_for(&self, arrivals: &Arrivals) -> f64 {
        let idle = &arrivals.idle;
        (self.max_out_of_bounds * idle.total() - idle.out_of_bounds()) / (1.0 - self.max_out_of_bounds)
    }

    /// How many leave a histogram representative: the worst are those that add nothing to any bin.
    fn shaped_for(&self, arrivals: &Arrivals) -> f64 {
        let idle = &arrivals.idle;
        let norm = (self.shape().bins() as f64 * idle.sum_of_squares()).sqrt();
        (norm / self.cv_norm() - idle.in_bounds()).min(self.in_bounds_for(arrivals))
    }

    /// How many leave one unrepresentative: the most telling are those in one bin, which holds at most the root of the
    /// sum of squares.
    fn shapeless_for(&self, arrivals: &Arrivals) -> f64 {
        let idle = &arrivals.idle;
        let root_bins = (self.shape().bins() as f64).sqrt();
        let missing = self.cv_norm() * idle.in_bounds() - root_bins * idle.sum_of_squares().sqrt();
        let telling = root_bins - self.cv_norm();
        let shapeless = if telling > 0.0 { missing / telling } else { f64::INFINITY };
        shapeless.min(self.in_bounds_for(arrivals))
    }

    /// The coefficient of variation is `norm of the counts × sqrt(bins) / their sum`, squared, less 1: this is what the
    /// quotient has to reach.
    fn cv_norm(&self) -> f64 {
        (self.min_cv * self.min_cv + 1.0).sqrt()
    }

    pub(super) fn reason(&self, arrivals: &Arrivals, plan: &Plan) -> String {
        let idle = &arrivals.idle;
        let range = show_ms(self.shape().range_ms());
        let out_of_bounds =
            || format!("{:.0} of {:.0} idle times are {range} or longer", idle.out_of_bounds(), idle.total());
        match (plan.regime, plan.windows.first()) {
            (Regime::Histogram, Some(window)) => format!(
                "{:.0} to {:.0} % of {:.0} idle times call for staying loaded from {} to {} after an execution",
                self.head * 100.0,
                self.tail * 100.0,
                idle.in_bounds(),
                show_ms(window.from_ms),
                show_ms(window.until_ms),
            ),
            (Regime::Forecast, Some(window)) => format!(
                "{}; a forecast from the last {} calls for being loaded from {} to {} after an execution",
                out_of_bounds(),
                arrivals.series().len(),
                show_ms(window.from_ms),
                show_ms(window.until_ms),
            ),
            (Regime::Learning, _) => format!(
                "{} idle times are known, {} are needed: standard keep-alive of {range}",
                arrivals.idle_times, self.min_idle_times
            ),
            _ if self.regime(arrivals) == Regime::Forecast => {
                format!("{}: standard keep-alive of {range}", out_of_bounds())
            }
            _ => format!(
                "{:.0} idle times without a clear shape (variation {:.1}, {} is needed): standard keep-alive of {range}",
                idle.total(),
                idle.coefficient_of_variation(self.shape()),
                self.min_cv
            ),
        }
    }

    pub(super) fn sped_up(self, speed: f64) -> Self {
        let bins = self.range_ms / self.bin_ms;
        let bin_ms = shrink_ms(self.bin_ms, speed);
        let lead_ms = (self.lead_ms as f64 / speed).round() as i64;
        Self { bin_ms, range_ms: bin_ms * bins, lead_ms, minute_ms: shrink_ms(MINUTE_MS, speed), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: i64 = 60_000;

    fn arrivals(hybrid: &Hybrid, idle_minutes: &[f64]) -> Arrivals {
        let kept = hybrid.kept();
        let mut now_ms = 0;
        let mut arrivals = Arrivals::first(now_ms, now_ms, 0, None, &kept);
        for minutes in idle_minutes {
            now_ms += (minutes * MINUTE as f64) as i64;
            arrivals.apply(now_ms, now_ms, &kept);
        }
        arrivals
    }

    /// Regime and window for an app that was idle for these times, in minutes.
    fn plan(idle_minutes: &[f64]) -> (Regime, Window) {
        let hybrid = Hybrid::default();
        let plan = hybrid.plan(&arrivals(&hybrid, idle_minutes), None);
        (plan.regime, plan.windows[0])
    }

    fn keep_alive(regime: Regime, minutes: i64) -> (Regime, Window) {
        (regime, Window::keep_alive(minutes * MINUTE))
    }

    #[test]
    fn standard_keep_alive_until_ten_idle_times_are_known() {
        assert_eq!(plan(&[]), keep_alive(Regime::Learning, 240));
        assert_eq!(plan(&[3.5; 9]), keep_alive(Regime::Learning, 240));
    }

    #[test]
    fn a_regular_app_is_unloaded_and_pre_warmed() {
        // All in bin 3: head 3 min, tail 4 min.
        let window = Window { from_ms: 162_000, until_ms: 264_000 };
        assert_eq!(plan(&[3.5; 10]), (Regime::Histogram, window));
    }

    #[test]
    fn head_zero_means_loaded_from_zero() {
        let window = Window { from_ms: 0, until_ms: 66_000 };
        assert_eq!(plan(&[0.5; 10]), (Regime::Histogram, window));
    }

    #[test]
    fn no_shape_no_trust() {
        let spread: Vec<f64> = (0..200).map(f64::from).collect();
        assert_eq!(plan(&spread), keep_alive(Regime::Standard, 240));
    }

    #[test]
    fn mostly_out_of_bounds_is_no_case_for_the_histogram() {
        let mut idle = vec![300.0; 6];
        idle.extend([3.5; 6]);
        assert_eq!(plan(&idle).0, Regime::Histogram, "half is not more than half");
        idle.push(300.0);
        assert_eq!(plan(&idle), keep_alive(Regime::Standard, 240));
    }

    #[test]
    fn a_forecast_is_asked_for_where_the_histogram_says_nothing() {
        let hybrid = Hybrid::default();
        let known = arrivals(&hybrid, &[300.0; 12]);
        assert!(hybrid.wants_forecast(&known) && !hybrid.wants_forecast(&arrivals(&hybrid, &[300.0; 9])));
        let forecast = crate::forecast::forecast(&[18e6; 12]).unwrap();
        let plan = hybrid.plan(&known, Some(forecast));
        assert_eq!(
            (plan.regime, plan.windows[0]),
            (Regime::Forecast, Window { from_ms: 15_300_000, until_ms: 20_700_000 })
        );
        let lead = Hybrid { lead_ms: 90_000, ..Hybrid::default() };
        assert_eq!(lead.plan(&known, Some(forecast)).windows[0].from_ms, 15_210_000);
        assert!(!Hybrid { forecast: false, ..Hybrid::default() }.wants_forecast(&known));
    }

    proptest! {
        #[test]
        fn a_plan_holds_for_as_long_as_it_says(
            known in prop::collection::vec(0_u8..6, 0..200),
            more in prop::collection::vec(0_u8..6, 300),
            spread in 1.0_f64..60.0,
        ) {
            let hybrid = Hybrid { forecast: false, ..Hybrid::default() };
            let minutes = |n: &u8| f64::from(*n) * spread + 0.5;
            let known: Vec<_> = known.iter().map(minutes).collect();
            let mut arrivals = arrivals(&hybrid, &known);
            let before = hybrid.plan(&arrivals, None);
            let kept = hybrid.kept();
            for n in more.iter().take(before.steady_for as usize) {
                let at_ms = arrivals.last_end_ms + (minutes(n) * MINUTE as f64) as i64;
                // A day's end makes plans anew in any case.
                if at_ms >= 24 * 60 * MINUTE {
                    break;
                }
                arrivals.apply(at_ms, at_ms, &kept);
                let plan = hybrid.plan(&arrivals, None);
                prop_assert_eq!((plan.regime, &plan.windows), (before.regime, &before.windows));
            }
        }
    }
}
