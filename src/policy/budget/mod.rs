//! budget: nobody knows what a cold start is worth, but people know what they can spend, or what they can bear.
//!
//! A [`Curve`] says what the apps of a shard are expected to cost at each of a fixed range of prices. Curves of shards
//! add up. [`solve`] finds the price at which the sum meets a [`Target`]. All of it is pure: whoever has the same curves
//! finds the same price, so no one has to lead.

mod curve;
mod fleet;
mod schedule;
mod solve;
mod survey;
mod target;
#[cfg(test)]
mod tests;

pub use curve::{App, Curve, OtherPrices, PRICES, Point};
pub use fleet::{Fleet, ShardCurve};
pub use schedule::Schedule;
pub use solve::{Solution, solve};
pub use survey::{MOST_APPS, Surveyed};
pub(super) use survey::{Past, survey};
pub use target::Target;
