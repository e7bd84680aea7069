//! What the apps of a shard are expected to cost at each of a range of prices.

use serde::{Deserialize, Serialize};

/// Prices of a curve.
pub const PRICES: usize = 24;
/// The lowest, MB·s of a workload in real time; each of the others is twice the one before it.
const LOWEST_MB_S: f64 = 64.0;
/// Apps are counted by their cold starts in whole percent of their invocations.
const PERCENTS: usize = 101;

/// What the apps of one shard, or of many, are expected to cost at each price. Averages over the time since the shard's
/// first event, in which older days weigh less.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Invocations per second.
    pub invocations_per_s: f64,
    /// By price, ascending.
    pub points: Vec<Point>,
}

/// One price.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Worth of one avoided cold start, MB·s.
    pub price_mb_s: f64,
    /// Idle memory of all apps together, MB.
    pub idle_mb: f64,
    /// Cold starts per second.
    pub cold_per_s: f64,
    /// How many apps have 0, 1, … 100 % of cold starts among their invocations.
    pub apps_by_cold_percent: Vec<u64>,
}

/// Expected of one app at one price.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct App {
    /// Idle memory, MB on average.
    pub idle_mb: f64,
    /// Cold starts per second.
    pub cold_per_s: f64,
    /// Cold starts as a share of its invocations.
    pub cold_rate: f64,
}

impl Curve {
    /// Of no apps. `minute_ms` is how long a minute of the workload lasts.
    pub fn empty(minute_ms: i64) -> Self {
        let point =
            |price_mb_s| Point { price_mb_s, idle_mb: 0.0, cold_per_s: 0.0, apps_by_cold_percent: vec![0; PERCENTS] };
        Self { invocations_per_s: 0.0, points: prices(minute_ms).into_iter().map(point).collect() }
    }

    /// Adds the apps of another shard.
    ///
    /// # Errors
    /// If its prices are others.
    pub fn add(&mut self, other: &Curve) -> Result<(), OtherPrices> {
        let alike = |(a, b): (&Point, &Point)| {
            a.price_mb_s == b.price_mb_s && a.apps_by_cold_percent.len() == b.apps_by_cold_percent.len()
        };
        if self.points.len() != other.points.len() || !self.points.iter().zip(&other.points).all(alike) {
            return Err(OtherPrices);
        }
        self.invocations_per_s += other.invocations_per_s;
        for (point, other) in self.points.iter_mut().zip(&other.points) {
            point.idle_mb += other.idle_mb;
            point.cold_per_s += other.cold_per_s;
            let apps = point.apps_by_cold_percent.iter_mut().zip(&other.apps_by_cold_percent);
            apps.for_each(|(apps, more)| *apps += more);
        }
        Ok(())
    }

    /// Counts all that idles and starts cold `factor` times: shards that were not seen are taken to be like this one.
    #[must_use]
    pub fn times(mut self, factor: u32) -> Self {
        self.invocations_per_s *= f64::from(factor);
        for point in &mut self.points {
            point.idle_mb *= f64::from(factor);
            point.cold_per_s *= f64::from(factor);
            point.apps_by_cold_percent.iter_mut().for_each(|apps| *apps *= u64::from(factor));
        }
        self
    }
}

impl Point {
    /// Adds an app that stands for `weight` of them.
    pub(in crate::policy) fn add(&mut self, app: App, weight: u32) {
        self.idle_mb += app.idle_mb * f64::from(weight);
        self.cold_per_s += app.cold_per_s * f64::from(weight);
        let percent = (app.cold_rate * 100.0) as usize;
        self.apps_by_cold_percent[percent.min(PERCENTS - 1)] += u64::from(weight);
    }

    /// Cold starts of the 75th-percentile app as a share of its invocations; 0 where there is no app.
    pub fn cold_p75(&self) -> f64 {
        let apps: u64 = self.apps_by_cold_percent.iter().sum();
        let rank = (apps * 3).div_ceil(4);
        let mut below = 0;
        for (percent, apps) in self.apps_by_cold_percent.iter().enumerate().filter(|(_, apps)| **apps > 0) {
            if below + apps >= rank {
                // As if they lay evenly within their percent.
                let within = (rank - below) as f64 / *apps as f64;
                return ((percent as f64 + within) / 100.0).min(1.0);
            }
            below += apps;
        }
        0.0
    }
}

/// Curves can be added up only at the same prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the curve has other prices than expected: all instances must run the same version at the same --speed")]
pub struct OtherPrices;

/// The prices, MB·s of the clock on the wall.
pub(in crate::policy) fn prices(minute_ms: i64) -> [f64; PRICES] {
    std::array::from_fn(|i| LOWEST_MB_S * 2_f64.powi(i as i32) * minute_ms as f64 / 60_000.0)
}
