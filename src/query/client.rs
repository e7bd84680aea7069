//! Asks a running pipeline.

use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Buf, Bytes};
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::Answer;
use super::output::Format;

/// Bytes of an answer at most.
const MOST_BYTES: usize = 1 << 30;

/// Why a pipeline gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// No URL of one.
    #[error("'{0}' is no URL of a pipeline: expected http://HOST:PORT")]
    Url(String),
    /// Nothing answers.
    #[error("nothing answers at {url}: {reason}; is a pipeline running there (server.listen)?")]
    Away {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// It refused.
    #[error("{0}")]
    Refused(String),
    /// It answered something else than rows.
    #[error("{url} answers no rows: {reason}")]
    Other {
        /// Where.
        url: String,
        /// What instead.
        reason: String,
    },
}

/// A running pipeline.
pub struct Remote {
    url: Uri,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Remote {
    /// The one at `http://HOST:PORT`. Makes no connection yet.
    pub fn new(url: &str) -> Result<Self, RemoteError> {
        let wrong = || RemoteError::Url(url.to_owned());
        let base: Uri = url.trim_end_matches('/').parse().map_err(|_| wrong())?;
        if base.scheme_str() != Some("http") || base.path() != "/" {
            return Err(wrong());
        }
        let authority = base.authority().ok_or_else(wrong)?.clone();
        let url = Uri::builder().scheme("http").authority(authority).path_and_query("/api/sql");
        let url = url.build().map_err(|_| wrong())?;
        Ok(Self { url, client: Client::builder(TokioExecutor::new()).build_http() })
    }

    /// Runs one statement there.
    pub async fn query(&self, sql: &str) -> Result<Answer, RemoteError> {
        let other = |reason: String| RemoteError::Other { url: self.url.to_string(), reason };
        let request = Request::post(&self.url)
            .header(header::ACCEPT, Format::Arrow.media_type())
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(Full::new(Bytes::from(sql.to_owned())))
            .map_err(|error| other(error.to_string()))?;
        let response = self.client.request(request).await.map_err(|error| RemoteError::Away {
            url: self.url.to_string(),
            reason: std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string),
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        let body = body.map_err(|error| other(error.to_string()))?.aggregate();
        if status != StatusCode::OK {
            let said: Result<serde_json::Value, _> = serde_json::from_reader(body.reader());
            let said = said.ok().and_then(|said| Some(said.get("error")?.as_str()?.to_owned()));
            return Err(RemoteError::Refused(said.unwrap_or_else(|| format!("{} answers {status}", self.url))));
        }
        let reader = StreamReader::try_new(body.reader(), None).map_err(|error| other(error.to_string()))?;
        let schema = reader.schema();
        let batches: Vec<_> = reader.map(|batch| batch.map_err(DataFusionError::from)).collect();
        let rows = Box::pin(RecordBatchStreamAdapter::new(schema.clone(), stream::iter(batches)));
        Ok(Answer { schema, rows })
    }
}
