//! Azure Functions 2021: single invocations, `app,func,end_timestamp,duration` in seconds since the trace began (Zhang
//! et al., SOSP 2021). The duration leaves out a cold start.

use std::path::Path;

use super::blocks::Blocks;
use super::catalog::Catalog;
use super::cells::Store;
use super::folder::file_name;
use super::records::{columns, figure, name, parse, split};
use super::skipped::{Skipped, Tally};
use super::{Error, MINUTE_MS, MOST_MS, Progress, Trace};
use crate::simulate::Arrival;

/// No trace is longer, s: its minutes are counted in 32 bits.
const MOST_S: f64 = 1e11;

/// The columns, by name.
pub(super) const COLUMNS: [&str; 4] = ["app", "func", "end_timestamp", "duration"];

/// A row.
pub(super) struct Row {
    pub app: String,
    pub function: String,
    end_s: f64,
    duration_s: f64,
}

/// Reads a row with its columns at these places.
pub(super) fn row(record: &csv::ByteRecord, [app, func, end, duration]: [usize; 4]) -> Result<Row, String> {
    Ok(Row {
        app: name(record, app, "app")?.to_owned(),
        function: name(record, func, "function")?.to_owned(),
        end_s: figure(record, end, MOST_S)?,
        duration_s: figure(record, duration, MOST_MS / 1000.0)?,
    })
}

impl Row {
    /// When it started, ms since the trace began and not before, and how long it took, ms.
    pub fn start_and_duration_ms(&self) -> (i64, f64) {
        (((self.end_s - self.duration_s) * 1000.0).round().max(0.0) as i64, self.duration_s * 1000.0)
    }
}

pub(super) fn read(path: &Path, progress: &mut Progress<impl Fn(u64, u64)>) -> Result<Trace, Error> {
    let blocks = Blocks::open(path)?;
    let mut header = csv::ByteRecord::new();
    split(blocks.header(), &mut header);
    let malformed = |reason| Error::Malformed { path: blocks.path().to_owned(), reason };
    let places = columns(&header, COLUMNS).map_err(malformed)?;
    let row = |record: &csv::ByteRecord| row(record, places);
    let mut catalog = Catalog::default();
    let mut arrivals = Vec::new();
    let (mut tally, mut end_ms) = (Tally::default(), 0);
    let take = |(rows, rows_tally): (Vec<Row>, Tally), lines: u64| {
        tally.add(rows_tally, lines);
        for row in rows {
            let function = catalog.find_or_add(&row.app, &row.function, || None);
            let (at_ms, duration_ms) = row.start_and_duration_ms();
            end_ms = end_ms.max((row.end_s * 1000.0).round() as i64);
            arrivals.push(Arrival { at_ms, duration_ms, function });
        }
    };
    let broken = blocks.parse(|block| parse(block, header.len(), row), take, |done| progress.tell(done))?;
    progress.finish(path);
    let mut skipped = Skipped::default();
    skipped.invocations.add(&file_name(path), tally, broken);
    arrivals.sort_by_key(|arrival| arrival.at_ms);

    Ok(of_singles(catalog, arrivals, end_ms, skipped))
}

/// A trace of single invocations, which are sorted by start.
pub(super) fn of_singles(catalog: Catalog, arrivals: Vec<Arrival>, end_ms: i64, skipped: Skipped) -> Trace {
    let (functions, apps) = catalog.into_parts();
    Trace {
        durations_ms: averages_ms(&arrivals, functions.len()),
        cells: count(&arrivals, functions.len()),
        functions,
        apps,
        invocations: arrivals.len() as u64,
        singles: Some(arrivals),
        begin_ms: 0,
        end_ms,
        skipped,
    }
}

/// Average duration by function, ms.
fn averages_ms(arrivals: &[Arrival], functions: usize) -> Vec<f64> {
    let mut sums = vec![(0.0, 0_u32); functions];
    for arrival in arrivals {
        let (sum_ms, count) = &mut sums[arrival.function as usize];
        *sum_ms += arrival.duration_ms;
        *count += 1;
    }
    sums.into_iter().map(|(sum_ms, count)| sum_ms / f64::from(count.max(1))).collect()
}

/// Invocations by function and minute of their starts.
fn count(sorted: &[Arrival], functions: usize) -> Store {
    let mut cells: Vec<Vec<(u32, u32)>> = vec![Vec::new(); functions];
    for arrival in sorted {
        let minute = (arrival.at_ms / MINUTE_MS) as u32;
        let cells = &mut cells[arrival.function as usize];
        match cells.last_mut() {
            Some((last, count)) if *last == minute => *count += 1,
            _ => cells.push((minute, 1)),
        }
    }
    let mut store = Store::default();
    (0..).zip(&cells).for_each(|(function, cells)| store.push(function, cells));
    store
}
