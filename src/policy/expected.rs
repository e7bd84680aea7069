//! What windows are expected to cost, read off an app's own idle times.

use crate::model::{Expected, Window};
use crate::state::{IdleHistogram, Shape};

/// Expected cold starts and idle memory of one idle time under `windows`, if the app goes on as it did. Idle times
/// count as lying in the middle of their bins, those out of bounds at the end of the range, where the windows' costs up
/// to there are certain. `None` while no idle time is known.
pub fn expected(idle: &IdleHistogram, shape: Shape, windows: &[Window], memory_mb: f64) -> Option<Expected> {
    if idle.total() == 0.0 {
        return None;
    }
    let mut cold = 0.0;
    let mut loaded_ms = 0.0;
    let mut add = |idle_ms: i64, count: f64| {
        if !windows.iter().any(|window| window.contains(idle_ms)) {
            cold += count;
        }
        loaded_ms += windows.iter().map(|window| window.loaded_ms(idle_ms) as f64).sum::<f64>() * count;
    };
    for (bin, count) in idle.counts().iter().enumerate().filter(|(_, count)| **count > 0.0) {
        add((shape.lower_ms(bin) + shape.lower_ms(bin + 1)) / 2, f64::from(*count));
    }
    if idle.out_of_bounds() > 0.0 {
        add(shape.range_ms(), idle.out_of_bounds());
    }
    let n = idle.total();
    // Rounded, so that records stay short and two builds agree.
    let round = |value: f64, digits: f64| (value * digits).round() / digits;
    Some(Expected { cold_probability: round(cold / n, 1e4), idle_mb_s: round(loaded_ms / n / 1000.0 * memory_mb, 1e1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_the_windows_miss_and_hold() {
        let shape = Shape::Linear { bin_ms: 60_000, bins: 240 };
        let mut idle = IdleHistogram::default();
        for minutes in [1, 1, 5, 500] {
            idle.record(shape.bin(minutes * 60_000), shape, 1.0);
        }
        let windows = [Window { from_ms: 0, until_ms: 120_000 }];
        let got = expected(&idle, shape, &windows, 100.0).unwrap();
        assert_eq!(got.cold_probability, 0.5);
        assert_eq!(got.idle_mb_s, (90.0 + 90.0 + 120.0 + 120.0) / 4.0 * 100.0);
        assert_eq!(expected(&IdleHistogram::default(), shape, &windows, 100.0), None);
    }
}
