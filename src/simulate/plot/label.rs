//! Places for labels, so that they cover neither points nor each other.

use super::svg::{Anchor, text_width};

const HEIGHT: f64 = 14.0;
/// From the baseline up to the top of the text.
const ASCENT: f64 = 11.0;

/// The area in which labels may lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Room {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

/// Where a label lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    /// The end of its baseline that is next to the point: widths are estimates, and only the far end may suffer.
    pub(super) at: (f64, f64),
    /// Which end that is.
    pub(super) anchor: Anchor,
    /// Where a line from the point to the label ends, if the label is not beside its point.
    pub(super) leader: Option<(f64, f64)>,
}

#[derive(Debug, Clone, Copy)]
struct Area {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Area {
    fn of(at: (f64, f64), width: f64) -> Self {
        Self { left: at.0, top: at.1 - ASCENT, right: at.0 + width, bottom: at.1 - ASCENT + HEIGHT }
    }

    fn around(point: (f64, f64), radius: f64) -> Self {
        let (x, y) = point;
        Self { left: x - radius, top: y - radius, right: x + radius, bottom: y + radius }
    }

    /// The common area, px².
    fn shared(&self, other: &Area) -> f64 {
        let wide = (self.right.min(other.right) - self.left.max(other.left)).max(0.0);
        let high = (self.bottom.min(other.bottom) - self.top.max(other.top)).max(0.0);
        wide * high
    }
}

/// Places for `names` beside `points`: for each the first of ever more distant places that covers nothing, or the one that
/// covers least.
pub(super) fn place(points: &[(f64, f64)], names: &[String], lines: &[Vec<(f64, f64)>], room: Room) -> Vec<Place> {
    let mut taken: Vec<Area> = points.iter().map(|point| Area::around(*point, 6.0)).collect();
    taken.extend(lines.iter().flat_map(|line| line.windows(2)).flat_map(|ends| along(ends[0], ends[1])));
    let mut places = Vec::with_capacity(points.len());
    for (point, name) in points.iter().zip(names) {
        let width = text_width(name);
        let cost = |at: (f64, f64)| {
            let area = Area::of(at, width);
            let outside = (room.left - area.left).max(0.0)
                + (area.right - room.right).max(0.0)
                + (room.top - area.top).max(0.0)
                + (area.bottom - room.bottom).max(0.0);
            outside * 1000.0 + taken.iter().map(|other| area.shared(other)).sum::<f64>()
        };
        let mut best = (f64::INFINITY, *point, false);
        for (at, is_far) in candidates(*point, width) {
            let cost = cost(at);
            if cost < best.0 - 1e-9 {
                best = (cost, at, is_far);
            }
            if best.0 == 0.0 {
                break;
            }
        }
        let (_, at, is_far) = best;
        let area = Area::of(at, width);
        taken.push(area);
        let end = (point.0.clamp(area.left, area.right), point.1.clamp(area.top, area.bottom));
        let is_left = at.0 + width <= point.0;
        let (at, anchor) = if is_left { ((at.0 + width, at.1), Anchor::End) } else { (at, Anchor::Start) };
        places.push(Place { at, anchor, leader: is_far.then_some(end) });
    }
    places
}

/// Small areas along a line.
fn along(from: (f64, f64), to: (f64, f64)) -> impl Iterator<Item = Area> {
    let parts = ((to.0 - from.0).hypot(to.1 - from.1) / 6.0).ceil().clamp(1.0, 300.0) as u32;
    (0..=parts).map(move |i| {
        let share = f64::from(i) / f64::from(parts);
        Area::around((from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share), 2.0)
    })
}

/// Baseline beginnings around a point, the nearest first, and whether one is too far to be taken for the point's own.
fn candidates(point: (f64, f64), width: f64) -> impl Iterator<Item = ((f64, f64), bool)> {
    let (x, y) = point;
    let beside = [
        (x + 9.0, y + 4.0),
        (x + 7.0, y - 7.0),
        (x + 7.0, y + 16.0),
        (x - 9.0 - width, y + 4.0),
        (x - width / 2.0, y - 10.0),
        (x - width / 2.0, y + 20.0),
        (x - 7.0 - width, y - 7.0),
        (x - 7.0 - width, y + 16.0),
    ];
    let far = (1..=9).flat_map(move |ring| {
        let away = 10.0 + 14.0 * f64::from(ring);
        (0..16).map(move |i| {
            // Rightwards first: that is where charts of this kind have room.
            let turn = f64::from((i + 1) / 2) * if i % 2 == 0 { 1.0 } else { -1.0 };
            let angle = turn * std::f64::consts::TAU / 16.0;
            let (dx, dy) = (away * angle.cos(), away * angle.sin());
            let start = if dx < -1.0 { x + dx - width } else { x + dx };
            (start, y - dy + 4.0)
        })
    });
    beside.into_iter().map(|at| (at, false)).chain(far.map(|at| (at, true)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOM: Room = Room { left: 60.0, top: 40.0, right: 620.0, bottom: 340.0 };

    fn area(place: &Place, name: &str) -> Area {
        let width = text_width(name);
        let left = if place.anchor == Anchor::End { place.at.0 - width } else { place.at.0 };
        Area::of((left, place.at.1), width)
    }

    #[test]
    fn labels_of_a_crowd_lie_apart() {
        let points: Vec<_> = (0..8).map(|i| (200.0 + f64::from(i) * 3.0, 200.0 + f64::from(i % 3))).collect();
        let names: Vec<_> = (0..8).map(|i| format!("fixed:{i}0m")).collect();
        let places = place(&points, &names, &[], ROOM);
        let areas: Vec<_> = places.iter().zip(&names).map(|(place, name)| area(place, name)).collect();
        for (i, area) in areas.iter().enumerate() {
            for other in areas.iter().skip(i + 1) {
                assert_eq!(area.shared(other), 0.0, "{places:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn labels_stay_in_the_room(points in prop::collection::vec((60.0..620.0f64, 40.0..340.0f64), 1..12)) {
            let names = vec!["hybrid".to_owned(); points.len()];
            for place in place(&points, &names, &[], ROOM) {
                let area = area(&place, "hybrid");
                prop_assert!(area.left >= ROOM.left && area.right <= ROOM.right, "{area:?}");
                prop_assert!(area.top >= ROOM.top && area.bottom <= ROOM.bottom, "{area:?}");
            }
        }
    }
}
