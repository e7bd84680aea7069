//! Which apps there are, and what each needs in order to be loaded: from the apps file, from `PUT /apps/{app}`, or from
//! a decision. Kept in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::ingest::MAX_NAME_BYTES;
use crate::model::{Code, DEFAULT_MEMORY_MB, Decision};

/// Apps at most.
const MAX_APPS: usize = 1_000_000;

/// What loading an app needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppSpec {
    /// Runtime kind, one of `[agent.runtimes]`.
    pub runtime: String,
    /// Where the code is.
    pub code: Code,
    /// Memory, MB.
    #[serde(default = "default_memory_mb")]
    pub memory_mb: f64,
    /// Function to call where the code has none of the invoked name.
    #[serde(default = "default_main")]
    pub main: String,
    /// Who it belongs to; goes into events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Known from its decisions only, and replaced by what later ones say.
    #[serde(skip)]
    pub learned: bool,
}

fn default_memory_mb() -> f64 {
    DEFAULT_MEMORY_MB
}

fn default_main() -> String {
    "main".to_owned()
}

/// Why an app can't be registered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("apps file '{path}' can't be read: {source}; check agent.apps")]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not as expected.
    #[error("apps file '{path}' is not as expected: {message}")]
    Malformed {
        /// The file.
        path: String,
        /// Where and why.
        message: String,
    },
    /// A name that can't be.
    #[error("app name has {0} bytes: expected 1 to 512")]
    Name(usize),
    /// Memory that can't be.
    #[error("memory_mb of app '{app}' is {found}: expected a number from 1 to 1,000,000")]
    Memory {
        /// The app.
        app: String,
        /// MB.
        found: f64,
    },
    /// Too many.
    #[error("{MAX_APPS} apps are registered already: no more are taken")]
    Full,
}

/// The apps.
#[derive(Debug, Default)]
pub struct Registry {
    apps: RwLock<BTreeMap<String, Arc<AppSpec>>>,
}

impl Registry {
    /// Reads the apps file: TOML, a table `[name]` an app. No file: no apps yet.
    pub fn load(path: &str) -> Result<Self, Error> {
        let registry = Self::default();
        if path.is_empty() {
            return Ok(registry);
        }
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
        let apps: BTreeMap<String, AppSpec> = toml::from_str(&text)
            .map_err(|error| Error::Malformed { path: path.to_owned(), message: error.to_string() })?;
        for (app, spec) in apps {
            registry.put(&app, spec)?;
        }
        Ok(registry)
    }

    /// Adds or replaces an app.
    pub fn put(&self, app: &str, spec: AppSpec) -> Result<(), Error> {
        if app.is_empty() || app.len() > MAX_NAME_BYTES {
            return Err(Error::Name(app.len()));
        }
        if !(1.0..=1e6).contains(&spec.memory_mb) {
            return Err(Error::Memory { app: app.to_owned(), found: spec.memory_mb });
        }
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        if apps.len() >= MAX_APPS && !apps.contains_key(app) {
            return Err(Error::Full);
        }
        apps.insert(app.to_owned(), Arc::new(spec));
        Ok(())
    }

    /// An app that was registered by nobody can still be known from its decisions.
    pub fn learn(&self, decision: &Decision) {
        let (Some(runtime), Some(code)) = (&decision.runtime, &decision.code) else { return };
        let spec = AppSpec {
            runtime: runtime.clone(),
            code: code.clone(),
            memory_mb: decision.memory_mb.unwrap_or(DEFAULT_MEMORY_MB),
            main: default_main(),
            tenant: None,
            learned: true,
        };
        if self.get(&decision.app).is_some_and(|known| !known.learned || *known == spec) {
            return;
        }
        // One that can't be registered can't be loaded ahead of time: the decision is kept all the same.
        let _ = self.put(&decision.app, spec);
    }

    /// What an app needs.
    pub fn get(&self, app: &str) -> Option<Arc<AppSpec>> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner).get(app).cloned()
    }

    /// All apps, by name.
    pub fn all(&self) -> BTreeMap<String, Arc<AppSpec>> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
