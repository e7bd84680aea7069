//! What of a trace could not be read, in words.

use std::fmt;

/// What of a trace could not be read, by kind of file. `Display` gives one sentence for each kind that has any, a line
/// each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Of the files with the invocations.
    pub invocations: Unread,
    /// Of the files with the functions' durations.
    pub durations: Unread,
    /// Of the files with the apps' memory.
    pub memory: Unread,
}

/// What of one kind of file could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unread {
    /// Rows that are left out as a whole.
    pub rows: u64,
    /// Cells that are left out of rows which otherwise count.
    pub cells: u64,
    /// Files with such rows or cells.
    pub files: u64,
    /// The first such row or cell.
    pub first: Option<First>,
    /// Files of which nothing could be read, or not the end: the name and why.
    pub broken: Vec<(String, String)>,
}

/// Where reading failed first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// Name of the file.
    pub file: String,
    /// From 1.
    pub line: u64,
    /// Why.
    pub reason: String,
}

/// What could not be read of a part of a file.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub rows: u64,
    pub cells: u64,
    /// Line, counted from the part's first as 0, and why.
    pub first: Option<(u64, String)>,
}

impl Tally {
    pub fn row(&mut self, line: u64, reason: impl FnOnce() -> String) {
        self.rows += 1;
        self.first.get_or_insert_with(|| (line, reason()));
    }

    pub fn cells(&mut self, cells: u64, line: u64, reason: impl FnOnce() -> String) {
        if cells > 0 {
            self.cells += cells;
            self.first.get_or_insert_with(|| (line, reason()));
        }
    }

    /// Takes up what happened in a part that begins `lines` later.
    pub fn add(&mut self, later: Tally, lines: u64) {
        self.rows += later.rows;
        self.cells += later.cells;
        if let Some((line, reason)) = later.first {
            self.first.get_or_insert((lines + line, reason));
        }
    }
}

impl Skipped {
    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Unread {
    /// A file of which nothing counts.
    pub(super) fn leave_out(&mut self, file: &str, reason: &str) {
        self.broken.push((file.to_owned(), format!("is left out: {reason}")));
    }

    /// Takes up what happened in `file`, and why it broke off, if it did.
    pub(super) fn add(&mut self, file: &str, tally: Tally, broken: Option<String>) {
        self.broken.extend(broken.map(|reason| (file.to_owned(), reason)));
        self.rows += tally.rows;
        self.cells += tally.cells;
        if let Some((line, reason)) = tally.first {
            self.files += 1;
            self.first.get_or_insert(First { file: file.to_owned(), line: line + 1, reason });
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentences: Vec<String> =
            [&self.invocations, &self.durations, &self.memory].into_iter().filter_map(Unread::sentence).collect();
        to.write_str(&sentences.join("\n"))
    }
}

impl Unread {
    /// What could not be read, in a sentence, if anything.
    pub(super) fn sentence(&self) -> Option<String> {
        let mut parts = Vec::new();
        if let Some(First { file, line, reason }) = &self.first {
            let what: Vec<String> = [(self.rows, "row"), (self.cells, "cell")]
                .into_iter()
                .filter(|(number, _)| *number > 0)
                .map(|(number, noun)| number_of(number, noun))
                .collect();
            let what = what.join(" and ");
            parts.push(match self.files {
                1 => format!("{what} of {file} could not be read: first at line {line}: {reason}"),
                files => format!("{what} of {files} files could not be read: first in {file} at line {line}: {reason}"),
            });
        }
        if let [(file, reason), others @ ..] = &self.broken[..] {
            let others = match others.len() as u64 {
                0 => String::new(),
                number => format!(", and so with {number} more"),
            };
            parts.push(format!("{file} {reason}{others}"));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

fn number_of(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Text of a file as a part of a sentence: one line, not long.
pub(super) fn quote(text: &[u8]) -> String {
    const LONGEST: usize = 40;
    let text = String::from_utf8_lossy(&text[..text.len().min(8 * LONGEST)]);
    let begin: String = text.chars().take(LONGEST).collect();
    let cut = if begin.len() < text.len() { "…" } else { "" };
    format!("'{}{cut}'", begin.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences() {
        let unread = |rows, cells, files, broken: &[&str]| Unread {
            rows,
            cells,
            files,
            first: (files > 0).then(|| First {
                file: "d02.csv".to_owned(),
                line: 17,
                reason: "'abc' is no count".to_owned(),
            }),
            broken: broken.iter().map(|file| ((*file).to_owned(), "breaks off in line 9".to_owned())).collect(),
        };
        let nothing = Unread::default;
        for (invocations, durations, memory, text) in [
            (nothing(), nothing(), nothing(), ""),
            (
                unread(3, 12, 1, &[]),
                nothing(),
                nothing(),
                "3 rows and 12 cells of d02.csv could not be read: first at line 17: 'abc' is no count",
            ),
            (
                unread(1, 0, 1, &[]),
                nothing(),
                unread(0, 1, 2, &[]),
                "1 row of d02.csv could not be read: first at line 17: 'abc' is no count\n\
                 1 cell of 2 files could not be read: first in d02.csv at line 17: 'abc' is no count",
            ),
            (
                unread(0, 1, 1, &["a.csv", "b.csv"]),
                unread(0, 0, 0, &["c.csv"]),
                nothing(),
                "1 cell of d02.csv could not be read: first at line 17: 'abc' is no count; a.csv breaks off in line 9, \
                 and so with 1 more\nc.csv breaks off in line 9",
            ),
        ] {
            let skipped = Skipped { invocations, durations, memory };
            assert_eq!(skipped.to_string(), text);
            assert_eq!(skipped.is_empty(), text.is_empty());
        }
    }

    #[test]
    fn text_is_cut_and_escaped() {
        assert_eq!(quote(b"abc"), "'abc'");
        assert_eq!(quote(b"a\n\xff"), "'a\\n\u{fffd}'");
        assert_eq!(quote(&[b'x'; 100]), format!("'{}…'", "x".repeat(40)));
    }
}
