//! `pilotlight simulate`

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::server::Table;
use crate::simulate::traces::{self, Placement};
use crate::simulate::{Outcome, simulate};

use super::{Common, progress_bar, site};

/// Options of `simulate`.
#[derive(Debug, Args)]
#[command(
    override_usage = "pilotlight simulate <DIR> [OPTIONS]",
    after_help = "Examples:\n  pilotlight simulate azure2021 --policy fixed:10m --policy hybrid\n  \
                  pilotlight simulate azure2019 --policy hybrid:range=2h --placement uniform --seed 7 --format json\n\n\
                  Cold is an app's first invocation, and any whose idle time falls into no window of the policy. Idle\n\
                  memory is memory × loaded time within idle times, up to the end of the trace."
)]
pub(super) struct Options {
    /// Folder of an Azure Functions trace, 2019 or 2021
    #[arg(value_name = "DIR")]
    trace: PathBuf,
    /// A policy to try; may be given many times
    #[arg(long = "policy", value_name = "POLICY", default_values = ["fixed:10m", "hybrid"])]
    policies: Vec<String>,
    /// Where in its minute to place an invocation of which only the minute is known
    #[arg(long, value_enum, default_value = "even")]
    placement: PlacementKind,
    /// For --placement uniform
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// How to print it
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PlacementKind {
    /// The i-th of k at (i + 0.5) / k of the minute
    Even,
    /// At random
    Uniform,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

pub(super) fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let settings = common.settings(&[])?;
    let read = |text: &String| settings.policy.read(text).map(|policy| (text.clone(), policy));
    let policies = options.policies.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let trace = traces::open(&options.trace)?;
    if trace.skipped() > 0 {
        eprintln!("{} rows or cells of the trace could not be read and are left out", trace.skipped());
    }
    let placement = match options.placement {
        PlacementKind::Even => Placement::Even,
        PlacementKind::Uniform => Placement::Uniform { seed: options.seed },
    };
    let bar = progress_bar(trace.invocations());
    let memory_mb = settings.policy.default_memory_mb;
    let outcomes = simulate(&trace, &policies, placement, memory_mb, |done| bar.set_position(done));
    bar.finish_and_clear();
    match options.format {
        Format::Json => println!("{}", serde_json::to_string(&outcomes)?),
        Format::Csv => {
            let mut writer = csv::Writer::from_writer(std::io::stdout());
            for outcome in &outcomes {
                writer.serialize(outcome)?;
            }
            writer.flush()?;
        }
        Format::Table => println!("{}", table(&outcomes).text()),
    }
    Ok(())
}

fn table(outcomes: &[Outcome]) -> Table {
    let header =
        ["policy", "apps", "invocations", "cold starts", "p50 %", "p75 %", "p90 %", "always cold", "idle GB·h"];
    let row = |outcome: &Outcome| {
        vec![
            outcome.policy.clone(),
            site::thousands(outcome.apps as f64),
            site::thousands(outcome.invocations as f64),
            site::thousands(outcome.cold_starts as f64),
            format!("{:.2}", outcome.cold_percent_p50),
            format!("{:.2}", outcome.cold_percent_p75),
            format!("{:.2}", outcome.cold_percent_p90),
            site::thousands(outcome.always_cold_apps as f64),
            format!("{:.2}", outcome.idle_gb_hours),
        ]
    };
    Table { header: header.map(str::to_owned).into(), rows: outcomes.iter().map(row).collect(), ..Table::default() }
}
