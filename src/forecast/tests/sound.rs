//! Whatever comes in, what comes out is a forecast or none.

use proptest::prelude::*;

use crate::forecast::{Forecast, MAX_POINTS, forecast, stale_prefix, two_means};

fn sound(next: &Forecast) -> bool {
    let Forecast { point_ms, low_ms, high_ms, .. } = *next;
    [point_ms, low_ms, high_ms].iter().all(|x| x.is_finite() && *x > 0.0) && low_ms <= point_ms && point_ms <= high_ms
}

/// Any 64 bits as a number: NaN, infinities and subnormals included.
fn bits() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits)
}

/// Numbers that break things.
fn edge() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![0.0, -1.0, 5e-324, 1e-300, 1e-9, 1.0, 60_000.0, 9.99e11, 1e12, 1e13, f64::MAX, f64::NAN])
}

fn series() -> impl Strategy<Value = Vec<f64>> {
    let two_valued = (edge(), bits(), prop::collection::vec(any::<bool>(), 0..130))
        .prop_map(|(a, b, turns)| turns.into_iter().map(|turn| if turn { a } else { b }).collect());
    prop_oneof![
        (edge(), 0..130_usize).prop_map(|(value, length)| vec![value; length]),
        prop::collection::vec(bits(), 0..130),
        prop::collection::vec(edge(), 0..130),
        two_valued,
        prop::collection::vec(1.0..1e12_f64, 0..130),
        prop::collection::vec(1.0..2.0_f64, 0..5),
    ]
}

proptest! {
    #[test]
    fn a_forecast_is_finite_positive_and_within_its_interval(series in series()) {
        if let Some(next) = forecast(&series) {
            prop_assert!(sound(&next), "{next:?}");
        }
    }

    #[test]
    fn the_same_series_gives_the_same_bits_and_only_the_latest_count(series in series()) {
        let next = forecast(&series);
        prop_assert_eq!(next, forecast(&series));
        let mut longer = vec![7.0; 10];
        longer.extend(&series);
        if series.iter().filter(|idle| **idle > 0.0 && **idle <= 1e12).count() >= MAX_POINTS {
            prop_assert_eq!(next, forecast(&longer));
        }
    }

    #[test]
    fn two_means_predicts_one_of_what_was_seen(series in prop::collection::vec(1e-300..1e12_f64, 1..130)) {
        let next = two_means::forecast(&series).unwrap();
        prop_assert!(sound(&next), "{next:?}");
        let (least, most) = series.iter().fold((f64::MAX, 0.0_f64), |(l, m), x| (l.min(*x), m.max(*x)));
        prop_assert!(least <= next.low_ms && next.high_ms <= most, "{next:?}");
    }

    #[test]
    fn what_is_stale_ends_before_the_series_does(series in series()) {
        let stale = stale_prefix(&series);
        prop_assert!(stale == 0 || stale < series.len(), "{stale} of {}", series.len());
    }
}
