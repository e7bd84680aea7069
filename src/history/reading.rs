//! Files of history as a table that queries read.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, BooleanArray, Int32Array, StringArray, TimestampMillisecondArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, ScalarValue, project_schema};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::prelude::SessionContext;

use crate::query::COMMENT;

use super::layout::{self, Listed, covered};
use super::store::{About, Store};
use super::tables::Table;

/// Has `context` find the files of `store`.
pub fn register(context: &SessionContext, store: &Store) -> Result<()> {
    let url = ObjectStoreUrl::parse(store.origin())?;
    context.runtime_env().register_object_store(url.as_ref(), store.objects());
    Ok(())
}

/// A table of history, as far as it is in files.
#[derive(Debug, Clone)]
pub struct Files {
    store: Store,
    table: Table,
    columns: TableSchema,
    /// These and no others, to be read in the order of their rows; without them all that there are.
    chosen: Option<Vec<Listed<About>>>,
}

impl Files {
    /// All files of a table.
    pub fn of(store: &Store, table: Table) -> Self {
        Self { store: store.clone(), table, columns: columns(table), chosen: None }
    }

    /// Some files of a table, which are read so that the rows of all together come in order.
    pub fn these(store: &Store, table: Table, files: Vec<Listed<About>>) -> Self {
        Self { chosen: Some(files), ..Self::of(store, table) }
    }

    /// The same with text that lies in one piece, row by row, in place of views of it.
    #[must_use]
    pub fn without_views(self) -> Self {
        let plain = |field: &FieldRef| match field.data_type() {
            DataType::Utf8View => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
            _ => Arc::clone(field),
        };
        let file: Vec<_> = self.columns.file_schema().fields().iter().map(plain).collect();
        let folders = self.columns.table_partition_cols().clone();
        let columns = TableSchema::builder(Arc::new(Schema::new(file))).with_table_partition_cols(folders).build();
        Self { columns, ..self }
    }

    /// Its columns, with those of its folders.
    pub const fn columns(&self) -> &TableSchema {
        &self.columns
    }

    /// Reads the files that `counts`, and that may hold rows which all of `filters` let through.
    pub async fn scan_some(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
        counts: impl Fn(&layout::Name) -> bool,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut files = match &self.chosen {
            Some(files) => files.clone(),
            None => {
                let listed = self.store.list(self.table).await;
                covered(listed.map_err(|error| DataFusionError::External(Box::new(error)))?).0
            }
        };
        files.retain(|listed| counts(&listed.file.name));
        self.prune(state, filters, &mut files)?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(self.columns.table_schema(), projection)?)));
        }
        let partitioned: Vec<_> = files.iter().map(|listed| self.partitioned(listed)).collect();
        // What a file says of itself is read once.
        let known = state.runtime_env().cache_manager.get_file_metadata_cache();
        let reader = Arc::new(CachedParquetFileReaderFactory::new(self.store.objects(), known));
        let source = Arc::new(ParquetSource::new(self.columns.clone()).with_parquet_file_reader_factory(reader));
        let mut scan =
            FileScanConfigBuilder::new(ObjectStoreUrl::parse(self.store.origin())?, source).with_limit(limit);
        scan = match self.chosen {
            // Within a file rows are in order.
            Some(_) => {
                let groups = partitioned.into_iter().map(|file| FileGroup::new(vec![file]));
                scan.with_file_groups(groups.collect()).with_output_ordering(self.order()?.into_iter().collect())
            }
            None => scan.with_file_groups(FileGroup::new(partitioned).split_files(state.config().target_partitions())),
        };
        Ok(DataSourceExec::from_data_source(scan.with_projection_indices(projection.cloned())?.build()))
    }

    fn order(&self) -> Result<Option<LexOrdering>> {
        let schema = self.columns.table_schema();
        let by = |name| Ok::<_, DataFusionError>(PhysicalSortExpr::new_default(col(name, schema)?));
        Ok(LexOrdering::new([by("app")?, by(self.table.time())?]))
    }

    fn partitioned(&self, listed: &Listed<About>) -> PartitionedFile {
        let mut values = vec![ScalarValue::from(layout::date(listed.file.folder_ms))];
        if self.table.has_hours() {
            values.push(ScalarValue::Int32(Some(layout::hour(listed.file.folder_ms) as i32)));
        }
        let object = listed.about.object(listed.file.path(self.store.root()));
        PartitionedFile::new_from_meta(object).with_partition_values(values)
    }

    /// Leaves out files in whose hour or day there can be no row that is asked for.
    fn prune(&self, state: &dyn Session, filters: &[Expr], files: &mut Vec<Listed<About>>) -> Result<()> {
        let schema = self.columns.table_schema();
        let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(()) };
        let filter = state.create_physical_expr(filter, &DFSchema::try_from(Arc::clone(schema))?)?;
        let folders =
            Folders { table: self.table, begins_ms: files.iter().map(|listed| listed.file.folder_ms).collect() };
        let predicate = PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema)).build(filter);
        let Some(predicate) = predicate else { return Ok(()) };
        let mut may_match = predicate.prune(&folders)?.into_iter();
        files.retain(|_| may_match.next().unwrap_or(true));
        Ok(())
    }
}

fn columns(table: Table) -> TableSchema {
    let folder = |name, data_type, comment: &str| -> FieldRef {
        let comment = (COMMENT.to_owned(), comment.to_owned());
        Arc::new(Field::new(name, data_type, false).with_metadata([comment].into()))
    };
    let mut folders =
        vec![folder("date", DataType::Utf8, "Day of the row, YYYY-MM-DD, UTC. Filters by it read that day only.")];
    if table.has_hours() {
        folders.push(folder("hour", DataType::Int32, "Hour of the row, 0 to 23, UTC."));
    }
    TableSchema::builder(table.schema()).with_table_partition_cols(folders).build()
}

/// What the folder of each file says of the rows in it.
struct Folders {
    table: Table,
    begins_ms: Vec<i64>,
}

impl Folders {
    fn values(&self, column: &Column, of_time_ms: impl Fn(i64) -> i64) -> Option<ArrayRef> {
        let begins_ms = self.begins_ms.iter().copied();
        match column.name.as_str() {
            "date" => Some(Arc::new(StringArray::from_iter_values(begins_ms.map(layout::date)))),
            "hour" if self.table.has_hours() => {
                Some(Arc::new(Int32Array::from_iter_values(begins_ms.map(|ms| layout::hour(ms) as i32))))
            }
            name if name == self.table.time() => {
                let times = TimestampMillisecondArray::from_iter_values(begins_ms.map(of_time_ms));
                Some(Arc::new(times.with_timezone("UTC")))
            }
            _ => None,
        }
    }
}

impl PruningStatistics for Folders {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |begin_ms| begin_ms)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |begin_ms| begin_ms + self.table.span_ms() - 1)
    }

    fn num_containers(&self) -> usize {
        self.begins_ms.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _: &Column, _: &std::collections::HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

#[async_trait]
impl TableProvider for Files {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.columns.table_schema())
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
        self.scan_some(state, projection, filters, limit, |_| true).await
    }

    /// Filters leave out files, row groups and pages; rows are filtered above.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}
