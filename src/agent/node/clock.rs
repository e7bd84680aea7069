//! The time that an agent goes by, which no setting of the machine's clock moves.

use std::borrow::Cow;
use std::time::Instant;

use crate::model::{Decision, now_ms};

/// By how much the wall clock has to differ before it was set, ms: less is the time between two readings.
const SET_MS: i64 = 100;

/// The wall clock's time when the agent began, and what passed since: windows are neither cut short nor drawn out when
/// that clock is set. What others say or are told is in wall-clock time, as it is now.
pub(super) struct Clock {
    began_ms: i64,
    began: Instant,
}

impl Clock {
    /// From now on.
    pub fn new() -> Self {
        Self { began_ms: now_ms(), began: Instant::now() }
    }

    /// Now, in the agent's time, epoch ms.
    pub fn now_ms(&self) -> i64 {
        self.began_ms + self.began.elapsed().as_millis() as i64
    }

    /// A time of the agent's in wall-clock time.
    pub fn wall_ms(&self, at_ms: i64) -> i64 {
        at_ms + self.set_by_ms()
    }

    /// A decision with its times in the agent's.
    pub fn decision<'a>(&self, decision: &'a Decision) -> Cow<'a, Decision> {
        in_time_set_back(decision, self.set_by_ms())
    }

    /// How far the wall clock was set forward since the agent began, ms.
    fn set_by_ms(&self) -> i64 {
        let by_ms = now_ms() - self.now_ms();
        if by_ms.abs() < SET_MS { 0 } else { by_ms }
    }
}

fn in_time_set_back(decision: &Decision, by_ms: i64) -> Cow<'_, Decision> {
    if by_ms == 0 {
        return Cow::Borrowed(decision);
    }
    Cow::Owned(Decision {
        decided_at_ms: decision.decided_at_ms.saturating_sub(by_ms),
        idle_since_ms: decision.idle_since_ms.saturating_sub(by_ms),
        valid_until_ms: decision.valid_until_ms.saturating_sub(by_ms),
        ..decision.clone()
    })
}
