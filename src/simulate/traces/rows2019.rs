//! The rows of an `invocations_per_function_md` file: who, and then a count for each minute, most of them 0.

use csv::ByteRecord;

use super::add_up;
use super::blocks::{Block, Parsed, take_line};
use super::cells::encode;
use super::records::{CUT_OFF, columns, readable_name, split};
use super::skipped::{Tally, quote};

/// Minutes of a day.
pub(super) const DAY_MINUTES: u32 = 24 * 60;

/// Four cells without invocations.
const ZEROS: u64 = u64::from_le_bytes(*b"0,0,0,0,");

/// What a file's columns mean.
#[derive(Debug)]
pub(super) struct Layout {
    app: usize,
    function: usize,
    trigger: Option<usize>,
    owner: Option<usize>,
    /// By column: the minute since the beginning of the first day.
    minutes: Vec<Option<u32>>,
    /// The first column with counts, if all after it have counts too, in the order of time, and all names lie before.
    counts_from: Option<usize>,
    /// Columns that look like a minute and are none, of which the first.
    no_minute: Option<(u64, String)>,
}

/// The rows of a block.
#[derive(Debug)]
pub(super) struct Rows {
    /// What the names are ranges of.
    text: Vec<u8>,
    pub rows: Vec<Row>,
    /// Encoded, row by row.
    pub cells: Vec<u8>,
    pub tally: Tally,
}

type Range = (u32, u32);

#[derive(Debug)]
pub(super) struct Row {
    app: Range,
    function: Range,
    trigger: Range,
    owner: Range,
    /// Where its cells are.
    pub cells: Range,
    /// First and last minute with invocations, if there is any.
    pub minutes: Option<(u32, u32)>,
    pub invocations: u64,
}

impl Rows {
    /// App, function, trigger and owner of a row.
    pub fn names(&self, row: &Row) -> [&str; 4] {
        [row.app, row.function, row.trigger, row.owner].map(|(begin, end)| {
            // They were found to be UTF-8 when the row was read.
            self.text.get(begin as usize..end as usize).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or("")
        })
    }
}

impl Layout {
    /// Reads the header of a day that begins `offset` minutes after the first one. Column `m` covers `[m − 1, m)`.
    pub fn read(header: &[u8], offset: u32) -> Result<Self, String> {
        let mut record = ByteRecord::new();
        split(header, &mut record);
        let [app, function] = columns(&record, ["HashApp", "HashFunction"])?;
        let [trigger, owner] =
            ["Trigger", "HashOwner"].map(|name| columns(&record, [name]).map_or(None, |[place]| Some(place)));
        let mut minutes = Vec::with_capacity(record.len());
        let mut no_minute: Option<(u64, String)> = None;
        for label in &record {
            let number = std::str::from_utf8(label).ok().and_then(|label| label.parse::<u32>().ok());
            let minute = number.filter(|number| (1..=DAY_MINUTES).contains(number)).map(|number| offset + number - 1);
            if number.is_some() && minute.is_none() {
                let reason = || (0, format!("column {} is no minute from 1 to {DAY_MINUTES}", quote(label)));
                no_minute.get_or_insert_with(reason).0 += 1;
            }
            minutes.push(minute);
        }
        let Some(first) = minutes.iter().position(Option::is_some) else {
            return Err("its first row names no minute".to_owned());
        };
        let is_plain = minutes[first..].is_sorted_by(|early, late| late.is_some() && early < late)
            && app.max(function).max(trigger.unwrap_or(0)).max(owner.unwrap_or(0)) < first;
        Ok(Self { app, function, trigger, owner, minutes, counts_from: is_plain.then_some(first), no_minute })
    }

    /// First and last minute that the file covers.
    pub fn span(&self) -> (u32, u32) {
        let minutes = || self.minutes.iter().flatten().copied();
        (minutes().min().unwrap_or(0), minutes().max().unwrap_or(0))
    }

    /// What the header itself leaves out.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        if let Some((columns, reason)) = &self.no_minute {
            tally.cells(*columns, 0, || reason.clone());
        }
        tally
    }

    /// Reads the rows of a block. Blank lines are none.
    pub fn parse(&self, block: Block) -> Parsed<Rows> {
        let has_quotes = memchr::memchr(b'"', &block.bytes).is_some();
        let mut reading = Reading::new(self, block.bytes.len());
        let (mut rows, mut cells, mut tally, mut lines) = (Vec::new(), Vec::new(), Tally::default(), 0);
        let mut rest = &block.bytes[..];
        while !rest.is_empty() {
            let begin = block.bytes.len() - rest.len();
            let line = take_line(&mut rest).trim_ascii_end();
            lines += 1;
            if line.is_empty() {
                continue;
            }
            let found = match self.counts_from {
                Some(first) if !has_quotes || !line.contains(&b'"') => reading.plain_row(line, begin, first),
                _ => reading.any_row(line),
            };
            match found.and_then(|names| reading.check(names, rest.is_empty() && block.is_open, &block.bytes)) {
                Ok(names) => {
                    reading.account(&mut tally, lines - 1);
                    rows.push(reading.take_row(names, &mut cells));
                }
                Err(reason) => tally.row(lines - 1, || reason),
            }
        }
        let mut text = block.bytes;
        text.append(&mut reading.unquoted);
        Parsed { rows: Rows { text, rows, cells, tally }, lines }
    }
}

type Names = [Range; 4];

/// A row under way.
struct Reading<'a> {
    layout: &'a Layout,
    /// Length of the block, after which `unquoted` comes.
    block_length: usize,
    record: ByteRecord,
    /// Names that are not in the block as they are.
    unquoted: Vec<u8>,
    /// Minutes and invocations above 0.
    counts: Vec<(u32, u32)>,
    /// Cells in the row.
    columns: usize,
    /// Blank cells past the header's columns.
    blank_surplus: usize,
    /// Cells that are no counts, and why the first is not.
    odd: u64,
    first_odd: Option<String>,
}

impl<'a> Reading<'a> {
    fn new(layout: &'a Layout, block_length: usize) -> Self {
        Self {
            layout,
            block_length,
            record: ByteRecord::new(),
            unquoted: Vec::new(),
            counts: Vec::new(),
            columns: 0,
            blank_surplus: 0,
            odd: 0,
            first_odd: None,
        }
    }

    fn begin(&mut self) {
        self.counts.clear();
        (self.columns, self.blank_surplus, self.odd, self.first_odd) = (0, 0, 0, None);
    }

    /// A row without quotes that begins at `begin` in its block, with counts from column `first` on.
    fn plain_row(&mut self, line: &[u8], begin: usize, first: usize) -> Result<Names, String> {
        self.begin();
        let mut names = [(0, 0); 4];
        let mut at = 0;
        for column in 0..first {
            let Some(length) = memchr::memchr(b',', &line[at..]) else {
                return Err(self.too_short(column + 1));
            };
            if let Some(place) = self.place(column) {
                let field = &line[at..at + length];
                let name = field.trim_ascii();
                let name_begin = begin + at + (field.len() - field.trim_ascii_start().len());
                names[place] = (name_begin as u32, (name_begin + name.len()) as u32);
            }
            at += length + 1;
        }
        self.plain_counts(&line[at..], first);
        Ok(names)
    }

    /// A row with quotes or of another order.
    fn any_row(&mut self, line: &[u8]) -> Result<Names, String> {
        self.begin();
        let mut record = std::mem::take(&mut self.record);
        split(line, &mut record);
        let mut names = [(0, 0); 4];
        for (column, field) in record.iter().enumerate() {
            if let Some(place) = self.place(column) {
                let begin = self.block_length + self.unquoted.len();
                self.unquoted.extend_from_slice(field);
                names[place] = (begin as u32, (begin + field.len()) as u32);
            } else {
                self.any_count(field, column);
            }
        }
        self.columns = record.len();
        self.record = record;
        add_up(&mut self.counts);
        let layout = self.layout;
        let needed = layout.app.max(layout.function).max(layout.minutes.iter().position(Option::is_some).unwrap_or(0));
        if self.columns <= needed { Err(self.too_short(self.columns)) } else { Ok(names) }
    }

    fn place(&self, column: usize) -> Option<usize> {
        [Some(self.layout.app), Some(self.layout.function), self.layout.trigger, self.layout.owner]
            .iter()
            .position(|of| *of == Some(column))
    }

    fn too_short(&self, columns: usize) -> String {
        format!("it has {columns} of {} columns", self.layout.minutes.len())
    }

    /// Cells from `column` on, to the end of the line: mostly zeros, which are passed over four at a time.
    fn plain_counts(&mut self, mut rest: &[u8], mut column: usize) {
        loop {
            while let Some((eight, after)) = rest.split_first_chunk() {
                let other = u64::from_le_bytes(*eight) ^ ZEROS;
                if other != 0 {
                    let zeros = other.trailing_zeros() as usize / 16;
                    rest = &rest[2 * zeros..];
                    column += zeros;
                    break;
                }
                rest = after;
                column += 4;
            }
            let (mut value, mut length) = (0, 0);
            while let Some(byte) = rest.get(length)
                && byte.is_ascii_digit()
                && length < 10
            {
                value = value * 10 + u64::from(byte - b'0');
                length += 1;
            }
            let is_whole = length > 0 && matches!(rest.get(length), Some(b',') | None);
            match u32::try_from(value) {
                Ok(count) if is_whole => self.push(count, column),
                _ => {
                    length += memchr::memchr(b',', &rest[length..]).unwrap_or(rest.len() - length);
                    self.any_count(&rest[..length], column);
                }
            }
            column += 1;
            match rest.get(length + 1..) {
                Some(after) => rest = after,
                None => break,
            }
        }
        self.columns = column;
    }

    fn any_count(&mut self, field: &[u8], column: usize) {
        match self.layout.minutes.get(column) {
            None => self.blank_surplus += usize::from(field.trim_ascii().is_empty()),
            Some(None) => {}
            Some(Some(_)) => match count(field.trim_ascii()) {
                Some(count) => self.push(count, column),
                None => {
                    self.odd += 1;
                    self.first_odd.get_or_insert_with(|| format!("{} is no count", quote(field)));
                }
            },
        }
    }

    fn push(&mut self, count: u32, column: usize) {
        if count > 0
            && let Some(Some(minute)) = self.layout.minutes.get(column)
        {
            self.counts.push((*minute, count));
        }
    }

    /// Whether the row can count.
    fn check(&self, names: Names, is_open: bool, block: &[u8]) -> Result<Names, String> {
        if is_open && self.columns < self.layout.minutes.len() {
            return Err(CUT_OFF.to_owned());
        }
        let bytes = |(begin, end): Range| {
            let (begin, end) = (begin as usize, end as usize);
            match begin.checked_sub(self.block_length) {
                Some(begin) => &self.unquoted[begin..end - self.block_length],
                None => &block[begin..end],
            }
        };
        let [app, function, trigger, _] = names;
        readable_name(bytes(app), "app")?;
        readable_name(bytes(function), "function")?;
        let trigger = bytes(trigger);
        // A row that lost a column, or its beginning.
        if !trigger.is_empty() && trigger.iter().all(u8::is_ascii_digit) {
            return Err(format!("{} is no trigger", quote(trigger)));
        }
        Ok(names)
    }

    /// Says which cells of the row do not count, or are missing.
    fn account(&mut self, tally: &mut Tally, line: u64) {
        let (found, columns) = (self.columns, self.layout.minutes.len());
        let first_odd = self.first_odd.take();
        tally.cells(self.odd, line, || first_odd.unwrap_or_default());
        let missing = columns.saturating_sub(found) as u64;
        tally.cells(missing, line, || format!("it ends after {found} of {columns} columns"));
        let surplus = found.saturating_sub(columns).saturating_sub(self.blank_surplus) as u64;
        tally.cells(surplus, line, || format!("it has {found} columns, the header {columns}"));
    }

    fn take_row(&self, [app, function, trigger, owner]: Names, cells: &mut Vec<u8>) -> Row {
        let begin = cells.len() as u32;
        encode(&self.counts, cells);
        Row {
            app,
            function,
            trigger,
            owner,
            cells: (begin, cells.len() as u32),
            minutes: self.counts.first().zip(self.counts.last()).map(|(first, last)| (first.0, last.0)),
            invocations: self.counts.iter().map(|(_, count)| u64::from(*count)).sum(),
        }
    }
}

/// A count: digits, with zeros after the point if they must be. Blank is 0.
fn count(field: &[u8]) -> Option<u32> {
    if field.is_empty() {
        return Some(0);
    }
    let text = std::str::from_utf8(field).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.bytes().all(|digit| digit == b'0') { whole.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        for (text, expected) in [
            ("", Some(0)),
            ("0", Some(0)),
            ("007", Some(7)),
            ("+3", Some(3)),
            ("3.", Some(3)),
            ("3.000", Some(3)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("99999999999999999999", None),
            ("-1", None),
            ("2.5", None),
            (".0", None),
            ("1e3", None),
            ("NaN", None),
            ("abc", None),
        ] {
            assert_eq!(count(text.as_bytes()), expected, "{text}");
        }
    }
}
