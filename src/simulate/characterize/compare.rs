//! A workload beside the published figures.

use serde::Serialize;

use super::Characterization;
use super::published::{Published, Subject, TARGETS, Tolerance, Unit};

/// One figure, here and as published.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Where it belongs.
    pub subject: Subject,
    /// What it is.
    pub what: &'static str,
    /// Unit of the values.
    pub unit: Unit,
    /// The workload's value; `None` where it can't be known.
    pub here: Option<f64>,
    /// The published one.
    pub published: Published,
    /// How far above the nearest published value, in the unit; negative below, 0 between two.
    pub difference: Option<f64>,
    /// What still counts as alike.
    pub tolerance: Tolerance,
    /// Whether it is within the tolerance.
    pub is_alike: Option<bool>,
    /// For a point of a distribution: at which value it lies.
    pub at: Option<f64>,
    /// Section or data set.
    pub source: &'static str,
}

/// All published figures beside those of a workload, by subject.
pub fn compare(workload: &Characterization) -> Vec<Comparison> {
    TARGETS
        .iter()
        .map(|target| {
            let here = (target.here)(workload).filter(|here| here.is_finite());
            let (least, most) = target.published.bounds();
            Comparison {
                subject: target.subject,
                what: target.what,
                unit: target.unit,
                here,
                published: target.published,
                difference: here.map(|here| here - here.clamp(least, most)),
                tolerance: target.tolerance,
                is_alike: here.map(|here| target.tolerance.allows(here, target.published)),
                at: target.at,
                source: target.source,
            }
        })
        .collect()
}
