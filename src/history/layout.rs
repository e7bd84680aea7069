//! Where files are: `<table>/date=2026-11-22/hour=05/<topic>-<partition>-<epoch>-<from>-<until>.parquet`, as Hive has it.
//!
//! A file is named after the events that its rows come of. One whose events lie within those of another file of the same
//! folder, partition and epoch is **covered** by it and counts no more: that is how small files are made one, and how a
//! file that is written again late does no harm.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, NaiveDate, Timelike};
use object_store::path::Path;

use super::tables::Table;

const HOUR_MS: i64 = 3_600_000;

/// Which events a file's rows come of, and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// First part of the versions of the partition's decisions.
    pub epoch: u64,
    /// Offset of the first event.
    pub from: i64,
    /// Offset of the first event past them.
    pub until: i64,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, epoch, from, until } = self;
        write!(f, "{topic}-{partition}-{epoch}-{from:020}-{until:020}.parquet")
    }
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_suffix(".parquet")?.rsplitn(5, '-');
        let until = parts.next()?.parse().ok()?;
        let from = parts.next()?.parse().ok()?;
        let epoch = parts.next()?.parse().ok()?;
        let partition = parts.next()?.parse().ok()?;
        Some(Self { topic: parts.next()?.to_owned(), partition, epoch, from, until })
    }

    /// Whether the other's rows come of the same partition and epoch.
    pub fn is_beside(&self, other: &Self) -> bool {
        (&self.topic, self.partition, self.epoch) == (&other.topic, other.partition, other.epoch)
    }
}

/// A file of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its table.
    pub table: Table,
    /// Begin of the hour or day whose rows it holds, epoch ms.
    pub folder_ms: i64,
    /// Its name.
    pub name: Name,
}

impl File {
    /// Where it is.
    pub fn path(&self, root: &Path) -> Path {
        folder(root, self.table, self.folder_ms).join(self.name.to_string())
    }

    /// The file at a path, if it is one of history.
    pub fn parse(root: &Path, path: &Path) -> Option<Self> {
        let parts: Vec<String> = path.prefix_match(root)?.map(|part| part.as_ref().to_owned()).collect();
        let (table, rest) = parts.split_first()?;
        let table = Table::ALL.into_iter().find(|known| known.name() == table)?;
        let (name, folders) = rest.split_last()?;
        let mut folders = folders.iter();
        let date: NaiveDate = folders.next()?.strip_prefix("date=")?.parse().ok()?;
        let hour: i64 = if table.has_hours() { folders.next()?.strip_prefix("hour=")?.parse().ok()? } else { 0 };
        let folder_ms = date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis() + hour * HOUR_MS;
        let is_whole = folders.next().is_none() && (0..24).contains(&hour);
        is_whole.then_some(Self { table, folder_ms, name: Name::parse(name)? })
    }
}

/// The folder of a table for the hour or day that begins at `folder_ms`.
fn folder(root: &Path, table: Table, folder_ms: i64) -> Path {
    let folder = root.clone().join(table.name()).join(format!("date={}", date(folder_ms)));
    if table.has_hours() { folder.join(format!("hour={:02}", hour(folder_ms))) } else { folder }
}

/// The day of a folder, as `YYYY-MM-DD`.
pub fn date(folder_ms: i64) -> String {
    DateTime::from_timestamp_millis(folder_ms).unwrap_or_default().date_naive().to_string()
}

/// The hour of a folder, 0 to 23.
pub fn hour(folder_ms: i64) -> u32 {
    DateTime::from_timestamp_millis(folder_ms).unwrap_or_default().hour()
}

/// A file that the store lists.
#[derive(Debug, Clone)]
pub struct Listed<T> {
    /// Which.
    pub file: File,
    /// What else is known of it.
    pub about: T,
}

/// Parts `files` into those that count and those that are covered by one of these. Both are in order: by table, folder,
/// partition, epoch and events.
pub fn covered<T>(files: impl IntoIterator<Item = Listed<T>>) -> (Vec<Listed<T>>, Vec<Listed<T>>) {
    let mut folders: BTreeMap<_, Vec<Listed<T>>> = BTreeMap::new();
    for listed in files {
        let File { table, folder_ms, name } = &listed.file;
        folders.entry((*table, *folder_ms, name.topic.clone(), name.partition, name.epoch)).or_default().push(listed);
    }
    let (mut count, mut are_covered) = (Vec::new(), Vec::new());
    for mut files in folders.into_values() {
        // Of those that begin alike, the longest first.
        files.sort_by_key(|listed| (listed.file.name.from, std::cmp::Reverse(listed.file.name.until)));
        let mut end = i64::MIN;
        for listed in files {
            let until = listed.file.name.until;
            if until <= end { &mut are_covered } else { &mut count }.push(listed);
            end = end.max(until);
        }
    }
    (count, are_covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(table: Table, folder_ms: i64, from: i64, until: i64) -> File {
        let name = Name { topic: "my-events.v1".to_owned(), partition: 7, epoch: 2, from, until };
        File { table, folder_ms, name }
    }

    #[test]
    fn a_path_says_which_file_it_is() {
        let root = Path::from("a/b");
        let day_ms = 1_795_305_600_000; // 2026-11-22
        let of_hour = file(Table::Decisions, day_ms + 5 * HOUR_MS, 10, 2_000);
        let path = "a/b/decision_history/date=2026-11-22/hour=05/my-events.v1-7-2-00000000000000000010-00000000000000002000.parquet";
        assert_eq!(of_hour.path(&root).to_string(), path);
        let of_day = file(Table::PerMinute, day_ms, 0, i64::MAX);
        for file in [of_hour, of_day] {
            assert_eq!(File::parse(&root, &file.path(&root)), Some(file));
        }
        for other in [
            "a/b/invocations/x.parquet",
            "a/b/other/date=2026-11-22/hour=05/t-0-0-1-2.parquet",
            "a/c",
            "a/b/invocations/date=2026-11-22/hour=24/t-0-0-1-2.parquet",
        ] {
            assert_eq!(File::parse(&root, &Path::from(other)), None, "{other}");
        }
    }

    #[test]
    fn a_file_within_another_counts_no_more() {
        let ranges = [(0, 10), (10, 20), (0, 20), (20, 30), (30, 40), (20, 40), (20, 40), (40, 50)];
        let listed = ranges
            .into_iter()
            .map(|(from, until)| Listed { file: file(Table::Invocations, 0, from, until), about: () });
        let elsewhere = Listed { file: file(Table::Invocations, HOUR_MS, 0, 10), about: () };
        let (count, are_covered) = covered(listed.chain([elsewhere]));
        let ranges = |files: &[Listed<()>]| {
            files.iter().map(|listed| (listed.file.name.from, listed.file.name.until)).collect::<Vec<_>>()
        };
        assert_eq!(ranges(&count), [(0, 20), (20, 40), (40, 50), (0, 10)]);
        assert_eq!(ranges(&are_covered), [(0, 10), (10, 20), (20, 40), (20, 30), (30, 40)]);
    }
}
