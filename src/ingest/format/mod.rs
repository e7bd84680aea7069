//! One file per format of events. Each says whether its time is the start or the end of an execution, and
//! `docs/formats.md` says for users which field comes from where.

#[cfg(feature = "avro")]
mod avro;
mod aws;
mod cloudevents;
pub mod mapping;
mod native;
mod openwhisk;

use std::sync::Arc;

use serde::Deserialize;
use smallvec::smallvec;

#[cfg(feature = "avro")]
pub use avro::AvroSchema;
pub use mapping::Mapping;

use super::{Invocations, Message, Reason};

/// How the events of a topic look.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// `schemas/invocation.v1.json`.
    Native,
    /// CloudEvents 1.0 around a native invocation.
    CloudEvents,
    /// OpenWhisk's user events.
    OpenWhisk,
    /// AWS Lambda's platform reports, as telemetry or as CloudWatch logs.
    Aws,
    /// Any other JSON, read as the settings say.
    Mapping(Arc<Mapping>),
}

impl Format {
    /// The names of all formats, as settings have them.
    pub const NAMES: [&str; 5] = ["native", "cloudevents", "openwhisk", "aws", "mapping"];

    /// The format of that name, if there is one; `mapping` is what [`Format::Mapping`] reads by.
    pub fn from_name(name: &str, mapping: &Arc<Mapping>) -> Option<Self> {
        Some(match name {
            "native" => Format::Native,
            "cloudevents" => Format::CloudEvents,
            "openwhisk" => Format::OpenWhisk,
            "aws" => Format::Aws,
            "mapping" => Format::Mapping(Arc::clone(mapping)),
            _ => return None,
        })
    }

    /// Its name in settings.
    pub const fn name(&self) -> &'static str {
        match self {
            Format::Native => "native",
            Format::CloudEvents => "cloudevents",
            Format::OpenWhisk => "openwhisk",
            Format::Aws => "aws",
            Format::Mapping(_) => "mapping",
        }
    }

    /// Whether it looks at the headers of a message, which cost time to collect.
    pub const fn reads_headers(&self) -> bool {
        matches!(self, Format::CloudEvents)
    }

    /// Reads the invocations in `payload`, which is that of `message` without its framing. Where it is packed, it may have
    /// `max_unpacked_bytes`.
    pub(super) fn read<'a>(
        &self,
        payload: &'a [u8],
        message: &Message<'a>,
        max_unpacked_bytes: usize,
    ) -> Result<Invocations<'a>, Reason> {
        match self {
            Format::Native => native::decode(payload).map(|invocation| smallvec![invocation]),
            Format::CloudEvents => cloudevents::decode(payload, message.headers).map(|event| smallvec![event]),
            Format::OpenWhisk => openwhisk::decode(payload).map(|event| event.into_iter().collect()),
            Format::Aws => aws::decode(payload, message, max_unpacked_bytes),
            Format::Mapping(mapping) => mapping.decode(payload).map(|event| smallvec![event]),
        }
    }
}

/// Bytes before a payload that went through Confluent's serializers: a zero and the id of its schema, big-endian.
const FRAME_BYTES: usize = 5;

/// The id of the schema and the payload proper, where it has Confluent's framing: no JSON begins with a zero byte.
pub fn framed(payload: &[u8]) -> Option<(u32, &[u8])> {
    let (frame, rest) = payload.split_first_chunk::<FRAME_BYTES>()?;
    let [0, id @ ..] = *frame else { return None };
    (!rest.is_empty()).then_some((u32::from_be_bytes(id), rest))
}

/// The payload without Confluent's framing, where it has one.
pub(super) fn unframed(payload: &[u8]) -> &[u8] {
    framed(payload).map_or(payload, |(_, rest)| rest)
}

/// Reads a JSON object, borrowing from `json`.
fn parse_object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Reason> {
    // An array of the right values would pass for the object that is meant.
    if json.trim_ascii_start().first() == Some(&b'[') {
        return Err(Reason::Malformed("the message is a JSON array: expected an object".to_owned()));
    }
    parse(json)
}

/// Reads any JSON, borrowing from `json`.
fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Reason> {
    serde_json::from_slice(json).map_err(|error| match std::str::from_utf8(json) {
        Err(not_utf8) => Reason::NotUtf8 { at: not_utf8.valid_up_to() },
        Ok(_) => Reason::Malformed(error.to_string()),
    })
}

/// Reads a date and time of RFC 3339 as epoch ms; `field` is where it stands.
fn parse_time(field: &str, text: &str) -> Result<i64, Reason> {
    chrono::DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis()).map_err(|error| {
        Reason::Malformed(format!("{field} is '{}': expected a time of RFC 3339 ({error})", shortened(text)))
    })
}

fn missing(field: &str) -> Reason {
    Reason::Malformed(format!("missing field `{field}`"))
}

/// As much of `text` as an error should repeat.
fn shortened(text: &str) -> &str {
    text.char_indices().nth(60).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests;
