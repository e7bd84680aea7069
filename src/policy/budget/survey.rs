//! The apps of a shard at one moment → its curve.

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

/// What `apps` would have cost from `began_ms` to `now_ms` at each price, if it had been in force: each idle time as the
/// next one is expected to be, and the one under way as far as it has come. Their order does not matter.
pub(in crate::policy) fn survey(
    frontier: &Frontier,
    priors: &Priors,
    kept: &Kept,
    mut apps: Vec<Surveyed<'_>>,
    began_ms: i64,
    now_ms: i64,
) -> Curve {
    // Sums of floating-point numbers depend on their order.
    apps.sort_unstable_by_key(|app| app.name);
    let one_in = apps.len().div_ceil(MOST_APPS).next_power_of_two() as u32;
    let prices: [f64; PRICES] = prices(kept.minute_ms);
    let observed_s = (kept.faded_ms(began_ms, now_ms) / 1000.0).max(f64::MIN_POSITIVE);
    let mut curve = Curve::empty(kept.minute_ms);
    for app in apps {
        let activity = app.arrivals.activity_at(now_ms, kept);
        curve.invocations_per_s += activity.invocations / observed_s;
        if !place(app.name).is_multiple_of(one_in) {
            continue;
        }
        let so_far_ms = (now_ms - app.arrivals.last_end_ms).max(0);
        let idle_times = frontier.along(app.arrivals, app.memory_mb, priors, so_far_ms, &prices);
        for (point, idle_time) in curve.points.iter_mut().zip(idle_times) {
            let cold = activity.firsts + activity.idle_times * idle_time.cold;
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

/// A number that follows from the name alone (FNV-1a), so that a sample is the same everywhere.
fn place(name: &str) -> u32 {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (hash >> 32) as u32
}
