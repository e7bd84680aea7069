//! `report` writes a page that needs nothing but itself, and `simulate --plot` pictures; both say early what they can't.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use support::program::run;

#[test]
fn a_workload_becomes_a_page() {
    let Some(trace) = support::trace("azure2019-d07-sample") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("workload.html");
    let (trace, out) = (trace.to_str().unwrap(), file.to_str().unwrap());
    let output =
        run(&["report", trace, "--out", out, "--title", "Us & co", "--policy", "fixed:5m", "--format", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = std::fs::read_to_string(&file).unwrap();
    for text in ["<h1>Us &amp; co</h1>", "3,037,902", "fixed:5m", "The paper's claim"] {
        assert!(page.contains(text), "{text}");
    }
    for outside in ["http://", "https://", "<script", "src="] {
        assert!(!page.contains(outside), "{outside}");
    }
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["workload"]["apps"], 476);
    let policies: Vec<_> = said["outcomes"].as_array().unwrap().iter().map(|outcome| &outcome["policy"]).collect();
    assert_eq!(policies, ["fixed:10m", "fixed:20m", "fixed:1h", "hybrid", "fixed:5m"]);
}

#[test]
fn figures_are_those_of_the_files_of_sql_and_what_ran_has_a_page_too() {
    let folder = tempfile::tempdir().unwrap();
    let (history, page) = (folder.path().join("ran"), folder.path().join("ran.html"));
    let made =
        run(&["generate", "--format", "history", "--apps", "12", "--days", "1", "--out", history.to_str().unwrap()]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let setting = format!("history.url=file://{}", history.display());
    let output = run(&["report", "history", "--set", &setting, "--out", page.to_str().unwrap(), "--format", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let page = std::fs::read_to_string(&page).unwrap();
    for file in
        ["triggers", "functions_per_app", "inter_arrival_cv", "memory", "cold_starts_by_app", "idle_memory_by_policy"]
    {
        assert!(page.contains(&format!("sql/{file}.sql")), "{file}");
    }
    // The same number, counted by the simulator's code and by SQL.
    let mut by_sql = page.split("sql/functions_per_app.sql").nth(1).unwrap().split("<pre>").next().unwrap().to_owned();
    by_sql.retain(|c| c != ',');
    let apps: u64 = by_sql.split("<tr>").skip(2).map(|row| cell(row, 1).parse::<u64>().unwrap()).sum();
    assert_eq!(said["workload"]["apps"].as_u64(), Some(apps));
    assert!(apps > 5 && page.contains("What ran."), "{apps}");
}

/// The text of a cell of a row.
fn cell(row: &str, column: usize) -> String {
    let cell = row.split("<td").nth(column).unwrap();
    cell.split('>').nth(1).unwrap().split('<').next().unwrap().to_owned()
}

#[test]
fn policies_become_a_picture() {
    let Some(trace) = support::trace("azure2021-head998") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policies.svg");
    let output = run(&["simulate", trace.to_str().unwrap(), "--plot", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let picture = std::fs::read_to_string(&file).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("hybrid"));
}

#[test]
fn a_file_that_cannot_be_is_said_before_the_work() {
    for (arguments, text) in [
        (["simulate", "/nowhere", "--plot", "policies.png"], "ends in '.png': expected .svg"),
        (["simulate", "/nowhere", "--plot", "/nowhere/policies.svg"], "can't be written"),
        (["report", "/nowhere", "--out", "workload.svg"], "expected a file that ends in .html"),
    ] {
        let output = run(&arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(text), "{said}");
    }
}
