//! An agent that arrivals are played against, and what it answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::http::Uri;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::http::request;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde_json::json;

use crate::agent::{INIT_HEADER, START_HEADER, TRIGGER_HEADER};

use super::{Distribution, Function};

/// Why an agent can't be played against.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The agent's address is none.
    #[error("'{0}' is no address of an agent: expected http://HOST:PORT")]
    Url(String),
    /// The token can't be sent.
    #[error("the token can't be sent as a header: it must be printable ASCII")]
    Token,
    /// The agent refused an app.
    #[error("the agent at {url} did not take app '{app}': {reason}")]
    Register {
        /// The agent.
        url: String,
        /// The app.
        app: String,
        /// Why not.
        reason: String,
    },
}

/// An agent to invoke functions at. Cheap to clone.
#[derive(Clone)]
pub struct Target {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    /// `Authorization`, where the agent asks for it.
    authorization: Option<HeaderValue>,
    answers: Arc<Mutex<Vec<Answer>>>,
}

/// How one invocation went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// When it was due by the trace, ms.
    pub at_ms: i64,
    /// The app.
    pub app: Arc<str>,
    /// HTTP status; 0 without an answer.
    pub status: u16,
    /// Start temperature, where the agent says so.
    pub start: Option<String>,
    /// How long it waited for its app to be loaded, by the agent, ms.
    pub init_ms: f64,
    /// How long the function was asked to execute, ms.
    pub sleep_ms: f64,
    /// From the request to the whole answer, ms.
    pub response_ms: f64,
}

/// What is to be invoked, and when it was due.
pub(super) struct Call {
    at_ms: i64,
    app: Arc<str>,
    sleep_ms: f64,
    request: Option<Request<Full<Bytes>>>,
}

/// All answers in figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Answered with a result, answered otherwise, not answered.
    pub ok: usize,
    /// Answered otherwise.
    pub failed: usize,
    /// Not answered.
    pub unreachable: usize,
    /// Results by start temperature: cold, prewarmed, warm.
    pub starts: [usize; 3],
    /// Mean and 99th percentile (nearest rank) of the response times of results, ms.
    pub response_ms: (f64, f64),
    /// The same of the time that they waited for their app to be loaded, ms.
    pub init_ms: (f64, f64),
}

impl Target {
    /// An agent at `http://HOST:PORT`, and the token of the operator or a tenant where it has tokens. Makes no connection
    /// yet.
    pub fn new(url: &str, token: Option<&str>) -> Result<Self, TargetError> {
        let url = url.trim_end_matches('/').to_owned();
        let parsed: Uri = url.parse().map_err(|_| TargetError::Url(url.clone()))?;
        if parsed.scheme_str() != Some("http") || parsed.host().is_none() {
            return Err(TargetError::Url(url));
        }
        let authorization = token
            .map(|token| {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| TargetError::Token)?;
                value.set_sensitive(true);
                Ok(value)
            })
            .transpose()?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { client, url, authorization, answers: Arc::default() })
    }

    fn request(&self, method: Method, path: &str) -> request::Builder {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        }
    }

    /// Registers an app whose functions take `{"sleep_ms": N}`, sleep for so long and answer.
    pub async fn register_sleeper(&self, app: &str, runtime: &str, memory_mb: f64) -> Result<(), TargetError> {
        let failed = |reason: String| TargetError::Register { url: self.url.clone(), app: app.to_owned(), reason };
        let (kind, source) = sleeper(runtime).ok_or_else(|| failed(format!("there is no sleeper for '{runtime}'")))?;
        let uri = format!("data:{kind};base64,{}", base64_of(source));
        let body = json!({"runtime": runtime, "memory_mb": memory_mb, "code": {"uri": uri}}).to_string();
        let request = self
            .request(Method::PUT, &format!("/apps/{}", encode(app)))
            .body(Full::new(body.into()))
            .map_err(|error| failed(error.to_string()))?;
        let response = self.client.request(request).await.map_err(|error| failed(chain(&error)))?;
        if response.status().is_success() {
            return Ok(());
        }
        let body = response.into_body().collect().await.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
        Err(failed(String::from_utf8_lossy(&body).into_owned()))
    }

    /// The answers so far, in the order in which they came.
    pub fn answers(&self) -> MutexGuard<'_, Vec<Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call of a function of a sleeper, which is to take `sleep_ms`.
    pub(super) fn call(&self, at_ms: i64, function: &Function, sleep_ms: f64) -> Call {
        let body = json!({ "sleep_ms": sleep_ms }).to_string();
        let path = format!("/apps/{}/functions/{}", encode(&function.app), encode(&function.name));
        let mut request = self.request(Method::POST, &path);
        if let Some(trigger) = function.trigger {
            request = request.header(TRIGGER_HEADER, trigger.name());
        }
        Call { at_ms, app: Arc::clone(&function.app), sleep_ms, request: request.body(Full::new(body.into())).ok() }
    }

    pub(super) async fn make(&self, call: Call) {
        let Call { at_ms, app, sleep_ms, request: Some(request) } = call else { return };
        let began = Instant::now();
        let (status, start, init_ms) = match self.client.request(request).await {
            Ok(response) => {
                let status = response.status().as_u16();
                let start = text(response.headers(), START_HEADER);
                let init_ms = text(response.headers(), INIT_HEADER).and_then(|ms| ms.parse().ok()).unwrap_or(0.0);
                // The connection is free for the next one only when the body is read.
                let _ = response.into_body().collect().await;
                (status, start, init_ms)
            }
            Err(_) => (0, None, 0.0),
        };
        let response_ms = began.elapsed().as_secs_f64() * 1000.0;
        self.answers().push(Answer { at_ms, app, status, start, init_ms, sleep_ms, response_ms });
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

impl Summary {
    /// Of these.
    pub fn of(answers: &[Answer]) -> Self {
        let count = |is: &dyn Fn(&Answer) -> bool| answers.iter().filter(|answer| is(answer)).count();
        let results = || answers.iter().filter(|answer| answer.status == StatusCode::OK);
        let starts = ["cold", "prewarmed", "warm"]
            .map(|name| results().filter(|answer| answer.start.as_deref() == Some(name)).count());
        let mean_and_p99 = |of: &dyn Fn(&Answer) -> f64| {
            let values: Vec<f64> = results().map(of).collect();
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            (mean, Distribution::new(values).percentile(99.0).unwrap_or(0.0))
        };
        Self {
            ok: results().count(),
            failed: count(&|answer| answer.status != 0 && answer.status != StatusCode::OK),
            unreachable: count(&|answer| answer.status == 0),
            starts,
            response_ms: mean_and_p99(&|answer| answer.response_ms),
            init_ms: mean_and_p99(&|answer| answer.init_ms),
        }
    }
}

fn sleeper(runtime: &str) -> Option<(&'static str, &'static str)> {
    match runtime {
        "sh" => Some(("application/x-sh", include_str!("../../runtimes/examples/sleep.sh"))),
        "python3" => Some(("text/x-python", include_str!("../../runtimes/examples/sleep.py"))),
        "nodejs" => Some(("text/javascript", include_str!("../../runtimes/examples/sleep.js"))),
        _ => None,
    }
}

fn base64_of(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// A path segment: everything but letters, digits and `-._~` as `%XX` (RFC 3986, 2.1).
fn encode(segment: &str) -> String {
    segment
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
