//! What there is to ask about: `information_schema`, with a comment on each column, and DESCRIBE.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Int32Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::information_schema::{INFORMATION_SCHEMA, InformationSchemaProvider};
use datafusion::catalog::{CatalogProviderList, MemTable, MemoryCatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::Statement;

use super::CATALOG;

/// Key of a column's comment in its field's metadata.
pub const COMMENT: &str = "comment";
/// Schemas whose tables are about tables.
const ABOUT_TABLES: [&str; 2] = [INFORMATION_SCHEMA, "pg_catalog"];

/// The question that DESCRIBE or SHOW TABLES asks in short; `None` for all other statements.
pub(super) fn as_question(statement: &Parsed, state: &SessionState) -> Option<String> {
    let Parsed::Statement(statement) = statement else { return None };
    let table_name = match &**statement {
        Statement::ExplainTable { table_name, .. } => table_name,
        Statement::ShowTables { .. } => {
            return Some(format!(
                "SELECT table_schema, table_name FROM {INFORMATION_SCHEMA}.tables \
                 WHERE table_schema NOT IN ('{}', '{}') ORDER BY 1, 2",
                ABOUT_TABLES[0], ABOUT_TABLES[1]
            ));
        }
        _ => return None,
    };
    let names: Vec<_> = table_name.0.iter().filter_map(|part| part.as_ident()).map(|ident| &ident.value).collect();
    let (schema, table) = match names[..] {
        [table] => (&state.config_options().catalog.default_schema, table),
        [.., schema, table] => (schema, table),
        [] => return None,
    };
    let text = |name: &str| name.to_lowercase().replace('\'', "''");
    // A table that isn't there gets the answer that DESCRIBE gives.
    state.catalog_list().catalog(CATALOG)?.schema(&text(schema))?.table_exist(&text(table)).then(|| {
        format!(
            "SELECT column_name, data_type, is_nullable, comment FROM {INFORMATION_SCHEMA}.columns \
             WHERE table_schema = '{}' AND table_name = '{}' ORDER BY ordinal_position",
            text(schema),
            text(table)
        )
    })
}

/// Adds `information_schema`.
pub(super) fn add_information_schema(context: &SessionContext) -> Result<()> {
    let missing = || DataFusionError::Internal(format!("no catalog '{CATALOG}'"));
    let ours = context.catalog(CATALOG).ok_or_else(missing)?;
    let all: Arc<dyn CatalogProviderList> = Arc::new(MemoryCatalogProviderList::new());
    all.register_catalog(CATALOG.to_owned(), Arc::clone(&ours));
    let standard = InformationSchemaProvider::new(Arc::clone(&all));
    ours.register_schema(INFORMATION_SCHEMA, Arc::new(WithComments { standard, all }))?;
    Ok(())
}

/// The standard tables, but for `columns`, which has a comment besides.
struct WithComments {
    standard: InformationSchemaProvider,
    all: Arc<dyn CatalogProviderList>,
}

impl fmt::Debug for WithComments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WithComments")
    }
}

#[async_trait]
impl SchemaProvider for WithComments {
    fn table_names(&self) -> Vec<String> {
        self.standard.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if name != "columns" {
            return self.standard.table(name).await;
        }
        let rows = self.columns().await?;
        Ok(Some(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.standard.table_exist(name)
    }
}

impl WithComments {
    async fn columns(&self) -> Result<RecordBatch> {
        let mut rows = Columns::default();
        if let Some(catalog) = self.all.catalog(CATALOG) {
            let mut schemas = catalog.schema_names();
            schemas.retain(|schema| !ABOUT_TABLES.contains(&schema.as_str()));
            schemas.sort_unstable();
            for schema in schemas {
                let Some(tables) = catalog.schema(&schema) else { continue };
                let mut names = tables.table_names();
                names.sort_unstable();
                for name in names {
                    if let Some(table) = tables.table(&name).await? {
                        rows.add(&schema, &name, &table.schema());
                    }
                }
            }
        }
        rows.finish()
    }
}

#[derive(Default)]
struct Columns {
    schemas: Vec<String>,
    tables: Vec<String>,
    names: Vec<String>,
    positions: Vec<i32>,
    nullable: Vec<&'static str>,
    types: Vec<String>,
    comments: Vec<Option<String>>,
}

impl Columns {
    fn add(&mut self, schema: &str, table: &str, columns: &SchemaRef) {
        for (position, field) in (1..).zip(columns.fields()) {
            self.schemas.push(schema.to_owned());
            self.tables.push(table.to_owned());
            self.names.push(field.name().clone());
            self.positions.push(position);
            self.nullable.push(if field.is_nullable() { "YES" } else { "NO" });
            self.types.push(field.data_type().to_string());
            self.comments.push(field.metadata().get(COMMENT).cloned());
        }
    }

    fn finish(self) -> Result<RecordBatch> {
        let text = |name, nullable| Field::new(name, DataType::Utf8, nullable);
        let schema = Schema::new(vec![
            text("table_catalog", false),
            text("table_schema", false),
            text("table_name", false),
            text("column_name", false),
            Field::new("ordinal_position", DataType::Int32, false),
            text("column_default", true),
            text("is_nullable", false),
            text("data_type", false),
            text("comment", true),
        ]);
        let rows = self.names.len();
        let texts = |values: Vec<String>| Arc::new(StringArray::from(values));
        let catalogs = std::iter::repeat_n(Some(CATALOG), rows).collect::<StringArray>();
        Ok(RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(catalogs),
                texts(self.schemas),
                texts(self.tables),
                texts(self.names),
                Arc::new(Int32Array::from(self.positions)),
                Arc::new(StringArray::new_null(rows)),
                Arc::new(StringArray::from(self.nullable)),
                texts(self.types),
                Arc::new(StringArray::from(self.comments)),
            ],
        )?)
    }
}
