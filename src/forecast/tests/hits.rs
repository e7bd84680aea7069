//! How often the next idle time lies within ±15 % of the forecast, the window that "Serverless in the Wild" warms for.

use super::series::{KINDS, MINUTE, rng};
use crate::forecast::{Method, forecast};

fn hit(point_ms: f64, truth_ms: f64) -> bool {
    (truth_ms - point_ms).abs() <= 0.15 * point_ms
}

fn median_of_5(idle_ms: &[f64]) -> f64 {
    let mut last = idle_ms[idle_ms.len() - 5..].to_vec();
    last.sort_by(f64::total_cmp);
    last[2]
}

#[test]
fn hits_more_often_than_the_last_value_and_the_median_of_five() {
    let (mut all, mut hits, mut last, mut median) = (0, 0, 0, 0);
    for (name, kind) in KINDS {
        let before = hits;
        let mut origins = 0;
        for seed in 0..25 {
            let length = 10 + (seed as usize * 37) % 140;
            let series = kind(&mut rng(seed), length + 5);
            for origin in length..series.len() {
                let (past, truth) = (&series[..origin], series[origin]);
                hits += u32::from(hit(forecast(past).unwrap().point_ms, truth));
                last += u32::from(hit(past[origin - 1], truth));
                median += u32::from(hit(median_of_5(past), truth));
                origins += 1;
            }
        }
        all += origins;
        println!("{name}: {:.1} %", 100.0 * f64::from(hits - before) / f64::from(origins));
    }
    let share = |count: u32| 100.0 * f64::from(count) / f64::from(all);
    println!("forecast {:.1} %, last value {:.1} %, median of five {:.1} %", share(hits), share(last), share(median));
    assert!(share(hits) > 75.0, "hits {:.1} %", share(hits));
    assert!(share(hits) > share(last) + 10.0 && share(hits) > share(median) + 10.0);
}

#[test]
fn alternating_idle_times_are_forecast_in_phase() {
    for (short, long) in [(1.0, 10.0), (5.0, 240.0), (60.0, 61.0)] {
        for length in 4..40 {
            let turn = |i: usize| if i.is_multiple_of(2) { short * MINUTE } else { long * MINUTE };
            let series: Vec<f64> = (0..length).map(turn).collect();
            let next = forecast(&series).unwrap();
            let truth = turn(length);
            let near = (next.point_ms / truth - 1.0).abs() < if length < 8 { 0.02 } else { 0.001 };
            assert!(near, "{short} and {long} min, {length} times: {next:?} is not {truth}");
            assert!(next.low_ms <= truth * 1.001 && truth * 0.999 <= next.high_ms, "{next:?} leaves out {truth}");
        }
    }
}

#[test]
fn a_constant_gets_half_a_minute_on_each_side() {
    for (idle, low) in [(10.0 * MINUTE, 9.5 * MINUTE), (MINUTE, 0.5 * MINUTE), (0.1 * MINUTE, 1.0)] {
        let next = forecast(&[idle; 50]).unwrap();
        assert!((next.point_ms - idle).abs() < 1e-6 * idle, "{next:?}");
        assert!((next.low_ms - low).abs() < 1.0, "{next:?}");
        assert!((next.high_ms - idle - 0.5 * MINUTE).abs() < 1.0, "{next:?}");
        assert!(matches!(next.method, Method::Arima(order) if (order.p, order.q) == (0, 0)), "{next:?}");
    }
}

#[test]
fn a_steady_growth_goes_on() {
    let series: Vec<f64> = (0..30).map(|i| (60.0 + 2.0 * f64::from(i)) * MINUTE).collect();
    let next = forecast(&series).unwrap();
    assert!((next.point_ms / MINUTE - 120.0).abs() < 0.01, "{next:?}");
}

#[test]
fn sessions_of_short_idle_times_with_long_ones_between_use_two_means() {
    // Four calls five minutes apart, then the night.
    let series: Vec<f64> = (0..80).map(|i| if i % 4 == 3 { 700.0 } else { 5.0 } * MINUTE).collect();
    let next = forecast(&series).unwrap();
    assert_eq!((next.point_ms, next.method), (5.0 * MINUTE, Method::TwoMeans));
    assert_eq!(next.high_ms, 5.0 * MINUTE, "a long one never follows a long one");
}

#[test]
fn under_three_idle_times_there_is_no_forecast() {
    assert_eq!(forecast(&[]), None);
    assert_eq!(forecast(&[MINUTE; 2]), None);
    assert_eq!(forecast(&[MINUTE; 3]).unwrap().point_ms, MINUTE);
}

#[test]
fn what_cannot_be_an_idle_time_is_left_out() {
    let clean = [3.0, 1.0, 2.0, 5.0, 4.0, 6.0].map(|minutes| minutes * MINUTE);
    let mut broken = clean.to_vec();
    for (at, value) in [(1, f64::NAN), (3, -5.0), (4, 0.0), (0, f64::INFINITY), (7, 2e12)] {
        broken.insert(at, value);
    }
    assert_eq!(forecast(&broken), forecast(&clean));
}
