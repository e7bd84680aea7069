//! From a trace to what happens to an app, in as few steps as possible.
//!
//! A minute costs about the same however many invocations it holds: those of one function lie evenly and are one run,
//! and where several functions share the minute, they are put in order one by one only as long as they are few. Steps
//! that follow each other and mean the same to any policy become one: idle times within the same second, or the beats of
//! a timer.

use smallvec::SmallVec;

use crate::model::Trigger;
use crate::shadow::Run;
use crate::state::Triggers;

use super::Arrival;
use super::traces::{Cells, MINUTE_MS, MOST_RANDOM, Placement, Trace, evenly, place};

/// Invocations in a minute that are put in order as they are.
const MOST_SINGLE: u64 = 12;
/// Invocations of several functions in a minute that are put in order; for more, what they amount to is computed as if
/// their places were independent of each other.
const MOST_ORDERED: u64 = 64;
/// Shorter idle times are alike if they lie in the same second, ms: the clock has nothing to say of them.
const SHORT_MS: i64 = 30_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

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

    /// A single invocation.
    pub fn of(arrival: &Arrival, trace: &Trace) -> Self {
        let end_ms = arrival.at_ms + arrival.duration_ms.round() as i64;
        let trigger = trace.functions()[arrival.function as usize].trigger;
        Step::One { start_ms: arrival.at_ms, end_ms, trigger }
    }
}

/// The minutes of one app that have invocations.
#[derive(Debug)]
pub(super) struct Minutes<'a> {
    placement: Placement,
    functions: Vec<Function<'a>>,
    /// The minute of each function's cell to come; beside them, because every minute looks through all of these.
    due: Vec<u32>,
    /// The next one with invocations; [`NEVER`] at the end.
    next: u32,
    /// What the minute at hand holds.
    beats: Vec<Beat>,
    /// Invocations placed at random.
    starts: Vec<(i64, Beat)>,
    joiner: Joiner,
}

/// Joins steps that mean the same.
#[derive(Debug)]
struct Joiner {
    /// The step that may grow still.
    open: Option<Open>,
    last_start_ms: i64,
    last_end_ms: i64,
    /// Triggers seen so far: what is joined has none of its own.
    triggers: Triggers,
    /// Whether to join anything.
    joins: bool,
}

/// A step that may grow.
#[derive(Debug, Clone, Copy)]
struct Open {
    run: Run,
    /// Between the starts of its last two invocations.
    spacing_ms: i64,
    /// Its idle time, or the mean of them.
    idle_ms: i64,
    /// While it is a single invocation: what triggered it.
    single: Option<Option<Trigger>>,
}

#[derive(Debug)]
struct Function<'a> {
    index: u32,
    duration_ms: i64,
    trigger: Option<Trigger>,
    cells: Cells<'a>,
    /// Invocations in its cell to come.
    count: u32,
}

/// `count` invocations in a minute, evenly spaced. Functions with the same count start together, so that they are busy
/// for as long as the longest of them.
#[derive(Debug, Clone, Copy)]
struct Beat {
    count: u32,
    /// How many functions share it.
    functions: u32,
    /// Any of those, and what triggers it.
    function: u32,
    trigger: Option<Trigger>,
    duration_ms: i64,
}

/// No further minute.
pub(super) const NEVER: u32 = u32::MAX;

impl<'a> Minutes<'a> {
    /// Those of the app at `app` in [`Trace::apps`].
    pub fn new(trace: &'a Trace, app: usize, placement: Placement) -> Self {
        let functions = trace.apps()[app].functions.iter().map(|index| {
            let mut cells = trace.cells(*index);
            let (due, count) = cells.next().unwrap_or((NEVER, 0));
            let duration_ms = trace.duration_ms(*index).round() as i64;
            let trigger = trace.functions()[*index as usize].trigger;
            (Function { index: *index, duration_ms, trigger, cells, count }, due)
        });
        let (functions, due): (Vec<_>, Vec<_>) = functions.unzip();
        let next = due.iter().copied().min().unwrap_or(NEVER);
        Self { placement, functions, due, next, beats: Vec::new(), starts: Vec::new(), joiner: Joiner::default() }
    }

    /// Leaves all steps of a minute apart from each other, and the first of each as it is.
    pub const fn apart(mut self) -> Self {
        self.joiner.joins = false;
        self
    }

    /// When the first invocation of the next minute starts.
    pub fn first_start_ms(&self) -> Option<i64> {
        let here = self.functions.iter().zip(&self.due).filter(|(_, due)| **due == self.next && self.next != NEVER);
        here.map(|(Function { index, count, .. }, minute)| {
            if self.placement == Placement::Even || *count > MOST_RANDOM {
                return evenly(*minute, 0, *count);
            }
            let mut first_ms = i64::MAX;
            place(self.placement, *minute, *index, *count, |at_ms| first_ms = first_ms.min(at_ms));
            first_ms
        })
        .min()
    }

    /// The next minute; [`NEVER`] at the end.
    pub const fn next(&self) -> u32 {
        self.next
    }

    /// Appends the steps before the beginning of `minute` to `steps`.
    pub fn take_until(&mut self, minute: u32, steps: &mut Vec<Step>) {
        while self.next < minute {
            self.take(steps);
        }
        self.joiner.close(steps);
    }

    /// Appends the steps of the next minute, but for one that may grow still.
    fn take(&mut self, steps: &mut Vec<Step>) {
        self.beats.clear();
        let random = matches!(self.placement, Placement::Uniform { .. });
        let (minute, mut all, mut most) = (self.next, 0, 0);
        self.next = NEVER;
        for (place, due) in self.due.iter_mut().enumerate() {
            if *due == minute {
                let function = &mut self.functions[place];
                let Function { index, duration_ms, trigger, count, .. } = *function;
                (*due, function.count) = function.cells.next().unwrap_or((NEVER, 0));
                all += u64::from(count);
                most = most.max(count);
                match self.beats.iter_mut().find(|beat| beat.count == count && !random) {
                    Some(beat) => {
                        beat.functions += 1;
                        beat.duration_ms = beat.duration_ms.max(duration_ms);
                    }
                    None => self.beats.push(Beat { count, functions: 1, function: index, trigger, duration_ms }),
                }
            }
            self.next = self.next.min(*due);
        }
        let begin_ms = i64::from(minute) * MINUTE_MS;
        let Self { joiner, beats, .. } = self;
        match beats[..] {
            _ if random && most <= MOST_RANDOM => self.at_random(minute, steps),
            [beat] if !beat.is_among_others(begin_ms, joiner) => beat.alone(begin_ms, joiner, steps),
            _ if all <= MOST_ORDERED => in_order(begin_ms, beats, all <= MOST_SINGLE, joiner, steps),
            [beat] => beat.alone(begin_ms, joiner, steps),
            _ => crowd(begin_ms, beats, joiner, steps),
        }
    }

    fn at_random(&mut self, minute: u32, steps: &mut Vec<Step>) {
        self.starts.clear();
        for beat in &self.beats {
            place(self.placement, minute, beat.function, beat.count, |at_ms| self.starts.push((at_ms, *beat)));
        }
        self.starts.sort_unstable_by_key(|(start_ms, beat)| (*start_ms, beat.function));
        for (start_ms, beat) in &self.starts {
            self.joiner.one(*start_ms, beat, steps);
        }
    }
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

    /// Whether an execution of an earlier minute lasts longer than its first one.
    fn is_among_others(&self, begin_ms: i64, joiner: &Joiner) -> bool {
        joiner.last_end_ms > begin_ms + self.at_ms(0) + self.duration_ms
    }

    /// Has the minute to itself: all idle times in it are alike.
    fn alone(&self, begin_ms: i64, joiner: &mut Joiner, steps: &mut Vec<Step>) {
        let first_ms = begin_ms + self.at_ms(0);
        joiner.one(first_ms, self, steps);
        let more = u64::from(self.count - 1) * u64::from(self.functions);
        if more > 0 {
            let last_ms = begin_ms + self.at_ms(self.count - 1);
            let idle_ms = (last_ms - first_ms - i64::from(self.count - 1) * self.duration_ms).max(0) as f64;
            joiner.run(
                Run {
                    invocations: more,
                    idle_times: if idle_ms > 0.0 { self.count - 1 } else { 0 },
                    idle_ms,
                    last_start_ms: last_ms,
                    last_end_ms: joiner.last_end_ms.max(last_ms + self.duration_ms),
                },
                steps,
            );
        }
    }
}

/// Goes through the invocations in the order of their starts. Those that are not `single` are runs of idle times of
/// about the same length, by doublings.
fn in_order(begin_ms: i64, beats: &[Beat], single: bool, joiner: &mut Joiner, steps: &mut Vec<Step>) {
    let mut next: SmallVec<[(i64, u32); 8]> = beats.iter().map(|beat| (beat.at_ms(0), 0)).collect();
    let mut alike = [(0_u32, 0_i64); 17];
    let (mut invocations, mut last_start_ms) = (0, None);
    let mut last_end_ms = joiner.last_end_ms.saturating_sub(begin_ms);
    while let Some((which, (start_ms, i))) = next
        .iter()
        .copied()
        .enumerate()
        .min_by_key(|(_, (start_ms, _))| *start_ms)
        .filter(|(_, next)| next.0 < i64::MAX)
    {
        let beat = &beats[which];
        next[which] = if i + 1 < beat.count { (beat.at_ms(i + 1), i + 1) } else { (i64::MAX, 0) };
        if single || last_start_ms.is_none() {
            joiner.one(begin_ms + start_ms, beat, steps);
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
    let run = |invocations, idle_times, idle_ms: i64| Run {
        invocations,
        idle_times,
        idle_ms: idle_ms as f64,
        last_start_ms: begin_ms + last_start_ms,
        last_end_ms: begin_ms + last_end_ms,
    };
    for (times, sum_ms) in alike.iter().filter(|(times, _)| *times > 0) {
        invocations -= u64::from(*times);
        joiner.run(run(u64::from(*times), *times, *sum_ms), steps);
    }
    if invocations > 0 {
        joiner.run(run(invocations, 0, 0), steps);
    }
}

/// Each beat is busy for some part of the minute. That none is has the product of the chances of each.
fn crowd(begin_ms: i64, beats: &[Beat], joiner: &mut Joiner, steps: &mut Vec<Step>) {
    let Some(first) = beats.iter().min_by_key(|beat| beat.at_ms(0)) else { return };
    let start_ms = begin_ms + first.at_ms(0);
    joiner.one(start_ms, first, steps);
    let last_starts = beats.iter().map(|beat| (begin_ms + beat.at_ms(beat.count - 1), beat.duration_ms));
    let last_start_ms = last_starts.clone().map(|(start_ms, _)| start_ms).max().unwrap_or(start_ms);
    let last_end_ms = last_starts.map(|(start_ms, duration_ms)| start_ms + duration_ms).max().unwrap_or(start_ms);
    let free: f64 = beats.iter().map(|beat| (1.0 - beat.busy()).max(0.0)).product();
    // An invocation ends an idle time if all others are free as well; its own beat is by then.
    let idle_times = beats.iter().map(|beat| match beat.busy() {
        busy if busy < 1.0 => f64::from(beat.count) * free / (1.0 - busy),
        _ => 0.0,
    });
    // Executions of earlier minutes may last on.
    let span_ms = (last_start_ms - start_ms) as f64;
    let left_ms = (last_start_ms - joiner.last_end_ms.clamp(start_ms, last_start_ms)) as f64;
    let idle_times = (idle_times.sum::<f64>() * left_ms / span_ms.max(1.0)).round() - 1.0;
    let idle_times = idle_times.clamp(0.0, f64::from(u32::MAX)) as u32;
    let invocations = beats.iter().map(|beat| u64::from(beat.count) * u64::from(beat.functions)).sum::<u64>();
    let invocations = invocations - u64::from(first.functions);
    let idle_ms = if idle_times > 0 { left_ms * free } else { 0.0 };
    let last_end_ms = joiner.last_end_ms.max(last_end_ms);
    joiner.run(Run { invocations, idle_times, idle_ms, last_start_ms, last_end_ms }, steps);
}

impl Default for Joiner {
    fn default() -> Self {
        let triggers = Triggers::default();
        Self { open: None, last_start_ms: i64::MIN, last_end_ms: i64::MIN, triggers, joins: true }
    }
}

impl Joiner {
    /// An invocation of each function of `beat`, at the same time: only the first has an idle time.
    fn one(&mut self, start_ms: i64, beat: &Beat, steps: &mut Vec<Step>) {
        let idle_ms = start_ms.saturating_sub(self.last_end_ms).max(0);
        let end_ms = self.last_end_ms.max(start_ms + beat.duration_ms);
        let one = Open {
            run: Run {
                invocations: 1,
                idle_times: u32::from(idle_ms > 0),
                idle_ms: idle_ms as f64,
                last_start_ms: start_ms,
                last_end_ms: start_ms + beat.duration_ms,
            },
            spacing_ms: start_ms.saturating_sub(self.last_start_ms),
            idle_ms,
            single: Some(beat.trigger),
        };
        let (is_first, known) = (self.last_end_ms == i64::MIN, self.triggers);
        self.triggers.add(beat.trigger);
        // The first of all, and of a trigger, stays by itself.
        if is_first || known != self.triggers {
            self.close(steps);
            self.open = Some(one);
            self.close(steps);
        } else {
            self.add(one, steps);
        }
        if beat.functions > 1 {
            let invocations = u64::from(beat.functions - 1);
            let rest = Run { invocations, idle_times: 0, idle_ms: 0.0, last_start_ms: start_ms, last_end_ms: end_ms };
            self.run(rest, steps);
        }
        (self.last_start_ms, self.last_end_ms) = (start_ms, end_ms);
    }

    fn run(&mut self, run: Run, steps: &mut Vec<Step>) {
        let idle_ms = (run.idle_ms / f64::from(run.idle_times.max(1))) as i64;
        self.add(Open { run, spacing_ms: 0, idle_ms, single: None }, steps);
        self.last_start_ms = self.last_start_ms.max(run.last_start_ms);
        self.last_end_ms = self.last_end_ms.max(run.last_end_ms);
    }

    fn add(&mut self, next: Open, steps: &mut Vec<Step>) {
        match &mut self.open {
            Some(open) if self.joins && open.is_like(&next) => open.grow(&next),
            _ => {
                self.close(steps);
                self.open = Some(next);
            }
        }
    }

    /// What is open grows no more.
    fn close(&mut self, steps: &mut Vec<Step>) {
        let Some(Open { run, single, .. }) = self.open.take() else { return };
        steps.push(match single {
            Some(trigger) => Step::One { start_ms: run.last_start_ms, end_ms: run.last_end_ms, trigger },
            None => Step::Run(run),
        });
    }
}

impl Open {
    /// Whether what comes next is the same to any policy: it has no idle time, or one as long, to the second where that
    /// is short, else to the ms and as long after the last start. A day begins with a step of its own, as plans do.
    fn is_like(&self, next: &Self) -> bool {
        if next.run.idle_times == 0 {
            return true;
        }
        let alike = if next.idle_ms < SHORT_MS {
            self.idle_ms / 1000 == next.idle_ms / 1000
        } else {
            self.idle_ms == next.idle_ms && self.spacing_ms == next.spacing_ms
        };
        let day = |open: &Self| open.run.last_start_ms / DAY_MS;
        alike && self.run.idle_times > 0 && day(self) == day(next)
    }

    fn grow(&mut self, next: &Self) {
        self.single = None;
        self.run.invocations += next.run.invocations;
        self.run.idle_times += next.run.idle_times;
        self.run.idle_ms += next.run.idle_ms;
        self.run.last_start_ms = self.run.last_start_ms.max(next.run.last_start_ms);
        self.run.last_end_ms = self.run.last_end_ms.max(next.run.last_end_ms);
    }
}
