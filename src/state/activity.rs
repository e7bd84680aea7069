//! How much an app does: invocations and idle times, the old ones weighing less from day to day.

use crate::checkpoint::Columns;

/// Counts of one app that fade like its histograms, for what policies expect of all apps together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Activity {
    /// First invocations: one at the beginning.
    pub firsts: f64,
    /// Invocations, the first among them.
    pub invocations: f64,
    /// Idle times that are over.
    pub idle_times: f64,
    /// Their sum, ms.
    pub idle_ms: f64,
    /// Those that the windows in force missed.
    pub cold: f64,
    day: i32,
}

impl Activity {
    /// After the app's first invocation.
    pub(super) const fn first(day: i32) -> Self {
        Self { firsts: 1.0, invocations: 1.0, idle_times: 0.0, idle_ms: 0.0, cold: 0.0, day }
    }

    /// As a column: nothing, while no more than the first invocation on `day` is counted.
    pub(super) fn columns(&mut self, day: i32, columns: &mut impl Columns) {
        let Self { firsts, invocations, idle_times, idle_ms, cold, day: own_day } = *self;
        let mut values = match invocations > 1.0 {
            true => vec![firsts, invocations, idle_times, idle_ms, cold, f64::from(own_day)],
            false => Vec::new(),
        };
        columns.list("activity", &mut values);
        *self = match values[..] {
            [firsts, invocations, idle_times, idle_ms, cold, day] => {
                Self { firsts, invocations, idle_times, idle_ms, cold, day: day as i32 }
            }
            _ => Self::first(day),
        };
    }

    /// Makes what was counted on earlier days than `day` weigh less, `per_day` of it for each.
    pub(super) fn fade_to(&mut self, day: i32, per_day: f32) {
        if day > self.day {
            let factor = f64::from(per_day).powi(day - self.day);
            let counts =
                [&mut self.firsts, &mut self.invocations, &mut self.idle_times, &mut self.idle_ms, &mut self.cold];
            counts.into_iter().for_each(|count| *count *= factor);
            self.day = day;
        }
    }
}
