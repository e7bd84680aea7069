//! An app's arrivals, and what was learned from others → where its next idle time lies.

use std::sync::LazyLock;

use crate::state::{Arrivals, Shape};

use super::priors::{Memory, Priors, REACH};
use super::{BINS, KEPT_NEWS};

/// How far around an idle time of an app its news are looked for, bins: a third of its length.
const NEAR: usize = 8;

/// Bins to a part, in sums over all of them.
const PART: usize = 5;
const _: () = assert!(BINS.is_multiple_of(PART));
/// Guesses of less weight are not made exactly.
const FAINT: f32 = 0.01;

/// What news of an app can be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guess {
    /// Near its own idle times.
    Near = 0,
    /// In a usual ratio to its last idle time.
    Ratio = 1,
    /// As apps of its class begin.
    Begin = 2,
    /// Any length, each order of magnitude as likely.
    Anything = 3,
}

/// The bins that frontier counts in.
#[derive(Debug, Clone, PartialEq)]
pub struct Bins {
    pub(super) shape: Shape,
    pub(super) minute_ms: i64,
    /// Widths, s of the workload's own clock.
    pub(super) widths_s: [f32; BINS],
    pub(super) floor: [f32; BINS + 1],
}

/// The chance that the next idle time lies in each bin; the last is beyond all.
pub(super) type Prediction = [f32; BINS + 1];

impl Bins {
    /// With `unit_ms` for the first bins and `minute_ms` for a minute of the workload's clock.
    pub(super) fn new(unit_ms: i64, minute_ms: i64) -> Self {
        let shape = Shape::LogLinear { unit_ms, bins: BINS };
        let widths_s = std::array::from_fn(|bin| (shape.lower_ms(bin + 1) - shape.lower_ms(bin)) as f32 / 1000.0);
        Self { shape, minute_ms, widths_s, floor: *floor() }
    }

    /// The share of an app's idle times around `bin`, the nearer the more; what [`smooth`] gives that bin.
    pub(super) fn near(&self, arrivals: &Arrivals, bin: usize) -> f32 {
        let counts = arrivals.idle.counts();
        let from = bin.saturating_sub(NEAR);
        let sum: f32 =
            (from..(bin + NEAR + 1).min(counts.len())).map(|other| counts[other] * KERNEL[other + NEAR - bin]).sum();
        sum / (arrivals.idle.total() as f32).max(f32::MIN_POSITIVE)
    }

    /// Where the next idle time of an app lies.
    pub(super) fn predict(&self, arrivals: &Arrivals, priors: &Priors) -> Prediction {
        let memory = Memory::of(arrivals);
        let news = priors.news(arrivals, memory);
        let guess = |guess: Guess| news.guesses[guess as usize];
        let mut mass = self.floor;
        mass.iter_mut().for_each(|mass| *mass *= guess(Guess::Anything));

        let (weights, total) = priors.ratios(arrivals).parts();
        let scale = guess(Guess::Ratio) / total;
        // Bin b lies b - last bins above the last one.
        let first = REACH.saturating_sub(usize::from(arrivals.last_bin));
        let skipped = usize::from(arrivals.last_bin).saturating_sub(REACH);
        for (mass, weight) in mass[skipped..].iter_mut().zip(&weights[first..]) {
            *mass += scale * weight;
        }

        let (weights, total) = priors.begins(arrivals.class()).parts();
        let scale = guess(Guess::Begin) / total;
        let busy_ms = arrivals.last_end_ms - arrivals.last_start_ms;
        if busy_ms < self.shape.lower_ms(1) || guess(Guess::Begin) < FAINT {
            mass.iter_mut().zip(weights).for_each(|(mass, weight)| *mass += scale * weight);
        } else {
            self.add_shifted(&mut mass, weights, scale, busy_ms);
        }

        if arrivals.idle_times > 0 {
            let own_total = (arrivals.idle.total() as f32).max(f32::MIN_POSITIVE);
            smooth(&mut mass, arrivals.idle.counts(), guess(Guess::Near) / own_total);
            let again = 1.0 - news.chance;
            match memory {
                Memory::Clock => self.add_minutes(&mut mass, arrivals, again),
                Memory::Idle => {
                    let scale = again / own_total;
                    mass.iter_mut().zip(arrivals.idle.counts()).for_each(|(mass, count)| *mass += scale * count);
                }
            }
            mass[BINS] +=
                if memory == Memory::Idle { again } else { 0.0 } * arrivals.idle.out_of_bounds() as f32 / own_total;
        }
        mass
    }

    /// The time that the next idle time is expected to spend in each bin, s; half the bin's width where it ends there.
    pub(super) fn stay_s(&self, mass: &Prediction) -> [f32; BINS] {
        let mut stay = [0.0; BINS];
        let mut beyond = mass[BINS];
        // Each addition has to wait for the one before: so the few of a part are added up by themselves first.
        let parts = mass[..BINS].chunks_exact(PART).zip(self.widths_s.chunks_exact(PART));
        for (stay, (mass, widths_s)) in stay.chunks_exact_mut(PART).zip(parts).rev() {
            let mut above = 0.0;
            for (stay, here) in stay.iter_mut().zip(mass).rev() {
                *stay = above + here * 0.5;
                above += here;
            }
            stay.iter_mut().zip(widths_s).for_each(|(stay, width_s)| *stay = (*stay + beyond) * width_s);
            beyond += above;
        }
        stay
    }

    /// Adds the minutes in which the clock expects a start.
    fn add_minutes(&self, mass: &mut Prediction, arrivals: &Arrivals, again: f32) {
        let clock = &arrivals.clock;
        let phases = clock.phases();
        let per_ms = 1.0 / self.minute_ms as f32;
        for minute in clock.expected(arrivals.last_start_ms, arrivals.last_end_ms, self.minute_ms) {
            let weight = again * minute.probability;
            let first = self.shape.bin(minute.from_ms);
            let after = self.shape.bin(minute.from_ms + self.minute_ms - 1).min(BINS - 1);
            let mut below = phases.below((self.shape.lower_ms(first) - minute.from_ms) as f32 * per_ms);
            for (bin, mass) in mass.iter_mut().enumerate().take(after + 1).skip(first) {
                let above = phases.below((self.shape.lower_ms(bin + 1) - minute.from_ms) as f32 * per_ms);
                *mass += weight * (above - below);
                below = above;
            }
            if first == BINS {
                mass[BINS] += weight;
            }
        }
    }

    /// Adds `weights` moved towards 0 by `busy_ms`: from start to start becomes from end to start.
    fn add_shifted(&self, mass: &mut Prediction, weights: &Prediction, scale: f32, busy_ms: i64) {
        mass[BINS] += scale * weights[BINS];
        for (bin, weight) in weights.iter().enumerate().take(BINS).skip(self.shape.bin(busy_ms)) {
            let (from_ms, until_ms) = (self.shape.lower_ms(bin) - busy_ms, self.shape.lower_ms(bin + 1) - busy_ms);
            let per_ms = scale * weight / (until_ms - from_ms) as f32;
            let mut to = self.shape.bin(from_ms);
            while to < BINS && self.shape.lower_ms(to) < until_ms {
                let overlap_ms = self.shape.lower_ms(to + 1).min(until_ms) - self.shape.lower_ms(to).max(from_ms);
                mass[to] += per_ms * overlap_ms as f32;
                to += 1;
            }
        }
    }
}

/// A triangle of `2 × NEAR + 1` bins that adds up to 1.
const KERNEL: [f32; 2 * NEAR + 1] = {
    let mut kernel = [0.0; 2 * NEAR + 1];
    let mut i = 0;
    while i < kernel.len() {
        kernel[i] = (NEAR + 1 - NEAR.abs_diff(i)) as f32 / ((NEAR + 1) * (NEAR + 1)) as f32;
        i += 1;
    }
    kernel
};

/// Adds `counts`, each spread over its neighbours. What would fall out of the range is left out.
fn smooth(mass: &mut Prediction, counts: &[f32], scale: f32) {
    for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
        let weight = scale * count;
        let cut = NEAR.saturating_sub(bin);
        for (mass, kernel) in mass[bin + cut - NEAR..BINS].iter_mut().zip(&KERNEL[cut..]) {
            *mass += weight * kernel;
        }
    }
}

/// Any length, each order of magnitude as likely from half a second on; one part in thirteen beyond the range.
pub(super) fn floor() -> &'static [f32; BINS + 1] {
    static FLOOR: LazyLock<[f32; BINS + 1]> = LazyLock::new(|| {
        let shape = Shape::LogLinear { unit_ms: 1000, bins: BINS };
        let log = |bin: usize| (shape.lower_ms(bin) as f32).max(500.0).ln();
        let mut floor: [f32; BINS + 1] =
            std::array::from_fn(|bin| if bin < BINS { log(bin + 1) - log(bin) } else { 1.0 });
        let total: f32 = floor.iter().sum();
        floor.iter_mut().for_each(|share| *share /= total);
        floor
    });
    &FLOOR
}

const _: () = assert!(KEPT_NEWS == 4, "one weight a guess");
