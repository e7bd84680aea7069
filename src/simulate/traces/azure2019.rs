//! Azure Functions 2019: invocations per function and minute, one file a day, with average durations and memory beside
//! it (Shahrad et al., ATC 2020).

use std::collections::BTreeSet;
use std::path::Path;

use crate::model::Trigger;

use super::blocks::Blocks;
use super::catalog::Catalog;
use super::cells::Store;
use super::folder::{Days, file_name};
use super::records::{columns, figure, name, parse, split};
use super::rows2019::{DAY_MINUTES, Layout, Rows};
use super::skipped::{Skipped, Tally, Unread};
use super::{Error, MOST_MS, Progress, Trace};

/// No app takes more, MB.
const MOST_MB: f64 = 1e9;

/// What is read so far.
#[derive(Debug, Default)]
struct Reading {
    catalog: Catalog,
    store: Store,
    /// By function.
    totals: Vec<Total>,
    /// Functions with two rows for the same time.
    overlapping: BTreeSet<u32>,
    /// First minute covered, and the first no longer covered.
    span: Option<(u32, u32)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Total {
    invocations: u64,
    /// Minutes up to its last cell.
    minutes: u32,
}

pub(super) fn read(days: &Days, progress: &mut Progress<impl Fn(u64, u64)>) -> Result<Trace, Error> {
    let mut skipped = Skipped::default();
    let mut reading = Reading::default();
    let first_day = days.invocations.iter().map(|(day, _)| *day).min().unwrap_or(1);
    for (day, path) in &days.invocations {
        match reading.add_day(path, (day - first_day) * DAY_MINUTES, &mut skipped.invocations, progress) {
            Err(Error::Malformed { reason, .. }) if days.invocations.len() > 1 => {
                skipped.invocations.leave_out(&file_name(path), &reason);
            }
            other => other?,
        }
    }
    reading.add_up();
    let mut durations_ms = vec![0.0; reading.totals.len()];
    let catalog = &mut reading.catalog;
    for (_, path) in &days.durations {
        averages(
            path,
            ["HashApp", "HashFunction", "Average"],
            MOST_MS,
            &mut skipped.durations,
            progress,
            |[app, name], average| {
                if let Some(function) = catalog.find(&app, &name) {
                    durations_ms[function as usize] = average;
                }
            },
        );
    }
    for (_, path) in &days.memory {
        averages(
            path,
            ["HashApp", "HashApp", "AverageAllocatedMb"],
            MOST_MB,
            &mut skipped.memory,
            progress,
            |[app, _], average| {
                catalog.set_memory_mb(&app, average);
            },
        );
    }
    let (functions, apps) = reading.catalog.into_parts();
    let (begin, end) = reading.span.unwrap_or_default();
    Ok(Trace {
        functions,
        apps,
        durations_ms,
        cells: reading.store,
        singles: None,
        invocations: reading.totals.iter().map(|total| total.invocations).sum(),
        begin_ms: i64::from(begin) * super::MINUTE_MS,
        end_ms: i64::from(end) * super::MINUTE_MS,
        skipped,
    })
}

impl Reading {
    /// Reads the file of a day that begins `offset` minutes after the first.
    fn add_day(
        &mut self,
        path: &Path,
        offset: u32,
        unread: &mut Unread,
        progress: &mut Progress<impl Fn(u64, u64)>,
    ) -> Result<(), Error> {
        let blocks = Blocks::open(path)?;
        let malformed = |reason| Error::Malformed { path: blocks.path().to_owned(), reason };
        let layout = Layout::read(blocks.header(), offset).map_err(malformed)?;
        let (first, last) = layout.span();
        let (begin, end) = self.span.unwrap_or((first, last + 1));
        self.span = Some((begin.min(first), end.max(last + 1)));
        let mut tally = layout.tally();
        let take = |rows: Rows, lines: u64| {
            let rows = self.add_rows(rows);
            tally.add(rows, lines);
        };
        let broken = blocks.parse(|block| layout.parse(block), take, |done| progress.tell(done))?;
        progress.finish(path);
        unread.add(&file_name(path), tally, broken);
        Ok(())
    }

    fn add_rows(&mut self, mut rows: Rows) -> Tally {
        self.store.add_chunk(std::mem::take(&mut rows.cells));
        for row in &rows.rows {
            let [app, name, trigger, _] = rows.names(row);
            let trigger = || (!trigger.is_empty()).then(|| Trigger::from_name(trigger));
            let function = self.catalog.find_or_add(app, name, trigger);
            let index = function as usize;
            if index == self.totals.len() {
                self.totals.push(Total::default());
            }
            let Some((first, last)) = row.minutes else { continue };
            let total = &mut self.totals[index];
            if first < total.minutes {
                self.overlapping.insert(function);
            }
            total.invocations += row.invocations;
            total.minutes = total.minutes.max(last + 1);
            self.store.push_segment(function, row.cells);
        }
        rows.tally
    }

    /// Adds up the rows of functions that have several for the same time.
    fn add_up(&mut self) {
        for function in std::mem::take(&mut self.overlapping) {
            let total = &mut self.totals[function as usize];
            let mut counts = vec![0_u32; total.minutes as usize];
            for (minute, count) in self.store.cells(function) {
                counts[minute as usize] = counts[minute as usize].saturating_add(count);
            }
            let cells: Vec<_> = (0..).zip(counts).filter(|(_, count)| *count > 0).collect();
            total.invocations = cells.iter().map(|(_, count)| u64::from(*count)).sum();
            self.store.clear(function);
            self.store.push(function, &cells);
        }
    }
}

/// Hands out one figure by two columns of identity. A file that can't be read at all is left out.
fn averages(
    path: &Path,
    wanted: [&str; 3],
    most: f64,
    unread: &mut Unread,
    progress: &mut Progress<impl Fn(u64, u64)>,
    mut take: impl FnMut([String; 2], f64),
) {
    let result = Blocks::open(path).and_then(|blocks| {
        let mut header = csv::ByteRecord::new();
        split(blocks.header(), &mut header);
        let [app, other, average] =
            columns(&header, wanted).map_err(|reason| Error::Malformed { path: blocks.path().to_owned(), reason })?;
        let row = |record: &csv::ByteRecord| {
            let names = [name(record, app, "app")?.to_owned(), name(record, other, "function")?.to_owned()];
            Ok((names, figure(record, average, most)?))
        };
        let mut tally = Tally::default();
        let take = |(rows, rows_tally): (Vec<_>, Tally), lines: u64| {
            tally.add(rows_tally, lines);
            rows.into_iter().for_each(|(names, average)| take(names, average));
        };
        let broken = blocks.parse(|block| parse(block, header.len(), row), take, |done| progress.tell(done))?;
        Ok((tally, broken))
    });
    match result {
        Ok((tally, broken)) => unread.add(&file_name(path), tally, broken),
        Err(Error::Malformed { reason, .. }) => unread.leave_out(&file_name(path), &reason),
        Err(error) => unread.leave_out(&file_name(path), &error.to_string()),
    }
    progress.finish(path);
}
