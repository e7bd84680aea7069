//! What one policy would have cost with one app.

use crate::model::{Trigger, Window};
use crate::policy::{InForce, Learner, Planner};
use crate::state::{Arrivals, Observed};

/// The state of an app under a policy, and the costs so far.
#[derive(Debug, Clone)]
pub struct Account {
    arrivals: Arrivals,
    in_force: InForce,
    /// Memory of the app, MB.
    pub memory_mb: f64,
    /// Invocations.
    pub invocations: u64,
    /// Those that would have been cold.
    pub cold: u64,
    /// Loaded time of idle times that are over, ms.
    idle_ms: f64,
    idle_mb_ms: f64,
}

/// Invocations of an app that follow each other so closely that they are counted together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// Invocations.
    pub invocations: u64,
    /// Idle times between them, and before the first.
    pub idle_times: u32,
    /// Sum of those, ms.
    pub idle_ms: f64,
    /// Start of the last one, ms.
    pub last_start_ms: i64,
    /// The latest end of any, ms.
    pub last_end_ms: i64,
}

impl Account {
    /// After the app's first invocation, which is cold.
    pub fn open(planner: &Planner, start_ms: i64, end_ms: i64, trigger: Option<Trigger>, memory_mb: f64) -> Self {
        let silence_ms = planner.silence_ms(start_ms);
        let arrivals = Arrivals::first(start_ms, end_ms, silence_ms, trigger, planner.kept());
        let in_force = planner.plan(&arrivals, memory_mb);
        Self { arrivals, in_force, memory_mb, invocations: 1, cold: 1, idle_ms: 0.0, idle_mb_ms: 0.0 }
    }

    /// Takes one more invocation into account; those of an app come in the order of their starts.
    pub fn arrive(&mut self, learner: &mut impl Learner, start_ms: i64, end_ms: i64, trigger: Option<Trigger>) {
        self.invocations += 1;
        self.arrivals.count(1, start_ms, learner.planner().kept());
        self.arrivals.triggers.add(trigger);
        match self.arrivals.observe(start_ms) {
            Observed::Idle(idle_ms) => {
                self.follow_end(learner.planner());
                self.pay(idle_ms as f64, idle_ms, 1);
                learner.record(&mut self.arrivals, idle_ms, start_ms, 1);
                self.arrivals.execute(start_ms, end_ms);
                self.in_force.count(1);
                self.plan_when_due(learner.planner());
            }
            Observed::Overlap => self.arrivals.execute(start_ms, end_ms),
        }
    }

    /// Takes a run into account, as if its idle times were all of the same length. Costs O(1) for an app with a long
    /// history, however many there are.
    pub fn run(&mut self, learner: &mut impl Learner, run: &Run) {
        self.invocations += run.invocations;
        let mean_ms = run.idle_ms / f64::from(run.idle_times.max(1));
        let idle_ms = (mean_ms as i64).max(1);
        let first_start_ms = self.arrivals.last_start_ms;
        let spacing_ms = (run.last_start_ms - first_start_ms) as f64 / f64::from(run.idle_times.max(1));
        self.arrivals.count(run.invocations, run.last_start_ms, learner.planner().kept());
        if run.idle_times > 0 {
            self.follow_end(learner.planner());
        }
        let mut done = 0;
        while done < run.idle_times {
            let start_ms = first_start_ms + (spacing_ms * f64::from(done + 1)) as i64;
            let times = self.in_force.covers(run.idle_times - done);
            self.pay(mean_ms, idle_ms, times);
            learner.record(&mut self.arrivals, idle_ms, start_ms, times);
            done += times;
            self.arrivals.last_start_ms = first_start_ms + (spacing_ms * f64::from(done)) as i64;
            self.arrivals.last_end_ms = self.arrivals.last_start_ms + (spacing_ms - mean_ms) as i64;
            self.in_force.count(times);
            self.plan_when_due(learner.planner());
        }
        self.arrivals.last_start_ms = run.last_start_ms;
        // Whatever executed before an idle time had ended by then.
        let before_ms = if run.idle_times > 0 { run.last_end_ms } else { self.arrivals.last_end_ms };
        self.arrivals.last_end_ms = before_ms.max(run.last_end_ms);
    }

    /// What is known of when the app is invoked.
    pub const fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// Loaded time within idle times up to `end_ms`, ms, and the same times memory, MB·ms.
    pub fn idle(&self, end_ms: i64) -> (f64, f64) {
        let so_far_ms = end_ms - self.arrivals.last_end_ms;
        let loaded_ms = self.in_force.plan.windows.iter().map(|window| window.loaded_ms(so_far_ms) as f64).sum::<f64>();
        (self.idle_ms + loaded_ms, self.idle_mb_ms + loaded_ms * self.memory_mb)
    }

    /// Books `times` idle times of `mean_ms` each under the windows in force.
    fn pay(&mut self, mean_ms: f64, idle_ms: i64, times: u32) {
        let windows = &self.in_force.plan.windows;
        if !windows.iter().any(|window| window.contains(idle_ms)) {
            self.cold += u64::from(times);
            self.arrivals.activity.cold += f64::from(times);
        }
        let loaded = |window: &Window| ((window.until_ms as f64).min(mean_ms) - window.from_ms as f64).max(0.0);
        let loaded_ms = windows.iter().map(loaded).sum::<f64>() * f64::from(times);
        self.idle_ms += loaded_ms;
        self.idle_mb_ms += loaded_ms * self.memory_mb;
    }

    /// Makes a plan for the idle time at hand anew, if the one in force rests on an end that has moved since.
    fn follow_end(&mut self, planner: &Planner) {
        planner.follow_end(&mut self.in_force, &self.arrivals, self.memory_mb);
    }

    /// Makes a plan for the idle time to come, unless the one in force still holds.
    fn plan_when_due(&mut self, planner: &Planner) {
        planner.renew(&mut self.in_force, &self.arrivals, self.memory_mb);
    }
}
