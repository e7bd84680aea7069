//! Bad input goes to the dead-letter topic with its origin and a reason, and the pipeline goes on.

mod support;

use std::time::Duration;

use support::program::Program;
use support::{kafka, schema, topic, wait_for};

#[test]
fn every_bad_event_becomes_a_dead_letter_and_good_ones_are_decided() {
    let Some(broker) = kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    let pipeline = Program::start_ready(&["pipeline", "--bootstrap-servers", &bootstrap]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let good = topic::event("good", now - 5_000, 10.0);
    let huge = {
        let mut huge = good.clone();
        huge.truncate(huge.len() - 1);
        huge.extend_from_slice(b",\"pad\":\"");
        huge.extend(std::iter::repeat_n(b'x', 900_000));
        huge.extend_from_slice(b"\"}");
        huge
    };
    let far_future = topic::event("good", now + 86_400_000, 10.0);
    let micros_for_ms = topic::event("good", now * 1000, 10.0);
    let seconds_for_ms = topic::event("good", now / 1000, 10.0);
    let bad: Vec<(&str, &[u8])> = vec![
        ("empty", b""),
        ("malformed", &good[..good.len() / 2]),
        ("not_utf8", b"{\"app\":\"\xff\xfe\"}"),
        ("malformed", br#"{"app":["a"],"function":"f","started_at_ms":1,"duration_ms":1}"#),
        ("malformed", br#"{"app":"a","function":"f","duration_ms":1}"#),
        ("bad_field", br#"{"app":"a","function":"f","started_at_ms":1,"duration_ms":-1}"#),
        ("malformed", br#"{"app":"a","function":"f","started_at_ms":1,"duration_ms":1e999}"#),
        ("far_future", &far_future),
        ("bad_field", &micros_for_ms),
        ("far_past", &seconds_for_ms),
        ("too_large", &huge),
        ("malformed", b"null"),
    ];
    let writer = topic::Writer::open(&bootstrap);
    for (_, payload) in &bad {
        writer.write("pilotlight.invocations", "good", payload);
        writer.write("pilotlight.invocations", "good", &good);
    }
    writer.flush();

    let produced = 2.0 * bad.len() as f64;
    wait_for("all events read", Duration::from_secs(30), || {
        (pipeline.metric("pilotlight_events_total") == produced).then_some(())
    });
    let letters = wait_for("all dead letters on the topic", Duration::from_secs(30), || {
        let letters = topic::read_json(&bootstrap, "pilotlight.dead-letters");
        (letters.len() >= bad.len()).then_some(letters)
    });
    let valid = schema("dead-letter.v1.json");
    let mut letters: Vec<_> = letters.into_iter().map(|letter| (letter["offset"].as_i64().unwrap(), letter)).collect();
    letters.sort_by_key(|(offset, _)| *offset);
    assert_eq!(letters.len(), bad.len(), "valid + dead-lettered = produced");
    for (i, ((offset, letter), (kind, payload))) in letters.iter().zip(&bad).enumerate() {
        let errors: Vec<_> = valid.iter_errors(letter).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?} in {letter}");
        assert_eq!((letter["kind"].as_str(), *offset), (Some(*kind), 2 * i as i64), "{letter}");
        assert_eq!(letter["topic"], "pilotlight.invocations");
        assert!(letter["partition"].is_i64() && !letter["reason"].as_str().unwrap().is_empty());
        assert_eq!(letter["bytes"], payload.len());
    }
    let decisions = topic::compacted(&bootstrap, "pilotlight.decisions");
    assert_eq!(decisions.keys().collect::<Vec<_>>(), ["good"]);
    assert_eq!(pipeline.status("/readyz"), Some(200));
}
