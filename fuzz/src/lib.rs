//! What every fuzz target asserts. `src/ingest/format/tests.rs` asserts the same on stable Rust, for a bounded time.

use pilotlight::ingest::{self, Format, Limits, Message};

/// Whatever the message, it is read or there is a reason; and what is read keeps to the rules.
pub fn read(format: &Format, headers: &[(&str, &[u8])], payload: &[u8]) {
    let limits = Limits { max_event_bytes: 262_144, max_future_ms: 300_000, max_past_ms: 0 };
    let message =
        Message { topic: "topic", key: None, payload: Some(payload), headers, received_ms: Some(1_700_000_000_000) };
    match ingest::decode(&message, format, &limits) {
        Ok(invocations) => invocations.iter().for_each(|invocation| assert_eq!(ingest::check(invocation), Ok(()))),
        Err(reason) => assert!(!reason.to_string().is_empty()),
    }
}
