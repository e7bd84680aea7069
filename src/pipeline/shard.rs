//! One partition's part of the flow: state, policy and publishing of its apps. Pure, so that the same events give the
//! same decisions however they are cut into batches; the pipeline feeds it and sends what comes out.

use crate::config::Settings;
use crate::model::{Decision, Invocation, Version};
use crate::policy::{InForce, Planner, Policy, SpecError};
use crate::publish::{self, Published, Rules};
use crate::state::{AppState, AppTable, Observed};

/// What all shards share.
#[derive(Debug, Clone)]
pub struct Decider {
    pub(super) policy: Policy,
    /// The policy in words, to tell whether state was made under another one.
    pub(super) policy_words: String,
    rules: Rules,
    forget_after_ms: i64,
    stretch_events: u64,
    stretch_ms: i64,
}

impl Decider {
    /// From the settings.
    pub fn new(settings: &Settings) -> Result<Self, SpecError> {
        Ok(Self {
            policy: settings.policy.build()?,
            policy_words: settings.policy.in_words(),
            rules: Rules::new(settings),
            forget_after_ms: settings.publish.forget_after.0,
            stretch_events: settings.checkpoint.events,
            stretch_ms: settings.checkpoint.every.0,
        })
    }

    /// Silent apps are looked for so often.
    fn sweep_every_ms(&self) -> i64 {
        (self.forget_after_ms / SWEEPS).max(1)
    }
}

/// The apps of one partition. All of it goes into a checkpoint: see [`super::saved`].
#[derive(Debug)]
pub struct Shard {
    /// First part of the versions of its decisions.
    pub(super) epoch: u64,
    pub(super) planner: Planner,
    pub(super) apps: AppTable<Entry>,
    /// The latest end of an execution seen: what "now" is for the silence of an app.
    pub(super) watermark_ms: i64,
    /// When to look for silent apps next.
    pub(super) sweep_at_ms: i64,
    /// Events since the last stretch ended, and the watermark then.
    pub(super) stretch_events: u64,
    pub(super) stretch_began_ms: i64,
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) state: AppState,
    pub(super) in_force: InForce,
    pub(super) published: Published,
}

/// Silent apps are looked for so many times in the span after which one is forgotten.
const SWEEPS: i64 = 14;

impl Shard {
    /// No apps yet.
    pub fn new(decider: &Decider, epoch: u64) -> Self {
        Self {
            epoch,
            stretch_events: 0,
            stretch_began_ms: 0,
            planner: Planner::new(decider.policy.clone()),
            apps: AppTable::default(),
            watermark_ms: 0,
            sweep_at_ms: 0,
        }
    }

    /// Takes the event at offset `position` into account. Returns the decision that it leads to, if it leads to one.
    pub fn apply(&mut self, invocation: &Invocation, position: i64, decider: &Decider) -> Option<Decision> {
        let now_ms = invocation.ended_at_ms();
        // One event with a clock far ahead must not make all other apps look silent.
        let step_ms = if self.watermark_ms == 0 { i64::MAX } else { decider.sweep_every_ms() };
        self.watermark_ms = now_ms.min(self.watermark_ms.saturating_add(step_ms)).max(self.watermark_ms);
        self.stretch_events += 1;
        let version = self.version(position);
        let (name, rules, planner) = (&*invocation.app, &decider.rules, &mut self.planner);
        let start_ms = invocation.started_at_ms;

        let Some(entry) = self.apps.get_mut(name) else {
            let state = AppState::first(invocation, planner.silence_ms(start_ms), planner.kept());
            let in_force = planner.plan(&state.arrivals, state.memory_mb_or(rules.default_memory_mb));
            let published = publish::summary(&state, &in_force.plan, now_ms, rules);
            let entry = self.apps.insert(name, Entry { state, in_force, published });
            return Some(entry.decision(name, version, now_ms, decider));
        };

        if let Observed::Idle(idle_ms) = entry.state.arrivals.observe(start_ms) {
            planner.learn(&entry.state.arrivals, idle_ms, start_ms, 1);
        }
        let due = match entry.state.apply(invocation, planner.kept()) {
            Observed::Idle(_) => {
                entry.in_force.count(1);
                entry.renew(planner, rules);
                let new = publish::summary(&entry.state, &entry.in_force.plan, now_ms, rules);
                let due = new.counts_from_its_end()
                    || publish::differs(&entry.published, &new, rules)
                    || entry.published.is_ageing(now_ms, rules);
                due.then_some(new)
            }
            // No new idle time, no new plan: only the end has moved.
            Observed::Overlap => {
                let published = &entry.published;
                let due = published.end_has_moved(entry.state.arrivals.last_end_ms, rules)
                    || published.is_ageing(now_ms, rules)
                    || published.has_other_code(&entry.state);
                due.then(|| {
                    entry.renew(planner, rules);
                    publish::summary(&entry.state, &entry.in_force.plan, now_ms, rules)
                })
            }
        };
        entry.published = due?;
        Some(entry.decision(name, version, now_ms, decider))
    }

    /// The version of what rests on the events up to `position`.
    pub fn version(&self, position: i64) -> Version {
        Version { epoch: self.epoch, position }
    }

    /// Whether a stretch ended with the event just applied: so many events, or so much of their time. That depends on
    /// nothing but the events, so what may change only now and then changes here, and is part of the state.
    pub fn stretch_ends(&mut self, decider: &Decider) -> bool {
        let ends = self.stretch_events >= decider.stretch_events
            || self.watermark_ms - self.stretch_began_ms >= decider.stretch_ms;
        if ends {
            (self.stretch_events, self.stretch_began_ms) = (0, self.watermark_ms);
        }
        ends
    }

    /// Forgets the apps that were silent for too long, and returns their names. Cheap to call after every event: it
    /// looks only now and then, at moments that depend on nothing but the events.
    pub fn forget_silent(&mut self, decider: &Decider) -> Vec<Box<str>> {
        if self.watermark_ms < self.sweep_at_ms {
            return Vec::new();
        }
        self.sweep_at_ms = self.watermark_ms.saturating_add(decider.sweep_every_ms());
        let heard_after_ms = self.watermark_ms.saturating_sub(decider.forget_after_ms);
        let gone = self.apps.remove_where(|entry| entry.state.arrivals.last_end_ms < heard_after_ms);
        gone.into_iter().map(|(app, _)| app).collect()
    }

    /// Number of apps.
    pub fn apps(&self) -> usize {
        self.apps.len()
    }
}

impl Entry {
    fn renew(&mut self, planner: &Planner, rules: &Rules) {
        let memory_mb = self.state.memory_mb_or(rules.default_memory_mb);
        planner.renew(&mut self.in_force, &self.state.arrivals, memory_mb);
    }

    fn decision(&self, name: &str, version: Version, now_ms: i64, decider: &Decider) -> Decision {
        publish::decision(name, &self.state, &decider.policy, &self.published, version, now_ms, &decider.rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Regime;

    const MINUTE: i64 = 60_000;

    fn shard(flags: &[(&str, &str)]) -> (Decider, Shard) {
        let mut flags: Vec<_> = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        flags.push(("policy.name", "hybrid".to_owned()));
        let decider = Decider::new(&Settings::load(Some("/dev/null".as_ref()), &flags).unwrap()).unwrap();
        let shard = Shard::new(&decider, 0);
        (decider, shard)
    }

    fn invocation(app: &str, started_at_ms: i64, duration_ms: i64) -> Invocation<'_> {
        Invocation::new(app, "f", started_at_ms, duration_ms as f64)
    }

    #[test]
    fn a_busy_app_is_published_when_something_changes_and_not_per_invocation() {
        let (decider, mut shard) = shard(&[]);
        let decisions: Vec<_> = (0..10_000)
            .filter_map(|i| shard.apply(&invocation("busy", i * 1000, 100), i, &decider))
            .map(|decision| (decision.version.position, decision.regime))
            .collect();
        assert_eq!(decisions, [(0, Regime::Learning), (10, Regime::Histogram)]);
    }

    #[test]
    fn an_app_with_a_window_ahead_is_published_whenever_it_becomes_idle() {
        let (decider, mut shard) = shard(&[]);
        let decisions: Vec<_> = (0..30)
            .filter_map(|i| shard.apply(&invocation("timer", i * 3 * MINUTE, 0), i, &decider))
            .filter(|decision| decision.regime == Regime::Histogram)
            .collect();
        assert_eq!(decisions.len(), 20);
        let last = decisions.last().unwrap();
        assert_eq!(last.idle_since_ms, 29 * 3 * MINUTE);
        assert_eq!((last.windows[0].from_ms, last.windows[0].until_ms), (162_000, 264_000));
    }

    #[test]
    fn overlapping_executions_publish_only_when_the_end_moves_far() {
        let (decider, mut shard) = shard(&[]);
        for i in 0..20 {
            shard.apply(&invocation("fan-out", i * 3 * MINUTE, 1000), i, &decider);
        }
        let start = 20 * 3 * MINUTE;
        let burst: Vec<_> = (0..100)
            .filter_map(|i| shard.apply(&invocation("fan-out", start, 1000 + i), 20 + i, &decider))
            .map(|decision| decision.version.position)
            .collect();
        assert_eq!(burst, [20], "once for the idle time that ended");
        let long = shard.apply(&invocation("fan-out", start, 60_000), 200, &decider).unwrap();
        assert_eq!(long.idle_since_ms, start + 60_000, "pre-warming has to wait for the long one's end");
    }

    #[test]
    fn a_decision_is_renewed_before_it_expires() {
        let (decider, mut shard) = shard(&[("publish.valid_for", "1h")]);
        let decisions: Vec<_> = (0..200)
            .filter_map(|i| shard.apply(&invocation("steady", i * MINUTE / 2, 0), i, &decider))
            .map(|decision| decision.valid_until_ms - decision.decided_at_ms)
            .collect();
        assert!(decisions.len() >= 4 && decisions.iter().all(|span| *span == 60 * MINUTE), "{decisions:?}");
    }

    #[test]
    fn a_silent_app_is_forgotten_by_event_time() {
        let (decider, mut shard) = shard(&[("publish.forget_after", "1d")]);
        let mut forgotten = Vec::new();
        shard.apply(&invocation("rare", 0, 0), 0, &decider);
        for i in 1..40 {
            shard.apply(&invocation("busy", i * 60 * MINUTE, 0), i, &decider);
            forgotten.extend(shard.forget_silent(&decider).into_iter().map(|app| (i, app)));
        }
        assert_eq!(forgotten.len(), 1);
        let (hour, app) = &forgotten[0];
        assert!((25..=27).contains(hour) && &**app == "rare", "{forgotten:?}");
    }

    #[test]
    fn the_same_events_give_the_same_bytes() {
        let run = || {
            let (decider, mut shard) = shard(&[]);
            let decisions = (0..2000).filter_map(|i| {
                let app = format!("app-{}", i % 7);
                shard.apply(&invocation(&app, i * i % 977 * MINUTE / 3 + i * MINUTE, i % 5 * 100), i, &decider)
            });
            serde_json::to_vec(&decisions.collect::<Vec<_>>()).unwrap()
        };
        assert_eq!(run(), run());
    }
}
