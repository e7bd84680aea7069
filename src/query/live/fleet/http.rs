//! `POST /api/fleet/shown` and `/api/fleet/rows`: what this instance shows to others, of its own state alone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_ipc::CompressionType;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use futures::{Stream, stream};
use hyper::body::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::pipeline::{self, Look};
use crate::query::output::Format;

use super::super::tables::{TABLES, Table};
use super::super::{AWAY, look, pieces};
use super::shares::Shown;
use super::{AskedForRows, AskedToShow};

/// Statements of others whose looks are kept at most.
const MOST_KEPT: usize = 64;
/// Bytes of a statement's name at most.
const LONGEST_NAME: usize = 64;
/// Pieces that wait to be sent.
const AHEAD: usize = 1;

/// What answers.
#[derive(Clone)]
pub struct Service {
    /// What tells this instance from the others.
    pub instance: String,
    /// Its pipeline.
    pub pipeline: pipeline::Handle,
    /// The threads that make rows.
    pub threads: Handle,
    /// For how long a statement may run.
    pub time_limit: Duration,
    /// What looks may take that are kept for others, bytes; the last one is kept however large it is.
    pub most_bytes: usize,
}

struct Answering {
    service: Service,
    /// What statements of others see, which read it table by table: the latest last.
    kept: Mutex<VecDeque<(String, Arc<Look>)>>,
}

/// The routes.
pub fn routes(service: Service) -> Router {
    Router::new()
        .route("/api/fleet/shown", post(shown))
        .route("/api/fleet/rows", post(rows))
        .with_state(Arc::new(Answering { service, kept: Mutex::default() }))
}

async fn shown(State(answering): State<Arc<Answering>>, Json(asked): Json<AskedToShow>) -> Response {
    let instance = &answering.service.instance;
    if asked.asked_by == *instance {
        return Json(Shown { instance: instance.clone(), ..Shown::default() }).into_response();
    }
    if asked.statement.len() > LONGEST_NAME {
        return refusal(StatusCode::BAD_REQUEST, "the statement's name is too long");
    }
    let Some(look) = look(&answering.service.pipeline).await else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, AWAY);
    };
    let shown = Shown::of(&look, instance);
    answering.keep(asked.statement, look);
    Json(shown).into_response()
}

async fn rows(State(answering): State<Arc<Answering>>, Json(asked): Json<AskedForRows>) -> Response {
    let Some(look) = answering.kept(&asked.statement) else {
        return refusal(
            StatusCode::GONE,
            "what the statement saw is kept no more: too many others were asked, or too long ago",
        );
    };
    let Some(table) = TABLES.iter().find(|table| table.name == asked.table) else {
        return refusal(StatusCode::NOT_FOUND, &format!("it has no table '{}', as another version has", asked.table));
    };
    let schema = table.schema();
    let columns: Result<Vec<_>, _> = asked.columns.iter().map(|name| schema.index_of(name)).collect();
    let columns_and_schema =
        columns.and_then(|columns| schema.project(&columns).map(|schema| (columns, SchemaRef::new(schema))));
    let (columns, schema) = match columns_and_schema {
        Ok(found) => found,
        Err(error) => return refusal(StatusCode::NOT_FOUND, &format!("{error}, as another version has")),
    };
    let (sender, receiver) = mpsc::channel(AHEAD);
    let time_limit = answering.service.time_limit;
    answering.service.threads.spawn(async move {
        let sent = tokio::time::timeout(time_limit, send(table, look, &asked, columns, schema, &sender)).await;
        let reason = match sent {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it took too long".to_owned(),
        };
        // Where there is no room for the reason, there is no end either: the answer breaks off in any case.
        let _ = sender.try_send(Err(reason));
    });
    ([(header::CONTENT_TYPE, Format::Arrow.media_type())], Body::from_stream(body(receiver))).into_response()
}

/// A piece of the body; `None` is its end, without which it broke off.
type Piece = Result<Option<Bytes>, String>;

async fn send(
    table: &'static Table,
    look: Arc<Look>,
    asked: &AskedForRows,
    columns: Vec<usize>,
    schema: SchemaRef,
    sender: &mpsc::Sender<Piece>,
) -> Result<(), ArrowError> {
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options)?;
    for batch in pieces(table, look, &asked.without, columns, schema) {
        writer.write(&batch?)?;
        let piece = std::mem::take(writer.get_mut());
        if sender.send(Ok(Some(piece.into()))).await.is_err() {
            return Ok(());
        }
    }
    // Who went away needs none.
    let _ = sender.send(Ok(Some(writer.into_inner()?.into()))).await;
    let _ = sender.send(Ok(None)).await;
    Ok(())
}

fn body(receiver: mpsc::Receiver<Piece>) -> impl Stream<Item = Result<Bytes, String>> {
    stream::unfold(Some(receiver), async |receiver| {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Ok(Some(bytes))) => Some((Ok(bytes), Some(receiver))),
            Some(Ok(None)) => None,
            Some(Err(reason)) => Some((Err(reason), None)),
            None => Some((Err("the thread broke off".to_owned()), None)),
        }
    })
}

fn refusal(status: StatusCode, reason: &str) -> Response {
    (status, Json(serde_json::json!({ "error": reason }))).into_response()
}

/// What looks take, bytes; statements that follow upon one another often have the same one.
fn bytes(kept: &VecDeque<(String, Arc<Look>)>) -> usize {
    let mut looks: Vec<_> = kept.iter().map(|(_, look)| look).collect();
    looks.dedup_by(|a, b| Arc::ptr_eq(a, b));
    looks.iter().map(|look| look.bytes()).sum()
}

impl Answering {
    /// Keeps what a statement sees, until it can't run any more.
    fn keep(self: &Arc<Self>, statement: String, look: Arc<Look>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(whose, _)| *whose != statement);
        kept.push_back((statement.clone(), look));
        while kept.len() > 1 && (kept.len() > MOST_KEPT || bytes(&kept) > self.service.most_bytes) {
            kept.pop_front();
        }
        drop(kept);
        let answering = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(answering.service.time_limit).await;
            let mut kept = answering.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.retain(|(whose, _)| *whose != statement);
        });
    }

    fn kept(&self, statement: &str) -> Option<Arc<Look>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(whose, _)| whose == statement).map(|(_, look)| Arc::clone(look))
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn an_answer_without_its_end_has_broken_off() {
        for (ends_with, is_whole) in [(Some(Ok(None)), true), (Some(Err("why".to_owned())), false), (None, false)] {
            let (sender, receiver) = mpsc::channel(2);
            sender.send(Ok(Some(Bytes::from_static(b"rows")))).await.unwrap();
            if let Some(end) = ends_with {
                sender.send(end).await.unwrap();
            }
            drop(sender);
            let read: Vec<_> = body(receiver).collect().await;
            assert_eq!(read[0], Ok(Bytes::from_static(b"rows")));
            assert_eq!(read[1..].iter().all(Result::is_ok), is_whole, "{read:?}");
        }
    }
}
