//! `pilotlight replay`

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::ProgressBar;

use crate::bus::{self, Producer};
use crate::config::{Settings, read_secret};
use crate::shutdown::{self, Shutdown};
use crate::simulate::traces::Trace;
use crate::simulate::{Drive, Summary, Target};

use super::placement::Placing;
use super::{Common, Usage, block_on, open_trace, parse_speed, progress_bar};

/// Options of `replay`.
#[derive(Debug, Args)]
#[command(
    override_usage = "pilotlight replay <DIR> [OPTIONS]",
    after_help = "Examples:\n  pilotlight replay azure2021 --speed 600\n  \
                        pilotlight replay azure2019 --speed 60 --to agent http://127.0.0.1:7466 --out answers.csv\n\n\
                        Give `pipeline` and `agent` the same --speed. With --to agent, every app is registered with a\n\
                        function that sleeps for as long as the trace says."
)]
pub(super) struct Options {
    /// Folder of an Azure Functions trace, 2019 or 2021, or a single file of one; .gz is fine
    #[arg(value_name = "DIR")]
    trace: PathBuf,
    /// How many times as fast as real time
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_speed)]
    speed: f64,
    #[command(flatten)]
    placing: Placing,
    /// Where to: `bus`, or `agent URL`
    #[arg(long, num_args = 1..=2, value_names = ["bus|agent", "URL"], default_value = "bus")]
    to: Vec<String>,
    /// Runtime kind of the functions, with --to agent
    #[arg(long, value_name = "KIND", default_value = "sh")]
    runtime: String,
    /// File with the token of the operator or a tenant, with --to agent, where that has tokens
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Write a line for each invocation to a file (CSV), with --to agent
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// End after so many invocations
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
}

pub(super) fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let settings = common.settings(&[])?;
    let trace = open_trace(&options.trace)?;
    let total = trace.invocations().min(options.limit.unwrap_or(u64::MAX));
    let played = Arc::new(AtomicU64::new(0));
    let drive = Drive {
        functions: trace.functions(),
        arrivals: Box::new(
            trace.arrivals(options.placing.placement()).take(usize::try_from(total).unwrap_or(usize::MAX)),
        ),
        speed: options.speed,
        progress: &played,
    };
    let words: Vec<&str> = options.to.iter().map(String::as_str).collect();
    block_on(async {
        let (trigger, shutdown) = shutdown::channel();
        trigger.fire_on_signals();
        let bar = progress_bar(total);
        let showing = tokio::spawn(show_progress(bar.clone(), Arc::clone(&played)));
        let result = match words[..] {
            ["bus"] if options.token_file.is_some() => {
                Err(Usage("--token-file needs --to agent: Kafka's passwords are settings".to_owned()).into())
            }
            ["bus"] if options.out.is_some() => {
                Err(Usage("--out needs --to agent: only who invokes functions gets answers".to_owned()).into())
            }
            ["bus"] => tokio::task::block_in_place(|| to_bus(&settings, drive, &shutdown)),
            ["agent", url] => to_agent(url, drive, &trace, options, shutdown.clone()).await,
            _ => Err(Usage(format!("--to '{}': expected 'bus', or 'agent' and its URL", words.join(" "))).into()),
        };
        showing.abort();
        bar.finish_and_clear();
        let summary = result?;
        let cut = if shutdown.is_requested() { " (ended early)" } else { "" };
        println!("{} of {total} invocations{cut} {summary}", played.load(Ordering::Relaxed));
        Ok(())
    })
}

fn to_bus(settings: &Settings, drive: Drive<'_>, shutdown: &Shutdown) -> anyhow::Result<String> {
    bus::ensure(&settings.kafka, &settings.topics, shutdown)?;
    let producer = Producer::open(&settings.kafka, "publishing events")?;
    let topic = &settings.topics.invocations;
    drive.to_bus(&producer, topic, shutdown)?;
    anyhow::ensure!(producer.finish(Duration::from_secs(30)), "the broker did not take all events within 30 s");
    if let Some((count, error)) = producer.take_failures() {
        return Err(error).with_context(|| format!("{count} events were not published"));
    }
    Ok(format!("published to {topic}"))
}

async fn to_agent(
    url: &str,
    drive: Drive<'_>,
    trace: &Trace,
    options: &Options,
    shutdown: Shutdown,
) -> anyhow::Result<String> {
    let token = options
        .token_file
        .as_deref()
        .map(|path| read_secret(path).map_err(|reason| Usage(format!("the token file '{}' {reason}", path.display()))));
    let target = Target::new(url, token.transpose()?.as_deref())?;
    let mut registered = std::collections::HashSet::new();
    for function in trace.functions() {
        if registered.insert(&function.app) {
            let memory_mb = function.memory_mb.unwrap_or(crate::model::DEFAULT_MEMORY_MB);
            target.register_sleeper(&function.app, &options.runtime, memory_mb).await?;
        }
    }
    // Now, so that nothing is lost if it can't be written.
    let mut out = options.out.as_deref().map(create).transpose()?;
    drive.to_agent(&target, shutdown).await;
    let answers = target.answers();
    if let Some(out) = &mut out {
        answers.iter().try_for_each(|answer| out.serialize(answer))?;
        out.flush()?;
    }
    Ok(in_words(url, &Summary::of(&answers)))
}

fn create(path: &Path) -> anyhow::Result<csv::Writer<File>> {
    let file = File::create(path).with_context(|| format!("'{}' can't be written", path.display()))?;
    Ok(csv::Writer::from_writer(file))
}

fn in_words(url: &str, summary: &Summary) -> String {
    let Summary { ok, failed, unreachable, starts: [cold, prewarmed, warm], response_ms, init_ms } = summary;
    format!(
        "invoked at {url}: {ok} answered, {failed} failed, {unreachable} without an answer\n\
         {cold} cold, {prewarmed} prewarmed, {warm} warm\n\
         response {:.1} ms on average, {:.1} ms at the 99th percentile; \
         of it waited for the app to be loaded {:.1} ms and {:.1} ms",
        response_ms.0, response_ms.1, init_ms.0, init_ms.1
    )
}

/// Keeps the bar at what was played. Never ends by itself.
async fn show_progress(bar: ProgressBar, played: Arc<AtomicU64>) {
    loop {
        bar.set_position(played.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
