//! Keeps history in order: makes few files of many small ones, and deletes what is too old or too much.
//!
//! What to do follows from the files alone ([`plan`]). A file that others are made into is covered by it from the moment
//! at which it is there (see [`super::layout`]), and deleted some time later, when no query reads it any more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::TryStreamExt;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use crate::bus::Position;
use crate::config::History;
use crate::model::now_ms;
use crate::telemetry::HistoryMetrics;

use super::layout::{File, Listed, covered};
use super::parquet::Writer;
use super::reading::{self, Files};
use super::store::{self, About, Store};
use super::tables::Table;

/// From one round to the next.
const EVERY: Duration = Duration::from_secs(60);
/// Files that were just written are left alone for so long, ms: a query may count them as rows in memory still.
const FRESH_MS: i64 = 120_000;
/// Covered files are deleted so long after what covers them was written, ms.
const GRACE_MS: i64 = 120_000;
/// So many small files are made one; of more, as many as this at once;
const MANY: usize = 8;
const MOST: usize = 32;
/// fewer are once the last is so old, ms.
const SETTLED_MS: i64 = 3_600_000;
/// Files that are larger are not small, bytes.
const LARGE: u64 = 64 << 20;
/// Memory for making files one, bytes.
const MEMORY: usize = 256 << 20;

/// What to keep.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// Invocations and decisions, ms.
    pub rows_ms: i64,
    /// Roll-ups, ms.
    pub rollups_ms: i64,
    /// Size of all files at most, bytes.
    pub bytes: Option<u64>,
}

impl Keep {
    /// From the settings.
    pub fn new(settings: &History) -> Self {
        let bytes = (settings.max_mb > 0).then_some(settings.max_mb << 20);
        Self { rows_ms: settings.keep.0, rollups_ms: settings.keep_rollups.0, bytes }
    }
}

/// What to do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Files that are to be one.
    pub merge: Vec<Vec<Listed<About>>>,
    /// Files that are part of others.
    pub covered: Vec<File>,
    /// Files that are too old or too much.
    pub expired: Vec<File>,
}

/// What to do about `files` at `now_ms`. Files of a partition are made one up to the offset `until` (of a topic's partition),
/// which is that of its last checkpoint: those after it may be written anew and otherwise. Their owner knows it.
pub fn plan(files: Vec<Listed<About>>, keep: Keep, until: impl Fn(&str, i32) -> i64, now_ms: i64) -> Plan {
    let (counting, are_covered) = covered(files);
    let mut plan = Plan::default();
    for listed in are_covered {
        let is_by = |other: &&Listed<About>| {
            let (of, by) = (&listed.file, &other.file);
            (of.table, of.folder_ms) == (by.table, by.folder_ms)
                && of.name.is_beside(&by.name)
                && by.name.from <= of.name.from
                && of.name.until <= by.name.until
        };
        let since_ms = counting.iter().find(is_by).map_or(now_ms, |by| by.about.written_ms);
        if now_ms - since_ms >= GRACE_MS {
            plan.covered.push(listed.file);
        }
    }
    let (expired, kept) = expire(counting, keep, now_ms);
    plan.expired = expired;
    let mut group: Vec<Listed<About>> = Vec::new();
    for listed in kept {
        let continues = group.last().is_some_and(|last| {
            let (a, b) = (&last.file, &listed.file);
            (a.table, a.folder_ms) == (b.table, b.folder_ms) && a.name.is_beside(&b.name)
        });
        let size: u64 = group.iter().map(|listed| listed.about.size).sum();
        if !continues || size >= LARGE || group.len() >= MOST {
            plan.merge.extend(worth_merging(std::mem::take(&mut group), now_ms));
        }
        let name = &listed.file.name;
        if name.until <= until(&name.topic, name.partition) && now_ms - listed.about.written_ms >= FRESH_MS {
            group.push(listed);
        }
    }
    plan.merge.extend(worth_merging(group, now_ms));
    plan
}

fn worth_merging(group: Vec<Listed<About>>, now_ms: i64) -> Option<Vec<Listed<About>>> {
    let size: u64 = group.iter().map(|listed| listed.about.size).sum();
    let last_ms = group.iter().map(|listed| listed.about.written_ms).max()?;
    let is_worth_it = group.len() >= MANY || size >= LARGE || now_ms - last_ms >= SETTLED_MS;
    (group.len() >= 2 && is_worth_it).then_some(group)
}

/// Parts files, in order, into those to be deleted and those to keep. Age counts from the end of the newest file's folder,
/// so that what is replayed from long ago is kept; but never from past `now_ms`, so that one wrong clock deletes nothing.
fn expire(files: Vec<Listed<About>>, keep: Keep, now_ms: i64) -> (Vec<File>, Vec<Listed<About>>) {
    let end_ms = |listed: &Listed<About>| listed.file.folder_ms + listed.file.table.span_ms();
    let newest_ms = files.iter().map(end_ms).max().unwrap_or(now_ms).min(now_ms);
    let is_old = |listed: &Listed<About>| {
        let keep_ms = if listed.file.table == Table::PerMinute { keep.rollups_ms } else { keep.rows_ms };
        end_ms(listed) < newest_ms - keep_ms
    };
    let (old, mut kept): (Vec<_>, Vec<_>) = files.into_iter().partition(is_old);
    let mut expired: Vec<_> = old.into_iter().map(|listed| listed.file).collect();
    if let Some(most) = keep.bytes {
        let mut size: u64 = kept.iter().map(|listed| listed.about.size).sum();
        // The oldest first; of the same age, what takes most room.
        let mut oldest: Vec<_> = (0..kept.len()).collect();
        oldest.sort_by_key(|i| (end_ms(&kept[*i]), kept[*i].file.table));
        let mut go = vec![false; kept.len()];
        for i in oldest {
            if size <= most {
                break;
            }
            size -= kept[i].about.size;
            go[i] = true;
        }
        let mut go = go.into_iter();
        let (over, rest): (Vec<_>, Vec<_>) = kept.into_iter().partition(|_| go.next().unwrap_or(false));
        expired.extend(over.into_iter().map(|listed| listed.file));
        kept = rest;
    }
    (expired, kept)
}

/// Why a round was not finished.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Files can't be read or made.
    #[error("files of history can't be made one: {0}")]
    Merge(#[from] DataFusionError),
}

/// Does it now and then, until it is dropped.
pub struct Upkeep {
    saved: Arc<Mutex<Vec<(Position, i64)>>>,
    _stop: oneshot::Sender<()>,
}

impl Upkeep {
    /// Starts it, on threads of `runtime`, which ends with it.
    pub fn start(store: Store, runtime: Runtime, keep: Keep, metrics: HistoryMetrics) -> std::io::Result<Self> {
        let (stop, mut stopped) = oneshot::channel::<()>();
        let saved: Arc<Mutex<Vec<(Position, i64)>>> = Arc::default();
        let upkeep = Arc::clone(&saved);
        std::thread::Builder::new().name("history-upkeep".to_owned()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = &mut stopped => return,
                        () = tokio::time::sleep(EVERY) => {}
                    }
                    let saved = upkeep.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let until = |topic: &str, partition: i32| {
                        let is_it = |position: &Position| position.partition == partition && position.topic == topic;
                        saved.iter().find(|(position, _)| is_it(position)).map_or(i64::MIN, |(_, until)| *until)
                    };
                    tokio::select! {
                        _ = &mut stopped => return,
                        done = round(&store, keep, until, &metrics, now_ms()) => {
                            if let Err(error) = done {
                                warn!("{error}; trying again in {} s", EVERY.as_secs());
                            }
                        }
                    }
                }
            });
            runtime.shutdown_background();
        })?;
        Ok(Self { saved, _stop: stop })
    }

    /// Says which partitions are owned, with the offsets of their last checkpoints.
    pub fn set_saved(&self, saved: Vec<(Position, i64)>) {
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = saved;
    }
}

/// Does once what is to be done at `now_ms`. Returns how many files were made of more.
pub async fn round(
    store: &Store,
    keep: Keep,
    until: impl Fn(&str, i32) -> i64,
    metrics: &HistoryMetrics,
    now_ms: i64,
) -> Result<usize, Error> {
    let mut files = Vec::new();
    for table in Table::ALL {
        files.extend(store.list(table).await?);
    }
    let plan = plan(files, keep, until, now_ms);
    for file in &plan.covered {
        store.delete(file).await?;
    }
    if !plan.expired.is_empty() {
        info!(files = plan.expired.len(), "history past its age or size is deleted");
    }
    for file in &plan.expired {
        store.delete(file).await?;
        metrics.expired.inc();
    }
    let made = plan.merge.len();
    for group in plan.merge {
        let count = group.len() as u64;
        merge(store, group).await?;
        metrics.compacted.inc_by(count);
    }
    Ok(made)
}

/// Makes all small files of a history that nobody writes to, or reads, few.
pub async fn settle(store: &Store) -> Result<(), Error> {
    let keep = Keep { rows_ms: i64::MAX >> 1, rollups_ms: i64::MAX >> 1, bytes: None };
    // What was made is settled, and what it covers is to be deleted, by the next round.
    while round(store, keep, |_, _| i64::MAX, &HistoryMetrics::default(), now_ms() + SETTLED_MS).await? > 0 {}
    Ok(())
}

/// Makes files of one folder, partition and epoch one.
async fn merge(store: &Store, group: Vec<Listed<About>>) -> Result<(), Error> {
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(()) };
    let mut file = first.file.clone();
    file.name.until = last.file.name.until;
    debug!(files = group.len(), path = %file.path(store.root()), "made one");
    let environment = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(MEMORY))).build_arc()?;
    let config =
        SessionConfig::new().with_target_partitions(1).set_bool("datafusion.optimizer.prefer_existing_sort", true);
    let context = SessionContext::new_with_config_rt(config, environment);
    reading::register(&context, store)?;
    let files = Files::these(store, file.table, group);
    context.register_table("files", Arc::new(files))?;
    let mut rows = context.sql(&merging(file.table)).await?.execute_stream().await?;
    let mut writer: Option<Writer> = None;
    while let Some(batch) = rows.try_next().await? {
        let writer = match &mut writer {
            Some(writer) => writer,
            None => writer.insert(Writer::new(file.table, &batch).map_err(DataFusionError::from)?),
        };
        writer.write(&batch).map_err(DataFusionError::from)?;
    }
    if let Some(writer) = writer {
        store.put(&file, writer.finish().map_err(DataFusionError::from)?).await?;
    }
    Ok(())
}

/// The rows of files as they are in one: in order, and rolled up where they are roll-ups.
fn merging(table: Table) -> String {
    let schema = table.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let time = table.time();
    if table != Table::PerMinute {
        return format!("SELECT {} FROM files ORDER BY app, {time}", quoted(&names));
    }
    const KEYS: [&str; 5] = ["app", "function", "owner", "trigger", "minute"];
    let rolled = names.iter().map(|name| match *name {
        key if KEYS.contains(&key) => format!("\"{key}\""),
        least if least.contains("_min_") => format!("min(\"{least}\") AS \"{least}\""),
        most if most.contains("_max_") || most == "memory_mb" => format!("max(\"{most}\") AS \"{most}\""),
        sum => format!("sum(\"{sum}\") AS \"{sum}\""),
    });
    let rolled: Vec<_> = rolled.collect();
    format!("SELECT {} FROM files GROUP BY {} ORDER BY app, {time}", rolled.join(", "), quoted(&KEYS))
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}
