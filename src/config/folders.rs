//! The user's folders (XDG Base Directory Specification 0.8).

use std::path::PathBuf;

/// The project's folder for data of the user.
pub fn data() -> Option<PathBuf> {
    base("XDG_DATA_HOME", ".local/share")
}

/// That for what can be made anew.
pub fn cache() -> Option<PathBuf> {
    base("XDG_CACHE_HOME", ".cache")
}

/// That for what is remembered from one run to the next.
pub fn state() -> Option<PathBuf> {
    base("XDG_STATE_HOME", ".local/state")
}

fn base(variable: &str, below_home: &str) -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let base = folder(variable).or_else(|| folder("HOME").map(|home| home.join(below_home)));
    base.map(|base| base.join("pilotlight"))
}
