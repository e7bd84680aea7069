//! Published traces, read from the folders that people download.

mod azure2019;
mod azure2021;

use std::path::Path;

use crate::model::Invocation;

use super::{Arrival, Function};

/// Why a folder can't be read as a trace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder can't be read.
    #[error("trace '{path}' can't be read: {source}")]
    Unreadable {
        /// The file or folder.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Nothing in the folder is known.
    #[error(
        "'{path}' holds no trace: expected invocations_per_function_md.anon.dNN.csv (Azure Functions 2019) or \
         AzureFunctionsInvocationTrace*.txt (Azure Functions 2021)"
    )]
    Unknown {
        /// The folder.
        path: String,
    },
    /// A file is not as its name says.
    #[error("'{path}' is no such trace: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// Where in its minute an invocation lies that is only known as one of k.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The i-th at `(i + 0.5) / k`.
    Even,
    /// Anywhere, each place as likely.
    Uniform {
        /// The same seed gives the same places.
        seed: u64,
    },
}

/// A trace.
#[derive(Debug)]
pub struct Trace {
    functions: Vec<Function>,
    invocations: u64,
    end_ms: i64,
    skipped: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Counts(azure2019::Counts),
    Single(Vec<Arrival>),
}

/// Reads the trace in a folder.
pub fn open(folder: &Path) -> Result<Trace, Error> {
    let path = folder.display().to_string();
    let unreadable = |source| Error::Unreadable { path: path.clone(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        files.push(entry.map_err(unreadable)?.path());
    }
    files.sort();
    let named = |prefix: &str| -> Vec<_> {
        let starts = |file: &&std::path::PathBuf| {
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        };
        files.iter().filter(starts).cloned().collect()
    };
    let per_minute = named("invocations_per_function_md");
    if !per_minute.is_empty() {
        let durations = named("function_durations_percentiles");
        return azure2019::read(&per_minute, &durations, &named("app_memory_percentiles"));
    }
    match named("AzureFunctionsInvocationTrace").first() {
        Some(file) => azure2021::read(file),
        None => Err(Error::Unknown { path }),
    }
}

impl Trace {
    /// All arrivals in the order of their starts; `placement` is for those of which only the minute is known.
    pub fn arrivals(&self, placement: Placement) -> Box<dyn Iterator<Item = Arrival> + Send + '_> {
        match &self.source {
            Source::Counts(counts) => Box::new(counts.arrivals(placement)),
            Source::Single(arrivals) => Box::new(arrivals.iter().cloned()),
        }
    }

    /// The functions; an [`Arrival`] names one by its index.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// How many invocations there are.
    pub fn invocations(&self) -> u64 {
        self.invocations
    }

    /// The end of the trace, ms since its beginning.
    pub fn end_ms(&self) -> i64 {
        self.end_ms
    }

    /// Rows that could not be read.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The invocation of an arrival, as if it had started at `started_at_ms`.
    pub fn invocation(&self, arrival: &Arrival, started_at_ms: i64) -> Invocation<'_> {
        let function = &self.functions[arrival.function as usize];
        Invocation {
            trigger: function.trigger,
            memory_mb: function.memory_mb,
            ..Invocation::new(&function.app, &function.name, started_at_ms, arrival.duration_ms)
        }
    }
}

/// A CSV reader that forgives rows of another length; `header` gives the place of each wanted column.
fn csv(path: &Path) -> Result<csv::Reader<std::fs::File>, Error> {
    let unreadable = |source| Error::Unreadable { path: path.display().to_string(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    Ok(csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(file))
}

fn columns<const N: usize>(
    path: &Path,
    reader: &mut csv::Reader<std::fs::File>,
    wanted: [&str; N],
) -> Result<[usize; N], Error> {
    let malformed = |reason: String| Error::Malformed { path: path.display().to_string(), reason };
    let header = reader.headers().map_err(|error| malformed(error.to_string()))?;
    let mut places = [0; N];
    for (place, name) in places.iter_mut().zip(wanted) {
        *place = header
            .iter()
            .position(|column| column == name)
            .ok_or_else(|| malformed(format!("its first row names no column '{name}'")))?;
    }
    Ok(places)
}
