//! Tables over the state of a running pipeline, or of all of a [`fleet`]. All that one statement reads of an instance is of
//! one moment.

mod explode;
pub mod fleet;
mod tables;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::{TryStreamExt, stream};
use tokio::sync::OnceCell;

use crate::pipeline::{Handle, Look};

use super::{Engine, Error};
use fleet::{AskedForRows, Fleet, Gathered, Peer, Place};
use tables::{TABLES, Table};

/// How long the pipeline may take to answer: while no broker does, it can't.
const PATIENCE: Duration = Duration::from_secs(10);
/// Why it did not.
pub(super) const AWAY: &str = "the pipeline does not answer: no broker may be there, or it is reading its checkpoints";
/// Rows of a look that become rows of a table at a time.
const PIECE_ROWS: usize = 1 << 12;

/// Adds the tables over the state of the pipeline at `handle`, or of all of `fleet`.
pub fn add_tables(engine: &Engine, handle: &Handle, fleet: Option<Fleet>) -> Result<(), Error> {
    let source = Arc::new(Source { handle: handle.clone(), fleet, statements: Mutex::default() });
    for table in TABLES {
        let provider = LiveTable { table, schema: table.schema(), source: Arc::clone(&source) };
        engine.context().register_table(table.name, Arc::new(provider))?;
    }
    Ok(())
}

/// What the pipeline at `handle` shows, if it answers.
async fn look(handle: &Handle) -> Option<Arc<Look>> {
    tokio::time::timeout(PATIENCE, handle.look()).await.ok().flatten()
}

/// Where looks come from.
struct Source {
    handle: Handle,
    fleet: Option<Fleet>,
    /// The statements that are being planned or run, by when they began.
    statements: Mutex<Vec<(DateTime<Utc>, Weak<Statement>)>>,
}

/// What a statement sees: the same for each of its tables.
#[derive(Debug, Default)]
struct Statement(OnceCell<Seen>);

#[derive(Debug)]
struct Seen {
    /// The statement's name, for other instances.
    name: String,
    look: Arc<Look>,
    gathered: Gathered,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl Source {
    /// The statement that began at `began`.
    fn statement(&self, began: Option<DateTime<Utc>>) -> Arc<Statement> {
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        statements.retain(|(_, statement)| statement.strong_count() > 0);
        let known = statements.iter().find(|(whose, _)| Some(*whose) == began);
        if let Some(statement) = known.and_then(|(_, statement)| statement.upgrade()) {
            return statement;
        }
        let statement = Arc::default();
        statements.extend(began.map(|began| (began, Arc::downgrade(&statement))));
        statement
    }

    async fn see(&self) -> Result<Seen> {
        let look = look(&self.handle).await.ok_or_else(|| DataFusionError::External(AWAY.into()))?;
        let name = format!("{:032x}", rand::random::<u128>());
        let gathered = match &self.fleet {
            None => Gathered::default(),
            Some(fleet) => {
                fleet.gather(&name, &look).await.map_err(|error| DataFusionError::External(Box::new(error)))?
            }
        };
        Ok(Seen { name, look, gathered })
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
        let statement = self.source.statement(state.execution_props().query_execution_start_time);
        let seen = statement.0.get_or_try_init(|| self.source.see()).await?;
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let columns = projection.unwrap_or(&all).clone();
        let schema = Arc::new(self.schema.project(&columns)?);
        let rows = |of: Of| {
            let (schema, statement) = (Arc::clone(&schema), Arc::clone(&statement));
            Arc::new(Rows { table: self.table, columns: columns.clone(), schema, statement, of })
        };
        let mut parts: Vec<Arc<dyn PartitionStream>> = vec![rows(Of::Own)];
        if let Some(fleet) = &self.source.fleet {
            for peer in &seen.gathered.peers {
                parts.push(rows(Of::Peer(fleet.clone(), peer.clone())));
            }
        }
        Ok(Arc::new(StreamingTableExec::try_new(schema, parts, None, [], false, limit)?))
    }
}

/// Some columns of a table, as one instance shows them; its rows are made as they are read.
struct Rows {
    table: &'static Table,
    columns: Vec<usize>,
    schema: SchemaRef,
    statement: Arc<Statement>,
    of: Of,
}

/// Whose rows they are.
#[derive(Debug)]
enum Of {
    Own,
    Peer(Fleet, Peer),
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?}", self.table.name, self.of)
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (schema, columns) = (Arc::clone(&self.schema), self.columns.clone());
        let Some(seen) = self.statement.0.get() else {
            let nothing = DataFusionError::Internal("rows of what was not looked at".to_owned());
            return Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter([Err(nothing)])));
        };
        match &self.of {
            Of::Own => {
                let own =
                    pieces(self.table, Arc::clone(&seen.look), &seen.gathered.without, columns, Arc::clone(&schema));
                let own = own.map(|batch| batch.map_err(DataFusionError::from));
                Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(own)))
            }
            Of::Peer(fleet, peer) => {
                let columns = schema.fields().iter().map(|field| field.name().clone()).collect();
                let (statement, table) = (seen.name.clone(), self.table.name.to_owned());
                let asked = AskedForRows { statement, table, columns, without: BTreeSet::new() };
                let theirs = fleet.rows(peer.clone(), asked, Arc::clone(&schema));
                let theirs = theirs.map_err(|error| DataFusionError::External(Box::new(error)));
                Box::pin(RecordBatchStreamAdapter::new(schema, theirs))
            }
        }
    }
}

/// The rows of a table, made of `look` one piece at a time, but for the partitions in `without`.
fn pieces(
    table: &'static Table,
    look: Arc<Look>,
    without: &BTreeSet<Place>,
    columns: Vec<usize>,
    schema: SchemaRef,
) -> impl Iterator<Item = std::result::Result<RecordBatch, ArrowError>> + Send + use<> {
    let place = |position: &crate::bus::Position| (position.topic.clone(), position.partition);
    let shown = look.partitions.iter().filter(|partition| !without.contains(&place(&partition.position)));
    let slices = |batch: &RecordBatch| {
        let slice = |from| batch.slice(from, PIECE_ROWS.min(batch.num_rows() - from));
        (0..batch.num_rows()).step_by(PIECE_ROWS).map(slice).collect::<Vec<_>>()
    };
    let pieces: Vec<_> = shown.flat_map(|partition| table.source(partition)).flat_map(slices).collect();
    pieces.into_iter().map(move |piece| table.rows(&look, &piece, &columns, &schema))
}
