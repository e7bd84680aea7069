//! The order in which the events of one partition are applied. Pure: what comes out depends on the records of the
//! partition in order of offset, and on nothing else. `docs/time.md` says for users what follows from it.
//!
//! Events tell of finished executions, so they come in order of their ends, while idle times are counted from starts.
//! An execution that started earlier and took longer comes after those that ran meanwhile. A short wait puts them in
//! order: if senders keep to the order of ends, a wait of a span puts all executions in order that are shorter than
//! the span.
//!
//! Waiting delays decisions, and what waits when a partition falls silent would wait for ever, because nothing here
//! may follow the wall clock. So an event waits only where its turn can matter much: **within a burst of its app**.
//! One that starts more than the span after all that is known of its app is due at once: whatever may still come
//! before it, the idle time that it ends is off by less than the span. That one carries the news. What waits belongs
//! to a burst of which a decision is out, lasts less than the span, and comes out as soon as any later record of the
//! partition has a time that is the span past it.

mod duplicates;
mod source;

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

pub use duplicates::Duplicates;
pub use source::{Place, SourcePosition, Sources};

use crate::checkpoint::Columns;
use crate::model::Invocation;

/// Events of a partition that may wait at most; then the earliest is due, whatever the time.
pub const MAX_HELD: usize = 20_000;
/// Their bytes in memory at most.
pub const MAX_HELD_BYTES: usize = 8 << 20;

/// How long to wait for what, in event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spans {
    /// For how long an event waits for earlier ones, ms; 0: none does.
    pub reorder_ms: i64,
    /// For how long an event is known again, ms; 0: none is.
    pub duplicates_ms: i64,
}

/// When an event's turn is: by start, then as the log has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    /// Start of the execution, epoch ms.
    pub started_at_ms: i64,
    /// Offset of the message.
    pub offset: i64,
    /// Which of the invocations in the message.
    pub index: u32,
}

/// An event that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// The event.
    pub invocation: Box<Invocation<'static>>,
    /// The time of its record, epoch ms, or of an earlier one where it has none.
    pub received_ms: i64,
}

/// What is to be done with an event that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Apply it, after what is due before it.
    Now,
    /// Hold it.
    Wait,
    /// Drop it: it came before.
    Duplicate,
}

/// How far a partition's events have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// The latest end of an execution that has come, epoch ms.
    pub newest_end_ms: i64,
    /// The latest time of a record, epoch ms.
    pub newest_record_ms: i64,
}

/// All that a partition remembers for the order of its events.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Events that wait.
    held: BTreeMap<Turn, Held>,
    /// How many wait of each app that has any; follows from `held`.
    held_of: HashMap<Box<str>, u32, RandomState>,
    /// Bytes of what waits; follows from `held`.
    held_bytes: usize,
    marks: Marks,
    duplicates: Duplicates,
    sources: Sources,
}

impl Default for Order {
    fn default() -> Self {
        let marks = Marks { newest_end_ms: i64::MIN, newest_record_ms: i64::MIN };
        Self::restore(marks, [], Duplicates::default(), Sources::default())
    }
}

impl Order {
    /// Goes on from what [`Order::marks`], [`Order::held`], [`Order::duplicates`] and [`Order::sources`] gave.
    pub fn restore(
        marks: Marks,
        held: impl IntoIterator<Item = (Turn, Held)>,
        duplicates: Duplicates,
        sources: Sources,
    ) -> Self {
        let mut order =
            Self { held: BTreeMap::new(), held_of: HashMap::default(), held_bytes: 0, marks, duplicates, sources };
        held.into_iter().for_each(|(turn, held)| order.insert(turn, held));
        order
    }

    /// As columns of the partition's own row; what waits, and the sources, as JSON.
    pub fn columns(&mut self, columns: &mut impl Columns) {
        let Self { held, held_of: _, held_bytes: _, marks, duplicates, sources } = self;
        columns.number("newest_end_ms", &mut marks.newest_end_ms);
        columns.number("newest_record_ms", &mut marks.newest_record_ms);
        duplicates.columns(columns);
        sources.columns(columns);
        let waits = |(turn, held): (&Turn, &Held)| (turn.offset, turn.index, held.received_ms, held.invocation.clone());
        let waiting: Vec<(i64, u32, i64, Box<Invocation<'static>>)> = held.iter().map(waits).collect();
        // Numbers and texts: always JSON.
        let mut text = (!waiting.is_empty()).then(|| serde_json::to_string(&waiting).unwrap_or_default());
        columns.text("waiting", &mut text);
        let waiting: Vec<(i64, u32, i64, Invocation)> =
            text.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let held = waiting.into_iter().map(|(offset, index, received_ms, invocation)| {
            let turn = Turn { started_at_ms: invocation.started_at_ms, offset, index };
            (turn, Held { invocation: Box::new(invocation.into_owned()), received_ms })
        });
        *self = Self::restore(*marks, held, std::mem::take(duplicates), std::mem::take(sources));
    }

    /// How far the events have come.
    pub const fn marks(&self) -> Marks {
        self.marks
    }

    /// What waits, in the order of its turns.
    pub fn held(&self) -> impl ExactSizeIterator<Item = (&Turn, &Held)> {
        self.held.iter()
    }

    /// The events that are known again.
    pub const fn duplicates(&self) -> &Duplicates {
        &self.duplicates
    }

    /// How far the events of each source have come, where they were keyed first.
    pub const fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Whether the event of this source did not come before, keyed twice.
    pub fn is_new_source(&mut self, source: &SourcePosition) -> bool {
        self.sources.is_new(source)
    }

    /// Takes the time of the next record into account, whatever the record tells.
    pub fn pass(&mut self, received_ms: Option<i64>) {
        let newest_ms = &mut self.marks.newest_record_ms;
        *newest_ms = received_ms.map_or(*newest_ms, |received_ms| received_ms.max(*newest_ms));
    }

    /// What to do with the event that has come; `last_end_ms` is the latest end of its app that was applied, if any
    /// was.
    pub fn judge(&mut self, invocation: &Invocation, last_end_ms: Option<i64>, spans: Spans) -> Verdict {
        let newest_end_ms = &mut self.marks.newest_end_ms;
        *newest_end_ms = invocation.ended_at_ms().max(*newest_end_ms);
        if !self.duplicates.is_new(invocation, *newest_end_ms, spans.duplicates_ms) {
            return Verdict::Duplicate;
        }
        let start_ms = invocation.started_at_ms;
        let is_past = spans.reorder_ms == 0 || start_ms <= newest_end_ms.saturating_sub(spans.reorder_ms);
        let in_burst = || {
            last_end_ms.is_some_and(|end_ms| start_ms <= end_ms.saturating_add(spans.reorder_ms))
                || self.held_of.contains_key(&*invocation.app)
        };
        if is_past || !in_burst() { Verdict::Now } else { Verdict::Wait }
    }

    /// Holds the event that is number `index` in the message at `offset`.
    pub fn hold(&mut self, invocation: &Invocation, offset: i64, index: u32) {
        let turn = Turn { started_at_ms: invocation.started_at_ms, offset, index };
        let invocation = Box::new(invocation.clone().into_owned());
        self.insert(turn, Held { invocation, received_ms: self.marks.newest_record_ms });
    }

    fn insert(&mut self, turn: Turn, held: Held) {
        *self.held_of.entry((*held.invocation.app).into()).or_default() += 1;
        self.held_bytes += bytes(&held.invocation);
        self.held.insert(turn, held);
    }

    /// Takes out the next event that has waited long enough, or for which there is no room; `None` also where it starts
    /// after `until_ms`.
    pub fn next_due(&mut self, until_ms: i64, spans: Spans) -> Option<Box<Invocation<'static>>> {
        let (turn, held) = self.held.first_key_value()?;
        let is_past = turn.started_at_ms <= self.marks.newest_end_ms.saturating_sub(spans.reorder_ms);
        // The time of records goes on where that of events stands still.
        let is_old = held.received_ms.saturating_add(spans.reorder_ms) <= self.marks.newest_record_ms;
        let is_full = self.held.len() > MAX_HELD || self.held_bytes > MAX_HELD_BYTES;
        if turn.started_at_ms > until_ms || !(is_past || is_old || is_full) {
            return None;
        }
        let (_, Held { invocation, .. }) = self.held.pop_first()?;
        self.held_bytes -= bytes(&invocation);
        if let Some(count) = self.held_of.get_mut(&*invocation.app) {
            *count -= 1;
            if *count == 0 {
                self.held_of.remove(&*invocation.app);
            }
        }
        Some(invocation)
    }
}

/// What a held event takes, give or take the map around it, bytes.
fn bytes(invocation: &Invocation) -> usize {
    let Invocation { id, tenant, runtime, node, workflow, parent, code, .. } = invocation;
    let texts = [id, tenant, runtime, node, workflow, parent];
    let code = code.as_ref().map_or(0, |code| code.uri.len() + code.sha256.as_ref().map_or(0, String::len));
    let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
    size_of::<Invocation>() + invocation.app.len() * 2 + invocation.function.len() + texts + code
}

#[cfg(test)]
mod tests;
