//! A URI → the bytes behind it, within limits of size and time. What a URI may carry of secrets is never shown.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Request, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{Stream, StreamExt};
use hyper::body::Bytes;
use object_store::aws::AmazonS3;
use object_store::client::{HttpClient, HttpConnector, HttpRequestBody, ReqwestConnector};
use object_store::path::Path;
use object_store::{ClientOptions, HeaderValue, ObjectStoreExt};
use tokio::sync::OnceCell;
use url::Url;

use super::{Error, MAX_CODE_BYTES};

/// Before a request that failed for a moment is made again, each time.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];
/// Buckets whose connections and credentials are kept.
const MAX_BUCKETS: usize = 64;
/// What is shown of a URI at most, characters.
const SHOWN: usize = 300;

/// Where code comes from.
#[derive(Debug)]
pub(super) struct Sources {
    /// For `https://`, which no redirect leads out of, and for `http://`.
    secure: OnceCell<HttpClient>,
    plain: OnceCell<HttpClient>,
    buckets: Mutex<HashMap<String, Arc<AmazonS3>>>,
    limit: Duration,
}

/// A request that failed; `passing` if it may go well a moment later.
struct Failed {
    error: Error,
    passing: bool,
}

impl Sources {
    /// Connects to nothing yet. `limit`: of one fetch, from its beginning to its last byte.
    pub fn new(limit: Duration) -> Self {
        Self { secure: OnceCell::new(), plain: OnceCell::new(), buckets: Mutex::default(), limit }
    }

    /// The bytes behind a URI.
    pub async fn fetch(&self, uri: &str) -> Result<Bytes, Error> {
        let slow = |_| Err(Error::Slow { uri: shown(uri), limit: self.limit });
        tokio::time::timeout(self.limit, self.fetch_patiently(uri)).await.unwrap_or_else(slow)
    }

    async fn fetch_patiently(&self, uri: &str) -> Result<Bytes, Error> {
        if let Some(path) = uri.strip_prefix("file://") {
            let (path, uri) = (path.to_owned(), uri.to_owned());
            let read = tokio::task::spawn_blocking(move || read_file(&path, &uri)).await;
            return read.unwrap_or_else(|error| Err(unreadable("file://", &error)));
        }
        if let Some(rest) = uri.strip_prefix("data:") {
            return inline(rest).map_err(|reason| Error::Malformed { uri: shown(uri), reason });
        }
        let malformed = |reason| Error::Malformed { uri: shown(uri), reason };
        let mut url = Url::parse(uri).map_err(|_| malformed("it is no URL"))?;
        url.set_fragment(None);
        if !url.username().is_empty() || url.password().is_some() {
            return Err(malformed("a user or password in it is not supported"));
        }
        match (url.scheme(), url.host_str()) {
            ("http" | "https", Some(_)) => self.over_http(&url).await,
            ("s3", Some(_)) if url.query().is_some() => Err(malformed("s3:// takes no query")),
            ("s3", Some(bucket)) => self.over_s3(bucket, &url).await,
            _ => Err(Error::Scheme { uri: shown(uri) }),
        }
    }

    async fn over_http(&self, url: &Url) -> Result<Bytes, Error> {
        for pause in PAUSES {
            match self.request(url).await {
                Err(Failed { passing: true, .. }) => tokio::time::sleep(pause).await,
                result => return result.map_err(|failed| failed.error),
            }
        }
        self.request(url).await.map_err(|failed| failed.error)
    }

    async fn request(&self, url: &Url) -> Result<Bytes, Failed> {
        let uri = url.as_str();
        let ends = |error| Failed { error, passing: false };
        let passes =
            |error: &(dyn std::error::Error + 'static)| Failed { error: unreadable(uri, error), passing: true };
        let request = Request::get(uri).body(HttpRequestBody::empty());
        let request = request.map_err(|error| ends(unreadable(uri, &error)))?;
        let client = self.client(url.scheme() == "https").await.map_err(|error| ends(unreadable(uri, &error)))?;
        let response = client.execute(request).await.map_err(|error| passes(&error))?;
        let status = response.status();
        if status != StatusCode::OK {
            let busy = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
            let error = Error::Refused { uri: shown(uri), status: status.as_u16() };
            return Err(Failed { error, passing: busy || status.is_server_error() });
        }
        let length =
            response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        collect(response.into_body().bytes_stream(), length, uri, passes).await
    }

    async fn client(&self, secure: bool) -> Result<&HttpClient, object_store::Error> {
        let cell = if secure { &self.secure } else { &self.plain };
        let agent = HeaderValue::from_static(concat!("pilotlight/", env!("CARGO_PKG_VERSION")));
        let options = ClientOptions::new().with_user_agent(agent).with_timeout(self.limit).with_allow_http(!secure);
        cell.get_or_try_init(async || ReqwestConnector::default().connect(&options)).await
    }

    async fn over_s3(&self, bucket: &str, url: &Url) -> Result<Bytes, Error> {
        let uri = url.as_str();
        let store = self.bucket(bucket).map_err(|reason| Error::Unreadable { uri: shown(uri), reason })?;
        let path = Path::from_url_path(url.path()).map_err(|error| unreadable(uri, &error))?;
        let object = store.get(&path).await.map_err(|error| no_object(uri, &error))?;
        let length = Some(object.meta.size);
        collect(object.into_stream(), length, uri, |error| Failed { error: unreadable(uri, error), passing: false })
            .await
            .map_err(|failed| failed.error)
    }

    fn bucket(&self, name: &str) -> Result<Arc<AmazonS3>, String> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get(name) {
            return Ok(Arc::clone(bucket));
        }
        if buckets.len() >= MAX_BUCKETS {
            buckets.clear();
        }
        let bucket = Arc::new(crate::objects::bucket(name, PAUSES.len())?);
        buckets.insert(name.to_owned(), Arc::clone(&bucket));
        Ok(bucket)
    }
}

/// All of a stream, unless it is too long.
async fn collect<E: std::error::Error + 'static>(
    stream: impl Stream<Item = Result<Bytes, E>>,
    length: Option<u64>,
    uri: &str,
    broken: impl Fn(&(dyn std::error::Error + 'static)) -> Failed,
) -> Result<Bytes, Failed> {
    let too_large = || Failed { error: Error::TooLarge { uri: shown(uri) }, passing: false };
    if length.is_some_and(|length| length > MAX_CODE_BYTES) {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(length.unwrap_or(0) as usize);
    let mut stream = std::pin::pin!(stream);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| broken(&error))?;
        if (bytes.len() + chunk.len()) as u64 > MAX_CODE_BYTES {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

fn read_file(path: &str, uri: &str) -> Result<Bytes, Error> {
    let malformed = |reason| Error::Malformed { uri: shown(uri), reason };
    let path =
        String::from_utf8(percent_decode(path).map_err(malformed)?).map_err(|_| malformed("its path is not UTF-8"))?;
    let failed = |error: std::io::Error| unreadable(uri, &error);
    // A pipe or a device could be read for ever.
    if !std::fs::metadata(&path).map_err(failed)?.is_file() {
        return Err(malformed("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_CODE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_CODE_BYTES {
        return Err(Error::TooLarge { uri: shown(uri) });
    }
    Ok(bytes.into())
}

/// The bytes of a `data:` URI after its scheme: RFC 2397.
fn inline(rest: &str) -> Result<Bytes, &'static str> {
    let (kind, data) = rest.split_once(',').ok_or("a data: URI needs a comma before its data")?;
    let bytes = percent_decode(data)?;
    if !kind.ends_with(";base64") {
        return Ok(bytes.into());
    }
    STANDARD.decode(bytes).map(Bytes::from).map_err(|_| "its data is not base64")
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

/// A URI for people: without a query, which may be a signature, and without a user and password.
pub(super) fn shown(uri: &str) -> String {
    if uri.starts_with("data:") {
        return shorten(uri, 60);
    }
    if uri.starts_with("file://") {
        return shorten(uri, SHOWN);
    }
    let (text, _) = uri.split_at(uri.find(['?', '#']).unwrap_or(uri.len()));
    let Some((scheme, rest)) = text.split_once("://") else { return shorten(text, SHOWN) };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    shorten(&format!("{scheme}://{host}{path}"), SHOWN)
}

fn shorten(text: &str, most: usize) -> String {
    let end = text.char_indices().nth(most).map_or(text.len(), |(at, _)| at);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}

/// The innermost cause, as the outer ones name the URL with all that it carries.
fn unreadable(uri: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    Error::Unreadable { uri: shown(uri), reason: plain(innermost) }
}

/// Why a bucket has not given an object.
fn no_object(uri: &str, error: &object_store::Error) -> Error {
    use object_store::Error as Store;
    match error {
        Store::NotFound { .. } => Error::Refused { uri: shown(uri), status: 404 },
        Store::PermissionDenied { .. } => Error::Refused { uri: shown(uri), status: 403 },
        Store::Unauthenticated { .. } => Error::Refused { uri: shown(uri), status: 401 },
        other => unreadable(uri, other),
    }
}

/// The words of an error without the page that a server sent along with it.
fn plain(text: impl Display) -> String {
    let text = text.to_string();
    let words = text.split(['<', '\n']).next().unwrap_or_default().trim_end_matches([' ', ':']);
    shorten(words, 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn inline_code_and_what_is_none() {
        let sources = Sources::new(Duration::from_secs(10));
        assert_eq!(sources.fetch("data:,a%20b").await.unwrap(), "a b");
        assert_eq!(sources.fetch("data:text/x-sh;base64,aGk=").await.unwrap(), "hi");
        for (bad, why) in [
            ("file:///dev/zero", "not a regular file"),
            ("file:///", "not a regular file"),
            ("file:///none/such", "No such file"),
            ("data:base64", "a comma"),
            ("data:,%2", "hexadecimal"),
            ("data:;base64,!", "not base64"),
            ("ftp://x", "expected a file://, data:, http://, https:// or s3:// URI"),
            ("../../etc/passwd", "no URL"),
            ("https://me:secret@host/code?secret", "a user or password"),
            ("s3://bucket/key?secret", "no query"),
            ("s3:///secret?", "expected a file://"),
        ] {
            let error = sources.fetch(bad).await.unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
            assert!(!error.replace("s3:///secret", "").contains("secret"), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for (uri, text) in [
            ("https://u:p@host:8/a/b?X-Amz-Signature=1#f", "https://host:8/a/b"),
            ("https://host?token", "https://host"),
            ("file:///srv/what?.py", "file:///srv/what?.py"),
        ] {
            assert_eq!(shown(uri), text);
        }
    }
}
