//! When to solve for the price anew: at moments that follow from the events alone.

use crate::checkpoint::Columns;

/// From one moment to the next in the first hour, minutes.
const EARLY: i64 = 10;
/// The same from then on.
const LATER: i64 = 60;

/// The moments at which a shard solves for its price: every 10 minutes in the first hour after its first event, and
/// hourly from then on, in the workload's own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    began_ms: i64,
    next_ms: i64,
    minute_ms: i64,
}

impl Schedule {
    /// Begins at `began_ms`; a minute of the workload lasts `minute_ms`.
    pub const fn new(began_ms: i64, minute_ms: i64) -> Self {
        Self { began_ms, next_ms: began_ms + EARLY * minute_ms, minute_ms }
    }

    /// As columns, once it has begun.
    pub fn columns(schedule: &mut Option<Self>, minute_ms: i64, columns: &mut impl Columns) {
        let (mut began_ms, mut next_ms) = (schedule.map(|at| at.began_ms), schedule.map(|at| at.next_ms));
        columns.optional("solving_began_ms", &mut began_ms);
        columns.optional("solving_next_ms", &mut next_ms);
        *schedule = began_ms.zip(next_ms).map(|(began_ms, next_ms)| Self { began_ms, next_ms, minute_ms });
    }

    /// The moment that has come, if one has by `now_ms`: the last one, if several have.
    pub const fn due(&mut self, now_ms: i64) -> Option<i64> {
        let mut due = None;
        while self.next_ms <= now_ms {
            due = Some(self.next_ms);
            let early = self.next_ms - self.began_ms < LATER * self.minute_ms;
            self.next_ms += if early { EARLY } else { LATER } * self.minute_ms;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ten_minutes_and_then_hourly() {
        let mut schedule = Schedule::new(5, 10);
        let moments: Vec<_> = (0..2500).filter_map(|now_ms| schedule.due(now_ms)).collect();
        assert_eq!(moments, [105, 205, 305, 405, 505, 605, 1205, 1805, 2405]);
        assert_eq!(schedule.due(100_000), Some(99_605), "a long silence is one moment");
    }
}
