//! `pilotlight check`

use std::net::SocketAddr;

use clap::Args;
use serde::Serialize;

use crate::bus;
use crate::config::Settings;
use crate::policy::{Policy, Weight};

use super::{Common, Format};

/// Options of `check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pilotlight check\n  pilotlight check --config pilotlight.toml --format json")]
pub(super) struct Options {
    /// How to print it
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// What the settings would do.
#[derive(Debug, Serialize)]
struct Report {
    bootstrap_servers: String,
    kafka_options: Vec<(String, String)>,
    reads: Vec<String>,
    group: String,
    publishes: [String; 2],
    creates_topics: bool,
    policy: String,
    stores_state_in: String,
    pipeline_listens: SocketAddr,
    agent_listens: SocketAddr,
    runtimes: Vec<String>,
}

pub(super) fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let settings = common.settings(&[])?;
    bus::check_options(&settings.kafka)?;
    let policy = settings.policy.build()?;
    let report = Report::new(&settings, &policy);
    match options.format {
        Format::Json => println!("{}", serde_json::to_string(&report)?),
        Format::Table => report.print(),
    }
    Ok(())
}

impl Report {
    fn new(settings: &Settings, policy: &Policy) -> Self {
        let options = settings.kafka.shown().filter(|(option, _)| *option != "bootstrap.servers");
        Self {
            bootstrap_servers: settings.kafka.bootstrap_servers().to_owned(),
            kafka_options: options.map(|(option, value)| (option.to_owned(), value.to_owned())).collect(),
            reads: settings.input.topics.clone(),
            group: settings.input.group.clone(),
            publishes: [settings.topics.decisions.clone(), settings.topics.dead_letters.clone()],
            creates_topics: settings.topics.create,
            policy: describe(policy),
            stores_state_in: settings.checkpoint.url(),
            pipeline_listens: settings.server.listen,
            agent_listens: settings.agent.listen,
            runtimes: settings.agent.runtimes.keys().cloned().collect(),
        }
    }

    fn print(&self) {
        println!("The settings are valid. They would:");
        println!("  connect to     Kafka at {}", self.bootstrap_servers);
        for (option, value) in &self.kafka_options {
            println!("                 with {option} = {value}");
        }
        println!("  read           {} as group {}", self.reads.join(", "), self.group);
        println!("  decide by      {}", self.policy);
        println!("  publish to     {}, unreadable events to {}", self.publishes[0], self.publishes[1]);
        println!("  store state in {}", self.stores_state_in);
        println!("  create topics  {}", if self.creates_topics { "those of them that are missing" } else { "none" });
        println!("  listen on      {} (pipeline), {} (agent)", self.pipeline_listens, self.agent_listens);
        println!("  run functions  in {}", self.runtimes.join(", "));
        println!("Nothing was connected to.");
    }
}

fn describe(policy: &Policy) -> String {
    use crate::config::show_ms;
    match policy {
        Policy::Fixed(fixed) => format!("fixed: a keep-alive of {}", show_ms(fixed.keep_alive_ms)),
        Policy::Hybrid(hybrid) => format!(
            "hybrid: histograms of {} in bins of {}, percentiles {} to {}, margin {} %",
            show_ms(hybrid.range_ms),
            show_ms(hybrid.bin_ms),
            hybrid.head * 100.0,
            hybrid.tail * 100.0,
            hybrid.margin * 100.0
        ),
        Policy::Frontier(frontier) => format!(
            "frontier: {:.1} GB·s for a cold start, {} counting alike",
            frontier.price_mb_s / 1024.0,
            match frontier.weight {
                Weight::Invocation => "all invocations",
                Weight::App => "all apps",
            }
        ),
    }
}
