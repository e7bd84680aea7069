//! Passes an invocation on to the home of its app, at most once, and never in such a way that it could be executed
//! twice without its caller knowing.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use axum::response::IntoResponse;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tracing::debug;

use super::{Fleet, Peer};

/// Who passed the invocation on; who gets it with this runs it itself, or says at once that there is no room.
pub(in crate::agent) const PASSED_ON: HeaderName = HeaderName::from_static("x-pilotlight-passed-on");

/// How long a connection may take.
const CONNECTING: Duration = Duration::from_secs(1);
/// An agent whose machine is gone says nothing at all: after so long a silence it is asked, so often, whether it is
/// there.
const SILENCE: Duration = Duration::from_secs(5);
const ASKED_EVERY: Duration = Duration::from_secs(1);
const ASKED: u32 = 3;
/// Connections that are not used are closed after so long.
const KEPT: Duration = Duration::from_secs(60);

/// What belongs to one connection, or is made anew for each.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What became of an invocation that was passed on.
pub(in crate::agent) enum Passed {
    /// The home answered.
    Answered(Response<Body>),
    /// The home did not execute it: it may be run here.
    NotExecuted,
    /// Nobody knows whether the home executed it.
    Unclear(String),
}

/// Passes invocations on. Cheap to clone.
#[derive(Clone)]
pub(in crate::agent) struct PassOn {
    client: Client<HttpConnector, Full<Bytes>>,
    /// Within it a home that is alive has answered.
    limit: Duration,
}

impl PassOn {
    /// `limit` is how long a home may take for an answer.
    pub(in crate::agent) fn new(limit: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECTING));
        connector.set_nodelay(true);
        connector.set_keepalive(Some(SILENCE));
        connector.set_keepalive_interval(Some(ASKED_EVERY));
        connector.set_keepalive_retries(Some(ASKED));
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_timer(TokioTimer::new()).pool_idle_timeout(KEPT);
        Self { client: client.build(connector), limit }
    }

    /// Passes one on to `peer`, as it came.
    pub(in crate::agent) async fn pass(
        &self,
        fleet: &Fleet,
        peer: &Peer,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Passed {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let Ok(mut request) =
            Request::builder().method(Method::POST).uri(format!("{}{path}", peer.url)).body(Full::new(body))
        else {
            debug!(node = peer.node, url = peer.url, "an agent's URL is none");
            return Passed::NotExecuted;
        };
        *request.headers_mut() = end_to_end(headers);
        let from = HeaderValue::from_str(fleet.node()).unwrap_or(HeaderValue::from_static("another"));
        request.headers_mut().insert(PASSED_ON, from);
        let passed = match tokio::time::timeout(self.limit, self.client.request(request)).await {
            // It has no room, is ending, or does not know the app yet.
            Ok(Ok(answer)) if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::NOT_FOUND].contains(&answer.status()) => {
                Passed::NotExecuted
            }
            Ok(Ok(answer)) => {
                let (mut parts, body) = answer.into_parts();
                parts.headers = end_to_end(&parts.headers);
                Passed::Answered(Response::from_parts(parts, Body::new(body)).into_response())
            }
            Ok(Err(error)) if error.is_connect() => {
                fleet.note_away(peer);
                Passed::NotExecuted
            }
            Ok(Err(error)) => Passed::Unclear(format!("the connection to it broke ({})", innermost(&error))),
            Err(_) => Passed::Unclear(format!("it gave no answer within {} s", self.limit.as_secs())),
        };
        fleet.note_passed_on(match passed {
            Passed::Answered(_) => "answered",
            Passed::NotExecuted => "not_executed",
            Passed::Unclear(_) => "unclear",
        });
        passed
    }
}

/// The headers that are not of one connection only.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(name)));
    headers.remove("keep-alive");
    headers
}

fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}
