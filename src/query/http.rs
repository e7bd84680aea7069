//! `POST /api/sql`: a statement in, its rows out as JSON, CSV, Arrow IPC or Parquet, by `Accept`.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use datafusion::error::DataFusionError;
use serde::Deserialize;
use tokio::runtime::Handle;

use super::live::fleet;
use super::output::{self, Format, WriteError};
use super::{Engine, Error};

/// Bytes of a statement at most.
const MOST_BYTES: usize = 1 << 20;

/// What answers.
#[derive(Clone)]
pub struct Service {
    /// Runs the statements,
    pub engine: Engine,
    /// on these threads.
    pub threads: Handle,
    /// Rows of an answer at most.
    pub max_rows: usize,
}

/// The route.
pub fn routes(service: Service) -> Router {
    let route = post(answer).layer(DefaultBodyLimit::max(MOST_BYTES));
    Router::new().route("/api/sql", route).with_state(Arc::new(service))
}

/// A statement as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    sql: String,
}

async fn answer(State(service): State<Arc<Service>>, headers: HeaderMap, body: Bytes) -> Response {
    let (sql, format) = match (statement(&headers, &body), format(&headers)) {
        (Ok(sql), Ok(format)) => (sql, format),
        (Err(refusal), _) | (_, Err(refusal)) => return refusal.into_response(),
    };
    let (engine, max_rows) = (service.engine.clone(), service.max_rows);
    // Ends with the client: this future is dropped then, and the task with it.
    let mut task = AbortOnDrop(service.threads.spawn(async move {
        let mut bytes = Vec::new();
        let answer = engine.query(&sql).await?;
        output::write(answer, format, max_rows, &mut bytes).await?;
        Ok::<_, WriteError>(bytes)
    }));
    match (&mut task.0).await {
        Ok(Ok(bytes)) => ([(header::CONTENT_TYPE, format.media_type())], bytes).into_response(),
        Ok(Err(error)) => Refusal(status(&error), error.to_string()).into_response(),
        Err(_) => Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the query broke off".to_owned()).into_response(),
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn statement(headers: &HeaderMap, body: &Bytes) -> Result<String, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let bad = |reason: String| Refusal(StatusCode::BAD_REQUEST, reason);
    if kind.starts_with("application/json") {
        let asked: Asked = serde_json::from_slice(body)
            .map_err(|error| bad(format!("the body is no {{\"sql\": \"SELECT …\"}}: {error}")))?;
        return Ok(asked.sql);
    }
    String::from_utf8(body.to_vec()).map_err(|_| bad("the statement is not UTF-8".to_owned()))
}

fn format(headers: &HeaderMap) -> Result<Format, Refusal> {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("*/*");
    let named = |kind: &str| match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" | "application/*" | "*/*" => Some(Format::Json),
        "text/csv" => Some(Format::Csv),
        "text/plain" | "text/*" => Some(Format::Table),
        "application/vnd.apache.arrow.stream" => Some(Format::Arrow),
        "application/vnd.apache.parquet" => Some(Format::Parquet),
        _ => None,
    };
    accept.split(',').find_map(named).ok_or_else(|| {
        let known = "Accept names none of application/json, text/csv, text/plain, application/vnd.apache.arrow.stream, \
                     application/vnd.apache.parquet";
        Refusal(StatusCode::NOT_ACCEPTABLE, known.to_owned())
    })
}

fn status(error: &WriteError) -> StatusCode {
    match error {
        WriteError::Query(Error::Query(error)) => match error.find_root() {
            DataFusionError::External(ours) if ours.is::<Error>() => StatusCode::GATEWAY_TIMEOUT,
            DataFusionError::External(ours) if ours.is::<fleet::Error>() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        },
        WriteError::Query(_) => StatusCode::BAD_REQUEST,
        WriteError::TooManyRows(_) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Why there is no answer.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.1 }).to_string();
        (self.0, [(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
    }
}
