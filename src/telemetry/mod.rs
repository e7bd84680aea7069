//! Every log line format and every metric in one place. Metrics are kept per batch or per rare event, never per
//! record, and are named `pilotlight_<name>_<unit>[_total]`.

mod metrics;

pub use metrics::{AgentMetrics, CheckpointMetrics, CodeMetrics, HistoryMetrics, Kind, Metrics, PipelineMetrics};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Writes log lines to standard error. `filter` is a level or `target=level,…`.
pub fn init_logs(filter: &str, format: LogFormat) -> Result<(), String> {
    let unreadable = || format!("--log '{filter}' can't be read: expected a level such as info, or target=level,…");
    // A lone word that is no level would pass as the name of a target.
    if !filter.contains('=') && filter.parse::<LevelFilter>().is_err() {
        return Err(unreadable());
    }
    let filter: Targets = filter.parse().map_err(|_| unreadable())?;
    // librdkafka speaks of every broken connection; what matters of it is said by `bus`.
    let filter = filter.with_target("librdkafka", LevelFilter::OFF);
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(ansi);
    let layer = match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // A second call, as tests make it, changes nothing.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    Ok(())
}
