//! The apps of a shard at one moment → its curve.

use smallvec::SmallVec;

use crate::state::{Arrivals, Kept};

use super::curve::{App, Curve, PRICES, prices};
use crate::policy::{Frontier, Priors};

/// So many apps are looked at; of a larger shard, a sample of about half as many to as many.
pub const MOST_APPS: usize = 4000;

/// One app of a shard.
#[derive(Debug, Clone, Copy)]
pub struct Surveyed<'a> {
    /// Its name.
    pub name: &'a str,
    /// What is known of it.
    pub arrivals: &'a Arrivals,
    /// Its memory, MB.
    pub memory_mb: f64,
}

/// What was before the moment of a survey.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy) struct Past {
    /// When the first app was seen, epoch ms.
    pub began_ms: i64,
    /// The price that was in force, on average, MB·s.
    pub price_mb_s: f64,
}

/// What `apps` would have cost from the beginning to `now_ms` at each price, if it had been in force: each idle time as the
/// next one is expected to be, and the one under way as far as it has come. Their order does not matter.
///
/// Cold starts are those that were counted, and what another price is expected to have made of them: much of what was
/// cold was so because little was known of the app then, and the state of today does not tell.
pub(in crate::policy) fn survey(
    frontier: &Frontier,
    priors: &Priors,
    kept: &Kept,
    mut apps: Vec<Surveyed<'_>>,
    past: Past,
    now_ms: i64,
) -> Curve {
    // Sums of floating-point numbers depend on their order.
    apps.sort_unstable_by_key(|app| app.name);
    let one_in = apps.len().div_ceil(MOST_APPS).next_power_of_two() as u32;
    let prices: [f64; PRICES] = prices(kept.minute_ms);
    let observed_s = (kept.faded_ms(past.began_ms, now_ms) / 1000.0).max(f64::MIN_POSITIVE);
    let mut curve = Curve::empty(kept.minute_ms);
    for app in apps {
        let activity = app.arrivals.activity_at(now_ms, kept);
        curve.invocations_per_s += activity.invocations / observed_s;
        if !place(app.name).is_multiple_of(one_in) {
            continue;
        }
        let so_far_ms = (now_ms - app.arrivals.last_end_ms).max(0);
        let idle_times: SmallVec<[_; PRICES]> =
            frontier.along(app.arrivals, app.memory_mb, priors, so_far_ms, &prices).collect();
        let expected_past = at(&prices, past.price_mb_s, |price| idle_times[price].cold);
        for (point, idle_time) in curve.points.iter_mut().zip(idle_times) {
            let change = activity.idle_times * (idle_time.cold - expected_past);
            let cold = activity.firsts + (activity.cold + change).clamp(0.0, activity.idle_times);
            // A busy app's idle times are much shorter than the first bin: it can't be loaded for longer than it was idle.
            let over_s = (activity.idle_times * idle_time.loaded_s).min(activity.idle_ms / 1000.0);
            let loaded_s = over_s + idle_time.loaded_so_far_s;
            let expected = App {
                idle_mb: loaded_s * app.memory_mb / observed_s,
                cold_per_s: cold / observed_s,
                cold_rate: cold / activity.invocations,
            };
            point.add(expected, one_in);
        }
    }
    curve
}

/// A value that is known at each of `prices_mb_s`, at one between them.
fn at(prices_mb_s: &[f64; PRICES], price_mb_s: f64, value: impl Fn(usize) -> f64) -> f64 {
    let place = (price_mb_s / prices_mb_s[0]).log2().clamp(0.0, (PRICES - 1) as f64);
    let below = (place as usize).min(PRICES - 2);
    let way = place - below as f64;
    value(below) * (1.0 - way) + value(below + 1) * way
}

/// A number that follows from the name alone (FNV-1a), so that a sample is the same everywhere.
fn place(name: &str) -> u32 {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (hash >> 32) as u32
}
