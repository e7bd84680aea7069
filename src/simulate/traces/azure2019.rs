//! Azure Functions 2019: invocations per function and minute, one file a day, with average durations and memory beside
//! it (Shahrad et al., ATC 2020).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::model::Trigger;

use super::{Error, Placement, Source, Trace, columns, csv};
use crate::simulate::{Arrival, Function};

const MINUTE_MS: i64 = 60_000;
const DAY_MINUTES: u32 = 24 * 60;

/// How often each function was invoked in each minute.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Minute since the beginning of the first day → `(function, invocations)`.
    minutes: BTreeMap<u32, Vec<(u32, u32)>>,
    /// Duration by function, ms.
    durations_ms: Vec<f64>,
}

impl Counts {
    /// Minute by minute, so that only one minute's arrivals are in memory.
    pub fn arrivals(&self, placement: Placement) -> impl Iterator<Item = Arrival> + Send + '_ {
        self.minutes.iter().flat_map(move |(minute, counts)| {
            let begin_ms = i64::from(*minute) * MINUTE_MS;
            let total: usize = counts.iter().map(|(_, count)| *count as usize).sum();
            let mut arrivals = Vec::with_capacity(total);
            for (function, count) in counts {
                let duration_ms = self.durations_ms[*function as usize];
                let mut random = match placement {
                    Placement::Even => None,
                    Placement::Uniform { seed } => Some(stream(seed, *minute, *function)),
                };
                arrivals.extend((0..*count).map(|i| {
                    let share = match &mut random {
                        Some(random) => random.random_range(0.0..1.0),
                        None => (f64::from(i) + 0.5) / f64::from(*count),
                    };
                    let at_ms = begin_ms + (share * MINUTE_MS as f64).round() as i64;
                    Arrival { at_ms, duration_ms, function: *function }
                }));
            }
            arrivals.sort_by_key(|arrival| arrival.at_ms);
            arrivals
        })
    }
}

/// Random numbers of one function in one minute, whatever else is read.
fn stream(seed: u64, minute: u32, function: u32) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(u64::from(minute) << 32 | u64::from(function));
    random
}

pub(super) fn read(per_minute: &[PathBuf], durations: &[PathBuf], memory: &[PathBuf]) -> Result<Trace, Error> {
    let mut skipped = 0;
    let durations = averages(durations, ["HashApp", "HashFunction", "Average"], &mut skipped)?;
    let memory = averages(memory, ["HashApp", "HashApp", "AverageAllocatedMb"], &mut skipped)?;
    let first_day = per_minute.iter().map(|path| day(path)).min().unwrap_or(1);

    let mut counts = Counts::default();
    let mut functions = Vec::new();
    let mut known: HashMap<(Arc<str>, Arc<str>), u32> = HashMap::new();
    let mut apps: HashMap<String, Arc<str>> = HashMap::new();
    let mut invocations = 0;
    let mut end = 0;
    for path in per_minute {
        let mut reader = csv(path)?;
        let [app, name, trigger] = columns(path, &mut reader, ["HashApp", "HashFunction", "Trigger"])?;
        let malformed = |reason: String| Error::Malformed { path: path.display().to_string(), reason };
        // Column m covers the minute [m-1, m).
        let header = reader.headers().map_err(|error| malformed(error.to_string()))?;
        let offset = (day(path) - first_day) * DAY_MINUTES;
        let minutes: Vec<(usize, u32)> = header
            .iter()
            .enumerate()
            .filter_map(|(column, label)| label.parse::<u32>().ok().map(|m| (column, m)))
            .filter(|(_, m)| (1..=DAY_MINUTES).contains(m))
            .map(|(column, m)| (column, offset + m - 1))
            .collect();
        end = minutes.iter().map(|(_, minute)| minute + 1).max().unwrap_or(0).max(end);
        for row in reader.records() {
            let Ok(row) = row else {
                skipped += 1;
                continue;
            };
            let (Some(app), Some(name)) = (row.get(app), row.get(name)) else {
                skipped += 1;
                continue;
            };
            let app = Arc::clone(apps.entry(app.to_owned()).or_insert_with(|| Arc::from(app)));
            let name: Arc<str> = Arc::from(name);
            let function = *known.entry((Arc::clone(&app), Arc::clone(&name))).or_insert_with(|| {
                let key = (app.to_string(), name.to_string());
                counts.durations_ms.push(durations.get(&key).copied().unwrap_or(0.0));
                functions.push(Function {
                    memory_mb: memory.get(&(app.to_string(), app.to_string())).copied(),
                    trigger: row.get(trigger).map(Trigger::from_name),
                    app,
                    name,
                });
                functions.len() as u32 - 1
            });
            for (column, minute) in &minutes {
                let cell = row.get(*column).unwrap_or("");
                match cell.parse::<u32>() {
                    Ok(0) => {}
                    Ok(count) => {
                        counts.minutes.entry(*minute).or_default().push((function, count));
                        invocations += u64::from(count);
                    }
                    Err(_) if cell.is_empty() => {}
                    Err(_) => skipped += 1,
                }
            }
        }
    }
    Ok(Trace { functions, invocations, end_ms: i64::from(end) * MINUTE_MS, skipped, source: Source::Counts(counts) })
}

/// The day in a file name: `….dNN.csv`.
fn day(path: &Path) -> u32 {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').find_map(|part| part.strip_prefix('d').and_then(|day| day.parse().ok())).unwrap_or(1)
}

/// One figure by two columns of identity; the last file that has it counts.
fn averages(paths: &[PathBuf], wanted: [&str; 3], skipped: &mut u64) -> Result<HashMap<(String, String), f64>, Error> {
    let mut found = HashMap::new();
    for path in paths {
        let mut reader = csv(path)?;
        let [app, other, figure] = columns(path, &mut reader, wanted)?;
        for row in reader.records() {
            let row = row.ok();
            let cell = |column: usize| row.as_ref().and_then(|row| row.get(column));
            let figure = cell(figure).and_then(|text| text.parse::<f64>().ok());
            match (cell(app), cell(other), figure.filter(|figure| figure.is_finite() && *figure >= 0.0)) {
                (Some(app), Some(other), Some(figure)) => {
                    found.insert((app.to_owned(), other.to_owned()), figure);
                }
                _ => *skipped += 1,
            }
        }
    }
    Ok(found)
}
