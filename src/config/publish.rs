//! `[publish]`

use serde::Deserialize;

use super::{Error, Millis, ensure};

/// When decisions are published, and for how long they hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// How far the edge of a window may move unpublished, percent of the window's end.
    pub tolerance: f64,
    /// For how long a decision holds.
    pub valid_for: Millis,
    /// After how long a silence an app is forgotten.
    pub forget_after: Millis,
    /// First part of every version.
    pub epoch: u64,
}

impl Publish {
    pub(super) fn check(&self) -> Result<(), Error> {
        ensure((0.0..=100.0).contains(&self.tolerance), "publish.tolerance", self.tolerance, "0 to 100 percent")?;
        ensure(self.valid_for.0 > 0, "publish.valid_for", "0", "a duration above 0")?;
        ensure(self.forget_after.0 > 0, "publish.forget_after", "0", "a duration above 0")
    }
}
