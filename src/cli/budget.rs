//! `--budget-memory`, `--max-cold-rate` and `--max-cold-rate-p75`: plain ways to say `frontier:…`.

use clap::Args;

/// What to solve frontier's price for.
#[derive(Debug, Clone, Args)]
pub(super) struct Budget {
    /// frontier, at the price at which all apps together use so much idle memory on average, such as 64GB
    #[arg(long, value_name = "MEMORY", help_heading = "Budget")]
    budget_memory: Option<String>,
    /// frontier, at the price at which so many of the invocations start cold, such as 2%
    #[arg(long, value_name = "PERCENT", help_heading = "Budget")]
    max_cold_rate: Option<String>,
    /// The same of the 75th-percentile app, every app counting alike, such as 10%
    #[arg(long, value_name = "PERCENT", help_heading = "Budget")]
    max_cold_rate_p75: Option<String>,
}

impl Budget {
    /// The policies asked for, in the order of the options.
    pub fn policies(&self) -> impl Iterator<Item = String> + use<> {
        let said = |prefix: &str, value: &Option<String>, suffix: &str| {
            value.as_ref().map(|value| format!("frontier:{prefix}={value}{suffix}"))
        };
        [
            said("budget", &self.budget_memory, ""),
            said("cold_rate", &self.max_cold_rate, ""),
            said("cold_rate_p75", &self.max_cold_rate_p75, ",weight=app"),
        ]
        .into_iter()
        .flatten()
    }

    /// The policy that decides, where only one can.
    pub fn policy(&self, policy: Option<&str>) -> anyhow::Result<Option<String>> {
        let all: Vec<_> = policy.map(str::to_owned).into_iter().chain(self.policies()).collect();
        match <[String; 1]>::try_from(all) {
            Ok([policy]) => Ok(Some(policy)),
            Err(all) if all.is_empty() => Ok(None),
            Err(all) => {
                let text = format!(
                    "these are {} policies: {}; expected one of --policy, --budget-memory, --max-cold-rate and \
                     --max-cold-rate-p75",
                    all.len(),
                    all.join(", ")
                );
                Err(super::Usage(text).into())
            }
        }
    }
}
