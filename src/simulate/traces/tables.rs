//! The rows of a trace's files one after the other, as they are: for queries, which need no whole trace in memory.
//!
//! Each function reads one file on the thread that calls it and hands out rows until it is told to stop. What can't be
//! read is left out, and said in one sentence at the end.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use csv::ByteRecord;

use crate::model::Trigger;

use super::blocks::Blocks;
use super::cells::{Cells, Store};
use super::folder::{self, file_name};
use super::records::{columns, figure, name, parse, split};
use super::rows2019::{DAY_MINUTES, Layout};
use super::skipped::{Tally, Unread};
use super::{Error, MOST_MS, azure2021};

/// No figure of a file is larger: milliseconds, megabytes and counts.
const MOST: f64 = MOST_MS;

/// The files of a trace, with the number of their day, from 1.
#[derive(Debug)]
pub enum Files {
    /// Azure Functions 2019.
    Azure2019 {
        /// Invocations per function and minute.
        invocations: Vec<(u32, PathBuf)>,
        /// Durations by function.
        durations: Vec<(u32, PathBuf)>,
        /// Memory by app.
        memory: Vec<(u32, PathBuf)>,
    },
    /// Azure Functions 2021: single invocations.
    Azure2021(PathBuf),
}

/// Finds the files of the trace in a folder.
///
/// # Errors
/// If there is no trace, or the folder can't be read.
pub fn find(path: &Path) -> Result<Files, Error> {
    Ok(match folder::Files::find(path)? {
        folder::Files::Azure2019(folder::Days { invocations, durations, memory }) => {
            Files::Azure2019 { invocations, durations, memory }
        }
        folder::Files::Azure2021(path) => Files::Azure2021(path),
    })
}

/// A row of an `invocations_per_function_md` file.
pub struct Counts<'a> {
    /// Who owns the app; empty where not said.
    pub owner: &'a str,
    /// The app.
    pub app: &'a str,
    /// The function.
    pub function: &'a str,
    /// What invokes it, where said.
    pub trigger: Option<Trigger>,
    /// Minutes since the beginning of day 1, and invocations in them, in ascending order and without those of none.
    pub cells: Cells<'a>,
}

/// Hands out the rows with the invocations of a day.
///
/// # Errors
/// If the file is none of a trace, or can't be read.
pub fn counts(
    (day, path): &(u32, PathBuf),
    mut take: impl FnMut(Counts<'_>) -> ControlFlow<()>,
) -> Result<Option<String>, Error> {
    let blocks = Blocks::open(path)?;
    let malformed = |reason| Error::Malformed { path: blocks.path().to_owned(), reason };
    let layout = Layout::read(blocks.header(), day.saturating_sub(1) * DAY_MINUTES).map_err(malformed)?;
    let mut tally = layout.tally();
    let broken = blocks.parse_in_turn(
        |block| layout.parse(block),
        |mut rows, lines| {
            tally.add(std::mem::take(&mut rows.tally), lines);
            let mut store = Store::default();
            store.add_chunk(std::mem::take(&mut rows.cells));
            for (row, index) in rows.rows.iter().zip(0..) {
                store.push_segment(index, row.cells);
                let [app, function, trigger, owner] = rows.names(row);
                let trigger = (!trigger.is_empty()).then(|| Trigger::from_name(trigger));
                take(Counts { owner, app, function, trigger, cells: store.cells(index) })?;
            }
            ControlFlow::Continue(())
        },
    )?;
    Ok(sentence(path, tally, broken))
}

/// An invocation of the 2021 layout.
pub struct Single {
    /// The app.
    pub app: String,
    /// The function.
    pub function: String,
    /// Its start, ms since the trace began.
    pub start_ms: i64,
    /// How long it took, ms.
    pub duration_ms: f64,
}

/// Hands out single invocations, in the order of the file.
///
/// # Errors
/// If the file is none of a trace, or can't be read.
pub fn singles(path: &Path, mut take: impl FnMut(Single) -> ControlFlow<()>) -> Result<Option<String>, Error> {
    records(
        path,
        azure2021::COLUMNS,
        |record, [app, func, end, duration]| azure2021::row(record, [app, func, end, duration]),
        |row| {
            let (start_ms, duration_ms) = row.start_and_duration_ms();
            take(Single { app: row.app, function: row.function, start_ms, duration_ms })
        },
    )
}

/// Names and figures of a row, in the order in which they were asked for.
pub struct Figures<const N: usize, const F: usize> {
    /// Names; empty where not said.
    pub names: [String; N],
    /// Figures; `None` where the file has no such column or it is blank there.
    pub figures: [Option<f64>; F],
}

/// Hands out the rows of a file of figures: `function_durations_percentiles` or `app_memory_percentiles`. The first
/// figure must be there; a row without it is left out.
///
/// # Errors
/// If the file lacks one of the names or the first figure, or can't be read.
pub fn figures<const N: usize, const F: usize>(
    path: &Path,
    names: [&str; N],
    wanted: [&str; F],
    mut take: impl FnMut(Figures<N, F>) -> ControlFlow<()>,
) -> Result<Option<String>, Error> {
    let first = wanted.first().copied().unwrap_or_default();
    let header = header(&Blocks::open(path)?);
    columns(&header, [first]).map_err(|reason| Error::Malformed { path: path.display().to_string(), reason })?;
    let places = wanted.map(|column| columns(&header, [column]).map_or(None, |[place]| Some(place)));
    records(
        path,
        names,
        |record, name_places| {
            let mut names = [const { String::new() }; N];
            for (text, place) in names.iter_mut().zip(name_places) {
                name(record, place, "owner, app or function")?.clone_into(text);
            }
            let mut figures = [None; F];
            for (value, (index, place)) in figures.iter_mut().zip(places.iter().enumerate()) {
                let Some(place) = *place else { continue };
                let is_blank = record.get(place).is_none_or(<[u8]>::is_empty);
                if index == 0 || !is_blank {
                    *value = Some(figure(record, place, MOST)?);
                }
            }
            Ok(Figures { names, figures })
        },
        &mut take,
    )
}

/// Reads the lines of a file as records.
fn records<T, const N: usize>(
    path: &Path,
    wanted: [&str; N],
    row: impl Fn(&ByteRecord, [usize; N]) -> Result<T, String>,
    mut take: impl FnMut(T) -> ControlFlow<()>,
) -> Result<Option<String>, Error> {
    let blocks = Blocks::open(path)?;
    let header = header(&blocks);
    let malformed = |reason| Error::Malformed { path: blocks.path().to_owned(), reason };
    let places = columns(&header, wanted).map_err(malformed)?;
    let mut tally = Tally::default();
    let broken = blocks.parse_in_turn(
        |block| parse(block, header.len(), |record| row(record, places)),
        |(rows, rows_tally), lines| {
            tally.add(rows_tally, lines);
            rows.into_iter().try_for_each(&mut take)
        },
    )?;
    Ok(sentence(path, tally, broken))
}

fn header(blocks: &Blocks) -> ByteRecord {
    let mut header = ByteRecord::new();
    split(blocks.header(), &mut header);
    header
}

/// What was left out of a file.
fn sentence(path: &Path, tally: Tally, broken: Option<String>) -> Option<String> {
    let mut unread = Unread::default();
    unread.add(&file_name(path), tally, broken);
    unread.sentence()
}
