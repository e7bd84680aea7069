//! Who shows which partition. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::pipeline::Look;

use super::Place;

/// What an instance has something to show of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shown {
    /// What tells it from all others.
    pub instance: String,
    /// The partitions that it owns.
    pub partitions: Vec<ShownPartition>,
    /// How many partitions a topic has, as far as it knows.
    pub topics: BTreeMap<String, i32>,
}

/// How far an instance is with a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShownPartition {
    pub topic: String,
    pub partition: i32,
    pub epoch: u64,
    pub next_offset: i64,
}

impl Shown {
    /// What `instance` shows with `look`.
    pub(super) fn of(look: &Look, instance: &str) -> Self {
        let partitions = look.partitions.iter().map(|partition| ShownPartition {
            topic: partition.position.topic.clone(),
            partition: partition.position.partition,
            epoch: partition.epoch,
            next_offset: partition.next_offset,
        });
        Self { instance: instance.to_owned(), partitions: partitions.collect(), topics: look.topics.clone() }
    }
}

/// Who shows what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// For each instance: partitions that it shows and another one is further with.
    pub without: Vec<BTreeSet<Place>>,
    /// Partitions that nobody shows.
    pub missing: Vec<Place>,
    /// Whether anybody knows how many partitions there are.
    pub is_known: bool,
}

/// Gives each partition to the one that is furthest with it: of the highest epoch, and then offset. That of two that are
/// as far which stands first.
pub(super) fn share_out(all: &[Shown]) -> Shares {
    let mut furthest = BTreeMap::new();
    for (i, partition) in each(all) {
        let how_far = (partition.epoch, partition.next_offset);
        let best = furthest.entry(place(partition)).or_insert((how_far, i));
        if how_far > best.0 {
            *best = (how_far, i);
        }
    }
    let mut without = vec![BTreeSet::new(); all.len()];
    for (i, partition) in each(all) {
        let place = place(partition);
        if furthest.get(&place).is_some_and(|(_, best)| *best != i) {
            without[i].insert(place);
        }
    }
    let mut topics = BTreeMap::new();
    for (topic, partitions) in all.iter().flat_map(|shown| &shown.topics) {
        let most = topics.entry(topic).or_insert(0);
        *most = (*most).max(*partitions);
    }
    let there_are = topics.iter().flat_map(|(topic, partitions)| (0..*partitions).map(|i| ((*topic).clone(), i)));
    let missing = there_are.filter(|place| !furthest.contains_key(place)).collect();
    Shares { without, missing, is_known: !topics.is_empty() }
}

fn each(all: &[Shown]) -> impl Iterator<Item = (usize, &ShownPartition)> {
    all.iter().enumerate().flat_map(|(i, shown)| shown.partitions.iter().map(move |partition| (i, partition)))
}

fn place(partition: &ShownPartition) -> Place {
    (partition.topic.clone(), partition.partition)
}

/// Partitions, topic by topic.
pub(super) fn in_words(partitions: &[Place]) -> String {
    let of_topic = |places: &[Place]| {
        let numbers: Vec<_> = places.iter().map(|(_, partition)| partition.to_string()).collect();
        let word = if numbers.len() == 1 { "partition" } else { "partitions" };
        format!("{word} {} of {}", numbers.join(", "), places[0].0)
    };
    partitions.chunk_by(|a, b| a.0 == b.0).map(of_topic).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of topic `t`, of which so many partitions are known: partition, epoch and next offset.
    fn shown(known: i32, partitions: &[(i32, u64, i64)]) -> Shown {
        let partitions = partitions.iter().map(|(partition, epoch, next_offset)| ShownPartition {
            topic: "t".to_owned(),
            partition: *partition,
            epoch: *epoch,
            next_offset: *next_offset,
        });
        let topics = (known > 0).then(|| ("t".to_owned(), known)).into_iter().collect();
        Shown { instance: String::new(), partitions: partitions.collect(), topics }
    }

    fn places(partitions: &[i32]) -> Vec<Place> {
        partitions.iter().map(|partition| ("t".to_owned(), *partition)).collect()
    }

    #[test]
    fn each_partition_is_shown_by_one_and_what_nobody_shows_is_known() {
        // Instances → what each leaves out, what is missing, and whether that is known.
        type Case = (Vec<Shown>, Vec<Vec<i32>>, Vec<i32>, bool);
        let cases: [Case; 6] = [
            (vec![shown(0, &[])], vec![vec![]], vec![], false),
            (vec![shown(2, &[(0, 0, 5)]), shown(2, &[(1, 0, 5)])], vec![vec![], vec![]], vec![], true),
            // Moving: who is further with it, be it by epoch or by offset.
            (vec![shown(1, &[(0, 0, 5)]), shown(1, &[(0, 0, 6)])], vec![vec![0], vec![]], vec![], true),
            (vec![shown(1, &[(0, 1, 5)]), shown(1, &[(0, 0, 6)])], vec![vec![], vec![0]], vec![], true),
            (vec![shown(1, &[(0, 0, 5)]), shown(1, &[(0, 0, 5)])], vec![vec![], vec![0]], vec![], true),
            // One knows more partitions than the other.
            (vec![shown(1, &[(0, 0, 5)]), shown(4, &[(2, 0, 5)])], vec![vec![], vec![]], vec![1, 3], true),
        ];
        for (all, without, missing, is_known) in cases {
            let without = without.iter().map(|partitions| places(partitions).into_iter().collect()).collect();
            let expected = Shares { without, missing: places(&missing), is_known };
            assert_eq!(share_out(&all), expected, "{all:?}");
        }
    }

    #[test]
    fn words() {
        let mut missing = places(&[1, 3]);
        missing.push(("u".to_owned(), 0));
        assert_eq!(in_words(&missing), "partitions 1, 3 of t and partition 0 of u");
    }
}
