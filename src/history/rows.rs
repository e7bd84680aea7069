//! Rows of history in memory: what was applied and decided since the last file, as small as can be.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::ArrowError;
use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::checkpoint::{Columns, RowWriter, read_stream, stream};
use crate::model::{Decision, Expected, Invocation, Regime, Status, Temperature, Trigger, Windows, window_columns};

/// A function, with its app and its owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The app.
    pub app: Arc<str>,
    /// The function.
    pub function: Arc<str>,
    /// The tenant, where events told one.
    pub owner: Option<Arc<str>>,
}

/// What an invocation met when it was applied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Met {
    /// Since the app's start before, ms.
    pub gap_ms: Option<i64>,
    /// The idle time that it ended, ms.
    pub idle_ms: Option<i64>,
    /// Whether no window of the decision in force held it.
    pub missed: bool,
}

/// An invocation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InvocationRow {
    /// Index of its [`Name`].
    pub name: u32,
    /// Start, epoch ms.
    pub start_ms: i64,
    /// Duration, ms.
    pub duration_ms: f64,
    /// What it met.
    pub met: Met,
    /// How long loading took, ms.
    pub init_ms: Option<f64>,
    /// Memory, MB.
    pub memory_mb: Option<f64>,
    /// What caused it.
    pub trigger: Option<Trigger>,
    /// How it ended.
    pub status: Option<Status>,
    /// Whether the platform says that it was cold.
    pub cold: Option<bool>,
    /// Offset of the message with which it was applied.
    pub offset: i64,
}

/// A decision.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionRow {
    /// The app.
    pub app: Box<str>,
    /// Event time, epoch ms.
    pub decided_at_ms: i64,
    /// First part of its version.
    pub epoch: u64,
    /// Second part of it.
    pub offset: i64,
    /// The policy.
    pub policy: Box<str>,
    /// Its rule.
    pub regime: Regime,
    /// The windows, ms of idle time.
    pub windows: Windows,
    /// Instances to have ready.
    pub instances: u32,
    /// Memory of the app, MB.
    pub memory_mb: Option<f64>,
    /// What it is expected to cost.
    pub expected: Option<Expected>,
}

/// Some rows, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    names: Vec<Name>,
    /// Which names an app has; follows from `names`.
    of_app: HashMap<Arc<str>, SmallVec<[u32; 2]>, RandomState>,
    invocations: Vec<InvocationRow>,
    decisions: Vec<DecisionRow>,
}

impl Rows {
    /// The names that invocations refer to.
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// The invocations.
    pub fn invocations(&self) -> &[InvocationRow] {
        &self.invocations
    }

    /// The decisions.
    pub fn decisions(&self) -> &[DecisionRow] {
        &self.decisions
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.invocations.is_empty() && self.decisions.is_empty()
    }

    /// Adds an invocation that was applied with the message at `offset`.
    pub fn add(&mut self, invocation: &Invocation, met: Met, offset: i64) {
        let row = InvocationRow {
            name: self.index(&invocation.app, &invocation.function, invocation.tenant.as_deref()),
            start_ms: invocation.started_at_ms,
            duration_ms: invocation.duration_ms,
            met,
            init_ms: invocation.init_ms,
            memory_mb: invocation.memory_mb,
            trigger: invocation.trigger,
            status: invocation.status,
            cold: invocation.temperature.map(|temperature| temperature == Temperature::Cold),
            offset,
        };
        self.invocations.push(row);
    }

    /// Adds a decision.
    pub fn add_decision(&mut self, decision: &Decision) {
        self.decisions.push(DecisionRow {
            app: decision.app.as_str().into(),
            decided_at_ms: decision.decided_at_ms,
            epoch: decision.version.epoch,
            offset: decision.version.position,
            policy: decision.policy.as_str().into(),
            regime: decision.regime,
            windows: decision.windows.clone(),
            instances: decision.instances,
            memory_mb: decision.memory_mb,
            expected: decision.expected,
        });
    }

    fn index(&mut self, app: &str, function: &str, owner: Option<&str>) -> u32 {
        let known = self.of_app.get(app);
        let is_it = |index: &&u32| {
            self.names
                .get(**index as usize)
                .is_some_and(|name| *name.function == *function && name.owner.as_deref() == owner)
        };
        if let Some(index) = known.and_then(|indexes| indexes.iter().find(is_it)) {
            return *index;
        }
        let app = match known.and_then(|indexes| self.names.get(*indexes.first()? as usize)) {
            Some(name) => Arc::clone(&name.app),
            None => app.into(),
        };
        self.push_name(Name { app, function: function.into(), owner: owner.map(Into::into) })
    }

    fn push_name(&mut self, name: Name) -> u32 {
        let index = self.names.len() as u32;
        self.of_app.entry(Arc::clone(&name.app)).or_default().push(index);
        self.names.push(name);
        index
    }

    /// All of them as bytes, for a checkpoint. Changes nothing.
    pub fn pack(&mut self) -> Result<Packed, ArrowError> {
        let Self { names, of_app: _, invocations, decisions } = self;
        Ok(Packed {
            names: pack(names, Name::columns)?,
            invocations: pack(invocations, InvocationRow::columns)?,
            decisions: pack(decisions, DecisionRow::columns)?,
        })
    }

    /// What was packed.
    pub fn unpack(packed: &Packed) -> Result<Self, ArrowError> {
        let mut rows = Self::default();
        read_stream(&packed.names, |columns| {
            let mut name = Name { app: "".into(), function: "".into(), owner: None };
            name.columns(columns);
            rows.push_name(name);
        })?;
        read_stream(&packed.invocations, |columns| {
            let mut row = InvocationRow::EMPTY;
            row.columns(columns);
            rows.invocations.push(row);
        })?;
        read_stream(&packed.decisions, |columns| {
            let mut row = DecisionRow::empty();
            row.columns(columns);
            rows.decisions.push(row);
        })?;
        Ok(rows)
    }
}

/// [`Rows`] as bytes.
#[derive(Debug, Clone, Default)]
pub struct Packed {
    names: Vec<u8>,
    invocations: Vec<u8>,
    decisions: Vec<u8>,
}

impl Packed {
    /// As columns.
    pub fn columns(&mut self, columns: &mut impl Columns) {
        let Self { names, invocations, decisions } = self;
        columns.list("history_names", names);
        columns.list("history_invocations", invocations);
        columns.list("history_decisions", decisions);
    }
}

fn pack<T>(rows: &mut [T], columns: fn(&mut T, &mut RowWriter)) -> Result<Vec<u8>, ArrowError> {
    let mut writer = RowWriter::default();
    for row in rows {
        writer.row(|writer| columns(row, writer))?;
    }
    stream(&writer.finish()?)
}

impl Name {
    fn columns(&mut self, columns: &mut impl Columns) {
        let Self { app, function, owner } = self;
        for (field, text) in [("app", app), ("function", function)] {
            let mut value = Some(text.to_string());
            columns.text(field, &mut value);
            *text = value.unwrap_or_default().into();
        }
        let mut value = owner.as_deref().map(str::to_owned);
        columns.text("owner", &mut value);
        *owner = value.map(Into::into);
    }
}

impl InvocationRow {
    const EMPTY: Self = Self {
        name: 0,
        start_ms: 0,
        duration_ms: 0.0,
        met: Met { gap_ms: None, idle_ms: None, missed: false },
        init_ms: None,
        memory_mb: None,
        trigger: None,
        status: None,
        cold: None,
        offset: 0,
    };

    fn columns(&mut self, columns: &mut impl Columns) {
        let Self { name, start_ms, duration_ms, met, init_ms, memory_mb, trigger, status, cold, offset } = self;
        columns.number("name", name);
        columns.number("start_ms", start_ms);
        columns.number("duration_ms", duration_ms);
        columns.optional("gap_ms", &mut met.gap_ms);
        columns.optional("idle_ms", &mut met.idle_ms);
        columns.flag("missed", &mut met.missed);
        columns.optional("init_ms", init_ms);
        columns.optional("memory_mb", memory_mb);
        let mut number = trigger.map(|trigger| trigger as u8);
        columns.optional("trigger", &mut number);
        *trigger = number.and_then(|number| Trigger::ALL.get(usize::from(number)).copied());
        let mut number = status.map(|status| status as u8);
        columns.optional("status", &mut number);
        *status = number.and_then(|number| Status::ALL.get(usize::from(number)).copied());
        let mut number = cold.map(u8::from);
        columns.optional("cold", &mut number);
        *cold = number.map(|number| number != 0);
        columns.number("offset", offset);
    }
}

impl DecisionRow {
    fn empty() -> Self {
        Self {
            app: "".into(),
            decided_at_ms: 0,
            epoch: 0,
            offset: 0,
            policy: "".into(),
            regime: Regime::default(),
            windows: Windows::new(),
            instances: 0,
            memory_mb: None,
            expected: None,
        }
    }

    fn columns(&mut self, columns: &mut impl Columns) {
        let Self { app, decided_at_ms, epoch, offset, policy, regime, windows, instances, memory_mb, expected } = self;
        for (field, text) in [("app", app), ("policy", policy)] {
            let mut value = Some(text.to_string());
            columns.text(field, &mut value);
            *text = value.unwrap_or_default().into();
        }
        columns.number("decided_at_ms", decided_at_ms);
        columns.number("epoch", epoch);
        columns.number("offset", offset);
        regime.column("regime", columns);
        window_columns(windows, ["from_ms", "until_ms"], columns);
        columns.number("instances", instances);
        columns.optional("memory_mb", memory_mb);
        let mut cold_probability = expected.map(|expected| expected.cold_probability);
        let mut idle_mb_s = expected.map(|expected| expected.idle_mb_s);
        columns.optional("cold_probability", &mut cold_probability);
        columns.optional("idle_mb_s", &mut idle_mb_s);
        *expected = cold_probability
            .zip(idle_mb_s)
            .map(|(cold_probability, idle_mb_s)| Expected { cold_probability, idle_mb_s });
    }
}
