//! One app's way through a trace, and what each contender makes of it.

use crate::policy::{Lesson, Pending, Planner};
use crate::shadow::Account;

use super::Arrival;
use super::contender::{Contender, OracleKind};
use super::engine::{AppCosts, Rules};
use super::oracle::IdleTimes;
use super::steps::{Minutes, Step};
use super::traces::{MINUTE_MS, Trace};

/// An app.
#[derive(Debug)]
pub(super) struct Lane<'a> {
    steps: Steps<'a>,
    memory_mb: f64,
    end_ms: i64,
    /// One a contender.
    entries: Vec<Entry>,
}

/// What happens to the app.
#[derive(Debug)]
enum Steps<'a> {
    /// As counts per minute tell it.
    Minutes(Minutes<'a>),
    /// As single invocations tell it, in the order of their starts.
    Singles { trace: &'a Trace, arrivals: Vec<&'a Arrival>, next: usize },
}

#[derive(Debug, Clone)]
enum Entry {
    Policy { account: Option<Box<Account>>, lessons: Vec<Lesson> },
    Oracle { times: IdleTimes, kind: OracleKind, price_mb_s: f64 },
}

impl<'a> Lane<'a> {
    /// Those of all apps, in the order of [`Trace::apps`].
    pub fn of_all(trace: &'a Trace, contenders: &[&Contender], rules: Rules) -> Vec<Self> {
        let entries: Vec<_> = contenders.iter().filter_map(|contender| Entry::new(contender)).collect();
        let mut singles = trace.singles().map(|arrivals| {
            let mut by_app = vec![Vec::new(); trace.apps().len()];
            let apps = app_of_function(trace);
            arrivals.iter().for_each(|arrival| by_app[apps[arrival.function as usize]].push(arrival));
            by_app
        });
        let lane = |(app, functions): (usize, &super::traces::AppFunctions)| Self {
            steps: match &mut singles {
                Some(by_app) => Steps::Singles { trace, arrivals: std::mem::take(&mut by_app[app]), next: 0 },
                None => Steps::Minutes(Minutes::new(trace, app, rules.placement)),
            },
            memory_mb: functions.memory_mb.unwrap_or(rules.default_memory_mb),
            end_ms: trace.end_ms(),
            entries: entries.clone(),
        };
        trace.apps().iter().enumerate().map(lane).collect()
    }

    /// When the first invocation starts, before any step was taken; `None` if there is none.
    pub fn first_start_ms(&self) -> Option<i64> {
        match &self.steps {
            Steps::Minutes(minutes) => minutes.first_start_ms(),
            Steps::Singles { arrivals, .. } => arrivals.first().map(|arrival| arrival.at_ms),
        }
    }

    /// Goes on up to the beginning of `minute`; `planners` are those of the contenders, where they have one. `steps` is
    /// room to work in.
    pub fn run_until(&mut self, minute: u32, planners: &[Option<Planner>], steps: &mut Vec<Step>) {
        steps.clear();
        self.steps.take_until(minute, steps);
        if steps.is_empty() {
            return;
        }
        for (entry, planner) in self.entries.iter_mut().zip(planners) {
            match (entry, planner) {
                (Entry::Policy { account, lessons }, Some(planner)) => {
                    let mut learner = Pending { planner, lessons };
                    for step in &*steps {
                        match (&mut *account, step) {
                            (Some(account), Step::One { start_ms, end_ms, trigger }) => {
                                account.arrive(&mut learner, *start_ms, *end_ms, *trigger);
                            }
                            (Some(account), Step::Run(run)) => account.run(&mut learner, run),
                            (empty, Step::One { start_ms, end_ms, trigger }) => {
                                let account = Account::open(planner, *start_ms, *end_ms, *trigger, self.memory_mb);
                                *empty = Some(Box::new(account));
                            }
                            // A run comes after one invocation at least.
                            (None, Step::Run(_)) => {}
                        }
                    }
                }
                (Entry::Oracle { times, .. }, _) => times.take(steps),
                (Entry::Policy { .. }, None) => {}
            }
        }
    }

    /// What the contender at `place` has to learn from this app.
    pub fn lessons(&mut self, place: usize) -> impl Iterator<Item = Lesson> {
        let lessons = match &mut self.entries[place] {
            Entry::Policy { lessons, .. } => Some(lessons.drain(..)),
            Entry::Oracle { .. } => None,
        };
        lessons.into_iter().flatten()
    }

    /// What the policy at `place` made of it so far, if it is one and the app was invoked.
    pub fn account(&self, place: usize) -> Option<&Account> {
        match &self.entries[place] {
            Entry::Policy { account, .. } => account.as_deref(),
            Entry::Oracle { .. } => None,
        }
    }

    /// What the app would have cost under the contender at `place`; `None` if it was never invoked.
    pub fn costs(&self, place: usize) -> Option<AppCosts> {
        match &self.entries[place] {
            Entry::Policy { account, .. } => account.as_ref().map(|account| {
                let (idle_ms, idle_mb_ms) = account.idle(self.end_ms);
                AppCosts { invocations: account.invocations, cold: account.cold, idle_ms, idle_mb_ms }
            }),
            Entry::Oracle { times, kind, price_mb_s } => {
                let costs = times.costs(*kind, *price_mb_s, self.memory_mb, self.end_ms);
                Some(costs).filter(|costs| costs.invocations > 0)
            }
        }
    }
}

impl Steps<'_> {
    fn take_until(&mut self, minute: u32, steps: &mut Vec<Step>) {
        match self {
            Steps::Minutes(minutes) => {
                minutes.take_until(minute, steps);
            }
            Steps::Singles { trace, arrivals, next } => {
                let until_ms = i64::from(minute) * MINUTE_MS;
                while let Some(arrival) = arrivals.get(*next).filter(|arrival| arrival.at_ms < until_ms) {
                    steps.push(Step::of(arrival, trace));
                    *next += 1;
                }
            }
        }
    }
}

impl Entry {
    fn new(contender: &Contender) -> Option<Self> {
        match contender {
            Contender::Policy(_) => Some(Entry::Policy { account: None, lessons: Vec::new() }),
            Contender::Oracle { price_mb_s, kind } => {
                Some(Entry::Oracle { times: IdleTimes::default(), kind: *kind, price_mb_s: *price_mb_s })
            }
            Contender::GreedyDual { .. } => None,
        }
    }
}

/// For each function of a trace, where its app stands in [`Trace::apps`].
pub(super) fn app_of_function(trace: &Trace) -> Vec<usize> {
    let mut apps = vec![0; trace.functions().len()];
    for (app, functions) in trace.apps().iter().enumerate() {
        functions.functions.iter().for_each(|function| apps[*function as usize] = app);
    }
    apps
}
