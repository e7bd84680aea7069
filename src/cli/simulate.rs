//! `pilotlight simulate`

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::server::Table;
use crate::simulate::{Contender, Outcome, PARTS, Rules, plot, simulate};

use super::budget::Budget;
use super::placement::Placing;
use super::{Common, open_workload, progress_bar_of, site};

/// Options of `simulate`.
#[derive(Debug, Args)]
#[command(
    override_usage = "pilotlight simulate <DIR|history> [OPTIONS]",
    after_help = "Examples:\n  pilotlight simulate azure2021 --policy fixed:10m --policy hybrid\n  \
                  pilotlight simulate azure2019 --policy hybrid:range=2h --placement uniform --seed 7 --format json\n  \
                  pilotlight simulate azure2019 --policy hybrid --policy frontier:price=50GBs --policy \
                  frontier:price=500GBs --plot policies.html\n  \
                  pilotlight simulate history --set history.url=s3://bucket/history --policy frontier --policy hybrid\n  \
                  pilotlight simulate azure2019 --policy greedy-dual:memory=64GB --policy oracle:price=50GBs\n  \
                  pilotlight simulate azure2019 --policy fixed:10m --budget-memory 64GB --max-cold-rate 2%\n\n\
                  Cold is an app's first invocation, and any whose idle time falls into no window of the policy. Idle\n\
                  memory is memory × loaded time within idle times, up to the end of the trace."
)]
pub(super) struct Options {
    /// Folder of an Azure Functions trace, 2019 or 2021, or a single file of one; .gz is fine. Or `history`: what ran, from
    /// the files at history.url
    #[arg(value_name = "DIR|history")]
    trace: PathBuf,
    /// A policy to try; may be given many times. fixed, hybrid and frontier are what the pipeline runs; greedy-dual,
    /// oracle and oracle-window are to compare with
    #[arg(long = "policy", value_name = "POLICY", default_values = ["fixed:10m", "hybrid", "frontier"])]
    policies: Vec<String>,
    #[command(flatten)]
    budget: Budget,
    /// Whose cold starts count alike, for the policies that weigh them against memory
    #[arg(long, value_enum)]
    weight: Option<Weight>,
    #[command(flatten)]
    placing: Placing,
    /// Draw cold starts by app, and cold starts against idle memory: a picture (.svg) or a page (.html)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Weight {
    /// Every invocation's: their total counts
    Invocation,
    /// Every app's
    App,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

pub(super) fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let mut settings = common.settings(&[])?;
    if let Some(weight) = options.weight {
        let weight = weight.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned());
        settings.policy.frontier.insert("weight".to_owned(), weight.into());
    }
    let read = |text: &String| Contender::read(text, &settings.policy).map(|contender| (text.clone(), contender));
    let policies: Vec<_> = options.policies.iter().cloned().chain(options.budget.policies()).collect();
    let contenders = policies.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    options.plot.as_deref().map(plot::check).transpose()?;
    let trace = open_workload(&options.trace, &settings)?;
    let placement = options.placing.placement();
    let bar = progress_bar_of(PARTS * contenders.len() as u64, "parts");
    let rules = Rules { placement, default_memory_mb: settings.policy.default_memory_mb };
    let outcomes = simulate(&trace, &contenders, rules, |done| bar.set_position(done));
    bar.finish_and_clear();
    if let Some(file) = &options.plot {
        plot::write(file, &outcomes)?;
    }
    match options.format {
        Format::Json => println!("{}", serde_json::to_string(&outcomes)?),
        Format::Csv => {
            let mut writer = csv::Writer::from_writer(std::io::stdout());
            for outcome in &outcomes {
                // Every row has the same columns; the price is said below.
                writer.serialize(Outcome { price_gb_s: None, ..outcome.clone() })?;
            }
            writer.flush()?;
        }
        Format::Table => println!("{}", table(&outcomes).text()),
    }
    if options.format != Format::Json {
        for outcome in &outcomes {
            if let Some(price_gb_s) = outcome.price_gb_s {
                eprintln!("{} ended at a price of {price_gb_s:.1} GB·s for a cold start", outcome.policy);
            }
        }
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
