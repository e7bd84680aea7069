//! Native: `schemas/invocation.v1.json`. Its time is the **start** (`started_at_ms`).

use crate::ingest::Reason;
use crate::model::Invocation;

/// Reads one invocation, borrowing from `payload`.
pub(super) fn decode(payload: &[u8]) -> Result<Invocation<'_>, Reason> {
    super::parse_object(payload)
}
