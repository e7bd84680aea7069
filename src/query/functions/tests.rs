#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

use datafusion::arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;

use crate::config;
use crate::query::Engine;

fn engine() -> Engine {
    let settings = config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    Engine::new(&config::Query { threads: 2, ..settings.query }).unwrap()
}

async fn run(sql: &str) -> Result<String, String> {
    run_on(&engine(), sql).await
}

async fn run_on(engine: &Engine, sql: &str) -> Result<String, String> {
    let answer = engine.query(sql).await.map_err(|error| error.to_string())?;
    let rows: Vec<_> = answer.rows.try_collect().await.map_err(|error| error.to_string())?;
    let text = pretty_format_batches(&rows).unwrap().to_string();
    let cells = |line: &str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" | ");
    Ok(text.lines().skip(3).filter(|line| !line.starts_with('+')).map(cells).collect::<Vec<_>>().join("\n"))
}

/// Statements and the rows that they give.
const EXAMPLES: [(&str, &str); 26] = [
    // Nearest rank: of 10 values the 5th is the median, the 10th all above 0.9.
    ("SELECT histogram_percentile([4, 0, 5, 1], [60, 120, 180, 240], 0.5)", "180.0"),
    ("SELECT histogram_percentile([4, 0, 5, 1], [60, 120, 180, 240], 0.4)", "60.0"),
    ("SELECT histogram_percentile([4, 0, 5, 1], [60, 120, 180, 240], 0.0)", "60.0"),
    ("SELECT histogram_percentile([4, 0, 5, 1], [60, 120, 180, 240], 0.91)", "240.0"),
    ("SELECT histogram_percentile([100], [7], 0.07)", "7.0"),
    ("SELECT histogram_percentile([1.5, 0.5], [1, 2], 1)", "2.0"),
    ("SELECT histogram_percentile([0, 0], [1, 2], 0.5)", ""),
    ("SELECT histogram_percentile(NULL, [1, 2], 0.5)", ""),
    // 2 and 4: mean 3, standard deviation of the population 1.
    ("SELECT round(cv(x), 6) FROM (VALUES (2), (4)) t(x)", "0.333333"),
    ("SELECT cv(x) FROM (VALUES (1e9), (1e9), (NULL)) t(x)", "0.0"),
    ("SELECT cv(x) FROM (VALUES (5)) t(x)", ""),
    ("SELECT cv(x) FROM (VALUES (-1), (1)) t(x)", ""),
    (
        "SELECT k, cv(x) FROM (VALUES ('a', 1), ('b', 1), ('a', 3), ('b', 1)) t(k, x) GROUP BY k ORDER BY k",
        "a | 0.5\nb | 0.0",
    ),
    (
        // A shift changes the mean and not the deviation, which keeps its digits; nulls and what is filtered don't count.
        "SELECT k % 3, count(*), round(cv(1e9 + k % 2), 15), cv(k) FILTER (WHERE k < 6), cv(nullif(k % 3, 1)) \
         FROM (SELECT unnest(range(0, 60000)) AS k) GROUP BY 1 ORDER BY 1",
        "0 | 20000 | 5e-10 | 1.0 | \n1 | 20000 | 5e-10 | 0.6 | \n2 | 20000 | 5e-10 | 0.42857142857142855 | 0.0",
    ),
    ("SELECT round(cv_of_sums(2, 6, 20), 6)", "0.333333"),
    ("SELECT cv_of_sums(3, 0.3, 0.03)", "0.0"),
    ("SELECT cv_of_sums(1, 6, 36)", ""),
    ("SELECT cv_of_sums(x, 6.0, 20.0) IS NULL FROM (VALUES (NULL), (2)) t(x)", "true\nfalse"),
    (
        "SELECT rate_class(x) FROM (VALUES (0.0), (1.0), (1.01), (24), (1440), (1441), (86400), (86401), (NULL)) t(x)",
        "1: up to 1/day\n1: up to 1/day\n2: up to 1/hour\n2: up to 1/hour\n3: up to 1/minute\n4: up to 1/second\n\
         4: up to 1/second\n5: above 1/second\n",
    ),
    ("SELECT nearest_rank(x, 0.5) FROM (VALUES (4), (1), (3), (2), (NULL)) t(x)", "2.0"),
    ("SELECT nearest_rank(x, 0.51) FROM (VALUES (4), (1), (3), (2)) t(x)", "3.0"),
    ("SELECT nearest_rank(x, 0) FROM (VALUES (4), (1)) t(x)", "1.0"),
    ("SELECT nearest_rank(x, 0.07) FROM (SELECT unnest(range(1, 101)) AS x)", "7.0"),
    (
        "SELECT k % 2, nearest_rank(k, 0.9) FROM (SELECT unnest(range(0, 20000)) AS k) GROUP BY 1 ORDER BY 1",
        "0 | 17998.0\n1 | 17999.0",
    ),
    ("SELECT nearest_rank(x, 0.5) FROM (VALUES (1)) t(x) WHERE x > 1", ""),
    (
        "SELECT idle_bin(x) FROM (VALUES (0), (59999), (60000), (14399999), (14400000), (1e12), (-1)) t(x)",
        "0\n0\n1\n239\n240\n240\n",
    ),
];

#[tokio::test]
async fn each_function_by_its_examples() {
    for (sql, expected) in EXAMPLES {
        assert_eq!(run(sql).await.as_deref(), Ok(expected), "{sql}");
    }
}

#[cfg(feature = "ballista")]
#[tokio::test]
async fn each_function_spelled_out_gives_the_same() {
    let (plain, engine) = (engine(), engine());
    super::spell_out(engine.context()).unwrap();
    for (sql, expected) in EXAMPLES {
        let found = run_on(&engine, sql).await;
        if sql.contains("histogram_percentile") {
            assert!(found.as_ref().is_err_and(|said| said.contains("can't be spelled out")), "{sql}: {found:?}");
            continue;
        }
        assert_eq!(found.as_deref(), Ok(expected), "{sql}");
        let names = engine.plan(sql).await.unwrap().schema().field_names();
        assert_eq!(names, plain.plan(sql).await.unwrap().schema().field_names(), "{sql}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_said() {
    for (sql, expected) in [
        (
            "SELECT histogram_percentile([1], [1, 2], 0.5)",
            "histogram_percentile: found 1 counts and 2 upper ends, expected",
        ),
        ("SELECT histogram_percentile([1], [1], 50)", "histogram_percentile: found p = 50, expected"),
        (
            "SELECT nearest_rank(x, 50) FROM (VALUES (1)) t(x)",
            "nearest_rank: found p = 50, expected a share from 0 to 1",
        ),
    ] {
        let error = run(sql).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
