//! Idle times so far become the next idle time, with the range in which it will lie.
//!
//! Two methods, and a gate between them. [`arima`] sees trends, levels and cycles of two, and knows how sure it is: its
//! forecast counts where its interval is narrow. Elsewhere the idle times mostly come from two behaviours that take
//! turns (short within a session, long between sessions), and [`two_means`] says whose turn it is.
//!
//! [`change`] finds how many of the oldest idle times tell of a behaviour that is over, and [`pool`] does the work
//! beside the event loop. All of it is a pure function of the series: the same idle times give the same bits, in any
//! order and on any thread.

pub mod arima;
pub mod change;
pub mod pool;
pub mod two_means;

#[cfg(test)]
mod tests;

pub use arima::Order;
pub use change::{fresh, stale_prefix};
pub use pool::{ForecastPool, Pending};

/// How many of the latest idle times are looked at. Measured: 50, 100 and 200 forecast equally well, and cost grows.
pub const MAX_POINTS: usize = 100;
/// The fewest idle times that are forecast from.
pub const MIN_POINTS: usize = 3;
/// The longest idle time that is believed, ms: 31 years.
pub const MAX_IDLE_MS: f64 = 1e12;
/// ARIMA counts where the half-width of its 95 % interval is at most this share of the point. Measured: at 5-30 % it is
/// within ±15 % of the truth nine times in ten, above 60 % one time in ten.
const MAX_HALF_WIDTH: f64 = 0.3;
/// What an interval without width gets on each side, ms: no app is as punctual as its history.
const MIN_HALF_WIDTH_MS: f64 = 30_000.0;
/// A half-width below this share of the point is rounding, not knowledge.
const NO_WIDTH: f64 = 1e-5;

/// How a forecast was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// ARIMA of this order.
    Arima(Order),
    /// The idle times split in two clusters, and which comes next.
    TwoMeans,
}

/// The next idle time. `0 < low_ms <= point_ms <= high_ms`, all finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// The likeliest idle time, ms.
    pub point_ms: f64,
    /// The lower end of the 95 % interval, ms.
    pub low_ms: f64,
    /// The upper end of the 95 % interval, ms.
    pub high_ms: f64,
    /// How it was made.
    pub method: Method,
}

/// The next idle time after these, which are in ms, oldest first.
///
/// Only the last [`MAX_POINTS`] count. An idle time that is not finite, not above 0 or above [`MAX_IDLE_MS`] is left
/// out: one broken clock must not silence an app's forecast. `None` where fewer than [`MIN_POINTS`] remain.
pub fn forecast(idle_ms: &[f64]) -> Option<Forecast> {
    let mut buffer = [0.0; MAX_POINTS];
    let series = latest(idle_ms, &mut buffer);
    if series.len() < MIN_POINTS {
        return None;
    }
    let made =
        arima::forecast(series).and_then(|(order, next)| gate(order, next)).or_else(|| two_means::forecast(series));
    made.filter(|f| f.low_ms > 0.0 && f.low_ms <= f.point_ms && f.point_ms <= f.high_ms && f.high_ms.is_finite())
}

/// Whether this can be an idle time, ms. NaN is above nothing.
fn believed(idle_ms: f64) -> bool {
    idle_ms > 0.0 && idle_ms <= MAX_IDLE_MS
}

/// The last idle times that are believed, oldest first.
fn latest<'a>(idle_ms: &[f64], buffer: &'a mut [f64; MAX_POINTS]) -> &'a [f64] {
    let mut from = MAX_POINTS;
    for &idle in idle_ms.iter().rev().filter(|idle| believed(**idle)).take(MAX_POINTS) {
        from -= 1;
        buffer[from] = idle;
    }
    &buffer[from..]
}

/// Lets an ARIMA forecast through that is sure enough of itself.
fn gate(order: Order, next: arima::Next) -> Option<Forecast> {
    let sure = next.point > 0.0 && next.point <= MAX_IDLE_MS && next.half_width <= MAX_HALF_WIDTH * next.point;
    let half_width = if next.half_width < NO_WIDTH * next.point { MIN_HALF_WIDTH_MS } else { next.half_width };
    sure.then(|| Forecast {
        point_ms: next.point,
        // An idle time is never negative, however wide the interval: 1 ms, or the point where that is even less.
        low_ms: (next.point - half_width).max(next.point.min(1.0)),
        high_ms: next.point + half_width,
        method: Method::Arima(order),
    })
}
