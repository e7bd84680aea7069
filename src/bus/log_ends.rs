//! Where the logs end that a consumer reads, as brokers tell it with all that it fetches. From librdkafka's statistics,
//! so that nobody waits for an answer.

use std::collections::HashMap;

use serde::Deserialize;
use tracing::debug;

use super::Position;

/// How often librdkafka tells its statistics. A consumer that reads without a pause is so far behind them at most.
pub(super) const EVERY: (&str, &str) = ("statistics.interval.ms", "1000");

/// The partitions of the topics that a consumer reads, and where each ends.
#[derive(Debug, Default, Deserialize)]
pub struct LogEnds {
    #[serde(default)]
    topics: HashMap<String, Topic>,
}

#[derive(Debug, Deserialize)]
struct Topic {
    /// By their numbers, among which -1 stands for none.
    #[serde(default)]
    partitions: HashMap<i32, Partition>,
}

/// Offsets below 0 are not known.
#[derive(Debug, Deserialize)]
struct Partition {
    /// Of the event to be written next.
    hi_offset: i64,
    /// The same without what belongs to transactions that are open; unknown where those are read too.
    ls_offset: i64,
}

impl LogEnds {
    /// From librdkafka's statistics (JSON).
    pub(super) fn read(statistics: &[u8]) -> Self {
        serde_json::from_slice(statistics).unwrap_or_else(|error| {
            debug!("librdkafka's statistics can't be read: {error}");
            Self::default()
        })
    }

    /// The topics, with how many partitions each has.
    pub fn topics(&self) -> impl Iterator<Item = (&str, i32)> {
        let partitions = |topic: &Topic| topic.partitions.keys().filter(|partition| **partition >= 0).count();
        self.topics.iter().map(move |(name, topic)| (name.as_str(), partitions(topic) as i32))
    }

    /// Offset of the first event of a partition that can't be read yet, where it is known.
    pub fn end(&self, Position { topic, partition }: &Position) -> Option<i64> {
        let partition = self.topics.get(topic)?.partitions.get(partition)?;
        [partition.ls_offset, partition.hi_offset].into_iter().find(|offset| *offset >= 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_none() {
        let statistics = br#"{"name": "x", "topics": {"events": {"age": 1, "partitions": {
            "-1": {"partition": -1, "hi_offset": -1001, "ls_offset": -1001},
            "0": {"partition": 0, "hi_offset": 12, "ls_offset": 10, "lo_offset": 3},
            "1": {"partition": 1, "hi_offset": 7, "ls_offset": -1},
            "2": {"partition": 2, "hi_offset": -1001, "ls_offset": -1001}}}}}"#;
        let ends = LogEnds::read(statistics);
        let end = |topic: &str, partition| ends.end(&Position { topic: topic.to_owned(), partition });
        assert_eq!([end("events", 0), end("events", 1), end("events", 2)], [Some(10), Some(7), None]);
        assert_eq!(ends.topics().collect::<Vec<_>>(), [("events", 3)]);
        assert_eq!([end("events", 3), end("others", 0)], [None, None]);
        assert!(LogEnds::read(b"{").topics.is_empty());
    }
}
