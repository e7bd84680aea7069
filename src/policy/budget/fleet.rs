//! The curves of all shards → one price. Each shard's latest is the record of its partition on the compacted topic.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::curve::OtherPrices;
use super::{Curve, Solution, Target, solve};

/// A shard's curve as it is published: `schemas/curve.v1.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardCurve {
    /// Input topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset of the last event that the curve rests on.
    pub position: i64,
    /// The moment of event time that it is for, epoch ms.
    pub at_ms: i64,
    /// Worth of one avoided cold start that the partition goes on with, MB·s.
    pub price_mb_s: f64,
    /// What the partition's apps are expected to cost.
    pub curve: Curve,
}

impl ShardCurve {
    /// Key of the record: topic/partition.
    pub fn record_key(&self) -> String {
        format!("{}/{}", self.topic, self.partition)
    }
}

/// The latest curve of every shard.
#[derive(Debug, Default)]
pub struct Fleet {
    latest: BTreeMap<(String, i32), ShardCurve>,
}

impl Fleet {
    /// Takes a record into account, unless a newer one of its partition is known. The order in which those of different
    /// partitions come does not matter.
    pub fn take(&mut self, record: ShardCurve) {
        let place = (record.topic.clone(), record.partition);
        let known = self.latest.get(&place).is_some_and(|known| known.position >= record.position);
        if !known {
            self.latest.insert(place, record);
        }
    }

    /// The curve of all apps; `None` where there is none yet.
    ///
    /// # Errors
    /// If the shards' prices differ.
    pub fn sum(&self) -> Result<Option<Curve>, OtherPrices> {
        let mut curves = self.latest.values().map(|record| &record.curve);
        let Some(mut sum) = curves.next().cloned() else { return Ok(None) };
        curves.try_for_each(|curve| sum.add(curve))?;
        Ok(Some(sum))
    }

    /// The price for all.
    ///
    /// # Errors
    /// If the shards' prices differ.
    pub fn solve(&self, target: Target, in_force_mb_s: f64) -> Result<Option<Solution>, OtherPrices> {
        Ok(self.sum()?.map(|curve| solve(&curve, target, in_force_mb_s)))
    }
}
