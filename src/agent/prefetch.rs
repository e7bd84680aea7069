//! Code of apps, fetched ahead of its use into a content-addressed folder.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::model::{Code, sha256_hex};

/// Largest code, bytes.
pub const MAX_CODE_BYTES: u64 = 64 * 1024 * 1024;

/// Why an app's code can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A scheme that this version doesn't fetch.
    #[error("code '{uri}' can't be fetched: expected a file:// or data: URI")]
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
    /// The file can't be read.
    #[error("code '{uri}' can't be read: {source}")]
    Unreadable {
        /// The URI.
        uri: String,
        /// Why not.
        source: io::Error,
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

/// Code by the digest of its bytes: `<folder>/<sha256>`. Blocking: call it on a thread for that.
#[derive(Debug, Clone)]
pub struct CodeCache {
    folder: PathBuf,
}

impl CodeCache {
    /// Opens or makes the folder.
    pub fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The code's bytes, and whether they had to be fetched. Code with a digest is fetched once; a cached file that no
    /// longer has its digest is fetched again. Code without one is read anew each time, since it may have changed.
    pub fn get(&self, code: &Code) -> Result<(Vec<u8>, bool), Error> {
        let Some(expected) = code.sha256.as_deref() else {
            return fetch(&code.uri).map(|bytes| (bytes, true));
        };
        let expected = expected.to_ascii_lowercase();
        let is_digest = Code::is_digest(&expected);
        let path = self.folder.join(if is_digest { expected.as_str() } else { "none" });
        if is_digest
            && let Ok(bytes) = std::fs::read(&path)
            && sha256_hex(&bytes) == expected
        {
            return Ok((bytes, false));
        }
        let bytes = fetch(&code.uri)?;
        let found = sha256_hex(&bytes);
        if found != expected {
            return Err(Error::Digest { uri: shorten(&code.uri), found, expected });
        }
        // A cache that can't be written costs time, nothing else.
        let _ = write_whole(&path, &bytes);
        Ok((bytes, true))
    }
}

fn fetch(uri: &str) -> Result<Vec<u8>, Error> {
    if let Some(path) = uri.strip_prefix("file://") {
        let malformed = |reason| Error::Malformed { uri: shorten(uri), reason };
        let path = String::from_utf8(percent_decode(path).map_err(malformed)?)
            .map_err(|_| malformed("its path is not UTF-8"))?;
        let unreadable = |source| Error::Unreadable { uri: uri.to_owned(), source };
        // A pipe or a device could be read for ever.
        if !std::fs::metadata(&path).map_err(unreadable)?.is_file() {
            return Err(malformed("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(MAX_CODE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_CODE_BYTES {
            return Err(Error::TooLarge { uri: shorten(uri) });
        }
        return Ok(bytes);
    }
    if let Some(rest) = uri.strip_prefix("data:") {
        return data_uri(rest).map_err(|reason| Error::Malformed { uri: shorten(uri), reason });
    }
    Err(Error::Scheme { uri: shorten(uri) })
}

/// The bytes of a `data:` URI after its scheme: RFC 2397.
fn data_uri(rest: &str) -> Result<Vec<u8>, &'static str> {
    let (kind, data) = rest.split_once(',').ok_or("a data: URI needs a comma before its data")?;
    let bytes = percent_decode(data)?;
    if !kind.ends_with(";base64") {
        return Ok(bytes);
    }
    STANDARD.decode(bytes).map_err(|_| "its data is not base64")
}

fn percent_decode(text: &str) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err("a '%' in it is not followed by two hexadecimal digits");
        };
        bytes.push((high * 16 + low) as u8);
    }
    Ok(bytes)
}

fn shorten(uri: &str) -> String {
    let end = uri.char_indices().nth(60).map_or(uri.len(), |(at, _)| at);
    if end < uri.len() { format!("{}…", &uri[..end]) } else { uri.to_owned() }
}

/// Writes a file so that nobody ever sees half of it, making its folder.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unique = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let part = folder.join(format!(".{name}.{}.{unique}", std::process::id()));
    std::fs::write(&part, bytes)?;
    std::fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, CodeCache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(&folder.path().join("code")).unwrap();
        (folder, cache)
    }

    #[test]
    fn code_with_a_digest_is_fetched_once_and_healed() {
        let (folder, cache) = cache();
        let file = folder.path().join("f.py");
        std::fs::write(&file, "one").unwrap();
        let digest = sha256_hex(b"one");
        let code = Code { uri: format!("file://{}", file.display()), sha256: Some(digest.to_uppercase()) };
        assert_eq!(cache.get(&code).unwrap(), (b"one".to_vec(), true));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(cache.get(&code).unwrap(), (b"one".to_vec(), false));
        std::fs::write(folder.path().join("code").join(&digest), "damaged").unwrap();
        std::fs::write(&file, "one").unwrap();
        assert_eq!(cache.get(&code).unwrap(), (b"one".to_vec(), true));
        std::fs::write(&file, "two").unwrap();
        let other = Code { sha256: Some(sha256_hex(b"three")), ..code };
        assert!(matches!(cache.get(&other), Err(Error::Digest { .. })));
    }

    #[test]
    fn code_without_a_digest_follows_its_file() {
        let (folder, cache) = cache();
        let file = folder.path().join("f.py");
        let code = Code { uri: format!("file://{}", file.display()), sha256: None };
        assert!(matches!(cache.get(&code), Err(Error::Unreadable { .. })));
        for text in ["one", "two"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(cache.get(&code).unwrap().0, text.as_bytes());
        }
    }

    #[test]
    fn data_uris() {
        let (_folder, cache) = cache();
        let get = |uri: &str| cache.get(&Code { uri: uri.to_owned(), sha256: None }).map(|(bytes, _)| bytes);
        assert_eq!(get("data:,a%20b").unwrap(), b"a b");
        assert_eq!(get("data:text/x-sh;base64,aGk=").unwrap(), b"hi");
        for bad in
            ["file:///dev/zero", "file:///", "data:base64", "data:,%2", "data:;base64,!", "ftp://x", "../../etc/passwd"]
        {
            assert!(get(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_digest_that_is_a_path_reads_no_file() {
        let (_folder, cache) = cache();
        let code = Code { uri: "data:,x".to_owned(), sha256: Some("../../../etc/passwd".to_owned()) };
        assert!(matches!(cache.get(&code), Err(Error::Digest { .. })));
    }
}
