//! HTTP that every subcommand with a port has: `/livez`, `/readyz`, `/metrics` and a plain page at `/`.

mod page;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::shutdown::Shutdown;
use crate::telemetry::Metrics;

pub use page::{Table, render};

/// What the common routes show.
#[derive(Clone)]
pub struct Site {
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For `/readyz`: that it is ready, with what else there is to say, or why it is not.
    pub ready: Arc<dyn Fn() -> Result<String, String> + Send + Sync>,
    /// For `/`: the page.
    pub page: Arc<dyn Fn() -> String + Send + Sync>,
}

/// A port that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {source}; choose another address with --listen")]
pub struct BindError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Takes a port.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// The common routes.
pub fn routes(site: Site) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/", get(page))
        .with_state(site)
}

/// Answers until it is time to end.
pub async fn serve(listener: TcpListener, routes: Router, mut shutdown: Shutdown) -> std::io::Result<()> {
    axum::serve(listener, routes).with_graceful_shutdown(async move { shutdown.requested().await }).await
}

async fn readyz(State(site): State<Site>) -> (StatusCode, String) {
    match (site.ready)() {
        Ok(ready) => (StatusCode::OK, format!("{ready}\n")),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}

async fn metrics(State(site): State<Site>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], site.metrics.text())
}

async fn page(State(site): State<Site>) -> Html<String> {
    Html((site.page)())
}
