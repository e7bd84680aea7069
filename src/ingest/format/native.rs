//! Native: `schemas/invocation.v1.json`. Its time is the start.

use crate::ingest::Reason;
use crate::model::Invocation;

/// Reads one invocation, borrowing from `payload`.
pub fn decode(payload: &[u8]) -> Result<Invocation<'_>, Reason> {
    // An array of the right values would pass for the object that is meant.
    if payload.trim_ascii_start().first() == Some(&b'[') {
        return Err(Reason::Malformed("the message is a JSON array: expected an object".to_owned()));
    }
    serde_json::from_slice(payload).map_err(|error| match std::str::from_utf8(payload) {
        Err(not_utf8) => Reason::NotUtf8 { at: not_utf8.valid_up_to() },
        Ok(_) => Reason::Malformed(error.to_string()),
    })
}
