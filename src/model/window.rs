//! A window of idle time during which an app is loaded.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::checkpoint::Columns;

/// A half-open range `[from_ms, until_ms)` of idle time, in ms since the end of the app's last execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// First millisecond at which the app is loaded.
    pub from_ms: i64,
    /// First millisecond at which it is not any more.
    pub until_ms: i64,
}

/// The windows of one decision: disjoint, in ascending order, nearly always one.
pub type Windows = SmallVec<[Window; 2]>;

impl Window {
    /// `[0, until_ms)`: plain keep-alive.
    pub const fn keep_alive(until_ms: i64) -> Self {
        Self { from_ms: 0, until_ms }
    }

    /// Whether an app that has been idle for `idle_ms` is loaded.
    pub const fn contains(&self, idle_ms: i64) -> bool {
        self.from_ms <= idle_ms && idle_ms < self.until_ms
    }

    /// For how long of an idle time of `idle_ms` the app is loaded, in ms.
    pub fn loaded_ms(&self, idle_ms: i64) -> i64 {
        (self.until_ms.min(idle_ms) - self.from_ms).max(0)
    }
}

/// Windows as two columns.
pub fn window_columns(windows: &mut Windows, names: [&'static str; 2], columns: &mut impl Columns) {
    let mut edges: Vec<_> = windows.iter().map(|window| (window.from_ms, window.until_ms)).collect();
    columns.pairs(names, &mut edges);
    *windows = edges.into_iter().map(|(from_ms, until_ms)| Window { from_ms, until_ms }).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_open() {
        let window = Window { from_ms: 10, until_ms: 20 };
        let loaded: Vec<_> = [9, 10, 19, 20].map(|idle| (window.contains(idle), window.loaded_ms(idle))).into();
        assert_eq!(loaded, [(false, 0), (true, 0), (true, 9), (false, 10)]);
    }
}
