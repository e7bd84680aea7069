//! A published trace as a schema of tables.
//!
//! Read in this order: [`columns`] says which tables there are, [`table`] hands their files to a query's partitions,
//! [`rows`] makes batches of a file's rows while it is read, so that no trace is ever in memory as a whole.

mod columns;
mod rows;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::common::metadata::FieldMetadata;
use datafusion::error::DataFusionError;
use datafusion::functions::expr_fn::date_trunc;
use datafusion::functions_aggregate::expr_fn::{count, max, min, sum};
use datafusion::functions_window::expr_fn::lag;
use datafusion::logical_expr::{Expr, ExprFunctionExt, cast, col, lit};

use crate::simulate::traces::{self, tables};

use super::Engine;
use super::describe::COMMENT;
use rows::File;
use table::TraceTable;

/// Why a folder can't be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// It holds no trace, or can't be read.
    #[error(transparent)]
    Trace(#[from] traces::Error),
    /// Its tables can't be registered.
    #[error("the tables can't be registered: {0}")]
    Query(#[from] DataFusionError),
    /// The engine takes no schema of this name.
    #[error(transparent)]
    Engine(#[from] super::Error),
}

/// Makes the trace in a folder a schema. Its files are read when a query asks for them, and anew for each.
///
/// Azure Functions 2019 gives `invocations_per_minute`, `function_durations` and `app_memory` (the latter two where
/// there are files for them), Azure Functions 2021 `invocations` and `invocations_per_minute`.
///
/// # Errors
/// If there is no trace in the folder, or it can't be read.
pub fn mount(engine: &Engine, name: &str, folder: &Path) -> Result<(), MountError> {
    let schema = MemorySchemaProvider::new();
    let add = |table: &str, provider: Arc<dyn TableProvider>| schema.register_table(table.to_owned(), provider);
    match tables::find(folder)? {
        tables::Files::Azure2019 { invocations, durations, memory } => {
            let kinds: [(_, _, _, fn(_) -> File); 3] = [
                ("invocations_per_minute", columns::counts(), invocations, File::Counts),
                ("function_durations", columns::durations(), durations, File::Durations),
                ("app_memory", columns::memory(), memory, File::Memory),
            ];
            for (table, columns, files, kind) in kinds {
                if !files.is_empty() {
                    add(table, Arc::new(TraceTable::new(columns, files.into_iter().map(kind))))?;
                }
            }
        }
        tables::Files::Azure2021(path) => {
            let singles: Arc<dyn TableProvider> = Arc::new(TraceTable::new(columns::singles(), [File::Singles(path)]));
            add("invocations_per_minute", per_minute(engine, &singles)?)?;
            add("invocations", with_gaps(engine, &singles)?)?;
        }
    }
    engine.add_schema(name, Arc::new(schema))?;
    Ok(())
}

/// Single invocations with the gap before each, which takes a sort where it is asked for.
fn with_gaps(engine: &Engine, singles: &Arc<dyn TableProvider>) -> Result<Arc<dyn TableProvider>, DataFusionError> {
    let start_ms = || cast(col("start"), DataType::Int64);
    let before_ms = lag(start_ms(), Some(1), None)
        .partition_by(vec![col("app")])
        .order_by(vec![col("start").sort(true, false)])
        .build()?;
    let gap_ms = named(start_ms() - before_ms, "gap_ms", columns::GAP);
    let columns: Vec<_> = singles.schema().fields().iter().map(|field| col(field.name())).chain([gap_ms]).collect();
    Ok(engine.context().read_table(Arc::clone(singles))?.select(columns)?.into_view())
}

fn named(expression: Expr, name: &str, comment: &str) -> Expr {
    let comment = HashMap::from([(COMMENT.to_owned(), comment.to_owned())]);
    expression.alias_with_metadata(name, Some(FieldMetadata::from(comment)))
}

/// Single invocations counted by function and minute.
fn per_minute(engine: &Engine, singles: &Arc<dyn TableProvider>) -> Result<Arc<dyn TableProvider>, DataFusionError> {
    let minute = named(date_trunc(lit("minute"), col("start")), "minute", columns::MINUTE);
    let sums = vec![
        named(count(lit(1)), "invocations", columns::INVOCATIONS),
        named(sum(col("duration_ms")), "duration_ms", "Sum of the durations, ms."),
        named(min(col("duration_ms")), "duration_min_ms", "The shortest duration, ms."),
        named(max(col("duration_ms")), "duration_max_ms", "The longest duration, ms."),
    ];
    let counted =
        engine.context().read_table(Arc::clone(singles))?.aggregate(vec![col("app"), col("function"), minute], sums)?;
    Ok(counted.into_view())
}
