//! From counts per minute to arrivals in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::cells::Cells;
use super::{MINUTE_MS, Placement};
use crate::simulate::Arrival;

/// So many invocations of a function in a minute are placed at random; more are placed evenly, where chance would make
/// no difference that anybody sees: neither work nor memory may grow with a count.
pub const MOST_RANDOM: u32 = 1_000;

/// Minutes that the calendar looks ahead.
const AHEAD: u32 = 24 * 60;
/// No function.
const NONE: u32 = u32::MAX;

/// Arrivals minute by minute, so that only one minute's are in memory. Those of one millisecond come in the order of
/// their functions.
///
/// Which function is next comes from a calendar: for each minute ahead, a list of those whose next cell lies there. A
/// step costs O(1), whatever the number of functions.
#[derive(Debug)]
pub(super) struct Arrivals<'a> {
    durations_ms: &'a [f64],
    placement: Placement,
    cursors: Vec<Cursor<'a>>,
    /// The minutes `from..from + AHEAD` of the calendar.
    from: u32,
    /// How many of them are done.
    done: u32,
    /// The first function of each minute.
    firsts: Vec<u32>,
    minute: Minute,
}

#[derive(Debug)]
struct Cursor<'a> {
    cells: Cells<'a>,
    /// The cell to come.
    cell: Option<(u32, u32)>,
    /// The next function in the same minute's list.
    next: u32,
}

/// The arrivals of a minute that are left.
#[derive(Debug, Default)]
struct Minute {
    number: u32,
    sorted: std::vec::IntoIter<Arrival>,
    /// Functions with so many that they are not listed.
    many: BinaryHeap<Reverse<Evenly>>,
}

/// The next of a function's evenly placed arrivals; the first to come is the least.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Evenly {
    at_ms: i64,
    function: u32,
    i: u32,
    count: u32,
}

impl<'a> Arrivals<'a> {
    /// Of functions with their durations, by index.
    pub fn new(cells: impl Iterator<Item = Cells<'a>>, durations_ms: &'a [f64], placement: Placement) -> Self {
        let cursors = cells
            .map(|mut cells| {
                let cell = cells.next();
                Cursor { cells, cell, next: NONE }
            })
            .collect();
        let firsts = vec![NONE; AHEAD as usize];
        Self { durations_ms, placement, cursors, from: 0, done: AHEAD, firsts, minute: Minute::default() }
    }

    /// Goes on to the next minute with arrivals.
    fn next_minute(&mut self) -> Option<()> {
        let slot = loop {
            if let Some(slot) = (self.done..AHEAD).find(|slot| self.firsts[*slot as usize] != NONE) {
                break slot;
            }
            self.turn_page()?;
        };
        self.done = slot + 1;
        let minute = self.from + slot;
        let mut sorted = Vec::new();
        let mut many = Vec::new();
        let mut function = std::mem::replace(&mut self.firsts[slot as usize], NONE);
        while function != NONE {
            let cursor = &mut self.cursors[function as usize];
            let next = cursor.next;
            if let Some((_, count)) = cursor.cell {
                let duration_ms = of(self.durations_ms, function);
                if count > MOST_RANDOM {
                    let at_ms = evenly(minute, 0, count);
                    many.push(Reverse(Evenly { at_ms, function, i: 0, count }));
                } else {
                    place(self.placement, minute, function, count, |at_ms| {
                        sorted.push(Arrival { at_ms, duration_ms, function });
                    });
                }
            }
            cursor.cell = cursor.cells.next();
            self.enter(function);
            function = next;
        }
        sorted.sort_unstable_by_key(|arrival| (arrival.at_ms, arrival.function));
        self.minute = Minute { number: minute, sorted: sorted.into_iter(), many: BinaryHeap::from(many) };
        Some(())
    }

    /// Lays the calendar out from the next cell on.
    fn turn_page(&mut self) -> Option<()> {
        let next = self.cursors.iter().filter_map(|cursor| cursor.cell).map(|(minute, _)| minute).min()?;
        (self.from, self.done) = (next, 0);
        (0..self.cursors.len() as u32).for_each(|function| self.enter(function));
        Some(())
    }

    /// Enters a function into the calendar, if its next cell lies on the page.
    fn enter(&mut self, function: u32) {
        let cursor = &mut self.cursors[function as usize];
        if let Some((minute, _)) = cursor.cell
            && let Some(first) = self.firsts.get_mut((minute - self.from) as usize)
        {
            cursor.next = std::mem::replace(first, function);
        }
    }
}

impl Iterator for Arrivals<'_> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        loop {
            if let Some(arrival) = self.minute.next(self.durations_ms) {
                return Some(arrival);
            }
            self.next_minute()?;
        }
    }
}

impl Minute {
    fn next(&mut self, durations_ms: &[f64]) -> Option<Arrival> {
        let listed = self.sorted.as_slice().first().map(|arrival| (arrival.at_ms, arrival.function));
        let Some(mut first) = self.many.peek_mut() else { return self.sorted.next() };
        let Evenly { at_ms, function, i, count } = first.0;
        if listed.is_some_and(|listed| listed < (at_ms, function)) {
            return self.sorted.next();
        }
        if i + 1 < count {
            first.0 = Evenly { at_ms: evenly(self.number, i + 1, count), function, i: i + 1, count };
        } else {
            PeekMut::pop(first);
        }
        Some(Arrival { at_ms, duration_ms: of(durations_ms, function), function })
    }
}

fn of(durations_ms: &[f64], function: u32) -> f64 {
    durations_ms.get(function as usize).copied().unwrap_or(0.0)
}

/// When the i-th of `count` in a minute is, ms.
pub(in crate::simulate) fn evenly(minute: u32, i: u32, count: u32) -> i64 {
    after(minute, (f64::from(i) + 0.5) / f64::from(count))
}

/// The time when a share of a minute is over, to the nearest ms; a cast rounds what is positive down, and is cheap.
fn after(minute: u32, share: f64) -> i64 {
    i64::from(minute) * MINUTE_MS + (share * MINUTE_MS as f64 + 0.5) as i64
}

/// Hands out the times of a function's invocations in a minute, in no order.
pub(in crate::simulate) fn place(
    placement: Placement,
    minute: u32,
    function: u32,
    count: u32,
    mut take: impl FnMut(i64),
) {
    match placement {
        Placement::Even => (0..count).for_each(|i| take(evenly(minute, i, count))),
        Placement::Uniform { seed } => {
            // The same numbers for a function in a minute, whatever else is read.
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(u64::from(minute) << 32 | u64::from(function));
            (0..count).for_each(|_| take(after(minute, random.random_range(0.0..1.0))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Trace;
    use super::*;

    fn trace(cells: &[&[(u32, u32)]]) -> Trace {
        let functions = (0..cells.len()).map(|i| crate::simulate::Function {
            app: format!("a{i}").into(),
            name: "f".into(),
            trigger: None,
            memory_mb: None,
        });
        let durations_ms = (0..cells.len()).map(|i| i as f64).collect();
        Trace::from_cells(functions.collect(), durations_ms, cells.iter().map(|cells| cells.iter().copied()), 0)
    }

    fn arrivals(trace: &Trace, placement: Placement) -> Vec<(i64, u32)> {
        trace.arrivals(placement).map(|arrival| (arrival.at_ms, arrival.function)).collect()
    }

    #[test]
    fn evenly_in_the_order_of_time() {
        let trace = trace(&[&[(0, 2), (5000, 1)], &[(0, 1), (1, 1)], &[], &[(0, 1), (100_000, 1)]]);
        let expected =
            [(15_000, 0), (30_000, 1), (30_000, 3), (45_000, 0), (90_000, 1), (300_030_000, 0), (6_000_030_000, 3)];
        assert_eq!(arrivals(&trace, Placement::Even), expected);
        assert!(trace.arrivals(Placement::Even).all(|arrival| arrival.duration_ms == f64::from(arrival.function)));
    }

    #[test]
    fn many_in_a_minute_are_never_listed() {
        let trace = trace(&[&[(0, u32::MAX)], &[(0, 1), (1, MOST_RANDOM + 1)]]);
        assert_eq!(trace.arrivals(Placement::Uniform { seed: 1 }).take(1_000_000).count(), 1_000_000);
        let trace = super::tests::trace(&[&[(0, MOST_RANDOM + 1), (1, MOST_RANDOM)], &[(0, 1_500), (1, 3)]]);
        let even = arrivals(&trace, Placement::Even);
        let uniform = arrivals(&trace, Placement::Uniform { seed: 1 });
        assert_eq!(even.len() as u64, trace.invocations());
        assert!(even.is_sorted() && uniform.is_sorted());
        let minute = |of: &[(i64, u32)], minute| -> Vec<_> {
            of.iter().copied().filter(|(at_ms, _)| at_ms / MINUTE_MS == minute).collect()
        };
        assert_eq!(minute(&even, 0), minute(&uniform, 0));
        assert_ne!(minute(&even, 1), minute(&uniform, 1));
    }

    proptest::proptest! {
        /// The same as placing everything at once and sorting it.
        #[test]
        fn as_all_at_once(
            counts in proptest::collection::vec(proptest::collection::vec((0u32..4000, 1u32..1200), 0..6), 0..6),
            seed in 0u64..3,
        ) {
            let placement = if seed == 0 { Placement::Even } else { Placement::Uniform { seed } };
            let rows: Vec<_> = counts.iter().map(Vec::as_slice).collect();
            let trace = trace(&rows);
            let mut all = Vec::new();
            for function in 0..counts.len() as u32 {
                for (minute, count) in trace.cells(function) {
                    let placement = if count > MOST_RANDOM { Placement::Even } else { placement };
                    place(placement, minute, function, count, |at_ms| all.push((at_ms, function)));
                }
            }
            all.sort_unstable();
            proptest::prop_assert_eq!(arrivals(&trace, placement), all);
        }
    }
}
