//! An answer as people and programs want it.

use std::io::{self, Write};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::csv;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::arrow::json;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::arrow::util::pretty::pretty_format_batches_with_options;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::properties::WriterProperties;
use futures::StreamExt;

use super::{Answer, Error};

/// Rows that are laid out at once: a table needs to know how wide its columns are.
const TABLE_ROWS: usize = 10_000;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// Comma-separated values, with a header (RFC 4180)
    Csv,
    /// An array with one object a row
    Json,
    /// An Apache Parquet file
    Parquet,
    /// An Apache Arrow IPC stream
    Arrow,
}

impl Format {
    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Format::Table => "text/plain; charset=utf-8",
            Format::Csv => "text/csv; charset=utf-8",
            Format::Json => "application/json",
            Format::Parquet => "application/vnd.apache.parquet",
            Format::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// Why an answer was not written to its end.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The query failed on its way.
    #[error(transparent)]
    Query(#[from] Error),
    /// Too many rows for one answer.
    #[error(
        "the result has more than {0} rows: add LIMIT, aggregate, or ask through the PostgreSQL port, which has no such \
         limit (query.max_rows)"
    )]
    TooManyRows(usize),
    /// It can't be written in this format.
    #[error("the result can't be written: {0}")]
    Format(#[from] ArrowError),
    /// The same, of Parquet.
    #[error("the result can't be written as Parquet: {0}")]
    Parquet(#[from] ParquetError),
    /// It can't be written there.
    #[error("the result can't be written: {0}")]
    Io(#[from] io::Error),
}

/// Writes an answer as it comes, of at most so many rows. Returns how many it has.
pub async fn write(
    mut answer: Answer,
    format: Format,
    max_rows: usize,
    to: &mut (impl Write + Send),
) -> Result<usize, WriteError> {
    let mut writer = Writer::open(format, &answer.schema, to)?;
    let mut rows = 0;
    while let Some(batch) = answer.rows.next().await {
        let batch = batch.map_err(Error::from)?;
        rows += batch.num_rows();
        if rows > max_rows {
            return Err(WriteError::TooManyRows(max_rows));
        }
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(rows)
}

/// CSV knows no lists.
fn with_lists_as_text(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let options = FormatOptions::default();
    let columns = batch.schema_ref().fields().iter().zip(batch.columns()).map(|(field, column)| {
        if !field.data_type().is_nested() {
            return Ok((field.name(), Arc::clone(column)));
        }
        let formatter = ArrayFormatter::try_new(column, &options)?;
        let text = |row| column.is_valid(row).then(|| formatter.value(row).try_to_string()).transpose();
        let texts = (0..column.len()).map(text).collect::<Result<StringArray, _>>()?;
        Ok((field.name(), Arc::new(texts) as ArrayRef))
    });
    let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
    if columns.is_empty() { Ok(batch.clone()) } else { RecordBatch::try_from_iter(columns) }
}

enum Writer<'a, W: Write + Send> {
    Table { schema: SchemaRef, batches: Vec<RecordBatch>, rows: usize, to: &'a mut W },
    Csv(Box<csv::Writer<&'a mut W>>),
    Json(json::ArrayWriter<&'a mut W>),
    Parquet(Box<ArrowWriter<&'a mut W>>),
    Arrow(StreamWriter<&'a mut W>),
}

impl<'a, W: Write + Send> Writer<'a, W> {
    fn open(format: Format, schema: &SchemaRef, to: &'a mut W) -> Result<Self, WriteError> {
        Ok(match format {
            Format::Table => Writer::Table { schema: schema.clone(), batches: Vec::new(), rows: 0, to },
            Format::Csv => {
                let mut writer = csv::WriterBuilder::new().with_header(true).build(to);
                // The header, also where no row follows.
                writer.write(&with_lists_as_text(&RecordBatch::new_empty(schema.clone()))?)?;
                Writer::Csv(Box::new(writer))
            }
            Format::Json => Writer::Json(json::WriterBuilder::new().with_explicit_nulls(true).build(to)),
            Format::Parquet => {
                let properties =
                    WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
                Writer::Parquet(Box::new(ArrowWriter::try_new(to, schema.clone(), Some(properties))?))
            }
            Format::Arrow => Writer::Arrow(StreamWriter::try_new(to, schema)?),
        })
    }

    fn write(&mut self, batch: RecordBatch) -> Result<(), WriteError> {
        match self {
            Writer::Table { batches, rows, .. } => {
                *rows += batch.num_rows();
                batches.push(batch);
                if *rows >= TABLE_ROWS {
                    self.lay_out()?;
                }
            }
            Writer::Csv(writer) => writer.write(&with_lists_as_text(&batch)?)?,
            Writer::Json(writer) => writer.write(&batch)?,
            Writer::Parquet(writer) => writer.write(&batch)?,
            Writer::Arrow(writer) => writer.write(&batch)?,
        }
        Ok(())
    }

    fn lay_out(&mut self) -> Result<(), WriteError> {
        let Writer::Table { schema, batches, rows, to } = self else { return Ok(()) };
        *rows = 0;
        let mut batches = std::mem::take(batches);
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(schema.clone()));
        }
        let options = FormatOptions::default().with_display_error(true);
        writeln!(to, "{}", pretty_format_batches_with_options(&batches, &options)?)?;
        Ok(())
    }

    fn finish(mut self) -> Result<(), WriteError> {
        match self {
            Writer::Table { rows: 0, ref batches, .. } if batches.is_empty() => self.lay_out()?,
            Writer::Table { .. } => self.lay_out()?,
            Writer::Csv(_) => {}
            Writer::Json(mut writer) => {
                writer.finish()?;
                writeln!(writer.into_inner())?;
            }
            Writer::Parquet(writer) => drop(writer.close()?),
            Writer::Arrow(mut writer) => writer.finish()?,
        }
        Ok(())
    }
}
