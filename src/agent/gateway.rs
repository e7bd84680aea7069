//! The door for callers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::model::Trigger;

use super::backend::action;
use super::journal::Entry;
use super::node::{InvokeError, Node, Request};
use super::pool::PoolView;
use super::prefetch::CacheView;
use super::registry::AppSpec;
use super::warm_set::AppView;

/// The start temperature of the invocation.
pub const START: &str = "x-pilotlight-start";
/// How long it waited for its app to be loaded, ms.
pub const INIT_MS: &str = "x-pilotlight-init-ms";
/// From arrival to answer, ms.
const DURATION_MS: &str = "x-pilotlight-duration-ms";
/// Id of the invocation.
const ID: &str = "x-pilotlight-id";
/// What caused the invocation, set by the caller.
pub const TRIGGER: &str = "x-pilotlight-trigger";

pub(super) fn routes(node: Node, max_request_bytes: usize) -> Router {
    Router::new()
        .route("/apps/{app}/functions/{function}", post(invoke))
        .route("/apps/{app}", put(register))
        .route("/apps", get(apps))
        .route("/warm", get(warm))
        .route("/pools", get(pools))
        .route("/cache", get(cache))
        .route("/events", get(events))
        .layer(DefaultBodyLimit::max(max_request_bytes))
        .with_state(node)
}

/// An error as callers see it: `{"error": …}`.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.0, Json(json!({ "error": self.1 }))).into_response();
        if self.0 == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<BytesRejection> for Failure {
    fn from(rejection: BytesRejection) -> Self {
        Failure(rejection.status(), format!("the body can't be read: {}", rejection.body_text()))
    }
}

impl From<InvokeError> for Failure {
    fn from(error: InvokeError) -> Self {
        let status = match &error {
            InvokeError::UnknownApp(_) => StatusCode::NOT_FOUND,
            InvokeError::FunctionName(_) => StatusCode::BAD_REQUEST,
            InvokeError::UnknownRuntime { .. } | InvokeError::TooLarge { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            InvokeError::Full { .. } | InvokeError::Closing => StatusCode::SERVICE_UNAVAILABLE,
            InvokeError::SlowCode { .. }
            | InvokeError::Init { source: action::Error::Timeout { .. }, .. }
            | InvokeError::Run { source: action::Error::Timeout { .. }, .. } => StatusCode::GATEWAY_TIMEOUT,
            InvokeError::Code { .. }
            | InvokeError::Start { .. }
            | InvokeError::Init { .. }
            | InvokeError::Run { .. } => StatusCode::BAD_GATEWAY,
        };
        Failure(status, error.to_string())
    }
}

async fn invoke(
    State(node): State<Node>,
    Path((app, function)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let body = body?;
    let trigger = headers.get(TRIGGER).and_then(|name| name.to_str().ok()).map(Trigger::from_name);
    let arguments = arguments(&body)?;
    let outcome = node.invoke(Request { app, function, arguments, trigger }).await?;
    let status = if outcome.ok { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/json".to_owned()),
        (START, outcome.temperature.as_str().to_owned()),
        (INIT_MS, format!("{:.3}", outcome.init_ms)),
        (DURATION_MS, format!("{:.3}", outcome.duration_ms)),
        (ID, outcome.id),
    ];
    Ok((status, headers, outcome.body).into_response())
}

/// The arguments of a function: a JSON object, or nothing.
fn arguments(body: &[u8]) -> Result<Box<RawValue>, Failure> {
    let refuse = |reason: String| {
        Failure(StatusCode::BAD_REQUEST, format!("the body is no JSON object: {reason}; send one, or nothing"))
    };
    let body = if body.trim_ascii().is_empty() { b"{}".as_slice() } else { body };
    let value: Box<RawValue> = serde_json::from_slice(body).map_err(|error| refuse(error.to_string()))?;
    if value.get().starts_with('{') { Ok(value) } else { Err(refuse("it is another kind of value".to_owned())) }
}

async fn register(
    State(node): State<Node>,
    Path(app): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let spec: AppSpec = serde_json::from_slice(&body?).map_err(|error| {
        let expected =
            "expected {\"runtime\", \"code\": {\"uri\", \"sha256\"?}, \"memory_mb\"?, \"main\"?, \"tenant\"?}";
        Failure(StatusCode::BAD_REQUEST, format!("the body is no app: {error}; {expected}"))
    })?;
    node.register(&app, spec).map_err(|error| Failure(StatusCode::BAD_REQUEST, error.to_string()))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn apps(State(node): State<Node>) -> Json<BTreeMap<String, Arc<AppSpec>>> {
    Json(node.apps())
}

async fn warm(State(node): State<Node>) -> Json<Vec<AppView>> {
    Json(node.warm_view())
}

async fn pools(State(node): State<Node>) -> Json<Vec<PoolView>> {
    Json(node.pools_view())
}

async fn cache(State(node): State<Node>) -> Json<CacheView> {
    Json(node.cache_view())
}

/// `?app=NAME&last=N`
#[derive(Debug, Deserialize)]
struct Which {
    app: Option<String>,
    #[serde(default = "hundred")]
    last: usize,
}

fn hundred() -> usize {
    100
}

async fn events(State(node): State<Node>, Query(which): Query<Which>) -> Json<Vec<Entry>> {
    Json(node.journal().last(which.app.as_deref(), which.last))
}
