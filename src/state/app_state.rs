//! What is known of one app.

use crate::model::{Code, Invocation};

use super::{Concurrency, IdleHistogram, Shape};

/// All that the policies may look at for one app.
#[derive(Debug, Clone, PartialEq)]
pub struct AppState {
    /// Idle times by length.
    pub idle: IdleHistogram,
    /// Invocations seen.
    pub invocations: u64,
    /// End of the last execution known, epoch ms.
    pub last_end_ms: i64,
    /// Overlapping executions.
    pub concurrency: Concurrency,
    /// What events said of the app itself; boxed because most say nothing.
    pub traits: Option<Box<Traits>>,
}

/// What an app needs in order to be loaded, as its events told it last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traits {
    /// Runtime kind.
    pub runtime: Option<String>,
    /// Memory, MB.
    pub memory_mb: Option<f64>,
    /// The code.
    pub code: Option<Code>,
    /// Counts the changes of runtime kind and code.
    pub code_revision: u32,
}

/// What an invocation meant for the app's idle time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// The app had been idle for so many ms, at least 1.
    Idle(i64),
    /// It started while another one ran, or as it ended: no idle time.
    Overlap,
}

impl AppState {
    /// The state after an app's first invocation.
    pub fn first(invocation: &Invocation) -> Self {
        let mut state = Self {
            idle: IdleHistogram::default(),
            invocations: 1,
            last_end_ms: invocation.ended_at_ms(),
            concurrency: Concurrency::default(),
            traits: None,
        };
        state.concurrency.begin_period(invocation.started_at_ms, invocation.ended_at_ms());
        state.learn_traits(invocation);
        state
    }

    /// What `invocation` would mean for the idle time, without applying it.
    pub fn observe(&self, invocation: &Invocation) -> Observed {
        match invocation.started_at_ms - self.last_end_ms {
            idle_ms if idle_ms > 0 => Observed::Idle(idle_ms),
            _ => Observed::Overlap,
        }
    }

    /// Takes one more invocation into account.
    pub fn apply(&mut self, invocation: &Invocation, shape: Shape) -> Observed {
        let (start_ms, end_ms) = (invocation.started_at_ms, invocation.ended_at_ms());
        let observed = self.observe(invocation);
        match observed {
            Observed::Idle(idle_ms) => {
                self.idle.record(idle_ms, shape);
                self.concurrency.begin_period(start_ms, end_ms);
            }
            Observed::Overlap => self.concurrency.join_period(start_ms, end_ms),
        }
        self.invocations += 1;
        self.last_end_ms = self.last_end_ms.max(end_ms);
        self.learn_traits(invocation);
        observed
    }

    /// Memory, MB, where an event told it.
    pub fn memory_mb(&self) -> Option<f64> {
        self.traits.as_ref().and_then(|traits| traits.memory_mb)
    }

    fn learn_traits(&mut self, invocation: &Invocation) {
        if invocation.runtime.is_none() && invocation.memory_mb.is_none() && invocation.code.is_none() {
            return;
        }
        let traits = self.traits.get_or_insert_default();
        if let Some(runtime) = invocation.runtime.as_deref()
            && traits.runtime.as_deref() != Some(runtime)
        {
            traits.runtime = Some(runtime.to_owned());
            traits.code_revision += 1;
        }
        if invocation.memory_mb.is_some() {
            traits.memory_mb = invocation.memory_mb;
        }
        if let Some(code) = &invocation.code
            && traits.code.as_ref() != Some(code)
        {
            traits.code = Some(code.clone());
            traits.code_revision += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { bin_ms: 60_000, bins: 240 };

    fn run(executions: &[(i64, f64)]) -> (AppState, Vec<Observed>) {
        let invocation = |(start, duration): &(i64, f64)| Invocation::new("a", "f", *start, *duration);
        let mut state = AppState::first(&invocation(&executions[0]));
        let observed = executions[1..].iter().map(|execution| state.apply(&invocation(execution), SHAPE)).collect();
        (state, observed)
    }

    #[test]
    fn idle_time_runs_from_the_last_end_to_the_next_start() {
        use Observed::{Idle, Overlap};
        let (state, observed) = run(&[(0, 100.0), (50, 10.0), (100, 0.0), (130, 5.4), (90, 1000.0), (1090, 1.0)]);
        assert_eq!(observed, [Overlap, Overlap, Idle(30), Overlap, Overlap]);
        assert_eq!((state.invocations, state.last_end_ms, state.idle.total()), (6, 1091, 1));
    }
}
