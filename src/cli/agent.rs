//! `pilotlight agent`

use std::sync::Arc;

use clap::Args;
use tracing::info;

use crate::agent::{Agent, NOT_READY};
use crate::server::{self, Site, render};
use crate::shutdown;
use crate::telemetry::Metrics;

use super::{Common, block_on, finish_serving, parse_speed, site};

/// Options of `agent`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pilotlight agent --bootstrap-servers kafka:9092 --apps apps.toml\n  \
                        curl -X POST localhost:7466/apps/hello/functions/main -d '{\"name\": \"you\"}'")]
pub(super) struct Options {
    /// Address of the gateway, /livez, /readyz, /metrics and the page
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// File with app definitions
    #[arg(long, value_name = "FILE")]
    apps: Option<String>,
    /// How many times as fast as its own clock the workload runs: the default keep-alive shrinks alike
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_speed)]
    speed: f64,
}

pub(super) fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let settings =
        common.settings(&[("agent.listen", options.listen.clone()), ("agent.apps", options.apps.clone())])?;
    let settings = settings.sped_up(options.speed);
    let metrics = Metrics::default();
    block_on(async {
        let listener = server::bind(settings.agent.listen).await?;
        let agent = Agent::build(&settings, &metrics, options.speed, None)?;
        info!(address = %settings.agent.listen, "agent starts");
        let (trigger, shutdown) = shutdown::channel();
        trigger.fire_on_signals();
        let (node, shown) = (agent.node(), agent.node());
        let site = Site {
            metrics,
            ready: Arc::new(move || if node.is_ready() { Ok("ready".to_owned()) } else { Err(NOT_READY.to_owned()) }),
            page: Arc::new(move || render(&site::agent_table(&shown))),
        };
        let routes = agent.routes().merge(server::routes(site));
        // Until the agent has ended: what other agents pass on meanwhile is refused, not lost with its connection.
        let (stop, stopped) = shutdown::channel();
        let serving = tokio::spawn(server::serve(listener, routes, stopped));
        let result = agent.run(shutdown).await;
        stop.fire();
        if result.is_err() {
            // Nobody has told it to end.
            serving.abort();
        }
        finish_serving(serving).await;
        info!("agent ended");
        Ok(result?)
    })
}
