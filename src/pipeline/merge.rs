//! Messages of several partitions, merged by the time of their events. Pure.
//!
//! Whoever has fallen behind gets a long run of one partition, then one of the next. Keyed in that order, an app's
//! events from several partitions would come far out of the order of time. So the message that goes next is the
//! earliest of those that stand first in their partitions, and an old one waits until each partition has one.

use std::collections::{BTreeMap, VecDeque};

use crate::bus::Position;

/// A partition is read no further while so many of its messages wait,
const MAX_WAITING: usize = 5_000;
/// or so many bytes of them.
const MAX_WAITING_BYTES: usize = 4 << 20;

/// A message that waits.
#[derive(Debug)]
pub struct Waiting<T> {
    /// When its events ended, epoch ms; the least number where it has none, which goes as soon as it stands first.
    pub ended_at_ms: i64,
    /// What it takes in memory.
    pub bytes: usize,
    /// Whether it was written a while ago: then there may be earlier ones to be read of other partitions.
    pub is_old: bool,
    /// The message.
    pub message: T,
}

/// The partitions that are read, and what waits of each.
#[derive(Debug)]
pub struct Merge<T> {
    partitions: BTreeMap<Position, Queue<T>>,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<Waiting<T>>,
    bytes: usize,
    /// Whether nobody waits for its next message.
    is_silent: bool,
    is_paused: bool,
}

impl<T> Default for Merge<T> {
    fn default() -> Self {
        Self { partitions: BTreeMap::new() }
    }
}

impl<T> Merge<T> {
    /// Reads another partition.
    pub fn gain(&mut self, position: Position) {
        self.partitions
            .insert(position, Queue { waiting: VecDeque::new(), bytes: 0, is_silent: false, is_paused: false });
    }

    /// Reads a partition no more, and drops what waits of it.
    pub fn lose(&mut self, position: &Position) {
        self.partitions.remove(position);
    }

    /// Takes the next message of a partition. One of a partition that is read no more is dropped.
    pub fn push(&mut self, position: &Position, waiting: Waiting<T>) {
        if let Some(queue) = self.partitions.get_mut(position) {
            queue.bytes += waiting.bytes;
            queue.is_silent = false;
            queue.waiting.push_back(waiting);
        }
    }

    /// Waits no more for the partitions that have no message, until they have one.
    pub fn wait_no_more(&mut self) {
        self.partitions.values_mut().for_each(|queue| queue.is_silent = queue.waiting.is_empty());
    }

    /// Whether something waits.
    pub fn is_waiting(&self) -> bool {
        self.partitions.values().any(|queue| !queue.waiting.is_empty())
    }

    /// The message that goes next, with its partition; `None` where one must come first that may be earlier.
    pub fn pop(&mut self) -> Option<(&Position, T)> {
        let someone_is_awaited = self.partitions.values().any(|queue| queue.waiting.is_empty() && !queue.is_silent);
        let heads = self.partitions.iter_mut().filter_map(|(position, queue)| {
            let first = queue.waiting.front()?;
            Some((first.ended_at_ms, first.is_old, position, queue))
        });
        let (_, is_old, position, queue) = heads.min_by_key(|(ended_at_ms, ..)| *ended_at_ms)?;
        if is_old && someone_is_awaited {
            return None;
        }
        let next = queue.waiting.pop_front()?;
        queue.bytes -= next.bytes;
        Some((position, next.message))
    }

    /// Which partitions are to be read no further from now on, and which again: only what changed since the last call.
    pub fn by_room(&mut self) -> ByRoom {
        let mut by_room = ByRoom::default();
        for (position, queue) in &mut self.partitions {
            let is_full = queue.waiting.len() >= MAX_WAITING || queue.bytes >= MAX_WAITING_BYTES;
            if is_full != queue.is_paused {
                queue.is_paused = is_full;
                let changed = if is_full { &mut by_room.pause } else { &mut by_room.resume };
                changed.push(position.clone());
            }
        }
        by_room
    }
}

/// Partitions whose reading is to change, because there is no room for more of them, or there is again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ByRoom {
    /// To be read no further for now.
    pub pause: Vec<Position>,
    /// To be read again.
    pub resume: Vec<Position>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(partition: i32) -> Position {
        Position { topic: "t".to_owned(), partition }
    }

    fn waiting(ended_at_ms: i64) -> Waiting<i64> {
        Waiting { ended_at_ms, bytes: 1, is_old: true, message: ended_at_ms }
    }

    fn all(merge: &mut Merge<i64>) -> Vec<i64> {
        std::iter::from_fn(|| merge.pop().map(|(_, message)| message)).collect()
    }

    #[test]
    fn the_earliest_of_all_goes_next_and_an_old_one_waits_for_those_that_may_be_earlier() {
        let mut merge = Merge::default();
        (0..2).for_each(|partition| merge.gain(position(partition)));
        for ended_at_ms in [10, 30, 20, 50] {
            merge.push(&position(0), waiting(ended_at_ms));
        }
        assert!(merge.pop().is_none(), "partition 1 may have an earlier one");
        for ended_at_ms in [5, 15, 60] {
            merge.push(&position(1), waiting(ended_at_ms));
        }
        assert_eq!(all(&mut merge), [5, 10, 15, 30, 20, 50], "each partition in its own order");
        merge.push(&position(1), Waiting { is_old: false, ..waiting(55) });
        assert!(merge.pop().is_none(), "an old one stands before the new one");
        merge.wait_no_more();
        assert_eq!(all(&mut merge), [60, 55]);
        merge.push(&position(0), Waiting { is_old: false, ..waiting(70) });
        assert_eq!(all(&mut merge), [70], "a new one waits for nobody");
        assert!(!merge.is_waiting());
    }

    #[test]
    fn a_partition_that_is_lost_holds_nobody_up_and_a_full_one_is_not_read() {
        let mut merge = Merge::default();
        (0..3).for_each(|partition| merge.gain(position(partition)));
        (0..MAX_WAITING as i64).for_each(|i| merge.push(&position(0), waiting(i)));
        merge.push(&position(2), waiting(i64::MAX));
        assert_eq!(merge.by_room(), ByRoom { pause: vec![position(0)], resume: vec![] });
        assert_eq!(merge.by_room(), ByRoom::default(), "said once");
        assert!(merge.pop().is_none() && merge.is_waiting());
        merge.lose(&position(1));
        merge.push(&position(1), waiting(0));
        assert_eq!(all(&mut merge).len(), MAX_WAITING);
        assert_eq!(merge.by_room(), ByRoom { pause: vec![], resume: vec![position(0)] });
    }
}
