//! When an app is invoked: all that is known of it.

use crate::checkpoint::Columns;
use crate::model::Trigger;

use super::{Activity, Clock, IdleHistogram, Shape};

/// What a policy wants to be kept of every app's arrivals.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Kept {
    /// Bins of the idle times.
    pub shape: Shape,
    /// Whether to keep the minutes between starts.
    pub clock: bool,
    /// How many of the last idle times to keep as a series.
    pub series: usize,
    /// Whether to keep how much an app does.
    pub activity: bool,
    /// How much what was counted weighs a day later, as a share.
    pub fade_per_day: f32,
    /// How long a minute of the workload's clock lasts, ms: 60,000 unless it runs faster.
    pub minute_ms: i64,
}

/// Which triggers an app's invocations had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Triggers(pub(super) u8);

/// Apps that are called in much the same way: what is learned from one holds for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Timers only.
    Timers,
    /// Timers among others.
    TimersAndOthers,
    /// HTTP only.
    Http,
    /// Queues only.
    Queue,
    /// Any others, and those that never said.
    Other,
}

/// How new the idle times of an app tend to be to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Novelty {
    /// How many were unlike any before.
    pub new: u32,
    /// How many came since the last such.
    pub since: u32,
}

/// When an app is invoked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arrivals {
    /// Idle times by length.
    pub idle: IdleHistogram,
    /// Minutes of the clock between starts.
    pub clock: Clock,
    /// How much it does.
    pub activity: Activity,
    /// How new the idle times were.
    pub idle_novelty: Novelty,
    /// How new the minutes between starts were.
    pub clock_novelty: Novelty,
    /// Idle times ever seen.
    pub idle_times: u32,
    /// Their sum, ms.
    pub idle_ms: f64,
    /// Bin of the last idle time; before the first, of the silence that was observed before the app appeared.
    pub last_bin: u16,
    /// Its triggers.
    pub triggers: Triggers,
    /// Start of the execution that started last, epoch ms.
    pub last_start_ms: i64,
    /// The latest end of an execution known, epoch ms.
    pub last_end_ms: i64,
    /// How well the histogram and the clock foretold the last idle times, as faded sums of logs.
    foretold: [f32; 2],
    /// The last idle times, ms, oldest first.
    series: Vec<f32>,
    day: i32,
}

/// An idle time that is over, as it looks to its app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Its length, ms.
    pub idle_ms: i64,
    /// The start that ended it, epoch ms.
    pub start_ms: i64,
    /// Its bin.
    pub bin: usize,
    /// Minutes of the clock between the starts.
    pub minutes: u32,
    /// Where the clock remembers as many minutes; `None` if it doesn't.
    pub step: Option<usize>,
    /// Whether its bin is empty so far.
    pub is_new: bool,
}

/// What a start meant for the app's idle time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// The app had been idle for so many ms, at least 1.
    Idle(i64),
    /// It started while another execution ran, or as it ended: no idle time.
    Overlap,
}

/// How much a forecast of long ago counts against one of now, per idle time.
const FORETOLD_FADE: f32 = 0.9;
/// What a forecast is taken to have said at least; the log of 0 would outweigh everything.
const FORETOLD_LEAST: f32 = 0.01;
/// Days before these have faded to nothing.
const DAYS_THAT_COUNT: i32 = 100;
/// The clock has nothing to say on idle times that are shorter than this part of a minute.
const SHORT_OF_MINUTE: i64 = 2;

impl Arrivals {
    /// After the app's first execution; `silence_ms` is for how long before it others were observed and it was not.
    pub fn first(start_ms: i64, end_ms: i64, silence_ms: i64, trigger: Option<Trigger>, kept: &Kept) -> Self {
        let mut arrivals = Self {
            idle: IdleHistogram::default(),
            clock: Clock::default(),
            activity: Activity::first(kept.day(start_ms)),
            idle_novelty: Novelty::default(),
            clock_novelty: Novelty::default(),
            idle_times: 0,
            idle_ms: 0.0,
            last_bin: kept.shape.bin(silence_ms) as u16,
            triggers: Triggers::default(),
            last_start_ms: start_ms,
            last_end_ms: end_ms,
            foretold: [0.0; 2],
            series: Vec::new(),
            day: kept.day(start_ms),
        };
        arrivals.triggers.add(trigger);
        if kept.clock {
            arrivals.clock.phase(start_ms, kept.minute_ms, 1.0);
        }
        arrivals
    }

    /// What a start would mean for the idle time, without applying it.
    pub const fn observe(&self, start_ms: i64) -> Observed {
        match start_ms - self.last_end_ms {
            idle_ms if idle_ms > 0 => Observed::Idle(idle_ms),
            _ => Observed::Overlap,
        }
    }

    /// An execution: the next idle time begins at its end, or at that of one that lasts longer.
    pub fn execute(&mut self, start_ms: i64, end_ms: i64) {
        self.last_start_ms = self.last_start_ms.max(start_ms);
        self.last_end_ms = self.last_end_ms.max(end_ms);
    }

    /// Takes one more execution into account, and the idle time that it ended.
    #[cfg(test)]
    pub fn apply(&mut self, start_ms: i64, end_ms: i64, kept: &Kept) -> Observed {
        let observed = self.observe(start_ms);
        if let Observed::Idle(idle_ms) = observed {
            self.record(&self.look(idle_ms, start_ms, kept), 1, kept);
        }
        self.execute(start_ms, end_ms);
        observed
    }

    /// What an idle time of `idle_ms` that ends with a start at `start_ms` means for the app, without counting it.
    pub fn look(&self, idle_ms: i64, start_ms: i64, kept: &Kept) -> Look {
        let bin = kept.shape.bin(idle_ms);
        let (minutes, step) = match kept.clock {
            true => self.clock.look(self.last_start_ms, start_ms, kept.minute_ms),
            false => (0, None),
        };
        Look { idle_ms, start_ms, bin, minutes, step, is_new: self.idle.count(bin, kept.shape) == 0.0 }
    }

    /// Counts `times` idle times that are like `look`. O(1).
    pub fn record(&mut self, look: &Look, times: u32, kept: &Kept) {
        let Look { idle_ms, start_ms, bin, .. } = *look;
        self.fade(kept.day(start_ms), kept);
        if kept.activity {
            self.activity.fade_to(self.day, kept.fade_per_day);
            self.activity.idle_times += f64::from(times);
            self.activity.idle_ms += idle_ms as f64 * f64::from(times);
        }
        if kept.clock {
            if idle_ms >= kept.minute_ms / SHORT_OF_MINUTE {
                self.score(bin, kept);
            }
            self.clock.record(look, kept.minute_ms, times as f32);
            self.clock_novelty.count(look.step.is_none(), times);
        }
        self.idle.record(bin, kept.shape, times as f32);
        self.idle_novelty.count(look.is_new, times);
        self.last_bin = bin as u16;
        self.idle_times = self.idle_times.saturating_add(times);
        self.idle_ms += idle_ms as f64 * f64::from(times);
        let more = kept.series.min(times as usize);
        self.series.drain(..(self.series.len() + more).saturating_sub(kept.series));
        self.series.extend(std::iter::repeat_n(idle_ms as f32, more));
    }

    /// How much the app does, as it weighs at `now_ms`.
    pub fn activity_at(&self, now_ms: i64, kept: &Kept) -> Activity {
        let mut activity = self.activity;
        activity.fade_to(kept.day(now_ms), kept.fade_per_day);
        activity
    }

    /// Counts invocations up to a start at `start_ms`. They fade by themselves: an app that is never idle counts too.
    pub fn count(&mut self, invocations: u64, start_ms: i64, kept: &Kept) {
        if kept.activity {
            self.activity.fade_to(kept.day(start_ms), kept.fade_per_day);
            self.activity.invocations += invocations as f64;
        }
    }

    fn fade(&mut self, day: i32, kept: &Kept) {
        if day > self.day {
            let factor = kept.fade_per_day.powi(day - self.day);
            self.idle.fade(factor);
            self.clock.fade(factor);
            self.day = day;
        }
    }

    /// Whether the minutes of the clock foretell the next start better than the idle times do.
    pub fn goes_by_the_clock(&self) -> bool {
        self.foretold[1] > self.foretold[0]
    }

    /// Mean idle time, ms; 0 while none is known.
    pub fn mean_idle_ms(&self) -> f64 {
        self.idle_ms / f64::from(self.idle_times.max(1))
    }

    /// The last idle times, ms, oldest first.
    pub fn series(&self) -> &[f32] {
        &self.series
    }

    /// The day of the last idle time; what was counted fades from one to the next.
    pub const fn day(&self) -> i32 {
        self.day
    }

    /// Which apps it is like.
    pub const fn class(&self) -> Class {
        self.triggers.class()
    }

    /// As columns.
    pub(super) fn columns(&mut self, columns: &mut impl Columns) {
        let Self {
            idle,
            clock,
            activity,
            idle_novelty,
            clock_novelty,
            idle_times,
            idle_ms,
            last_bin,
            triggers,
            last_start_ms,
            last_end_ms,
            foretold,
            series,
            day,
        } = self;
        columns.number("last_start_ms", last_start_ms);
        columns.number("last_end_ms", last_end_ms);
        columns.number("idle_times", idle_times);
        columns.number("idle_ms", idle_ms);
        columns.number("triggers", &mut triggers.0);
        columns.number("last_bin", last_bin);
        columns.number("day", day);
        columns.list("idle_series_ms", series);
        columns.array("foretold", foretold);
        idle.columns(columns);
        idle_novelty.columns(["idle_new", "idle_since"], columns);
        clock.columns(columns);
        clock_novelty.columns(["clock_new", "clock_since"], columns);
        activity.columns(*day, columns);
    }

    fn score(&mut self, bin: usize, kept: &Kept) {
        let by_histogram = if self.idle_times == 0 {
            0.0
        } else {
            self.idle.count(bin, kept.shape) / self.idle.total().max(f64::MIN_POSITIVE) as f32
        };
        let by_clock = if bin < kept.shape.bins() {
            let (lower_ms, upper_ms) = (kept.shape.lower_ms(bin), kept.shape.lower_ms(bin + 1));
            let phases = self.clock.phases();
            let share = |from_ms: i64| {
                let place = |ms: i64| (ms - from_ms) as f32 / kept.minute_ms as f32;
                phases.share(place(lower_ms), place(upper_ms))
            };
            self.clock
                .expected(self.last_start_ms, self.last_end_ms, kept.minute_ms)
                .filter(|minute| minute.from_ms < upper_ms && lower_ms < minute.from_ms + kept.minute_ms)
                .map(|minute| minute.probability * share(minute.from_ms))
                .sum()
        } else {
            0.0
        };
        for (foretold, probability) in self.foretold.iter_mut().zip([by_histogram, by_clock]) {
            *foretold = *foretold * FORETOLD_FADE + probability.max(FORETOLD_LEAST).ln();
        }
    }
}

impl Kept {
    fn day(&self, at_ms: i64) -> i32 {
        at_ms.div_euclid(self.day_ms()) as i32
    }

    const fn day_ms(&self) -> i64 {
        self.minute_ms * 24 * 60
    }

    /// The time from `from_ms` to `until_ms`, fading like what is counted in it, ms.
    pub fn faded_ms(&self, from_ms: i64, until_ms: i64) -> f64 {
        let last = self.day(until_ms);
        let first = self.day(from_ms).max(last - DAYS_THAT_COUNT);
        let part = |day: i32| {
            let begin_ms = i64::from(day) * self.day_ms();
            let ms = until_ms.min(begin_ms + self.day_ms()) - from_ms.max(begin_ms);
            ms as f64 * f64::from(self.fade_per_day).powi(last - day)
        };
        (first..=last).map(part).sum()
    }
}

impl Novelty {
    fn columns(&mut self, [new, since]: [&'static str; 2], columns: &mut impl Columns) {
        columns.number(new, &mut self.new);
        columns.number(since, &mut self.since);
    }

    const fn count(&mut self, new: bool, times: u32) {
        if new {
            self.new += 1;
            self.since = times - 1;
        } else {
            self.since = self.since.saturating_add(times);
        }
    }
}

impl Triggers {
    /// Adds one, where known.
    pub const fn add(&mut self, trigger: Option<Trigger>) {
        if let Some(trigger) = trigger {
            self.0 |= 1 << trigger as u8;
        }
    }

    /// A bit for each, by its place in [`Trigger::ALL`].
    pub const fn bits(self) -> u8 {
        self.0
    }

    const fn class(self) -> Class {
        const TIMER: u8 = 1 << Trigger::Timer as u8;
        const HTTP: u8 = 1 << Trigger::Http as u8;
        const QUEUE: u8 = 1 << Trigger::Queue as u8;
        match self.0 {
            TIMER => Class::Timers,
            HTTP => Class::Http,
            QUEUE => Class::Queue,
            others if others & TIMER != 0 => Class::TimersAndOthers,
            _ => Class::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const KEPT: Kept = Kept {
        shape: Shape::LogLinear { unit_ms: 1000, bins: 230 },
        clock: true,
        series: 5,
        activity: false,
        fade_per_day: 0.5,
        minute_ms: MINUTE,
    };

    fn after(starts: &[i64]) -> Arrivals {
        let mut arrivals = Arrivals::first(starts[0], starts[0] + 100, 0, None, &KEPT);
        for start in &starts[1..] {
            arrivals.apply(*start, *start + 100, &KEPT);
        }
        arrivals
    }

    #[test]
    fn jitter_within_the_minute_is_for_the_clock_and_a_free_running_period_is_not() {
        let jitter = |i: i64| (i * i * 7919 + i * 104_729) % MINUTE;
        let by_the_clock: Vec<_> = (0..40).map(|i| i * 5 * MINUTE + jitter(i)).collect();
        assert!(after(&by_the_clock).goes_by_the_clock());
        let free_running: Vec<_> = (0..40).map(|i| i * 275_000).collect();
        assert!(!after(&free_running).goes_by_the_clock());
    }

    #[test]
    fn a_run_counts_like_its_idle_times_one_by_one() {
        let starts: Vec<_> = (0..10).map(|i| i * 4_100).collect();
        let single = after(&starts);
        let mut run = Arrivals::first(0, 100, 0, None, &KEPT);
        run.record(&run.look(4_000, 4_100, &KEPT), 9, &KEPT);
        assert_eq!((single.idle, single.idle_novelty), (run.idle, run.idle_novelty));
        assert_eq!((single.idle_ms, single.series), (run.idle_ms, run.series));
    }

    #[test]
    fn yesterday_weighs_less() {
        let day = 24 * 60 * MINUTE;
        let arrivals = after(&[0, MINUTE, 2 * MINUTE, day, day + MINUTE]);
        assert_eq!(arrivals.idle.total(), 2.0 * 0.5 + 2.0);
        assert_eq!(arrivals.idle_times, 4);
    }

    #[test]
    fn classes() {
        let class = |triggers: &[Trigger]| {
            let mut set = Triggers::default();
            triggers.iter().for_each(|trigger| set.add(Some(*trigger)));
            set.class()
        };
        assert_eq!(class(&[]), Class::Other);
        assert_eq!(class(&[Trigger::Timer, Trigger::Timer]), Class::Timers);
        assert_eq!(class(&[Trigger::Timer, Trigger::Http]), Class::TimersAndOthers);
        assert_eq!(class(&[Trigger::Queue, Trigger::Http]), Class::Other);
    }
}
