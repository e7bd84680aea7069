//! Where history is: an object store, by URL.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use url::{Position, Url};

use crate::objects;

use super::layout::{File, Listed};
use super::tables::Table;

/// For how long the store may take over one thing.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store that can't be used, or did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No store.
    #[error(
        "setting 'history.url' is '{url}': {reason}; expected a URL such as file:///var/lib/history or s3://bucket/folder"
    )]
    Url {
        /// The URL.
        url: String,
        /// Why not.
        reason: String,
    },
    /// It failed.
    #[error("the history at {url} can't {what}: {reason}; check history.url")]
    Failed {
        /// Its URL.
        url: String,
        /// What it was asked for.
        what: &'static str,
        /// What it says.
        reason: String,
    },
}

/// What a store says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Bytes.
    pub size: u64,
    /// When it was written, epoch ms.
    pub written_ms: i64,
}

impl About {
    /// The object at a path of which this is known.
    pub fn object(self, location: Path) -> ObjectMeta {
        let last_modified = chrono::DateTime::from_timestamp_millis(self.written_ms).unwrap_or_default();
        ObjectMeta { location, last_modified, size: self.size, e_tag: None, version: None }
    }
}

/// The files of a history. Cheap to clone; a clone is used on one runtime only.
#[derive(Debug, Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    root: Path,
    origin: String,
    url: String,
}

impl Store {
    /// Opens the one at `url`. Makes no connection yet.
    pub fn open(url: &str) -> Result<Self, Error> {
        let not_one = |reason| Error::Url { url: url.to_owned(), reason };
        let (objects, root) = objects::open(url).map_err(not_one)?;
        let parsed = Url::parse(url).map_err(|error| not_one(error.to_string()))?;
        let origin = parsed[..Position::BeforePath].to_owned();
        Ok(Self { objects: objects.into(), root, origin, url: url.to_owned() })
    }

    /// What knows the objects.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.objects)
    }

    /// The folder that all files are under.
    pub const fn root(&self) -> &Path {
        &self.root
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its URL without the folder, under which engines know its objects: `s3://bucket`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// All files of a table, in any order.
    pub async fn list(&self, table: Table) -> Result<Vec<Listed<About>>, Error> {
        let folder = self.root.clone().join(table.name());
        let objects: Vec<_> =
            self.within_patience("list its files", self.objects.list(Some(&folder)).try_collect()).await?;
        let listed = objects.into_iter().filter_map(|object: ObjectMeta| {
            let about = About { size: object.size, written_ms: object.last_modified.timestamp_millis() };
            Some(Listed { file: File::parse(&self.root, &object.location)?, about })
        });
        Ok(listed.collect())
    }

    /// Stores a file as a whole, in place of one of its name.
    pub async fn put(&self, file: &File, bytes: Vec<u8>) -> Result<(), Error> {
        let path = file.path(&self.root);
        self.within_patience("write a file", self.objects.put(&path, bytes.into())).await?;
        Ok(())
    }

    /// Deletes a file. That it is gone already is as good.
    pub async fn delete(&self, file: &File) -> Result<(), Error> {
        let path = file.path(&self.root);
        let deleted = async {
            match self.objects.delete(&path).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                deleted => deleted,
            }
        };
        self.within_patience("delete a file", deleted).await
    }

    async fn within_patience<T>(
        &self,
        what: &'static str,
        asked: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<T, Error> {
        let reason = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        Err(Error::Failed { url: self.url.clone(), what, reason })
    }
}
