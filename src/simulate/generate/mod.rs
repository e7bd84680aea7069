//! A synthetic workload with the published characterisation of a FaaS platform: "Serverless in the Wild" (Shahrad et
//! al., USENIX ATC 2020). `figures.rs` lists every figure with its tolerance; the tests compare them.
//!
//! [`Generator::new`] plans all apps together (`mix`, `plan`): triggers, number of functions and rate. Each app's
//! properties (`population`) and each of its days (`timers`, `arrivals`) then come from random streams of their own, so
//! that any app and any day can be generated alone, in any order, on any thread, with the same result.
//!
//! What is modelled, and what is not:
//! - The grain is the minute. Within it, a function's invocations are spread evenly, as the simulator places them, and
//!   the coefficients of variation (CV) of times between invocations are those of that placement.
//! - Rare functions are invoked at least once a week, from the first day on: what is never invoked is in no trace. A
//!   trace of fewer than 7 days misses some of them.
//! - Memory ends at 4,000 MB and average durations at an hour; no timer runs longer than its period, and no function
//!   keeps more than 500 executions running on average.
//!
//! Where published figures contradict each other:
//! - CV of all apps: 13.36 % of apps with only timers and 70.85 % without cannot mix to 0.44, 0.57 and 0.71 at 0.5, 1 and
//!   2, even if all other apps lay below 0.5. The two groups are matched, and all apps come out up to 0.05 lower. The
//!   same holds at 0.
//! - Durations: the log-normal fit is matched. The CDF that was read from the plot has fewer short functions, 0.14
//!   against 0.21 at 0.1 s.
//! - 18.6 % of apps are above once a minute by the text, 16 to 20 % by the plot: apps at exactly once a minute lie on
//!   the jump, those with a little more beside it.

mod arrivals;
pub mod azure2019;
pub mod events;
#[cfg(test)]
mod figures;
pub mod history;
mod mix;
mod plan;
mod population;
#[cfg(test)]
mod tests;
mod timers;

pub use population::{App, AppFunction, Duration, Memory};

use arrivals::{Arrivals, DAY_MINUTES, Day, Hill};
use plan::Plan;

const DAY_MS: i64 = 86_400_000;

/// Invocations of a function: `(minute since the beginning of the first day, how many)`, only where there are any.
pub type Counts = Vec<(u32, u32)>;

/// What to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many apps.
    pub apps: u32,
    /// How many days.
    pub days: u32,
    /// The same seed gives the same workload.
    pub seed: u64,
    /// Beginning of the first day, epoch ms, UTC.
    pub start_ms: i64,
}

/// Generates a workload.
#[derive(Debug, Clone)]
pub struct Generator {
    options: Options,
    plans: Vec<Plan>,
    hill: Hill,
}

impl Generator {
    /// Plans the apps; what each does is generated when it is asked for.
    pub fn new(options: Options) -> Self {
        Self { options, plans: plan::plans(options.apps, options.seed), hill: Hill::new() }
    }

    /// What it was made with.
    pub fn options(&self) -> Options {
        self.options
    }

    /// The apps, one after the other.
    pub fn apps(&self) -> impl Iterator<Item = App> + '_ {
        let Options { apps, seed, .. } = self.options;
        (0..).zip(&self.plans).map(move |(index, plan)| population::app(plan, index, apps, seed))
    }

    /// Each app with the invocations of each of its functions, in the order of the functions.
    pub fn iter(&self) -> impl Iterator<Item = (App, Vec<Counts>)> + '_ {
        let mut arrivals = self.arrivals();
        self.apps().map(move |app| {
            let mut found = vec![Counts::new(); app.functions.len()];
            for number in 0..self.options.days {
                let day = self.day(number);
                for (found, counts) in found.iter_mut().zip(arrivals.day(&app, day)) {
                    let begin = number * DAY_MINUTES;
                    let any = (begin..).zip(counts).filter(|(_, count)| **count > 0);
                    found.extend(any.map(|(minute, count)| (minute, *count)));
                }
            }
            (app, found)
        })
    }

    fn arrivals(&self) -> Arrivals<'_> {
        Arrivals::new(&self.hill, self.options.seed)
    }

    fn day(&self, number: u32) -> Day {
        // 1970-01-01 was a Thursday; weeks begin on Monday.
        let weekday = (self.options.start_ms.div_euclid(DAY_MS) + 3 + i64::from(number)).rem_euclid(7);
        Day { number, weekday: weekday as u32 }
    }
}
