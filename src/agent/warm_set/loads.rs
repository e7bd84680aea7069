//! How long loading takes, and which load ahead of time is to be done first.

use std::cmp::Reverse;

/// Loads that are remembered: of as many, the 95th percentile is the longest but one.
const RECENT: usize = 20;

/// How long the last loads of something took.
#[derive(Debug, Default)]
pub(in crate::agent) struct LoadTimes {
    /// Of most apps none is known.
    recent_ms: Option<Box<[u32; RECENT]>>,
    count: u32,
}

impl LoadTimes {
    /// One took so long.
    pub fn note(&mut self, took_ms: i64) {
        let recent_ms = self.recent_ms.get_or_insert_default();
        recent_ms[self.count as usize % RECENT] =
            u32::try_from(took_ms).unwrap_or(if took_ms < 0 { 0 } else { u32::MAX });
        self.count = self.count.wrapping_add(1);
    }

    /// The 95th percentile (nearest rank) of the recent ones, ms; 0 while none is known.
    pub fn p95_ms(&self) -> i64 {
        let Some(recent_ms) = &self.recent_ms else { return 0 };
        let mut known = recent_ms[..RECENT.min(self.count as usize)].to_vec();
        known.sort_unstable();
        let rank = (known.len() * 95).div_ceil(100);
        rank.checked_sub(1).and_then(|index| known.get(index)).map_or(0, |ms| i64::from(*ms))
    }
}

/// Whose turn it is when more is to be loaded than can be at once: the likeliest to be used first, as each load takes its
/// turn for as long as it saves; of equals the one that has waited longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Urgency {
    hit: u32,
    since_ms: Reverse<i64>,
}

impl Urgency {
    /// Of a load that is of use with a probability of `hit`, and wanted since then.
    pub fn new(hit: f32, since_ms: i64) -> Self {
        // In order for all numbers that are no less than 0.
        Self { hit: hit.max(0.0).to_bits(), since_ms: Reverse(since_ms) }
    }

    /// Since when the load is wanted, ms.
    pub fn since_ms(self) -> i64 {
        self.since_ms.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_is_the_95th_percentile_of_the_recent_loads() {
        let mut loads = LoadTimes::default();
        assert_eq!(loads.p95_ms(), 0);
        loads.note(70);
        assert_eq!(loads.p95_ms(), 70);
        for took_ms in 1..=20 {
            loads.note(took_ms);
        }
        assert_eq!(loads.p95_ms(), 19, "70 is forgotten, and 20 the one above 95 %");
        loads.note(i64::MAX);
        loads.note(-1);
        assert_eq!(loads.p95_ms(), 20);
    }
}
