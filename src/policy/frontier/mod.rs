//! frontier: stay loaded exactly where that is expected to save more than it costs, at the price that the operator puts
//! on a cold start.
//!
//! Let `c` be the worth of one avoided cold start in MB·s, `m` the app's memory in MB, `q_k` the chance that the next
//! idle time lies in bin `k` of width `w_k`, and `S_k` the chance that it lasts until the middle of that bin at least.
//! Being loaded during bin `k` gains `c·q_k - m·w_k·S_k`; the windows are the set of intervals with the largest sum of
//! gains, less the cost of loading the app anew for each window that does not begin at once.
//!
//! [`prediction`] says where the next idle time lies, [`priors`] what an app's history can't say, [`windows`] what
//! follows.

mod along;
mod prediction;
mod priors;
mod windows;

pub use prediction::Bins;
pub use priors::{Lesson, Priors};

use crate::config::show_ms;
use crate::model::Regime;
use crate::state::{Arrivals, Kept, Look};

use super::budget::Target;
use super::{FADE_PER_DAY, MINUTE_MS, Plan, shrink_ms};

/// Bins up to 50 hours.
const BINS: usize = 230;
/// Guesses about news.
const KEPT_NEWS: usize = 4;
/// Width of the first bins, ms.
const UNIT_MS: i64 = 1000;
/// Loading an app costs its memory for so long, s.
const RELOAD_S: f32 = 5.0;
/// A plan holds until the idle times known have grown by one part in so many; once a few hundred are known, by four.
const GROWTH: u32 = 64;
const WELL_KNOWN: u32 = 256;
/// Whose cold starts count alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Every invocation: the total of cold starts counts.
    Invocation,
    /// Every app: a cold start of an app that is rarely called weighs more, in proportion to its mean idle time.
    App,
}

/// Parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Frontier {
    /// Worth of one avoided cold start, MB·s; with a target, until it is first solved for.
    pub price_mb_s: f64,
    /// What to solve the price for; without it, the price is as it is.
    pub target: Option<Target>,
    /// Whose cold starts count alike.
    pub weight: Weight,
    pub(super) bins: Box<Bins>,
}

impl Default for Frontier {
    /// The price is what keeping an app of 170 MB loaded for 10 minutes costs: what platforms pay for the chance to
    /// avoid one.
    fn default() -> Self {
        Self {
            price_mb_s: 100.0 * 1024.0,
            target: None,
            weight: Weight::Invocation,
            bins: Box::new(Bins::new(UNIT_MS, MINUTE_MS)),
        }
    }
}

impl Frontier {
    pub(super) fn kept(&self) -> Kept {
        let Bins { shape, minute_ms, .. } = *self.bins;
        Kept { shape, clock: true, series: 0, activity: self.target.is_some(), fade_per_day: FADE_PER_DAY, minute_ms }
    }

    /// What `times` idle times like `look` of an app in the state `arrivals` teach: see [`Lesson::of`].
    pub(super) fn lesson(&self, arrivals: &Arrivals, look: &Look, times: u32) -> Option<Lesson> {
        Lesson::of(arrivals, look, times, &self.bins)
    }

    pub(super) fn plan(&self, arrivals: &Arrivals, memory_mb: f64, priors: &Priors) -> Plan {
        let mass = self.bins.predict(arrivals, priors);
        let price = self.at(self.price_mb_s, arrivals) as f32;
        let memory = memory_mb as f32;
        let stay_s = self.bins.stay_s(&mass);
        let gains: [f32; BINS] = std::array::from_fn(|bin| price * mass[bin] - memory * stay_s[bin]);
        let windows = windows::best(&gains, RELOAD_S * memory, self.bins.shape);
        let n = arrivals.idle_times;
        let steady_for = (n / GROWTH).max(4 * n.saturating_sub(WELL_KNOWN) / GROWTH);
        let regime = if n == 0 { Regime::Learning } else { Regime::Histogram };
        // The minutes of the clock are counted from a start, and windows from an end. That matters to the second where
        // an app is to be loaded ahead of time, and hardly where it just stays loaded.
        let rests_on_last_end = arrivals.goes_by_the_clock() && windows.iter().any(|window| window.from_ms > 0);
        Plan { regime, windows, steady_for, rests_on_last_end }
    }

    /// Worth of one avoided cold start of this app, MB·s, at a price.
    fn at(&self, price_mb_s: f64, arrivals: &Arrivals) -> f64 {
        match self.weight {
            Weight::Invocation => price_mb_s,
            Weight::App => {
                // As if 20 minutes had been seen already, so that the first short one does not make an app a busy one.
                let (before, usual) = (20.0, 10.0);
                let minutes = arrivals.idle_ms / self.bins.minute_ms as f64;
                price_mb_s * (minutes + before) / f64::from(arrivals.idle_times + 1) / usual
            }
        }
    }

    pub(super) fn reason(&self, arrivals: &Arrivals, plan: &Plan) -> String {
        let gb_s = self.at(self.price_mb_s, arrivals) / 1024.0;
        let known = match arrivals.idle_times {
            0 => "what other apps of its kind do".to_owned(),
            1 => "1 idle time and what other apps do".to_owned(),
            n if arrivals.goes_by_the_clock() => format!("the clock minutes between {n} starts"),
            n => format!("{n} idle times"),
        };
        match (plan.windows.first(), plan.windows.last()) {
            (Some(first), Some(last)) => format!(
                "at {gb_s:.0} GB·s for a cold start, {known} make it worth staying loaded {} after an execution{}",
                if first.from_ms == 0 {
                    format!("for {}", show_ms(first.until_ms))
                } else {
                    format!("from {} to {}", show_ms(first.from_ms), show_ms(first.until_ms))
                },
                match plan.windows.len() - 1 {
                    0 => String::new(),
                    1 => format!(", and again until {}", show_ms(last.until_ms)),
                    more => format!(", and {more} times more until {}", show_ms(last.until_ms)),
                }
            ),
            _ => format!("at {gb_s:.0} GB·s for a cold start, {known} make no time worth staying loaded"),
        }
    }

    pub(super) fn sped_up(self, speed: f64) -> Self {
        // Everything shrinks alike, the price too: it is paid in time.
        let bins = Bins::new(shrink_ms(UNIT_MS, speed), shrink_ms(MINUTE_MS, speed));
        Self { price_mb_s: self.price_mb_s / speed, bins: Box::new(bins), ..self }
    }
}
