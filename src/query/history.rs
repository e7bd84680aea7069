//! Tables over what ran: the files of history, and the rows of a running pipeline that are in no file yet.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::arrow::array::{Array, ArrayRef, Int32Array, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::metadata::FieldMetadata;
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::expr_fn::{max, min, sum};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, col};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use tokio::sync::Mutex;

use crate::history::layout::{self, Name};
use crate::history::reading::{self, Files};
use crate::history::{Store, Table};
use crate::pipeline::{Handle, Recent};

use super::{COMMENT, Engine, Error};

/// How long the pipeline may take to answer: while no broker does, it can't.
const PATIENCE: Duration = Duration::from_secs(10);

/// Adds the tables of the history in `store`, and of what the pipeline at `handle` has not written yet, if there is one.
pub fn add_tables(engine: &Engine, store: &Store, handle: Option<&Handle>) -> Result<(), Error> {
    let context = engine.context();
    reading::register(context, store)?;
    let unwritten = handle.map(|handle| Arc::new(Unwritten { handle: handle.clone(), last: Mutex::default() }));
    let with_views = context.copied_config().options().execution.parquet.schema_force_view_types;
    for table in Table::ALL {
        let files = Files::of(store, table);
        let files = if with_views { files } else { files.without_views() };
        let provider = HistoryTable { table, files, unwritten: unwritten.clone() };
        context.register_table(table.name(), Arc::new(provider))?;
    }
    add_views(engine)?;
    Ok(())
}

/// What published traces have as tables, from the roll-ups: durations of functions and memory of apps, by day.
fn add_views(engine: &Engine) -> Result<()> {
    let context = engine.context();
    let named = |expression: Expr, name: &str, comment: &str| {
        let comment = std::collections::HashMap::from([(COMMENT.to_owned(), comment.to_owned())]);
        expression.alias_with_metadata(name, Some(FieldMetadata::from(comment)))
    };
    let ratio = |of: &str, by: &str| col(of) / col(by);
    let day = ["date", "owner", "app"];
    let durations = futures::executor::block_on(context.table(Table::PerMinute.name()))?.aggregate(
        day.iter().chain(&["function"]).map(|name| col(*name)).collect(),
        vec![
            named(sum(col("invocations")), "count", "Executions of the day."),
            sum(col("duration_ms")).alias("sum_ms"),
            named(min(col("duration_min_ms")), "minimum_ms", "The shortest duration, ms."),
            named(max(col("duration_max_ms")), "maximum_ms", "The longest duration, ms."),
        ],
    )?;
    let average = named(ratio("sum_ms", "count"), "average_ms", "Average duration of the day, ms.");
    let rest = ["count", "minimum_ms", "maximum_ms"];
    let columns = day.iter().chain(&["function"]).map(|name| col(*name)).chain([average]).chain(rest.map(col));
    context.register_table("function_durations", durations.select(columns.collect::<Vec<_>>())?.into_view())?;

    let memory = futures::executor::block_on(context.table(Table::PerMinute.name()))?
        .filter(col("memory_mb").is_not_null())?
        .aggregate(
            day.map(col).into(),
            vec![
                named(sum(col("invocations")), "sample_count", "Invocations of the day that told it."),
                sum(col("memory_mb") * col("invocations")).alias("sum_mb"),
            ],
        )?;
    let average = named(ratio("sum_mb", "sample_count"), "average_mb", "Average memory of the app on the day, MB.");
    let columns = day.map(col).into_iter().chain([average, col("sample_count")]);
    context.register_table("app_memory", memory.select(columns.collect::<Vec<_>>())?.into_view())?;
    Ok(())
}

/// Rows of a pipeline that are in no file yet.
struct Unwritten {
    handle: Handle,
    last: Mutex<Option<Looked>>,
}

/// The statement that looked last, by when it began, and what it saw.
type Looked = (DateTime<Utc>, Arc<Vec<Recent>>);

impl std::fmt::Debug for Unwritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unwritten")
    }
}

impl Unwritten {
    /// What the statement that began at `began` sees: the same for each of its tables.
    async fn look(&self, began: Option<DateTime<Utc>>) -> Result<Arc<Vec<Recent>>> {
        let mut last = self.last.lock().await;
        if let (Some(began), Some((whose, recent))) = (began, &*last)
            && began == *whose
        {
            return Ok(Arc::clone(recent));
        }
        let recent = tokio::time::timeout(PATIENCE, self.handle.recent()).await.ok().flatten();
        let recent = recent.ok_or_else(|| DataFusionError::External(super::live::AWAY.into()))?;
        *last = began.map(|began| (began, Arc::clone(&recent)));
        Ok(recent)
    }
}

#[derive(Debug)]
struct HistoryTable {
    table: Table,
    files: Files,
    unwritten: Option<Arc<Unwritten>>,
}

#[async_trait]
impl TableProvider for HistoryTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.files.columns().table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(unwritten) = &self.unwritten else { return self.files.scan(state, projection, filters, limit).await };
        // First, because what is written meanwhile is in a file too, and left out there.
        let recent = unwritten.look(state.execution_props().query_execution_start_time).await?;
        let counts = |name: &Name| !recent.iter().any(|recent| is_unwritten(name, recent));
        let files = self.files.scan_some(state, projection, filters, limit, counts).await?;
        let mut batches = Vec::new();
        for piece in recent.iter().flat_map(|recent| &recent.pieces) {
            for (folder_ms, batch) in piece.folders(self.table)? {
                batches.push(vec![self.complete(folder_ms, &batch)?]);
            }
        }
        if batches.is_empty() {
            return Ok(files);
        }
        let rows = MemorySourceConfig::try_new_exec(&batches, self.schema(), projection.cloned())?;
        UnionExec::try_new(vec![files, rows])
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.files.supports_filters_pushdown(filters)
    }
}

/// Whether the file holds rows that were in memory when `recent` was looked at.
fn is_unwritten(file: &Name, recent: &Recent) -> bool {
    let of_it = (file.topic.as_str(), file.partition, file.epoch);
    of_it == (recent.position.topic.as_str(), recent.position.partition, recent.epoch) && file.until > recent.from
}

impl HistoryTable {
    /// The rows of a folder with the columns that files have by their folder, each of the table's type.
    fn complete(&self, folder_ms: i64, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let rows = batch.num_rows();
        let schema = self.schema();
        let mut columns = batch.columns().to_vec();
        let date = layout::date(folder_ms);
        columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(date, rows))));
        if self.table.has_hours() {
            columns.push(Arc::new(Int32Array::from_value(layout::hour(folder_ms) as i32, rows)));
        }
        let typed = columns.iter().zip(schema.fields()).map(|(column, field)| match column.data_type() {
            same if same == field.data_type() => Ok(Arc::clone(column)),
            _ => cast(column, field.data_type()),
        });
        let columns = typed.collect::<Result<Vec<ArrayRef>, _>>()?;
        RecordBatch::try_new(schema, columns)
    }
}
