//! What a budget can be set for.

/// What the price is to be solved for. The price is the highest at which idle memory stays within its target, or the
/// lowest at which cold starts do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// Average idle memory of all apps together, MB.
    IdleMemory(f64),
    /// Cold starts as a share of the invocations, 0 to 1.
    ColdRate(f64),
    /// The same of the 75th-percentile app.
    ColdRateP75(f64),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::IdleMemory(mb) => write!(f, "{} GB of idle memory", mb / 1024.0),
            Target::ColdRate(share) => write!(f, "{} % cold starts", share * 100.0),
            Target::ColdRateP75(share) => write!(f, "{} % cold starts of the 75th-percentile app", share * 100.0),
        }
    }
}
