use super::app::MOST_INSTANCES;
use super::*;
use crate::model::{Expected, Regime};
use proptest::prelude::*;

fn decision(position: i64, idle_since_ms: i64, windows: &[(i64, i64)], instances: u32) -> Decision {
    Decision {
        app: "a".to_owned(),
        version: Version { epoch: 0, position },
        decided_at_ms: 0,
        policy: "test".to_owned(),
        regime: Regime::Histogram,
        windows: windows.iter().map(|(from_ms, until_ms)| Window { from_ms: *from_ms, until_ms: *until_ms }).collect(),
        idle_since_ms,
        instances,
        runtime: None,
        memory_mb: None,
        code: None,
        successors: Vec::new(),
        expected: None,
        valid_until_ms: 1_000_000,
        reason: String::new(),
    }
}

/// How many loads are begun now.
fn loads(set: &mut WarmSet<u32>, now_ms: i64) -> usize {
    std::iter::from_fn(|| set.next_load(now_ms)).count()
}

/// A set that is past its first reading of the feed.
fn set() -> WarmSet<u32> {
    let mut set = WarmSet::new(600, 50);
    set.begin(0, 0);
    set
}

/// One execution from `from_ms` to `until_ms`, on a new instance if none is loaded.
fn execute(set: &mut WarmSet<u32>, from_ms: i64, until_ms: i64) -> (Option<Temperature>, Vec<Unload<u32>>) {
    let (instance, temperature) = match set.acquire("a", from_ms) {
        Some((instance, temperature)) => (instance, Some(temperature)),
        None => {
            set.start_busy("a", 0);
            (1, None)
        }
    };
    (temperature, set.release("a", instance, 100.0, until_ms))
}

#[test]
fn without_a_decision_the_default_keep_alive_counts() {
    let mut set = set();
    assert_eq!(execute(&mut set, 0, 10).0, None);
    assert_eq!(execute(&mut set, 609, 610).0, Some(Temperature::Warm));
    assert_eq!(set.next_due_ms(), Some(1210));
    assert_eq!(set.tick(1209).len(), 0);
    assert_eq!(set.tick(1210).len(), 1);
    assert_eq!(execute(&mut set, 1300, 1301).0, None);
}

#[test]
fn a_window_ahead_unloads_then_loads_earlier_by_the_lead() {
    let mut set = set();
    set.note_load("a", 7);
    assert!(set.decide(&decision(1, 0, &[(100, 200)], 1), 0, true, 0).is_some());
    let (_, commands) = execute(&mut set, 5, 10);
    assert_eq!(commands.len(), 1, "not loaded at 0");
    assert_eq!(set.next_due_ms(), Some(103));
    assert!(set.tick(103).is_empty());
    assert_eq!((set.next_load(103), set.next_load(103)), (Some("a".into()), None));
    assert_eq!(set.loading("a"), 1);
    assert!(set.loaded("a", 2, 100.0, 110).is_empty());
    let (temperature, _) = execute(&mut set, 150, 151);
    assert_eq!(temperature, Some(Temperature::Prewarmed), "first use of what was loaded ahead");
    set.tick(151 + 93);
    assert_eq!(loads(&mut set, 151 + 93), 1);
    set.loaded("a", 3, 100.0, 250);
    assert_eq!(set.tick(351).len(), 1, "nobody came");
}

#[test]
fn an_arrival_before_its_pre_warm_cancels_it() {
    let mut set = set();
    set.decide(&decision(1, 0, &[(100, 200)], 1), 0, true, 0);
    set.start_busy("a", 0);
    set.tick(150);
    assert_eq!(loads(&mut set, 150), 0);
    set.release("a", 1, 100.0, 160);
    assert_eq!(set.next_due_ms(), Some(260));
    set.tick(260);
    set.start_busy("a", 261);
    assert_eq!(loads(&mut set, 262), 0, "it was to be loaded, and nobody had begun");
}

#[test]
fn decisions_that_are_not_newer_are_dropped() {
    let mut set = set();
    assert!(set.decide(&decision(5, 0, &[(0, 100)], 1), 0, true, 0).is_some());
    assert!(set.decide(&decision(5, 0, &[(0, 900)], 1), 0, true, 0).is_none());
    assert!(set.decide(&decision(4, 0, &[(0, 900)], 1), 0, true, 0).is_none());
    let mut newer = decision(0, 0, &[(0, 900)], 1);
    newer.version.epoch = 1;
    assert!(set.decide(&newer, 0, true, 0).is_some());
}

#[test]
fn a_decision_that_expired_gives_way_to_the_default() {
    let mut set = set();
    set.decide(&decision(1, 0, &[(0, 5_000_000)], 1), 0, true, 0);
    execute(&mut set, 0, 999_900);
    assert_eq!(set.next_due_ms(), Some(1_000_000));
    assert_eq!(set.tick(1_000_000).len(), 0, "the default of 600 still holds");
    assert_eq!(set.tick(1_000_500).len(), 1);
}

#[test]
fn instances_are_pre_warmed_and_kept_by_number() {
    let mut set = set();
    set.decide(&decision(1, 0, &[(100, 200)], 3), 0, true, 0);
    set.tick(100);
    assert_eq!(loads(&mut set, 100), 3);
    for instance in 0..3 {
        set.loaded("a", instance, 100.0, 101);
    }
    set.decide(&decision(2, 0, &[(0, 200)], 2), 0, true, 110);
    assert_eq!(set.loaded_instances(), 2);
}

#[test]
fn old_decisions_start_nothing_while_the_feed_is_read_for_the_first_time() {
    let mut set: WarmSet<u32> = WarmSet::new(600, 50);
    set.decide(&decision(1, 0, &[(100, 200)], 1), 0, true, 150);
    let commands = set.decide(&decision(2, 140, &[(100, 200)], 1), 0, true, 150).unwrap();
    assert!(commands.is_empty() && loads(&mut set, 150) == 0);
    set.begin(0, 150);
    assert_eq!(loads(&mut set, 150), 0, "the newest one's window is yet to come");
    set.tick(240);
    assert_eq!(loads(&mut set, 240), 1);
}

#[test]
fn what_another_node_is_the_home_of_is_ended_and_forgotten() {
    let mut set = set();
    let mut elsewhere = decision(1, 0, &[(0, 200)], 1);
    elsewhere.app = "b".to_owned();
    set.decide(&decision(1, 0, &[(100, 200)], 1), 0, true, 100);
    set.decide(&elsewhere, 1, true, 100);
    assert_eq!(loads(&mut set, 100), 1);
    assert_eq!(set.loaded("a", 1, 100.0, 110).len(), 0);
    assert_eq!(set.lose(1, 120).len(), 0, "nothing of it is loaded");
    assert_eq!(set.view(120).len(), 1);
    assert_eq!(set.lose(0, 120).len(), 1);
    assert!(set.view(120).is_empty() && set.loaded_instances() == 0 && set.next_due_ms().is_none());
    // Whoever becomes its home again acts when all has been read again.
    set.decide(&decision(1, 0, &[(100, 200)], 1), 0, true, 130);
    assert_eq!(loads(&mut set, 130), 0);
    set.begin(0, 130);
    assert_eq!(loads(&mut set, 130), 1);
}

#[test]
fn a_load_that_failed_is_tried_again_later() {
    let mut set = set();
    set.decide(&decision(1, 0, &[(100, 2000)], 1), 0, true, 0);
    set.tick(100);
    assert_eq!(loads(&mut set, 100), 1);
    assert!(set.load_failed("a", 110).is_empty());
    set.decide(&decision(2, 0, &[(100, 3000)], 1), 0, true, 120);
    assert_eq!(loads(&mut set, 120), 0);
    set.tick(159);
    assert_eq!(loads(&mut set, 159), 0);
    set.tick(160);
    assert_eq!(loads(&mut set, 160), 1);
}

#[test]
fn idle_memory_counts_what_is_loaded_and_not_executing() {
    let mut set = set();
    execute(&mut set, 0, 1000);
    assert_eq!(set.idle_mb_ms(1300), 100.0 * 300.0);
    let (instance, _) = set.acquire("a", 1300).unwrap();
    set.release("a", instance, 100.0, 1500);
    set.tick(2100);
    assert_eq!(set.idle_mb_ms(9999), 100.0 * 900.0);
}

#[test]
fn an_end_ahead_of_the_clock_counts_as_now() {
    let mut set = set();
    set.decide(&decision(1, 60_000, &[(0, 600)], 1), 0, true, 0);
    assert_eq!(execute(&mut set, 0, 10).1.len(), 0);
    assert_eq!(execute(&mut set, 20, 30).0, Some(Temperature::Warm));
}

#[test]
fn a_decision_for_ever_stays_within_bounds() {
    let mut set = set();
    set.decide(&decision(1, 0, &[(0, i64::MAX)], u32::MAX), 0, true, 0);
    execute(&mut set, 0, 10);
    assert!(set.tick(999_999).is_empty());
    let mut later = decision(2, 999_000, &[(5, i64::MAX)], u32::MAX);
    later.valid_until_ms = i64::MAX;
    set.decide(&later, 0, true, 999_999);
    assert_eq!(loads(&mut set, 999_999), MOST_INSTANCES as usize - 1, "one is loaded");
}

#[test]
fn what_this_node_cannot_load_is_not_tried() {
    let mut set = set();
    set.decide(&decision(1, 0, &[(100, 2000)], 1), 0, false, 0);
    set.tick(100);
    assert_eq!(loads(&mut set, 100), 0);
    set.became_loadable("a", 150);
    assert_eq!(loads(&mut set, 150), 1);
}

#[test]
fn of_many_loads_the_likeliest_come_first() {
    let mut set = set();
    for (app, cold, from_ms) in [("b", None, 200), ("c", Some(0.2), 200), ("d", Some(0.2), 199), ("e", Some(0.9), 1)] {
        let expected = cold.map(|cold_probability| Expected { cold_probability, idle_mb_s: 0.0 });
        set.decide(&Decision { app: app.to_owned(), expected, ..decision(1, 0, &[(from_ms, 300)], 1) }, 0, true, 0);
    }
    (0..=200).for_each(|now_ms| assert!(set.tick(now_ms).is_empty()));
    let order: Vec<_> = std::iter::from_fn(|| set.next_load(200)).map(|app| app.to_string()).collect();
    assert_eq!(order, ["d", "c", "b", "e"]);
}

#[test]
fn a_load_that_nobody_began_before_its_window_was_over_is_dropped() {
    let mut set = set();
    set.decide(&decision(1, 0, &[(100, 200)], 1), 0, true, 0);
    set.tick(150);
    set.tick(200);
    assert_eq!(loads(&mut set, 200), 0);
}

fn evicted(set: &mut WarmSet<u32>, now_ms: i64) -> Option<String> {
    set.evict(None, now_ms).map(|(app, _)| app.to_string())
}

#[test]
fn what_is_worth_least_for_its_memory_is_evicted_first() {
    let mut set = set();
    let load = |set: &mut WarmSet<u32>, app: &str, cold: Option<f64>, load_ms: i64, memory_mb: f64| {
        let expected = cold.map(|cold_probability| Expected { cold_probability, idle_mb_s: 0.0 });
        let decision = Decision { app: app.to_owned(), expected, ..decision(1, 0, &[(0, 900)], 1) };
        set.decide(&decision, 0, true, 0);
        set.note_load(app, load_ms);
        set.start_busy(app, 0);
        set.release(app, 1, memory_mb, 10);
    };
    load(&mut set, "slow to load", Some(0.0), 900, 100.0);
    load(&mut set, "large", Some(0.0), 300, 300.0);
    load(&mut set, "unlikely", Some(0.9), 300, 100.0);
    load(&mut set, "unknown", None, 300, 100.0);
    load(&mut set, "likely", Some(0.1), 300, 100.0);
    let order: Vec<_> = std::iter::from_fn(|| evicted(&mut set, 20)).collect();
    assert_eq!(order, ["unlikely", "large", "unknown", "likely", "slow to load"]);
}

#[test]
fn what_is_not_used_grows_old_however_much_it_is_worth() {
    let mut set = set();
    set.note_load("dear", 500);
    set.start_busy("dear", 0);
    set.release("dear", 1, 100.0, 10);
    let mut evictions = 0;
    loop {
        set.note_load("cheap", 100);
        set.start_busy("cheap", 0);
        set.release("cheap", 2, 100.0, 20);
        evictions += 1;
        if evicted(&mut set, 30).as_deref() == Some("dear") {
            break;
        }
    }
    assert_eq!(evictions, 6, "each eviction makes what comes next worth 0.5 more, of 2.5");
}

#[test]
fn what_is_loaded_ahead_makes_room_only_of_what_is_worth_less() {
    let mut set = set();
    for (app, load_ms) in [("a", 300), ("b", 100)] {
        set.note_load(app, load_ms);
    }
    set.start_busy("a", 0);
    set.release("a", 1, 100.0, 10);
    assert_eq!(set.evict(Some(("b", 100.0)), 20), None);
    set.note_load("b", 400);
    assert_eq!(set.evict(Some(("b", 100.0)), 20), Some(("a".into(), 1)));
}

#[test]
fn a_tombstone_that_is_not_newer_forgets_nothing() {
    let mut set = set();
    set.decide(&decision(9, 0, &[(100, 200)], 1), 0, true, 0);
    set.forget("a", Some(Version { epoch: 0, position: 9 }), 10);
    assert_eq!(set.view(10).len(), 1);
}

#[test]
fn a_tombstone_forgets_the_app() {
    let mut set = set();
    set.decide(&decision(9, 0, &[(100, 200)], 1), 0, true, 0);
    assert!(set.forget("a", Some(Version { epoch: 0, position: 10 }), 10).is_empty());
    assert!(set.view(10).is_empty() && set.next_due_ms().is_none());
    assert!(set.decide(&decision(3, 0, &[(0, 1)], 1), 0, true, 20).is_some());
}

proptest! {
    /// Whatever happens, the counts agree with what is held, and idle memory never runs backwards.
    #[test]
    fn the_books_balance(steps in prop::collection::vec((0..6_u8, 1..500_i64), 1..200)) {
        let mut set = set();
        let (mut now, mut held, mut alive, mut position) = (0, Vec::new(), 0_i64, 0);
        let mut next = 0_u32;
        let mut memory = 0.0;
        for (step, wait) in steps {
            now += wait;
            let mut unloads = set.tick(now);
            match step {
                0 => if let Some((instance, _)) = set.acquire("a", now) { held.push(instance) },
                1 => { set.start_busy("a", now); next += 1; alive += 1; held.push(next) }
                2 => if let Some(instance) = held.pop() { unloads.extend(set.release("a", instance, 10.0, now)) },
                3 => if held.pop().is_some() { alive -= 1; unloads.extend(set.lost("a", now)) },
                4 => { position += 1; unloads.extend(set.decide(&decision(position, now, &[(wait, 3 * wait)], 2), 0, true, now).unwrap()) }
                _ => if set.evict(None, now).is_some() { alive -= 1 },
            }
            while set.next_load(now).is_some() {
                next += 1;
                alive += 1;
                unloads.extend(set.loaded("a", next, 10.0, now));
            }
            alive -= unloads.len() as i64;
            prop_assert_eq!(set.loaded_instances() as i64, alive);
            let total = set.idle_mb_ms(now);
            prop_assert!(total >= memory);
            memory = total;
        }
    }
}
