//! Axes: where a value lies, and which values have a label.

/// An axis. Values beyond its ends lie at the ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    pub(crate) title: String,
    pub(crate) from: f64,
    pub(crate) to: f64,
    is_log: bool,
    /// Value and label.
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// 0 to 100 %.
    pub(crate) fn percent(title: &str) -> Self {
        let ticks = (0..=5).map(|i| (f64::from(i) * 20.0, format!("{} %", i * 20))).collect();
        Self { title: title.to_owned(), from: 0.0, to: 100.0, is_log: false, ticks }
    }

    /// From 0 to a round value at or above `most`.
    pub(crate) fn linear(title: &str, most: f64) -> Self {
        let most = if most > 0.0 && most.is_finite() { most } else { 1.0 };
        let magnitude = 10f64.powf((most / 5.0).log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|round| round * magnitude);
        let step = step.into_iter().find(|step| step * 5.0 >= most).unwrap_or(magnitude * 10.0);
        let count = (most / step - 1e-9).ceil().max(1.0) as u32;
        let ticks = (0..=count).map(|i| (f64::from(i) * step, short(f64::from(i) * step))).collect();
        Self { title: title.to_owned(), from: 0.0, to: f64::from(count) * step, is_log: false, ticks }
    }

    /// From `from` to `to`, with labels at round values.
    pub(crate) fn between(title: &str, from: f64, to: f64) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        let step =
            [1.0, 2.0, 5.0, 7.0, 14.0, 28.0].into_iter().find(|step| (to - from) / step <= 14.0).unwrap_or(365.0);
        let first = (from / step).ceil() as i64;
        let values = (first..).map(|i| i as f64 * step).take_while(|value| *value <= to);
        let ticks = values.map(|value| (value, short(value))).collect();
        Self { title: title.to_owned(), from, to, is_log: false, ticks }
    }

    /// Whole powers of ten around `least` and `most`, both above 0; labels at each, at every second or third of many, and
    /// at 2 and 5 too where there are few.
    pub(crate) fn log(title: &str, least: f64, most: f64) -> Self {
        let low = least.max(1e-12).log10().floor() as i32;
        let high = (most.max(1e-12).log10().ceil() as i32).max(low + 1);
        let apart = ((high - low) / 8 + 1) as usize;
        let to = 10f64.powi(high);
        let between: &[f64] = if high - low <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let powers = (low..=high).step_by(apart).map(|power| 10f64.powi(power));
        let values = powers.flat_map(|power| between.iter().map(move |part| power * part));
        let ticks = values.filter(|value| *value <= to * 1.000_001).map(|value| (value, short(value))).collect();
        Self { title: title.to_owned(), from: 10f64.powi(low), to, is_log: true, ticks }
    }

    /// With labels of one's own, of which those within the axis count.
    pub(crate) fn labelled(mut self, ticks: &[(f64, &str)]) -> Self {
        let within = |value: f64| value >= self.from * 0.999_999 && value <= self.to * 1.000_001;
        self.ticks = ticks.iter().filter(|tick| within(tick.0)).map(|(x, label)| (*x, (*label).to_owned())).collect();
        self
    }

    /// Where a value lies: 0 at the beginning, 1 at the end.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let place = if self.is_log {
            (value.max(f64::MIN_POSITIVE) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        if place.is_nan() { 0.0 } else { place.clamp(0.0, 1.0) }
    }

    /// The value at a place.
    pub(crate) fn value(&self, place: f64) -> f64 {
        if self.is_log {
            self.from * (self.to / self.from).powf(place)
        } else {
            self.from + (self.to - self.from) * place
        }
    }
}

/// A number in few characters: `0.25`, `40`, `12k`, `3M`.
pub(crate) fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        size if size == 0.0 || size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size => (1 - size.log10().floor() as i32).clamp(0, 9) as usize,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_few_characters() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (0.001, "0.001"),
            (3.0, "3"),
            (12.34, "12.3"),
            (1440.0, "1440"),
            (12_000.0, "12k"),
            (1e7, "10M"),
            (2.5e9, "2.5G"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn ends_are_round_and_enclose_what_is_shown() {
        for (most, end) in [(0.93, 1.0), (7.0, 8.0), (41.0, 50.0), (100.0, 100.0), (0.0, 1.0), (f64::NAN, 1.0)] {
            assert_eq!(Axis::linear("", most).to, end, "{most}");
        }
        let log = Axis::log("", 0.3, 2_000.0);
        assert_eq!((log.from, log.to), (0.1, 10_000.0));
        assert_eq!([0.0, 0.1, 10_000.0, 1e9].map(|x| log.place(x)), [0.0, 0.0, 1.0, 1.0]);
        assert!((log.value(log.place(33.0)) - 33.0).abs() < 1e-9);
        assert_eq!(Axis::log("", 5.0, 5.0).ticks.len(), 4);
    }
}
