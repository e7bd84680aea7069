//! Where an event was read before it was keyed by app, and which were keyed already.

use std::collections::BTreeMap;
use std::fmt;

use crate::checkpoint::Columns;
use crate::model::Version;

/// Where an event was read first: what the header `pilotlight-source` of a keyed event holds, as
/// `topic/partition/epoch/offset/index`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePosition<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// The place in it.
    pub place: Place,
}

/// A place in a partition: grows from one event to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Raised when the topic was made anew, so that its offsets count as newer: `publish.epoch`; and the message's
    /// offset.
    pub version: Version,
    /// Which of the invocations in the message.
    pub index: u32,
}

impl<'a> SourcePosition<'a> {
    /// Reads a header; `None` where it is of another shape.
    pub fn parse(header: &'a [u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(header).ok()?.split('/');
        // A topic's name has no slash: Kafka refuses it.
        let (topic, partition) = (parts.next()?, parts.next()?.parse().ok()?);
        let version = Version { epoch: parts.next()?.parse().ok()?, position: parts.next()?.parse().ok()? };
        let index = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self { topic, partition, place: Place { version, index } })
    }
}

impl fmt::Display for SourcePosition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { version: Version { epoch, position }, index } = self.place;
        write!(f, "{}/{}/{epoch}/{position}/{index}", self.topic, self.partition)
    }
}

/// How far the events of each source partition have come to this partition of keyed events.
///
/// Who keys writes the events of a source partition in their order, and after a crash begins again at or before the
/// first that was not delivered. Whoever else does the same at that moment writes the same. So a place that is not
/// past the furthest one is that of an event which has come already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    furthest: BTreeMap<Box<str>, BTreeMap<i32, Place>>,
}

impl Sources {
    /// Goes on from what [`Sources::furthest`] gave.
    pub fn restore<'a>(furthest: impl IntoIterator<Item = (&'a str, i32, Place)>) -> Self {
        let mut sources = Self::default();
        for (topic, partition, place) in furthest {
            sources.furthest.entry(topic.into()).or_default().insert(partition, place);
        }
        sources
    }

    /// As a column, of one header a line.
    pub fn columns(&mut self, columns: &mut impl Columns) {
        let header = |(topic, partition, place)| SourcePosition { topic, partition, place }.to_string();
        let headers: Vec<_> = self.furthest().map(header).collect();
        let mut text = (!headers.is_empty()).then(|| headers.join("\n"));
        columns.text("sources", &mut text);
        let furthest =
            text.iter().flat_map(|text| text.lines()).filter_map(|line| SourcePosition::parse(line.as_bytes()));
        *self = Self::restore(furthest.map(|source| (source.topic, source.partition, source.place)));
    }

    /// The furthest place of each source partition, in the order of their names.
    pub fn furthest(&self) -> impl Iterator<Item = (&str, i32, Place)> {
        self.furthest
            .iter()
            .flat_map(|(topic, places)| places.iter().map(move |(partition, place)| (&**topic, *partition, *place)))
    }

    /// Whether the event did not come before; from now on it did.
    pub fn is_new(&mut self, source: &SourcePosition) -> bool {
        let place = source.place;
        match self.furthest.get_mut(source.topic).and_then(|places| places.get_mut(&source.partition)) {
            Some(furthest) if *furthest >= place => false,
            Some(furthest) => {
                *furthest = place;
                true
            }
            None => {
                self.furthest.entry(source.topic.into()).or_default().insert(source.partition, place);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_keyed_twice_is_known_by_its_place() {
        let mut sources = Sources::default();
        let mut is_new = |header: &str| {
            let source = SourcePosition::parse(header.as_bytes()).unwrap();
            assert_eq!(source.to_string(), header);
            sources.is_new(&source)
        };
        let written = ["t/0/0/5/0", "t/0/0/5/1", "t/1/0/5/0", "u/0/0/3/0", "t/0/0/9/0"];
        assert!(written.iter().all(|header| is_new(header)));
        // The one who keyed crashed, and the next one began again earlier.
        assert!(!written.iter().any(|header| is_new(header)));
        assert!(is_new("t/0/0/10/0") && is_new("t/0/1/0/0") && !is_new("t/0/0/11/0"));
        assert_eq!(Sources::restore(sources.furthest()), sources);
    }

    #[test]
    fn a_header_of_another_shape_is_none() {
        for header in ["", "t", "t/0/0/5", "t/0/0/5/0/0", "t/x/0/5/0", "t/0/0/5/-1"] {
            assert_eq!(SourcePosition::parse(header.as_bytes()), None, "{header}");
        }
        assert_eq!(SourcePosition::parse(b"\xff/0/0/5/0"), None);
    }
}
