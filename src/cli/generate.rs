//! `pilotlight generate`

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;

use crate::simulate::generate::{self, Generator, azure2019, events, history};

use super::{Common, Usage, progress_bar_of, site};

/// Options of `generate`.
#[derive(Debug, Args)]
#[command(
    override_usage = "pilotlight generate --out <PATH> [OPTIONS]",
    after_help = "Examples:\n  pilotlight generate --out synthetic\n  \
                  pilotlight generate --out synthetic --apps 20000 --days 14 --seed 7\n  \
                  pilotlight generate --out events.jsonl --format events --apps 50 --days 1\n  \
                  pilotlight generate --out ran --format history --apps 100 --days 2\n  \
                  pilotlight generate --out - --format events --apps 50 --days 1 | head\n\n\
                  The workload has the characterisation published in \"Serverless in the Wild\" (USENIX ATC 2020).\n\
                  A few apps make most invocations, so 1,000 apps make about 40 million a day. A folder counts them\n\
                  per minute; as events, each is a line of about 250 bytes. The same options give the same bytes."
)]
pub(super) struct Options {
    /// Where to: a new or empty folder; with --format events a new file, or - for standard output
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// How many apps, up to 200000
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    apps: u32,
    /// How many days, up to 99; rare apps may be missing from fewer than 7
    #[arg(long, value_name = "COUNT", default_value = "14", value_parser = clap::value_parser!(u32).range(1..=99))]
    days: u32,
    /// Which variant
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// How to write it
    #[arg(long, value_enum, default_value = "azure2019")]
    format: Format,
    /// First day; it says which days are weekends, and when events begin
    #[arg(long, value_name = "DATE", default_value = "2019-07-15", value_parser = parse_date)]
    start: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Files of Azure Functions 2019: counts per minute, durations, memory
    Azure2019,
    /// One JSON object an invocation, in the order of their starts
    Events,
    /// Parquet files as a pipeline leaves them (history.url), with the decisions of the policy of the settings
    History,
}

pub(super) fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let Options { apps, days, seed, start: start_ms, .. } = *options;
    let generator = || Generator::new(generate::Options { apps, days, seed, start_ms });
    let to_stdout = options.out == Path::new("-");
    let invocations = match options.format {
        Format::Azure2019 | Format::History if to_stdout => {
            return Err(Usage("--out -: this format needs a folder; choose one, or --format events".to_owned()).into());
        }
        Format::History => {
            make_folder(&options.out)?;
            let folder = std::path::absolute(&options.out)?;
            let url = url::Url::from_directory_path(&folder).map_err(|()| anyhow::anyhow!("no URL of {folder:?}"))?;
            let settings = common.settings(&[("history.url", Some(url.to_string()))])?;
            let bar = progress_bar_of(u64::from(days) * 24 * 60, "minutes");
            let result = history::write(&generator(), &settings, |minutes| bar.inc(minutes));
            bar.finish_and_clear();
            result?
        }
        Format::Azure2019 => {
            make_folder(&options.out)?;
            let bar = progress_bar_of(u64::from(apps) * u64::from(days), "app days");
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let result = azure2019::write(&generator(), &options.out, threads, &|app_days| bar.inc(app_days));
            bar.finish_and_clear();
            result?
        }
        Format::Events => {
            let bar = progress_bar_of(u64::from(days) * 24 * 60, "minutes");
            let written = if to_stdout {
                write_events(&generator(), std::io::stdout().lock(), &bar)
            } else {
                write_events(&generator(), new_file(&options.out)?, &bar)
            };
            bar.finish_and_clear();
            match written {
                // Whoever reads has enough.
                Err(error) if to_stdout && error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                written => written.with_context(|| format!("'{}' can't be written", options.out.display()))?,
            }
        }
    };
    if !to_stdout {
        let count = |count: u64| site::thousands(count as f64);
        println!(
            "{} invocations of {} apps in {days} days written to {}",
            count(invocations),
            count(u64::from(apps)),
            options.out.display()
        );
    }
    Ok(())
}

fn write_events(generator: &Generator, out: impl Write, bar: &ProgressBar) -> std::io::Result<u64> {
    events::write(generator, &mut BufWriter::with_capacity(1 << 18, out), |minutes| bar.inc(minutes))
}

/// An empty folder: nothing that is there gets mixed up or overwritten.
fn make_folder(path: &Path) -> Result<(), Usage> {
    let refused = |reason: String| Usage(format!("folder '{}' {reason}", path.display()));
    std::fs::create_dir_all(path).map_err(|error| refused(format!("can't be created: {error}")))?;
    let mut entries = std::fs::read_dir(path).map_err(|error| refused(format!("can't be read: {error}")))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(refused("is not empty: choose a new one with --out".to_owned())),
    }
}

fn new_file(path: &Path) -> Result<File, Usage> {
    File::create_new(path).map_err(|error| {
        Usage(match error.kind() {
            ErrorKind::AlreadyExists => format!("'{}' is there already: choose a new file with --out", path.display()),
            _ => format!("file '{}' can't be created: {error}", path.display()),
        })
    })
}

/// Midnight of a date, epoch ms.
fn parse_date(text: &str) -> Result<i64, String> {
    let expected = || "expected a date such as 2019-07-15, from 1970 to 9998".to_owned();
    let time = humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).map_err(|_| expected())?;
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| expected())?;
    let start_ms = i64::try_from(since.as_millis()).map_err(|_| expected())?;
    // Events end in the year 9999 at the latest.
    if start_ms < 253_370_764_800_000 { Ok(start_ms) } else { Err(expected()) }
}
