//! `pilotlight pipeline`

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tracing::info;

use crate::pipeline::Pipeline;
use crate::server::{self, Site, render};
use crate::shutdown;
use crate::telemetry::Metrics;

use super::budget::Budget;
use super::queries::Queries;
use super::{Common, block_on, finish_serving, parse_speed, site};

/// Options of `pipeline`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pilotlight pipeline --bootstrap-servers kafka:9092 --input invocations\n  \
                        pilotlight pipeline --input events:openwhisk\n  pilotlight pipeline --policy fixed:20m\n  \
                        pilotlight pipeline --budget-memory 64GB\n  \
                        pilotlight pipeline --speed 600    beside `replay --speed 600`\n  \
                        pilotlight pipeline --postgres 127.0.0.1:5433    and then: psql -h 127.0.0.1 -p 5433")]
pub(super) struct Options {
    /// Input topics, comma-separated, each TOPIC or TOPIC:FORMAT (native, cloudevents, openwhisk, aws, mapping,
    /// mapping.NAME)
    #[arg(long, value_name = "TOPICS")]
    input: Option<String>,
    /// The policy: fixed, hybrid, or one with parameters such as hybrid:range=2h
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    #[command(flatten)]
    budget: Budget,
    /// Address of /livez, /readyz, /metrics, /api/sql and the page
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Address at which PostgreSQL clients are answered
    #[arg(long, value_name = "HOST:PORT")]
    postgres: Option<String>,
    /// How many times as fast as its own clock the workload runs: all windows shrink alike
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_speed)]
    speed: f64,
}

pub(super) fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let settings = common.settings(&[
        ("input.topics", options.input.clone()),
        ("policy.name", options.budget.policy(options.policy.as_deref())?),
        ("server.listen", options.listen.clone()),
        ("query.listen", options.postgres.clone()),
    ])?;
    let settings = settings.sped_up(options.speed);
    let metrics = Metrics::default();
    let pipeline = Pipeline::build(&settings, &metrics)?;
    let handle = pipeline.handle();
    let queries = Queries::start(&settings, &handle)?;
    block_on(async {
        let listener = server::bind(settings.server.listen).await?;
        queries.serve_postgres(settings.query.listen()?).await?;
        info!(address = %settings.server.listen, policy = settings.policy.name, "pipeline starts");
        let (trigger, shutdown) = shutdown::channel();
        trigger.fire_on_signals();
        let ready = handle.clone();
        let site = Site {
            metrics,
            ready: Arc::new(move || {
                if !ready.is_ready() {
                    return Err("no broker answers, or no partitions are assigned yet".to_owned());
                }
                Ok(match ready.checkpoints_fail_for() {
                    None => "ready".to_owned(),
                    Some(age) => format!("ready, but checkpoints fail: the last one is {} s old", age.as_secs()),
                })
            }),
            page: Arc::new(move || render(&site::pipeline_table(&handle))),
        };
        let routes = server::routes(site).merge(queries.routes(&settings.query));
        let serving = tokio::spawn(server::serve(listener, routes, shutdown.clone()));
        let running = tokio::task::spawn_blocking(move || pipeline.run(&shutdown));
        // However the pipeline ends, the process ends with it.
        let result = running.await.context("the pipeline's thread broke off")?;
        if result.is_err() {
            // Nobody has told it to end.
            serving.abort();
        }
        finish_serving(serving).await;
        info!("pipeline ended");
        Ok(result?)
    })
}
