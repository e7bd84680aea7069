//! Questions in SQL, asked with `pilotlight sql`.

use super::program::run;

/// What the pipeline at `url` answers: cells as text.
pub fn ask(url: &str, question: &str) -> Vec<Vec<String>> {
    rows(&["--url", url], question)
}

/// What the files of a history answer.
pub fn ask_files(history: &str, question: &str) -> Vec<Vec<String>> {
    rows(&["--history", history], question)
}

fn rows(of: &[&str], question: &str) -> Vec<Vec<String>> {
    let arguments = [&["sql", "--format", "csv"], of, &[question]].concat();
    let output = run(&arguments);
    assert!(output.status.success(), "{question}: {}", String::from_utf8_lossy(&output.stderr));
    let mut reader = csv::Reader::from_reader(output.stdout.as_slice());
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}
