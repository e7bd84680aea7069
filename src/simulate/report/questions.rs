//! The files of `sql/` that the page shows: each under the figure that it is of, with what it answers.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;

use crate::html::{self, escape};
use crate::query::{self, Engine};
use crate::simulate::characterize::published::Subject;

/// Rows of an answer that the page shows at most.
const MOST_ROWS: usize = 50;

/// A file of `sql/`.
struct Question {
    /// The figures that it belongs to; `None`: what was cold, and what policies cost.
    subject: Option<Subject>,
    file: &'static str,
    sql: &'static str,
}

macro_rules! questions {
    ($($subject:expr => $file:literal),* $(,)?) => {
        [$(Question { subject: $subject, file: $file, sql: include_str!(concat!("../../../sql/", $file, ".sql")) }),*]
    };
}

const QUESTIONS: [Question; 13] = questions![
    Some(Subject::Triggers) => "triggers",
    Some(Subject::Combinations) => "trigger_mix_of_apps",
    Some(Subject::Sizes) => "functions_per_app",
    Some(Subject::Rates) => "rates_of_apps",
    Some(Subject::Rates) => "rates_of_functions",
    Some(Subject::Skew) => "skew",
    Some(Subject::Arrivals) => "inter_arrival_cv",
    Some(Subject::Arrivals) => "inter_arrival_cv_of_invocations",
    Some(Subject::Durations) => "execution_time",
    Some(Subject::Memory) => "memory",
    Some(Subject::Load) => "load_over_time",
    None => "cold_starts_by_app",
    None => "idle_memory_by_policy",
];

/// What a file of `sql/` answers on the workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The figures that it belongs to; `None`: what was cold, and what policies cost.
    pub subject: Option<Subject>,
    /// Its name, without folder and ending.
    pub file: &'static str,
    sql: &'static str,
    /// Its columns.
    pub header: Vec<String>,
    /// Its first rows, as text.
    pub rows: Vec<Vec<String>>,
    /// Rows that are left out.
    more: usize,
}

/// How many [`ask`] asks.
pub const ASKED: usize = QUESTIONS.len();

/// Asks all files of which `engine` has the tables. `progress` hears how many are done.
///
/// # Errors
/// If one that can be asked has no answer.
pub async fn ask(engine: &Engine, progress: impl Fn(u64)) -> Result<Vec<Answered>, query::Error> {
    let mut answers = Vec::new();
    for (done, Question { subject, file, sql }) in (1..).zip(QUESTIONS) {
        // What can't be planned lacks a table: a trace tells less than history does.
        if engine.plan(sql).await.is_ok() {
            let answer = engine.query(sql).await?;
            let header = answer.schema.fields().iter().map(|field| field.name().clone()).collect();
            let batches: Vec<RecordBatch> = answer.rows.try_collect().await?;
            let mut rows = cells(&batches).map_err(datafusion::error::DataFusionError::from)?;
            let more = rows.len().saturating_sub(MOST_ROWS);
            rows.truncate(MOST_ROWS);
            answers.push(Answered { subject, file, sql, header, rows, more });
        }
        progress(done);
    }
    Ok(answers)
}

fn cells(batches: &[RecordBatch]) -> Result<Vec<Vec<String>>, ArrowError> {
    let options = FormatOptions::default().with_null("–");
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        rows.extend(
            (0..batch.num_rows()).map(|row| columns.iter().map(|column| column.value(row).to_string()).collect()),
        );
    }
    Ok(rows)
}

/// What belongs to a subject, folded.
pub(super) fn of(answers: &[Answered], subject: Option<Subject>) -> String {
    answers.iter().filter(|answer| answer.subject == subject).map(Answered::details).collect()
}

impl Answered {
    fn details(&self) -> String {
        let header: Vec<&str> = self.header.iter().map(String::as_str).collect();
        let more = if self.more > 0 {
            format!("<p class=\"soft\">… and {} more rows.</p>\n", self.more)
        } else {
            String::new()
        };
        format!(
            "<details class=\"sql\"><summary>In SQL: sql/{file}.sql</summary>\n{table}{more}\
             <pre>{sql}</pre>\n</details>\n",
            file = self.file,
            table = html::table(&header, &self.rows),
            sql = escape(self.sql),
        )
    }
}
