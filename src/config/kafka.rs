//! `[kafka]`: options of librdkafka, passed through.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::Deserializer;

/// Options of librdkafka by name. In TOML they can be written as they are (`security.protocol = "SASL_SSL"`), which
/// makes nested tables of them; these are joined again.
#[derive(Clone, Default)]
pub struct Kafka(pub BTreeMap<String, String>);

impl Kafka {
    /// One option.
    pub fn get(&self, option: &str) -> Option<&str> {
        self.0.get(option).map(String::as_str)
    }

    /// `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> &str {
        self.get("bootstrap.servers").unwrap_or_default()
    }

    /// The options as they can be shown: without secrets.
    pub fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(option, value)| {
            let secret = ["password", "secret", "key.pem", "oauthbearer.config", "jaas"];
            let hide = secret.iter().any(|word| option.contains(word));
            (option.as_str(), if hide { "(hidden)" } else { value.as_str() })
        })
    }
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
        Ok(Self(options))
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
    }
}
