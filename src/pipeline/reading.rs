//! What a message of the bus holds: its invocations, or the reason why not.

use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Headers};

#[cfg(feature = "avro")]
use crate::bus::SchemaRegistry;
use crate::config::{Input, Source};
use crate::ingest::{self, Format, Invocations, Limits, Message, Reason};
use crate::shutdown::Shutdown;

use super::Error;

/// Reads the messages of some topics, each in its format.
pub struct Reader<'a> {
    sources: &'a [Source],
    limits: Limits,
    #[cfg(feature = "avro")]
    registry: Option<SchemaRegistry>,
}

/// A message, and what its format needs of it. Invocations borrow from it.
pub struct Opened<'a> {
    message: Message<'a>,
    headers: Vec<(&'a str, &'a [u8])>,
    format: &'a Format,
    /// The payload as JSON, where it was Avro.
    unpacked: Result<Option<Vec<u8>>, Reason>,
}

impl<'a> Reader<'a> {
    /// Reads these topics.
    pub fn new(sources: &'a [Source], input: &Input) -> Self {
        Self {
            sources,
            limits: Limits::new(input),
            #[cfg(feature = "avro")]
            registry: (!input.schema_registry.is_empty()).then(|| SchemaRegistry::new(&input.schema_registry)),
        }
    }

    /// Takes a message up. May wait for a schema registry.
    pub fn open<'m>(&mut self, message: &'m BorrowedMessage<'_>, shutdown: &Shutdown) -> Result<Opened<'m>, Error>
    where
        'a: 'm,
    {
        let source = self.sources.iter().find(|source| source.topic == message.topic());
        let format = source.map_or(&Format::Native, |source| &source.format);
        let mut headers = Vec::new();
        if format.reads_headers() {
            let of_message = message.headers().into_iter().flat_map(Headers::iter);
            headers.extend(of_message.map(|header| (header.key, header.value.unwrap_or_default())));
        }
        #[cfg(feature = "avro")]
        let unpacked = match (&mut self.registry, message.payload()) {
            (Some(registry), Some(payload)) => registry.unpack(payload, shutdown)?,
            _ => Ok(None),
        };
        #[cfg(not(feature = "avro"))]
        let (unpacked, _) = (Ok(None), shutdown);
        let message = Message {
            topic: message.topic(),
            key: message.key(),
            payload: message.payload(),
            headers: &[],
            received_ms: received_ms(message),
        };
        Ok(Opened { message, headers, format, unpacked })
    }

    /// The invocations in it, or the reason why it can't be read.
    pub fn decode<'m>(&self, opened: &'m Opened<'_>) -> Result<Invocations<'m>, Reason> {
        let unpacked = opened.unpacked.as_ref().map_err(Clone::clone)?;
        let payload = unpacked.as_deref().or(opened.message.payload);
        let message = Message { payload, headers: &opened.headers, ..opened.message };
        ingest::decode(&message, opened.format, &self.limits)
    }
}

/// The time of a record, epoch ms, where it has one.
pub fn received_ms(message: &BorrowedMessage<'_>) -> Option<i64> {
    message.timestamp().to_millis().filter(|ms| *ms > 0)
}

/// What a header holds, where the message has it.
pub fn header<'m>(message: &'m BorrowedMessage<'_>, name: &str) -> Option<&'m [u8]> {
    message.headers()?.iter().find(|header| header.key == name)?.value
}
