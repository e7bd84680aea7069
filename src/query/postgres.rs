//! The PostgreSQL protocol, so that `psql`, Grafana and any driver can ask.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::common::ParamValues;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_postgres::datafusion_pg_catalog::setup_pg_catalog;
use datafusion_postgres::hooks::HookClient;
use datafusion_postgres::hooks::cursor::CursorStatementHook;
use datafusion_postgres::hooks::set_show::SetShowHook;
use datafusion_postgres::hooks::transactions::TransactionStatementHook;
use datafusion_postgres::pgwire::api::auth::StartupHandler;
use datafusion_postgres::pgwire::api::auth::noop::NoopStartupHandler;
use datafusion_postgres::pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use datafusion_postgres::pgwire::api::results::{QueryResponse, Response};
use datafusion_postgres::pgwire::api::{ClientInfo, ConnectionManager, PgWireServerHandlers};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use datafusion_postgres::pgwire::tokio::process_socket;
use datafusion_postgres::pgwire::types::format::FormatOptions;
use datafusion_postgres::{DfSessionService, QueryHook};
use futures::{StreamExt, stream};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::{CATALOG, Engine, Error};

/// Connections at once at most; more wait until one ends.
const MOST_CONNECTIONS: usize = 64;

/// Answers until the task is dropped. All of it runs on the threads that call it.
pub async fn serve(listener: TcpListener, engine: Engine) {
    let handlers = Arc::new(Handlers::new(engine));
    let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while let Ok(permit) = Arc::clone(&connections).acquire_owned().await {
        let (socket, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!("a PostgreSQL client could not be let in: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let handlers = Arc::clone(&handlers);
        tokio::spawn(async move {
            if let Err(error) = process_socket(socket, None, handlers).await {
                debug!("the PostgreSQL client at {address} went: {error}");
            }
            drop(permit);
        });
    }
}

/// Adds the tables and functions of PostgreSQL's catalog, which clients look at to find out what there is.
pub fn add_catalog(engine: &Engine) -> Result<(), Error> {
    setup_pg_catalog(engine.context(), CATALOG, EmptyContextProvider).map_err(|error| Error::Query(*error))
}

struct Handlers {
    service: Arc<DfSessionService>,
    startup: Arc<Startup>,
    cancel: Arc<DefaultCancelHandler>,
}

impl Handlers {
    fn new(engine: Engine) -> Self {
        let connections = Arc::new(ConnectionManager::new());
        let context = Arc::new(engine.context().clone());
        let hooks: Vec<Arc<dyn QueryHook>> = vec![
            Arc::new(OthersSettings),
            Arc::new(CursorStatementHook),
            Arc::new(SetShowHook),
            Arc::new(TransactionStatementHook),
            Arc::new(Questions(engine)),
        ];
        Self {
            service: Arc::new(DfSessionService::new_with_hooks(context, hooks)),
            cancel: Arc::new(DefaultCancelHandler::new(Arc::clone(&connections))),
            startup: Arc::new(Startup(connections)),
        }
    }
}

impl PgWireServerHandlers for Handlers {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::clone(&self.service)
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        Arc::clone(&self.service)
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        Arc::clone(&self.startup)
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        Arc::clone(&self.cancel)
    }
}

/// Lets everybody in who can reach the port.
struct Startup(Arc<ConnectionManager>);

impl NoopStartupHandler for Startup {
    fn connection_manager(&self) -> Option<Arc<ConnectionManager>> {
        Some(Arc::clone(&self.0))
    }
}

/// Keeps clients from settings that hold for all of them, the limits among these. Their own (a time zone, a time limit of
/// their statements) are for the hooks after it.
struct OthersSettings;

impl OthersSettings {
    fn refuse<T>(statement: &Statement) -> Option<PgWireResult<T>> {
        let is_one = matches!(statement, Statement::Set(_))
            && statement.to_string().to_lowercase().replace('"', "").contains("datafusion.");
        is_one.then(|| Err(in_postgres(Error::ReadOnly("changing settings of the server"))))
    }
}

#[async_trait]
impl QueryHook for OthersSettings {
    async fn handle_simple_query(
        &self,
        statement: &Statement,
        _: &SessionContext,
        _: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        Self::refuse(statement)
    }

    async fn handle_extended_parse_query(
        &self,
        statement: &Statement,
        _: &SessionContext,
        _: &(dyn ClientInfo + Send + Sync),
    ) -> Option<PgWireResult<LogicalPlan>> {
        Self::refuse(statement)
    }

    async fn handle_extended_query(
        &self,
        statement: &Statement,
        _: &LogicalPlan,
        _: &ParamValues,
        _: &SessionContext,
        _: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        Self::refuse(statement)
    }
}

/// Runs what the hooks before it left, and refuses what is not a question.
struct Questions(Engine);

#[async_trait]
impl QueryHook for Questions {
    async fn handle_simple_query(
        &self,
        statement: &Statement,
        _: &SessionContext,
        client: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        let options = Arc::new(FormatOptions::from_client_metadata(client.metadata()));
        Some(self.answer(&statement.to_string(), options).await)
    }

    async fn handle_extended_parse_query(
        &self,
        statement: &Statement,
        _: &SessionContext,
        _: &(dyn ClientInfo + Send + Sync),
    ) -> Option<PgWireResult<LogicalPlan>> {
        Some(self.0.plan(&statement.to_string()).await.map_err(in_postgres))
    }

    async fn handle_extended_query(
        &self,
        _: &Statement,
        _: &LogicalPlan,
        _: &ParamValues,
        _: &SessionContext,
        _: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        // Planned above, so that it only reads, and run by the service within the same limits, in the format asked for.
        None
    }
}

impl Questions {
    async fn answer(&self, sql: &str, options: Arc<FormatOptions>) -> PgWireResult<Response> {
        let answer = self.0.query(sql).await.map_err(in_postgres)?;
        let fields = Arc::new(arrow_schema_to_pg_fields(&answer.schema, &Format::UnifiedText, Some(options))?);
        let of_rows = Arc::clone(&fields);
        let rows = answer.rows.flat_map(move |batch| match batch {
            Ok(batch) => stream::iter(encode_recordbatch(Arc::clone(&of_rows), batch).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(in_postgres(Error::Query(error)))]),
        });
        Ok(Response::Query(QueryResponse::new(fields, rows)))
    }
}

/// With the codes of PostgreSQL (its documentation, appendix A).
fn in_postgres(error: Error) -> PgWireError {
    let code = match &error {
        Error::ReadOnly(_) => "25006",
        Error::TimeLimit(_) => "57014",
        Error::Query(_) | Error::Empty => "42000",
    };
    PgWireError::UserError(Box::new(ErrorInfo::new("ERROR".to_owned(), code.to_owned(), error.to_string())))
}
