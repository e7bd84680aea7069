//! What ran, from the files of history: single invocations, as in a published trace of them.

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::types::{Float64Type, TimestampMillisecondType};
use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;

use crate::config;
use crate::history::Store;
use crate::model::Trigger;
use crate::query::{self, Engine, history};
use crate::simulate::Arrival;

use super::catalog::Catalog;
use super::skipped::Skipped;
use super::{Error, MINUTE_MS, Trace, azure2021};

const DAY_MS: i64 = 86_400_000;

/// Functions with their triggers, and apps with their mean memory.
const FUNCTIONS: &str = "SELECT app, function, max(trigger) AS trigger FROM invocations_per_minute
                         GROUP BY app, function ORDER BY app, function";
const MEMORY: &str =
    "SELECT app, sum(average_mb * sample_count) / sum(sample_count) AS memory_mb FROM app_memory GROUP BY app";
const INVOCATIONS: &str = "SELECT app, function, start, duration_ms FROM invocations";

/// Reads all invocations in the files of a history: about 24 bytes of memory for each. `progress` is told how many are
/// read.
///
/// # Errors
/// If they can't be read, or there are none.
pub async fn read(store: &Store, settings: &config::Query, progress: impl Fn(u64)) -> Result<Trace, Error> {
    let unreadable = |reason: String| Error::History { url: store.url().to_owned(), reason };
    let in_words = |error: query::Error| unreadable(error.to_string());
    let engine = Engine::new(&config::Query { time_limit: config::Millis(i64::MAX), ..settings.all_cores() })
        .map_err(in_words)?;
    history::add_tables(&engine, store, None).map_err(in_words)?;
    let rows = async |sql: &str| Ok::<_, Error>(engine.query(sql).await.map_err(in_words)?.rows);
    let mut catalog = Catalog::default();
    each(rows(FUNCTIONS).await?, |batch| {
        let (apps, functions, triggers) = (text(batch, 0), text(batch, 1), text(batch, 2));
        for row in 0..batch.num_rows() {
            let trigger = triggers.is_valid(row).then(|| Trigger::from_name(triggers.value(row)));
            catalog.find_or_add(apps.value(row), functions.value(row), || trigger);
        }
    })
    .await
    .map_err(|error| unreadable(error.to_string()))?;
    each(rows(MEMORY).await?, |batch| {
        let (apps, memory_mb) = (text(batch, 0), batch.column(1).as_primitive::<Float64Type>());
        (0..batch.num_rows()).for_each(|row| catalog.set_memory_mb(apps.value(row), memory_mb.value(row)));
    })
    .await
    .map_err(|error| unreadable(error.to_string()))?;
    let (mut arrivals, mut end_ms) = (Vec::new(), i64::MIN);
    each(rows(INVOCATIONS).await?, |batch| {
        let (apps, functions) = (text(batch, 0), text(batch, 1));
        let starts_ms = batch.column(2).as_primitive::<TimestampMillisecondType>();
        let durations_ms = batch.column(3).as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let function = catalog.find_or_add(apps.value(row), functions.value(row), || None);
            let (at_ms, duration_ms) = (starts_ms.value(row), durations_ms.value(row));
            end_ms = end_ms.max(at_ms.saturating_add(duration_ms.round() as i64));
            arrivals.push(Arrival { at_ms, duration_ms, function });
        }
        progress(arrivals.len() as u64);
    })
    .await
    .map_err(|error| unreadable(error.to_string()))?;
    let Some(first_ms) = arrivals.iter().map(|arrival| arrival.at_ms).min() else {
        return Err(Error::Empty {
            path: store.url().to_owned(),
            reason: "there are no files of invocations".to_owned(),
        });
    };
    let day_ms = first_ms.div_euclid(DAY_MS) * DAY_MS;
    for arrival in &mut arrivals {
        arrival.at_ms -= day_ms;
    }
    // Whatever the order of the files.
    arrivals.sort_unstable_by_key(|arrival| (arrival.at_ms, arrival.function, arrival.duration_ms.to_bits()));
    let trace = azure2021::of_singles(catalog, arrivals, end_ms - day_ms, Skipped::default());
    Ok(Trace { begin_ms: (first_ms - day_ms).div_euclid(MINUTE_MS) * MINUTE_MS, ..trace })
}

async fn each(mut rows: SendableRecordBatchStream, mut take: impl FnMut(&RecordBatch)) -> Result<(), DataFusionError> {
    while let Some(batch) = rows.try_next().await? {
        take(&batch);
    }
    Ok(())
}

/// A column of text.
fn text(batch: &RecordBatch, column: usize) -> &datafusion::arrow::array::StringViewArray {
    batch.column(column).as_string_view()
}
