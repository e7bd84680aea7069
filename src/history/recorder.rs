//! What a partition records, and when it becomes files: a function of its events alone, like its decisions. So whoever
//! reads the same events again, after a crash or because it was cut off, writes the same files again, under the same
//! names: nothing is twice.

use std::sync::Arc;

use arrow_schema::ArrowError;

use crate::bus::Position;
use crate::checkpoint::Columns;
use crate::model::{Decision, Invocation};

use super::piece::Piece;
use super::rows::{Met, Packed, Rows};

/// When rows become files: after so many invocations, or so much event time, whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Invocations.
    pub rows: usize,
    /// Event time, ms.
    pub every_ms: i64,
}

/// The rows of one partition that are in no file yet.
#[derive(Debug, Clone)]
pub struct Recorder {
    cut: Cut,
    /// The rule by which pieces were cut until it was loaded.
    was_cut: Cut,
    /// Offset from which on rows are not in files.
    from: i64,
    /// Event time when the last piece was cut, epoch ms.
    began_ms: i64,
    /// What was applied with messages before this offset is in files of an earlier epoch.
    recorded_until: i64,
    rows: Rows,
}

/// A [`Recorder`] as it is in a checkpoint.
#[derive(Debug, Clone, Default)]
pub struct Saved {
    from: Option<i64>,
    began_ms: i64,
    recorded_until: i64,
    cut_rows: u64,
    cut_every_ms: i64,
    rows: Packed,
}

impl Recorder {
    /// Records what is applied with messages from offset `from` on.
    pub fn new(cut: Cut, from: i64) -> Self {
        Self { cut, was_cut: cut, from, began_ms: 0, recorded_until: from, rows: Rows::default() }
    }

    /// Leaves out what is applied with messages before `offset`: files hold it.
    pub fn begin_at(&mut self, offset: i64) {
        self.recorded_until = offset;
        self.from = self.from.max(offset);
    }

    /// Whether pieces were cut by another rule until it was loaded: those past [`Recorder::from`] will be others.
    pub fn has_new_cut(&self) -> bool {
        self.cut != self.was_cut
    }

    /// Records an invocation that was applied with the message at `offset`.
    pub fn invocation(&mut self, invocation: &Invocation, met: Met, offset: i64) {
        if offset >= self.recorded_until {
            self.rows.add(invocation, met, offset);
        }
    }

    /// Records a decision.
    pub fn decision(&mut self, decision: &Decision) {
        if decision.version.position >= self.recorded_until {
            self.rows.add_decision(decision);
        }
    }

    /// Whether it is time for files; `watermark_ms` is the event time now.
    pub fn is_due(&mut self, watermark_ms: i64) -> bool {
        if self.began_ms == 0 {
            self.began_ms = watermark_ms;
        }
        // Decisions don't count: those that wait for a forecast come at no fixed time.
        self.rows.invocations().len() >= self.cut.rows || watermark_ms - self.began_ms >= self.cut.every_ms
    }

    /// Takes the rows of the messages before offset `until`, if there are any.
    pub fn cut(&mut self, position: &Position, epoch: u64, until: i64, watermark_ms: i64) -> Option<Piece> {
        let rows = std::mem::take(&mut self.rows);
        let from = self.from;
        self.from = from.max(until);
        self.began_ms = watermark_ms;
        (!rows.is_empty()).then(|| Piece::new(position, epoch, from..until, Arc::new(rows)))
    }

    /// The rows so far, as if they were cut before offset `until`.
    pub fn so_far(&self, position: &Position, epoch: u64, until: i64) -> Piece {
        Piece::new(position, epoch, self.from..until, Arc::new(self.rows.clone()))
    }

    /// Offset from which on rows are not in files.
    pub const fn from(&self) -> i64 {
        self.from
    }

    /// For a checkpoint. Changes nothing.
    pub fn save(&mut self) -> Result<Saved, ArrowError> {
        Ok(Saved {
            from: Some(self.from),
            began_ms: self.began_ms,
            recorded_until: self.recorded_until,
            cut_rows: self.cut.rows as u64,
            cut_every_ms: self.cut.every_ms,
            rows: self.rows.pack()?,
        })
    }
}

impl Saved {
    /// As columns of the partition's own row.
    pub fn columns(&mut self, columns: &mut impl Columns) {
        let Self { from, began_ms, recorded_until, cut_rows, cut_every_ms, rows } = self;
        columns.optional("history_from", from);
        columns.number("history_began_ms", began_ms);
        columns.number("history_recorded_until", recorded_until);
        columns.number("history_cut_rows", cut_rows);
        columns.number("history_cut_every_ms", cut_every_ms);
        rows.columns(columns);
    }

    /// The recorder that was saved, to go on by the rule `cut`; `None` where nothing was recorded.
    pub fn load(&self, cut: Cut) -> Result<Option<Recorder>, ArrowError> {
        let Some(from) = self.from else { return Ok(None) };
        let rows = Rows::unpack(&self.rows)?;
        let was_cut = Cut { rows: self.cut_rows as usize, every_ms: self.cut_every_ms };
        let (began_ms, recorded_until) = (self.began_ms, self.recorded_until);
        Ok(Some(Recorder { cut, was_cut, from, began_ms, recorded_until, rows }))
    }

    /// Whether anything was recorded.
    pub const fn is_some(&self) -> bool {
        self.from.is_some()
    }
}
