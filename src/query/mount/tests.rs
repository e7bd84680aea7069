#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use futures::TryStreamExt;

use super::*;
use crate::config;

fn engine(folder: &Path) -> Engine {
    let engine = unmounted();
    mount(&engine, "t", folder).unwrap();
    engine
}

fn unmounted() -> Engine {
    let settings = config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    Engine::with_default_schema(&config::Query { threads: 2, ..settings.query }, Some("t")).unwrap()
}

async fn query(engine: &Engine, sql: &str) -> Vec<RecordBatch> {
    engine.query(sql).await.unwrap().rows.try_collect().await.unwrap()
}

async fn shown(engine: &Engine, sql: &str) -> String {
    let rows = query(engine, sql).await;
    datafusion::arrow::util::pretty::pretty_format_batches(&rows).unwrap().to_string()
}

fn shared(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traces").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    let strict = std::env::var_os("PILOTLIGHT_TEST_NOTHING_SKIPPED").is_some();
    assert!(!strict, "nothing may be skipped here, but ../shared/traces/{name} is missing");
    eprintln!("skipped: ../shared/traces/{name} is not here");
    None
}

/// Invocations by app, as the simulator reads them.
fn simulated(folder: &Path) -> BTreeMap<String, i64> {
    let trace = traces::open(folder, |_, _| ()).unwrap();
    let of = |functions: &[u32]| {
        functions.iter().flat_map(|function| trace.cells(*function)).map(|(_, count)| i64::from(count)).sum::<i64>()
    };
    let apps = trace.apps().iter().map(|app| (app.app.to_string(), of(&app.functions)));
    apps.filter(|(_, invocations)| *invocations > 0).collect()
}

#[tokio::test]
async fn the_invocations_of_each_app_are_those_that_simulate_reads() {
    for name in ["azure2019-d01-head9", "azure2019-d07-sample", "azure2021-head998"] {
        let Some(folder) = shared(name) else { continue };
        let sql = "SELECT app, CAST(sum(invocations) AS BIGINT) FROM invocations_per_minute GROUP BY app";
        let mut queried = BTreeMap::new();
        for batch in query(&engine(&folder), sql).await {
            let counts = batch.column(1).as_primitive::<Int64Type>();
            let apps = datafusion::arrow::compute::cast(batch.column(0), &datafusion::arrow::datatypes::DataType::Utf8);
            let apps = apps.unwrap();
            queried.extend(
                apps.as_string::<i32>().iter().zip(counts).map(|(app, n)| (app.unwrap().to_owned(), n.unwrap())),
            );
        }
        assert_eq!(queried, simulated(&folder), "{name}");
    }
}

#[tokio::test]
async fn rows_of_several_days_and_figures_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    file(
        "invocations_per_function_md.anon.d01.csv",
        "HashOwner,HashApp,HashFunction,Trigger,1,2\no,a,f,http,0,3\n,b,g,,1,x\n",
    );
    file("invocations_per_function_md.anon.d03.csv", "HashOwner,HashApp,HashFunction,Trigger,1440\no,a,f,others,5\n");
    file(
        "function_durations_percentiles.anon.d03.csv",
        "HashOwner,HashApp,HashFunction,Average,Count,Minimum,Maximum,percentile_Average_50\n\
         o,a,f,12.5,7,1,90,11\no,a,g,nothing,1,1,1,1\n",
    );
    file(
        "app_memory_percentiles.anon.d03.csv",
        "HashOwner,HashApp,SampleCount,AverageAllocatedMb,AverageAllocatedMb_pct100\no,a,4,128,256.5\n",
    );
    let engine = engine(folder.path());
    assert_eq!(
        shown(&engine, "SELECT * FROM invocations_per_minute ORDER BY minute, app").await,
        "\
+-------+-----+----------+---------+----------------------+-------------+
| owner | app | function | trigger | minute               | invocations |
+-------+-----+----------+---------+----------------------+-------------+
|       | b   | g        |         | 2019-07-15T00:00:00Z | 1           |
| o     | a   | f        | http    | 2019-07-15T00:01:00Z | 3           |
| o     | a   | f        | other   | 2019-07-17T23:59:00Z | 5           |
+-------+-----+----------+---------+----------------------+-------------+"
    );
    assert_eq!(
        shown(
            &engine,
            "SELECT date, owner, app, function, average_ms, count, maximum_ms, p50_ms, p99_ms FROM function_durations"
        )
        .await,
        "\
+------------+-------+-----+----------+------------+-------+------------+--------+--------+
| date       | owner | app | function | average_ms | count | maximum_ms | p50_ms | p99_ms |
+------------+-------+-----+----------+------------+-------+------------+--------+--------+
| 2019-07-17 | o     | a   | f        | 12.5       | 7     | 90.0       | 11.0   |        |
+------------+-------+-----+----------+------------+-------+------------+--------+--------+"
    );
    assert_eq!(
        shown(&engine, "SELECT app, sample_count, average_mb, p1_mb, p100_mb FROM app_memory").await,
        "\
+-----+--------------+------------+-------+---------+
| app | sample_count | average_mb | p1_mb | p100_mb |
+-----+--------------+------------+-------+---------+
| a   | 4            | 128.0      |       | 256.5   |
+-----+--------------+------------+-------+---------+"
    );
    // No column at all, and a query that has enough before the file ends.
    assert!(shown(&engine, "SELECT count(*) FROM invocations_per_minute").await.contains("| 3 "));
    assert_eq!(query(&engine, "SELECT app FROM invocations_per_minute LIMIT 1").await[0].num_rows(), 1);
}

#[tokio::test]
async fn single_invocations_begin_before_they_end() {
    let folder = tempfile::tempdir().unwrap();
    let text = "app,func,end_timestamp,duration\na,f,100,1\nb,f,70,69.5\na,f,99.5,1\n";
    std::fs::write(folder.path().join("AzureFunctionsInvocationTraceForTwoWeeksJan2021.txt"), text).unwrap();
    let engine = engine(folder.path());
    assert_eq!(
        shown(&engine, "SELECT * FROM invocations ORDER BY start").await,
        "\
+-----+----------+--------------------------+-------------+--------+
| app | function | start                    | duration_ms | gap_ms |
+-----+----------+--------------------------+-------------+--------+
| b   | f        | 2021-01-31T00:00:00.500Z | 69500.0     |        |
| a   | f        | 2021-01-31T00:01:38.500Z | 1000.0      |        |
| a   | f        | 2021-01-31T00:01:39Z     | 1000.0      | 500    |
+-----+----------+--------------------------+-------------+--------+"
    );
    assert_eq!(
        shown(&engine, "SELECT * FROM invocations_per_minute ORDER BY minute").await,
        "\
+-----+----------+----------------------+-------------+-------------+-----------------+-----------------+
| app | function | minute               | invocations | duration_ms | duration_min_ms | duration_max_ms |
+-----+----------+----------------------+-------------+-------------+-----------------+-----------------+
| b   | f        | 2021-01-31T00:00:00Z | 1           | 69500.0     | 69500.0         | 69500.0         |
| a   | f        | 2021-01-31T00:01:00Z | 2           | 2000.0      | 1000.0          | 1000.0          |
+-----+----------+----------------------+-------------+-------------+-----------------+-----------------+"
    );
}

#[tokio::test]
async fn each_column_says_what_it_is() {
    for name in ["azure2019-d07-sample", "azure2021-head998"] {
        let Some(folder) = shared(name) else { continue };
        let engine = engine(&folder);
        let schema = engine.context().catalog(crate::query::CATALOG).unwrap().schema("t").unwrap();
        for table in schema.table_names() {
            let columns = schema.table(&table).await.unwrap().unwrap().schema();
            for column in columns.fields() {
                assert!(column.metadata().contains_key(COMMENT), "{table}.{}", column.name());
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_trace_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let empty = mount(&unmounted(), "t", folder.path()).unwrap_err().to_string();
    assert!(empty.contains("holds no trace: found nothing, expected invocations_per_function_md"), "{empty}");
    std::fs::write(folder.path().join("invocations_per_function_md.anon.d01.csv"), "a,b\n1,2\n").unwrap();
    let engine = engine(folder.path());
    let answer = engine.query("SELECT count(*) FROM invocations_per_minute").await.unwrap();
    let error = crate::query::Error::from(answer.rows.try_collect::<Vec<_>>().await.unwrap_err()).to_string();
    assert!(error.contains("is no trace: its first row names no column 'HashApp'; expected"), "{error}");
}
