//! What is known of one app.

use crate::checkpoint::Columns;
use crate::model::{Code, Invocation};

use super::{Arrivals, Concurrency, Functions, Kept, Observed};

/// All that is known of one app.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AppState {
    /// Invocations ever seen.
    pub invocations: u64,
    /// When it is invoked.
    pub arrivals: Arrivals,
    /// Overlapping executions.
    pub concurrency: Concurrency,
    /// What each of its functions did.
    pub functions: Functions,
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

impl AppState {
    /// The state after an app's first invocation, before which others were observed for `silence_ms`.
    pub fn first(invocation: &Invocation, silence_ms: i64, kept: &Kept) -> Self {
        let (start_ms, end_ms) = (invocation.started_at_ms, invocation.ended_at_ms());
        let mut state = Self {
            invocations: 1,
            arrivals: Arrivals::first(start_ms, end_ms, silence_ms, invocation.trigger, kept),
            concurrency: Concurrency::default(),
            functions: Functions::default(),
            traits: None,
        };
        state.concurrency.begin_period(start_ms, end_ms);
        state.functions.count(invocation);
        state.learn_traits(invocation);
        state
    }

    /// Takes one more invocation into account. An idle time that it ended, of so many ms, is for `record` to count.
    pub fn apply(&mut self, invocation: &Invocation, record: impl FnOnce(&mut Arrivals, i64)) -> Observed {
        let (start_ms, end_ms) = (invocation.started_at_ms, invocation.ended_at_ms());
        let observed = self.arrivals.observe(start_ms);
        if let Observed::Idle(idle_ms) = observed {
            record(&mut self.arrivals, idle_ms);
        }
        self.arrivals.execute(start_ms, end_ms);
        self.invocations += 1;
        self.arrivals.triggers.add(invocation.trigger);
        match observed {
            Observed::Idle(_) => self.concurrency.begin_period(start_ms, end_ms),
            Observed::Overlap => self.concurrency.join_period(start_ms, end_ms),
        }
        self.functions.count(invocation);
        self.learn_traits(invocation);
        observed
    }

    /// Memory, MB, where an event told it.
    pub fn memory_mb(&self) -> Option<f64> {
        self.traits.as_ref().and_then(|traits| traits.memory_mb)
    }

    /// Memory, MB, or `default_mb` where no event told it.
    pub fn memory_mb_or(&self, default_mb: f64) -> f64 {
        self.memory_mb().unwrap_or(default_mb)
    }

    /// As columns.
    pub fn columns(&mut self, columns: &mut impl Columns) {
        let Self { invocations, arrivals, concurrency, functions, traits } = self;
        columns.number("invocations", invocations);
        arrivals.columns(columns);
        concurrency.columns(columns);
        functions.columns(columns);
        let mut told = traits.take().map_or_else(Traits::default, |traits| *traits);
        told.columns(columns);
        *traits = (told != Traits::default()).then(|| Box::new(told));
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

impl Traits {
    fn columns(&mut self, columns: &mut impl Columns) {
        let Self { runtime, memory_mb, code, code_revision } = self;
        columns.text("runtime", runtime);
        columns.optional("memory_mb", memory_mb);
        let (mut uri, mut sha256) = code.take().map_or((None, None), |code| (Some(code.uri), code.sha256));
        columns.text("code_uri", &mut uri);
        columns.text("code_sha256", &mut sha256);
        *code = uri.map(|uri| Code { uri, sha256 });
        columns.number("code_revision", code_revision);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Shape;

    const KEPT: Kept = Kept {
        shape: Shape::Linear { bin_ms: 60_000, bins: 240 },
        clock: false,
        series: 0,
        activity: false,
        fade_per_day: 1.0,
        minute_ms: 60_000,
    };

    fn run(executions: &[(i64, f64)]) -> (AppState, Vec<Observed>) {
        let invocation = |(start, duration): &(i64, f64)| Invocation::new("a", "f", *start, *duration);
        let mut state = AppState::first(&invocation(&executions[0]), 0, &KEPT);
        let record = |arrivals: &mut Arrivals, idle_ms: i64| {
            arrivals.record(&arrivals.look(idle_ms, arrivals.last_end_ms + idle_ms, &KEPT), 1, &KEPT);
        };
        let observed = executions[1..].iter().map(|execution| state.apply(&invocation(execution), record)).collect();
        (state, observed)
    }

    #[test]
    fn idle_time_runs_from_the_last_end_to_the_next_start() {
        use Observed::{Idle, Overlap};
        let (state, observed) = run(&[(0, 100.0), (50, 10.0), (100, 0.0), (130, 5.4), (90, 1000.0), (1090, 1.0)]);
        assert_eq!(observed, [Overlap, Overlap, Idle(30), Overlap, Overlap]);
        assert_eq!((state.arrivals.last_end_ms, state.arrivals.idle.total()), (1091, 1.0));
    }
}
