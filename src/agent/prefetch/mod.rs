//! Code of apps, brought near before it is needed.
//!
//! [`fetch`] turns a URI into bytes, [`cache`] keeps bytes on disk by their digest, [`queue`] says what to fetch ahead, and
//! when. A start whose code is in the cache waits for nothing else; one that needs the code fetches it itself, or joins the
//! fetch that is under way. Code without a digest is read anew each time, since it may have changed.

mod cache;
mod fetch;
mod queue;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tracing::{debug, info, warn};

use crate::config;
use crate::model::{Code, sha256_hex};
use crate::telemetry::CodeMetrics;

use cache::Cache;
use fetch::{Sources, shown};
use queue::{Next, Queue};

pub(super) use cache::write_whole;
pub use queue::{Failing, Need};

/// Largest code, bytes.
pub const MAX_CODE_BYTES: u64 = 64 * 1024 * 1024;

/// The queue is looked at again after so long, whatever happens.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Why an app's code can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A scheme that this version doesn't fetch.
    #[error("code '{uri}' can't be fetched: expected a file://, data:, http://, https:// or s3:// URI")]
    Scheme {
        /// The URI.
        uri: String,
    },
    /// The URI's own text is broken.
    #[error("code '{uri}' can't be read: {reason}")]
    Malformed {
        /// The beginning of the URI.
        uri: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The file or the server can't be read.
    #[error("code '{uri}' can't be read: {reason}")]
    Unreadable {
        /// The URI.
        uri: String,
        /// Why not.
        reason: String,
    },
    /// The server doesn't give it.
    #[error(
        "code '{uri}' can't be fetched: its server answers {status}; check the URI, and what it needs to be allowed"
    )]
    Refused {
        /// The URI.
        uri: String,
        /// The HTTP status.
        status: u16,
    },
    /// The server takes too long.
    #[error("code '{uri}' could not be fetched within {} ms (agent.fetch_timeout)", limit.as_millis())]
    Slow {
        /// The URI.
        uri: String,
        /// The limit.
        limit: Duration,
    },
    /// Too large.
    #[error("code '{uri}' has more than {MAX_CODE_BYTES} bytes, the most that is loaded")]
    TooLarge {
        /// The URI.
        uri: String,
    },
    /// Not the code that was meant.
    #[error("code '{uri}' has the sha256 {found}: expected {expected}")]
    Digest {
        /// The URI.
        uri: String,
        /// Of what was fetched.
        found: String,
        /// Of what was meant.
        expected: String,
    },
}

/// The code of a node's apps. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CodeStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cache: Cache,
    sources: Sources,
    queue: Mutex<Queue>,
    wake: Notify,
    /// Fetches that somebody may join; each gives its result once.
    under_way: Mutex<HashMap<Code, watch::Receiver<Fetched>>>,
    /// Ahead of time so many at once, and as many again for starts that wait: neither holds up the other.
    max_fetching: usize,
    for_starts: Semaphore,
    metrics: CodeMetrics,
}

type Fetched = Option<Result<Bytes, Error>>;

/// For whom code is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    /// A start that waits for it.
    Start,
    /// A window that is near.
    Window,
    /// Nobody yet: as far as the cache has room.
    SomeDay,
}

/// The cache and what is fetched, for people.
#[derive(Debug, Clone, serde::Serialize)]
pub struct CacheView {
    /// Files in the cache.
    pub files: usize,
    /// Their size together, MB.
    pub mb: f64,
    /// The most that they may take, MB.
    pub limit_mb: f64,
    /// Starts that found their code in the cache.
    pub hits: u64,
    /// Starts that had to wait for it to be fetched.
    pub misses: u64,
    /// Code fetched, ahead of time and not.
    pub fetched: u64,
    /// Files that made room for others.
    pub evicted: u64,
    /// Files that had lost their digest, and were fetched again.
    pub damaged: u64,
    /// Fetches under way, without secrets of their URIs.
    pub fetching: Vec<String>,
    /// Apps whose code is looked after ahead of time.
    pub waiting: usize,
    /// Apps whose code could not be fetched ahead of time.
    pub failing: BTreeMap<String, Failing>,
}

impl CodeStore {
    /// Opens or makes the cache's folder.
    ///
    /// # Errors
    /// When the folder can't be made or listed.
    pub fn open(folder: &Path, settings: &config::Agent, metrics: CodeMetrics) -> io::Result<Self> {
        let store = Self(Arc::new(Inner {
            cache: Cache::open(folder, u64::from(settings.cache_mb) << 20)?,
            sources: Sources::new(settings.fetch_timeout.duration()),
            queue: Mutex::default(),
            wake: Notify::new(),
            under_way: Mutex::default(),
            max_fetching: settings.max_fetching,
            for_starts: Semaphore::new(settings.max_fetching),
            metrics,
        }));
        store.count();
        Ok(store)
    }

    /// Brings the code near, for a start that calls [`Self::get`] in a moment. So many starts may wait that only of code that
    /// can't be kept the bytes themselves are given.
    pub async fn bring(&self, code: &Code) -> Result<Option<Bytes>, Error> {
        let Some(digest) = cached_as(code) else {
            if code.uri.starts_with("file:") || code.uri.starts_with("data:") {
                return Ok(None);
            }
            let _turn = self.0.for_starts.acquire().await;
            return self.fetch(code).await.map(Some);
        };
        if self.0.cache.holds(&digest) {
            self.0.metrics.hits.inc();
            return Ok(None);
        }
        self.0.metrics.misses.inc();
        let bytes = result_of(self.join(code, &digest, For::Start), code).await?;
        Ok((!self.0.cache.holds(&digest)).then_some(bytes))
    }

    /// The code's bytes. Quick after [`Self::bring`], unless they were evicted or damaged meanwhile.
    pub async fn get(&self, code: &Code) -> Result<Bytes, Error> {
        let Some(digest) = cached_as(code) else { return self.fetch(code).await };
        match self.read(&digest).await {
            Some(bytes) => Ok(bytes),
            None => result_of(self.join(code, &digest, For::Start), code).await,
        }
    }

    /// Fetch the app's code ahead of this need, in place of what was known before.
    pub fn want(&self, app: &str, need: Need) {
        self.queue().want(app, need);
        self.0.wake.notify_one();
    }

    /// The same, if it is sooner than what is known.
    pub fn want_sooner(&self, app: &str, need: Need) {
        self.queue().want_sooner(app, need);
        self.0.wake.notify_one();
    }

    /// Fetches ahead of time what is wanted. `code_of` tells an app's code as it is then. Never ends by itself.
    pub async fn run(&self, now_ms: impl Fn() -> i64, code_of: impl Fn(&str) -> Option<Code>) {
        let mut fetching = JoinSet::new();
        loop {
            let mut next_ms = i64::MAX;
            while fetching.len() < self.0.max_fetching {
                let next = self.queue().next(now_ms(), self.0.cache.has_room());
                let (app, reason) = match next {
                    Next::Due(app) => (app, For::Window),
                    Next::Early(app) => (app, For::SomeDay),
                    Next::Wait(at_ms) => {
                        next_ms = at_ms;
                        break;
                    }
                };
                match code_of(&app).and_then(|code| cached_as(&code).map(|digest| (code, digest))) {
                    None => self.queue().forget(&app),
                    Some((_, digest)) if self.0.cache.holds(&digest) => {
                        if reason == For::Window {
                            self.0.cache.touch(&digest);
                        }
                        self.queue().done(&app);
                    }
                    Some((code, digest)) => {
                        let fetched = self.join(&code, &digest, reason);
                        fetching.spawn(async move { (app, result_of(fetched, &code).await) });
                    }
                }
                // Thousands may be there already.
                tokio::task::yield_now().await;
            }
            let wait_ms = next_ms.saturating_sub(now_ms()).clamp(0, LOOK_AGAIN.as_millis() as i64);
            tokio::select! {
                Some(Ok((app, result))) = fetching.join_next() => self.fetched_ahead(&app, result, now_ms()),
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(Duration::from_millis(wait_ms.unsigned_abs())) => {}
            }
        }
    }

    /// The cache and what is fetched, for people.
    pub fn view(&self) -> CacheView {
        let counts = self.0.cache.counts();
        let to_mb = |bytes: u64| (bytes as f64 / f64::from(1 << 20) * 1000.0).round() / 1000.0;
        let queue = self.queue();
        CacheView {
            files: counts.files,
            mb: to_mb(counts.bytes),
            limit_mb: to_mb(counts.limit_bytes),
            hits: self.0.metrics.hits.get(),
            misses: self.0.metrics.misses.get(),
            fetched: self.0.metrics.fetched.get(),
            evicted: counts.evicted,
            damaged: counts.damaged,
            fetching: self.under_way().keys().map(|code| shown(&code.uri)).collect(),
            waiting: queue.waiting(),
            failing: queue.failing().map(|(app, failing)| (app.to_string(), failing.clone())).collect(),
        }
    }

    fn fetched_ahead(&self, app: &Arc<str>, result: Result<Bytes, Error>, now_ms: i64) {
        match result {
            Ok(_) => {
                self.0.metrics.prefetched.inc();
                self.queue().done(app);
            }
            Err(error) if self.queue().failed(app, error.to_string(), now_ms) => {
                warn!(
                    app = &**app,
                    "not prefetched: {error}; it is tried again, then when the app is decided on or loaded"
                );
            }
            Err(error) => debug!(app = &**app, "not prefetched: {error}"),
        }
    }

    /// The fetch of this code that is under way, or a new one. It goes on to its end even if nobody waits for it.
    fn join(&self, code: &Code, digest: &str, reason: For) -> watch::Receiver<Fetched> {
        let mut under_way = self.under_way();
        // One whose task broke off says nothing any more.
        if let Some(fetched) = under_way.get(code).filter(|fetched| fetched.has_changed().is_ok()) {
            return fetched.clone();
        }
        let (say, fetched) = watch::channel(None);
        under_way.insert(code.clone(), fetched.clone());
        let (store, code, digest) = (self.clone(), code.clone(), digest.to_owned());
        tokio::spawn(async move {
            let result = store.fetch_into_cache(&code, &digest, reason).await;
            // It is in the cache by now, for who comes too late to join.
            store.under_way().remove(&code);
            let _ = say.send(Some(result));
        });
        fetched
    }

    async fn fetch_into_cache(&self, code: &Code, digest: &str, reason: For) -> Result<Bytes, Error> {
        // What was fetched since somebody looked.
        if let Some(bytes) = self.read(digest).await {
            return Ok(bytes);
        }
        let _turn = if reason == For::Start { self.0.for_starts.acquire().await.ok() } else { None };
        let began = Instant::now();
        let bytes = self.fetch(code).await?;
        let cost_ms = began.elapsed().as_secs_f64() * 1000.0;
        let (cache, digest, kept) = (self.0.cache.clone(), digest.to_owned(), bytes.clone());
        let may_evict = reason != For::SomeDay;
        let written = spawn_blocking(move || cache.put(&digest, &kept, cost_ms, may_evict)).await;
        if let Ok(Err(error)) = written {
            // That costs time, nothing else.
            info!("code can't be kept in the cache: {error}; check the disk, and agent.cache");
        }
        self.count();
        Ok(bytes)
    }

    /// What its URI gives, if that has the code's digest.
    async fn fetch(&self, code: &Code) -> Result<Bytes, Error> {
        let fetched = async {
            let bytes = self.0.sources.fetch(&code.uri).await?;
            let Some(expected) = code.sha256.as_ref().map(|digest| digest.to_ascii_lowercase()) else {
                return Ok(bytes);
            };
            let hashed = bytes.clone();
            let found = spawn_blocking(move || sha256_hex(&hashed)).await.unwrap_or_default();
            let uri = || shown(&code.uri);
            if found == expected { Ok(bytes) } else { Err(Error::Digest { uri: uri(), found, expected }) }
        };
        let result = fetched.await;
        let counter = if result.is_ok() { &self.0.metrics.fetched } else { &self.0.metrics.failed };
        counter.inc();
        result
    }

    async fn read(&self, digest: &str) -> Option<Bytes> {
        let (cache, digest) = (self.0.cache.clone(), digest.to_owned());
        let before = self.0.cache.counts().damaged;
        let read = spawn_blocking(move || cache.read(&digest)).await;
        if self.0.cache.counts().damaged > before {
            info!("a file of the code cache was damaged; it is fetched again");
            self.count();
        }
        read.ok().flatten().map(Bytes::from)
    }

    fn count(&self) {
        let counts = self.0.cache.counts();
        self.0.metrics.evicted.inner().store(counts.evicted, std::sync::atomic::Ordering::Relaxed);
        self.0.metrics.damaged.inner().store(counts.damaged, std::sync::atomic::Ordering::Relaxed);
        self.0.metrics.bytes.set(i64::try_from(counts.bytes).unwrap_or(i64::MAX));
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Code, watch::Receiver<Fetched>>> {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of the code in the cache, if it belongs there: what stands in its own URI is never far.
fn cached_as(code: &Code) -> Option<String> {
    let digest = code.sha256.as_ref().filter(|digest| Code::is_digest(digest) && !code.uri.starts_with("data:"))?;
    Some(digest.to_ascii_lowercase())
}

/// Whether everybody may know the URI: it carries neither the code itself nor what may be a secret.
pub fn is_public(uri: &str) -> bool {
    uri.starts_with("file://") || (!uri.starts_with("data:") && !uri.contains(['?', '@']))
}

async fn result_of(mut fetched: watch::Receiver<Fetched>, code: &Code) -> Result<Bytes, Error> {
    let result = fetched.wait_for(Option::is_some).await.ok().and_then(|result| result.clone());
    result.unwrap_or_else(|| Err(Error::Unreadable { uri: shown(&code.uri), reason: "the fetch broke off".to_owned() }))
}

#[cfg(test)]
mod tests;
