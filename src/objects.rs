//! Object stores, by URL: where checkpoints, history and the code of apps are.

use std::collections::HashMap;
use std::path::PathBuf;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore, RetryConfig};
use url::Url;

/// The store that a URL names, and the folder in it. A folder of this machine is made; nothing is connected to yet.
///
/// # Errors
/// The reason why there is no such store, for people.
pub fn open(url: &str) -> Result<(Box<dyn ObjectStore>, Path), String> {
    let parsed = Url::parse(url).map_err(|error| error.to_string())?;
    if let Some(folder) = local(url) {
        std::fs::create_dir_all(folder).map_err(|error| format!("the folder can't be made: {error}"))?;
    }
    // As the AWS tools have them: AWS_REGION, AWS_ENDPOINT, AWS_ACCESS_KEY_ID, ...
    let variables = std::env::vars().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let variables: HashMap<_, _> = variables.filter(|(name, _)| name.starts_with("aws_")).collect();
    object_store::parse_url_opts(&parsed, variables).map_err(|error| error.to_string())
}

/// A bucket to read from, with what is in the environment as in [`open`]; a request that failed for a moment is made again
/// at most `retries` times. Nothing is connected to yet.
///
/// # Errors
/// The reason why there is no such store, for people.
pub fn bucket(name: &str, retries: usize) -> Result<AmazonS3, String> {
    let retry = RetryConfig { max_retries: retries, ..RetryConfig::default() };
    let builder = AmazonS3Builder::from_env().with_bucket_name(name).with_retry(retry);
    builder.build().map_err(|error| error.to_string())
}

/// The folder of this machine that a URL names, if it does.
pub fn local(url: &str) -> Option<PathBuf> {
    Url::parse(url).ok().filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok())
}
