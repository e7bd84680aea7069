//! `pilotlight report`

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::config::{self, Settings};
use crate::history::Store;
use crate::query::{Engine, history, mount, threads};
use crate::server::Table;
use crate::simulate::characterize::published::Subject;
use crate::simulate::characterize::{Characterization, Comparison, characterize, compare};
use crate::simulate::plot::{self, Kind};
use crate::simulate::report::questions::{self, Answered};
use crate::simulate::report::{self, Report};
use crate::simulate::traces::Placement;
use crate::simulate::{Contender, Outcome, PARTS, Rules, simulate};

use super::{Common, Format, HISTORY, Usage, open_workload, progress_bar, progress_bar_of};

/// Policies that are always tried: what platforms do, and the paper's own.
const POLICIES: [&str; 4] = ["fixed:10m", "fixed:20m", "fixed:1h", "hybrid"];

/// Options of `report`.
#[derive(Debug, Args)]
#[command(
    override_usage = "pilotlight report <DIR|history> --out <FILE> [OPTIONS]",
    after_help = "Examples:\n  pilotlight report azure2019 --out workload.html\n  \
                  pilotlight report azure2019 --out workload.html --title 'Our functions in May' --policy fixed:5m\n\n\
                  The page shows triggers, rates, skew, regularity, execution times, memory and load of the workload\n\
                  beside the published figures of Azure Functions, and what policies would have cost. It needs nothing\n\
                  but itself: send it, print it, put it anywhere."
)]
pub(super) struct Options {
    /// Folder of an Azure Functions trace, 2019 or 2021, or a single file of one; .gz is fine. Or `history`: what ran, from
    /// the files at history.url
    #[arg(value_name = "DIR|history")]
    trace: PathBuf,
    /// The page to write, an .html file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A policy to try beside fixed:10m, fixed:20m, fixed:1h and hybrid; may be given many times
    #[arg(long = "policy", value_name = "POLICY")]
    policies: Vec<String>,
    /// The page's heading
    #[arg(long, default_value = "A serverless workload in figures")]
    title: String,
    /// How to print the summary
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// All that the page rests on.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    workload: &'a Characterization,
    comparisons: &'a [Comparison],
    outcomes: &'a [Outcome],
}

pub(super) fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let out = &options.out;
    if plot::check(out)? != Kind::Html {
        return Err(Usage(format!("--out '{}' is no page: expected a file that ends in .html", out.display())).into());
    }
    let settings = common.settings(&[])?;
    let mut policies = Vec::new();
    for text in POLICIES.into_iter().chain(options.policies.iter().map(String::as_str)) {
        if !policies.iter().any(|(known, _)| known == text) {
            policies.push((text.to_owned(), Contender::read(text, &settings.policy)?));
        }
    }
    let trace = open_workload(&options.trace, &settings)?;
    let bar = progress_bar(trace.invocations());
    let workload = characterize(&trace, |done| bar.set_position(done));
    let comparisons = compare(&workload);
    bar.finish_and_clear();
    let bar = progress_bar_of(PARTS * policies.len() as u64, "parts");
    let rules = Rules { placement: Placement::Even, default_memory_mb: settings.policy.default_memory_mb };
    let outcomes = simulate(&trace, &policies, rules, |done| bar.set_position(done));
    bar.finish_and_clear();
    let bar = progress_bar_of(questions::ASKED as u64, "questions");
    let answers = answers(&options.trace, &settings, |done| bar.set_position(done))?;
    bar.finish_and_clear();
    // The page is for others, whom the folders of this machine do not concern.
    let name = options.trace.file_name().unwrap_or(options.trace.as_os_str());
    let source = if options.trace == Path::new(HISTORY) {
        "What ran".to_owned()
    } else {
        format!("Trace {}", name.to_string_lossy())
    };
    let page = report::render(&Report {
        title: &options.title,
        source: &source,
        workload: &workload,
        comparisons: &comparisons,
        outcomes: &outcomes,
        answers: &answers,
    });
    std::fs::write(out, page).with_context(|| format!("'{}' can't be written", out.display()))?;
    match options.format {
        Format::Json => {
            let summary = Summary { workload: &workload, comparisons: &comparisons, outcomes: &outcomes };
            println!("{}", serde_json::to_string(&summary)?);
        }
        Format::Table => {
            println!("{}", table(&comparisons).text());
            println!("written to {}", out.display());
        }
    }
    Ok(())
}

/// What the files of `sql/` answer on a trace, or on what ran.
fn answers(workload: &Path, settings: &Settings, progress: impl Fn(u64)) -> anyhow::Result<Vec<Answered>> {
    const SCHEMA: &str = "workload";
    // Whoever asks for a page waits for it.
    let limits = config::Query { time_limit: config::Millis(i64::MAX), ..settings.query.all_cores() };
    let engine = match settings.history.url().filter(|_| workload == Path::new(HISTORY)) {
        Some(url) => {
            let engine = Engine::new(&limits)?;
            history::add_tables(&engine, &Store::open(url)?, None)?;
            engine
        }
        None => {
            let engine = Engine::with_default_schema(&limits, Some(SCHEMA))?;
            mount::mount(&engine, SCHEMA, workload)?;
            engine
        }
    };
    let threads = threads::start(&limits).context("no threads can be started")?;
    Ok(threads.block_on(questions::ask(&engine, progress))?)
}

/// How many figures of each subject are like the published ones.
fn table(comparisons: &[Comparison]) -> Table {
    let subjects = [
        ("triggers", Some(Subject::Triggers)),
        ("combinations of triggers", Some(Subject::Combinations)),
        ("functions per app", Some(Subject::Sizes)),
        ("rates", Some(Subject::Rates)),
        ("skew", Some(Subject::Skew)),
        ("times between invocations", Some(Subject::Arrivals)),
        ("execution times", Some(Subject::Durations)),
        ("memory", Some(Subject::Memory)),
        ("load over time", Some(Subject::Load)),
        ("all", None),
    ];
    let row = |(name, subject): (&str, Option<Subject>)| {
        let (alike, all) = report::alike(comparisons, subject);
        vec![name.to_owned(), alike.to_string(), all.to_string()]
    };
    Table {
        header: ["figures", "like the published", "compared"].map(str::to_owned).into(),
        rows: subjects.into_iter().map(row).collect(),
        ..Table::default()
    }
}
