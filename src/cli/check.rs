//! `pilotlight check`

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::bus;
use crate::config::Settings;
use crate::ingest;
use crate::policy::{Policy, Weight};

use super::{Common, Usage, sample};

/// Options of `check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pilotlight check\n  pilotlight check --config pilotlight.toml --format json\n  \
                        pilotlight check --sample events.json --format openwhisk    what these events are read as")]
pub(super) struct Options {
    /// How to print it: table (the default) or json. With --sample, the format of its messages: native, cloudevents,
    /// openwhisk, aws, mapping or mapping.NAME (the default is the setting input.format)
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    format: Option<String>,
    /// A file with a message, one a line, or a JSON array of them: print the invocations in them as canonical JSON
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,
}

/// How the settings are printed, then the formats of messages.
const FORMATS: [&str; 7] = ["table", "json", "native", "cloudevents", "openwhisk", "aws", "mapping"];

/// What the settings would do.
#[derive(Debug, Serialize)]
struct Report {
    bootstrap_servers: String,
    kafka_options: Vec<(String, String)>,
    reads: Vec<String>,
    group: String,
    /// The topic on which events are keyed by app first, where the input is not.
    keys_on: Option<String>,
    publishes: [String; 2],
    creates_topics: bool,
    policy: String,
    stores_state_in: String,
    pipeline_listens: SocketAddr,
    agent_listens: SocketAddr,
    runtimes: Vec<String>,
}

fn parse_format(text: &str) -> Result<String, String> {
    if FORMATS.contains(&text) || is_of_messages(text) {
        return Ok(text.to_owned());
    }
    Err(format!("expected one of {}, mapping.NAME", FORMATS.join(", ")))
}

/// Whether it is how messages look.
fn is_of_messages(format: &str) -> bool {
    ingest::Format::NAMES.contains(&format) || format.starts_with("mapping.")
}

pub(super) fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let settings = common.settings(&[])?;
    let format = options.format.as_deref();
    if let Some(file) = &options.sample {
        let name = format.unwrap_or(&settings.input.format);
        if !is_of_messages(name) {
            let names = ingest::Format::NAMES.join(", ");
            let text = format!("--format {name} is no format of messages: with --sample, expected one of {names}");
            return Err(Usage(text).into());
        }
        return sample::run(&settings, file, &settings.input.format(name)?);
    }
    if let Some(name) = format.filter(|name| is_of_messages(name)) {
        let text = format!("--format {name} says how messages look: give a file of them with --sample FILE");
        return Err(Usage(text).into());
    }
    bus::check_options(&settings.kafka)?;
    let policy = settings.policy.build()?;
    let report = Report::new(&settings, &policy);
    match format {
        Some("json") => println!("{}", serde_json::to_string(&report)?),
        _ => report.print(),
    }
    Ok(())
}

impl Report {
    fn new(settings: &Settings, policy: &Policy) -> Self {
        let options = settings.kafka.shown().filter(|(option, _)| *option != "bootstrap.servers");
        Self {
            bootstrap_servers: settings.kafka.bootstrap_servers().to_owned(),
            kafka_options: options.map(|(option, value)| (option.to_owned(), value)).collect(),
            reads: settings.input.topics.clone(),
            group: settings.input.group.clone(),
            keys_on: (!settings.input.keyed_by_app).then(|| settings.topics.invocations.clone()),
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
        if let Some(topic) = &self.keys_on {
            println!("  key by app     what it reads, on {topic}");
        }
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
            "frontier: {}, {} counting alike",
            match frontier.target {
                Some(target) => format!("the price of a cold start solved for {target}"),
                None => format!("{:.1} GB·s for a cold start", frontier.price_mb_s / 1024.0),
            },
            match frontier.weight {
                Weight::Invocation => "all invocations",
                Weight::App => "all apps",
            }
        ),
    }
}
