//! Files of a kind as a table, which are read when a query runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};

use super::rows::{Batches, File};

/// Batches that are made ahead of who reads them.
const AHEAD: usize = 2;

/// A table of which each row stands in one of some files.
#[derive(Debug)]
pub(super) struct TraceTable {
    schema: SchemaRef,
    files: Vec<Arc<Said>>,
}

/// A file, and whether it was said what of it can't be read.
#[derive(Debug)]
struct Said {
    file: File,
    is_said: AtomicBool,
}

/// Files that are read one after the other, for the columns that a query asks for.
#[derive(Debug)]
struct Part {
    files: Vec<Arc<Said>>,
    /// Indexes in the table.
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl TraceTable {
    pub fn new(schema: SchemaRef, files: impl IntoIterator<Item = File>) -> Self {
        let said = |file| Arc::new(Said { file, is_said: AtomicBool::new(false) });
        Self { schema, files: files.into_iter().map(said).collect() }
    }
}

#[async_trait]
impl TableProvider for TraceTable {
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
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&columns)?);
        // No more are read at once than there are threads for queries.
        let parts = state.config().target_partitions().clamp(1, self.files.len().max(1));
        let parts = (0..parts).map(|part| {
            let files = self.files.iter().skip(part).step_by(parts).cloned().collect();
            Arc::new(Part { files, columns: columns.clone(), schema: Arc::clone(&schema) }) as Arc<dyn PartitionStream>
        });
        let scan = StreamingTableExec::try_new(Arc::clone(&schema), parts.collect(), None, [], false, limit)?;
        Ok(Arc::new(scan))
    }
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), AHEAD);
        let send = stream.tx();
        let (files, rows) = (self.files.clone(), context.session_config().batch_size());
        let mut batches = Batches::new(Arc::clone(&self.schema), self.columns.clone(), rows, move |batch| {
            // Nobody reads any more where it fails.
            send.blocking_send(Ok(batch)).is_ok()
        });
        stream.spawn_blocking(move || {
            for Said { file, is_said } in files.iter().map(AsRef::as_ref) {
                let left_out = file.read(&mut batches).map_err(|error| DataFusionError::External(Box::new(error)))?;
                // Of a file that was not read to its end it is not known yet.
                if batches.is_closed() {
                    break;
                }
                if let Some(sentence) = left_out
                    && !is_said.swap(true, Ordering::Relaxed)
                {
                    tracing::warn!("{sentence}");
                }
            }
            batches.finish()
        });
        stream.build()
    }
}
