//! The command line: one file per subcommand.

mod agent;
mod budget;
mod check;
mod generate;
mod pipeline;
mod placement;
mod queries;
mod replay;
mod report;
mod sample;
mod simulate;
mod site;
mod sql;
mod sql_prompt;
mod up;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::Settings;
use crate::history::Store;
use crate::simulate::traces::{self, Trace};
use crate::telemetry::{self, LogFormat};
use crate::{bus, config, policy, query, server};

/// Keeps serverless functions warm at a price that their operator chooses.
#[derive(Debug, Parser)]
#[command(
    name = "pilotlight",
    version,
    after_help = "Examples:\n  pilotlight up                                   try it: everything in one process\n  \
                  pilotlight check --config pilotlight.toml       what these settings would do\n  \
                  pilotlight pipeline --bootstrap-servers k:9092  decide, for the events on your Kafka\n\n\
                  Exit codes: 0 done, 1 failed, 2 wrong usage or settings."
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of every subcommand.
#[derive(Debug, Args)]
struct Common {
    /// Settings file; without it ./pilotlight.toml counts, if there is one
    #[arg(long, global = true, value_name = "FILE", help_heading = "Settings")]
    config: Option<PathBuf>,
    /// One setting, for instance publish.tolerance=10; may be given many times
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", help_heading = "Settings")]
    sets: Vec<String>,
    /// Kafka brokers, HOST:PORT,…
    #[arg(long, global = true, value_name = "SERVERS", help_heading = "Settings")]
    bootstrap_servers: Option<String>,
    /// Which log lines: error, warn, info, debug, trace, or target=level,…
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Logs")]
    log: Option<String>,
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value = "text", help_heading = "Logs")]
    log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bus, pipeline, agent and a small workload in one process
    Up(up::Options),
    /// Read invocation events from Kafka, publish decisions
    Pipeline(pipeline::Options),
    /// Keep apps warm by the decisions, execute functions
    Agent(agent::Options),
    /// Publish a trace as invocation events, or invoke functions by it
    Replay(replay::Options),
    /// Write a synthetic workload as a trace or as events
    Generate(generate::Options),
    /// What policies would have cost on a trace
    Simulate(simulate::Options),
    /// A workload in figures beside the published ones, as a page
    Report(report::Options),
    /// Ask in SQL: what runs, what ran, and published traces
    Sql(sql::Options),
    /// Check the settings and say what they would do
    Check(check::Options),
}

/// How to print a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One JSON object, on the last line
    Json,
}

/// Wrong use of the command line that clap can't see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Parses the command line and runs what it says.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let quiet = matches!(
        cli.command,
        Command::Up(_)
            | Command::Replay(_)
            | Command::Generate(_)
            | Command::Simulate(_)
            | Command::Report(_)
            | Command::Sql(_)
            | Command::Check(_)
    );
    let log = cli.common.log.as_deref().unwrap_or(if quiet { "warn" } else { "info" });
    let result =
        telemetry::init_logs(log, cli.common.log_format).map_err(|message| Usage(message).into()).and_then(|()| {
            match cli.command {
                Command::Up(options) => up::run(&cli.common, options),
                Command::Pipeline(options) => pipeline::run(&cli.common, &options),
                Command::Agent(options) => agent::run(&cli.common, &options),
                Command::Replay(options) => replay::run(&cli.common, &options),
                Command::Generate(options) => generate::run(&cli.common, &options),
                Command::Simulate(options) => simulate::run(&cli.common, &options),
                Command::Report(options) => report::run(&cli.common, &options),
                Command::Sql(options) => sql::run(&cli.common, &options),
                Command::Check(options) => check::run(&cli.common, &options),
            }
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pilotlight: {}", in_words(&error));
            ExitCode::from(if is_usage(&error) { 2 } else { 1 })
        }
    }
}

/// The error and its causes, as far as they are not named already.
fn in_words(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Whether the user has to change the command line or the settings before trying again.
fn is_usage(error: &anyhow::Error) -> bool {
    use crate::agent::Error as Agent;
    use crate::pipeline::Error as Pipeline;
    error.chain().any(|cause| {
        cause.is::<Usage>()
            || cause.is::<config::Error>()
            || cause.is::<policy::SpecError>()
            || cause.is::<server::BindError>()
            || cause.is::<traces::Error>()
            || cause.is::<crate::simulate::plot::Error>()
            || matches!(cause.downcast_ref(), Some(bus::Error::Option { .. }))
            || matches!(cause.downcast_ref(), Some(crate::simulate::TargetError::Url(_)))
            || matches!(cause.downcast_ref(), Some(Agent::Cache { .. } | Agent::Apps(_) | Agent::Settings(_)))
            || matches!(cause.downcast_ref(), Some(Agent::Bus(bus::Error::Option { .. })))
            || matches!(cause.downcast_ref(), Some(Pipeline::Bus(bus::Error::Option { .. })))
    })
}

impl Common {
    /// The settings in force; `flags` are those of the subcommand.
    fn settings(&self, flags: &[(&str, Option<String>)]) -> anyhow::Result<Settings> {
        let mut all = Vec::new();
        for set in &self.sets {
            let (key, value) =
                set.split_once('=').ok_or_else(|| Usage(format!("--set '{set}' has no '=': expected KEY=VALUE")))?;
            all.push((key, value.to_owned()));
        }
        if let Some(servers) = &self.bootstrap_servers {
            all.push(("kafka.bootstrap.servers", servers.clone()));
        }
        all.extend(flags.iter().filter_map(|(key, value)| value.clone().map(|value| (*key, value))));
        Ok(Settings::load(self.config.as_deref(), &all)?)
    }
}

/// A positive factor of time.
fn parse_speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "expected a number such as 60".to_owned())?;
    if (0.001..=1e6).contains(&speed) { Ok(speed) } else { Err("expected a number from 0.001 to 1000000".to_owned()) }
}

/// A progress bar over so many invocations, where there is a terminal; nothing elsewhere.
fn progress_bar(invocations: u64) -> ProgressBar {
    progress_bar_of(invocations, "invocations")
}

/// The same over so many of something else.
fn progress_bar_of(count: u64, unit: &str) -> ProgressBar {
    let bar = ProgressBar::new(count);
    match ProgressStyle::with_template(&format!("{{bar:40}} {{human_pos}} of {{human_len}} {unit}, {{eta}} to go")) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Reads a trace, with a bar where there is a terminal, and says what of it could not be read.
/// The word in place of a folder that means the history of the settings.
const HISTORY: &str = "history";

/// The trace in a folder, or what ran: the history of the settings.
fn open_workload(path: &Path, settings: &Settings) -> anyhow::Result<Trace> {
    if path != Path::new(HISTORY) {
        return open_trace(path);
    }
    let Some(url) = settings.history.url() else {
        let text = "there is no history to read: history.url is not set; set it, for instance with \
                    --set history.url=file:///var/lib/pilotlight/history, or give a folder (./history for one of that name)";
        return Err(Usage(text.to_owned()).into());
    };
    let store = Store::open(url)?;
    let bar = ProgressBar::new_spinner();
    let bar = match ProgressStyle::with_template("{spinner} {human_pos} invocations read, {elapsed}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    let threads = query::threads::start(&settings.query.all_cores())?;
    let trace = threads.block_on(traces::history::read(&store, &settings.query, |done| bar.set_position(done)));
    bar.finish_and_clear();
    Ok(trace?)
}

fn open_trace(path: &Path) -> anyhow::Result<Trace> {
    let bar = ProgressBar::new(0);
    let bar = match ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes} read, {eta} to go") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    let trace = traces::open(path, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let trace = trace?;
    if !trace.skipped().is_empty() {
        eprintln!("{}", trace.skipped());
    }
    Ok(trace)
}

/// Runs the asynchronous edges to the end of `main`, and does not wait for what hangs beyond it.
fn block_on<T>(main: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    use anyhow::Context;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads can be started")?;
    let result = runtime.block_on(main);
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

/// Lets the last answers out of the server, which has been told to end.
async fn finish_serving(serving: tokio::task::JoinHandle<std::io::Result<()>>) {
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), serving).await;
}
