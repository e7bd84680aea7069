//! `[policy]`

use serde::Deserialize;

use crate::policy::{FRONTIER_PRICES, Policy, SpecError, parse};

/// Which policy decides, and the parameters of each.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySettings {
    /// Name, with parameters where they differ from those below: `hybrid:range=2h`.
    pub name: String,
    /// Memory of an app that never told its own, MB.
    pub default_memory_mb: f64,
    /// Parameters of `fixed`.
    pub fixed: toml::Table,
    /// Parameters of `hybrid`.
    pub hybrid: toml::Table,
    /// Parameters of `frontier`.
    pub frontier: toml::Table,
    /// How many times as fast as its own clock the workload runs.
    #[serde(skip, default = "real_time")]
    pub speed: f64,
}

fn real_time() -> f64 {
    1.0
}

impl PolicySettings {
    /// The policy in force.
    pub fn build(&self) -> Result<Policy, SpecError> {
        self.read(&self.name)
    }

    /// The policy that `text` describes; what it leaves open is as configured.
    pub fn read(&self, text: &str) -> Result<Policy, SpecError> {
        parse(&self.spec(text)).map(|policy| policy.sped_up(self.speed))
    }

    /// The policy in force in words, with all that is configured of it.
    pub fn in_words(&self) -> String {
        format!("{} at {}×", self.spec(&self.name), self.speed)
    }

    fn spec(&self, text: &str) -> String {
        let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
        let configured = match name.trim() {
            "fixed" => &self.fixed,
            "hybrid" => &self.hybrid,
            "frontier" => &self.frontier,
            _ => &toml::Table::new(),
        };
        let mut spec = format!("{name}:");
        let price = |key: &str| FRONTIER_PRICES.contains(&key);
        let named = |parameter: &str| price(parameter.split('=').next().unwrap_or_default().trim());
        let text_has_price = parameters.split(',').any(named);
        let is_set = |value: &toml::Value| value.as_str() != Some("");
        let has_target = configured.iter().any(|(key, value)| key != "price" && price(key) && is_set(value));
        for (key, value) in configured.iter().filter(|(_, value)| is_set(value)) {
            // The nearest way to settle the price counts; a configured price is always there, if only by default.
            if price(key) && (text_has_price || key == "price" && has_target) {
                continue;
            }
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            spec.push_str(&format!("{key}={value},"));
        }
        spec + parameters
    }
}
