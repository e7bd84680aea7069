//! The bundled runtime shims, written to a folder so that interpreters can run them.

use std::io;
use std::path::{Path, PathBuf};

const SHIMS: [(&str, &str); 3] = [
    ("sh/shim.sh", include_str!("../../runtimes/sh/shim.sh")),
    ("python3/shim.py", include_str!("../../runtimes/python3/shim.py")),
    ("nodejs/shim.js", include_str!("../../runtimes/nodejs/shim.js")),
];

/// Writes the shims under `folder` and returns where. The place depends on their contents, so that two versions of the
/// agent don't get into each other's way.
pub(super) fn write(folder: &Path) -> io::Result<PathBuf> {
    let contents: Vec<&[u8]> = SHIMS.iter().map(|(_, text)| text.as_bytes()).collect();
    let shims = folder.join("shims").join(&crate::model::sha256_hex(&contents.concat())[..16]);
    for (name, text) in SHIMS {
        let path = shims.join(name);
        if std::fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
            continue;
        }
        super::prefetch::write_whole(&path, text.as_bytes())?;
    }
    Ok(shims)
}
