//! `[kafka]`: options of librdkafka, passed through. What is secret can stand in a file of its own and is never shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::Deserializer;

use super::Error;

/// The token of `sasl.mechanism = "OAUTHBEARER"`: the one option here that is not librdkafka's, which wants a callback.
pub const TOKEN: &str = "sasl.oauthbearer.token";

/// `OPTION.file` names the file that holds the value of `OPTION`.
const IN_FILE: &str = ".file";

const HIDDEN: &str = "(hidden)";

/// Options of librdkafka by name. In TOML they can be written as they are (`security.protocol = "SASL_SSL"`), which
/// makes nested tables of them; these are joined again.
#[derive(Clone, Default)]
pub struct Kafka {
    options: BTreeMap<String, String>,
    /// Options whose value stands in a file.
    files: BTreeMap<String, PathBuf>,
}

impl Kafka {
    /// Nothing but where the brokers are.
    pub fn at(bootstrap_servers: String) -> Self {
        let options = BTreeMap::from([("bootstrap.servers".to_owned(), bootstrap_servers)]);
        Self { options, files: BTreeMap::new() }
    }

    /// One option.
    pub fn get(&self, option: &str) -> Option<&str> {
        self.options.get(option).map(String::as_str)
    }

    /// `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> &str {
        self.get("bootstrap.servers").unwrap_or_default()
    }

    /// `sasl.mechanism`, by either of its names.
    pub fn mechanism(&self) -> &str {
        self.get("sasl.mechanism").or(self.get("sasl.mechanisms")).unwrap_or_default()
    }

    /// The options that are librdkafka's, with their secrets: for clients only.
    pub fn for_librdkafka(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options
            .iter()
            .filter(|(option, _)| *option != TOKEN)
            .map(|(option, value)| (option.as_str(), value.as_str()))
    }

    /// The file that holds the value of `option`, if one does.
    pub fn file(&self, option: &str) -> Option<&Path> {
        self.files.get(option).map(PathBuf::as_path)
    }

    /// The options as they can be shown: without secrets.
    pub fn shown(&self) -> impl Iterator<Item = (&str, String)> {
        self.options.iter().map(|(option, value)| {
            let shown = match self.files.get(option) {
                Some(path) => format!("(hidden, from {})", path.display()),
                None if is_secret(option) => HIDDEN.to_owned(),
                None => value.clone(),
            };
            (option.as_str(), shown)
        })
    }

    /// `text` of librdkafka or a broker without the secrets that it may repeat.
    pub fn without_secrets(&self, text: &str) -> String {
        let secrets = self.options.iter().filter(|(option, _)| is_secret(option) || self.files.contains_key(*option));
        let secrets = secrets.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty());
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
    }

    /// Reads the values that stand in files; without the line's end that editors leave at the end of a file.
    pub(super) fn read_files(&mut self) -> Result<(), Error> {
        for (option, path) in &self.files {
            let value = read_secret(path).map_err(|reason| Error::BadValue {
                key: format!("kafka.{option}{IN_FILE}"),
                found: format!("'{}'", path.display()),
                expected: format!("a file that holds the value of 'kafka.{option}', but it {reason}"),
            })?;
            self.options.insert(option.clone(), value);
        }
        Ok(())
    }
}

/// The content of a file without the line's end at its end, or what is wrong with the file, to follow "it".
pub fn read_secret(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("can't be read: {error}"))?;
    let value = text.trim_end_matches(['\r', '\n']);
    if value.is_empty() { Err("is empty".to_owned()) } else { Ok(value.to_owned()) }
}

/// Whether the value of an option must not be seen.
pub fn is_secret(option: &str) -> bool {
    let words = ["password", "passphrase", "secret", "key.pem", "oauthbearer.config", "oauthbearer.extensions", "jaas"];
    option.ends_with(TOKEN) || words.iter().any(|word| option.contains(word))
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

impl<'de> Deserialize<'de> for Kafka {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = toml::Table::deserialize(deserializer)?;
        let mut options = BTreeMap::new();
        flatten("", table, &mut options);
        let mut files = BTreeMap::new();
        options.retain(|name, value| match name.strip_suffix(IN_FILE) {
            // These few are librdkafka's.
            Some(option) if !option.starts_with("sasl.oauthbearer.assertion") => {
                files.insert(option.to_owned(), PathBuf::from(&*value));
                false
            }
            _ => true,
        });
        Ok(Self { options, files })
    }
}

fn flatten(prefix: &str, table: toml::Table, options: &mut BTreeMap<String, String>) {
    for (name, value) in table {
        let option = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&option, inner, options),
            toml::Value::String(text) => drop(options.insert(option, text)),
            other => drop(options.insert(option, other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_keep_their_names_and_secrets_stay_hidden() {
        let kafka: Kafka = toml::from_str(
            "bootstrap.servers = 'k:9092'\nlinger.ms = 5\n'sasl.password' = 'hush'\nsasl.mechanism = 'PLAIN'",
        )
        .unwrap();
        assert_eq!(kafka.get("linger.ms"), Some("5"));
        assert_eq!(kafka.get("sasl.password"), Some("hush"));
        assert_eq!(kafka.bootstrap_servers(), "k:9092");
        assert!(!format!("{kafka:?}").contains("hush"));
        assert_eq!(kafka.without_secrets("user x with hush refused"), "user x with (hidden) refused");
    }

    #[test]
    fn values_are_read_from_files() {
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "hush hush\n").unwrap();
        let path = secret.path().display();
        let text = format!("sasl.password = {{ file = '{path}' }}\nsasl.username.file = '{path}'");
        let mut kafka: Kafka = toml::from_str(&text).unwrap();
        kafka.read_files().unwrap();
        assert_eq!(kafka.get("sasl.password"), Some("hush hush"));
        assert_eq!(kafka.get("sasl.username"), Some("hush hush"));
        assert_eq!(kafka.for_librdkafka().count(), 2);
        assert_eq!(kafka.shown().last(), Some(("sasl.username", format!("(hidden, from {path})"))));

        std::fs::write(secret.path(), "\n").unwrap();
        let error = kafka.read_files().unwrap_err().to_string();
        assert!(error.starts_with("setting 'kafka.sasl.password.file' is '"), "{error}");
        assert!(error.ends_with("expected a file that holds the value of 'kafka.sasl.password', but it is empty"));
    }
}
