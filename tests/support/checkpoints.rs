//! The checkpoints of a test, in a folder of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use pilotlight::checkpoint::{Snapshot, decode};

pub struct Checkpoints(tempfile::TempDir);

impl Checkpoints {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// For `--set`.
    pub fn setting(&self) -> String {
        format!("checkpoint.url=file://{}", self.folder().display())
    }

    /// The checkpoints of a partition, the latest first.
    pub fn of(&self, group: &str, topic: &str, partition: i32) -> Vec<PathBuf> {
        let folder = self.folder().join(group).join(topic).join(partition.to_string());
        let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        let mut all: Vec<_> = entries.filter(|path| path.extension().is_some_and(|ending| ending == "arrow")).collect();
        all.sort();
        all.reverse();
        all
    }

    fn latest(&self, group: &str, topic: &str) -> Vec<PathBuf> {
        (0..64).filter_map(|partition| self.of(group, topic, partition).into_iter().next()).collect()
    }

    /// The offsets of the latest of all partitions, added up: how many events they stand for.
    pub fn offsets(&self, group: &str, topic: &str) -> u64 {
        let offset = |path: &PathBuf| {
            let name = path.file_stem().unwrap().to_str().unwrap();
            name.split_once('-').unwrap().1.parse::<u64>().unwrap()
        };
        self.latest(group, topic).iter().map(offset).sum()
    }

    /// How often each app was invoked.
    pub fn invocations(&self, group: &str, topic: &str) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for path in self.latest(group, topic) {
            for batch in read(&path).apps {
                let apps = batch.column_by_name("app").unwrap().as_string::<i32>();
                let invocations = batch.column_by_name("invocations").unwrap().as_primitive::<UInt64Type>();
                for (app, count) in apps.iter().zip(invocations.values()) {
                    *counts.entry(app.unwrap().to_owned()).or_default() += count;
                }
            }
        }
        counts
    }
}

pub fn read(path: &Path) -> Snapshot {
    decode(std::fs::read(path).unwrap()).unwrap()
}
