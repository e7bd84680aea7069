//! The client side of the OpenWhisk action-runtime protocol: `POST /init` with the code, then `POST /run` with the
//! arguments of each invocation (openwhisk/docs/actions-new.md), as HTTP/1.1 over one connection.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Largest answer, bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Opens connections to a runtime that listens on a port.
#[async_trait]
pub trait Dial: Send + Sync {
    /// A new connection, trying until the runtime listens or `limit` is over.
    async fn dial(&self, limit: Duration) -> io::Result<TcpStream>;
}

/// A connection to a runtime.
pub struct ActionClient {
    sender: SendRequest<Full<Bytes>>,
    /// For another connection, should the runtime close one that was idle.
    dial: Option<Box<dyn Dial>>,
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
    /// It could not be limited, or woken up.
    #[error("the runtime can't be made ready: {0}")]
    Unfit(String),
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
    pub async fn connect(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, Error> {
        Ok(Self { sender: handshake(stream).await?, dial: None })
    }

    /// Speaks over connections to a port, the first of which is opened now, within `limit`.
    pub async fn dial(dial: Box<dyn Dial>, limit: Duration) -> Result<Self, Error> {
        let stream = dial.dial(limit).await.map_err(|error| Error::Gone(error.to_string()))?;
        Ok(Self { sender: handshake(stream).await?, dial: Some(dial) })
    }

    /// Whether the other side has closed a connection that can't be opened anew.
    pub fn is_lost(&self) -> bool {
        self.dial.is_none() && self.sender.is_closed()
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
            let response = self.send(request, limit).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
                .collect()
                .await
                .map_err(|error| Error::Garbage(error.to_string()))?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(limit, exchange).await.map_err(|_| Error::Timeout { limit })?
    }

    /// Sends a request, over a new connection where the old one was closed before anything of it was sent.
    async fn send(&mut self, request: Request<Full<Bytes>>, limit: Duration) -> Result<Response<Incoming>, Error> {
        // What was closed is found out when sending.
        let _ = self.sender.ready().await;
        let mut failed = match self.sender.try_send_request(request).await {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        let (Some(request), Some(dial)) = (failed.take_message(), &self.dial) else {
            return Err(classify(failed.into_error()));
        };
        let stream = dial.dial(limit).await.map_err(|error| Error::Gone(error.to_string()))?;
        self.sender = handshake(stream).await?;
        self.sender.send_request(request).await.map_err(classify)
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>, Error> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(classify)?;
    // Ends by itself when either side closes.
    tokio::spawn(connection);
    Ok(sender)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    struct Local(std::net::SocketAddr);

    #[async_trait]
    impl Dial for Local {
        async fn dial(&self, _limit: Duration) -> io::Result<TcpStream> {
            TcpStream::connect(self.0).await
        }
    }

    /// As Node.js does with a connection that is idle for 5 s.
    #[tokio::test]
    async fn a_connection_that_was_closed_while_idle_is_opened_anew() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            for _ in 0..3 {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut read = Vec::new();
                while !read.ends_with(b"}}") {
                    assert_ne!(connection.read_buf(&mut read).await.unwrap(), 0);
                }
                connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"ok\":true}").await.unwrap();
            }
        });
        let limit = Duration::from_secs(60);
        let mut client = ActionClient::dial(Box::new(Local(address)), limit).await.unwrap();
        let init = Init { name: "a", main: "main", code: b"" };
        for _ in 0..3 {
            client.init(&init, limit).await.unwrap();
            while !client.sender.is_closed() {
                tokio::task::yield_now().await;
            }
            assert!(!client.is_lost());
        }
        server.await.unwrap();
        assert!(matches!(client.init(&init, limit).await, Err(Error::Gone(_))), "nobody listens any more");
    }
}
