//! ARIMA(p, d, q) with p, q ≤ 2 and d ≤ 1: which order, and what comes next.
//!
//! Coefficients minimise the conditional sum of squares ([`least_squares`]); the order is the one with the least AICc
//! (Hurvich and Tsai 1989), as in the automatic ARIMA of Hyndman and Khandakar (2008). All orders are scored on the
//! same points, given the same first ones, so that AICc compares those with d = 0 and d = 1 too.

mod least_squares;
mod student;

use least_squares::{Coefficients, Terms};

use super::MAX_POINTS;

/// The order of an ARIMA model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Autoregressive terms, 0 to 2.
    pub p: u8,
    /// Differences taken, 0 or 1.
    pub d: u8,
    /// Moving-average terms, 0 to 2.
    pub q: u8,
}

/// The next value of a series, in the series' unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Next {
    /// The expected value.
    pub point: f64,
    /// Half the width of its 95 % interval.
    pub half_width: f64,
}

/// A smaller spread of the residuals than this share of the series' mean is rounding. Orders that explain a series up to
/// rounding are thereby equally good, and the one with the fewest coefficients wins.
const NEGLIGIBLE: f64 = 1e-6;
/// From this many points on, the first three are given rather than explained; below, only the first.
const LONG: usize = 12;

/// A series made ready for models that share differencing and constant.
struct Prepared {
    d: u8,
    constant: bool,
    /// What was subtracted: the mean where the models have a constant, 0 elsewhere.
    centre: f64,
    len: usize,
    values: [f64; MAX_POINTS],
    /// How many leading values the models need not explain.
    given: usize,
}

impl Prepared {
    fn new(series: &[f64], scale: f64, d: u8, constant: bool) -> Self {
        let mut values = [0.0; MAX_POINTS];
        let len = series.len() - usize::from(d);
        if d == 0 {
            for (value, y) in values.iter_mut().zip(series) {
                *value = y / scale;
            }
        } else {
            for (value, pair) in values.iter_mut().zip(series.windows(2)) {
                *value = (pair[1] - pair[0]) / scale;
            }
        }
        let centre = if constant { values[..len].iter().sum::<f64>() / len as f64 } else { 0.0 };
        values[..len].iter_mut().for_each(|value| *value -= centre);
        let given = if series.len() < LONG { 1 } else { 3 } - usize::from(d);
        Self { d, constant, centre, len, values, given }
    }

    fn values(&self) -> &[f64] {
        &self.values[..self.len]
    }

    /// The points that a model is scored on; the same for every `Prepared` of a series.
    fn scored(&self) -> usize {
        self.len - self.given
    }
}

struct Fitted {
    terms: Terms,
    coefficients: Coefficients,
    sum_of_squares: f64,
    aicc: f64,
}

/// The best order for a series of positive values, and the value that it expects next. `None` for fewer than 5 points,
/// or where no model could be fitted. Only the last [`MAX_POINTS`] values count.
pub fn forecast(series: &[f64]) -> Option<(Order, Next)> {
    search(series, |_| true)
}

/// As [`forecast`], but with the order given (and, for d = 1, with or without drift, whichever scores better).
pub fn forecast_with(series: &[f64], order: Order) -> Option<Next> {
    search(series, |candidate| candidate == order).map(|(_, next)| next)
}

fn search(series: &[f64], admit: impl Fn(Order) -> bool) -> Option<(Order, Next)> {
    let series = &series[series.len().saturating_sub(MAX_POINTS)..];
    if series.len() < 5 {
        return None;
    }
    let scale = series.iter().map(|y| y / series.len() as f64).sum::<f64>();
    if !(scale.is_normal() && scale > 0.0) {
        return None;
    }
    let prepared = [(0, true), (1, false), (1, true)].map(|(d, constant)| Prepared::new(series, scale, d, constant));
    let mut best: Option<(&Prepared, Fitted)> = None;
    for prepared in &prepared {
        let start = least_squares::Start::new(prepared.values(), prepared.given);
        for (p, q) in [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2)] {
            if !admit(Order { p, d: prepared.d, q }) {
                continue;
            }
            let terms = Terms { constant: prepared.constant, p: p.into(), q: q.into() };
            let to_beat = best.as_ref().map_or(f64::INFINITY, |(_, fitted)| fitted.aicc);
            if let Some(fitted) = fit(prepared, &start, terms, to_beat) {
                best = Some((prepared, fitted));
            }
        }
    }
    let (prepared, fitted) = best?;
    let terms = fitted.terms;
    let order = Order { p: terms.p as u8, d: prepared.d, q: terms.q as u8 };
    Some((order, next(series, scale, prepared, &fitted)))
}

/// Fits one model; `None` where its AICc is not below `to_beat`.
fn fit(prepared: &Prepared, start: &least_squares::Start, terms: Terms, to_beat: f64) -> Option<Fitted> {
    let scored = prepared.scored();
    // One more parameter than coefficients: the spread of the residuals.
    let parameters = terms.count() + 1;
    if parameters + 1 >= scored {
        return None;
    }
    let (n, k) = (scored as f64, parameters as f64);
    let aicc = |sum_of_squares: f64| {
        n * (sum_of_squares / n).max(NEGLIGIBLE * NEGLIGIBLE).ln() + 2.0 * k + 2.0 * k * (k + 1.0) / (n - k - 1.0)
    };
    let (values, given) = (prepared.values(), prepared.given);
    let (mut coefficients, mut sum_of_squares) = start.solve(values, given, terms)?;
    if terms.q > 0 && aicc(sum_of_squares) < to_beat + REFINE_WITHIN {
        (coefficients, sum_of_squares) = least_squares::refine(values, given, terms, coefficients);
    }
    let aicc = aicc(sum_of_squares);
    (aicc < to_beat).then_some(Fitted { terms, coefficients, sum_of_squares, aicc })
}

/// A model with moving-average terms is refined where its starting coefficients come this close to the best AICc so far:
/// refining seldom gains more.
const REFINE_WITHIN: f64 = 10.0;

fn next(series: &[f64], scale: f64, prepared: &Prepared, fitted: &Fitted) -> Next {
    let expected =
        least_squares::next(prepared.values(), prepared.given, fitted.terms, &fitted.coefficients) + prepared.centre;
    let last = if prepared.d == 0 { 0.0 } else { series[series.len() - 1] };
    let (n, k) = (prepared.scored() as f64, fitted.terms.count() as f64);
    // The coefficients are uncertain too: the final prediction error of Akaike (1969).
    let spread = (fitted.sum_of_squares / (n - k) * (1.0 + k / n)).sqrt();
    let quantile = student::quantile_975(prepared.scored() - fitted.terms.count());
    Next { point: last + expected * scale, half_width: quantile * spread * scale }
}
