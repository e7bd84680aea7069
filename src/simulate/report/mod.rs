//! A workload as a page for people: the figures of "Serverless in the Wild" for it, beside the published ones, and what
//! policies would have cost. Pure, figures in and HTML out, but for [`questions`], which asks in SQL.

mod figures;
mod page;
mod policies;
pub mod questions;
#[cfg(test)]
mod tests;

use super::Outcome;
use super::characterize::published::Subject;
use super::characterize::{Characterization, Comparison};

pub use page::render;
use questions::Answered;

/// All that the page shows.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The page's heading.
    pub title: &'a str,
    /// Where the workload comes from.
    pub source: &'a str,
    /// The workload.
    pub workload: &'a Characterization,
    /// Beside the published figures.
    pub comparisons: &'a [Comparison],
    /// What policies would have cost on it; may be empty.
    pub outcomes: &'a [Outcome],
    /// What the files of `sql/` answer on it; may be empty.
    pub answers: &'a [Answered],
}

/// How many figures of a subject are alike, and how many can be compared.
pub fn alike(comparisons: &[Comparison], subject: Option<Subject>) -> (usize, usize) {
    let of_subject = comparisons.iter().filter(|row| subject.is_none_or(|subject| subject == row.subject));
    of_subject
        .filter_map(|row| row.is_alike)
        .fold((0, 0), |(alike, all), is_alike| (alike + usize::from(is_alike), all + 1))
}
