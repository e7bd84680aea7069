//! What to fetch ahead, and when. Pure: it is told the time and what happened.
//!
//! An app's code is fetched twice over, as it were: as early as may be while the cache has room for it, and again, if it is not
//! there any more, shortly before the app's window. What is needed soonest goes first; apps that nothing is expected of
//! go last, and only where there is room.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// How long before a window the code is there at the latest, if that can be, ms.
const AHEAD_MS: i64 = 10 * 60_000;
/// After the first failure; twice as long after each further one, up to the longest, ms.
const RETRY_MS: i64 = 1_000;
const LONGEST_RETRY_MS: i64 = 60_000;
/// Failures in a row after which an app is left alone until it is wanted again.
const TRIES: u32 = 10;

/// When code is needed, in the order in which to fetch it: the soonest first, of those the likeliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    at_ms: i64,
    unlikely: u32,
}

impl Need {
    /// By no moment that is known.
    pub const SOME_DAY: Self = Self { at_ms: i64::MAX, unlikely: 0 };

    /// At `at_ms`, epoch ms, with a probability of 0 to 1.
    pub fn at(at_ms: i64, probability: f64) -> Self {
        Self { at_ms: at_ms.min(i64::MAX - 1), unlikely: ((1.0 - probability).clamp(0.0, 1.0) * 1e6) as u32 }
    }

    const fn due_ms(self) -> i64 {
        self.at_ms.saturating_sub(AHEAD_MS)
    }
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Fetch an app's code: its window is near.
    Due(Arc<str>),
    /// Fetch an app's code as far as the cache has room, evicting nothing.
    Early(Arc<str>),
    /// Nothing before this moment, epoch ms, if nothing happens.
    Wait(i64),
}

/// An app whose code could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Failing {
    /// Times in a row.
    pub failures: u32,
    /// Why, the last time.
    pub error: String,
    /// When it is tried again, epoch ms; nothing: when it is wanted again.
    pub retry_at_ms: Option<i64>,
}

/// Apps whose code is to be fetched.
#[derive(Debug, Default)]
pub struct Queue {
    apps: HashMap<Arc<str>, Need>,
    /// Not tried yet.
    early: BTreeSet<(Need, Arc<str>)>,
    /// With a window to come, until shortly before it.
    due: BTreeSet<(Need, Arc<str>)>,
    retries: BTreeSet<(i64, Arc<str>)>,
    failing: HashMap<Arc<str>, Failing>,
}

impl Queue {
    /// An app's code is needed then, in place of what was known before.
    pub fn want(&mut self, app: &str, need: Need) {
        let app = self.take_out(app);
        // One that fails is not tried more often for being wanted more often.
        if self.failing.get(&app).is_none_or(|failing| failing.retry_at_ms.is_none()) {
            self.early.insert((need, Arc::clone(&app)));
        }
        if need != Need::SOME_DAY {
            self.due.insert((need, Arc::clone(&app)));
        }
        self.apps.insert(app, need);
    }

    /// The same, if it is sooner than what is known.
    pub fn want_sooner(&mut self, app: &str, need: Need) {
        if self.apps.get(app).is_none_or(|known| need < *known) {
            self.want(app, need);
        }
    }

    /// What to do at `now_ms`; `room` says whether the cache has some.
    pub fn next(&mut self, now_ms: i64, room: bool) -> Next {
        while let Some((retry_ms, _)) = self.retries.first()
            && *retry_ms <= now_ms
            && let Some((_, app)) = self.retries.pop_first()
        {
            if let Some(failing) = self.failing.get_mut(&app) {
                failing.retry_at_ms = None;
            }
            if let Some(need) = self.apps.get(&app) {
                self.early.insert((*need, Arc::clone(&app)));
                if *need != Need::SOME_DAY {
                    self.due.insert((*need, app));
                }
            }
        }
        if let Some((need, _)) = self.due.first()
            && need.due_ms() <= now_ms
            && let Some(due) = self.due.pop_first()
        {
            self.early.remove(&due);
            return Next::Due(due.1);
        }
        if room && let Some((_, app)) = self.early.pop_first() {
            return Next::Early(app);
        }
        let due_ms = self.due.first().map(|(need, _)| need.due_ms());
        let retry_ms = self.retries.first().map(|(retry_ms, _)| *retry_ms);
        Next::Wait([due_ms, retry_ms].into_iter().flatten().min().unwrap_or(i64::MAX))
    }

    /// The app's code is in the cache.
    pub fn done(&mut self, app: &Arc<str>) {
        if let Some(failing) = self.failing.remove(app)
            && let Some(retry_ms) = failing.retry_at_ms
        {
            self.retries.remove(&(retry_ms, Arc::clone(app)));
        }
        self.forget_if_done(app);
    }

    /// The app's code could not be fetched; says whether that is the first time since it could be.
    pub fn failed(&mut self, app: &Arc<str>, error: String, now_ms: i64) -> bool {
        let before = self.failing.remove(app);
        if let Some(retry_ms) = before.as_ref().and_then(|before| before.retry_at_ms) {
            self.retries.remove(&(retry_ms, Arc::clone(app)));
        }
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let wait_ms = (RETRY_MS << (failures - 1).min(16)).min(LONGEST_RETRY_MS);
        let retry_at_ms = (failures < TRIES).then(|| now_ms.saturating_add(wait_ms));
        if let Some(retry_ms) = retry_at_ms {
            self.retries.insert((retry_ms, Arc::clone(app)));
        } else {
            self.forget_if_done(app);
        }
        self.failing.insert(Arc::clone(app), Failing { failures, error, retry_at_ms });
        failures == 1
    }

    /// The app has no code to fetch.
    pub fn forget(&mut self, app: &str) {
        let app = self.take_out(app);
        if let Some(failing) = self.failing.remove(&app)
            && let Some(retry_ms) = failing.retry_at_ms
        {
            self.retries.remove(&(retry_ms, app));
        }
    }

    /// Apps that wait for their code.
    pub fn waiting(&self) -> usize {
        self.apps.len()
    }

    /// What fails, by app.
    pub fn failing(&self) -> impl Iterator<Item = (&Arc<str>, &Failing)> {
        self.failing.iter()
    }

    fn take_out(&mut self, app: &str) -> Arc<str> {
        let Some((app, need)) = self.apps.remove_entry(app) else { return Arc::from(app) };
        let entry = (need, app);
        self.early.remove(&entry);
        self.due.remove(&entry);
        entry.1
    }

    fn forget_if_done(&mut self, app: &Arc<str>) {
        if let Some(need) = self.apps.get(app)
            && !self.due.contains(&(*need, Arc::clone(app)))
            && !self.early.contains(&(*need, Arc::clone(app)))
        {
            self.apps.remove(app);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn app(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    /// All that is to be done now.
    fn now(queue: &mut Queue, now_ms: i64, room: bool) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            match queue.next(now_ms, room) {
                Next::Due(app) => names.push(format!("{app}!")),
                Next::Early(app) => names.push(app.to_string()),
                Next::Wait(_) => return names,
            }
        }
    }

    #[test]
    fn the_soonest_goes_first_and_the_unexpected_last_where_there_is_room() {
        let mut queue = Queue::default();
        queue.want("some-day", Need::SOME_DAY);
        queue.want("tomorrow", Need::at(24 * HOUR_MS, 1.0));
        queue.want("unlikely", Need::at(HOUR_MS, 0.2));
        queue.want("likely", Need::at(HOUR_MS, 0.9));
        queue.want("soon", Need::at(60_000, 1.0));
        assert_eq!(now(&mut queue, 0, false), ["soon!"]);
        assert_eq!(queue.next(0, false), Next::Wait(HOUR_MS - AHEAD_MS));
        assert_eq!(now(&mut queue, 0, true), ["likely", "unlikely", "tomorrow", "some-day"]);
        // Looked after once more before it is needed, whether there is room or not.
        assert_eq!(now(&mut queue, HOUR_MS - AHEAD_MS, false), ["likely!", "unlikely!"]);
        // A newer decision replaces the older one; a successor's window only comes sooner.
        queue.want("tomorrow", Need::at(48 * HOUR_MS, 1.0));
        queue.want_sooner("tomorrow", Need::at(72 * HOUR_MS, 0.5));
        assert_eq!(now(&mut queue, 24 * HOUR_MS, false), Vec::<String>::new());
        queue.want_sooner("tomorrow", Need::at(25 * HOUR_MS, 0.5));
        assert_eq!(now(&mut queue, 25 * HOUR_MS, false), ["tomorrow!"]);
        for name in ["soon", "likely", "unlikely", "tomorrow", "some-day"] {
            queue.done(&app(name));
        }
        assert_eq!((queue.waiting(), queue.next(0, true)), (0, Next::Wait(i64::MAX)));
    }

    #[test]
    fn a_failure_is_tried_again_ever_later_and_said_once() {
        let mut queue = Queue::default();
        queue.want("a", Need::SOME_DAY);
        let (mut now_ms, mut waits, mut said) = (0, Vec::new(), 0);
        while let Next::Early(app) = queue.next(now_ms, true) {
            said += u32::from(queue.failed(&app, "down".to_owned(), now_ms));
            // Wanted all the while, which makes it no more urgent.
            queue.want("a", Need::SOME_DAY);
            let Some(retry_ms) = queue.failing().next().unwrap().1.retry_at_ms else { break };
            assert_eq!(queue.next(retry_ms - 1, true), Next::Wait(retry_ms));
            waits.push(retry_ms - now_ms);
            now_ms = retry_ms;
        }
        assert_eq!(said, 1);
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        // Being wanted is one more try; one that goes well is the end of it.
        assert_eq!(queue.next(now_ms, true), Next::Early(app("a")));
        queue.done(&app("a"));
        assert_eq!((queue.waiting(), queue.failing().count()), (0, 0));
        queue.want("a", Need::SOME_DAY);
        assert!(queue.failed(&app("a"), "down again".to_owned(), now_ms));
        queue.forget("a");
        assert_eq!(queue.next(i64::MAX, true), Next::Wait(i64::MAX));
    }
}
