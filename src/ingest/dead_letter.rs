//! What becomes of a message that could not be read: `schemas/dead-letter.v1.json`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::Reason;

/// Bytes of a message that a dead letter holds at most; the whole message stays where its origin says.
const MAX_KEPT_BYTES: usize = 64 * 1024;

/// Where a message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Origin<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// A message that could not be read, with its origin and the reason.
#[derive(Debug, Serialize)]
pub struct DeadLetter<'a> {
    #[serde(flatten)]
    origin: Origin<'a>,
    /// What the broker has as its time, epoch ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    received_at_ms: Option<i64>,
    /// Short name of the reason.
    kind: &'static str,
    /// The reason, in words.
    reason: String,
    /// Size of the message, bytes.
    bytes: usize,
    /// Whether only its beginning is kept here.
    truncated: bool,
    /// The message, where it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    /// The message, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// Its key, where it has one; what is not text in it is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl<'a> DeadLetter<'a> {
    /// The dead letter for one message.
    pub fn new(
        origin: Origin<'a>,
        received_at_ms: Option<i64>,
        key: Option<&[u8]>,
        payload: Option<&'a [u8]>,
        reason: &Reason,
    ) -> Self {
        let payload = payload.unwrap_or_default();
        let kept = &payload[..payload.len().min(MAX_KEPT_BYTES)];
        // A cut may go through the middle of a character.
        let text = match std::str::from_utf8(kept) {
            Ok(text) => Some(text),
            Err(error) if kept.len() < payload.len() && error.error_len().is_none() => {
                std::str::from_utf8(&kept[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        Self {
            origin,
            received_at_ms,
            kind: reason.kind(),
            reason: reason.to_string(),
            bytes: payload.len(),
            truncated: kept.len() < payload.len(),
            value: text,
            value_base64: text.is_none().then(|| STANDARD.encode(kept)),
            key: key.map(|key| String::from_utf8_lossy(&key[..key.len().min(1024)]).into_owned()),
        }
    }

    /// The key of its record: the origin, so that a message which is read again gives the same dead letter, and
    /// compaction keeps one.
    pub fn record_key(&self) -> String {
        format!("{}/{}/{}", self.origin.topic, self.origin.partition, self.origin.offset)
    }

    /// Short name of the reason.
    pub fn kind(&self) -> &'static str {
        self.kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = Origin { topic: "t", partition: 3, offset: 42 };

    #[test]
    fn keeps_origin_reason_and_message() {
        let letter = DeadLetter::new(ORIGIN, Some(7), Some(b"k"), Some(b"\xff\x00"), &Reason::NotUtf8 { at: 0 });
        assert_eq!(letter.record_key(), "t/3/42");
        insta::assert_json_snapshot!(letter, @r#"
        {
          "topic": "t",
          "partition": 3,
          "offset": 42,
          "received_at_ms": 7,
          "kind": "not_utf8",
          "reason": "the message is not UTF-8: byte 0 is the first that isn't",
          "bytes": 2,
          "truncated": false,
          "value_base64": "/wA=",
          "key": "k"
        }
        "#);
    }

    #[test]
    fn huge_messages_are_cut_between_characters() {
        let huge = "é".repeat(MAX_KEPT_BYTES);
        let huge = format!("x{huge}");
        let reason = Reason::TooLarge { found: huge.len(), limit: 1 };
        let letter = DeadLetter::new(ORIGIN, None, None, Some(huge.as_bytes()), &reason);
        assert!(letter.truncated && letter.bytes == huge.len());
        assert_eq!(letter.value.unwrap().len(), MAX_KEPT_BYTES - 1);
    }
}
