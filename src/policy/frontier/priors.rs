//! What the apps of one partition teach about each other: how an app goes on of which little is known, and how often
//! even a well-known one does something new.
//!
//! An app's next idle time is either like one that it had before, or new to it. The chance of something new is counted
//! over all apps by how much variety they showed and how long ago the last news was: what text compressors know as
//! secondary escape estimation. What news looks like is a mixture of four guesses (near its own idle times, in a usual
//! ratio to the last one, as other apps of its class begin, anything at all), whose weights follow how well each
//! foretold the news so far.

use crate::checkpoint::Columns;
use crate::state::{Arrivals, Class, Look, Novelty};

use super::prediction::{Bins, Guess, floor};
use super::{BINS, KEPT_NEWS};

/// Ratios of two idle times that are told apart: so many bins down, as many up.
pub(super) const REACH: usize = 128;
/// Apps are grouped by how many idle times they had: 0, 1, 2, 4, 8, 16 or 32 and more.
const AGES: usize = 7;
/// Idle times without news, by doublings.
const CALMS: usize = 15;
/// Different news so far: 1, 2, 4, 9, 19, 39 or more.
const VARIETIES: usize = 7;
const CLASSES: usize = 5;

/// How much a guess at the start counts, in observations.
const START: f32 = 2.0;
/// How much the estimate over all classes counts in that of a class, in observations.
const ALL_CLASSES: f32 = 4.0;
/// An app with more idle times than this counts like one with so many.
const BUSY: f32 = 512.0;
/// Of a busy app's idle times, one in so many is counted, for all of them;
const SAMPLE: u32 = 8;
/// and no more than about so many until their number has doubled.
const BUSY_SAMPLES: u32 = 64;
/// Idle times by which an app teaches the others how apps begin.
const BEGINNING: u32 = 64;

/// What was learned from the apps of one partition.
#[derive(Debug, Clone)]
pub struct Priors {
    /// Class → minutes from start to start, as bins.
    begins: Vec<Table<{ BINS + 1 }>>,
    /// Class and age → ratio of an idle time to the one before it, as a difference of bins.
    ratios: Vec<Table<{ 2 * REACH + 1 }>>,
    /// Class and age → how well each guess foretold news.
    guesses: Vec<[f32; KEPT_NEWS]>,
    /// Memory, class, calm and variety → `(news, idle times)`; past the classes, all of them together.
    news: Vec<[f32; 2]>,
}

/// What an app's idle time teaches about other apps.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    class: Class,
    bin: u16,
    /// Bin of the time from start to start.
    between_starts: u16,
    /// Place of its ratio to the idle time before it.
    ratio: Option<u16>,
    ratio_context: u16,
    guess_context: u16,
    /// Of a busy app, it counts for less.
    weight: f32,
    /// If it is news: what share of the app's idle times was near it.
    near: Option<f32>,
    /// For each memory: the contexts, and by how much `(news, idle times)` grow in them.
    news: Option<[([u16; 2], [f32; 2]); 2]>,
    /// How much it says of the way in which apps begin.
    beginning: Option<f32>,
}

impl Lesson {
    /// What is to be learned of an app that in the state `arrivals` had `times` idle times like `look` next; mostly
    /// nothing.
    pub(super) fn of(arrivals: &Arrivals, look: &Look, times: u32, bins: &Bins) -> Option<Self> {
        let Look { bin, start_ms, .. } = *look;
        let known = arrivals.idle_times > 0;
        let weight = (BUSY / arrivals.idle_times.max(1) as f32).min(1.0);
        // Of a busy app's idle times that are no news, one in a few speaks for all: it is the same each time.
        let sample = if weight < 1.0 { (arrivals.idle_times / BUSY_SAMPLES).max(SAMPLE) } else { 1 };
        let speaks = arrivals.idle_times % sample < times;
        let is_new = [!known || look.is_new, !known || look.step.is_none()];
        if !speaks && is_new == [false, false] {
            return None;
        }
        let counted = times.max(sample) as f32;
        let news = |memory: Memory| {
            let new = if is_new[memory as usize] { weight } else { 0.0 };
            (news_contexts(arrivals, memory), [new, if speaks { weight * counted } else { 0.0 }])
        };
        Some(Self {
            class: arrivals.class(),
            bin: bin as u16,
            between_starts: bins.shape.bin(start_ms - arrivals.last_start_ms) as u16,
            ratio: ratio(arrivals, bin).map(|ratio| ratio as u16),
            ratio_context: ratio_context(arrivals) as u16,
            guess_context: guess_context(arrivals) as u16,
            weight,
            near: is_new[Memory::of(arrivals) as usize].then(|| bins.near(arrivals, bin)),
            news: known.then(|| [news(Memory::Idle), news(Memory::Clock)]),
            // The later ones say less of how apps begin.
            beginning: (arrivals.idle_times < BEGINNING).then(|| 1.0 / (1.0 + arrivals.idle_times as f32 / 4.0)),
        })
    }
}

/// A histogram that begins with a guess.
#[derive(Debug, Clone)]
pub(super) struct Table<const N: usize> {
    weights: [f32; N],
    total: f32,
}

/// Which of an app's two memories is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// The idle-time histogram.
    Idle = 0,
    /// The minutes between starts.
    Clock = 1,
}

/// A mixture of [`Guess`]es about news, and the chance of any.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct News {
    /// Chance that the next idle time is new to the app.
    pub chance: f32,
    /// Weight of each guess; they add up to `chance`.
    pub guesses: [f32; KEPT_NEWS],
}

impl Default for Priors {
    fn default() -> Self {
        let begins = Table::new(floor().map(|share| share * START));
        let ratios = Table::new([START / (2 * REACH + 1) as f32; 2 * REACH + 1]);
        let guesses = |age: usize| match age {
            // Nothing of its own to be near to.
            0 => [0.0, 0.5, 1.0, 0.1],
            _ => [0.05 * age as f32, 0.6, 0.4, 0.1],
        };
        Self {
            begins: vec![begins; CLASSES],
            ratios: vec![ratios; CLASSES * 2],
            guesses: (0..CLASSES * AGES).map(|i| guesses(i % AGES)).collect(),
            news: vec![[0.0; 2]; 2 * (CLASSES + 1) * CALMS * VARIETIES],
        }
    }
}

impl Priors {
    /// As columns.
    pub fn columns(&mut self, columns: &mut impl Columns) {
        let Self { begins, ratios, guesses, news } = self;
        table_columns(begins, "prior_begins", columns);
        table_columns(ratios, "prior_ratios", columns);
        columns.array("prior_guesses", guesses.as_flattened_mut());
        columns.array("prior_news", news.as_flattened_mut());
    }

    /// How apps of the class begin: start to start, as bins.
    pub(super) fn begins(&self, class: Class) -> &Table<{ BINS + 1 }> {
        &self.begins[class as usize]
    }

    /// How an idle time relates to the one before it.
    pub(super) fn ratios(&self, arrivals: &Arrivals) -> &Table<{ 2 * REACH + 1 }> {
        &self.ratios[ratio_context(arrivals)]
    }

    /// What to expect beyond what the app did before.
    pub(super) fn news(&self, arrivals: &Arrivals, memory: Memory) -> News {
        let chance = self.chance(arrivals, memory);
        let mut guesses = self.guesses[guess_context(arrivals)];
        let total: f32 = guesses.iter().sum();
        guesses.iter_mut().for_each(|guess| *guess *= chance / total);
        News { chance, guesses }
    }

    /// Takes a lesson into account.
    pub fn learn(&mut self, lesson: &Lesson) {
        if let Some(near) = lesson.near {
            self.weigh_guesses(lesson, near);
        }
        for (contexts, counts) in lesson.news.iter().flatten() {
            for context in contexts {
                let [new, all] = &mut self.news[usize::from(*context)];
                *new += counts[0];
                *all += counts[1];
            }
        }
        if let Some(weight) = lesson.beginning {
            self.begins[lesson.class as usize].add(usize::from(lesson.between_starts), weight);
            if let Some(ratio) = lesson.ratio {
                self.ratios[usize::from(lesson.ratio_context)].add(usize::from(ratio), weight);
            }
        }
    }

    /// One step of expectation maximisation: each guess gains by its share in having foretold this.
    fn weigh_guesses(&mut self, lesson: &Lesson, near: f32) {
        let ratios = &self.ratios[usize::from(lesson.ratio_context)];
        let mut foretold = [0.0; KEPT_NEWS];
        foretold[Guess::Near as usize] = near;
        foretold[Guess::Ratio as usize] = lesson.ratio.map_or(0.0, |ratio| ratios.share(usize::from(ratio)));
        foretold[Guess::Begin as usize] = self.begins(lesson.class).share(usize::from(lesson.between_starts));
        foretold[Guess::Anything as usize] = floor()[usize::from(lesson.bin)];
        let guesses = &mut self.guesses[usize::from(lesson.guess_context)];
        let total: f32 = guesses.iter().zip(&foretold).map(|(guess, foretold)| guess * foretold).sum();
        if total > 0.0 {
            for (guess, foretold) in guesses.iter_mut().zip(foretold) {
                *guess += lesson.weight * *guess * foretold / total;
            }
        }
    }

    fn chance(&self, arrivals: &Arrivals, memory: Memory) -> f32 {
        if arrivals.idle_times == 0 {
            return 1.0;
        }
        let [class, all] = news_contexts(arrivals, memory).map(|context| self.news[usize::from(context)]);
        // Before anything is known: as often as it was new to this app so far.
        let own = memory.novelty(arrivals).new as f32;
        let own = own / (arrivals.idle_times as f32 + own);
        let over_all = (all[0] + START * own) / (all[1] + START);
        (class[0] + ALL_CLASSES * over_all) / (class[1] + ALL_CLASSES)
    }
}

impl<const N: usize> Table<N> {
    fn new(weights: [f32; N]) -> Self {
        Self { weights, total: weights.iter().sum() }
    }

    fn add(&mut self, at: usize, weight: f32) {
        self.weights[at] += weight;
        self.total += weight;
    }

    fn share(&self, at: usize) -> f32 {
        self.weights[at] / self.total
    }

    /// The weights, and by what to divide them.
    pub(super) const fn parts(&self) -> (&[f32; N], f32) {
        (&self.weights, self.total)
    }
}

impl Memory {
    /// The one that foretells the app's starts better.
    pub(super) fn of(arrivals: &Arrivals) -> Self {
        if arrivals.goes_by_the_clock() { Self::Clock } else { Self::Idle }
    }

    const fn novelty(self, arrivals: &Arrivals) -> Novelty {
        match self {
            Self::Idle => arrivals.idle_novelty,
            Self::Clock => arrivals.clock_novelty,
        }
    }
}

/// Tables as one column: the weights of each, and their total.
fn table_columns<const N: usize>(tables: &mut [Table<N>], name: &'static str, columns: &mut impl Columns) {
    let flat = |table: &Table<N>| table.weights.into_iter().chain([table.total]);
    let mut numbers: Vec<f32> = tables.iter().flat_map(flat).collect();
    columns.array(name, &mut numbers);
    for (table, numbers) in tables.iter_mut().zip(numbers.chunks_exact(N + 1)) {
        table.weights.copy_from_slice(&numbers[..N]);
        table.total = numbers[N];
    }
}

/// The place in the table of ratios of an idle time in `bin` to the last one.
fn ratio(arrivals: &Arrivals, bin: usize) -> Option<usize> {
    (bin + REACH).checked_sub(usize::from(arrivals.last_bin)).filter(|ratio| *ratio <= 2 * REACH)
}

fn ratio_context(arrivals: &Arrivals) -> usize {
    arrivals.class() as usize * 2 + usize::from(arrivals.idle_times > 0)
}

fn guess_context(arrivals: &Arrivals) -> usize {
    arrivals.class() as usize * AGES + doublings(arrivals.idle_times).min(AGES - 1)
}

/// Of the app's class, and of all.
fn news_contexts(arrivals: &Arrivals, memory: Memory) -> [u16; 2] {
    let novelty = memory.novelty(arrivals);
    let variety = [2, 3, 5, 10, 20, 40].partition_point(|at_least| *at_least <= novelty.new);
    let calm = doublings(novelty.since).min(CALMS - 1);
    [arrivals.class() as usize, CLASSES]
        .map(|class| (((memory as usize * (CLASSES + 1) + class) * CALMS + calm) * VARIETIES + variety) as u16)
}

/// 0, 1, 2-3, 4-7, ... → 0, 1, 2, 3, ...
fn doublings(count: u32) -> usize {
    count.checked_ilog2().map_or(0, |log| log as usize + 1)
}
