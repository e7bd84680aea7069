use proptest::prelude::*;

use super::*;

const SPANS: Spans = Spans { reorder_ms: 2000, duplicates_ms: 600_000 };

/// Runs events through the order as a shard does: what comes out, as (app, start) in the order of coming out.
#[derive(Default)]
struct Run {
    order: Order,
    /// The latest end that came out, by app.
    ends: std::collections::BTreeMap<String, i64>,
    out: Vec<(String, i64)>,
    /// Those of it that did not wait, though something earlier might have come.
    prompt: Vec<(String, i64)>,
    offset: i64,
    duplicates: usize,
}

impl Run {
    fn come(&mut self, invocation: &Invocation) {
        let last_end_ms = self.ends.get(&*invocation.app).copied();
        match self.order.judge(invocation, last_end_ms, SPANS) {
            Verdict::Duplicate => self.duplicates += 1,
            Verdict::Wait => self.order.hold(invocation, self.offset, 0),
            Verdict::Now => {
                self.release(invocation.started_at_ms);
                self.apply(invocation);
                if invocation.started_at_ms + SPANS.reorder_ms > self.order.marks().newest_end_ms {
                    self.prompt.push((invocation.app.to_string(), invocation.started_at_ms));
                }
            }
        }
        self.release(i64::MAX);
        self.offset += 1;
    }

    fn release(&mut self, until_ms: i64) {
        while let Some(invocation) = self.order.next_due(until_ms, SPANS) {
            self.apply(&invocation);
        }
    }

    fn apply(&mut self, invocation: &Invocation) {
        let end_ms = self.ends.entry(invocation.app.to_string()).or_insert(i64::MIN);
        *end_ms = invocation.ended_at_ms().max(*end_ms);
        self.out.push((invocation.app.to_string(), invocation.started_at_ms));
    }

    fn starts(&self, app: &str) -> Vec<i64> {
        self.out.iter().filter(|(of, _)| of == app).map(|(_, start_ms)| *start_ms).collect()
    }
}

fn invocation(app: &str, start_ms: i64, duration_ms: i64) -> Invocation<'_> {
    Invocation::new(app, "f", start_ms, duration_ms as f64)
}

#[test]
fn a_call_after_a_silence_does_not_wait_and_those_of_its_burst_come_out_by_start() {
    let mut run = Run::default();
    for (start_ms, duration_ms) in [(10_000, 10), (10_500, 10), (10_300, 900), (10_100, 1500)] {
        run.come(&invocation("a", start_ms, duration_ms));
    }
    assert_eq!(run.starts("a"), [10_000], "within 2 s something earlier may still come");
    // Another app's event moves the time on, and does not wait itself.
    run.come(&invocation("b", 12_350, 0));
    assert_eq!(run.starts("a"), [10_000, 10_100, 10_300]);
    assert_eq!(run.starts("b"), [12_350]);
    // So does the time of a record that tells no event.
    run.order.pass(Some(1));
    run.release(i64::MAX);
    run.order.pass(Some(2001));
    run.release(i64::MAX);
    assert_eq!(run.starts("a"), [10_000, 10_100, 10_300, 10_500]);
    assert_eq!(run.order.held().len(), 0);
}

#[test]
fn what_lasted_longer_than_the_span_comes_out_at_once_after_what_started_before_it() {
    let mut run = Run::default();
    for (start_ms, duration_ms) in [(0, 0), (100, 0), (300, 0), (200, 60_000)] {
        run.come(&invocation("a", start_ms, duration_ms));
    }
    assert_eq!(run.starts("a"), [0, 100, 200, 300]);
}

#[test]
fn an_event_that_comes_again_is_dropped_within_the_window() {
    let mut run = Run::default();
    let with_id = |id: &'static str, start_ms| Invocation { id: Some(id.into()), ..invocation("a", start_ms, 0) };
    run.come(&with_id("x", 0));
    run.come(&with_id("x", 0));
    // A retry has the id of the first attempt, and another start.
    run.come(&with_id("x", 60_000));
    run.come(&invocation("a", 120_000, 0));
    run.come(&invocation("a", 120_000, 0));
    assert_eq!((run.duplicates, run.order.duplicates().known().len()), (1, 2));
    run.come(&with_id("y", 600_001));
    run.come(&with_id("x", 0));
    assert_eq!(run.duplicates, 1, "the window has passed");
    run.come(&with_id("x", 60_000));
    assert_eq!(run.duplicates, 2);
}

#[test]
fn what_waits_is_bounded() {
    let mut run = Run::default();
    run.come(&invocation("a", 0, 0));
    for i in 0..MAX_HELD as i64 + 50 {
        run.come(&invocation("a", i % 2000, 0));
    }
    assert_eq!(run.order.held().len(), MAX_HELD);
    let node = "n".repeat(400);
    for i in 0..MAX_HELD as i64 {
        run.come(&Invocation { node: Some(node.as_str().into()), ..invocation("a", 1000 + i % 1000, 0) });
    }
    let kept: usize = run.order.held().map(|(_, held)| bytes(&held.invocation)).sum();
    assert!(kept <= MAX_HELD_BYTES && kept > MAX_HELD_BYTES / 2, "{kept} bytes");
    run.come(&invocation("a", 100_000, 0));
    assert_eq!(run.order.held().len() as i64, 1);
    assert_eq!(run.out.len() as i64 + 1, run.offset, "none is lost");
}

/// Starts and durations of at most the span, of a few apps, by end: as a platform sends them.
fn executions() -> impl Strategy<Value = Vec<(usize, i64, i64)>> {
    let execution = (0..3_usize, 0..20_000_i64, 0..=2000_i64);
    prop::collection::vec(execution, 1..60).prop_map(|mut all| {
        all.sort_by_key(|(_, start_ms, duration_ms)| start_ms + duration_ms);
        all
    })
}

const APPS: [&str; 3] = ["a", "b", "c"];

proptest! {
    #[test]
    fn short_executions_that_come_by_end_come_out_by_start_but_for_the_first_after_a_silence(all in executions()) {
        let mut run = Run::default();
        for (app, start_ms, duration_ms) in &all {
            run.come(&invocation(APPS[*app], *start_ms, *duration_ms));
        }
        run.come(&invocation("z", 1_000_000, 0));
        prop_assert_eq!(run.out.len(), all.len() + 1, "none is lost, and none is left");
        for app in APPS {
            let mut latest_ms = i64::MIN;
            for start_ms in run.starts(app) {
                let latest_was_prompt = run.prompt.contains(&(app.to_owned(), latest_ms));
                prop_assert!(start_ms >= latest_ms || latest_was_prompt, "{} after {}", start_ms, latest_ms);
                latest_ms = latest_ms.max(start_ms);
            }
        }
    }

    #[test]
    fn it_goes_on_from_what_it_gave(all in executions(), cut in 0..60_usize) {
        let (mut whole, mut parts) = (Run::default(), Run::default());
        for (i, (app, start_ms, duration_ms)) in all.iter().enumerate() {
            let id = i.to_string();
            let event = Invocation { id: Some(id.as_str().into()), ..invocation(APPS[*app], *start_ms, *duration_ms) };
            whole.come(&event);
            parts.come(&event);
            if i == cut {
                let held: Vec<_> = parts.order.held().map(|(turn, held)| (*turn, held.clone())).collect();
                let duplicates = Duplicates::restore(parts.order.duplicates().known());
                parts.order = Order::restore(parts.order.marks(), held, duplicates, parts.order.sources().clone());
            }
        }
        prop_assert_eq!(&whole.order, &parts.order);
        prop_assert_eq!(whole.out, parts.out);
    }
}
