//! Random changes to valid records of all formats: none stops or crashes the pipeline, and what is valid, what is skipped and
//! what becomes a dead letter are together what was produced. `PILOTLIGHT_TEST_POISON=1000000` makes it that many records.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use pilotlight::ingest::format::Mapping;
use pilotlight::ingest::{self, Format, Limits, Message};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::program::Program;
use support::{kafka, topic, wait_for};

const RECORDS: usize = 100_000;
/// Those of the settings, but for the size; 30 years.
const LIMITS: Limits = Limits { max_event_bytes: 4096, max_future_ms: 300_000, max_past_ms: 946_728_000_000 };
const MAPPING: [(&str, &str); 4] = [
    ("app", "\"/app\""),
    ("ended_at", "{ at = \"/t\", unit = \"rfc3339\" }"),
    ("duration", "{ at = \"/took\", unit = \"s\" }"),
    ("memory", "{ at = \"/mem\", unit = \"b\" }"),
];
const HEADERS: [(&str, &[u8]); 4] =
    [("ce_specversion", b"1.0"), ("ce_id", b"i"), ("ce_subject", b"app"), ("ce_time", b"2026-01-02T03:04:05Z")];

/// A valid record: topic, format, headers, payload.
type Valid = (&'static str, Format, &'static [(&'static str, &'static [u8])], Vec<u8>);

fn valid(rng: &mut impl Rng, mapping: &Arc<Mapping>) -> Valid {
    let ended_at_ms = 1_700_000_000_000 + rng.random_range(0..86_400_000_i64);
    let (app, took) = (rng.random_range(0..20), rng.random_range(0..5000));
    let time = chrono::DateTime::from_timestamp_millis(ended_at_ms).unwrap().to_rfc3339();
    match rng.random_range(0..7) {
        0 => {
            let event = format!(
                r#"{{"app":"n{app}","function":"f","started_at_ms":{ended_at_ms},"duration_ms":{took}.5,"trigger":"http","code":{{"uri":"file:///x"}}}}"#
            );
            ("native", Format::Native, &[], event.into_bytes())
        }
        1 => {
            let event = format!(
                r#"{{"specversion":"1.0","type":"t","id":"i","source":"/s","subject":"c{app}","time":"{time}","data":{{"duration_ms":{took}}}}}"#
            );
            ("cloudevents", Format::CloudEvents, &[], event.into_bytes())
        }
        2 => ("cloudevents", Format::CloudEvents, &HEADERS, format!(r#"{{"duration_ms":{took}}}"#).into_bytes()),
        3 => {
            let kind = ["nodejs:20", "sequence"][rng.random_range(0..2)];
            let event = format!(
                r#"{{"body":{{"statusCode":0,"duration":{took},"name":"g/a{app}","waitTime":1,"conductor":false,"kind":"{kind}","initTime":0,"memory":256,"causedBy":false}},"eventType":"Activation","source":"invoker0","timestamp":{ended_at_ms},"namespace":"g"}}"#
            );
            ("openwhisk", Format::OpenWhisk, &[], event.into_bytes())
        }
        4 => {
            let event = format!(
                r#"{{"time":"{time}","type":"platform.report","record":{{"requestId":"r","metrics":{{"durationMs":{took}.25,"memorySizeMB":128,"initDurationMs":9}}}}}}"#
            );
            ("aws", Format::Aws, &[], event.into_bytes())
        }
        5 => {
            let event = format!(
                r#"{{"logGroup":"/aws/lambda/l{app}","logEvents":[{{"timestamp":{ended_at_ms},"message":"REPORT RequestId: r\tDuration: {took} ms\t"}},{{"timestamp":1,"message":"END"}}]}}"#
            );
            ("aws", Format::Aws, &[], event.into_bytes())
        }
        _ => {
            let event = format!(r#"{{"app":"m{app}","t":"{time}","took":"{took}","mem":1048576}}"#);
            ("mapping", Format::Mapping(Arc::clone(mapping)), &[], event.into_bytes())
        }
    }
}

/// What values of JSON are replaced by.
const NASTY: [&str; 16] = [
    "null",
    "true",
    "-1",
    "1e999",
    "-0.0",
    "1e-400",
    "9223372036854775808",
    "\"\"",
    "\"\\ud800\"",
    "[]",
    "{}",
    "[[[[[[[[",
    "\"\\u0000\"",
    "\"9999-12-31T23:59:60Z\"",
    "{\"a\":",
    "18446744073709551616",
];

/// Changes a record: mostly a little, so that some stay valid.
fn change(bytes: &mut Vec<u8>, other: &[u8], rng: &mut impl Rng) {
    for _ in 0..rng.random_range(0..4) {
        let at = rng.random_range(0..bytes.len().max(1)).min(bytes.len().saturating_sub(1));
        let until = (at + rng.random_range(1..12)).min(bytes.len());
        match rng.random_range(0..9) {
            _ if bytes.is_empty() => return,
            0 => bytes[at] = rng.random(),
            1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes.insert(at, rng.random_range(b' '..b'~')),
            3 => drop(bytes.drain(at..until)),
            4 => bytes.extend_from_within(at..until),
            5 => bytes.truncate(at),
            6 => drop(bytes.splice(at..until, other.iter().copied())),
            7 => drop(bytes.splice(..0, [0, 0, 0, 0, 7])),
            // The value of a member.
            _ => {
                let Some(colon) = bytes[at..].iter().position(|byte| *byte == b':') else { continue };
                let from = at + colon + 1;
                let end = bytes[from..]
                    .iter()
                    .position(|byte| matches!(byte, b',' | b'}'))
                    .map_or(bytes.len(), |end| from + end);
                bytes.splice(from..end, NASTY[rng.random_range(0..NASTY.len())].bytes());
            }
        }
    }
}

#[test]
fn valid_and_skipped_and_dead_lettered_is_what_was_produced() {
    let Some(broker) = kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    let records = std::env::var("PILOTLIGHT_TEST_POISON").map_or(RECORDS, |text| text.parse().unwrap());
    topic::create(&bootstrap, &Format::NAMES);
    let text: Vec<_> = MAPPING.iter().map(|(field, rule)| format!("{field} = {rule}")).collect();
    let mapping: Arc<Mapping> = Arc::new(toml::from_str(&text.join("\n")).unwrap());

    // The broker refuses records from the future, and removes old ones.
    let written_ms = pilotlight::model::now_ms();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let writer = topic::Writer::open(&bootstrap);
    let (mut applied, mut skipped, mut bad) = (0, 0, 0);
    let mut other = b"{}".to_vec();
    for _ in 0..records {
        let (topic, format, headers, mut payload) = valid(&mut rng, &mapping);
        change(&mut payload, &other, &mut rng);
        let message =
            Message { topic, payload: Some(&payload), headers, received_ms: Some(written_ms), ..Message::default() };
        match ingest::decode(&message, &format, &LIMITS) {
            Ok(invocations) if invocations.is_empty() => skipped += 1,
            Ok(_) => applied += 1,
            Err(_) => bad += 1,
        }
        writer.write_with(topic, headers, &payload, Some(written_ms));
        other = payload;
    }
    writer.flush();
    assert!(applied > records / 10 && skipped > records / 100 && bad > records / 10, "{applied} {skipped} {bad}");

    let input = Format::NAMES.map(|name| format!("{name}:{name}")).join(",");
    let sets: Vec<_> =
        MAPPING.iter().map(|(field, rule)| format!("input.mapping.{field}={}", rule.trim_matches('"'))).collect();
    let mut arguments = vec!["pipeline", "--bootstrap-servers", &bootstrap, "--input", &input, "--log", "warn"];
    arguments.extend(["--set", "input.max_event_bytes=4096"]);
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let pipeline = Program::start_ready(&arguments);
    wait_for("all records read", Duration::from_secs(60 + records as u64 / 1000), || {
        (pipeline.metric("pilotlight_events_total") == records as f64).then_some(())
    });
    assert_eq!(pipeline.metric("pilotlight_skipped_total"), skipped as f64);
    assert_eq!(pipeline.status("/readyz"), Some(200));
    // Ends only when all is delivered.
    let (code, logs) = pipeline.interrupt();
    assert_eq!(code, Some(0), "{logs}");

    let letters = topic::read_all(&bootstrap, "pilotlight.dead-letters");
    assert_eq!(letters.len(), bad);
    assert_eq!(applied + skipped + letters.len(), records);
    assert_eq!(topic::compacted(&bootstrap, "pilotlight.dead-letters").len(), letters.len(), "each of another record");
}
