//! Who is there, and which of them is the home of which partition of the control topic. Pure: it is told what is read
//! and what the consumer group gives and takes.
//!
//! What was ours stays ours until another says that it is his: between two homes nobody would act on an app's
//! decisions, and while Kafka is away the group takes everything from everybody.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

/// What an agent says of itself: `schemas/agent.v1.json`. The key of its record is the node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Name of the node.
    pub node: String,
    /// The fleet that it belongs to.
    pub fleet: String,
    /// Random, for as long as the agent runs: tells two of one name apart.
    pub run: String,
    /// Where its gateway answers other agents.
    pub url: String,
    /// The partitions of the control topic that it is the home of.
    pub partitions: Vec<Claim>,
    /// Memory that runtimes may take together, MB.
    pub memory_mb: u32,
    /// The part of it that is free, MB.
    pub free_mb: u32,
    /// When it was written, epoch ms by the clock of the node.
    pub at_ms: i64,
}

/// One partition of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The partition.
    pub partition: i32,
    /// When the agent became its home, epoch ms by the clock of the node. Another number is another claim; which of two
    /// agents' claims is the later one, only the order of their records says.
    pub since_ms: i64,
}

/// Another agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its node.
    pub node: String,
    /// Where it answers.
    pub url: String,
}

/// The home of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// This agent.
    Here,
    /// Another one.
    At(Peer),
    /// Nobody says that it is.
    Unknown,
}

/// The agents of a fleet, as one of them sees them.
#[derive(Debug)]
pub(super) struct Members {
    node: String,
    run: String,
    agents: BTreeMap<String, Member>,
    /// Of each partition, who claimed it last.
    homes: HashMap<i32, String>,
    /// Records read so far that said something of homes.
    read: u64,
    /// Whether one of them was our own.
    read_own: bool,
    /// What the group has given us.
    given: BTreeSet<i32>,
    /// What we are the home of, and since when.
    ours: BTreeMap<i32, i64>,
}

#[derive(Debug)]
struct Member {
    record: AgentRecord,
    /// Which record of all it was that claimed a partition first.
    claimed_at: HashMap<i32, u64>,
}

impl Members {
    pub(super) fn new(node: &str, run: &str) -> Self {
        Self {
            node: node.to_owned(),
            run: run.to_owned(),
            agents: BTreeMap::new(),
            homes: HashMap::new(),
            read: 0,
            read_own: false,
            given: BTreeSet::new(),
            ours: BTreeMap::new(),
        }
    }

    /// A record of `node` was read, or its tombstone. The partitions that are ours no more.
    pub(super) fn read(&mut self, node: &str, record: Option<AgentRecord>) -> Vec<i32> {
        if let (Some(Member { record: before, .. }), Some(record)) = (self.agents.get_mut(node), &record)
            && (&before.run, &before.partitions) == (&record.run, &record.partitions)
        {
            // Nothing new about homes, as mostly.
            before.clone_from(record);
            return Vec::new();
        }
        self.read += 1;
        let before = self.agents.remove(node);
        if let Some(record) = record {
            self.read_own |= node == self.node && record.run == self.run;
            let same = |claim: &Claim| {
                let before = before.as_ref().filter(|before| before.record.run == record.run)?;
                before.record.partitions.contains(claim).then(|| before.claimed_at.get(&claim.partition).copied())?
            };
            let claimed_at =
                record.partitions.iter().map(|claim| (claim.partition, same(claim).unwrap_or(self.read))).collect();
            self.agents.insert(node.to_owned(), Member { record, claimed_at });
        }
        self.homes.clear();
        let mut latest = HashMap::new();
        for (node, member) in &self.agents {
            for (partition, at) in &member.claimed_at {
                if latest.get(partition).is_none_or(|latest| at > latest) {
                    latest.insert(*partition, *at);
                    self.homes.insert(*partition, node.clone());
                }
            }
        }
        let lost: Vec<i32> = self.ours.keys().copied().filter(|partition| self.is_lost(*partition)).collect();
        self.ours.retain(|partition, _| !lost.contains(partition));
        lost
    }

    /// Whether another agent took our name after us.
    pub(super) fn is_named_twice(&self) -> bool {
        self.read_own && self.agents.get(&self.node).is_some_and(|member| member.record.run != self.run)
    }

    /// The group gives us these; they are ours when they have been read.
    pub(super) fn give(&mut self, partitions: &[i32]) {
        self.given.extend(partitions);
    }

    /// A partition that was given has been read.
    pub(super) fn has_read(&mut self, partition: i32, now_ms: i64) {
        if self.given.contains(&partition) {
            // A new claim each time: another may have claimed it since the last one.
            let since_ms = self.ours.get(&partition).map_or(now_ms, |since_ms| now_ms.max(since_ms + 1));
            self.ours.insert(partition, since_ms);
        }
    }

    /// Whether the group has given us a partition.
    pub(super) fn is_given(&self, partition: i32) -> bool {
        self.given.contains(&partition)
    }

    /// What the group has given us.
    pub(super) fn given(&self) -> Vec<i32> {
        self.given.iter().copied().collect()
    }

    /// The group takes these away. Those of them that are ours no more: another has claimed them, or we never read
    /// them.
    pub(super) fn take(&mut self, partitions: &[i32]) -> Vec<i32> {
        self.given.retain(|partition| !partitions.contains(partition));
        let lost: Vec<i32> = partitions
            .iter()
            .copied()
            .filter(|partition| !self.ours.contains_key(partition) || self.is_lost(*partition))
            .collect();
        self.ours.retain(|partition, _| !lost.contains(partition));
        lost
    }

    /// Whether another agent has claimed a partition that the group took from us.
    fn is_lost(&self, partition: i32) -> bool {
        !self.given.contains(&partition) && self.homes.get(&partition).is_some_and(|home| *home != self.node)
    }

    /// The home of a partition.
    pub(super) fn home(&self, partition: i32) -> Home {
        if self.ours.contains_key(&partition) {
            return Home::Here;
        }
        let home = self.homes.get(&partition).filter(|home| **home != self.node);
        match home.and_then(|home| self.agents.get(home)) {
            Some(Member { record, .. }) => Home::At(Peer { node: record.node.clone(), url: record.url.clone() }),
            None => Home::Unknown,
        }
    }

    /// What we are the home of.
    pub(super) fn ours(&self) -> Vec<Claim> {
        self.ours.iter().map(|(partition, since_ms)| Claim { partition: *partition, since_ms: *since_ms }).collect()
    }

    /// What the agents say of themselves, by their nodes; without the partitions that a later agent has claimed.
    pub(super) fn view(&self) -> Vec<AgentRecord> {
        self.agents
            .iter()
            .map(|(node, member)| {
                let mut record = member.record.clone();
                record.partitions.retain(|claim| self.homes.get(&claim.partition) == Some(node));
                record
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(node: &str, claims: &[(i32, i64)]) -> Option<AgentRecord> {
        Some(AgentRecord {
            node: node.to_owned(),
            fleet: "f".to_owned(),
            run: format!("{node}-1"),
            url: format!("http://{node}"),
            partitions: claims
                .iter()
                .map(|(partition, since_ms)| Claim { partition: *partition, since_ms: *since_ms })
                .collect(),
            memory_mb: 100,
            free_mb: 50,
            at_ms: 0,
        })
    }

    fn at(node: &str) -> Home {
        Home::At(Peer { node: node.to_owned(), url: format!("http://{node}") })
    }

    fn us() -> Members {
        let mut members = Members::new("us", "us-1");
        members.give(&[0, 1]);
        members.has_read(0, 5);
        members
    }

    #[test]
    fn what_was_given_and_read_is_ours_until_another_claims_it() {
        let mut members = us();
        assert_eq!([members.home(0), members.home(1)], [Home::Here, Home::Unknown]);
        members.read("us", record("us", &[(0, 5)]));
        assert!(members.read("other", record("other", &[(0, 9)])).is_empty(), "an old claim: the group gave it to us");
        assert_eq!(members.home(0), Home::Here);
        assert_eq!(members.take(&[0, 1]), [0, 1], "one was claimed meanwhile, one never read");

        let mut members = us();
        members.read("us", record("us", &[(0, 5)]));
        assert!(members.take(&[0]).is_empty());
        assert_eq!(members.home(0), Home::Here, "nobody else acts on it yet");
        members.read("us", record("us", &[(0, 5)]));
        assert_eq!(members.read("other", record("other", &[(0, 2)])), [0]);
        assert_eq!((members.home(0), members.ours()), (at("other"), vec![]));
    }

    #[test]
    fn of_two_claims_the_later_one_counts_whatever_the_clocks_say() {
        let mut members = Members::new("us", "us-1");
        members.read("killed", record("killed", &[(0, 1_000), (1, 1_000)]));
        members.read("next", record("next", &[(0, 10)]));
        assert_eq!([members.home(0), members.home(1), members.home(2)], [at("next"), at("killed"), Home::Unknown]);
        // Word from one who does not know yet that it lost the partition is no new claim.
        members.read("killed", record("killed", &[(0, 1_000), (1, 1_000)]));
        assert_eq!(members.home(0), at("next"));
        assert_eq!(members.view()[0].partitions, [Claim { partition: 1, since_ms: 1_000 }]);
        // One that has it again says so with another time.
        members.read("killed", record("killed", &[(0, 1_001)]));
        assert_eq!(members.home(0), at("killed"));
        // One that ended.
        members.read("killed", None);
        assert_eq!([members.home(0), members.home(1)], [at("next"), Home::Unknown]);
    }

    #[test]
    fn what_is_given_again_is_claimed_anew() {
        let mut members = us();
        members.take(&[0]);
        members.give(&[0]);
        members.has_read(0, 5);
        assert_eq!(members.ours(), [Claim { partition: 0, since_ms: 6 }]);
        members.has_read(7, 5);
        assert_eq!(members.ours().len(), 1, "it was taken away before it was read");
    }

    #[test]
    fn another_of_our_name_is_noticed() {
        let mut members = us();
        members.read("us", record("us", &[]));
        assert!(!members.is_named_twice());
        let mut other = record("us", &[]).unwrap();
        other.run = "another".to_owned();
        members.read("us", Some(other));
        assert!(members.is_named_twice());
    }
}
