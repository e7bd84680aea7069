//! What can be compared on a trace: the policies, a baseline that no pipeline runs, and bounds that none can reach.

use crate::config::PolicySettings;
use crate::policy::{self, Planner, Policy, SpecError, parse_memory_mb, parse_price_mb_s};

/// A contender in a simulation.
#[derive(Debug, Clone, PartialEq)]
pub enum Contender {
    /// A policy, as the pipeline runs it.
    Policy(Policy),
    /// Keeps everything loaded until memory is short, and then lets go of what is least worth it (FaasCache).
    GreedyDual {
        /// Memory of all apps together, MB.
        memory_mb: f64,
    },
    /// Knows the future.
    Oracle {
        /// Worth of one avoided cold start, MB·s.
        price_mb_s: f64,
        /// What it does with that knowledge.
        kind: OracleKind,
    },
}

/// What an oracle may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OracleKind {
    /// Keeps an app alive after an execution, or not, knowing when the next one comes; it loads nothing ahead of time.
    KeepAlive,
    /// Keeps each app to one window throughout, the best in hindsight.
    Window,
}

/// The names that a contender can have.
pub const NAMES: [&str; 6] = ["fixed", "hybrid", "frontier", "greedy-dual", "oracle", "oracle-window"];

impl Contender {
    /// Who plans for it, if it is a policy.
    pub(super) fn planner(&self) -> Option<Planner> {
        match self {
            Contender::Policy(policy) => Some(Planner::new(policy.clone())),
            Contender::GreedyDual { .. } | Contender::Oracle { .. } => None,
        }
    }

    /// Reads `frontier:price=50GBs`, `greedy-dual:memory=64GB`, `oracle:price=50GBs` and the like; what a policy's text
    /// leaves open is as configured.
    pub fn read(text: &str, configured: &PolicySettings) -> Result<Self, SpecError> {
        let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
        let only = |policy: &'static str, known: &'static [&'static str; 1], default: &'static str| {
            let mut value = default;
            for parameter in parameters.split(',').map(str::trim).filter(|parameter| !parameter.is_empty()) {
                let (key, given) = parameter.split_once('=').unwrap_or((known[0], parameter));
                if key != known[0] {
                    return Err(SpecError::UnknownParameter { policy, found: key.to_owned(), known });
                }
                value = given;
            }
            Ok(value)
        };
        let oracle = |name, kind| {
            let price_mb_s = parse_price_mb_s(name, "price", only(name, &["price"], "100GBs")?)?;
            Ok(Contender::Oracle { price_mb_s, kind })
        };
        match name.trim() {
            "greedy-dual" => {
                let memory = only("greedy-dual", &["memory"], "64GB")?;
                Ok(Contender::GreedyDual { memory_mb: parse_memory_mb("greedy-dual", "memory", memory)? })
            }
            "oracle" => oracle("oracle", OracleKind::KeepAlive),
            "oracle-window" => oracle("oracle-window", OracleKind::Window),
            known if policy::NAMES.contains(&known) => configured.read(text).map(Contender::Policy),
            other => Err(SpecError::UnknownPolicy { found: other.to_owned(), known: &NAMES }),
        }
    }
}
