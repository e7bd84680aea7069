//! One statement in, batches of rows out: within limits of memory, time and rights.

use std::num::NonZeroUsize;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::SchemaProvider;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::DFParser;
use datafusion::sql::sqlparser::parser::ParserError;

use crate::config;

use super::time_limit::TimeLimit;
use super::{describe, functions};

/// The catalog, which is what PostgreSQL calls a database.
pub const CATALOG: &str = "pilotlight";
/// The schema of the workload's own tables.
pub const SCHEMA: &str = "public";

/// How many of the largest consumers of memory an error names.
const NAMED_CONSUMERS: NonZeroUsize = NonZeroUsize::MIN;

/// Why a statement has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be read, planned or run.
    #[error("{}", in_words(.0))]
    Query(DataFusionError),
    /// It would change something.
    #[error("{0} is not allowed: tables can only be read; what can be asked is SELECT, EXPLAIN, DESCRIBE and SHOW")]
    ReadOnly(&'static str),
    /// It took too long.
    #[error("the query ran into the time limit of {}; ask for less, or raise query.time_limit", config::show_ms(*.0))]
    TimeLimit(i64),
    /// There is nothing to run.
    #[error("there is no statement; one is expected, such as SELECT app FROM apps")]
    Empty,
}

impl From<DataFusionError> for Error {
    /// All that is to be said of it is said by this one.
    fn from(error: DataFusionError) -> Self {
        Self::Query(error)
    }
}

/// The rows of an answer, which are made as they are read.
pub struct Answer {
    /// Its columns.
    pub schema: SchemaRef,
    /// Its rows. Dropping it ends the query.
    pub rows: SendableRecordBatchStream,
}

/// Runs statements. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    context: SessionContext,
}

impl Engine {
    /// No tables yet.
    pub fn new(settings: &config::Query) -> Result<Self, Error> {
        Self::with_default_schema(settings, None)
    }

    /// No tables yet, which are looked for in `schema` where a statement names none.
    pub fn with_default_schema(settings: &config::Query, schema: Option<&str>) -> Result<Self, Error> {
        let config = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, schema.unwrap_or(SCHEMA))
            .with_target_partitions(settings.threads());
        Self::of(Self::within(settings, config)?, settings)
    }

    /// What runs statements within the limits of memory and disk.
    pub(super) fn within(settings: &config::Query, config: SessionConfig) -> Result<SessionStateBuilder, Error> {
        let pool = FairSpillPool::new(settings.memory_mb << 20);
        let spill = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::OsTmpDirectory)
            .with_max_temp_directory_size(settings.spill_mb << 20);
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(TrackConsumersPool::new(pool, NAMED_CONSUMERS)))
            .with_disk_manager_builder(spill)
            .build_arc()?;
        Ok(SessionStateBuilder::new().with_config(config).with_runtime_env(environment).with_default_features())
    }

    /// The same within the limit of time, and with what is known to every statement.
    pub(super) fn of(state: SessionStateBuilder, settings: &config::Query) -> Result<Self, Error> {
        let limit = TimeLimit { limit_ms: settings.time_limit.0 };
        let context = SessionContext::new_with_state(state.with_physical_optimizer_rule(Arc::new(limit)).build());
        describe::add_information_schema(&context)?;
        functions::register(&context);
        Ok(Self { context })
    }

    /// What knows the tables and functions.
    pub const fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Adds a schema of tables, under a name.
    pub fn add_schema(&self, name: &str, tables: Arc<dyn SchemaProvider>) -> Result<(), Error> {
        let unknown = || DataFusionError::Internal(format!("no catalog '{CATALOG}'"));
        self.context.catalog(CATALOG).ok_or_else(unknown)?.register_schema(name, tables)?;
        Ok(())
    }

    /// Plans one statement, which may only read.
    pub async fn plan(&self, sql: &str) -> Result<LogicalPlan, Error> {
        if sql.trim().trim_end_matches(';').is_empty() {
            return Err(Error::Empty);
        }
        let state = self.context.state();
        let statement = state.sql_to_statement(sql, &state.config_options().sql_parser.dialect)?;
        let plan = match describe::as_question(&statement, &state) {
            Some(question) => state.create_logical_plan(&question).await?,
            None => state.statement_to_plan(statement).await?,
        };
        only_reads(&plan)?;
        Ok(plan)
    }

    /// Runs one statement.
    pub async fn query(&self, sql: &str) -> Result<Answer, Error> {
        let plan = self.plan(sql).await?;
        let rows = self.context.execute_logical_plan(plan).await?.execute_stream().await?;
        Ok(Answer { schema: rows.schema(), rows })
    }
}

/// The statements in a text; the text as it is where it is one, or can't be read, for whoever runs it to say why.
pub fn split(text: &str) -> Vec<String> {
    match DFParser::parse_sql(text) {
        Ok(statements) if statements.len() != 1 => statements.iter().map(ToString::to_string).collect(),
        _ => vec![text.to_owned()],
    }
}

/// Nothing but questions.
fn only_reads(plan: &LogicalPlan) -> Result<(), Error> {
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    options.verify_plan(plan).map_err(|_| {
        Error::ReadOnly(match plan {
            LogicalPlan::Ddl(_) => "changing what tables there are",
            LogicalPlan::Dml(_) => "changing the rows of a table",
            LogicalPlan::Copy(_) => "COPY",
            _ => "such a statement",
        })
    })
}

/// What went wrong, without the words on where in the program it did.
fn in_words(error: &DataFusionError) -> String {
    match error.find_root() {
        DataFusionError::External(inner) => inner.to_string(),
        DataFusionError::SQL(parser, _) => match &**parser {
            ParserError::ParserError(reason) | ParserError::TokenizerError(reason) => {
                format!("the statement can't be read: {reason}")
            }
            ParserError::RecursionLimitExceeded => "the statement is nested too deep".to_owned(),
        },
        DataFusionError::Plan(reason) => reason.clone(),
        DataFusionError::ResourcesExhausted(reason) => {
            format!("the query needs more than it may have (query.memory_mb, query.spill_mb): {reason}")
        }
        root => match root.strip_backtrace() {
            said if said.contains("max_temp_directory_size") => {
                "the query needs more room for temporary files than it may have (query.spill_mb)".to_owned()
            }
            said => said,
        },
    }
}
