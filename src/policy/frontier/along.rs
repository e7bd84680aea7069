//! What one idle time of an app costs along a range of prices: the prediction is made once for all of them.

use crate::state::Arrivals;

use super::{BINS, Frontier, Priors, RELOAD_S, windows};

/// Expected of one idle time at one price.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IdleTime {
    /// Chance that it ends with a cold start.
    pub cold: f64,
    /// How long the app is loaded within it, s.
    pub loaded_s: f64,
    /// How long the app was loaded so far, in the one that is under way, s.
    pub loaded_so_far_s: f64,
}

impl Frontier {
    /// For each of `prices_mb_s`, what the next idle time of an app in the state `arrivals` would cost. It has lasted for
    /// `so_far_ms`.
    pub(in crate::policy) fn along<'a>(
        &'a self,
        arrivals: &Arrivals,
        memory_mb: f64,
        priors: &Priors,
        so_far_ms: i64,
        prices_mb_s: &'a [f64],
    ) -> impl Iterator<Item = IdleTime> + use<'a> {
        let mass = self.bins.predict(arrivals, priors);
        let memory = memory_mb as f32;
        let per_price = self.at(1.0, arrivals);
        // The chance that the idle time ends before each bin, and the time that it is expected to spend there.
        let (mut before, mut spent_s) = ([0.0_f64; BINS + 1], [0.0_f64; BINS + 1]);
        let stay = self.bins.stay_s(&mass);
        for bin in 0..BINS {
            before[bin + 1] = before[bin] + f64::from(mass[bin]);
            spent_s[bin + 1] = spent_s[bin] + f64::from(stay[bin]);
        }
        let all = (before[BINS] + f64::from(mass[BINS])).max(f64::MIN_POSITIVE);
        prices_mb_s.iter().map(move |price| {
            let price = (price * per_price) as f32;
            let gains: [f32; BINS] = std::array::from_fn(|bin| price * mass[bin] - memory * stay[bin]);
            let (mut warm, mut loaded_s, mut so_far) = (0.0, 0.0, 0);
            for window in windows::best(&gains, RELOAD_S * memory, self.bins.shape) {
                let (from, until) = (self.bins.shape.bin(window.from_ms), self.bins.shape.bin(window.until_ms));
                warm += before[until] - before[from];
                loaded_s += spent_s[until] - spent_s[from];
                so_far += window.loaded_ms(so_far_ms);
            }
            let cold = (1.0 - warm / all).max(0.0);
            IdleTime { cold, loaded_s: loaded_s / all, loaded_so_far_s: so_far as f64 / 1000.0 }
        })
    }
}
