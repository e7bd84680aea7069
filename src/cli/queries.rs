//! SQL over a running pipeline, beside it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use tokio::runtime::Runtime;
use tracing::info;

use crate::config::{self, Settings};
use crate::history::Store;
use crate::pipeline::Handle;
use crate::query::live::fleet::{self, Fleet};
use crate::query::{Engine, history, http, live, postgres, threads};
use crate::server;

/// The engine, and the threads that it runs on.
pub(super) struct Queries {
    engine: Engine,
    threads: Option<Runtime>,
    /// What tells this instance from others.
    instance: String,
    pipeline: Handle,
}

impl Queries {
    /// Ready to be asked about the pipeline at `handle`.
    pub(super) fn start(settings: &Settings, handle: &Handle) -> anyhow::Result<Self> {
        let engine = Engine::new(&settings.query)?;
        let instance = format!("{:032x}", rand::random::<u128>());
        let members = settings.query.fleet()?;
        let fleet = (!members.is_empty()).then(|| Fleet::new(&instance, members));
        live::add_tables(&engine, handle, fleet)?;
        if let Some(url) = settings.history.url() {
            history::add_tables(&engine, &Store::open(url)?, Some(handle))?;
        }
        postgres::add_catalog(&engine)?;
        let threads = Some(threads::start(&settings.query).context("no threads can be started")?);
        Ok(Self { engine, threads, instance, pipeline: handle.clone() })
    }

    /// Answers PostgreSQL clients at `address`, if there is one.
    pub(super) async fn serve_postgres(&self, address: Option<SocketAddr>) -> anyhow::Result<()> {
        let (Some(address), Some(threads)) = (address, &self.threads) else { return Ok(()) };
        let engine = self.engine.clone();
        // Bound there, because its events are waited for there.
        let listener = threads.spawn(server::bind(address)).await.context("the listener's thread broke off")??;
        info!(%address, "PostgreSQL clients are answered");
        threads.spawn(postgres::serve(listener, engine));
        Ok(())
    }

    /// `/api/sql`, and what other instances ask.
    pub(super) fn routes(&self, settings: &config::Query) -> Router {
        let Some(threads) = &self.threads else { return Router::new() };
        let (engine, threads) = (self.engine.clone(), threads.handle().clone());
        let for_others = fleet::http::Service {
            instance: self.instance.clone(),
            pipeline: self.pipeline.clone(),
            threads: threads.clone(),
            time_limit: Duration::from_millis(settings.time_limit.0.unsigned_abs()),
            most_bytes: settings.memory_mb << 20,
        };
        let own = http::routes(http::Service { engine, threads, max_rows: settings.max_rows });
        own.merge(fleet::http::routes(for_others))
    }
}

impl Drop for Queries {
    fn drop(&mut self) {
        // What runs is not waited for.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}
