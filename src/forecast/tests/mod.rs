//! What a forecast must get right, on series that are made up but seeded.

mod hits;
mod oracle;
pub mod series;
mod sound;
