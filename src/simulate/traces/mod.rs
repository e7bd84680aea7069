//! Published traces, read from the folders that people download.
//!
//! Read in this order: [`folder`] finds the files, [`blocks`] reads them in blocks of lines, [`rows2019`] and
//! [`records`] make rows of lines, [`azure2019`] and [`azure2021`] put rows together, with names in a [`catalog`] and
//! counts in [`cells`]; [`arrivals`] turns counts into arrivals. What can't be read is left out and said in
//! [`skipped`]. [`tables`] hands the rows out as they are, for queries. [`history`] reads what ran here, in place of a trace.

mod arrivals;
mod azure2019;
mod azure2021;
mod blocks;
mod catalog;
mod cells;
mod folder;
pub mod history;
mod records;
mod rows2019;
mod skipped;
pub mod tables;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::model::Invocation;

use super::{Arrival, Function};

pub use arrivals::MOST_RANDOM;
pub(super) use arrivals::{evenly, place};
pub use catalog::AppFunctions;
pub use cells::Cells;
pub use skipped::{First, Skipped, Unread};

pub(crate) const MINUTE_MS: i64 = 60_000;
/// No execution takes longer, ms: 31 years.
const MOST_MS: f64 = 1e12;

/// Why a path can't be read as a trace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder can't be read.
    #[error("trace '{path}' can't be read: {source}")]
    Unreadable {
        /// The file or folder.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Nothing in the folder is known.
    #[error(
        "'{path}' holds no trace: found {found}, expected invocations_per_function_md.anon.dNN.csv (Azure Functions \
         2019) or AzureFunctionsInvocationTrace*.txt (Azure Functions 2021), packed with gzip or not"
    )]
    Unknown {
        /// The folder.
        path: String,
        /// What is in it, in short.
        found: String,
    },
    /// A file is none of a trace.
    #[error(
        "'{path}' is no trace: {reason}; expected the columns HashApp, HashFunction and minutes (Azure Functions 2019), \
         or app, func, end_timestamp and duration (Azure Functions 2021)"
    )]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A history can't be read.
    #[error("the history at {url} can't be read: {reason}")]
    History {
        /// Its URL.
        url: String,
        /// Why not.
        reason: String,
    },
    /// Nothing was invoked.
    #[error("'{path}' holds no invocations: {reason}")]
    Empty {
        /// The file or folder.
        path: String,
        /// What is there instead.
        reason: String,
    },
}

/// Where in its minute an invocation lies that is only known as one of k.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The i-th at `(i + 0.5) / k`.
    Even,
    /// Anywhere, each place as likely; [`Placement::Even`] for more than [`MOST_RANDOM`] in a minute.
    Uniform {
        /// The same seed gives the same places.
        seed: u64,
    },
}

/// A trace. Minutes and ms count from the beginning of its first day.
#[derive(Debug)]
pub struct Trace {
    functions: Vec<Function>,
    apps: Vec<AppFunctions>,
    durations_ms: Vec<f64>,
    cells: cells::Store,
    singles: Option<Vec<Arrival>>,
    invocations: u64,
    begin_ms: i64,
    end_ms: i64,
    skipped: Skipped,
}

/// Reads the trace in a folder, or in a single file with invocations. `progress` is told how many bytes of how many are
/// done. What can't be read is left out, see [`Trace::skipped`].
///
/// # Errors
/// If there is no trace, it can't be read at all, or it has no invocations.
pub fn open(path: &Path, progress: impl Fn(u64, u64)) -> Result<Trace, Error> {
    let files = folder::Files::find(path)?;
    let mut progress = Progress { tell: progress, before: 0, total: files.size() };
    let trace = match &files {
        folder::Files::Azure2019(days) => azure2019::read(days, &mut progress)?,
        folder::Files::Azure2021(file) => azure2021::read(file, &mut progress)?,
    };
    if trace.invocations > 0 {
        return Ok(trace);
    }
    let mut reason = match trace.functions.len() {
        0 => "it has no rows that say anything".to_owned(),
        functions => format!("all counts of its {functions} functions are 0 or blank"),
    };
    if !trace.skipped.is_empty() {
        reason = format!("{reason}; {}", trace.skipped.to_string().replace('\n', "; "));
    }
    Err(Error::Empty { path: path.display().to_string(), reason })
}

/// How much of all files is read.
struct Progress<F> {
    tell: F,
    /// Bytes of the files before.
    before: u64,
    total: u64,
}

impl<F: Fn(u64, u64)> Progress<F> {
    fn tell(&self, done: u64) {
        (self.tell)((self.before + done).min(self.total), self.total);
    }

    fn finish(&mut self, path: &Path) {
        self.before += std::fs::metadata(path).map_or(0, |file| file.len());
        self.tell(0);
    }
}

impl Trace {
    /// A trace of counts: for each function its average duration, ms, and its `(minute, invocations)`, in any order; those
    /// of one minute add up. It ends with `end_minute`, or with its last cell if that is later. Takes memory for one
    /// function's cells beside the trace itself.
    pub fn from_cells<C>(
        functions: Vec<Function>,
        mut durations_ms: Vec<f64>,
        cells: impl IntoIterator<Item = C>,
        end_minute: u32,
    ) -> Self
    where
        C: IntoIterator<Item = (u32, u32)>,
    {
        durations_ms.resize(functions.len(), 0.0);
        let mut store = cells::Store::default();
        let (mut invocations, mut end) = (0, end_minute);
        for (function, cells) in (0..functions.len() as u32).zip(cells) {
            let mut cells: Vec<(u32, u32)> = cells.into_iter().filter(|(_, count)| *count > 0).collect();
            add_up(&mut cells);
            invocations += cells.iter().map(|(_, count)| u64::from(*count)).sum::<u64>();
            end = end.max(cells.last().map_or(0, |(minute, _)| minute.saturating_add(1)));
            store.push(function, &cells);
        }
        Self {
            apps: catalog::group(&functions),
            functions,
            durations_ms,
            cells: store,
            singles: None,
            invocations,
            begin_ms: 0,
            end_ms: i64::from(end) * MINUTE_MS,
            skipped: Skipped::default(),
        }
    }

    /// All arrivals in the order of their starts; `placement` is for those of which only the minute is known. Arrivals
    /// of one ms come in the order of their functions.
    pub fn arrivals(&self, placement: Placement) -> Box<dyn Iterator<Item = Arrival> + Send + '_> {
        match &self.singles {
            Some(arrivals) => Box::new(arrivals.iter().cloned()),
            None => {
                let cells = (0..self.functions.len() as u32).map(|function| self.cells.cells(function));
                Box::new(arrivals::Arrivals::new(cells, &self.durations_ms, placement))
            }
        }
    }

    /// A function's `(minute, invocations)` in ascending order, without minutes that have none. Minutes are those of the
    /// starts. Takes no memory that grows with them.
    pub fn cells(&self, function: u32) -> Cells<'_> {
        self.cells.cells(function)
    }

    /// The single invocations in the order of their starts, if the trace tells them; `None` if it only has counts.
    pub fn singles(&self) -> Option<&[Arrival]> {
        self.singles.as_deref()
    }

    /// The functions; an [`Arrival`] names one by its index.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The apps with their functions, in the order in which they were first seen.
    pub fn apps(&self) -> &[AppFunctions] {
        &self.apps
    }

    /// How long an execution of the function takes on average, ms; 0 where unknown.
    pub fn duration_ms(&self, function: u32) -> f64 {
        self.durations_ms.get(function as usize).copied().unwrap_or(0.0)
    }

    /// How many invocations there are.
    pub fn invocations(&self) -> u64 {
        self.invocations
    }

    /// Where the trace's first minute begins, ms since the beginning of its first day.
    pub fn begin_ms(&self) -> i64 {
        self.begin_ms
    }

    /// The end of the trace, ms since the beginning of its first day.
    pub fn end_ms(&self) -> i64 {
        self.end_ms
    }

    /// What could not be read and is left out.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// The invocation of an arrival, as if it had started at `started_at_ms`.
    pub fn invocation(&self, arrival: &Arrival, started_at_ms: i64) -> Invocation<'_> {
        let function = &self.functions[arrival.function as usize];
        Invocation {
            trigger: function.trigger,
            memory_mb: function.memory_mb,
            ..Invocation::new(&function.app, &function.name, started_at_ms, arrival.duration_ms)
        }
    }
}

/// Sorts cells by minute; those of one minute become one.
fn add_up(cells: &mut Vec<(u32, u32)>) {
    cells.sort_unstable_by_key(|(minute, _)| *minute);
    cells.dedup_by(|late, early| {
        let is_same = late.0 == early.0;
        if is_same {
            early.1 = early.1.saturating_add(late.1);
        }
        is_same
    });
}
