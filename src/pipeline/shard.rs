//! One partition's part of the flow: state, policy and publishing of its apps. Pure, so that the same events give the
//! same decisions however they are cut into batches; the pipeline feeds it and sends what comes out.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::bus::Position;
use crate::config::Settings;
use crate::forecast::{ForecastPool, Pending};
use crate::history::{Cut, Met, Piece, Recorder};
use crate::ingest::Order;
use crate::ingest::order::{SourcePosition, Spans, Verdict};
use crate::model::{Decision, Invocation, Version};
use crate::policy::budget::{Curve, Schedule, Solution, Surveyed};
use crate::policy::{InForce, Learner, Planner, Policy, SpecError};
use crate::publish::{self, Published, Rules};
use crate::state::{AppState, AppTable, Arrivals, Observed};

/// What all shards share.
#[derive(Debug, Clone)]
pub struct Decider {
    pub(super) policy: Policy,
    /// The policy in words, to tell whether state was made under another one.
    pub(super) policy_words: String,
    rules: Rules,
    spans: Spans,
    forget_after_ms: i64,
    /// Makes forecasts beside the flow; without it they are made on the spot.
    forecasts: Option<Arc<ForecastPool>>,
    /// Partitions of the input.
    partitions: u32,
    stretch_events: u64,
    stretch_ms: i64,
    /// When what was recorded becomes files, where history is kept.
    pub(super) history: Option<Cut>,
}

/// A price that was solved for.
#[derive(Debug, Clone, PartialEq)]
pub struct Repriced {
    /// The moment of event time, epoch ms.
    pub at_ms: i64,
    /// What the apps of the partition are expected to cost.
    pub curve: Curve,
    /// The price that the partition goes on with.
    pub solution: Solution,
    /// Whether no price meets the target any more, and one did so before.
    pub is_news_that_none_meets: bool,
}

impl Outcome {
    /// The time for the records that follow from the message, epoch ms: the events' own, so that a record that is published
    /// again is the same to the byte; but none that the broker could find too far ahead, having taken the message itself.
    pub fn timestamp_ms(&self, received_ms: Option<i64>) -> i64 {
        let newest_end_ms = self.newest_end_ms.unwrap_or(i64::MAX);
        received_ms.map_or(newest_end_ms, |received_ms| newest_end_ms.min(received_ms))
    }
}

impl Decider {
    /// From the settings.
    pub fn new(settings: &Settings) -> Result<Self, SpecError> {
        Ok(Self {
            policy: settings.policy.build()?,
            policy_words: settings.policy.in_words(),
            rules: Rules::new(settings),
            spans: Spans { reorder_ms: settings.input.reorder.0, duplicates_ms: settings.input.duplicates.0 },
            forget_after_ms: settings.publish.forget_after.0,
            forecasts: None,
            partitions: settings.topics.partitions.unsigned_abs().max(1),
            stretch_events: settings.checkpoint.events,
            stretch_ms: settings.checkpoint.every.0,
            history: settings
                .history
                .url()
                .map(|_| Cut { rows: settings.history.rows, every_ms: settings.history.every.0 }),
        })
    }

    /// The same, with forecasts made by `pool`.
    #[must_use]
    pub fn forecasting_with(self, pool: ForecastPool) -> Self {
        Self { forecasts: Some(Arc::new(pool)), ..self }
    }

    /// When a decision is worth publishing.
    pub(super) const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Silent apps are looked for so often.
    fn sweep_every_ms(&self) -> i64 {
        (self.forget_after_ms / SWEEPS).max(1)
    }
}

/// What came of one message.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// The decisions that it led to, each of another app: all of a message have one version, of which consumers keep
    /// the first that they see, so the last about an app stands for the others.
    pub decisions: SmallVec<[Decision; 1]>,
    /// Decisions of messages before it that had waited for a forecast. They come first.
    pub later: Vec<Later>,
    /// The latest end of the executions that were applied, epoch ms; `None` where none was.
    pub newest_end_ms: Option<i64>,
    /// Executions that came too late for their turn: one of their app that started later had been applied. They are
    /// applied nevertheless.
    pub late: u64,
    /// Events that had come before, and were dropped.
    pub duplicates: u64,
}

/// A decision that had to wait for a forecast.
#[derive(Debug, Clone, PartialEq)]
pub struct Later {
    /// The decision.
    pub decision: Decision,
    /// The time for its record, epoch ms: that of the others of its message.
    pub timestamp_ms: i64,
}

/// A forecast that a decision waits for.
#[derive(Debug)]
pub(super) struct Awaited {
    app: Box<str>,
    forecast: Pending,
    position: i64,
    now_ms: i64,
    /// As in [`Later`], once all of its message is known.
    timestamp_ms: Option<i64>,
}

/// The apps of one partition. All of it goes into a checkpoint: see [`super::saved`].
#[derive(Debug)]
pub struct Shard {
    /// First part of the versions of its decisions.
    pub(super) epoch: u64,
    pub(super) order: Order,
    pub(super) planner: Planner,
    pub(super) apps: AppTable<Entry>,
    /// In the order of their events; empty after [`Shard::settle`].
    pub(super) awaited: Vec<Awaited>,
    /// The latest end of an execution seen: what "now" is for the silence of an app.
    pub(super) watermark_ms: i64,
    /// When to look for silent apps next.
    pub(super) sweep_at_ms: i64,
    /// When to solve for the price, once the first event has come.
    pub(super) schedule: Option<Schedule>,
    /// Whether no price was found that meets the target.
    pub(super) misses_target: bool,
    /// Events since the last stretch ended, and the watermark then.
    pub(super) stretch_events: u64,
    pub(super) stretch_began_ms: i64,
    /// What becomes history, where it is kept.
    pub(super) history: Option<Box<Recorder>>,
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) state: AppState,
    pub(super) in_force: InForce,
    pub(super) published: Published,
    /// Whether its decision waits for a forecast.
    pub(super) awaits: bool,
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
            order: Order::default(),
            planner: Planner::new(decider.policy.clone()),
            apps: AppTable::default(),
            awaited: Vec::new(),
            watermark_ms: 0,
            sweep_at_ms: 0,
            schedule: None,
            misses_target: false,
            history: None,
        }
    }

    /// Takes the message at offset `position` into account, of the time `received_ms` (epoch ms), with the
    /// invocations in it: each is applied in its turn, which may have come now or come with a later message. What is
    /// applied now is decided at this position, whenever it came: so versions grow, and are the same when the log is
    /// read again.
    pub fn receive(
        &mut self,
        invocations: &[Invocation],
        received_ms: Option<i64>,
        position: i64,
        decider: &Decider,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        self.order.pass(received_ms);
        self.release(i64::MAX, position, decider, &mut outcome);
        for (index, invocation) in (0..).zip(invocations) {
            let arrivals = self.apps.get(&invocation.app).map(|entry| &entry.state.arrivals);
            let is_late = arrivals.is_some_and(|arrivals| invocation.started_at_ms < arrivals.last_start_ms);
            let verdict = self.order.judge(invocation, arrivals.map(|arrivals| arrivals.last_end_ms), decider.spans);
            outcome.late += u64::from(is_late && verdict != Verdict::Duplicate);
            match verdict {
                Verdict::Duplicate => outcome.duplicates += 1,
                Verdict::Wait => self.order.hold(invocation, position, index),
                Verdict::Now => {
                    self.release(invocation.started_at_ms, position, decider, &mut outcome);
                    self.apply_into(invocation, position, decider, &mut outcome);
                }
            }
            self.release(i64::MAX, position, decider, &mut outcome);
        }
        let timestamp_ms = outcome.timestamp_ms(received_ms);
        let new = self.awaited.iter_mut().rev().take_while(|awaited| awaited.timestamp_ms.is_none());
        new.for_each(|awaited| awaited.timestamp_ms = Some(timestamp_ms));
        if let Some(history) = &mut self.history {
            let later = outcome.later.iter().map(|later| &later.decision);
            later.chain(&outcome.decisions).for_each(|decision| history.decision(decision));
        }
        outcome
    }

    /// Waits for all forecasts, and makes the decisions that waited for them. To be called before the shard is saved.
    pub fn settle(&mut self, decider: &Decider) -> Vec<Later> {
        let awaited = std::mem::take(&mut self.awaited);
        let later: Vec<_> = awaited.into_iter().filter_map(|awaited| self.decide_later(awaited, decider)).collect();
        if let Some(history) = &mut self.history {
            later.iter().for_each(|later| history.decision(&later.decision));
        }
        later
    }

    /// Records from offset `from` on what becomes history, if that is kept and nothing is recorded yet.
    pub fn record_from(&mut self, from: i64, decider: &Decider) -> Option<&mut Recorder> {
        let cut = decider.history?;
        Some(self.history.get_or_insert_with(|| Box::new(Recorder::new(cut, from))))
    }

    /// The rows of history of the messages before offset `until`, if it is time for files, and first the decisions among
    /// them that had waited for forecasts. Cheap to call after every event, like [`Shard::forget_silent`].
    pub fn cut_history(
        &mut self,
        position: &Position,
        until: i64,
        decider: &Decider,
    ) -> Option<(Vec<Later>, Option<Piece>)> {
        if !self.history.as_mut()?.is_due(self.watermark_ms) {
            return None;
        }
        let later = self.settle(decider);
        let history = self.history.as_mut()?;
        Some((later, history.cut(position, self.epoch, until, self.watermark_ms)))
    }

    fn decide_later(&mut self, awaited: Awaited, decider: &Decider) -> Option<Later> {
        let Awaited { app, forecast, position, now_ms, timestamp_ms } = awaited;
        let version = self.version(position);
        let (entry, rules) = (self.apps.get_mut(&app)?, &decider.rules);
        entry.awaits = false;
        let memory_mb = entry.state.memory_mb_or(rules.default_memory_mb);
        entry.in_force = self.planner.plan_with(&entry.state.arrivals, memory_mb, forecast.wait());
        entry.published = entry.after_idle_time(now_ms, rules)?;
        let decision = entry.decision(&app, version, now_ms, self.planner.policy(), rules);
        Some(Later { decision, timestamp_ms: timestamp_ms.unwrap_or(now_ms) })
    }

    /// Whether the event of this source did not come before; from now on it did.
    pub fn is_new_source(&mut self, source: &SourcePosition) -> bool {
        self.order.is_new_source(source)
    }

    /// Applies the events whose turn has come, of those that start by `until_ms`.
    fn release(&mut self, until_ms: i64, position: i64, decider: &Decider, outcome: &mut Outcome) {
        while let Some(invocation) = self.order.next_due(until_ms, decider.spans) {
            self.apply_into(&invocation, position, decider, outcome);
        }
    }

    fn apply_into(&mut self, invocation: &Invocation, position: i64, decider: &Decider, outcome: &mut Outcome) {
        outcome.newest_end_ms = outcome.newest_end_ms.max(Some(invocation.ended_at_ms()));
        // A decision comes before the next event of its app.
        if !self.awaited.is_empty() && self.apps.get(&invocation.app).is_some_and(|entry| entry.awaits) {
            let which = self.awaited.iter().position(|awaited| *awaited.app == *invocation.app);
            let later = which.and_then(|which| {
                let awaited = self.awaited.remove(which);
                self.decide_later(awaited, decider)
            });
            // Of one message, the last decision about an app stands for the others.
            outcome.later.extend(later.filter(|later| later.decision.version.position < position));
        }
        let Some(decision) = self.apply(invocation, position, decider) else { return };
        match outcome.decisions.iter_mut().find(|earlier| earlier.app == decision.app) {
            Some(earlier) => *earlier = decision,
            None => outcome.decisions.push(decision),
        }
    }

    /// Applies an event whose turn it is, at offset `position`. Returns the decision that it leads to, if it leads to
    /// one.
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
            planner.begin(start_ms);
            if let Some(history) = &mut self.history {
                history.invocation(invocation, Met { gap_ms: None, idle_ms: None, missed: true }, position);
            }
            let state = AppState::first(invocation, planner.silence_ms(start_ms), planner.kept());
            let in_force = planner.plan(&state.arrivals, state.memory_mb_or(rules.default_memory_mb));
            let published = publish::summary(&state, &in_force.plan, now_ms, rules);
            let entry = self.apps.insert(name, Entry { state, in_force, published, awaits: false });
            return Some(entry.decision(name, version, now_ms, planner.policy(), rules));
        };

        let (arrivals, in_force) = (&mut entry.state.arrivals, &entry.in_force);
        arrivals.count(1, start_ms, planner.kept());
        let idle_ms = match arrivals.observe(start_ms) {
            Observed::Idle(idle_ms) => Some(idle_ms),
            Observed::Overlap => None,
        };
        let is_missed = |idle_ms| !in_force.plan.windows.iter().any(|window| window.contains(idle_ms));
        let missed = idle_ms.is_some_and(is_missed);
        if missed {
            arrivals.activity.cold += 1.0;
        }
        if let Some(history) = &mut self.history {
            let gap_ms = Some(start_ms - arrivals.last_start_ms).filter(|gap_ms| *gap_ms >= 0);
            history.invocation(invocation, Met { gap_ms, idle_ms, missed }, position);
        }
        let record = |arrivals: &mut Arrivals, idle_ms| planner.record(arrivals, idle_ms, start_ms, 1);
        let due = match entry.state.apply(invocation, record) {
            Observed::Idle(_) => {
                entry.in_force.count(1);
                if let Some(pool) = &decider.forecasts
                    && let Some(series) = planner.wants_forecast(&entry.in_force, &entry.state.arrivals)
                {
                    let forecast = pool.submit(series.iter().map(|idle_ms| f64::from(*idle_ms)).collect());
                    entry.awaits = true;
                    self.awaited.push(Awaited { app: name.into(), forecast, position, now_ms, timestamp_ms: None });
                    return None;
                }
                entry.renew(planner, rules);
                entry.after_idle_time(now_ms, rules)
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
        Some(entry.decision(name, version, now_ms, planner.policy(), rules))
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

    /// Solves for the price, if the policy has a target and a moment to do so has come, and goes on with what it finds.
    /// Cheap to call after every event, like [`Shard::forget_silent`], and from the partition's events alone, so that a replay
    /// finds the same prices at the same events: the other partitions are taken to be like this one.
    pub fn reprice(&mut self, decider: &Decider) -> Option<Repriced> {
        self.planner.target()?;
        let minute_ms = self.planner.kept().minute_ms;
        let schedule = self.schedule.get_or_insert_with(|| Schedule::new(self.watermark_ms, minute_ms));
        let at_ms = schedule.due(self.watermark_ms)?;
        let curve = self.curve(at_ms, decider)?;
        let solution = self.planner.solve(&curve.clone().times(decider.partitions))?;
        self.set_price_mb_s(solution.price_mb_s, at_ms);
        let is_news_that_none_meets = !self.misses_target && !solution.can_be_met;
        self.misses_target = !solution.can_be_met;
        Some(Repriced { at_ms, curve, solution, is_news_that_none_meets })
    }

    /// What the apps are expected to cost at each price, for a policy with a target.
    pub fn curve(&self, now_ms: i64, decider: &Decider) -> Option<Curve> {
        let surveyed = self.apps.iter().map(|(name, entry)| Surveyed {
            name,
            arrivals: &entry.state.arrivals,
            memory_mb: entry.state.memory_mb_or(decider.rules.default_memory_mb),
        });
        self.planner.curve(surveyed.collect(), now_ms)
    }

    /// Worth of one avoided cold start now, MB·s, for a policy that has such a price.
    pub fn price_mb_s(&self) -> Option<f64> {
        self.planner.price_mb_s()
    }

    /// Puts another price in force at `at_ms`. The decisions of an app follow when it is heard of next.
    pub fn set_price_mb_s(&mut self, price_mb_s: f64, at_ms: i64) {
        self.planner.set_price_mb_s(price_mb_s, at_ms);
    }

    /// What the partition remembers for the order of its events.
    pub const fn order(&self) -> &Order {
        &self.order
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

    /// What to publish after an idle time, if it says anything new.
    fn after_idle_time(&self, now_ms: i64, rules: &Rules) -> Option<Published> {
        let new = publish::summary(&self.state, &self.in_force.plan, now_ms, rules);
        let due = new.counts_from_its_end()
            || publish::differs(&self.published, &new, rules)
            || self.published.is_ageing(now_ms, rules);
        due.then_some(new)
    }

    fn decision(&self, name: &str, version: Version, now_ms: i64, policy: &Policy, rules: &Rules) -> Decision {
        publish::decision(name, &self.state, policy, &self.published, version, now_ms, rules)
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
            .flat_map(|i| shard.receive(&[invocation("timer", i * 3 * MINUTE, 0)], None, i, &decider).decisions)
            .filter(|decision| decision.regime == Regime::Histogram)
            .collect();
        let positions: Vec<_> = decisions.iter().map(|decision| decision.version.position).collect();
        assert_eq!(positions, (10..30).collect::<Vec<_>>(), "none waits for the next");
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
    fn a_budget_is_kept_by_the_events_alone() {
        let run = || {
            let budget = [("policy.frontier.budget", "500MB"), ("topics.partitions", "1")];
            let mut flags: Vec<_> = budget.map(|(key, value)| (key, value.to_owned())).into();
            flags.push(("policy.name", "frontier".to_owned()));
            let decider = Decider::new(&Settings::load(Some("/dev/null".as_ref()), &flags).unwrap()).unwrap();
            let mut shard = Shard::new(&decider, 0);
            let mut repriced = Vec::new();
            for i in 0..6000_i64 {
                // 60 apps; the first is called every minute, the last every hour.
                for app in (0..60).filter(|app| i % (app + 1) == 0) {
                    shard.apply(&invocation(&format!("app-{app}"), i * MINUTE + i * i * app % MINUTE, 10), i, &decider);
                    repriced.extend(shard.reprice(&decider));
                }
            }
            (repriced, shard.price_mb_s())
        };
        let (repriced, price_mb_s) = run();
        assert_eq!(repriced.len(), 6 + 98);
        let last = repriced.last().unwrap();
        assert_eq!(Some(last.solution.price_mb_s), price_mb_s);
        let price_mb_s = price_mb_s.unwrap();
        let (under, over) = last
            .curve
            .points
            .split_at(last.curve.points.iter().position(|point| point.price_mb_s > price_mb_s).unwrap());
        // The price in force may be a tenth off, to either side of a point.
        let (under, over) = (under[under.len() - 2].idle_mb, over[1].idle_mb);
        assert!(under < 500.0 && 500.0 < over, "500 MB are not between {under} and {over} MB");
        assert_eq!(run(), (repriced.clone(), Some(price_mb_s)), "whatever the order of a hash map");
    }

    #[test]
    fn a_burst_that_comes_by_end_is_counted_by_start_and_its_first_call_is_decided_at_once() {
        // By end, as they come: the second to start is the last to end.
        let burst = [(0, 10), (300, 500), (900, 10), (100, 1500)];
        let (decider, mut shard) = shard(&[]);
        let mut sorted = Shard::new(&decider, 0);
        let (mut outcomes, mut position) = (Vec::new(), 0);
        for i in 0..30 {
            let mut executions = burst.map(|(start_ms, took_ms)| (i * 3 * MINUTE + start_ms, took_ms));
            for (start_ms, took_ms) in executions {
                let outcome = shard.receive(&[invocation("a", start_ms, took_ms)], None, position, &decider);
                position += 1;
                outcomes.push(outcome);
            }
            executions.sort_unstable();
            for (start_ms, took_ms) in executions {
                sorted.apply(&invocation("a", start_ms, took_ms), 0, &decider);
            }
        }
        // What waits of the last burst comes out with whatever comes next.
        let last = shard.receive(&[invocation("b", 100 * MINUTE, 0)], None, position, &decider);
        assert_eq!((last.late, shard.order().held().len()), (0, 0));
        let state = |shard: &Shard| shard.apps.get("a").map(|entry| entry.state.clone());
        assert_eq!(state(&shard), state(&sorted));
        assert!(outcomes.iter().all(|outcome| outcome.late + outcome.duplicates == 0));
        let decided: Vec<_> = outcomes.iter().flat_map(|outcome| &outcome.decisions).collect();
        assert_eq!((decided[0].version.position, decided[0].idle_since_ms), (0, 10));
        assert!(decided.is_sorted_by_key(|decision| decision.version.position));
    }

    #[test]
    fn what_comes_too_late_or_twice_is_counted_and_the_former_applied() {
        let (decider, mut shard) = shard(&[]);
        let with_id = |start_ms| Invocation { id: Some("i".into()), ..invocation("a", start_ms, 10) };
        let mut receive = |invocation: &Invocation, position| {
            let outcome = shard.receive(std::slice::from_ref(invocation), None, position, &decider);
            (outcome.newest_end_ms.is_some(), outcome.late, outcome.duplicates)
        };
        assert_eq!(receive(&with_id(10 * MINUTE), 0), (true, 0, 0));
        assert_eq!(receive(&with_id(10 * MINUTE), 1), (false, 0, 1));
        assert_eq!(receive(&invocation("a", 9 * MINUTE, 3 * MINUTE), 2), (true, 1, 0));
        let arrivals = &shard.apps.get("a").unwrap().state.arrivals;
        assert_eq!((arrivals.last_end_ms, arrivals.idle_times), (12 * MINUTE, 0));
    }

    #[test]
    fn forecasts_made_beside_the_flow_lead_to_the_same_decisions() {
        let (decider, _) = shard(&[]);
        let beside = decider.clone().forecasting_with(ForecastPool::new(2).unwrap());
        // Rare ones, one of which is called again at once each time.
        let events: Vec<_> = (0..600)
            .map(|i| {
                let (app, turn) = (i % 6, i / 6);
                let start = turn * (5 + app) * 60 * MINUTE + if app == 5 { turn % 2 * 30 * MINUTE } else { 0 };
                (format!("app-{app}"), start)
            })
            .collect();
        let decisions = |decider: &Decider| {
            let mut shard = Shard::new(decider, 0);
            let mut records = Vec::new();
            for (i, (app, start_ms)) in (0..).zip(&events) {
                let event = invocation(app, *start_ms, 0);
                let outcome = shard.receive(&[event], Some(start_ms + 1000), i, decider);
                let timestamp_ms = outcome.timestamp_ms(Some(start_ms + 1000));
                records.extend(outcome.later);
                records.extend(outcome.decisions.into_iter().map(|decision| Later { decision, timestamp_ms }));
                if i % 11 == 0 {
                    records.extend(shard.settle(decider));
                }
            }
            records.extend(shard.settle(decider));
            records.sort_by_key(|later| later.decision.version.position);
            records
        };
        let found = decisions(&beside);
        assert!(found.iter().filter(|later| later.decision.regime == Regime::Forecast).count() > 300);
        assert_eq!(found, decisions(&decider));
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
