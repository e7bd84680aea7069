//! Code on disk, by the digest of its bytes: `<folder>/<sha256>`, no more than fits, the least worth keeping evicted first.
//!
//! Keeping a file is worth the fetching that it saves for the room that it takes: uses × time to fetch / size, in greedy-dual
//! order ([`Ranking`]). A file's modification time is its last use: files that were there before are ranked by it, below
//! all that has been used since. Several agents may share a folder: files are written whole under another name and renamed,
//! a file that vanishes is fetched again, and those of others are found whenever the folder is listed. Whoever needs
//! code gets its bytes, so nothing can be evicted from under it. Blocking: call what reads and writes on a thread for that.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::agent::warm_set::ranking::{Ranking, Worth};
use crate::model::{Code, sha256_hex};

use super::MAX_CODE_BYTES;

/// The folder is listed again after so long, when something is written.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// A file that was not finished for so long never will be.
const UNFINISHED: Duration = Duration::from_secs(3600);
/// What fetching a file took that others fetched, ms.
const ASSUMED_MS: f64 = 100.0;

/// The files. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Cache(Arc<Shelf>);

#[derive(Debug)]
struct Shelf {
    folder: PathBuf,
    limit_bytes: u64,
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    files: HashMap<Arc<str>, File>,
    ranking: Ranking,
    bytes: u64,
    evicted: u64,
    damaged: u64,
    listed: Instant,
}

#[derive(Debug)]
struct File {
    bytes: u64,
    cost_ms: f64,
    uses: f64,
    worth: Worth,
}

/// What the books say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub files: usize,
    pub bytes: u64,
    pub limit_bytes: u64,
    pub evicted: u64,
    pub damaged: u64,
}

impl Cache {
    /// Opens or makes the folder, to hold `limit_bytes` at most.
    pub fn open(folder: &Path, limit_bytes: u64) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let books = Books {
            files: HashMap::new(),
            ranking: Ranking::default(),
            bytes: 0,
            evicted: 0,
            damaged: 0,
            listed: Instant::now(),
        };
        let cache = Self(Arc::new(Shelf { folder: folder.to_owned(), limit_bytes, books: Mutex::new(books) }));
        cache.list()?;
        cache.remove(cache.books().make_room(0, limit_bytes));
        Ok(cache)
    }

    /// Whether the file is there, of its size. Its bytes are looked at when they are read.
    pub fn holds(&self, digest: &str) -> bool {
        let Some(bytes) = self.books().files.get(digest).map(|file| file.bytes) else { return false };
        let is_there = self.0.folder.join(digest).metadata().is_ok_and(|found| found.len() == bytes);
        if !is_there {
            self.books().forget(digest);
        }
        is_there
    }

    /// Whether something more fits without evicting anything: a tenth of the limit is free.
    pub fn has_room(&self) -> bool {
        let bytes = self.books().bytes;
        bytes.saturating_add(self.0.limit_bytes / 10) <= self.0.limit_bytes
    }

    /// The file's bytes, if it is there and has its digest; one that hasn't is removed.
    pub fn read(&self, digest: &str) -> Option<Vec<u8>> {
        let Some(bytes) = self.read_unchecked(digest) else {
            self.books().forget(digest);
            return None;
        };
        if sha256_hex(&bytes) != digest {
            let mut books = self.books();
            books.forget(digest);
            books.damaged += 1;
            drop(books);
            self.remove([Arc::from(digest)]);
            return None;
        }
        let size = bytes.len() as u64;
        self.books().used(digest, size);
        Some(bytes)
    }

    /// It will be needed soon: as good as used.
    pub fn touch(&self, digest: &str) {
        let size = self.books().files.get(digest).map(|file| file.bytes);
        if let Some(size) = size {
            self.books().used(digest, size);
        }
    }

    /// Keeps bytes that took `cost_ms` to fetch, if they fit; what is worth least goes for them if `may_evict`.
    pub fn put(&self, digest: &str, bytes: &[u8], cost_ms: f64, may_evict: bool) -> io::Result<()> {
        if !Code::is_digest(digest) {
            return Ok(());
        }
        if self.books().listed.elapsed() > LIST_EVERY {
            self.list()?;
        }
        let size = bytes.len() as u64;
        let evicted = {
            let mut books = self.books();
            let fits = books.bytes.saturating_add(size) <= self.0.limit_bytes;
            if size > self.0.limit_bytes || !(fits || may_evict) {
                return Ok(());
            }
            books.forget(digest);
            let evicted = books.make_room(size, self.0.limit_bytes);
            books.add(digest, size, cost_ms);
            evicted
        };
        self.remove(evicted);
        let written = write_whole(&self.0.folder.join(digest), bytes);
        if written.is_err() {
            self.books().forget(digest);
        }
        written
    }

    /// What the books say.
    pub fn counts(&self) -> Counts {
        let books = self.books();
        Counts {
            files: books.files.len(),
            bytes: books.bytes,
            limit_bytes: self.0.limit_bytes,
            evicted: books.evicted,
            damaged: books.damaged,
        }
    }

    /// Brings the books to what is in the folder.
    fn list(&self) -> io::Result<()> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.0.folder)? {
            // Another agent may remove it meanwhile.
            let Ok(entry) = entry else { continue };
            let Ok(about) = entry.metadata() else { continue };
            let modified = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') && modified.elapsed().is_ok_and(|age| age > UNFINISHED) {
                let _ = std::fs::remove_file(entry.path());
            }
            if about.is_file() && Code::is_digest(&name) {
                found.push((modified, name, about.len()));
            }
        }
        // The one used longest ago first.
        found.sort_unstable();
        let mut books = self.books();
        books.listed = Instant::now();
        let listed: std::collections::HashSet<&str> = found.iter().map(|(_, name, _)| name.as_str()).collect();
        let gone =
            books.files.keys().filter(|name| !listed.contains(&***name) && !self.0.folder.join(&***name).exists());
        for name in gone.cloned().collect::<Vec<_>>() {
            books.forget(&name);
        }
        for (place, (_, name, bytes)) in found.iter().enumerate() {
            if !books.files.contains_key(name.as_str()) {
                // In the order of their last uses, below all that is used from now on.
                let worth = books.ranking.worth_of(place as f64 * 1e-9);
                books.insert(name, File { bytes: *bytes, cost_ms: ASSUMED_MS, uses: 0.0, worth });
            }
        }
        Ok(())
    }

    fn read_unchecked(&self, digest: &str) -> Option<Vec<u8>> {
        if !Code::is_digest(digest) {
            return None;
        }
        let file = std::fs::File::open(self.0.folder.join(digest)).ok()?;
        let _ = file.set_modified(SystemTime::now());
        let mut bytes = Vec::new();
        file.take(MAX_CODE_BYTES + 1).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    fn remove(&self, digests: impl IntoIterator<Item = Arc<str>>) {
        for digest in digests {
            let _ = std::fs::remove_file(self.0.folder.join(&*digest));
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn add(&mut self, digest: &str, bytes: u64, cost_ms: f64) {
        let worth = self.worth(1.0, cost_ms, bytes);
        self.insert(digest, File { bytes, cost_ms, uses: 1.0, worth });
    }

    fn insert(&mut self, digest: &str, file: File) {
        let digest: Arc<str> = Arc::from(digest);
        self.bytes += file.bytes;
        self.ranking.rank(&digest, None, Some(file.worth));
        self.files.insert(digest, file);
    }

    fn used(&mut self, digest: &str, bytes: u64) {
        let known = self.forget(digest);
        let (cost_ms, uses) = known.map_or((ASSUMED_MS, 1.0), |file| (file.cost_ms, file.uses + 1.0));
        let worth = self.worth(uses, cost_ms, bytes);
        self.insert(digest, File { bytes, cost_ms, uses, worth });
    }

    fn forget(&mut self, digest: &str) -> Option<File> {
        let (digest, file) = self.files.remove_entry(digest)?;
        self.bytes -= file.bytes;
        self.ranking.rank(&digest, Some(file.worth), None);
        Some(file)
    }

    /// What has to go so that `bytes` more stay within the limit.
    fn make_room(&mut self, bytes: u64, limit_bytes: u64) -> Vec<Arc<str>> {
        let mut evicted = Vec::new();
        while self.bytes.saturating_add(bytes) > limit_bytes
            && let Some(digest) = self.ranking.least(None)
            && let Some(file) = self.forget(&digest)
        {
            self.ranking.evicted(file.worth);
            self.evicted += 1;
            evicted.push(digest);
        }
        evicted
    }

    fn worth(&self, uses: f64, cost_ms: f64, bytes: u64) -> Worth {
        // A file takes a block at least.
        self.ranking.worth_of(uses * cost_ms.max(1.0) / bytes.max(4096) as f64)
    }
}

/// Writes a file so that nobody ever sees half of it, making its folder.
pub(in crate::agent) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unique = rand::random::<u64>();
    let part = folder.join(format!(".{name}.{}.{unique}", std::process::id()));
    let written = std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight files of this size fit.
    const SIZE: usize = 10_000;
    const LIMIT: u64 = 8 * SIZE as u64;

    fn open(folder: &tempfile::TempDir) -> Cache {
        Cache::open(folder.path(), LIMIT).unwrap()
    }

    fn code(name: u8, size: usize) -> (String, Vec<u8>) {
        let bytes = vec![name; size];
        (sha256_hex(&bytes), bytes)
    }

    fn put(cache: &Cache, name: u8, size: usize, cost_ms: f64) -> String {
        let (digest, bytes) = code(name, size);
        cache.put(&digest, &bytes, cost_ms, true).unwrap();
        digest
    }

    fn on_disk(folder: &tempfile::TempDir) -> u64 {
        let files = std::fs::read_dir(folder.path()).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }

    #[test]
    fn stays_within_its_limit_and_evicts_in_greedy_dual_order() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(&folder);
        let used = put(&cache, 1, SIZE, 10.0);
        let dear = put(&cache, 2, SIZE, 1_000.0);
        let large = put(&cache, 3, 2 * SIZE, 10.0);
        let small = put(&cache, 4, SIZE / 2, 10.0);
        (0..5).for_each(|_| drop(cache.read(&used).unwrap()));
        // Cheap ones push out the large one, which is worth least for its size, and then each other.
        let cheap: Vec<String> = (10..15).map(|name| put(&cache, name, SIZE, 6.0)).collect();
        assert!(on_disk(&folder) <= LIMIT && cache.counts().bytes == on_disk(&folder));
        let kept = |digest: &String| cache.holds(digest) && cache.read(digest).is_some();
        assert!(!kept(&large) && kept(&used) && kept(&dear) && kept(&small));
        assert!(cheap.iter().all(kept), "{:?}", cache.counts());
        // What is not used grows old, however dear it was.
        for round in 0..300_u32 {
            let bytes = [SIZE, SIZE - 1].map(|size| vec![20 + (round % 100) as u8; size]).concat();
            cache.put(&sha256_hex(&bytes), &bytes, 100.0, true).unwrap();
        }
        assert!(!cache.holds(&dear) && on_disk(&folder) <= LIMIT);
        // More than the limit is no file of it; what may evict nothing is kept only where there is room.
        let (evicted, files) = (cache.counts().evicted, cache.counts().files);
        put(&cache, 5, LIMIT as usize + 1, 1.0);
        let (digest, bytes) = code(6, 4 * SIZE);
        cache.put(&digest, &bytes, 1.0, false).unwrap();
        assert_eq!((cache.counts().evicted, cache.counts().files), (evicted, files));
        assert!(!cache.has_room());
    }

    #[test]
    fn a_damaged_file_is_a_miss_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(&folder);
        let digest = put(&cache, 1, SIZE, 1.0);
        for damage in [&b"damaged"[..], &[], &[1; SIZE + 1]] {
            std::fs::write(folder.path().join(&digest), damage).unwrap();
            assert!(cache.read(&digest).is_none() && !cache.holds(&digest));
            assert!(!folder.path().join(&digest).exists());
            put(&cache, 1, SIZE, 1.0);
            assert_eq!(cache.read(&digest).unwrap(), vec![1; SIZE]);
        }
        assert_eq!((cache.counts().damaged, cache.counts().bytes), (3, SIZE as u64));
        assert!(cache.read("../../../etc/passwd").is_none());
    }

    #[test]
    fn what_was_there_before_goes_first_the_longest_unused_before_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(&folder);
        let digests: Vec<String> = (0..8).map(|name| put(&cache, name, SIZE, 1_000.0)).collect();
        drop(cache);
        std::fs::write(folder.path().join("README"), "not ours").unwrap();
        // Used in another order than written.
        for (age, digest) in digests.iter().rev().enumerate() {
            let file = std::fs::File::open(folder.path().join(digest)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(1_000 - age as u64)).unwrap();
        }
        let cache = open(&folder);
        assert_eq!(cache.counts().files, 8);
        cache.read(&digests[7]).unwrap();
        put(&cache, 20, 2 * SIZE, 1.0);
        let kept: Vec<usize> = (0..8).filter(|name| cache.holds(&digests[*name])).collect();
        assert_eq!(kept, [0, 1, 2, 3, 4, 7]);
        // A smaller limit holds from the start.
        drop(cache);
        let small = Cache::open(folder.path(), 3 * SIZE as u64).unwrap();
        assert!(small.counts().bytes <= 3 * SIZE as u64 && folder.path().join("README").exists());
    }

    #[test]
    fn two_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (open(&folder), open(&folder));
        let digests: Vec<String> = (0..6).map(|name| put(&one, name, SIZE, 10.0)).collect();
        // Found without having been listed, and counted once listed.
        assert!(other.read(&digests[0]).is_some());
        put(&other, 10, SIZE, 10.0);
        other.list().unwrap();
        assert_eq!(other.counts().bytes, on_disk(&folder));
        for name in 11..20 {
            put(&other, name, SIZE, 10.0);
        }
        assert!(on_disk(&folder) <= LIMIT);
        // What the other evicted is a miss, and nothing is counted that is not there.
        let gone = digests.iter().find(|digest| !other.holds(digest)).unwrap();
        assert!(!one.holds(gone) && one.read(gone).is_none());
        one.list().unwrap();
        assert_eq!(one.counts().bytes, on_disk(&folder));
        // Both write and read the same and others at once.
        std::thread::scope(|scope| {
            for cache in [&one, &other, &one, &other] {
                scope.spawn(move || {
                    for round in 0..200_u8 {
                        let (digest, bytes) = code(round % 12, SIZE);
                        if let Some(found) = cache.read(&digest) {
                            assert_eq!(found, bytes);
                        }
                        cache.put(&digest, &bytes, 10.0, true).unwrap();
                    }
                });
            }
        });
        assert!(one.counts().damaged + other.counts().damaged == 0);
        one.list().unwrap();
        assert_eq!(one.counts().bytes, on_disk(&folder), "no unfinished file is left");
    }
}
