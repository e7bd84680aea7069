//! Where checkpoints are: an object store, by URL. A checkpoint is put atomically: it is there as a whole or not at all.

use std::fmt;
use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Runtime;

use crate::bus::Position;
use crate::config::Checkpoint;
use crate::objects;

/// Checkpoints of a partition that are kept.
const KEPT: usize = 3;
/// A file that is still without its name after so long has no writer any more.
const ABANDONED: Duration = Duration::from_secs(600);
/// For how long the store may take over one thing.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store that can't be used, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No store.
    #[error(
        "setting 'checkpoint.url' is '{url}': {reason}; expected a URL such as file:///var/lib/pilotlight or s3://bucket/folder"
    )]
    Url {
        /// The URL.
        url: String,
        /// Why not.
        reason: String,
    },
    /// It failed.
    #[error("the checkpoint store at {url} can't {what}: {reason}; check checkpoint.url")]
    Failed {
        /// Its URL.
        url: String,
        /// What it was asked for.
        what: &'static str,
        /// What it says.
        reason: String,
    },
}

/// Which checkpoint of a partition. A later one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// First part of the versions of the partition's decisions.
    pub epoch: u64,
    /// Offset of the first event that is not in it.
    pub offset: i64,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:020}.arrow", self.epoch, self.offset)
    }
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        let (epoch, offset) = text.strip_suffix(".arrow")?.split_once('-')?;
        Some(Self { epoch: epoch.parse().ok()?, offset: offset.parse().ok()? })
    }
}

/// The checkpoints of one consumer group: `<group>/<topic>/<partition>/<epoch>-<offset>.arrow`.
pub struct Store {
    store: Box<dyn ObjectStore>,
    folder: Path,
    group: String,
    url: String,
    runtime: Runtime,
}

impl Store {
    /// Opens the store of `settings` for `group`. Makes no connection yet.
    pub fn open(settings: &Checkpoint, group: &str) -> Result<Self, Error> {
        let url = settings.url();
        let wrong = |reason: String| Error::Url { url: url.clone(), reason };
        let (store, root) = objects::open(&url).map_err(wrong)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("checkpoint-store")
            .enable_all()
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self { store, folder: root.join(group), group: group.to_owned(), url, runtime })
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The checkpoints of a partition, the latest first.
    pub fn list(&self, position: &Position) -> Result<Vec<Name>, Error> {
        let folder = self.folder(position);
        let list = self.wait("list checkpoints", self.store.list_with_delimiter(Some(&folder)))?;
        let mut names: Vec<_> =
            list.objects.iter().filter_map(|object| Name::parse(object.location.filename()?)).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }

    /// The bytes of one.
    pub fn get(&self, position: &Position, name: Name) -> Result<Vec<u8>, Error> {
        let place = self.place(position, name);
        let bytes = self.wait("read a checkpoint", async { self.store.get(&place).await?.bytes().await })?;
        Ok(bytes.into())
    }

    /// Stores one, and deletes those of the partition that are not needed any more. On a local disk it is not forced
    /// out of the system's cache: one that a power failure cuts off is noticed by its checksum.
    pub fn put(&self, position: &Position, name: Name, bytes: Vec<u8>) -> Result<(), Error> {
        let place = self.place(position, name);
        self.wait("write a checkpoint", self.store.put(&place, bytes.into()))?;
        self.tidy(position);
        for old in self.list(position)?.into_iter().skip(KEPT) {
            let place = self.place(position, old);
            self.wait("delete an old checkpoint", self.store.delete(&place))?;
        }
        Ok(())
    }

    /// Removes what writers that were killed have left behind in a local folder: files that never got their name.
    fn tidy(&self, position: &Position) {
        let Some(root) = objects::local(&self.url) else { return };
        let folder = root.join(&self.group).join(&position.topic).join(position.partition.to_string());
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let unnamed = entry.file_name().to_string_lossy().contains(".arrow#");
            let written = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            if unnamed && written.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > ABANDONED) {
                // Whoever else removes it is as welcome.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    fn folder(&self, position: &Position) -> Path {
        self.folder.clone().join(position.topic.as_str()).join(position.partition.to_string())
    }

    fn place(&self, position: &Position, name: Name) -> Path {
        self.folder(position).join(name.to_string())
    }

    fn wait<T>(
        &self,
        what: &'static str,
        asked: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<T, Error> {
        let answer = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await });
        let reason = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        Err(Error::Failed { url: self.url.clone(), what, reason })
    }
}
