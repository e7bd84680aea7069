//! Step 1: bytes from the bus → invocations, or the reason why not. Pure.

mod dead_letter;
pub mod format;
pub mod order;

pub use dead_letter::{DeadLetter, Origin};
pub use format::Format;
pub use order::Order;

use smallvec::SmallVec;

use crate::model::{Code, Invocation};

/// What one message holds: nearly always one invocation. None means that by its format's rules the message is about
/// something else, such as a metric: it is counted as skipped, and is no dead letter. Several come from formats in which a
/// message is a batch.
pub type Invocations<'a> = SmallVec<[Invocation<'a>; 1]>;

/// One message as the bus has it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Message<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Key, where there is one.
    pub key: Option<&'a [u8]>,
    /// Payload, where there is one.
    pub payload: Option<&'a [u8]>,
    /// Headers; may be left out where the format [does not read them](Format::reads_headers).
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The time of its record, epoch ms: the sender's or the broker's, as the topic is set up. Unlike the reader's own
    /// clock it is part of the log, so that reading the log again gives the same answer.
    pub received_ms: Option<i64>,
}

/// Longest name of an app or function, bytes.
pub const MAX_NAME_BYTES: usize = 512;
/// Longest name of a runtime kind, bytes.
pub const MAX_RUNTIME_BYTES: usize = 64;
/// Longest reference to code, bytes.
pub const MAX_URI_BYTES: usize = 4096;
/// A message that is packed may unpack to so many times what a message may have; log lines pack to about a tenth.
const MAX_UNPACKING: usize = 16;
/// The last millisecond of the year 9999.
const MAX_TIME_MS: i64 = 253_402_300_799_999;

/// What an event must keep to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Size of the message, bytes.
    pub max_event_bytes: usize,
    /// How far after its record's time an event may end, ms.
    pub max_future_ms: i64,
    /// How long before its record's time an event may end, ms; 0: as long as it likes.
    pub max_past_ms: i64,
}

impl Limits {
    /// From the settings.
    pub const fn new(input: &crate::config::Input) -> Self {
        Self {
            max_event_bytes: input.max_event_bytes,
            max_future_ms: input.max_future.0,
            max_past_ms: input.max_past.0,
        }
    }
}

/// Why a message is no invocation.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Reason {
    /// No payload.
    #[error("the message is empty: expected an invocation in JSON")]
    Empty,
    /// Too many bytes.
    #[error("the message has {found} bytes: at most {limit} are read (input.max_event_bytes)")]
    TooLarge {
        /// Bytes of the message.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Too many bytes once it is unpacked.
    #[error(
        "the message unpacks to more than {limit} bytes: at most {MAX_UNPACKING} times input.max_event_bytes are read"
    )]
    UnpacksTooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// Not text.
    #[error("the message is not UTF-8: byte {at} is the first that isn't")]
    NotUtf8 {
        /// Where the first wrong byte stands.
        at: usize,
    },
    /// Not JSON, or not of the right shape.
    #[error("{0}")]
    Malformed(String),
    /// A field whose value can't be.
    #[error("{field} is {found}: expected {expected}")]
    BadField {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it can be.
        expected: &'static str,
    },
    /// The event ends long after its own record's time.
    #[error(
        "the invocation ends {ahead_ms} ms after the time of its record: at most {limit_ms} are allowed \
         (input.max_future); check the clock of the sender and the unit of started_at_ms"
    )]
    FarFuture {
        /// How far ahead, ms.
        ahead_ms: i64,
        /// How far it may be, ms.
        limit_ms: i64,
    },
    /// The event ended long before its own record's time.
    #[error(
        "the invocation ended {behind_ms} ms before the time of its record: at most {limit_ms} are allowed \
         (input.max_past); check the clock of the sender and the unit of started_at_ms"
    )]
    FarPast {
        /// How far behind, ms.
        behind_ms: i64,
        /// How far it may be, ms.
        limit_ms: i64,
    },
}

impl Reason {
    /// A short name, for metrics and filters.
    pub const fn kind(&self) -> &'static str {
        match self {
            Reason::Empty => "empty",
            Reason::TooLarge { .. } | Reason::UnpacksTooLarge { .. } => "too_large",
            Reason::NotUtf8 { .. } => "not_utf8",
            Reason::Malformed(_) => "malformed",
            Reason::BadField { .. } => "bad_field",
            Reason::FarFuture { .. } => "far_future",
            Reason::FarPast { .. } => "far_past",
        }
    }
}

/// Reads one message: all invocations in it, or, when one of them can't be read, the reason and none of them. So a
/// message is either applied or a dead letter, never both, and a dead letter can be mended and sent again as a whole.
pub fn decode<'a>(message: &Message<'a>, format: &Format, limits: &Limits) -> Result<Invocations<'a>, Reason> {
    let payload = message.payload.filter(|payload| !payload.is_empty()).ok_or(Reason::Empty)?;
    if payload.len() > limits.max_event_bytes {
        return Err(Reason::TooLarge { found: payload.len(), limit: limits.max_event_bytes });
    }
    let invocations = format.read(format::unframed(payload), message, MAX_UNPACKING * limits.max_event_bytes)?;
    for invocation in &invocations {
        check(invocation)?;
        if let Some(received_ms) = message.received_ms {
            let ahead_ms = invocation.ended_at_ms() - received_ms;
            if ahead_ms > limits.max_future_ms {
                return Err(Reason::FarFuture { ahead_ms, limit_ms: limits.max_future_ms });
            }
            if limits.max_past_ms > 0 && -ahead_ms > limits.max_past_ms {
                return Err(Reason::FarPast { behind_ms: -ahead_ms, limit_ms: limits.max_past_ms });
            }
        }
    }
    Ok(invocations)
}

/// What no platform can mean, whatever the format.
pub fn check(invocation: &Invocation) -> Result<(), Reason> {
    for (field, name) in [("app", &invocation.app), ("function", &invocation.function)] {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(bad(field, format!("{} bytes long", name.len()), "1 to 512 bytes"));
        }
    }
    // These are kept for each app and go into its decisions.
    if let Some(runtime) = invocation.runtime.as_ref().filter(|runtime| runtime.len() > MAX_RUNTIME_BYTES) {
        return Err(bad("runtime", format!("{} bytes long", runtime.len()), "at most 64 bytes"));
    }
    if let Some(code) = &invocation.code {
        if code.uri.len() > MAX_URI_BYTES {
            return Err(bad("code.uri", format!("{} bytes long", code.uri.len()), "at most 4096 bytes"));
        }
        if let Some(digest) = code.sha256.as_ref().filter(|digest| !Code::is_digest(digest)) {
            return Err(bad("code.sha256", format!("{} bytes long", digest.len()), "64 hexadecimal digits"));
        }
    }
    let started_at_ms = invocation.started_at_ms;
    if !(0..=MAX_TIME_MS).contains(&started_at_ms) {
        return Err(bad("started_at_ms", started_at_ms, "epoch milliseconds between the years 1970 and 9999"));
    }
    let duration_ms = invocation.duration_ms;
    // A year: longer than any platform lets an execution run.
    if !(0.0..=366.0 * 86_400_000.0).contains(&duration_ms) {
        return Err(bad("duration_ms", duration_ms, "milliseconds from 0 to a year"));
    }
    for (field, value) in [("init_ms", invocation.init_ms), ("memory_mb", invocation.memory_mb)] {
        if let Some(value) = value.filter(|value| !(0.0..=1e9).contains(value)) {
            return Err(bad(field, value, "a number from 0 to 1e9"));
        }
    }
    Ok(())
}

fn bad(field: &'static str, found: impl ToString, expected: &'static str) -> Reason {
    Reason::BadField { field, found: found.to_string(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { max_event_bytes: 1000, max_future_ms: 300_000, max_past_ms: 0 };
    const GOOD: &str = r#"{"app":"a","function":"f","started_at_ms":1000,"duration_ms":2.5}"#;

    /// Reads a native message that holds one invocation.
    fn read(payload: &[u8], received_ms: Option<i64>) -> Result<Invocation<'_>, Reason> {
        let message = Message { payload: Some(payload), received_ms, ..Message::default() };
        decode(&message, &Format::Native, &LIMITS).map(|mut invocations| invocations.remove(0))
    }

    fn reason(payload: &[u8]) -> String {
        read(payload, Some(10_000)).unwrap_err().to_string()
    }

    #[test]
    fn reads_the_required_and_the_optional() {
        let invocation = read(GOOD.as_bytes(), Some(0)).unwrap();
        assert_eq!((&*invocation.app, &*invocation.function, invocation.ended_at_ms()), ("a", "f", 1003));
        let full = r#"{"app":"a","function":"f","started_at_ms":1,"duration_ms":2,"trigger":"Timer","status":"ok",
            "temperature":"cold","code":{"uri":"file:///x"},"memory_mb":128,"new":{"in":["v2"]}}"#;
        insta::assert_json_snapshot!(read(full.as_bytes(), None).unwrap(), @r#"
        {
          "app": "a",
          "function": "f",
          "started_at_ms": 1,
          "duration_ms": 2.0,
          "trigger": "timer",
          "memory_mb": 128.0,
          "status": "ok",
          "temperature": "cold",
          "code": {
            "uri": "file:///x"
          }
        }
        "#);
    }

    #[test]
    fn what_ended_long_ago_is_refused_where_that_is_set() {
        // Seconds where milliseconds are expected.
        let event = br#"{"app":"a","function":"f","started_at_ms":1700000000,"duration_ms":0}"#;
        let message = Message { payload: Some(event), received_ms: Some(1_700_000_000_000), ..Message::default() };
        assert!(decode(&message, &Format::Native, &LIMITS).is_ok());
        let limits = Limits { max_past_ms: 946_728_000_000, ..LIMITS };
        let reason = decode(&message, &Format::Native, &limits).unwrap_err();
        assert_eq!(reason.kind(), "far_past");
        assert!(reason.to_string().starts_with("the invocation ended 1698300000000 ms before the time of its record"));
    }

    #[test]
    fn every_bad_message_has_its_reason() {
        let long_name = format!(r#"{{"app":"{}","function":"f","started_at_ms":1,"duration_ms":1}}"#, "x".repeat(600));
        let cases: Vec<(&[u8], &str)> = vec![
            (b"", "the message is empty"),
            (&GOOD.as_bytes()[..20], "EOF while parsing"),
            (b"{\"app\":\"\xff\"}", "the message is not UTF-8: byte 8"),
            (br#"["a","f",1,2]"#, "the message is a JSON array"),
            (b"{\"app\":\"a\"}", "missing field `function`"),
            (br#"{"app":1,"function":"f","started_at_ms":1,"duration_ms":1}"#, "invalid type: integer `1`"),
            (br#"{"app":"a","function":"f","started_at_ms":"1","duration_ms":1}"#, "invalid type: string"),
            (br#"{"app":"a","function":"f","started_at_ms":1,"duration_ms":-1}"#, "duration_ms is -1: expected"),
            (br#"{"app":"a","function":"f","started_at_ms":-1,"duration_ms":1}"#, "started_at_ms is -1: expected"),
            (br#"{"app":"a","function":"f","started_at_ms":310000,"duration_ms":1}"#, "the invocation ends 300001 ms"),
            (br#"{"app":"","function":"f","started_at_ms":1,"duration_ms":1}"#, "app is 0 bytes long"),
            (long_name.as_bytes(), "app is 600 bytes long: expected 1 to 512 bytes"),
            (br#"{"app":"a","function":"f","started_at_ms":1,"duration_ms":1,"memory_mb":-5}"#, "memory_mb is -5"),
            (&[b' '; 1001], "the message has 1001 bytes: at most 1000 are read"),
        ];
        for (payload, expected) in cases {
            let found = reason(payload);
            assert!(found.contains(expected), "{found} does not say: {expected}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes, Some(0));
        }

        #[test]
        fn no_mutation_makes_it_panic(at in 0..GOOD.len(), byte in any::<u8>()) {
            let mut bytes = GOOD.as_bytes().to_vec();
            bytes[at] = byte;
            let _ = read(&bytes, Some(0));
        }
    }
}
