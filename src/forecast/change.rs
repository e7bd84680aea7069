//! Which of the oldest idle times tell of a behaviour that is over.
//!
//! Bayesian online change-point detection (Adams and MacKay 2007), by the crate `augurs-changepoint`: after each idle
//! time it weighs for how many the present behaviour has gone on. It works on logarithms, for behaviours differ by a
//! factor, and these are taken to scatter normally around a level that changes now and then.

use augurs_changepoint::dist::NormalGamma;
use augurs_changepoint::{Detector, NormalGammaDetector};

use super::{MAX_POINTS, believed};

/// A change is believed when this many idle times have followed it: two or three odd ones are no behaviour.
const MIN_SINCE: usize = 5;
/// Idle times between two changes, expected beforehand. Fewer find changes sooner, and more that are none.
const EXPECTED_RUN: f64 = 250.0;
/// How far apart the levels of behaviours are thought to be beforehand: the weight, in idle times, of the belief that
/// they are the same. A fifth says some two spreads.
const LEVEL_WEIGHT: f64 = 0.2;
/// The weight, in idle times, of the belief that logarithms scatter by one spread, which is how they were scaled.
const SPREAD_WEIGHT: f64 = 30.0;
/// What scatters by less than a tenth is as good as constant.
const MIN_SPREAD: f64 = 0.1;
/// Spreads from the median that an idle time counts for at most: the logarithms of short ones have a long tail.
const MAX_SPREADS: f64 = 2.5;

/// Idle times that have to look unlike those before them, before a change is looked for.
const SUSPECT: usize = 5;
/// How unlike: the ratio of their medians.
const SUSPECT_RATIO: f64 = 2.0;

/// The series without what [`stale_prefix`] finds, if its end looks unlike its beginning at all: the search costs ten
/// times what a forecast does.
pub fn fresh(idle_ms: &[f64]) -> &[f64] {
    let Some(before) = idle_ms.len().checked_sub(SUSPECT).filter(|before| *before >= SUSPECT) else { return idle_ms };
    let ratio = median(idle_ms[before..].to_vec()) / median(idle_ms[..before].to_vec());
    if (1.0 / SUSPECT_RATIO..SUSPECT_RATIO).contains(&ratio) {
        return idle_ms;
    }
    &idle_ms[stale_prefix(idle_ms)..]
}

/// How many of the oldest idle times (ms, oldest first) belong to a behaviour that is over; 0 for none.
///
/// Changes are looked for among the last [`MAX_POINTS`]. What cannot be an idle time (not finite, not above 0, above
/// [`MAX_IDLE_MS`](super::MAX_IDLE_MS)) says nothing either way. A fourfold change is found within 10 idle times where
/// their logarithms scatter by half or less; where calls come at random, one says little, and it takes thirty and more.
pub fn stale_prefix(idle_ms: &[f64]) -> usize {
    let before = idle_ms.len().saturating_sub(MAX_POINTS);
    let Some(logs) = scaled_logs(&idle_ms[before..]) else { return 0 };
    let prior = NormalGamma::new_unchecked(0.0, LEVEL_WEIGHT, SPREAD_WEIGHT, SPREAD_WEIGHT);
    let changes = NormalGammaDetector::normal_gamma(EXPECTED_RUN, prior).detect_changepoints(&logs);
    // Index 0 is where the series begins. Any other is that of the last idle time before a change: the detector counts
    // it among both behaviours.
    let last = changes.into_iter().rfind(|&change| change > 0 && change + 1 + MIN_SINCE <= logs.len());
    last.map_or(0, |change| before + change + 1)
}

/// The logarithms around their median, in spreads. `None` where there are too few for a change.
fn scaled_logs(idle_ms: &[f64]) -> Option<Vec<f64>> {
    let logs: Vec<f64> = idle_ms.iter().copied().filter(|idle| believed(*idle)).map(f64::ln).collect();
    if logs.len() < 2 * MIN_SINCE {
        return None;
    }
    // The spread of steps from one to the next is √2 that of the values, and hardly grows by a change in between.
    let steps = logs.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    let spread = (median(steps) * NORMAL_SPREADS_PER_MEDIAN * std::f64::consts::FRAC_1_SQRT_2).max(MIN_SPREAD);
    let centre = median(logs);
    let scaled = |idle: f64| ((idle.ln() - centre) / spread).clamp(-MAX_SPREADS, MAX_SPREADS);
    Some(idle_ms.iter().map(|&idle| if believed(idle) { scaled(idle) } else { 0.0 }).collect())
}

/// The standard deviation of a normal distribution over the median of its absolute values.
const NORMAL_SPREADS_PER_MEDIAN: f64 = 1.482_602_218_505_602;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, Exp1};

    use super::*;
    use crate::forecast::tests::series::{MINUTE, alternating, normal, rng};

    /// Idle times around 10 minutes whose logarithms have this spread.
    fn lognormal(rng: &mut ChaCha8Rng, n: usize, spread: f64) -> Vec<f64> {
        (0..n).map(|_| 10.0 * MINUTE * (spread * normal(rng)).exp()).collect()
    }

    fn exponential(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
        (0..n).map(|_| 10.0 * MINUTE * Distribution::<f64>::sample(&Exp1, rng)).collect()
    }

    #[test]
    fn a_behaviour_that_goes_on_is_seldom_cut() {
        let seeds = 0..100_u64;
        let cut = |make: fn(&mut ChaCha8Rng) -> Vec<f64>| {
            seeds.clone().filter(|seed| stale_prefix(&make(&mut rng(*seed))) > 0).count()
        };
        // Over 2,000 seeds it is 0.4 % of each kind; of a hundred, at most one here.
        for (name, cut) in [
            ("exponential", cut(|rng| exponential(rng, 60))),
            ("narrow", cut(|rng| lognormal(rng, 60, 0.05))),
            ("wide", cut(|rng| lognormal(rng, 60, 1.0))),
            ("alternating", cut(|rng| alternating(rng, 60))),
        ] {
            assert!(cut <= 1, "{name}: {cut} of 100 cut");
        }
    }

    #[test]
    fn a_fourfold_change_is_found_within_ten_idle_times() {
        for (spread, factor) in [(0.05, 4.0), (0.3, 4.0), (0.5, 4.0), (0.05, 0.25), (0.3, 0.25), (0.5, 0.25)] {
            let found = (0..40)
                .filter(|seed| {
                    let mut series = lognormal(&mut rng(*seed), 40, spread);
                    series[30..].iter_mut().for_each(|idle| *idle *= factor);
                    (25..=35).contains(&stale_prefix(&series))
                })
                .count();
            assert!(found > 36, "{factor} times at a spread of {spread}: {found} of 40 found");
        }
    }

    #[test]
    fn a_change_among_the_latest_counts_from_the_first() {
        let series: Vec<f64> = (0..300).map(|i| if i < 250 { 10.0 * MINUTE } else { 50.0 * MINUTE }).collect();
        assert_eq!(stale_prefix(&series), 250);
        assert_eq!(stale_prefix(&series[..250]), 0);
    }

    #[test]
    fn nothing_to_go_by_is_no_change() {
        for series in [vec![], vec![MINUTE], vec![MINUTE; 9], vec![MINUTE; 500], vec![f64::MAX; 50], vec![f64::NAN; 50]]
        {
            assert_eq!(stale_prefix(&series), 0, "{series:?}");
        }
        // Two odd ones at the end are no behaviour yet.
        let mut series = vec![MINUTE; 50];
        series.extend([100.0 * MINUTE; 2]);
        assert_eq!(stale_prefix(&series), 0);
    }
}
