//! What could be had by somebody who knows the future: bounds to measure policies against.

use std::collections::BTreeMap;

use super::contender::OracleKind;
use super::engine::AppCosts;
use super::steps::Step;

/// Idle times that agree in so many leading bits are taken together (as their mean), so that memory stays small.
const BITS: u32 = 9;

/// The idle times of one app.
#[derive(Debug, Clone, Default)]
pub(super) struct IdleTimes {
    /// Leading bits → how many, and their sum, ms.
    times: BTreeMap<u64, (u64, f64)>,
    invocations: u64,
    last_end_ms: i64,
}

impl IdleTimes {
    /// What the app did in a minute.
    pub fn take(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::One { start_ms, end_ms, .. } => {
                    if self.invocations > 0 && *start_ms > self.last_end_ms {
                        self.add((start_ms - self.last_end_ms) as f64, 1);
                    }
                    self.invocations += 1;
                    self.last_end_ms = self.last_end_ms.max(*end_ms);
                }
                Step::Run(run) => {
                    self.add(run.idle_ms / f64::from(run.idle_times.max(1)), u64::from(run.idle_times));
                    self.invocations += run.invocations;
                    self.last_end_ms = self.last_end_ms.max(run.last_end_ms);
                }
            }
        }
    }

    fn add(&mut self, idle_ms: f64, times: u64) {
        if times == 0 {
            return;
        }
        let whole = idle_ms as u64;
        let dropped = (u64::BITS - whole.leading_zeros()).saturating_sub(BITS);
        let (count, sum_ms) = self.times.entry(whole >> dropped << dropped).or_default();
        *count += times;
        *sum_ms += idle_ms * times as f64;
    }

    /// The costs at a price of `price_mb_s` for a cold start.
    pub fn costs(&self, kind: OracleKind, price_mb_s: f64, memory_mb: f64, end_ms: i64) -> AppCosts {
        if self.invocations == 0 {
            return AppCosts::default();
        }
        // Worth of a cold start in time loaded.
        let worth_ms = price_mb_s * 1000.0 / memory_mb;
        let (missed, idle_ms) = match kind {
            OracleKind::KeepAlive => self.keep_alive(worth_ms),
            OracleKind::Window => self.window(worth_ms, (end_ms - self.last_end_ms).max(0) as f64),
        };
        AppCosts { invocations: self.invocations, cold: 1 + missed, idle_ms, idle_mb_ms: idle_ms * memory_mb }
    }

    /// Loaded throughout an idle time that is worth it, not at all in another.
    fn keep_alive(&self, worth_ms: f64) -> (u64, f64) {
        self.times.values().fold((0, 0.0), |(missed, idle_ms), (count, sum_ms)| {
            if sum_ms / *count as f64 <= worth_ms { (missed, idle_ms + sum_ms) } else { (missed + count, idle_ms) }
        })
    }

    /// The window `[a, b]` between two of the idle times that gains most: the largest sum of what idle times are worth
    /// less what lies between them costs, in one pass over them (Kadane).
    fn window(&self, worth_ms: f64, last_idle_ms: f64) -> (u64, f64) {
        let all: u64 = self.times.values().map(|(count, _)| *count).sum();
        let (mut best_gain, mut best_caught, mut best_idle_ms) = (0.0, 0, 0.0);
        let (mut gain, mut caught, mut idle_ms) = (0.0, 0, 0.0);
        let (mut at_ms, mut longer) = (0.0, all);
        for (count, sum_ms) in self.times.values() {
            let next_ms = sum_ms / *count as f64;
            // What is still idle at the end of the trace pays for its part too.
            let last_ms = (last_idle_ms.min(next_ms) - at_ms).max(0.0);
            let loaded_ms = (next_ms - at_ms) * longer as f64 + last_ms;
            (gain, idle_ms) = (gain - loaded_ms, idle_ms + loaded_ms);
            if gain < 0.0 || caught == 0 {
                (gain, caught, idle_ms) = (0.0, 0, 0.0);
            }
            gain += worth_ms * *count as f64;
            caught += count;
            longer -= count;
            at_ms = next_ms;
            if gain > best_gain {
                (best_gain, best_caught, best_idle_ms) = (gain, caught, idle_ms);
            }
        }
        (all - best_caught, best_idle_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(idle_ms: &[(f64, u64)]) -> IdleTimes {
        let mut times = IdleTimes { invocations: 1, ..IdleTimes::default() };
        for (idle_ms, count) in idle_ms {
            times.add(*idle_ms, *count);
            times.invocations += count;
        }
        times
    }

    #[test]
    fn keep_alive_pays_for_what_is_worth_it() {
        let costs = times(&[(100.0, 3), (5_000.0, 2)]).costs(OracleKind::KeepAlive, 1.0, 1.0, 0);
        assert_eq!((costs.cold, costs.idle_ms), (3, 300.0));
    }

    #[test]
    fn the_best_window_begins_and_ends_at_idle_times() {
        // 4 at 10 s, 1 at 11 s, 1 at 60 s; a cold start is worth 5 s.
        let known = times(&[(10_000.0, 4), (11_000.0, 1), (60_000.0, 1)]);
        let costs = known.costs(OracleKind::Window, 5.0, 1.0, 0);
        assert_eq!((costs.invocations, costs.cold, costs.idle_ms), (7, 2, 2_000.0));
        let dear = known.costs(OracleKind::Window, 500.0, 1.0, 0);
        assert_eq!((dear.cold, dear.idle_ms), (1, 51_000.0));
    }
}
