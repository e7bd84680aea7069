//! Step 5: windows → decision, only when it says something new. Pure; the pipeline sends what comes out.

use crate::checkpoint::Columns;
use crate::model::{Decision, Regime, Version, Window, Windows, window_columns};
use crate::policy::{Plan, Policy, expected, shrink_ms};
use crate::state::AppState;

/// When a decision is worth publishing, and for how long it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// How far an edge may move unpublished, as a share of its window's end.
    pub tolerance: f64,
    /// For how long a decision holds, ms.
    pub valid_for_ms: i64,
    /// Memory of an app that never told its own, MB.
    pub default_memory_mb: f64,
}

/// What was published last about an app: as much of it as telling a difference needs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Published {
    regime: Regime,
    windows: Windows,
    instances: u32,
    idle_since_ms: i64,
    valid_until_ms: i64,
    memory_mb: f64,
    /// Revision of the runtime kind and the code.
    code_revision: u32,
}

impl Published {
    /// As columns.
    pub fn columns(&mut self, columns: &mut impl Columns) {
        let Self { regime, windows, instances, idle_since_ms, valid_until_ms, memory_mb, code_revision } = self;
        regime.column("published_regime", columns);
        window_columns(windows, ["published_from_ms", "published_until_ms"], columns);
        columns.number("published_instances", instances);
        columns.number("published_idle_since_ms", idle_since_ms);
        columns.number("published_valid_until_ms", valid_until_ms);
        columns.number("published_memory_mb", memory_mb);
        columns.number("published_code_revision", code_revision);
    }

    /// Whether the decision must be renewed at `now_ms`, lest it expire while its app lives.
    pub fn is_ageing(&self, now_ms: i64, rules: &Rules) -> bool {
        now_ms > self.valid_until_ms - rules.valid_for_ms / 2
    }

    /// Whether the app has told another runtime kind or other code since.
    pub fn has_other_code(&self, app: &AppState) -> bool {
        self.code_revision != code_revision(app)
    }

    /// Whether a consumer needs to hear of a later end of execution in order to know when to pre-warm.
    pub fn counts_from_its_end(&self) -> bool {
        self.windows.iter().any(|window| window.from_ms > 0)
    }

    /// Whether an end at `idle_since_ms` is so much later than the published one that pre-warming would miss.
    pub fn end_has_moved(&self, idle_since_ms: i64, rules: &Rules) -> bool {
        let first = self.windows.iter().find(|window| window.from_ms > 0);
        first
            .is_some_and(|window| (idle_since_ms - self.idle_since_ms) as f64 > rules.tolerance * window.from_ms as f64)
    }
}

fn code_revision(app: &AppState) -> u32 {
    app.traits.as_ref().map_or(0, |traits| traits.code_revision)
}

/// What the app's state and `plan` come to, for comparison with what was published.
pub fn summary(app: &AppState, plan: &Plan, now_ms: i64, rules: &Rules) -> Published {
    Published {
        regime: plan.regime,
        windows: plan.windows.clone(),
        instances: app.concurrency.instances(),
        idle_since_ms: app.arrivals.last_end_ms,
        valid_until_ms: now_ms.saturating_add(rules.valid_for_ms),
        memory_mb: app.memory_mb().unwrap_or(0.0),
        code_revision: code_revision(app),
    }
}

/// Whether `new` says something that a consumer of `old` must know.
pub fn differs(old: &Published, new: &Published, rules: &Rules) -> bool {
    let far = |a: f64, b: f64, scale: f64| (a - b).abs() > rules.tolerance * scale;
    let moved = |(old, new): (&Window, &Window)| {
        let end = old.until_ms as f64;
        (old.from_ms == 0) != (new.from_ms == 0)
            || far(old.from_ms as f64, new.from_ms as f64, end)
            || far(old.until_ms as f64, new.until_ms as f64, end)
    };
    old.regime != new.regime
        || old.instances != new.instances
        || old.code_revision != new.code_revision
        || far(old.memory_mb, new.memory_mb, old.memory_mb)
        || old.windows.len() != new.windows.len()
        || old.windows.iter().zip(&new.windows).any(moved)
}

/// The decision that publishes `published`, of the given version, at the event that ended at `now_ms`.
pub fn decision(
    name: &str,
    app: &AppState,
    policy: &Policy,
    published: &Published,
    version: Version,
    now_ms: i64,
    rules: &Rules,
) -> Decision {
    let memory_mb = app.memory_mb();
    let plan =
        Plan { regime: published.regime, windows: published.windows.clone(), steady_for: 0, rests_on_last_end: false };
    let expected =
        expected(&app.arrivals.idle, policy.shape(), &plan.windows, memory_mb.unwrap_or(rules.default_memory_mb));
    Decision {
        app: name.to_owned(),
        version,
        decided_at_ms: now_ms,
        policy: policy.name().to_owned(),
        regime: plan.regime,
        reason: policy.reason(&app.arrivals, &plan),
        windows: plan.windows,
        idle_since_ms: published.idle_since_ms,
        instances: published.instances,
        runtime: app.traits.as_ref().and_then(|traits| traits.runtime.clone()),
        memory_mb,
        code: app.traits.as_ref().and_then(|traits| traits.code.clone()),
        successors: Vec::new(),
        expected,
        valid_until_ms: published.valid_until_ms,
    }
}

impl Rules {
    /// From the settings.
    pub fn new(settings: &crate::config::Settings) -> Self {
        Self {
            tolerance: settings.publish.tolerance / 100.0,
            valid_for_ms: shrink_ms(settings.publish.valid_for.0, 1.0),
            default_memory_mb: settings.policy.default_memory_mb,
        }
    }
}
