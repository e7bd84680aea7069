//! The hybrid histogram policy of "Serverless in the Wild" (Shahrad et al., ATC 2020, §4.2).

use smallvec::smallvec;

use crate::config::show_ms;
use crate::model::{Regime, Window};
use crate::state::{AppState, Shape};

use super::{Plan, shrink_ms};

/// Parameters, with the paper's values as defaults. Where the paper forecasts (more than half of the idle times out of
/// bounds), this version uses the standard keep-alive.
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
        }
    }
}

impl Hybrid {
    pub(super) fn shape(&self) -> Shape {
        Shape { bin_ms: self.bin_ms, bins: (self.range_ms / self.bin_ms).max(1) as usize }
    }

    pub(super) fn plan(&self, app: &AppState) -> Plan {
        let regime = self.regime(app);
        let window = match regime {
            Regime::Histogram => self.window(app),
            _ => None,
        };
        Plan { regime, windows: smallvec![window.unwrap_or(Window::keep_alive(self.shape().range_ms()))] }
    }

    fn regime(&self, app: &AppState) -> Regime {
        let idle = &app.idle;
        if idle.total() < self.min_idle_times {
            return Regime::Learning;
        }
        let mostly_out_of_bounds = f64::from(idle.out_of_bounds()) > self.max_out_of_bounds * idle.total() as f64;
        if mostly_out_of_bounds || idle.coefficient_of_variation(self.shape()) < self.min_cv {
            return Regime::Standard;
        }
        Regime::Histogram
    }

    fn window(&self, app: &AppState) -> Option<Window> {
        let (head, tail) = app.idle.bins_at(self.head, self.tail)?;
        let head_ms = (head as i64 * self.bin_ms) as f64;
        let tail_ms = ((tail as i64 + 1) * self.bin_ms) as f64;
        Some(Window {
            from_ms: (head_ms * (1.0 - self.margin)).round() as i64,
            until_ms: (tail_ms * (1.0 + self.margin)).round() as i64,
        })
    }

    pub(super) fn reason(&self, app: &AppState, plan: &Plan) -> String {
        let idle = &app.idle;
        let range = show_ms(self.shape().range_ms());
        match (plan.regime, plan.windows.first()) {
            (Regime::Histogram, Some(window)) => format!(
                "{:.0} to {:.0} % of {} idle times call for staying loaded from {} to {} after an execution",
                self.head * 100.0,
                self.tail * 100.0,
                idle.in_bounds(),
                show_ms(window.from_ms),
                show_ms(window.until_ms),
            ),
            (Regime::Learning, _) => format!(
                "{} idle times are known, {} are needed: standard keep-alive of {range}",
                idle.total(),
                self.min_idle_times
            ),
            _ if f64::from(idle.out_of_bounds()) > self.max_out_of_bounds * idle.total() as f64 => {
                format!(
                    "{} of {} idle times are {range} or longer: standard keep-alive of {range}",
                    idle.out_of_bounds(),
                    idle.total()
                )
            }
            _ => format!(
                "{} idle times without a clear shape (variation {:.1}, {} is needed): standard keep-alive of {range}",
                idle.total(),
                idle.coefficient_of_variation(self.shape()),
                self.min_cv
            ),
        }
    }

    pub(super) fn sped_up(self, speed: f64) -> Self {
        let bins = self.range_ms / self.bin_ms;
        let bin_ms = shrink_ms(self.bin_ms, speed);
        Self { bin_ms, range_ms: bin_ms * bins, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Invocation;

    const MINUTE: i64 = 60_000;

    /// The plan for an app that was idle for these times, in minutes.
    fn plan(idle_minutes: &[f64]) -> Plan {
        let hybrid = Hybrid::default();
        let invocation = |started_at_ms: i64| Invocation::new("a", "f", started_at_ms, 0.0);
        let mut now_ms = 0;
        let mut app = AppState::first(&invocation(now_ms));
        for minutes in idle_minutes {
            now_ms += (minutes * MINUTE as f64) as i64;
            app.apply(&invocation(now_ms), hybrid.shape());
        }
        hybrid.plan(&app)
    }

    fn keep_alive(regime: Regime, minutes: i64) -> Plan {
        Plan { regime, windows: smallvec![Window::keep_alive(minutes * MINUTE)] }
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
        assert_eq!(plan(&[3.5; 10]), Plan { regime: Regime::Histogram, windows: smallvec![window] });
    }

    #[test]
    fn head_zero_means_loaded_from_zero() {
        let window = Window { from_ms: 0, until_ms: 66_000 };
        assert_eq!(plan(&[0.5; 10]), Plan { regime: Regime::Histogram, windows: smallvec![window] });
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
        assert_eq!(plan(&idle).regime, Regime::Histogram, "half is not more than half");
        idle.push(300.0);
        assert_eq!(plan(&idle), keep_alive(Regime::Standard, 240));
    }
}
