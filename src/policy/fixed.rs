//! fixed(k): stay loaded for `k` after every execution. What platforms do.

use smallvec::smallvec;

use crate::model::{Regime, Window};
use crate::state::{Kept, Shape};

use super::{MINUTE_MS, Plan, shrink_ms};

/// The same keep-alive for every app: 10 minutes on AWS and OpenWhisk, 20 on Azure ("Serverless in the Wild", §1).
#[derive(Debug, Clone, PartialEq)]
pub struct Fixed {
    /// Keep-alive, ms.
    pub keep_alive_ms: i64,
}

impl Default for Fixed {
    fn default() -> Self {
        Self { keep_alive_ms: 10 * 60_000 }
    }
}

impl Fixed {
    /// Nothing is decided by it: it only tells what to expect.
    fn shape(&self) -> Shape {
        Shape::Linear { bin_ms: (self.keep_alive_ms / 10).max(1), bins: 20 }
    }

    pub(super) fn kept(&self) -> Kept {
        Kept { shape: self.shape(), clock: false, series: 0, activity: false, fade_per_day: 1.0, minute_ms: MINUTE_MS }
    }

    pub(super) fn plan(&self) -> Plan {
        Plan {
            regime: Regime::Standard,
            windows: smallvec![Window::keep_alive(self.keep_alive_ms)],
            steady_for: u32::MAX,
            rests_on_last_end: false,
        }
    }

    pub(super) fn reason(&self) -> String {
        format!("every app stays loaded for {} after its last execution", crate::config::show_ms(self.keep_alive_ms))
    }

    pub(super) fn sped_up(self, speed: f64) -> Self {
        Self { keep_alive_ms: shrink_ms(self.keep_alive_ms, speed) }
    }
}
