//! Two behaviours that take turns: the idle times split in two clusters, and which of them comes next.

use super::{Forecast, MAX_POINTS, Method};

/// The next of these idle times, which are positive, finite, in ms and oldest first; `None` if there are none. Only the
/// last [`MAX_POINTS`] count.
///
/// The split is the one of all splits by size with the least variance within (k-means with k = 2, solved exactly), on
/// logarithms, for what matters in idle times is their ratio. Which cluster comes next follows from what came after the
/// present one so far. The point is the median of that cluster; the interval spans 95 % of all idle times so far, each
/// weighted by how likely its cluster is now.
pub fn forecast(idle_ms: &[f64]) -> Option<Forecast> {
    let idle_ms = &idle_ms[idle_ms.len().saturating_sub(MAX_POINTS)..];
    let &last = idle_ms.last()?;
    let mut buffer = [0.0; MAX_POINTS];
    let sorted = &mut buffer[..idle_ms.len()];
    sorted.copy_from_slice(idle_ms);
    sorted.sort_unstable_by(f64::total_cmp);
    let shorter = split(sorted);
    let (short, long) = sorted.split_at(shorter);
    let chance_short = match (short, long) {
        ([], _) => 0.0,
        (_, []) => 1.0,
        (_, [shortest_long, ..]) => chance_short_next(idle_ms, last, *shortest_long),
    };
    let point_ms = median(if chance_short > 0.5 { short } else { long });
    let weight = |i: usize| {
        if i < shorter { chance_short / shorter as f64 } else { (1.0 - chance_short) / (sorted.len() - shorter) as f64 }
    };
    let (mut low_ms, mut high_ms) = (point_ms, point_ms);
    let mut below = 0.0;
    for (i, &idle) in sorted.iter().enumerate() {
        let at_least = below + weight(i);
        if below < 0.025 && at_least >= 0.025 {
            low_ms = idle.min(point_ms);
        }
        if below < 0.975 && at_least >= 0.975 {
            high_ms = idle.max(point_ms);
        }
        below = at_least;
    }
    Some(Forecast { point_ms, low_ms, high_ms, method: Method::TwoMeans })
}

/// How many of the sorted idle times are in the cluster of the short ones; 0 where all are equal.
fn split(sorted: &[f64]) -> usize {
    let mut logs = [0.0; MAX_POINTS];
    let n = sorted.len() as f64;
    for (log, idle) in logs.iter_mut().zip(sorted) {
        *log = idle.ln();
    }
    let logs = &logs[..sorted.len()];
    let mean = logs.iter().sum::<f64>() / n;
    let (mut best, mut most, mut below) = (0, 0.0, 0.0);
    for i in 1..logs.len() {
        below += logs[i - 1] - mean;
        // The variance between the clusters, whose deviations from the mean sum to `below` and `-below`. The larger it
        // is, the smaller is the variance within.
        let between = below * below / (i as f64 * (n - i as f64));
        if between > most && sorted[i] > sorted[i - 1] {
            (best, most) = (i, between);
        }
    }
    best
}

/// The chance that a short idle time follows, from what followed those of the last one's cluster.
fn chance_short_next(idle_ms: &[f64], last: f64, shortest_long: f64) -> f64 {
    let now_short = last < shortest_long;
    let (mut short, mut all) = (0_u32, 0_u32);
    for pair in idle_ms.windows(2) {
        if (pair[0] < shortest_long) == now_short {
            all += 1;
            short += u32::from(pair[1] < shortest_long);
        }
    }
    let overall = idle_ms.iter().filter(|idle| **idle < shortest_long).count() as f64 / idle_ms.len() as f64;
    // One observation's worth of what holds overall, for those that have been seen but once or twice.
    (f64::from(short) + overall) / (f64::from(all) + 1.0)
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted {
        [] => f64::NAN,
        _ if sorted.len() % 2 == 1 => sorted[middle],
        _ => sorted[middle - 1].midpoint(sorted[middle]),
    }
}
