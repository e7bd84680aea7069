//! Asks other instances.

use std::time::Duration;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::reader::StreamDecoder;
use futures::{Stream, TryStreamExt, stream};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Buf, Bytes, Incoming};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use tokio::time::timeout;

use crate::config::Members;

use super::shares::Shown;
use super::{AskedForRows, AskedToShow, Error, Fleet};

/// For how long a connection is tried.
const CONNECTING: Duration = Duration::from_secs(3);
/// For how long an instance may say nothing; longer than it waits for its own pipeline.
const SILENCE: Duration = Duration::from_secs(12);
/// Bytes of an answer that holds no rows, at most.
const MOST_BYTES: usize = 16 << 20;
/// Bytes of one piece of rows at most: what is held of each instance.
const MOST_PIECE_BYTES: usize = 256 << 20;

/// Asks over HTTP.
pub(super) struct Client(legacy::Client<HttpConnector, Full<Bytes>>);

impl Default for Client {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECTING));
        connector.set_nodelay(true);
        // A connection that was kept may be one to an instance that is gone.
        Self(legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
    }
}

/// The addresses of members; why there are none, as the rest of a sentence.
pub(super) async fn resolve(members: &Members) -> Result<Vec<String>, String> {
    match members {
        Members::At(address) => Ok(vec![address.clone()]),
        Members::Named { name, port } => {
            let found = timeout(SILENCE, tokio::net::lookup_host((name.as_str(), *port))).await;
            let found = found.map_err(|_| format!("has no addresses within {}s", SILENCE.as_secs()))?;
            let found: Vec<_> = found.map_err(|error| format!("has no addresses: {error}"))?.collect();
            Ok(found.iter().map(ToString::to_string).collect())
        }
    }
}

impl Client {
    /// What the instance at `address` shows; why there is no answer, as the rest of a sentence.
    pub(super) async fn show(&self, address: &str, asked: &AskedToShow) -> Result<Shown, String> {
        let response = self.post(address, "/api/fleet/shown", asked).await?;
        let body = timeout(SILENCE, Limited::new(response.into_body(), MOST_BYTES).collect()).await;
        let body = body.map_err(|_| silent())?.map_err(|error| broke_off(&error))?;
        serde_json::from_reader(body.aggregate().reader()).map_err(|error| format!("answers something else: {error}"))
    }

    async fn post(&self, address: &str, path: &str, asked: &impl Serialize) -> Result<Response<Incoming>, String> {
        let unusable = |error: &dyn std::fmt::Display| format!("can't be asked: {error}");
        let body = serde_json::to_vec(asked).map_err(|error| unusable(&error))?;
        let request = Request::post(format!("http://{address}{path}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| unusable(&error))?;
        let response = timeout(SILENCE, self.0.request(request)).await.map_err(|_| silent())?;
        let response = response.map_err(|error| format!("does not answer: {}", root(&error)))?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let body = timeout(SILENCE, Limited::new(response.into_body(), MOST_BYTES).collect()).await;
        let said: Option<serde_json::Value> =
            body.ok().and_then(Result::ok).and_then(|body| serde_json::from_reader(body.aggregate().reader()).ok());
        let said = said.and_then(|said| Some(said.get("error")?.as_str()?.to_owned()));
        Err(said.map_or_else(
            || format!("answers {status}: is a pipeline of this version running there?"),
            |said| format!("has no answer: {said}"),
        ))
    }
}

/// The rows of the instance at `address`, as they are read.
pub(super) fn rows(
    fleet: Fleet,
    address: String,
    asked: AskedForRows,
    schema: SchemaRef,
) -> impl Stream<Item = Result<RecordBatch, Error>> + Send {
    let whose = address.clone();
    let broken = move |reason: String| Error::BrokeOff { address: whose.clone(), reason };
    stream::once(async move {
        let response = fleet.0.client.post(&address, "/api/fleet/rows", &asked).await.map_err(&broken)?;
        Ok(read(response.into_body(), schema).map_err(broken))
    })
    .try_flatten()
}

/// Rows that are being read.
struct Reading {
    body: Incoming,
    decoder: StreamDecoder,
    /// What was read and not decoded yet,
    left: Buffer,
    /// and how much since the last piece.
    bytes: usize,
}

fn read(body: Incoming, schema: SchemaRef) -> impl Stream<Item = Result<RecordBatch, String>> + Send {
    let reading = Reading { body, decoder: StreamDecoder::new(), left: Buffer::default(), bytes: 0 };
    stream::try_unfold(reading, move |mut reading| {
        let schema = SchemaRef::clone(&schema);
        async move {
            loop {
                let decoded = reading.decoder.decode(&mut reading.left);
                if let Some(batch) = decoded.map_err(|error| format!("answers something else: {error}"))? {
                    reading.bytes = 0;
                    return Ok(Some((as_expected(&batch, schema)?, reading)));
                }
                match timeout(SILENCE, reading.body.frame()).await.map_err(|_| silent())? {
                    None => {
                        let whole = reading.decoder.finish();
                        return whole.map(|()| None).map_err(|error| broke_off(&error));
                    }
                    Some(frame) => {
                        let frame = frame.map_err(|error| broke_off(&error))?;
                        reading.left = frame.into_data().map_or_else(|_| Buffer::default(), Buffer::from);
                        reading.bytes += reading.left.len();
                        if reading.bytes > MOST_PIECE_BYTES {
                            return Err(format!("gives more than {MOST_PIECE_BYTES} bytes at once"));
                        }
                    }
                }
            }
        }
    })
}

/// The same rows with our comments on the columns.
fn as_expected(batch: &RecordBatch, schema: SchemaRef) -> Result<RecordBatch, String> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema, batch.columns().to_vec(), &options)
        .map_err(|error| format!("answers other columns, as another version does: {error}"))
}

fn silent() -> String {
    format!("says nothing within {}s", SILENCE.as_secs())
}

fn broke_off(error: &dyn std::fmt::Display) -> String {
    format!("broke its answer off: {error}")
}

/// What went wrong, in the words of the system.
fn root(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .last()
        .map_or_else(|| error.to_string(), ToString::to_string)
}
