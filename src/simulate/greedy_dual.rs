//! Keep-alive as caching: every app stays loaded until memory is short, and then the one of least priority goes
//! (greedy-dual-size-frequency, as FaasCache uses it: Fuerst and Sharma, ASPLOS 2021, §4).
//!
//! An app's priority is `clock + frequency × cost / size`: how often it was invoked since it was loaded, what loading it
//! costs (1 for all here: traces do not tell), and its memory; the clock is the priority of the last app that went, so
//! that what was not used for long ages. An app that executes cannot go, so executions alone may exceed the memory.

use std::collections::BTreeSet;

use super::engine::AppCosts;
use super::steps::Step;

/// All apps under one cap of memory.
#[derive(Debug)]
pub(super) struct GreedyDual {
    most_mb: f64,
    loaded_mb: f64,
    clock: f64,
    apps: Vec<App>,
    /// Loaded apps by priority, as the bits of a number that is never negative: their order is that of the numbers.
    by_priority: BTreeSet<(u64, usize)>,
}

#[derive(Debug, Clone, Default)]
struct App {
    memory_mb: f64,
    /// Its place in `by_priority`, while it is loaded.
    priority: Option<u64>,
    frequency: f64,
    last_end_ms: i64,
    costs: AppCosts,
}

impl GreedyDual {
    /// Apps with so much memory each, MB, and `most_mb` for all.
    pub fn new(memory_mb: impl Iterator<Item = f64>, most_mb: f64) -> Self {
        let apps = memory_mb.map(|memory_mb| App { memory_mb, ..App::default() }).collect();
        Self { most_mb, loaded_mb: 0.0, clock: 0.0, apps, by_priority: BTreeSet::new() }
    }

    /// What an app did in a minute.
    pub fn take(&mut self, app: usize, steps: &[Step]) {
        for step in steps {
            match step {
                Step::One { start_ms, end_ms, .. } => {
                    self.invoke(app, *start_ms);
                    self.apps[app].last_end_ms = self.apps[app].last_end_ms.max(*end_ms);
                }
                Step::Run(run) => {
                    let app = &mut self.apps[app];
                    app.costs.invocations += run.invocations;
                    app.frequency += run.invocations as f64;
                    app.costs.idle_ms += run.idle_ms;
                    app.costs.idle_mb_ms += run.idle_ms * app.memory_mb;
                    app.last_end_ms = app.last_end_ms.max(run.last_end_ms);
                }
            }
        }
        self.set_priority(app);
    }

    /// The costs of the apps that were invoked, up to `end_ms`.
    pub fn finish(mut self, end_ms: i64) -> Vec<AppCosts> {
        for app in self.apps.iter_mut().filter(|app| app.priority.is_some()) {
            app.pay_until(end_ms);
        }
        self.apps.into_iter().map(|app| app.costs).filter(|costs| costs.invocations > 0).collect()
    }

    fn invoke(&mut self, app: usize, at_ms: i64) {
        let memory_mb = self.apps[app].memory_mb;
        if self.apps[app].priority.is_none() {
            self.apps[app].costs.cold += 1;
            self.make_room(memory_mb, at_ms);
            self.loaded_mb += memory_mb;
        } else {
            self.apps[app].pay_until(at_ms);
        }
        self.apps[app].costs.invocations += 1;
        self.apps[app].frequency += 1.0;
        self.set_priority(app);
    }

    fn make_room(&mut self, memory_mb: f64, now_ms: i64) {
        let mut excess_mb = self.loaded_mb + memory_mb - self.most_mb;
        let mut gone = Vec::new();
        for (priority, app) in &self.by_priority {
            if excess_mb <= 0.0 {
                break;
            }
            if self.apps[*app].last_end_ms <= now_ms {
                excess_mb -= self.apps[*app].memory_mb;
                gone.push((*priority, *app));
            }
        }
        for (priority, app) in gone {
            self.by_priority.remove(&(priority, app));
            self.clock = self.clock.max(f64::from_bits(priority));
            let app = &mut self.apps[app];
            app.pay_until(now_ms);
            self.loaded_mb -= app.memory_mb;
            (app.priority, app.frequency) = (None, 0.0);
        }
    }

    fn set_priority(&mut self, app: usize) {
        let entry = &mut self.apps[app];
        let priority = (self.clock + entry.frequency / entry.memory_mb).to_bits();
        if let Some(old) = entry.priority.replace(priority) {
            self.by_priority.remove(&(old, app));
        }
        self.by_priority.insert((priority, app));
    }
}

impl App {
    /// Loaded and idle since its last end.
    fn pay_until(&mut self, now_ms: i64) {
        let idle_ms = (now_ms - self.last_end_ms).max(0) as f64;
        self.costs.idle_ms += idle_ms;
        self.costs.idle_mb_ms += idle_ms * self.memory_mb;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(most_mb: f64, calls: &[(usize, i64)]) -> (Vec<u64>, f64) {
        let mut cache = GreedyDual::new([100.0, 100.0, 50.0].into_iter(), most_mb);
        for (app, at_ms) in calls {
            cache.take(*app, &[Step::One { start_ms: *at_ms, end_ms: *at_ms, trigger: None }]);
        }
        let costs = cache.finish(100);
        (costs.iter().map(|costs| costs.cold).collect(), costs.iter().map(|costs| costs.idle_mb_ms).sum())
    }

    #[test]
    fn everything_stays_while_there_is_room() {
        let (cold, idle_mb_ms) = run(250.0, &[(0, 0), (1, 10), (2, 20), (0, 30), (1, 40), (2, 50)]);
        assert_eq!(cold, [1, 1, 1]);
        assert_eq!(idle_mb_ms, 100.0 * 100.0 + 100.0 * 90.0 + 50.0 * 80.0);
    }

    #[test]
    fn the_least_frequent_by_size_goes_first() {
        // App 0 was used most: app 1 has to go for app 2, and later app 2, which was used once, for app 1.
        let (cold, idle_mb_ms) = run(200.0, &[(0, 0), (0, 10), (1, 20), (2, 30), (0, 40), (1, 50)]);
        assert_eq!(cold, [1, 2, 1]);
        assert_eq!(idle_mb_ms, 100.0 * 100.0 + 100.0 * 10.0 + 50.0 * 20.0 + 100.0 * 50.0);
    }
}
