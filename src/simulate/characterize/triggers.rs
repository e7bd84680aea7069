//! Functions, invocations and apps by trigger (§3.2).

use std::collections::BTreeMap;

use serde::Serialize;

use super::{App, Invoked, percent};
use crate::model::Trigger;
use crate::simulate::traces::Trace;

/// Triggers in the order of the paper's table, with their names.
const ORDER: [(Trigger, &str); 7] = [
    (Trigger::Http, "http"),
    (Trigger::Queue, "queue"),
    (Trigger::Event, "event"),
    (Trigger::Orchestration, "orchestration"),
    (Trigger::Timer, "timer"),
    (Trigger::Storage, "storage"),
    (Trigger::Other, "other"),
];

/// How much of the workload a trigger makes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TriggerShare {
    /// The trigger's name.
    pub trigger: &'static str,
    /// Percent of functions.
    pub functions_percent: f64,
    /// Percent of invocations.
    pub invocations_percent: f64,
}

/// Apps with the same set of triggers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Combination {
    /// As `http+timer`.
    pub triggers: String,
    /// Percent of apps.
    pub apps_percent: f64,
}

/// The workload by trigger. Functions and apps of unknown trigger do not count.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Triggers {
    /// All triggers in the order of the paper's table; none if no trigger is known.
    pub shares: Vec<TriggerShare>,
    /// Combinations, the most frequent first.
    pub combinations: Vec<Combination>,
    /// Apps with at least one timer, percent.
    pub any_timer_percent: Option<f64>,
    /// Timer functions that fire at most once a minute, percent.
    pub slow_timers_percent: Option<f64>,
}

impl Triggers {
    pub(super) fn of(trace: &Trace, invoked: &[Invoked], apps: &[App], days: f64) -> Self {
        let known: Vec<(Trigger, u64)> =
            invoked.iter().filter_map(|one| trigger(trace, one).map(|trigger| (trigger, one.invocations))).collect();
        let invocations: u64 = known.iter().map(|(_, count)| count).sum();
        let share = |(trigger, name): (Trigger, &'static str)| {
            let of_it = || known.iter().filter(|(found, _)| *found == trigger);
            Some(TriggerShare {
                trigger: name,
                functions_percent: percent(of_it().count() as f64, known.len() as f64)?,
                invocations_percent: percent(of_it().map(|(_, count)| count).sum::<u64>() as f64, invocations as f64)?,
            })
        };
        let mut by_combination: BTreeMap<&str, usize> = BTreeMap::new();
        for app in apps.iter().filter(|app| !app.triggers.is_empty()) {
            *by_combination.entry(&app.triggers).or_default() += 1;
        }
        let known_apps = by_combination.values().sum::<usize>() as f64;
        let with_timer: usize =
            by_combination.iter().filter(|(triggers, _)| triggers.contains("timer")).map(|(_, apps)| apps).sum();
        let mut combinations: Vec<_> = by_combination
            .iter()
            .map(|(triggers, apps)| Combination {
                triggers: (*triggers).to_owned(),
                apps_percent: percent(*apps as f64, known_apps).unwrap_or(0.0),
            })
            .collect();
        combinations.sort_by(|a, b| b.apps_percent.total_cmp(&a.apps_percent));
        Self {
            shares: ORDER.into_iter().filter_map(share).collect(),
            combinations,
            any_timer_percent: percent(with_timer as f64, known_apps),
            slow_timers_percent: slow_timers(trace, invoked, days),
        }
    }

    /// A trigger's share, by its name.
    pub fn share(&self, trigger: &str) -> Option<&TriggerShare> {
        self.shares.iter().find(|share| share.trigger == trigger)
    }

    /// Percent of apps with exactly these triggers; `None` if no trigger is known.
    pub fn combination_percent(&self, triggers: &str) -> Option<f64> {
        let found = self.combinations.iter().find(|one| one.triggers == triggers).map_or(0.0, |one| one.apps_percent);
        (!self.combinations.is_empty()).then_some(found)
    }
}

/// The triggers of an app's functions as `http+timer`, in the order of the paper's table; empty if none is known.
pub(super) fn combination(trace: &Trace, functions: &[Invoked]) -> String {
    let has = |wanted: Trigger| functions.iter().any(|one| trigger(trace, one) == Some(wanted));
    let names: Vec<_> = ORDER.iter().filter(|(wanted, _)| has(*wanted)).map(|(_, name)| *name).collect();
    names.join("+")
}

/// Percent of timer functions that fire at most once a minute on average, give or take 1 %.
fn slow_timers(trace: &Trace, invoked: &[Invoked], days: f64) -> Option<f64> {
    let timers = || invoked.iter().filter(|one| trigger(trace, one) == Some(Trigger::Timer));
    let most = days * 24.0 * 60.0 * 1.01;
    let slow = timers().filter(|one| one.invocations as f64 <= most);
    percent(slow.count() as f64, timers().count() as f64)
}

fn trigger(trace: &Trace, one: &Invoked) -> Option<Trigger> {
    trace.functions().get(one.function as usize).and_then(|function| function.trigger)
}
