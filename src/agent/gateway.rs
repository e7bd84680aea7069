//! The door for callers: it says who may, and brings each invocation to where its app is at home.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::model::Trigger;

use super::backend::action;
use super::fleet::{AgentRecord, Fleet, Home, PASSED_ON, PassOn, Passed};
use super::journal::Entry;
use super::node::{InvokeError, Node, Request};
use super::pool::PoolView;
use super::prefetch::CacheView;
use super::registrations::{self, Registrations};
use super::registry::{self, AppSpec};
use super::tokens::{Caller, Refusal, Tokens};
use super::warm_set::AppView;

/// The start temperature of the invocation.
pub const START: &str = "x-pilotlight-start";
/// How long it waited for its app to be loaded, ms.
pub const INIT_MS: &str = "x-pilotlight-init-ms";
/// From arrival to answer, ms.
const DURATION_MS: &str = "x-pilotlight-duration-ms";
/// Id of the invocation.
const ID: &str = "x-pilotlight-id";
/// The node that executed it.
pub const NODE: &str = "x-pilotlight-node";
/// What caused the invocation, set by the caller.
pub const TRIGGER: &str = "x-pilotlight-trigger";

/// What the door leads to.
#[derive(Clone)]
pub(super) struct Gateway {
    pub(super) node: Node,
    pub(super) fleet: Fleet,
    pub(super) registrations: Registrations,
    pub(super) tokens: Tokens,
    pub(super) pass_on: PassOn,
}

pub(super) fn routes(gateway: Gateway, max_request_bytes: usize) -> Router {
    Router::new()
        .route("/apps/{app}/functions/{function}", post(invoke))
        .route("/apps/{app}", put(register).delete(unregister))
        .route("/apps", get(apps))
        .route("/warm", get(warm))
        .route("/pools", get(pools))
        .route("/cache", get(cache))
        .route("/events", get(events))
        .route("/agents", get(agents))
        .layer(DefaultBodyLimit::max(max_request_bytes))
        .with_state(gateway)
}

/// An error as callers see it: `{"error": …}`.
pub(super) struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.0, Json(json!({ "error": self.1 }))).into_response();
        if self.0 == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.0 == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<BytesRejection> for Failure {
    fn from(rejection: BytesRejection) -> Self {
        Failure(rejection.status(), format!("the body can't be read: {}", rejection.body_text()))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure(StatusCode::UNAUTHORIZED, refusal.to_string())
    }
}

impl From<registrations::Error> for Failure {
    fn from(error: registrations::Error) -> Self {
        use registrations::Error;
        let status = match &error {
            Error::Refused(registry::Error::InFile(_)) => StatusCode::CONFLICT,
            Error::Refused(_) => StatusCode::BAD_REQUEST,
            Error::NotTaken { .. } | Error::Late { .. } => StatusCode::SERVICE_UNAVAILABLE,
        };
        Failure(status, error.to_string())
    }
}

impl FromRequestParts<Gateway> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Failure> {
        Ok(gateway.tokens.caller(&parts.headers)?)
    }
}

impl Gateway {
    /// `Err` where the app is known, and not the caller's.
    fn ensure_own(&self, caller: &Caller, app: &str) -> Result<(), Failure> {
        match self.node.registry().get(app) {
            Some(spec) if !caller.may_use(spec.tenant.as_deref()) => {
                Err(Failure(StatusCode::FORBIDDEN, format!("app '{app}' does not belong to the tenant of this token")))
            }
            _ => Ok(()),
        }
    }

    /// Whether the caller sees what there is of an app.
    fn shows(&self, caller: &Caller, app: &str) -> bool {
        let tenant = || self.node.registry().get(app)?.tenant.clone();
        *caller == Caller::Operator || caller.may_use(tenant().as_deref())
    }
}

/// `Err` unless the caller is the operator.
fn ensure_operator(caller: &Caller) -> Result<(), Failure> {
    match caller {
        Caller::Operator => Ok(()),
        Caller::Tenant(_) => Err(Failure(StatusCode::FORBIDDEN, "this is for the operator's token only".to_owned())),
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
    State(gateway): State<Gateway>,
    caller: Caller,
    Path((app, function)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let body = body?;
    gateway.ensure_own(&caller, &app)?;
    let was_passed_on = headers.contains_key(PASSED_ON);
    if !was_passed_on && let Home::At(home) = gateway.fleet.home(&app) {
        match gateway.pass_on.pass(&gateway.fleet, &home, &uri, &headers, body.clone()).await {
            Passed::Answered(answer) => return Ok(answer),
            Passed::NotExecuted => {}
            Passed::Unclear(reason) => {
                let text = format!(
                    "the invocation was passed on to node '{}', and {reason}: it may have been executed; call again if \
                     that does no harm",
                    home.node
                );
                return Err(Failure(StatusCode::BAD_GATEWAY, text));
            }
        }
    }
    let trigger = headers.get(TRIGGER).and_then(|name| name.to_str().ok()).map(Trigger::from_name);
    let arguments = arguments(&body)?;
    let request = Request { app, function, arguments, trigger, waits: !was_passed_on };
    let mut answer = match gateway.node.invoke(request).await {
        Ok(outcome) => {
            let status = if outcome.ok { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
            let headers = [
                (header::CONTENT_TYPE.as_str(), "application/json".to_owned()),
                (START, outcome.temperature.as_str().to_owned()),
                (INIT_MS, format!("{:.3}", outcome.init_ms)),
                (DURATION_MS, format!("{:.3}", outcome.duration_ms)),
                (ID, outcome.id),
            ];
            (status, headers, outcome.body).into_response()
        }
        Err(error) => Failure::from(error).into_response(),
    };
    if let Ok(node) = HeaderValue::from_str(gateway.fleet.node()) {
        answer.headers_mut().insert(NODE, node);
    }
    Ok(answer)
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
    State(gateway): State<Gateway>,
    caller: Caller,
    Path(app): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Failure> {
    let mut spec: AppSpec = serde_json::from_slice(&body?).map_err(|error| {
        let expected =
            "expected {\"runtime\", \"code\": {\"uri\", \"sha256\"?}, \"memory_mb\"?, \"main\"?, \"tenant\"?}";
        Failure(StatusCode::BAD_REQUEST, format!("the body is no app: {error}; {expected}"))
    })?;
    gateway.ensure_own(&caller, &app)?;
    if let Caller::Tenant(own) = &caller {
        if spec.tenant.as_deref().is_some_and(|tenant| tenant != &**own) {
            let text = format!("the app's tenant must be that of this token, '{own}', or left out");
            return Err(Failure(StatusCode::FORBIDDEN, text));
        }
        spec.tenant = Some(own.to_string());
    }
    gateway.registrations.put(&gateway.node, &app, spec).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn unregister(
    State(gateway): State<Gateway>,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<StatusCode, Failure> {
    gateway.ensure_own(&caller, &app)?;
    if gateway.node.registry().get(&app).is_none() {
        return Err(InvokeError::UnknownApp(app).into());
    }
    gateway.registrations.delete(&gateway.node, &app).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn apps(State(gateway): State<Gateway>, caller: Caller) -> Json<BTreeMap<String, Arc<AppSpec>>> {
    let mut apps = gateway.node.apps();
    apps.retain(|_, spec| caller.may_use(spec.tenant.as_deref()));
    Json(apps)
}

async fn warm(State(gateway): State<Gateway>, caller: Caller) -> Json<Vec<AppView>> {
    let mut views = gateway.node.warm_view();
    views.retain(|view| gateway.shows(&caller, &view.app));
    Json(views)
}

async fn pools(State(gateway): State<Gateway>, caller: Caller) -> Result<Json<Vec<PoolView>>, Failure> {
    ensure_operator(&caller)?;
    Ok(Json(gateway.node.pools_view()))
}

async fn agents(State(gateway): State<Gateway>, caller: Caller) -> Result<Json<Vec<AgentRecord>>, Failure> {
    ensure_operator(&caller)?;
    Ok(Json(gateway.fleet.agents()))
}

async fn cache(State(gateway): State<Gateway>, caller: Caller) -> Result<Json<CacheView>, Failure> {
    ensure_operator(&caller)?;
    Ok(Json(gateway.node.cache_view()))
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

async fn events(State(gateway): State<Gateway>, caller: Caller, Query(which): Query<Which>) -> Json<Vec<Entry>> {
    let mut entries = gateway.node.journal().last(which.app.as_deref(), which.last);
    entries.retain(|entry| gateway.shows(&caller, &entry.app));
    Json(entries)
}
