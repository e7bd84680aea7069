//! The same forecasts as an implementation of others, `anofox-forecast`, on series that suit ARIMA.

use anofox_forecast::core::TimeSeries;
use anofox_forecast::models::Forecaster;
use anofox_forecast::models::arima::ARIMA;
use chrono::{DateTime, Duration};

use super::series::{arma, rng};
use crate::forecast::arima::{self, Order};

const POINTS: usize = 100;
const SEEDS: u64 = 40;

fn by_the_oracle(series: &[f64], order: Order) -> f64 {
    let at = |day| DateTime::UNIX_EPOCH + Duration::days(day);
    let timestamps = (0..series.len() as i64).map(at).collect();
    let series = TimeSeries::univariate(timestamps, series.to_vec()).unwrap();
    let mut model = ARIMA::new(order.p.into(), order.d.into(), order.q.into());
    model.fit(&series).unwrap();
    model.predict(1).unwrap().primary()[0]
}

/// A process of unit noise: its coefficients, and the drift of the random walk that it is the step of, if it is.
struct Process {
    name: &'static str,
    order: Order,
    phi: [f64; 2],
    theta: [f64; 2],
    drift: f64,
}

impl Process {
    fn series(&self, seed: u64) -> Vec<f64> {
        let mut level = 0.0;
        let steps = arma(&mut rng(seed), POINTS, self.phi, self.theta);
        let walked = steps.iter().map(|step| {
            level += step + self.drift;
            if self.order.d == 1 { level } else { *step }
        });
        walked.map(|y| 100.0 + y).collect()
    }
}

const PROCESSES: [Process; 6] = [
    Process { name: "AR(1)", order: Order { p: 1, d: 0, q: 0 }, phi: [0.7, 0.0], theta: [0.0; 2], drift: 0.0 },
    Process {
        name: "AR(1), alternating",
        order: Order { p: 1, d: 0, q: 0 },
        phi: [-0.8, 0.0],
        theta: [0.0; 2],
        drift: 0.0,
    },
    Process { name: "AR(2)", order: Order { p: 2, d: 0, q: 0 }, phi: [0.5, 0.3], theta: [0.0; 2], drift: 0.0 },
    Process { name: "MA(1)", order: Order { p: 0, d: 0, q: 1 }, phi: [0.0; 2], theta: [0.6, 0.0], drift: 0.0 },
    Process { name: "walk with drift", order: Order { p: 0, d: 1, q: 0 }, phi: [0.0; 2], theta: [0.0; 2], drift: 1.0 },
    Process { name: "ARMA(1,1)", order: Order { p: 1, d: 0, q: 1 }, phi: [0.6, 0.0], theta: [0.4, 0.0], drift: 0.0 },
];

/// Both estimate from the same 100 points and differ in how they treat the first few of them, so forecasts differ by a
/// small part of the noise, which has a spread of 1.
#[test]
fn one_step_forecasts_agree_with_another_implementation() {
    for process in PROCESSES {
        let mut apart: Vec<f64> = (0..SEEDS)
            .map(|seed| {
                let series = process.series(seed);
                let ours = arima::forecast_with(&series, process.order).unwrap().point;
                (ours - by_the_oracle(&series, process.order)).abs()
            })
            .collect();
        apart.sort_by(f64::total_cmp);
        let (median, most) = (apart[apart.len() / 2], apart[apart.len() - 1]);
        assert!(median <= 0.05 && most <= 0.3, "{}: {median:.3} apart, at most {most:.3}", process.name);
    }
}

/// With the order chosen too, forecasts are as close to the truth as if order and coefficients were known, but for what
/// 100 points cannot tell; and the interval holds what it says.
#[test]
fn the_chosen_order_forecasts_nearly_as_well_as_the_true_one() {
    for process in PROCESSES {
        let (mut error, mut at_best, mut covered) = (0.0, 0.0, 0);
        let seeds = 0..5 * SEEDS;
        let all = seeds.end;
        for seed in seeds {
            let series = process.series(seed);
            let (past, truth) = (&series[..POINTS - 1], series[POINTS - 1]);
            let (_, next) = arima::forecast(past).unwrap();
            let with_order = arima::forecast_with(past, process.order).unwrap();
            error += (next.point - truth).powi(2);
            at_best += (with_order.point - truth).powi(2);
            covered += u64::from((next.point - truth).abs() <= next.half_width);
        }
        let (worse, coverage) = ((error / at_best).sqrt(), covered as f64 / all as f64);
        assert!(worse < 1.1, "{}: {worse:.2} times the error of the true order", process.name);
        assert!((0.9..=0.99).contains(&coverage), "{}: {coverage:.2} of the truth in 95 % intervals", process.name);
    }
}
