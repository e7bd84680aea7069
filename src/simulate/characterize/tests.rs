use std::sync::Arc;

use super::published::Subject;
use super::*;
use crate::model::Trigger;
use crate::simulate::Function;

type Row<'a> = (&'a str, &'a str, Option<Trigger>, Option<f64>, f64, Vec<(u32, u32)>);

fn trace(rows: &[Row<'_>], end_minute: u32) -> Trace {
    let functions = rows
        .iter()
        .map(|(app, name, trigger, memory_mb, ..)| Function {
            app: Arc::from(*app),
            name: Arc::from(*name),
            trigger: *trigger,
            memory_mb: *memory_mb,
        })
        .collect();
    let durations_ms = rows.iter().map(|row| row.4).collect();
    Trace::from_cells(functions, durations_ms, rows.iter().map(|row| row.5.clone()), end_minute)
}

/// A day of four apps: a timer every 5 minutes; HTTP and a queue; a busy event app; HTTP called once. One function more is
/// never invoked.
fn four_apps() -> Trace {
    let every = |period: usize, count: u32| (0..1440u32).step_by(period).map(|minute| (minute, count)).collect();
    trace(
        &[
            ("clock", "tick", Some(Trigger::Timer), Some(100.0), 100.0, every(5, 1)),
            ("shop", "page", Some(Trigger::Http), Some(200.0), 1_000.0, vec![(0, 2), (60, 3), (61, 1)]),
            ("shop", "work", Some(Trigger::Queue), Some(200.0), 10_000.0, vec![(60, 3), (1000, 1)]),
            ("shop", "never", Some(Trigger::Storage), Some(200.0), 5.0, vec![]),
            ("stream", "take", Some(Trigger::Event), None, 0.0, every(1, 6)),
            ("once", "page", Some(Trigger::Http), Some(400.0), 60_000.0, vec![(700, 1)]),
        ],
        1440,
    )
}

#[test]
fn figures_of_a_handmade_trace() {
    let found = characterize(&four_apps(), |_| ());
    assert_eq!((found.apps, found.functions, found.invocations, found.days), (4, 5, 288 + 10 + 8640 + 1, 1.0));

    let share = |trigger: &str| found.triggers.share(trigger).unwrap();
    assert_eq!(share("http").functions_percent, 40.0);
    assert_eq!(share("storage").functions_percent, 0.0);
    assert!((share("event").invocations_percent - 100.0 * 8640.0 / 8939.0).abs() < 1e-9);
    let combinations = ["timer", "http+queue", "event", "http"].map(|one| found.triggers.combination_percent(one));
    assert_eq!(combinations, [Some(25.0); 4]);
    assert_eq!(found.triggers.combination_percent("http+timer"), Some(0.0));
    assert_eq!(found.triggers.any_timer_percent, Some(25.0));
    assert_eq!(found.triggers.slow_timers_percent, Some(100.0));

    assert_eq!(found.population.sizes_percent, [75.0, 25.0, 0.0, 0.0, 0.0, 0.0]);
    let daily = [0.9, 1.0, 10.0, 288.0, 8640.0].map(|limit| found.population.at_most_daily(limit).unwrap());
    assert_eq!(daily, [0.0, 25.0, 50.0, 75.0, 100.0]);
    assert_eq!(found.population.at_daily(288.0), Some(25.0));
    assert!((found.population.busy_apps_invocations_percent.unwrap() - 100.0 * 8640.0 / 8939.0).abs() < 1e-9);
    assert!((found.population.orders_of_magnitude().unwrap() - 8640f64.log10()).abs() < 1e-9);
    assert_eq!(found.population.app_skew.top(1.0), None, "1 % of 4 apps is none");
    assert!((found.population.app_skew.top(25.0).unwrap() - 100.0 * 8640.0 / 8939.0).abs() < 1e-9);

    assert_eq!(found.arrivals.all.count(), 3, "of one invocation nothing is known");
    assert_eq!((found.arrivals.only_timers.count(), found.arrivals.no_timers.count()), (1, 2));
    assert_eq!(found.arrivals.only_timers.percent_at_most(0.0), Some(100.0));
    assert_eq!(found.arrivals.no_timers.percent_at_most(0.0), Some(50.0));

    assert_eq!(found.executions.durations_s.count(), 4);
    assert_eq!(found.executions.durations_s.percent_at_most(1.0), Some(50.0));
    assert_eq!(found.executions.memory_mb.percentile(50.0), Some(200.0));

    assert_eq!(found.load.hourly.len(), 24);
    assert_eq!(found.load.hourly[..2], [12 + 2 + 360, 12 + 7 + 360]);
    assert!((found.load.base_percent().unwrap() - 100.0 * 372.0 / 379.0).abs() < 1e-9);

    let busiest: Vec<_> = found.busiest.iter().map(|app| &*app.name).collect();
    assert_eq!(busiest, ["stream", "clock", "shop", "once"]);
    assert_eq!(found.busiest[2].triggers, "http+queue");
}

#[test]
fn nothing_is_made_up_for_traces_that_say_little() {
    let cases = [
        ("nothing invoked", trace(&[("a", "f", Some(Trigger::Http), None, 0.0, vec![])], 60)),
        ("no functions", trace(&[], 0)),
        ("one invocation", trace(&[("a", "f", None, None, 0.0, vec![(0, 1)])], 1)),
        ("no triggers, no durations", trace(&[("a", "f", None, None, 0.0, vec![(0, 5), (7, 2)])], 30)),
        ("only a timer", trace(&[("a", "f", Some(Trigger::Timer), Some(1.0), 1.0, vec![(0, 1), (1, 1), (2, 1)])], 90)),
    ];
    for (name, trace) in cases {
        let found = characterize(&trace, |_| ());
        let json = serde_json::to_string(&found).unwrap();
        for row in compare(&found) {
            for value in [row.here, row.difference].into_iter().flatten() {
                assert!(value.is_finite(), "{name}: {row:?}");
            }
            let is_share = row.unit == published::Unit::Percent;
            assert!(!is_share || row.here.is_none_or(|here| (0.0..=100.0001).contains(&here)), "{name}: {row:?}");
        }
        assert!(!json.contains("NaN"), "{name}");
    }
    let none = characterize(&trace(&[], 0), |_| ());
    assert!(compare(&none).iter().all(|row| row.here.is_none()), "of nothing, nothing is known");
    let unknown = characterize(&trace(&[("a", "f", None, None, 0.0, vec![(0, 5)])], 30), |_| ());
    let of_triggers = |subject| matches!(subject, Subject::Triggers | Subject::Combinations | Subject::Durations);
    assert!(compare(&unknown).iter().filter(|row| of_triggers(row.subject)).all(|row| row.here.is_none()));
}

#[test]
fn progress_reaches_all_invocations() {
    let last = std::cell::Cell::new(0);
    let found = characterize(&four_apps(), |done| last.set(done));
    assert_eq!(last.get(), found.invocations);
}
