//! The rows of a file in batches of columns.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::DateTime;
use datafusion::arrow::array::{
    ArrayRef, Float64Builder, Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder, TimestampMillisecondBuilder,
};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::error::{DataFusionError, Result};

use crate::model::Trigger;
use crate::simulate::traces::tables::{self, Figures};
use crate::simulate::traces::{Error, MINUTE_MS};

use super::columns::{DURATIONS, MEMORY};

/// When day 1 of Azure Functions 2019 begins, ms since 1970: 2019-07-15.
const BEGIN_2019_MS: i64 = 1_563_148_800_000;
/// When Azure Functions 2021 begins, ms since 1970: 2021-01-31.
const BEGIN_2021_MS: i64 = 1_612_051_200_000;
const DAY_MS: i64 = 1440 * MINUTE_MS;

/// A file of a trace; with the number of its day, from 1.
#[derive(Debug)]
pub(super) enum File {
    Counts((u32, PathBuf)),
    Durations((u32, PathBuf)),
    Memory((u32, PathBuf)),
    Singles(PathBuf),
}

/// A value of a row.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Text(Option<&'a str>),
    Whole(i64),
    Figure(Option<f64>),
    /// Milliseconds since 1970.
    Time(i64),
}

impl File {
    /// Reads all its rows, and says what of them can't be read.
    pub fn read(&self, to: &mut Batches) -> Result<Option<String>, Error> {
        use Value::{Figure, Text, Time, Whole};
        match self {
            File::Counts(day) => tables::counts(day, |row| {
                let owner = (!row.owner.is_empty()).then_some(row.owner);
                let trigger = row.trigger.map(Trigger::name);
                for (minute, invocations) in row.cells {
                    to.push(&[
                        Text(owner),
                        Text(Some(row.app)),
                        Text(Some(row.function)),
                        Text(trigger),
                        Time(BEGIN_2019_MS + i64::from(minute) * MINUTE_MS),
                        Whole(invocations.into()),
                    ])?;
                }
                ControlFlow::Continue(())
            }),
            File::Durations((day, path)) => {
                let date = date(*day);
                tables::figures(path, ["HashOwner", "HashApp", "HashFunction"], DURATIONS, |row| {
                    to.push_figures(&date, &row)
                })
            }
            File::Memory((day, path)) => {
                let date = date(*day);
                tables::figures(path, ["HashOwner", "HashApp"], MEMORY, |row| to.push_figures(&date, &row))
            }
            File::Singles(path) => tables::singles(path, |row| {
                to.push(&[
                    Text(Some(&row.app)),
                    Text(Some(&row.function)),
                    Time(BEGIN_2021_MS + row.start_ms),
                    Figure(Some(row.duration_ms)),
                ])
            }),
        }
    }
}

/// The date of a day of Azure Functions 2019.
fn date(day: u32) -> String {
    let ms = BEGIN_2019_MS + i64::from(day.saturating_sub(1)) * DAY_MS;
    DateTime::from_timestamp_millis(ms).map_or_else(String::new, |begin| begin.date_naive().to_string())
}

/// Rows on their way to a query, of the columns that it asks for.
pub(super) struct Batches {
    schema: SchemaRef,
    columns: Vec<(usize, Column)>,
    rows: usize,
    most_rows: usize,
    /// Says whether there is still somebody who reads.
    send: Box<dyn FnMut(RecordBatch) -> bool + Send>,
    /// Whether no more rows are wanted.
    is_closed: bool,
    error: Option<DataFusionError>,
}

enum Column {
    Text(StringBuilder),
    Whole(Int64Builder),
    Figure(Float64Builder),
    Time(TimestampMillisecondBuilder),
}

impl Batches {
    /// Of the columns with these indexes in a row, in batches of so many rows.
    pub fn new(
        schema: SchemaRef,
        columns: Vec<usize>,
        most_rows: usize,
        send: impl FnMut(RecordBatch) -> bool + Send + 'static,
    ) -> Self {
        let columns = columns.into_iter().zip(schema.fields().iter().map(|field| Column::of(field.data_type())));
        Self {
            columns: columns.collect(),
            schema,
            rows: 0,
            most_rows,
            send: Box::new(send),
            is_closed: false,
            error: None,
        }
    }

    /// Adds a row.
    fn push(&mut self, row: &[Value<'_>]) -> ControlFlow<()> {
        for (index, column) in &mut self.columns {
            column.push(row.get(*index).copied());
        }
        self.rows += 1;
        if self.rows < self.most_rows { ControlFlow::Continue(()) } else { self.hand_over() }
    }

    /// Adds a row of names and figures.
    fn push_figures<const N: usize, const F: usize>(&mut self, date: &str, row: &Figures<N, F>) -> ControlFlow<()> {
        let names = std::iter::once(date).chain(row.names.iter().map(String::as_str));
        let values: Vec<Value<'_>> = names
            .map(|name| Value::Text(Some(name)))
            .chain(row.figures.iter().map(|figure| Value::Figure(*figure)))
            .collect();
        self.push(&values)
    }

    /// Whether no more rows are wanted.
    pub const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Hands over what is left.
    pub fn finish(mut self) -> Result<()> {
        if self.rows > 0 && !self.is_closed {
            let _ = self.hand_over();
        }
        self.error.map_or(Ok(()), Err)
    }

    fn hand_over(&mut self) -> ControlFlow<()> {
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        let columns = self.columns.iter_mut().map(|(_, column)| column.finish()).collect();
        self.is_closed = match RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options) {
            Ok(batch) => !(self.send)(batch),
            Err(error) => {
                self.error = Some(error.into());
                true
            }
        };
        if self.is_closed { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Column {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Int64 => Column::Whole(Int64Builder::new()),
            DataType::Float64 => Column::Figure(Float64Builder::new()),
            DataType::Timestamp(..) => {
                Column::Time(TimestampMillisecondBuilder::new().with_data_type(data_type.clone()))
            }
            _ => Column::Text(StringBuilder::new()),
        }
    }

    /// Adds a value; none where the column is of another kind.
    fn push(&mut self, value: Option<Value<'_>>) {
        match (self, value) {
            (Column::Text(to), Some(Value::Text(text))) => to.append_option(text),
            (Column::Text(to), _) => to.append_null(),
            (Column::Whole(to), Some(Value::Whole(number))) => to.append_value(number),
            (Column::Whole(to), Some(Value::Figure(figure))) => to.append_option(figure.map(|figure| figure as i64)),
            (Column::Whole(to), _) => to.append_null(),
            (Column::Figure(to), Some(Value::Figure(figure))) => to.append_option(figure),
            (Column::Figure(to), _) => to.append_null(),
            (Column::Time(to), Some(Value::Time(time))) => to.append_value(time),
            (Column::Time(to), _) => to.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Column::Text(of) => Arc::new(of.finish()),
            Column::Whole(of) => Arc::new(of.finish()),
            Column::Figure(of) => Arc::new(of.finish()),
            Column::Time(of) => Arc::new(of.finish()),
        }
    }
}
