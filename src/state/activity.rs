//! How much an app does: invocations and idle times, the old ones weighing less from day to day.

/// Counts of one app that fade like its histograms, for what policies expect of all apps together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Activity {
    /// First invocations: one at the beginning.
    pub firsts: f64,
    /// Invocations, the first among them.
    pub invocations: f64,
    /// Idle times that are over.
    pub idle_times: f64,
    /// Their sum, ms.
    pub idle_ms: f64,
    /// Those that the windows in force missed.
    pub cold: f64,
}

impl Activity {
    /// After the app's first invocation.
    pub(super) const fn first() -> Self {
        Self { firsts: 1.0, invocations: 1.0, idle_times: 0.0, idle_ms: 0.0, cold: 0.0 }
    }

    /// Makes all that was counted so far weigh `factor` of what it does.
    pub(super) fn fade(&mut self, factor: f64) {
        self.firsts *= factor;
        self.invocations *= factor;
        self.idle_times *= factor;
        self.idle_ms *= factor;
        self.cold *= factor;
    }
}
