//! Plays arrivals in time: onto the bus as invocation events, or against an agent as real invocations.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::Uri;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::bus::{self, Producer, Record};
use crate::model::{Invocation, now_ms};
use crate::shutdown::Shutdown;

use super::{Arrival, Function};

/// Invocations under way at once; past that, arrivals wait.
const MOST_AT_ONCE: usize = 256;

/// How long the last answers may take.
const LAST_ANSWERS: Duration = Duration::from_secs(30);

/// What can go wrong while playing.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The bus can't be used.
    #[error(transparent)]
    Bus(#[from] bus::Error),
    /// An event can't be written as JSON.
    #[error("an event can't be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The agent's address is none.
    #[error("'{0}' is no address of an agent: expected http://HOST:PORT")]
    Url(String),
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

/// Arrivals to play.
pub struct Drive<'a> {
    /// What the arrivals name.
    pub functions: &'a [Function],
    /// In the order of their starts.
    pub arrivals: Box<dyn Iterator<Item = Arrival> + Send + 'a>,
    /// How many times as fast as their own clock.
    pub speed: f64,
    /// How many were played so far.
    pub progress: &'a AtomicU64,
}

/// An agent to invoke functions at.
#[derive(Clone)]
pub struct Target {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    ok: AtomicU64,
    failed: AtomicU64,
    unreachable: AtomicU64,
}

impl Drive<'_> {
    /// Publishes each arrival as an invocation event when its execution would have ended, stamped with the times at
    /// which it happens here. Blocks; ends early when it is time to.
    pub fn to_bus(self, producer: &Producer, topic: &str, shutdown: &Shutdown) -> Result<(), DriveError> {
        let began = Instant::now();
        let began_ms = now_ms();
        let mut arrivals = self.arrivals.peekable();
        let origin_ms = arrivals.peek().map_or(0, |first| first.at_ms / 60_000 * 60_000);
        // Executions that have not ended yet, the first to end on top.
        let mut running: BinaryHeap<Reverse<(i64, u64, i64, u32)>> = BinaryHeap::new();
        let mut number = 0;
        let mut buffer = Vec::new();
        loop {
            let next = arrivals.next();
            let now = next.as_ref().map_or(i64::MAX, |arrival| arrival.at_ms);
            while let Some(Reverse((end_ms, ..))) = running.peek()
                && *end_ms <= now
                && let Some(Reverse((end_ms, _, start_ms, function))) = running.pop()
            {
                let here = |ms: i64| (ms - origin_ms) as f64 / self.speed;
                let due = Duration::from_secs_f64((here(end_ms) / 1000.0).max(0.0));
                // Below the accuracy of a sleep, batching does less harm.
                let early = due.saturating_sub(began.elapsed());
                if early > Duration::from_millis(2) {
                    shutdown.sleep(early);
                }
                if shutdown.is_requested() {
                    return Ok(());
                }
                let function = &self.functions[function as usize];
                let started_at_ms = began_ms + here(start_ms) as i64;
                let event = Invocation {
                    trigger: function.trigger,
                    memory_mb: function.memory_mb,
                    ..Invocation::new(
                        &function.app,
                        &function.name,
                        started_at_ms,
                        ((end_ms - start_ms) as f64 / self.speed * 1000.0).round() / 1000.0,
                    )
                };
                buffer.clear();
                serde_json::to_writer(&mut buffer, &event)?;
                let record = Record {
                    topic,
                    key: &function.app,
                    payload: Some(&buffer),
                    timestamp_ms: None,
                    version: None,
                    source: None,
                };
                if !producer.send(record, shutdown)? {
                    return Ok(());
                }
                self.progress.fetch_add(1, Ordering::Relaxed);
            }
            let Some(arrival) = next else { return Ok(()) };
            let end_ms = arrival.at_ms + arrival.duration_ms.round() as i64;
            running.push(Reverse((end_ms, number, arrival.at_ms, arrival.function)));
            number += 1;
        }
    }

    /// Invokes each arrival's function at the agent when it is due; `arguments` says with what. Answers are not waited
    /// for before the next arrival, but for the last ones. Ends early when it is time to.
    pub async fn to_agent(self, target: &Target, mut shutdown: Shutdown) {
        let began = Instant::now();
        let at_once = Arc::new(Semaphore::new(MOST_AT_ONCE));
        let mut arrivals = self.arrivals.peekable();
        let origin_ms = arrivals.peek().map_or(0, |first| first.at_ms / 60_000 * 60_000);
        for arrival in arrivals {
            let due = Duration::from_secs_f64((arrival.at_ms - origin_ms) as f64 / 1000.0 / self.speed);
            let early = due.saturating_sub(began.elapsed());
            if !early.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(early) => {}
                    () = shutdown.requested() => break,
                }
            }
            if shutdown.is_requested() {
                break;
            }
            let turn = tokio::select! {
                turn = Arc::clone(&at_once).acquire_owned() => turn,
                () = shutdown.requested() => break,
            };
            let Ok(turn) = turn else { break };
            let function = &self.functions[arrival.function as usize];
            let sleep_ms = (arrival.duration_ms / self.speed * 1000.0).round() / 1000.0;
            let body = json!({ "sleep_ms": sleep_ms }).to_string();
            let request = target.invocation(function, body);
            let target = target.clone();
            tokio::spawn(async move {
                target.send(request).await;
                drop(turn);
            });
            self.progress.fetch_add(1, Ordering::Relaxed);
        }
        // All turns back: all answers are in. An agent that never answers is not waited for without end.
        let all = at_once.acquire_many(MOST_AT_ONCE as u32);
        let _ = tokio::time::timeout(LAST_ANSWERS, all).await;
    }
}

impl Target {
    /// An agent at `http://HOST:PORT`. Makes no connection yet.
    pub fn new(url: &str) -> Result<Self, DriveError> {
        let url = url.trim_end_matches('/').to_owned();
        let parsed: Uri = url.parse().map_err(|_| DriveError::Url(url.clone()))?;
        if parsed.scheme_str() != Some("http") || parsed.host().is_none() {
            return Err(DriveError::Url(url));
        }
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { client, url, counts: Arc::default() })
    }

    /// Registers an app whose functions take `{"sleep_ms": N}`, sleep for so long and answer.
    pub async fn register_sleeper(&self, app: &str, runtime: &str, memory_mb: f64) -> Result<(), DriveError> {
        let failed = |reason: String| DriveError::Register { url: self.url.clone(), app: app.to_owned(), reason };
        let (kind, source) = sleeper(runtime).ok_or_else(|| failed(format!("there is no sleeper for '{runtime}'")))?;
        let uri = format!("data:{kind};base64,{}", base64_of(source));
        let body = json!({"runtime": runtime, "memory_mb": memory_mb, "code": {"uri": uri}}).to_string();
        let request = Request::builder()
            .method(Method::PUT)
            .uri(format!("{}/apps/{}", self.url, encode(app)))
            .body(Full::new(body.into()))
            .map_err(|error| failed(error.to_string()))?;
        let response = self.client.request(request).await.map_err(|error| failed(chain(&error)))?;
        if response.status().is_success() {
            return Ok(());
        }
        let body = response.into_body().collect().await.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
        Err(failed(String::from_utf8_lossy(&body).into_owned()))
    }

    /// Invocations answered with a result, answered otherwise, and not answered.
    pub fn counts(&self) -> (u64, u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.counts.ok), load(&self.counts.failed), load(&self.counts.unreachable))
    }

    fn invocation(&self, function: &Function, body: String) -> Option<Request<Full<Bytes>>> {
        let uri = format!("{}/apps/{}/functions/{}", self.url, encode(&function.app), encode(&function.name));
        let mut request = Request::builder().method(Method::POST).uri(uri);
        if let Some(trigger) = function.trigger {
            request = request.header(crate::agent::TRIGGER_HEADER, trigger.name());
        }
        request.body(Full::new(body.into())).ok()
    }

    async fn send(&self, request: Option<Request<Full<Bytes>>>) {
        let Some(request) = request else { return };
        let counter = match self.client.request(request).await {
            Ok(response) => {
                let status = response.status();
                // The connection is free for the next one only when the body is read.
                let _ = response.into_body().collect().await;
                if status == StatusCode::OK { &self.counts.ok } else { &self.counts.failed }
            }
            Err(_) => &self.counts.unreachable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
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
