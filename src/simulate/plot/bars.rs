//! Bars in groups: a figure of each category, here and as published.

use super::axis::short;
use super::chart::shortened;
use super::svg::{Anchor, Canvas, Picture, text_width};

const WIDTH: f64 = 640.0;
const BAR: f64 = 11.0;
const GAP: f64 = 2.0;
const GROUP_GAP: f64 = 10.0;
const RIGHT: f64 = 60.0;
/// Class of each series: ours, then published ones.
const LOOKS: [&str; 3] = ["f0", "bar1", "bar2"];

/// The picture: categories downwards, in each one bar a series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bars {
    pub(crate) title: String,
    /// Names of the series, at most three: here, then as published.
    pub(crate) series: Vec<&'static str>,
    /// Category and its percentages, one a series where known.
    pub(crate) groups: Vec<(String, Vec<Option<f64>>)>,
}

impl Bars {
    /// Draws it.
    pub(crate) fn picture(&self) -> Picture {
        let mut canvas = Canvas::default();
        let names: Vec<_> = self.groups.iter().map(|(name, _)| shortened(name, 190.0)).collect();
        let left = names.iter().map(|name| text_width(name)).fold(60.0, f64::max) + 22.0;
        canvas.text((12.0, 22.0), Anchor::Start, "title", &self.title);
        let mut x = 12.0;
        for (name, look) in self.series.iter().zip(LOOKS) {
            canvas.bar((x, 37.0), (14.0, BAR), look, "");
            canvas.text((x + 20.0, 47.0), Anchor::Start, "", name);
            x += 20.0 + text_width(name) + 18.0;
        }
        let most = self.groups.iter().flat_map(|(_, values)| values).flatten().copied().fold(1.0, f64::max);
        let scale = (WIDTH - left - RIGHT) / most;
        let group_height = self.series.len() as f64 * (BAR + GAP) + GROUP_GAP;
        let top = 62.0;
        let bottom = top + self.groups.len() as f64 * group_height;
        for (row, ((_, values), name)) in self.groups.iter().zip(&names).enumerate() {
            let y = top + row as f64 * group_height;
            let middle = y + (group_height - GROUP_GAP) / 2.0;
            canvas.text((left - 8.0, middle + 4.0), Anchor::End, "", name);
            for (i, (value, look)) in values.iter().zip(LOOKS).enumerate() {
                let y = y + i as f64 * (BAR + GAP);
                let Some(value) = value else {
                    canvas.text((left + 5.0, y + BAR - 1.5), Anchor::Start, "soft", "–");
                    continue;
                };
                let width = (value * scale).max(0.5);
                let label = format!("{} %", short((value * 100.0).round() / 100.0));
                canvas.bar((left, y), (width, BAR), look, &format!("{name}, {}: {label}", self.series[i]));
                let class = if i == 0 { "" } else { "soft" };
                canvas.text((left + width + 5.0, y + BAR - 1.5), Anchor::Start, class, &label);
            }
        }
        canvas.line((left, top - 4.0), (left, bottom - GROUP_GAP + 4.0), "axis");
        canvas.picture(&self.title, WIDTH, bottom)
    }
}
