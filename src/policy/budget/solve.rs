//! A curve and a target → the price.

use super::{Curve, Point, Target};

/// A price that differs by less than this share from the one in force leaves that one in force.
const HYSTERESIS: f64 = 0.1;
/// The price moves by this factor at most at a time: what is loaded stays for as long as its windows say, so a price that
/// was far too high for an hour costs for many.
const MOST_STEP: f64 = 4.0;
/// Where no price meets a rate of cold starts, the lowest that comes so near to the best, as a share of it.
const NEAR_BEST: f64 = 0.02;

/// The price to go on with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Solution {
    /// Worth of one avoided cold start, MB·s.
    pub price_mb_s: f64,
    /// Whether there is a price that is expected to meet the target.
    pub can_be_met: bool,
}

/// The price at which `curve` meets `target`, or where none does, the one that comes as near as it can. Between the
/// points of the curve lies a straight line over the logarithm of the price. Where nothing was invoked, the price stays.
pub fn solve(curve: &Curve, target: Target, in_force_mb_s: f64) -> Solution {
    let stay = Solution { price_mb_s: in_force_mb_s, can_be_met: true };
    if curve.invocations_per_s <= 0.0 {
        return stay;
    }
    let Some((aim_mb_s, can_be_met)) = aim(curve, target) else { return stay };
    let step = aim_mb_s / in_force_mb_s;
    let price_mb_s = if step.max(1.0 / step) < 1.0 + HYSTERESIS {
        in_force_mb_s
    } else {
        in_force_mb_s * step.clamp(1.0 / MOST_STEP, MOST_STEP)
    };
    Solution { price_mb_s, can_be_met }
}

fn aim(curve: &Curve, target: Target) -> Option<(f64, bool)> {
    let points = &curve.points;
    let (cheapest, dearest) = (points.first()?, points.last()?);
    match target {
        Target::IdleMemory(most_mb) => {
            let first_over = points.iter().position(|point| point.idle_mb > most_mb);
            Some(match first_over {
                None => (dearest.price_mb_s, true),
                Some(0) => (cheapest.price_mb_s, false),
                Some(over) => (between(&points[over - 1], &points[over], most_mb, |point| point.idle_mb), true),
            })
        }
        Target::ColdRate(most) => {
            let invocations_per_s = curve.invocations_per_s;
            Some(lowest(points, most, |point| point.cold_per_s / invocations_per_s))
        }
        Target::ColdRateP75(most) => Some(lowest(points, most, |point| point.cold_p75())),
    }
}

/// The lowest price at which `rate`, which falls as the price rises, is at most `most`.
fn lowest(points: &[Point], most: f64, rate: impl Fn(&Point) -> f64) -> (f64, bool) {
    match points.iter().position(|point| rate(point) <= most) {
        Some(0) => (points[0].price_mb_s, true),
        Some(within) => (between(&points[within - 1], &points[within], most, rate), true),
        None => {
            let best = points.iter().map(&rate).fold(f64::INFINITY, f64::min);
            let near = points.iter().find(|point| rate(point) <= best * (1.0 + NEAR_BEST));
            (near.map_or(points[0].price_mb_s, |point| point.price_mb_s), false)
        }
    }
}

fn between(a: &Point, b: &Point, value: f64, of: impl Fn(&Point) -> f64) -> f64 {
    let (from, to) = (of(a), of(b));
    let way = if from == to { 1.0 } else { ((value - from) / (to - from)).clamp(0.0, 1.0) };
    a.price_mb_s * (b.price_mb_s / a.price_mb_s).powf(way)
}
