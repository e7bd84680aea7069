//! Which apps there are, and what each needs in order to be loaded: from the apps file, and from the topic of apps, where
//! `PUT /apps/{app}` of any agent puts them. Those of the file are this agent's own and come first. What a decision says of
//! an app's code is neither executed nor fetched on its word alone: whoever can write events must not thereby be able to run
//! code here, or have nodes ask servers for things.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::ingest::{MAX_NAME_BYTES, MAX_RUNTIME_BYTES, MAX_URI_BYTES};
use crate::model::{Code, DEFAULT_MEMORY_MB};

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
    /// A text that no event could carry.
    #[error("{field} of app '{app}' has {found} bytes: at most {most} are taken")]
    TooLong {
        /// The app.
        app: String,
        /// The field.
        field: &'static str,
        /// Its bytes.
        found: usize,
        /// The most.
        most: usize,
    },
    /// A digest that is none.
    #[error("code.sha256 of app '{app}' is no SHA-256: expected 64 hexadecimal digits")]
    Digest {
        /// The app.
        app: String,
    },
    /// One of the apps file.
    #[error("app '{0}' stands in the apps file of this agent (agent.apps): change it there")]
    InFile(String),
    /// Too many.
    #[error("{MAX_APPS} apps are registered already: no more are taken")]
    Full,
}

/// The apps.
#[derive(Debug, Default)]
pub struct Registry {
    apps: RwLock<BTreeMap<String, Arc<AppSpec>>>,
    /// Names of those that stand in the apps file.
    in_file: BTreeSet<String>,
}

impl Registry {
    /// Reads the apps file: TOML, a table `[name]` an app. No file: no apps yet.
    pub fn load(path: &str) -> Result<Self, Error> {
        let mut registry = Self::default();
        if path.is_empty() {
            return Ok(registry);
        }
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
        let apps: BTreeMap<String, AppSpec> = toml::from_str(&text)
            .map_err(|error| Error::Malformed { path: path.to_owned(), message: error.to_string() })?;
        for (app, spec) in apps {
            registry.put(&app, spec)?;
            registry.in_file.insert(app);
        }
        Ok(registry)
    }

    /// Whether an app can be added or replaced.
    pub fn check(&self, app: &str, spec: &AppSpec) -> Result<(), Error> {
        if self.in_file.contains(app) {
            return Err(Error::InFile(app.to_owned()));
        }
        if app.is_empty() || app.len() > MAX_NAME_BYTES {
            return Err(Error::Name(app.len()));
        }
        if !(1.0..=1e6).contains(&spec.memory_mb) {
            return Err(Error::Memory { app: app.to_owned(), found: spec.memory_mb });
        }
        // What events carry of an app must be within what the pipeline reads.
        let uri_bytes = if spec.code.uri.starts_with("data:") { 0 } else { spec.code.uri.len() };
        for (field, found, most) in [
            ("runtime", spec.runtime.len(), MAX_RUNTIME_BYTES),
            ("code.uri", uri_bytes, MAX_URI_BYTES),
            ("main", spec.main.len(), MAX_NAME_BYTES),
            ("tenant", spec.tenant.as_ref().map_or(0, String::len), MAX_NAME_BYTES),
        ] {
            if found > most {
                return Err(Error::TooLong { app: app.to_owned(), field, found, most });
            }
        }
        if spec.code.sha256.as_ref().is_some_and(|digest| !Code::is_digest(digest)) {
            return Err(Error::Digest { app: app.to_owned() });
        }
        let apps = self.apps.read().unwrap_or_else(PoisonError::into_inner);
        if apps.len() >= MAX_APPS && !apps.contains_key(app) {
            return Err(Error::Full);
        }
        Ok(())
    }

    /// Adds or replaces an app.
    pub fn put(&self, app: &str, spec: AppSpec) -> Result<(), Error> {
        self.check(app, &spec)?;
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        apps.insert(app.to_owned(), Arc::new(spec));
        Ok(())
    }

    /// Whether an app stands in the apps file.
    pub fn is_in_file(&self, app: &str) -> bool {
        self.in_file.contains(app)
    }

    /// Takes an app out, unless it stands in the apps file; says whether it did.
    pub fn remove(&self, app: &str) -> bool {
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        !self.in_file.contains(app) && apps.remove(app).is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_apps_file_comes_first() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[a]\nruntime = 'sh'\ncode.uri = 'data:,file'").unwrap();
        let registry = Registry::load(file.path().to_str().unwrap()).unwrap();
        let spec = AppSpec {
            code: Code { uri: "data:,topic".to_owned(), sha256: None },
            ..(*registry.get("a").unwrap()).clone()
        };
        assert!(matches!(registry.put("a", spec.clone()), Err(Error::InFile(_))) && !registry.remove("a"));
        assert_eq!(registry.get("a").unwrap().code.uri, "data:,file");
        registry.put("b", spec).unwrap();
        assert!(registry.remove("b") && !registry.remove("b") && registry.get("b").is_none());
    }

    #[test]
    fn takes_what_can_be_loaded_and_published() {
        let put = |json: serde_json::Value| {
            let spec: AppSpec = serde_json::from_value(json).unwrap();
            Registry::default().put("a", spec).map_err(|error| error.to_string())
        };
        let long = "x".repeat(5000);
        assert_eq!(put(serde_json::json!({"runtime": "sh", "code": {"uri": format!("data:,{long}")}})), Ok(()));
        for (spec, text) in [
            (
                serde_json::json!({"runtime": "sh", "code": {"uri": format!("file:///{long}")}}),
                "code.uri of app 'a' has",
            ),
            (serde_json::json!({"runtime": long, "code": {"uri": "data:,"}}), "runtime of app 'a' has 5000 bytes"),
            (serde_json::json!({"runtime": "sh", "code": {"uri": "data:,", "sha256": "00"}}), "is no SHA-256"),
            (
                serde_json::json!({"runtime": "sh", "code": {"uri": "data:,"}, "memory_mb": 0}),
                "memory_mb of app 'a' is 0",
            ),
            (serde_json::json!({"runtime": "sh", "code": {"uri": "data:,"}, "tenant": long}), "tenant of app 'a'"),
        ] {
            let error = put(spec).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }
}
