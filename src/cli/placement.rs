//! Options on where in its minute an invocation is placed of which a trace tells no more.

use clap::{Args, ValueEnum};

use crate::simulate::traces::Placement;

/// The options.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Placing {
    /// Where in its minute to place an invocation of which only the minute is known
    #[arg(long, value_enum, default_value = "even")]
    placement: Kind,
    /// For --placement uniform
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The i-th of k at (i + 0.5) / k of the minute
    Even,
    /// At random
    Uniform,
}

impl Placing {
    /// What they say.
    pub(super) fn placement(self) -> Placement {
        match self.placement {
            Kind::Even => Placement::Even,
            Kind::Uniform => Placement::Uniform { seed: self.seed },
        }
    }
}
