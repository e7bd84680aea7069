//! Writes a workload as the folder that Azure Functions 2019 is published as: three files a day.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::arrivals::DAY_MINUTES;
use super::{App, Duration, Generator, Memory};
use crate::model::Trigger;

/// How long the platform keeps an idle app loaded, minutes: memory is sampled while it is loaded.
const LOADED_MINUTES: u32 = 20;
/// Memory samples a minute: one in 5 s.
const SAMPLES_A_MINUTE: u32 = 12;
/// Apps between two reports of progress.
const REPORT_APPS: u64 = 64;

/// The workload can't be written.
#[derive(Debug, thiserror::Error)]
#[error("'{path}' can't be written: {source}")]
pub struct Error {
    path: String,
    source: io::Error,
}

/// Writes the workload into a folder, which must exist, and returns how many invocations it has. Days are written at the
/// same time by so many threads; the files do not depend on that. `progress` hears how many more app days are done.
pub fn write(
    generator: &Generator,
    folder: &Path,
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<u64, Error> {
    let next = AtomicU32::new(0);
    let invocations = AtomicU64::new(0);
    let work = || loop {
        let day = next.fetch_add(1, Ordering::Relaxed);
        if day >= generator.options().days {
            return Ok(());
        }
        invocations.fetch_add(write_day(generator, folder, day, progress)?, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    Ok(invocations.into_inner())
}

/// A file that knows its name.
struct Output {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Output {
    fn create(folder: &Path, name: &str, day: u32) -> Result<Self, Error> {
        let path = folder.join(format!("{name}.anon.d{:02}.csv", day + 1));
        let failed = |source| Error { path: path.display().to_string(), source };
        let file = BufWriter::with_capacity(1 << 18, File::create(&path).map_err(failed)?);
        Ok(Self { path, file })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|source| Error { path: self.path.display().to_string(), source })
    }

    fn finish(mut self) -> Result<(), Error> {
        self.file.flush().map_err(|source| Error { path: self.path.display().to_string(), source })
    }
}

fn write_day(generator: &Generator, folder: &Path, number: u32, progress: &(dyn Fn(u64) + Sync)) -> Result<u64, Error> {
    let mut counts_file = Output::create(folder, "invocations_per_function_md", number)?;
    let mut durations_file = Output::create(folder, "function_durations_percentiles", number)?;
    let mut memory_file = Output::create(folder, "app_memory_percentiles", number)?;
    let mut header = "HashOwner,HashApp,HashFunction,Trigger".to_owned();
    (1..=DAY_MINUTES).for_each(|minute| header.push_str(&format!(",{minute}")));
    counts_file.put(header.as_bytes())?;
    counts_file.put(b"\n")?;
    durations_file.put(
        b"HashOwner,HashApp,HashFunction,Average,Count,Minimum,Maximum,percentile_Average_0,percentile_Average_1,\
          percentile_Average_25,percentile_Average_50,percentile_Average_75,percentile_Average_99,\
          percentile_Average_100\n",
    )?;
    memory_file.put(
        b"HashOwner,HashApp,SampleCount,AverageAllocatedMb,AverageAllocatedMb_pct1,AverageAllocatedMb_pct5,\
          AverageAllocatedMb_pct25,AverageAllocatedMb_pct50,AverageAllocatedMb_pct75,AverageAllocatedMb_pct95,\
          AverageAllocatedMb_pct99,AverageAllocatedMb_pct100\n",
    )?;
    let day = generator.day(number);
    let mut arrivals = generator.arrivals();
    let mut invocations = 0;
    let mut row = Vec::new();
    let mut done = 0;
    for app in generator.apps() {
        let mut loaded = 0;
        for (function, counts) in app.functions.iter().zip(arrivals.day(&app, day)) {
            let count: u64 = counts.iter().map(|count| u64::from(*count)).sum();
            if count == 0 {
                continue;
            }
            invocations += count;
            let (active, loaded_minutes) = minutes(counts);
            loaded = loaded_minutes.max(loaded);
            row.clear();
            let name = &function.function.name;
            let trigger = function.function.trigger.map_or("others", trigger_name);
            row.extend_from_slice(format!("{},{},{name},{trigger}", app.owner, app.name).as_bytes());
            counts.iter().for_each(|count| push_cell(&mut row, *count));
            row.push(b'\n');
            counts_file.put(&row)?;
            let figures = durations(&function.duration, count, active);
            durations_file.put(format!("{},{},{name},{figures}\n", app.owner, app.name).as_bytes())?;
        }
        if loaded > 0 {
            memory_file.put(memory(&app, loaded * SAMPLES_A_MINUTE).as_bytes())?;
        }
        done += 1;
        if done % REPORT_APPS == 0 {
            progress(REPORT_APPS);
        }
    }
    progress(done % REPORT_APPS);
    counts_file.finish()?;
    durations_file.finish()?;
    memory_file.finish()?;
    Ok(invocations)
}

/// Most cells are 0.
fn push_cell(row: &mut Vec<u8>, count: u32) {
    match count {
        0 => row.extend_from_slice(b",0"),
        1..=9 => row.extend_from_slice(&[b',', b'0' + count as u8]),
        _ => {
            row.push(b',');
            let begin = row.len();
            let mut left = count;
            while left > 0 {
                row.push(b'0' + (left % 10) as u8);
                left /= 10;
            }
            row[begin..].reverse();
        }
    }
}

/// Minutes with invocations, and minutes for which they keep the app loaded.
fn minutes(counts: &[u32]) -> (u32, u32) {
    let (mut active, mut loaded, mut until) = (0, 0, 0);
    for (minute, _) in (0..).zip(counts).filter(|(_, count)| **count > 0) {
        active += 1;
        let end = (minute + LOADED_MINUTES).min(DAY_MINUTES);
        loaded += end - until.max(minute);
        until = end;
    }
    (active, loaded)
}

/// The name of a trigger in the data set.
const fn trigger_name(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Other => "others",
        named => named.name(),
    }
}

/// Average, count, extremes and percentiles, ms. The percentiles are those of averages over 30 s, so the more
/// invocations share 30 s, the closer they lie together.
fn durations(duration: &Duration, count: u64, active_minutes: u32) -> String {
    let Duration { average_ms, sigma } = *duration;
    let at = |sigma: f64, z: f64| average_ms * (sigma * z - sigma * sigma / 2.0).exp();
    // About how many standard deviations the extremes of so many draws are away.
    let reach = |draws: f64| (2.0 * draws.ln()).max(0.0).sqrt();
    if count == 1 {
        let ms = average_ms.round();
        return format!("{ms},1,{ms:.1},{ms:.1},{ms},{ms},{ms},{ms},{ms},{ms},{ms}");
    }
    let buckets = (f64::from(active_minutes) * 2.0).min(count as f64);
    let averaged = sigma / (count as f64 / buckets).sqrt();
    let (all, some) = (reach(count as f64), reach(buckets));
    let minimum = at(sigma, -all).floor();
    let maximum = at(sigma, all).ceil().max(average_ms.ceil());
    let percentiles = [-some, -some.min(2.326), -0.674, 0.0, 0.674, some.min(2.326), some]
        .map(|z| at(averaged, z).round().clamp(minimum, maximum).to_string())
        .join(",");
    format!("{},{count},{minimum:.1},{maximum:.1},{percentiles}", average_ms.round())
}

/// One app's row: samples, average and percentiles, MB.
fn memory(app: &App, samples: u32) -> String {
    let Memory { average_mb, maximum_mb } = app.memory;
    let percentiles = [0.86, 0.9, 0.97, 1.0, 1.03, 1.07, 1.1]
        .map(|share| (average_mb * share).min(maximum_mb).round().to_string())
        .join(",");
    let (owner, name) = (&app.owner, &app.name);
    format!("{owner},{name},{samples},{},{percentiles},{}\n", average_mb.round(), maximum_mb.round())
}
