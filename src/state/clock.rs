//! How many minutes of the clock lie between an app's starts, and where in the minute they lie.
//!
//! Timers fire by the wall clock. Their idle times vary with durations, queues and jitter, but the minutes between their
//! starts do not: one that fires every 5 minutes starts 5 minutes of the clock after its last start, wherever in its
//! minute that was.

use crate::checkpoint::Columns;

use super::Look;

/// Different steps remembered; an app with more of them has no schedule.
const STEPS: usize = 24;
/// Parts of a minute that are told apart.
const SLOTS: usize = 12;
/// How much each part counts before anything was seen.
const SLOT_PRIOR: f32 = 0.05;

/// Minutes between starts, and phases within the minute, each counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Clock {
    /// `(minutes, weight)`.
    steps: Vec<(u32, f32)>,
    /// Of all steps, remembered or not.
    weight: f32,
    slots: [f32; SLOTS],
    slots_weight: f32,
}

/// Where the clock expects the next start: a minute, as a range of idle time, and its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Minute {
    /// Beginning of the minute, ms of idle time; negative where it has begun already.
    pub from_ms: i64,
    /// 0 to 1.
    pub probability: f32,
}

/// The share of starts before each slot of the minute, and at its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phases {
    below: [f32; SLOTS + 2],
}

impl Phases {
    /// The share of starts that lie before `place` in their minute, from 0 to 1; all before 1 and none before 0.
    pub fn below(&self, place: f32) -> f32 {
        let place = place.clamp(0.0, 1.0) * SLOTS as f32;
        let slot = place as usize;
        self.below[slot] + (self.below[slot + 1] - self.below[slot]) * (place - slot as f32)
    }

    /// The share of starts that lie in `[from, until)` of their minute, both 0 to 1.
    pub fn share(&self, from: f32, until: f32) -> f32 {
        self.below(until) - self.below(from)
    }
}

impl Clock {
    /// How many minutes lie between a start at `last_start_ms` and one at `start_ms`, a minute being `minute_ms` long,
    /// and where as many are remembered.
    pub fn look(&self, last_start_ms: i64, start_ms: i64, minute_ms: i64) -> (u32, Option<usize>) {
        let minutes = start_ms.div_euclid(minute_ms) - last_start_ms.div_euclid(minute_ms);
        let minutes = u32::try_from(minutes).unwrap_or(0);
        (minutes, self.steps.iter().position(|(step, _)| *step == minutes))
    }

    /// Counts a start.
    pub fn record(&mut self, look: &Look, minute_ms: i64, times: f32) {
        self.weight += times;
        self.phase(look.start_ms, minute_ms, times);
        if let Some(step) = look.step {
            self.steps[step].1 += times;
        } else if self.steps.len() < STEPS {
            self.steps.push((look.minutes, times));
        }
    }

    /// Counts the place of a start within its minute.
    pub fn phase(&mut self, start_ms: i64, minute_ms: i64, times: f32) {
        let slot = start_ms.rem_euclid(minute_ms) as usize * SLOTS / minute_ms as usize;
        self.slots[slot] += times;
        self.slots_weight += times;
    }

    /// The minutes in which the next start is expected after one at `last_start_ms` of an execution that ended at
    /// `last_end_ms`.
    pub fn expected(
        &self,
        last_start_ms: i64,
        last_end_ms: i64,
        minute_ms: i64,
    ) -> impl Iterator<Item = Minute> + Clone + '_ {
        let minute = last_start_ms.div_euclid(minute_ms);
        self.steps.iter().map(move |(step, weight)| Minute {
            from_ms: (minute + i64::from(*step)) * minute_ms - last_end_ms,
            probability: weight / self.weight,
        })
    }

    /// Where in their minute starts lie.
    pub fn phases(&self) -> Phases {
        let total = self.slots_weight + SLOT_PRIOR * SLOTS as f32;
        let mut below = [0.0; SLOTS + 2];
        for (slot, weight) in self.slots.iter().enumerate() {
            below[slot + 1] = below[slot] + (weight + SLOT_PRIOR) / total;
        }
        below[SLOTS + 1] = below[SLOTS];
        Phases { below }
    }

    /// As columns.
    pub(super) fn columns(&mut self, columns: &mut impl Columns) {
        let Self { steps, weight, slots, slots_weight } = self;
        columns.pairs(["clock_minutes", "clock_weights"], steps);
        columns.number("clock_weight", weight);
        columns.array("clock_slots", slots);
        columns.number("clock_slots_weight", slots_weight);
    }

    /// Makes all that was counted weigh `factor` of what it does.
    pub fn fade(&mut self, factor: f32) {
        self.steps.iter_mut().for_each(|(_, weight)| *weight *= factor);
        self.slots.iter_mut().for_each(|weight| *weight *= factor);
        self.weight *= factor;
        self.slots_weight *= factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    /// Returns whether so many minutes between two starts are new.
    fn record(clock: &mut Clock, last_start_ms: i64, start_ms: i64) -> bool {
        let (minutes, step) = clock.look(last_start_ms, start_ms, MINUTE);
        clock.record(&Look { idle_ms: 1, start_ms, bin: 0, minutes, step, is_new: false }, MINUTE, 1.0);
        step.is_none()
    }

    #[test]
    fn a_timer_with_jitter_is_expected_in_its_minute() {
        let mut clock = Clock::default();
        let starts = [17_000, 5 * MINUTE + 41_000, 10 * MINUTE + 2_000, 15 * MINUTE + 55_000];
        let new: Vec<_> = starts.windows(2).map(|pair| record(&mut clock, pair[0], pair[1])).collect();
        assert_eq!(new, [true, false, false]);
        let expected: Vec<_> = clock.expected(starts[3], starts[3] + 1_000, MINUTE).collect();
        assert_eq!(expected, [Minute { from_ms: 5 * MINUTE - 56_000, probability: 1.0 }]);
    }

    #[test]
    fn shares_add_up_and_follow_what_was_seen() {
        let mut clock = Clock::default();
        assert!((clock.phases().share(0.0, 1.0) - 1.0).abs() < 1e-6);
        assert!((clock.phases().share(0.25, 0.5) - 0.25).abs() < 1e-6);
        for minute in 0..100 {
            record(&mut clock, minute * MINUTE, (minute + 1) * MINUTE + 31_000);
        }
        assert!((clock.phases().share(0.0, 1.0) - 1.0).abs() < 1e-5);
        assert!(clock.phases().share(0.5, 0.584) > 0.99, "{:?}", clock.phases());
    }

    #[test]
    fn what_has_no_schedule_stays_small() {
        let mut clock = Clock::default();
        let mut start = 0;
        for i in 0..1000 {
            let next = start + i * MINUTE;
            record(&mut clock, start, next);
            start = next;
        }
        assert_eq!(clock.steps.len(), STEPS);
        assert!(clock.expected(start, start, MINUTE).map(|minute| minute.probability).sum::<f32>() < 0.03);
    }
}
