//! A shard ⇄ a snapshot of it: all that its next decisions follow from.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, SendError, SyncSender};

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use tracing::warn;

use crate::bus::Position;
use crate::checkpoint::{About, BATCH_ROWS, Columns, Packed, RowWriter, SCHEMA, Snapshot, read_rows};
use crate::history;
use crate::policy::budget::Schedule;

use super::shard::{Decider, Entry, Shard};

/// Rows that are read at a time when a shard is loaded.
const PIECE_ROWS: usize = 1 << 10;

type Entries = Result<Vec<(String, Entry)>, ArrowError>;

impl Shard {
    /// All of it, after the events before `offset` of the partition at `position` of a Kafka cluster. Changes nothing.
    pub fn save(
        &mut self,
        cluster: Option<&str>,
        position: &Position,
        offset: i64,
        decider: &Decider,
    ) -> Result<Snapshot, ArrowError> {
        let mut history = self.history.as_mut().map(|history| history.save()).transpose()?.unwrap_or_default();
        let mut partition = RowWriter::default();
        partition.row(|columns| {
            self.columns(columns);
            history.columns(columns);
        })?;
        let mut apps = RowWriter::default();
        for (app, entry) in self.apps.iter_mut() {
            apps.row(|columns| {
                columns.text("app", &mut Some(app.to_owned()));
                entry.columns(columns);
            })?;
        }
        let about = About {
            schema: SCHEMA,
            cluster: cluster.map(str::to_owned),
            topic: position.topic.clone(),
            partition: position.partition,
            offset,
            epoch: self.epoch,
            policy: decider.policy_words.clone(),
            kept: decider.kept(),
        };
        Ok(Snapshot { about, partition: partition.finish()?, apps: apps.finish()? })
    }

    /// The shard whose checkpoint `packed` is.
    pub fn load(packed: &Packed, decider: &Decider) -> Result<Self, ArrowError> {
        let mut shard = Self::new(decider, packed.about.epoch);
        let mut history = history::Saved::default();
        read_rows(&packed.partition, |columns| {
            shard.columns(columns);
            history.columns(columns);
        })?;
        shard.history = match decider.history {
            Some(cut) => history.load(cut)?.map(Box::new),
            None => {
                if history.is_some() {
                    let About { topic, partition, .. } = &packed.about;
                    warn!("history is kept no more: what is in no file yet of {topic}/{partition} is dropped");
                }
                None
            }
        };
        let other_policy = packed.about.policy != decider.policy_words;
        // All parts but the last are full.
        shard.apps.reserve(packed.parts().saturating_sub(1) * BATCH_ROWS);
        each_entry(packed, |app, mut entry| {
            if packed.about.schema < 2 {
                // They were not counted: these are known.
                entry.state.invocations = u64::from(entry.state.arrivals.idle_times) + 1;
            }
            if other_policy {
                entry.in_force.end();
            }
            shard.apps.insert(app, entry);
        })?;
        Ok(shard)
    }

    fn columns(&mut self, columns: &mut impl Columns) {
        // Epoch, apps and history stand elsewhere; nothing is awaited when it is saved.
        let Self {
            epoch: _,
            order,
            planner,
            apps: _,
            awaited: _,
            watermark_ms,
            sweep_at_ms,
            schedule,
            misses_target,
            stretch_events,
            stretch_began_ms,
            history: _,
        } = self;
        columns.number("watermark_ms", watermark_ms);
        columns.number("sweep_at_ms", sweep_at_ms);
        columns.number("stretch_events", stretch_events);
        columns.number("stretch_began_ms", stretch_began_ms);
        columns.flag("misses_target", misses_target);
        order.columns(columns);
        planner.columns(columns);
        Schedule::columns(schedule, planner.kept().minute_ms, columns);
    }
}

/// Hands all apps of `packed` to `take`, in any order. All cores unpack and read meanwhile, because somebody waits for it,
/// a few rows ahead of what was taken: so memory is used again, instead of being asked for from the system.
fn each_entry(packed: &Packed, mut take: impl FnMut(String, Entry)) -> Result<(), ArrowError> {
    let readers = std::thread::available_parallelism().map_or(1, usize::from).min(packed.parts());
    let next = AtomicUsize::new(0);
    let (give, given) = mpsc::sync_channel(2 * readers);
    std::thread::scope(|scope| {
        // Ends after an error, when nobody takes any more.
        let read = |give: &SyncSender<Entries>| -> Result<(), SendError<Entries>> {
            loop {
                match packed.part(next.fetch_add(1, Ordering::Relaxed)) {
                    Ok(Some(part)) => {
                        for from in (0..part.num_rows()).step_by(PIECE_ROWS) {
                            let piece = part.slice(from, PIECE_ROWS.min(part.num_rows() - from));
                            give.send(read_entries(&piece))?;
                        }
                    }
                    Ok(None) => return Ok(()),
                    Err(error) => give.send(Err(error))?,
                }
            }
        };
        let readers: Vec<_> = (0..readers)
            .map(|_| {
                let give = give.clone();
                scope.spawn(move || read(&give))
            })
            .collect();
        drop(give);
        let taken = given.into_iter().try_for_each(|entries| {
            entries?.into_iter().for_each(|(app, entry)| take(app, entry));
            Ok(())
        });
        // Each is joined: one that is not would break this thread off too.
        let broken_off = readers.into_iter().map(|reader| reader.join()).filter(Result::is_err).count();
        if broken_off == 0 { taken } else { Err(ArrowError::ComputeError("a thread broke off".to_owned())) }
    })
}

fn read_entries(piece: &RecordBatch) -> Entries {
    let mut entries = Vec::with_capacity(piece.num_rows());
    read_rows(std::slice::from_ref(piece), |columns| {
        let (mut app, mut entry) = (None, Entry::default());
        columns.text("app", &mut app);
        entry.columns(columns);
        entries.push((app.unwrap_or_default(), entry));
    })?;
    Ok(entries)
}

impl Entry {
    fn columns(&mut self, columns: &mut impl Columns) {
        let Self { state, in_force, published, awaits: _ } = self;
        state.columns(columns);
        in_force.columns(columns);
        published.columns(columns);
    }
}

impl Decider {
    /// What the policy wants to be kept, as it stands in a checkpoint.
    fn kept(&self) -> serde_json::Value {
        // Numbers and names: always JSON.
        serde_json::to_value(self.policy.kept()).unwrap_or_default()
    }

    /// Why the state in a checkpoint is none to go on with, with this policy on this cluster; if it is not.
    pub fn misfit(&self, about: &About, cluster: Option<&str>) -> Option<String> {
        if let (Some(saved), Some(here)) = (about.cluster.as_deref(), cluster)
            && saved != here
        {
            return Some(format!("its offset is one of Kafka cluster {saved}, and this is {here}"));
        }
        let kept = self.kept();
        // What a later version keeps besides has a default.
        let fits =
            about.kept.as_object().is_some_and(|saved| saved.iter().all(|(key, value)| kept.get(key) == Some(value)));
        (!fits).then(|| {
            format!(
                "its state was kept for policy '{}', and '{}' wants other bins or series",
                about.policy, self.policy_words
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{decode, encode};
    use crate::config::Settings;
    use crate::model::{Code, Invocation, Trigger};
    use crate::pipeline::Outcome;

    const MINUTE: i64 = 60_000;

    fn decider(policy: &str) -> Decider {
        let flags = [("policy.name", policy.to_owned()), ("publish.forget_after", "2d".to_owned())];
        Decider::new(&Settings::load(Some("/dev/null".as_ref()), &flags).unwrap()).unwrap()
    }

    fn position() -> Position {
        Position { topic: "events".to_owned(), partition: 3 }
    }

    /// Timers, bursts that overlap, rare apps, ones that fall silent, code that changes.
    fn event(i: i64) -> Invocation<'static> {
        const APPS: [&str; 7] = ["timer", "burst", "rare", "silent", "coded", "jitter", "long"];
        let app = if i > 3000 && i % 7 == 3 { APPS[0] } else { APPS[i as usize % 7] };
        let begin = 1_700_000_000_000 + i * MINUTE / 2;
        let (start_ms, duration_ms) = match app {
            "burst" => (begin - i % 4 * 200, 90_000.0),
            "rare" => (begin + i % 300 * 10 * MINUTE, 0.5),
            "jitter" => (begin + i * 7919 % (20 * MINUTE), 12.0),
            _ => (begin, 1.0),
        };
        let mut event = Invocation::new(app, "f", start_ms, duration_ms);
        // Some come twice.
        event.id = (i % 3 == 0).then(|| format!("id-{}", i / 50).into());
        event.trigger = (app == "timer").then_some(Trigger::Timer);
        event.memory_mb = (app == "coded").then_some(64.0 + (i / 1000) as f64);
        event.code = (app == "coded").then(|| Code { uri: format!("file:///code-{}", i / 900), sha256: None });
        event
    }

    fn run(shard: &mut Shard, events: std::ops::Range<i64>, decider: &Decider) -> Vec<(Outcome, usize)> {
        events
            .map(|i| {
                let event = event(i);
                let outcome = shard.receive(std::slice::from_ref(&event), Some(event.ended_at_ms()), i, decider);
                let forgotten = shard.forget_silent(decider).len();
                shard.reprice(decider);
                shard.stretch_ends(decider);
                (outcome, forgotten)
            })
            .collect()
    }

    #[test]
    fn what_is_resumed_goes_on_as_if_nothing_had_been() {
        for policy in
            ["frontier", "frontier:weight=app", "frontier:budget=2GB", "hybrid:range=1h,min_idle_times=3", "fixed"]
        {
            let decider = decider(policy);
            let mut undisturbed = Shard::new(&decider, 4);
            let mut resumed = Shard::new(&decider, 4);
            for i in (0..9000).step_by(450) {
                let snapshot = resumed.save(None, &position(), i, &decider).unwrap();
                resumed = Shard::load(&Packed::open(encode(&snapshot).unwrap()).unwrap(), &decider).unwrap();
                let (expected, found) =
                    (run(&mut undisturbed, i..i + 450, &decider), run(&mut resumed, i..i + 450, &decider));
                assert_eq!(found, expected, "{policy} from {i}");
            }
            let forgotten = format!("{undisturbed:?}").len();
            assert!(forgotten > 1000 && undisturbed.apps() == resumed.apps());
        }
    }

    #[test]
    fn each_change_of_a_byte_is_noticed() {
        let decider = decider("hybrid");
        let mut shard = Shard::new(&decider, 0);
        run(&mut shard, 0..50, &decider);
        let bytes = encode(&shard.save(None, &position(), 50, &decider).unwrap()).unwrap();
        assert!(decode(bytes.clone()).is_ok());
        for at in (0..bytes.len()).step_by(97).chain(bytes.len() - 200..bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(matches!(decode(damaged), Err(crate::checkpoint::Unusable::Damaged(_))), "at {at}");
            assert!(matches!(decode(bytes[..at].to_vec()), Err(crate::checkpoint::Unusable::Damaged(_))), "up to {at}");
        }
    }

    #[test]
    fn state_for_another_price_is_gone_on_with_and_for_other_bins_or_another_cluster_is_not() {
        let (hybrid, frontier, dearer) = (decider("hybrid"), decider("frontier"), decider("frontier:price=900GBs"));
        let mut shard = Shard::new(&frontier, 0);
        run(&mut shard, 0..50, &frontier);
        let snapshot = shard.save(Some("one"), &position(), 50, &frontier).unwrap();
        assert_eq!(frontier.misfit(&snapshot.about, Some("one")), None);
        assert_eq!(dearer.misfit(&snapshot.about, None), None);
        assert!(frontier.misfit(&snapshot.about, Some("other")).unwrap().contains("cluster"));
        let said = hybrid.misfit(&snapshot.about, None).unwrap();
        assert!(said.contains("frontier:") && said.contains("hybrid:"), "{said}");
    }
}
