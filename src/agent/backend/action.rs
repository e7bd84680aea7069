//! The client side of the OpenWhisk action-runtime protocol: `POST /init` with the code, then `POST /run` with the
//! arguments of each invocation (openwhisk/docs/actions-new.md), as HTTP/1.1 over one connection.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::net::UnixStream;

/// Largest answer, bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// A connection to a runtime.
pub struct ActionClient {
    sender: SendRequest<Full<Bytes>>,
}

/// What is to be loaded.
#[derive(Debug, Clone)]
pub struct Init<'a> {
    /// The app.
    pub name: &'a str,
    /// Function to call where the code has none of the invoked name.
    pub main: &'a str,
    /// The code.
    pub code: &'a [u8],
}

/// What is to be executed.
#[derive(Debug)]
pub struct Run<'a> {
    /// The app.
    pub app: &'a str,
    /// The function.
    pub function: &'a str,
    /// Id of the invocation.
    pub activation_id: &'a str,
    /// When it will be cut off, epoch ms.
    pub deadline_ms: i64,
    /// The arguments: a JSON object.
    pub value: &'a RawValue,
}

/// An answer of the function's own.
#[derive(Debug)]
pub struct Answer {
    /// Whether the function says that it went well.
    pub ok: bool,
    /// A JSON object.
    pub body: Bytes,
}

/// What a runtime can do wrong. Only after [`Error::Refused`] can it still be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The code could not be loaded.
    #[error("{0}")]
    Refused(String),
    /// No answer in time.
    #[error("no answer within {} ms", limit.as_millis())]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// The connection broke: most likely the process is gone.
    #[error("the runtime went away: {0}")]
    Gone(String),
    /// The answer is not one of the protocol.
    #[error("the runtime answered with garbage: {0}")]
    Garbage(String),
}

impl ActionClient {
    /// Speaks over `stream` from now on. Must be called within a tokio runtime.
    pub async fn connect(stream: UnixStream) -> Result<Self, Error> {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Error::Gone(error.to_string()))?;
        // Ends by itself when either side closes.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// Whether the other side has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Loads code into a runtime that has none yet.
    pub async fn init(&mut self, init: &Init<'_>, limit: Duration) -> Result<(), Error> {
        let (code, binary) = match std::str::from_utf8(init.code) {
            Ok(text) => (text.to_owned(), false),
            Err(_) => (STANDARD.encode(init.code), true),
        };
        let value = json!({"name": init.name, "main": init.main, "code": code, "binary": binary, "env": {}});
        let body = json!({ "value": value }).to_string();
        let (status, body) = self.post("/init", body.into(), limit).await?;
        if status.is_success() { Ok(()) } else { Err(Error::Refused(error_text(&body))) }
    }

    /// Executes a function of the loaded code.
    pub async fn run(&mut self, run: &Run<'_>, limit: Duration) -> Result<Answer, Error> {
        #[derive(serde::Serialize)]
        struct Body<'a> {
            value: &'a RawValue,
            namespace: &'a str,
            action_name: &'a str,
            activation_id: &'a str,
            deadline: i64,
        }
        let body = Body {
            value: run.value,
            namespace: run.app,
            action_name: run.function,
            activation_id: run.activation_id,
            deadline: run.deadline_ms,
        };
        let body = serde_json::to_vec(&body).map_err(|error| Error::Garbage(error.to_string()))?;
        let (status, body) = self.post("/run", body.into(), limit).await?;
        let is_object = serde_json::from_slice::<serde_json::Map<String, Value>>(&body).is_ok();
        if !is_object {
            return Err(Error::Garbage("its body is no JSON object".to_owned()));
        }
        match status {
            status if status.is_success() => Ok(Answer { ok: true, body }),
            StatusCode::BAD_GATEWAY => Ok(Answer { ok: false, body }),
            status => Err(Error::Garbage(format!("status {status}: {}", error_text(&body)))),
        }
    }

    async fn post(&mut self, path: &str, body: Bytes, limit: Duration) -> Result<(StatusCode, Bytes), Error> {
        let exchange = async {
            let request = Request::post(path)
                .header(header::HOST, "localhost")
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::new(body))
                .map_err(|error| Error::Gone(error.to_string()))?;
            self.sender.ready().await.map_err(classify)?;
            let response = self.sender.send_request(request).await.map_err(classify)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
                .collect()
                .await
                .map_err(|error| Error::Garbage(error.to_string()))?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(limit, exchange).await.map_err(|_| Error::Timeout { limit })?
    }
}

fn classify(error: hyper::Error) -> Error {
    if error.is_parse() { Error::Garbage(error.to_string()) } else { Error::Gone(error.to_string()) }
}

/// Longest text of a function's own in an error, characters.
const MAX_ERROR_TEXT: usize = 2000;

/// The `error` member of an answer, or the answer itself, cut to a readable length.
fn error_text(body: &[u8]) -> String {
    let parsed = serde_json::from_slice::<Value>(body).ok();
    let text = match parsed.as_ref().and_then(|value| value.get("error")) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::from_utf8_lossy(&body[..body.len().min(4 * MAX_ERROR_TEXT)]).into_owned(),
    };
    match text.char_indices().nth(MAX_ERROR_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
