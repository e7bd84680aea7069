//! Tables over the state of a running pipeline. All that one statement reads of them is of one moment.

mod explode;
mod tables;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::stream;
use tokio::sync::Mutex;

use crate::pipeline::{Handle, Look};

use super::{Engine, Error};
use tables::{TABLES, Table};

/// How long the pipeline may take to answer: while no broker does, it can't.
const PATIENCE: Duration = Duration::from_secs(10);

/// Adds the tables over the state of the pipeline at `handle`.
pub fn add_tables(engine: &Engine, handle: &Handle) -> Result<(), Error> {
    let source = Arc::new(Source { handle: handle.clone(), last: Mutex::default() });
    for table in TABLES {
        let provider = LiveTable { table, schema: table.schema(), source: Arc::clone(&source) };
        engine.context().register_table(table.name, Arc::new(provider))?;
    }
    Ok(())
}

/// Where looks come from.
struct Source {
    handle: Handle,
    /// The statement that looked last, by when it began, and what it saw.
    last: Mutex<Option<(DateTime<Utc>, Arc<Look>)>>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl Source {
    /// What the statement that began at `began` sees: the same for each of its tables.
    async fn look(&self, began: Option<DateTime<Utc>>) -> Result<Arc<Look>> {
        let mut last = self.last.lock().await;
        if let (Some(began), Some((whose, look))) = (began, &*last)
            && began == *whose
        {
            return Ok(Arc::clone(look));
        }
        let away = || {
            let reason = "the pipeline does not answer: no broker may be there, or it is reading its checkpoints";
            DataFusionError::External(reason.into())
        };
        let look = tokio::time::timeout(PATIENCE, self.handle.look()).await.ok().flatten().ok_or_else(away)?;
        *last = began.map(|began| (began, Arc::clone(&look)));
        Ok(look)
    }
}

#[derive(Debug)]
struct LiveTable {
    table: &'static Table,
    schema: SchemaRef,
    source: Arc<Source>,
}

#[async_trait]
impl TableProvider for LiveTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let look = self.source.look(state.execution_props().query_execution_start_time).await?;
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let columns = projection.unwrap_or(&all).clone();
        let schema = Arc::new(self.schema.project(&columns)?);
        let rows = Arc::new(Rows { table: self.table, columns, schema: Arc::clone(&schema), look });
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![rows], None, [], false, limit)?))
    }
}

/// Some columns of a table, whose rows are made as they are read.
struct Rows {
    table: &'static Table,
    columns: Vec<usize>,
    schema: SchemaRef,
    look: Arc<Look>,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.table.name, self.look.taken_at_ms)
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (table, columns, schema, look) =
            (self.table, self.columns.clone(), Arc::clone(&self.schema), Arc::clone(&self.look));
        let batches = (0..table.source(&look).len())
            .map(move |i| Ok(table.rows(&look, &table.source(&look)[i], &columns, &schema)?));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream::iter(batches)))
    }
}
