//! Which files make up a trace.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use csv::ByteRecord;

use super::blocks::Blocks;
use super::records::{columns, split};
use super::skipped::quote;
use super::{Error, azure2021};

const INVOCATIONS: &str = "invocations_per_function_md";
const DURATIONS: &str = "function_durations_percentiles";
const MEMORY: &str = "app_memory_percentiles";
const SINGLE: &str = "AzureFunctionsInvocationTrace";

/// The last day that a file's name may tell.
const LAST_DAY: u32 = 999;

/// The files of a trace.
#[derive(Debug)]
pub(super) enum Files {
    Azure2019(Days),
    Azure2021(PathBuf),
}

/// Files by day, in the order of days.
#[derive(Debug, Default)]
pub(super) struct Days {
    pub invocations: Vec<(u32, PathBuf)>,
    pub durations: Vec<(u32, PathBuf)>,
    pub memory: Vec<(u32, PathBuf)>,
}

impl Files {
    /// Of a folder, or of a single file with invocations. Beside one of the 2019 layout, durations and memory of the
    /// same day are used.
    pub fn find(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Unreadable { path: path.display().to_string(), source };
        if std::fs::metadata(path).map_err(unreadable)?.is_dir() {
            let names = names(path).map_err(unreadable)?;
            let days = Days::of(path, &names);
            if !days.invocations.is_empty() {
                return Ok(Files::Azure2019(days));
            }
            return match named(&names, SINGLE, &[".txt", ".csv"]).first() {
                Some(name) => Ok(Files::Azure2021(path.join(name))),
                None => Err(Error::Unknown { path: path.display().to_string(), found: in_short(&names) }),
            };
        }
        let blocks = Blocks::open(path)?;
        let mut header = ByteRecord::new();
        split(blocks.header(), &mut header);
        if columns(&header, azure2021::COLUMNS).is_ok() {
            return Ok(Files::Azure2021(path.to_owned()));
        }
        if columns(&header, ["HashApp", "HashFunction"]).is_err() {
            let reason = format!("it begins with {}", quote(blocks.header()));
            return Err(Error::Malformed { path: path.display().to_string(), reason });
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut beside = match day(&file_name(path)) {
            Some(_) => Days::of(
                folder,
                &names(if folder == Path::new("") { Path::new(".") } else { folder }).unwrap_or_default(),
            ),
            None => Days::default(),
        };
        let wanted = day(&file_name(path)).unwrap_or(1);
        beside.durations.retain(|(day, _)| *day == wanted);
        beside.memory.retain(|(day, _)| *day == wanted);
        Ok(Files::Azure2019(Days { invocations: vec![(wanted, path.to_owned())], ..beside }))
    }

    /// Size of all files, bytes.
    pub fn size(&self) -> u64 {
        let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
        match self {
            Files::Azure2021(path) => size(path),
            Files::Azure2019(days) => [&days.invocations, &days.durations, &days.memory]
                .into_iter()
                .flatten()
                .map(|(_, path)| size(path))
                .sum(),
        }
    }
}

impl Days {
    fn of(folder: &Path, names: &BTreeSet<String>) -> Self {
        let by_day = |prefix: &str| {
            let mut files: Vec<_> = named(names, prefix, &[".csv"])
                .into_iter()
                .map(|name| (day(name).unwrap_or(1), folder.join(name)))
                .collect();
            files.sort();
            files
        };
        Self { invocations: by_day(INVOCATIONS), durations: by_day(DURATIONS), memory: by_day(MEMORY) }
    }
}

/// The files of a folder by name.
fn names(folder: &Path) -> std::io::Result<BTreeSet<String>> {
    std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// Files of a kind, packed or not; not packed where there are both.
fn named<'a>(names: &'a BTreeSet<String>, prefix: &str, suffixes: &[&str]) -> Vec<&'a str> {
    names
        .iter()
        .map(String::as_str)
        .filter(|name| {
            let (unpacked, is_packed) = name.strip_suffix(".gz").map_or((*name, false), |unpacked| (unpacked, true));
            name.starts_with(prefix)
                && suffixes.iter().any(|suffix| unpacked.ends_with(suffix))
                && !(is_packed && names.contains(unpacked))
        })
        .collect()
}

/// The day in a file's name: `….dNN.csv`.
fn day(name: &str) -> Option<u32> {
    name.split('.').find_map(|part| part.strip_prefix('d')?.parse().ok()).filter(|day| *day <= LAST_DAY)
}

/// The file's name without its folder.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn in_short(names: &BTreeSet<String>) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| quote(name.as_bytes())).collect();
    match names.len() {
        0 => "nothing".to_owned(),
        number if number > SHOWN => format!("{} and {} more", shown.join(", "), number - SHOWN),
        _ => shown.join(", "),
    }
}
