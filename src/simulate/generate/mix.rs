//! Apps by combination of triggers and by number of functions ("Serverless in the Wild", §3.1 and §3.2).

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::model::Trigger;

/// All triggers; a trigger is an index into this.
pub(super) const TRIGGERS: [Trigger; 7] = [
    Trigger::Http,
    Trigger::Queue,
    Trigger::Event,
    Trigger::Orchestration,
    Trigger::Timer,
    Trigger::Storage,
    Trigger::Other,
];
/// [`Trigger::Event`]
pub(super) const EVENT: usize = 2;
/// [`Trigger::Orchestration`]
pub(super) const ORCHESTRATION: usize = 3;
/// [`Trigger::Timer`]
pub(super) const TIMER: usize = 4;

const LETTERS: &[u8; 7] = b"HQEOTSo";

/// Percent of apps by combination: HTTP, queue, event, orchestration, timer, storage, other. The first nine are
/// published (figure 3b); the others fill up the rest so that 29.15 % of apps have a timer.
const COMBINATIONS: [(&str, f64); 39] = [
    ("H", 43.27),
    ("T", 13.36),
    ("Q", 9.47),
    ("HT", 4.59),
    ("HQ", 4.22),
    ("E", 3.01),
    ("S", 2.80),
    ("TQ", 2.57),
    ("HTQ", 2.48),
    ("Ho", 1.69),
    ("HS", 1.05),
    ("HO", 1.03),
    ("HTo", 0.66),
    ("HQo", 0.56),
    ("HTS", 0.52),
    ("To", 0.51),
    ("HE", 0.50),
    ("Qo", 0.50),
    ("o", 0.50),
    ("HTE", 0.45),
    ("HTQo", 0.45),
    ("HTO", 0.42),
    ("TQo", 0.40),
    ("TS", 0.40),
    ("HQS", 0.36),
    ("HSo", 0.36),
    ("TE", 0.36),
    ("QS", 0.33),
    ("TO", 0.33),
    ("HQE", 0.32),
    ("HQO", 0.32),
    ("HTQS", 0.32),
    ("TQS", 0.30),
    ("QE", 0.29),
    ("QO", 0.27),
    ("TQE", 0.27),
    ("HTQO", 0.26),
    ("HTQE", 0.25),
    ("TQO", 0.25),
];

/// Share of apps by number of functions: `(from, to, share)`; the last goes on as a power law to [`MOST_FUNCTIONS`].
const SIZES: [(u32, u32, f64); 6] =
    [(1, 1, 0.54), (2, 2, 0.16), (3, 3, 0.10), (4, 5, 0.08), (6, 10, 0.07), (11, MOST_FUNCTIONS, 0.05)];
/// No app has more functions.
const MOST_FUNCTIONS: u32 = 400;
/// 0.04 % of apps have more than 100 functions: `0.05·(100/11)^-2.19`.
const LARGE_EXPONENT: f64 = 2.19;
/// How much larger than others apps with a trigger tend to be, by trigger. Workflows are many small functions.
const SIZE_TILT: [f64; 7] = [0.2, -0.3, -1.2, 2.7, -0.4, -0.8, -0.45];

/// A set of triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Triggers(u8);

impl Triggers {
    /// Timers only.
    pub const TIMER: Self = Self(1 << TIMER);

    fn read(letters: &str) -> Self {
        let bit = |letter: u8| LETTERS.iter().position(|known| *known == letter).map_or(0, |place| 1 << place);
        Self(letters.bytes().map(bit).fold(0, |set: u8, bit: u8| set | bit))
    }

    /// Whether the trigger is in it.
    pub fn has(self, trigger: usize) -> bool {
        self.0 & (1 << trigger) != 0
    }

    /// The triggers in it.
    pub fn iter(self) -> impl Iterator<Item = usize> + Clone {
        (0..TRIGGERS.len()).filter(move |trigger| self.has(*trigger))
    }

    /// How many.
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }
}

/// Triggers and size of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// What its functions are triggered by.
    pub triggers: Triggers,
    /// How many functions.
    pub functions: u32,
}

impl Kind {
    /// Whether it has more functions than four apps in five.
    pub fn is_large(self) -> bool {
        self.functions > 3
    }
}

/// The kinds of so many apps, in the published shares as nearly as whole apps allow.
pub(super) fn apportion(apps: u32, rng: &mut ChaCha8Rng) -> Vec<Kind> {
    let joint = joint();
    let total: f64 = joint.iter().flatten().sum();
    let mut kinds = Vec::with_capacity(apps as usize);
    // Systematic sampling: each cell gets its share rounded up or down, and so does any run of cells.
    let offset: f64 = rng.random_range(0.0..1.0);
    let mut sum = offset;
    for ((letters, _), row) in COMBINATIONS.iter().zip(&joint) {
        for (share, size) in row.iter().zip(&SIZES) {
            let before = sum.floor();
            sum += share / total * f64::from(apps);
            for _ in 0..(sum.floor() - before) as u32 {
                let triggers = Triggers::read(letters);
                kinds.push(Kind { triggers, functions: functions(*size, rng).max(triggers.len()) });
            }
        }
    }
    // Rounding of the sum may cost or add one.
    kinds.truncate(apps as usize);
    while kinds.len() < apps as usize {
        kinds.push(Kind { triggers: Triggers::read("H"), functions: 1 });
    }
    kinds
}

fn functions((from, to, _): (u32, u32, f64), rng: &mut ChaCha8Rng) -> u32 {
    let u: f64 = rng.random_range(0.0..1.0);
    let exponent = if to == MOST_FUNCTIONS { LARGE_EXPONENT } else { 1.0 };
    let end = f64::from(to + 1) / f64::from(from);
    // Inverse of the CDF of a power law cut off at `to`.
    let cut = 1.0 - end.powf(-exponent);
    ((f64::from(from) * (1.0 - u * cut).powf(-1.0 / exponent)) as u32).clamp(from, to)
}

/// Shares by combination and size that have both published marginals: iterative proportional fitting.
fn joint() -> Vec<[f64; SIZES.len()]> {
    let mut joint: Vec<[f64; SIZES.len()]> = COMBINATIONS
        .iter()
        .map(|(letters, _)| {
            let triggers = Triggers::read(letters);
            let mut row = [0.0; SIZES.len()];
            for (class, (cell, (_, to, _))) in row.iter_mut().zip(&SIZES).enumerate() {
                let tilt: f64 = triggers.iter().map(|trigger| SIZE_TILT[trigger]).sum();
                *cell = if *to >= triggers.len() { (class as f64 + 1.0).powf(tilt) } else { 0.0 };
            }
            row
        })
        .collect();
    for _ in 0..200 {
        for (row, (_, percent)) in joint.iter_mut().zip(&COMBINATIONS) {
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|cell| *cell *= percent / 100.0 / sum);
        }
        for (class, (_, _, share)) in SIZES.iter().enumerate() {
            let sum: f64 = joint.iter().map(|row| row[class]).sum();
            joint.iter_mut().for_each(|row| row[class] *= share / sum);
        }
    }
    joint
}
