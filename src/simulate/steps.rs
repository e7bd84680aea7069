//! A trace, app by app or minute by minute, as the steps that a policy sees: an invocation, or a run of them.
//!
//! A minute of an app costs about the same however many invocations it holds: those of one function lie evenly and are
//! one run, and where several functions share the minute, they are put in order one by one only as long as they are few.

use std::iter::Peekable;

use smallvec::SmallVec;

use crate::model::Trigger;
use crate::shadow::Run;

use super::traces::{Cells, MINUTE_MS, MOST_RANDOM, Placement, Trace, evenly, place};

/// Invocations in a minute that are steps of their own.
const MOST_SINGLE: u64 = 12;
/// Invocations of several functions in a minute that are put in order; for more, what they amount to is computed as if
/// their places were independent of each other.
const MOST_ORDERED: u64 = 64;

/// What happens next to an app.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// One invocation.
    One {
        /// Its start, ms.
        start_ms: i64,
        /// Its end, ms.
        end_ms: i64,
        /// What caused it.
        trigger: Option<Trigger>,
    },
    /// Several after another.
    Run(Run),
}

impl Step {
    /// When it begins, or for a run at the latest, ms.
    pub fn start_ms(&self) -> i64 {
        match self {
            Step::One { start_ms, .. } => *start_ms,
            Step::Run(run) => run.last_start_ms,
        }
    }
}

/// The minutes of one app that have invocations.
#[derive(Debug)]
pub(super) struct Minutes<'a> {
    trace: &'a Trace,
    placement: Placement,
    functions: Vec<(u32, Peekable<Cells<'a>>)>,
    /// What the minute at hand holds.
    beats: Vec<Beat>,
    /// `(start, function)` of invocations placed at random.
    starts: Vec<(i64, u32)>,
}

/// `count` invocations in a minute, evenly spaced. Functions with the same count start together, so that they are busy
/// for as long as the longest of them.
#[derive(Debug, Clone, Copy)]
struct Beat {
    count: u32,
    /// How many functions share it.
    functions: u32,
    /// Any of those.
    function: u32,
    duration_ms: i64,
}

impl Beat {
    /// When the i-th invocation starts, ms since the minute began.
    fn at_ms(&self, i: u32) -> i64 {
        evenly(0, i, self.count)
    }

    /// The part of the minute in which it executes.
    fn busy(&self) -> f64 {
        self.duration_ms as f64 * f64::from(self.count) / MINUTE_MS as f64
    }
}

/// No further minute.
pub(super) const NEVER: u32 = u32::MAX;

impl<'a> Minutes<'a> {
    /// Those of the app at `app` in [`Trace::apps`].
    pub fn new(trace: &'a Trace, app: usize, placement: Placement) -> Self {
        let cells = |function: &u32| (*function, trace.cells(*function).peekable());
        let functions = trace.apps()[app].functions.iter().map(cells).collect();
        Self { trace, placement, functions, beats: Vec::new(), starts: Vec::new() }
    }

    /// The next minute; [`NEVER`] at the end.
    pub fn peek(&mut self) -> u32 {
        self.functions
            .iter_mut()
            .filter_map(|(_, cells)| cells.peek())
            .map(|(minute, _)| *minute)
            .min()
            .unwrap_or(NEVER)
    }

    /// Appends the steps of `minute`, which is the next one, to `steps`.
    pub fn take(&mut self, minute: u32, steps: &mut Vec<Step>) {
        self.beats.clear();
        let random = matches!(self.placement, Placement::Uniform { .. });
        let (mut all, mut most) = (0, 0);
        for (function, cells) in &mut self.functions {
            let Some((_, count)) = cells.next_if(|(next, _)| *next == minute) else { continue };
            all += u64::from(count);
            most = most.max(count);
            let duration_ms = self.trace.duration_ms(*function).round() as i64;
            match self.beats.iter_mut().find(|beat| beat.count == count && !random) {
                Some(beat) => {
                    beat.functions += 1;
                    beat.duration_ms = beat.duration_ms.max(duration_ms);
                }
                None => self.beats.push(Beat { count, functions: 1, function: *function, duration_ms }),
            }
        }
        let begin_ms = i64::from(minute) * MINUTE_MS;
        match self.beats[..] {
            _ if random && most <= MOST_RANDOM => self.at_random(minute, steps),
            [beat] => self.one_beat(begin_ms, beat, steps),
            _ if all <= MOST_ORDERED => self.in_order(begin_ms, all <= MOST_SINGLE, steps),
            _ => self.crowd(begin_ms, steps),
        }
    }

    fn one(&self, start_ms: i64, beat: &Beat) -> Step {
        let trigger = self.trace.functions()[beat.function as usize].trigger;
        Step::One { start_ms, end_ms: start_ms + beat.duration_ms, trigger }
    }

    /// All idle times between them are alike.
    fn one_beat(&self, begin_ms: i64, beat: Beat, steps: &mut Vec<Step>) {
        let (first_ms, last_ms) = (begin_ms + beat.at_ms(0), begin_ms + beat.at_ms(beat.count - 1));
        steps.push(self.one(first_ms, &beat));
        let more = u64::from(beat.count) * u64::from(beat.functions) - 1;
        if more > 0 {
            let idle_ms = (last_ms - first_ms - i64::from(beat.count - 1) * beat.duration_ms).max(0) as f64;
            steps.push(Step::Run(Run {
                invocations: more,
                idle_times: if idle_ms > 0.0 { beat.count - 1 } else { 0 },
                idle_ms,
                last_start_ms: last_ms,
                last_end_ms: last_ms + beat.duration_ms,
            }));
        }
    }

    fn at_random(&mut self, minute: u32, steps: &mut Vec<Step>) {
        self.starts.clear();
        for beat in &self.beats {
            place(self.placement, minute, beat.function, beat.count, |at_ms| self.starts.push((at_ms, beat.function)));
        }
        self.starts.sort_unstable();
        for (start_ms, function) in &self.starts {
            let end_ms = start_ms + self.trace.duration_ms(*function).round() as i64;
            let trigger = self.trace.functions()[*function as usize].trigger;
            steps.push(Step::One { start_ms: *start_ms, end_ms, trigger });
        }
    }

    /// Goes through the invocations in the order of their starts. Those that are no steps of their own are runs of idle
    /// times of about the same length, by doublings.
    fn in_order(&self, begin_ms: i64, single: bool, steps: &mut Vec<Step>) {
        let mut next: SmallVec<[(i64, u32); 8]> = self.beats.iter().map(|beat| (beat.at_ms(0), 0)).collect();
        let mut alike = [(0_u32, 0_i64); 17];
        let (mut invocations, mut last_start_ms, mut last_end_ms) = (0, None, i64::MIN);
        while let Some((which, (start_ms, i))) = next
            .iter()
            .copied()
            .enumerate()
            .min_by_key(|(_, (start_ms, _))| *start_ms)
            .filter(|(_, next)| next.0 < i64::MAX)
        {
            let beat = &self.beats[which];
            next[which] = if i + 1 < beat.count { (beat.at_ms(i + 1), i + 1) } else { (i64::MAX, 0) };
            if single || last_start_ms.is_none() {
                steps.push(self.one(begin_ms + start_ms, beat));
                // Those that start together and end no later have no idle time of their own.
                invocations += u64::from(beat.functions - 1);
            } else {
                let idle_ms = (start_ms - last_end_ms).max(0);
                if idle_ms > 0 {
                    let (times, sum_ms) = &mut alike[idle_ms.ilog2() as usize];
                    *times += 1;
                    *sum_ms += idle_ms;
                }
                invocations += u64::from(beat.functions);
            }
            last_start_ms = Some(start_ms);
            last_end_ms = last_end_ms.max(start_ms + beat.duration_ms);
        }
        let Some(last_start_ms) = last_start_ms else { return };
        let run = |invocations, idle_times, idle_ms: i64| {
            Step::Run(Run {
                invocations,
                idle_times,
                idle_ms: idle_ms as f64,
                last_start_ms: begin_ms + last_start_ms,
                last_end_ms: begin_ms + last_end_ms,
            })
        };
        for (times, sum_ms) in alike.iter().filter(|(times, _)| *times > 0) {
            invocations -= u64::from(*times);
            steps.push(run(u64::from(*times), *times, *sum_ms));
        }
        if invocations > 0 {
            steps.push(run(invocations, 0, 0));
        }
    }

    /// Each beat is busy for some part of the minute. That none is has the product of the chances of each.
    fn crowd(&self, begin_ms: i64, steps: &mut Vec<Step>) {
        let Some(first) = self.beats.iter().min_by_key(|beat| beat.at_ms(0)) else { return };
        let start_ms = begin_ms + first.at_ms(0);
        steps.push(self.one(start_ms, first));
        let last_starts = self.beats.iter().map(|beat| (begin_ms + beat.at_ms(beat.count - 1), beat.duration_ms));
        let last_start_ms = last_starts.clone().map(|(start_ms, _)| start_ms).max().unwrap_or(start_ms);
        let last_end_ms = last_starts.map(|(start_ms, duration_ms)| start_ms + duration_ms).max().unwrap_or(start_ms);
        let free: f64 = self.beats.iter().map(|beat| (1.0 - beat.busy()).max(0.0)).product();
        // An invocation ends an idle time if all others are free as well; its own beat is by then.
        let idle_times = self.beats.iter().map(|beat| match beat.busy() {
            busy if busy < 1.0 => f64::from(beat.count) * free / (1.0 - busy),
            _ => 0.0,
        });
        let idle_times = (idle_times.sum::<f64>().round() - 1.0).clamp(0.0, f64::from(u32::MAX)) as u32;
        let invocations = self.beats.iter().map(|beat| u64::from(beat.count) * u64::from(beat.functions)).sum::<u64>();
        let idle_ms = (last_start_ms - start_ms) as f64 * free;
        steps.push(Step::Run(Run { invocations: invocations - 1, idle_times, idle_ms, last_start_ms, last_end_ms }));
    }
}
