//! A server that speaks S3 (moto) for a test: its own process, its own port on 127.0.0.1, all in memory.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::program::free_port;
use super::wait_for;

/// A running server with one empty bucket. Ends when dropped.
pub struct S3 {
    /// A shell that reads from this process, and ends the server when there is nothing more to read: so the server never
    /// outlives this process, however that ends.
    shell: Child,
    port: u16,
}

/// The bucket.
pub const BUCKET: &str = "pilotlight-test";

impl S3 {
    /// Starts a server. `None`, after one line that says why, where it is missing and may not be installed; with
    /// `PILOTLIGHT_TEST_NOTHING_SKIPPED` set that is a panic.
    pub fn start() -> Option<Self> {
        let fetch = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3/fetch");
        let fetched = Command::new(&fetch).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&fetched.stderr);
        match fetched.status.code() {
            Some(0) => {}
            Some(3) => {
                let missing = said.lines().last().unwrap_or("an S3 server is missing");
                let strict = std::env::var_os("PILOTLIGHT_TEST_NOTHING_SKIPPED").is_some();
                assert!(!strict, "nothing may be skipped here, but no S3 server can be started: {missing}");
                eprintln!("skipped: no S3 server can be started here: {missing}");
                return None;
            }
            _ => panic!("tests/s3/fetch failed ({}):\n{said}", fetched.status),
        }
        let port = free_port();
        let shell = Command::new("sh")
            .args(["-c", "python3 -m moto.server -H 127.0.0.1 -p \"$0\" </dev/null & read -r _; kill -KILL $!"])
            .arg(port.to_string())
            .env("PYTHONPATH", String::from_utf8_lossy(&fetched.stdout).trim())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { shell, port };
        let bucket = format!("{}/{BUCKET}", server.url());
        wait_for("an S3 server", Duration::from_secs(120), || ureq::put(&bucket).send_empty().ok());
        Some(server)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What clients need in their environment.
    pub fn variables(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT", self.url()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ]
    }

    /// Makes an object, or replaces it.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        ureq::put(format!("{}/{BUCKET}/{name}", self.url())).send(bytes).unwrap();
    }

    /// The names of all objects, in their order.
    pub fn objects(&self) -> Vec<String> {
        let list = ureq::get(format!("{}/{BUCKET}?list-type=2", self.url())).call().unwrap();
        let xml = list.into_body().read_to_string().unwrap();
        xml.split("<Key>").skip(1).filter_map(|key| Some(key.split_once("</Key>")?.0.to_owned())).collect()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
