//! What the integration tests share. A test file takes it in with `mod support;`.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "tests say what they expect")]

pub mod checkpoints;
pub mod docker;
pub mod kafka;
pub mod program;
pub mod s3;
pub mod sql;
pub mod topic;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Waits until `holds` gives something, looking every 20 ms; panics after `limit`, naming `what` was waited for.
pub fn wait_for<T>(what: &str, limit: Duration, mut holds: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = holds() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A folder of `../shared/traces`, or `None` with a clear line where it is absent.
pub fn trace(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/traces").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    let strict = std::env::var_os("PILOTLIGHT_TEST_NOTHING_SKIPPED").is_some();
    assert!(!strict, "nothing may be skipped here, but ../shared/traces/{name} is missing");
    eprintln!("skipped: ../shared/traces/{name} is not here");
    None
}

/// The JSON schema of `schemas/<name>`, compiled by a validator that knows nothing of this project.
pub fn schema(name: &str) -> jsonschema::Validator {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}
