//! Where `sql` asks for statements: with lines remembered from one time to the next, and names completed.

use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Editor, Helper};

use crate::config::folders;

/// What `\?` says.
pub(super) const HELP: &str = "A statement ends with a semicolon, and may have many lines; Tab completes names, the arrows go through \
                               what was asked before.\n  \\d        what tables there are\n  \\d TABLE  its columns\n  \\?        this help\n  \
                               \\q        ends, as Ctrl-D does; Ctrl-C ends a query";

const KEYWORDS: [&str; 34] = [
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "COUNT",
    "CROSS",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "ELSE",
    "END",
    "EXPLAIN",
    "FROM",
    "GROUP",
    "HAVING",
    "IN",
    "INTERVAL",
    "IS",
    "JOIN",
    "LEFT",
    "LIMIT",
    "NOT",
    "NULL",
    "ON",
    "OR",
    "ORDER",
    "OVER",
    "PARTITION",
    "SELECT",
    "UNION",
    "WHERE",
    "WITH",
];

/// What was said at the prompt.
pub(super) enum Said {
    /// One statement or more.
    Statement(String),
    /// That help is wanted.
    Help,
}

pub(super) struct Prompt {
    editor: Editor<Names, FileHistory>,
    history: Option<PathBuf>,
}

impl Prompt {
    /// `names` are completed beside keywords.
    pub(super) fn open(mut names: Vec<String>) -> anyhow::Result<Self> {
        names.extend(KEYWORDS.map(str::to_owned));
        names.sort_unstable();
        let mut editor = Editor::new()?;
        editor.set_helper(Some(Names(names)));
        let history = folders::state().map(|state| state.join("sql_history"));
        if let Some(file) = &history {
            // Without it, only what is said now is remembered.
            let _ = editor.load_history(file);
        }
        Ok(Self { editor, history })
    }

    /// What is said next; `None` at the end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Said>> {
        loop {
            let line = match self.editor.readline("pilotlight> ") {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let said = line.trim();
            if said.is_empty() {
                continue;
            }
            self.remember(&line);
            let words: Vec<_> = said.trim_end_matches(';').split_whitespace().collect();
            return Ok(match words[..] {
                ["\\q" | "exit" | "quit"] => None,
                ["\\d" | "\\dt"] => Some(Said::Statement("SHOW TABLES".to_owned())),
                ["\\d", table] => Some(Said::Statement(format!("DESCRIBE {table}"))),
                [word, ..] if word.starts_with('\\') => Some(Said::Help),
                _ => Some(Said::Statement(line)),
            });
        }
    }

    fn remember(&mut self, line: &str) {
        let _ = self.editor.add_history_entry(line);
        if let Some(file) = &self.history {
            if let Some(folder) = file.parent() {
                let _ = std::fs::create_dir_all(folder);
            }
            let _ = self.editor.save_history(file);
        }
    }
}

/// Completes the word before the cursor.
struct Names(Vec<String>);

impl Completer for Names {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let begin = line[..at].rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |i| i + 1);
        let word = line[begin..at].to_lowercase();
        let fits = |name: &&String| name.len() >= word.len() && name.to_lowercase().starts_with(&word);
        let found = if word.is_empty() { Vec::new() } else { self.0.iter().filter(fits).cloned().collect() };
        Ok((begin, found))
    }
}

impl Validator for Names {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let said = context.input().trim();
        let ends = said.is_empty() || said.ends_with(';') || said.starts_with('\\') || ["exit", "quit"].contains(&said);
        Ok(if ends { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Hinter for Names {
    type Hint = String;
}

impl Highlighter for Names {}

impl Helper for Names {}
