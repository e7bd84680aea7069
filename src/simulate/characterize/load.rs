//! Invocations over time (§3.3).

use serde::Serialize;

use super::percent;
use crate::simulate::traces::Trace;

const HOUR_MS: i64 = 3_600_000;
const DAY_HOURS: usize = 24;

/// Invocations by hour.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Load {
    /// The first hour, counted from the beginning of the trace's first day.
    pub first_hour: u32,
    /// Invocations of each whole hour since.
    pub hourly: Vec<u64>,
}

impl Load {
    /// Each hour in percent of the busiest one, with its number since the beginning of the first day.
    pub fn relative(&self) -> Vec<(f64, f64)> {
        let peak = self.hourly.iter().copied().max().unwrap_or(0) as f64;
        let at = |i: usize| f64::from(self.first_hour) + i as f64;
        let points = self.hourly.iter().enumerate();
        points.filter_map(|(i, count)| Some((at(i), percent(*count as f64, peak)?))).collect()
    }

    /// The quietest hour in percent of the busiest one; `None` for less than a whole day, which has not seen both.
    pub fn base_percent(&self) -> Option<f64> {
        let (least, most) = (self.hourly.iter().min()?, self.hourly.iter().max()?);
        if self.hourly.len() < DAY_HOURS { None } else { percent(*least as f64, *most as f64) }
    }
}

/// Counts by hour while cells are read.
#[derive(Debug)]
pub(super) struct Hours {
    counts: Vec<u64>,
    /// The whole hours: parts of one at either end would look like a drop.
    whole: std::ops::Range<u32>,
}

impl Hours {
    pub(super) fn new(trace: &Trace) -> Self {
        let hour = |ms: i64| u32::try_from(ms.max(0) / HOUR_MS).unwrap_or(0);
        let whole = hour(trace.begin_ms() + HOUR_MS - 1)..hour(trace.end_ms());
        Self { counts: vec![0; whole.end as usize], whole }
    }

    pub(super) fn add(&mut self, minute: u32, count: u32) {
        if let Some(hour) = self.counts.get_mut((minute / 60) as usize) {
            *hour += u64::from(count);
        }
    }

    pub(super) fn finish(self) -> Load {
        let (first, end) = (self.whole.start, self.whole.end);
        let hourly = self.counts.get(first as usize..end as usize).unwrap_or_default().to_vec();
        if hourly.is_empty() { Load::default() } else { Load { first_hour: first, hourly } }
    }
}
