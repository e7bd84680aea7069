use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use datafusion::prelude::SessionContext;

use super::layout::{File, Listed, Name};
use super::reading::{self, Files};
use super::store::{About, Store};
use super::upkeep::{Keep, plan, round, settle};
use super::{Piece, Table, parquet};
use crate::bus::Position;
use crate::checkpoint::{Packed, encode};
use crate::config::Settings;
use crate::model::{Invocation, Trigger, now_ms};
use crate::pipeline::{Decider, Shard};
use crate::telemetry::HistoryMetrics;

const MINUTE: i64 = 60_000;
const START_MS: i64 = 1_795_305_600_000; // 2026-11-22
const EVENTS: i64 = 6000;

fn decider(policy: &str) -> Decider {
    let flags =
        [("policy.name", policy), ("history.url", "file:///nowhere"), ("history.rows", "700"), ("history.every", "5h")];
    let flags = flags.map(|(key, value)| (key, value.to_owned()));
    Decider::new(&Settings::load(Some("/dev/null".as_ref()), &flags).unwrap()).unwrap()
}

fn position() -> Position {
    Position { topic: "events".to_owned(), partition: 3 }
}

/// Busy apps and rare ones, over three days; some events come late.
fn event(i: i64) -> Invocation<'static> {
    const APPS: [&str; 7] = ["busy", "steady", "timer", "late", "rare", "forecast", "busy"];
    let app = APPS[(i * i % 7) as usize];
    let late_ms = if app == "late" { i % 5 * MINUTE } else { 0 };
    let mut event = Invocation::new(
        app,
        if i % 3 == 0 { "f" } else { "g" },
        START_MS + i * MINUTE * 7 / 10 - late_ms,
        (i % 11) as f64 + 0.25,
    );
    event.trigger = (app == "timer").then_some(Trigger::Timer);
    event.tenant = (app != "rare").then(|| "t".into());
    event.memory_mb = (app == "busy").then_some(100.0 + (i % 7) as f64);
    event
}

/// The pieces that come of all events, of a shard that is saved and loaded again before each of the `restarts`.
fn pieces(decider: &Decider, restarts: &[i64]) -> (Vec<Piece>, Piece) {
    let mut shard = Shard::new(decider, 0);
    shard.record_from(0, decider);
    let mut pieces = Vec::new();
    for i in 0..EVENTS {
        if restarts.contains(&i) {
            shard.settle(decider);
            let snapshot = shard.save(None, &position(), i, decider).unwrap();
            shard = Shard::load(&Packed::open(encode(&snapshot).unwrap()).unwrap(), decider).unwrap();
        }
        shard.receive(&[event(i)], Some(event(i).ended_at_ms()), i, decider);
        if let Some((_, piece)) = shard.cut_history(&position(), i + 1, decider) {
            pieces.extend(piece);
        }
    }
    let rest = shard.record_from(0, decider).unwrap().so_far(&position(), 0, EVENTS);
    (pieces, rest)
}

fn bytes(pieces: &[Piece]) -> BTreeMap<(String, &'static str, i64), Vec<u8>> {
    let of_piece = |piece: &Piece, table: Table| {
        let name = piece.events.to_string();
        let folders = piece.folders(table).unwrap().into_iter();
        folders
            .map(move |(folder_ms, batch)| {
                ((name.clone(), table.name(), folder_ms), parquet::encode(table, &batch).unwrap())
            })
            .collect::<Vec<_>>()
    };
    pieces.iter().flat_map(|piece| Table::ALL.into_iter().flat_map(move |table| of_piece(piece, table))).collect()
}

#[test]
fn the_same_events_make_the_same_files_wherever_they_are_resumed() {
    for policy in ["frontier", "hybrid:min_idle_times=3"] {
        let decider = decider(policy);
        let (expected, rest) = pieces(&decider, &[]);
        let rows: usize = expected.iter().map(Piece::invocations).sum();
        // Some events may wait for their turn.
        let all = rows + rest.invocations();
        assert!((EVENTS as usize - 20..=EVENTS as usize).contains(&all), "{all}");
        assert!(expected.len() > 10 && rest.invocations() > 0);
        assert!(expected.windows(2).all(|two| two[0].events.until == two[1].events.from));
        let (found, _) = pieces(&decider, &[1, 450, 451, 2000, 3333, 5999]);
        assert!(bytes(&found) == bytes(&expected), "{policy}");
    }
}

#[test]
fn rolled_up_rows_add_up_and_all_rows_are_in_order() {
    let (pieces, _) = pieces(&decider("frontier"), &[]);
    for piece in &pieces {
        let column = |table: Table, name: &str| -> Vec<RecordBatch> {
            let batches = piece.folders(table).unwrap().into_iter().map(|(_, batch)| batch);
            batches.map(|batch| batch.project(&[batch.schema().index_of(name).unwrap()]).unwrap()).collect()
        };
        let sum: i64 = column(Table::PerMinute, "invocations")
            .iter()
            .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
            .sum();
        assert_eq!(sum as usize, piece.invocations());
        for table in Table::ALL {
            for (folder_ms, batch) in piece.folders(table).unwrap() {
                let apps = datafusion::arrow::compute::cast(
                    batch.column_by_name("app").unwrap(),
                    &arrow_schema::DataType::Utf8,
                )
                .unwrap();
                let times = batch.column_by_name(table.time()).unwrap().as_primitive::<TimestampMillisecondType>();
                let keys: Vec<_> = apps.as_string::<i32>().iter().zip(times.values().to_vec()).collect();
                assert!(keys.is_sorted(), "{table:?}");
                assert!(times.values().iter().all(|ms| (folder_ms..folder_ms + table.span_ms()).contains(ms)));
            }
        }
    }
}

fn listed(table: Table, folder_ms: i64, from: i64, until: i64, size: u64, written_ms: i64) -> Listed<About> {
    let name = Name { topic: "events".to_owned(), partition: 3, epoch: 0, from, until };
    Listed { file: File { table, folder_ms, name }, about: About { size, written_ms } }
}

const KEEP: Keep = Keep { rows_ms: 24 * 60 * MINUTE, rollups_ms: 30 * 24 * 60 * MINUTE, bytes: None };

#[test]
fn small_files_are_made_one_once_they_are_many_or_settled() {
    let now_ms = START_MS + 3 * 60 * MINUTE;
    let files = |count: i64, age_ms: i64| -> Vec<_> {
        (0..count).map(|i| listed(Table::Invocations, START_MS, i * 10, i * 10 + 10, 1000, now_ms - age_ms)).collect()
    };
    let merged_to = |files: Vec<Listed<About>>, until: i64| -> Vec<usize> {
        plan(files, KEEP, |_, _| until, now_ms).merge.iter().map(Vec::len).collect()
    };
    let merged = |files: Vec<Listed<About>>, ours: bool| merged_to(files, if ours { i64::MAX } else { 0 });
    assert_eq!(merged(files(7, 10 * MINUTE), true), [0; 0], "they may be more soon");
    assert_eq!(merged(files(8, 10 * MINUTE), true), [8]);
    assert_eq!(merged(files(8, MINUTE), true), [0; 0], "queries may hold their rows in memory");
    assert_eq!(merged(files(2, 60 * MINUTE), true), [2]);
    assert_eq!(merged(files(1, 60 * MINUTE), true), [0; 0]);
    assert_eq!(merged(files(9, 60 * MINUTE), false), [0; 0], "their owner does it");
    assert_eq!(merged_to(files(20, 10 * MINUTE), 95), [9], "what is in no checkpoint may be cut otherwise yet");
    let mut large = files(20, 10 * MINUTE);
    large[9].about.size = 64 << 20;
    assert_eq!(merged(large, true), [10, 10]);
}

#[test]
fn what_is_covered_goes_after_a_while_and_what_is_old_or_too_much_at_once() {
    let now_ms = START_MS + 3 * 24 * 60 * MINUTE;
    let hour = |n: i64| START_MS + n * 60 * MINUTE;
    let names = |files: &[File]| files.iter().map(|file| (file.folder_ms - START_MS) / MINUTE / 60).collect::<Vec<_>>();
    let of_hours = |hours: &[i64]| -> Vec<_> {
        hours
            .iter()
            .map(|n| listed(Table::Invocations, hour(*n), n * 10, n * 10 + 10, 100, now_ms - 10 * MINUTE))
            .collect()
    };
    for (age_ms, expected) in [(MINUTE, 0), (3 * MINUTE, 2)] {
        let mut files = of_hours(&[0]);
        files.push(listed(Table::Invocations, hour(0), 10, 20, 100, now_ms - 10 * MINUTE));
        files.push(listed(Table::Invocations, hour(0), 0, 20, 100, now_ms - age_ms));
        assert_eq!(plan(files, KEEP, |_, _| i64::MAX, now_ms).covered.len(), expected);
    }
    // A day is kept, counted from the newest; roll-ups longer; a clock far ahead deletes nothing by itself.
    let mut files = of_hours(&[0, 5, 6, 30]);
    files.push(listed(Table::PerMinute, START_MS, 0, 10, 100, now_ms));
    assert_eq!(names(&plan(files.clone(), KEEP, |_, _| i64::MAX, now_ms).expired), [0, 5]);
    files.push(listed(Table::Invocations, hour(24 * 365), 900, 901, 100, now_ms));
    assert_eq!(
        names(&plan(files, KEEP, |_, _| i64::MAX, now_ms).expired),
        [0, 5, 6, 30],
        "the clock of the wall is the latest that counts"
    );
    let small = Keep { bytes: Some(250), ..KEEP };
    assert_eq!(names(&plan(of_hours(&[10, 11, 12, 13]), small, |_, _| i64::MAX, now_ms).expired), [10, 11]);
}

async fn asked(store: &Store, sql: &str) -> Vec<RecordBatch> {
    let context = SessionContext::new();
    reading::register(&context, store).unwrap();
    for table in Table::ALL {
        context.register_table(table.name(), std::sync::Arc::new(Files::of(store, table))).unwrap();
    }
    context.sql(sql).await.unwrap().collect().await.unwrap()
}

#[tokio::test]
async fn files_made_one_hold_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("file://{}", folder.path().display())).unwrap();
    let (pieces, _) = pieces(&decider("frontier"), &[]);
    for piece in &pieces {
        for table in Table::ALL {
            for (folder_ms, batch) in piece.folders(table).unwrap() {
                let file = File { table, folder_ms, name: piece.events.clone() };
                store.put(&file, parquet::encode(table, &batch).unwrap()).await.unwrap();
            }
        }
    }
    const QUESTIONS: [&str; 4] = [
        "SELECT * FROM invocations ORDER BY kafka_offset, app, start",
        "SELECT app, function, trigger, minute, sum(invocations), sum(missed), min(duration_min_ms), max(memory_mb), sum(gap_ms2)
         FROM invocations_per_minute GROUP BY ALL ORDER BY app, function, trigger, minute",
        "SELECT * FROM decision_history ORDER BY kafka_offset, app",
        "SELECT date, hour, count(*) FROM invocations WHERE start >= '2026-11-22T20:00:00Z' AND start < '2026-11-23T02:00:00Z'
         GROUP BY date, hour ORDER BY date, hour",
    ];
    let mut before = Vec::new();
    for question in QUESTIONS {
        before.push(asked(&store, question).await);
    }
    assert_eq!(before[3].iter().map(RecordBatch::num_rows).sum::<usize>(), 6);

    let count = || async {
        let mut files = Vec::new();
        for table in Table::ALL {
            files.extend(store.list(table).await.unwrap());
        }
        files.len()
    };
    let many = count().await;
    let keep = Keep { rows_ms: i64::MAX >> 1, rollups_ms: i64::MAX >> 1, bytes: None };
    let in_hours = now_ms() + 120 * MINUTE;
    round(&store, keep, |_, _| i64::MAX, &HistoryMetrics::default(), in_hours).await.unwrap();
    let with_covered = count().await;
    assert!(with_covered > many, "what was made one is still there");
    for (question, before) in QUESTIONS.iter().zip(&before) {
        assert_eq!(&asked(&store, question).await, before, "{question}");
    }
    settle(&store).await.unwrap();
    for table in Table::ALL {
        let folders: Vec<_> = store.list(table).await.unwrap().iter().map(|listed| listed.file.folder_ms).collect();
        let mut unique = folders.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(folders.len(), unique.len(), "one file for each hour or day of {table:?}");
    }
    for (question, before) in QUESTIONS.iter().zip(&before) {
        assert_eq!(&asked(&store, question).await, before, "{question}");
    }
}
