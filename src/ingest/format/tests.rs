//! What holds for all formats. What each reads is tested beside it.

use proptest::prelude::*;

use super::*;
use crate::ingest::{self, Limits};

const LIMITS: Limits = Limits { max_event_bytes: 262_144, max_future_ms: 300_000, max_past_ms: 0 };

/// A file of the published samples, or `None` with a clear line where it is absent.
pub(super) fn sample(path: &str) -> Option<Vec<u8>> {
    let file = std::path::Path::new("../shared/traces").join(path);
    if let Ok(bytes) = std::fs::read(&file) {
        return Some(bytes);
    }
    let strict = std::env::var_os("PILOTLIGHT_TEST_NOTHING_SKIPPED").is_some();
    assert!(!strict, "nothing may be skipped here, but {} is missing", file.display());
    eprintln!("skipped: {} is not here", file.display());
    None
}

/// Reads a message of topic `t` that has no more than this.
pub(super) fn read<'a>(format: &Format, payload: &'a [u8]) -> Result<Invocations<'a>, Reason> {
    ingest::decode(&Message { topic: "t", payload: Some(payload), ..Message::default() }, format, &LIMITS)
}

/// The invocations in it, each as canonical JSON.
pub(super) fn canonical(format: &Format, payload: &[u8]) -> Result<Vec<String>, String> {
    let invocations = read(format, payload).map_err(|reason| reason.to_string())?;
    Ok(invocations.iter().map(|invocation| serde_json::to_string(invocation).unwrap()).collect())
}

/// A format, and a message of it that can be read, with its headers.
type Example = (Format, Vec<(&'static str, &'static [u8])>, &'static str);

fn examples() -> Vec<Example> {
    let mapping: Mapping = toml::from_str(
        r#"app = "/app"
        ended_at = { at = "/t", unit = "rfc3339" }
        duration = { at = "/took", unit = "s" }
        memory = { at = "/mem", unit = "b" }
        trigger = { value = "http" }"#,
    )
    .unwrap();
    mapping.check().unwrap();
    let headers: Vec<(&str, &[u8])> =
        vec![("ce_specversion", b"1.0"), ("ce_id", b"i"), ("ce_subject", b"a"), ("ce_time", b"2026-01-02T03:04:05Z")];
    vec![
        (
            Format::Native,
            vec![],
            r#"{"app":"a","function":"f","started_at_ms":1000,"duration_ms":2.5,"trigger":"http"}"#,
        ),
        (
            Format::CloudEvents,
            vec![],
            r#"{"specversion":"1.0","id":"i","source":"/s","time":"2026-01-02T03:04:05+01:00","data":{"duration_ms":2}}"#,
        ),
        (
            Format::CloudEvents,
            vec![],
            r#"{"specversion":"1.0","source":"/s","data_base64":"eyJzdGFydGVkX2F0X21zIjoxLCJkdXJhdGlvbl9tcyI6Mn0="}"#,
        ),
        (Format::CloudEvents, headers, r#"{"duration_ms":2,"function":"f","code":{"uri":"file:///x"}}"#),
        (
            Format::OpenWhisk,
            vec![],
            r#"{"body":{"statusCode":0,"duration":30,"name":"g/p/a","waitTime":5,"conductor":false,"kind":"nodejs:6","initTime":20,"memory":256,"causedBy":"sequence","activationId":"i"},"eventType":"Activation","source":"invoker0","timestamp":1524476122676,"namespace":"g"}"#,
        ),
        (
            Format::Aws,
            vec![],
            r#"[{"time":"2020-11-12T00:30:49.017Z","type":"platform.report","record":{"requestId":"r","status":"success","metrics":{"durationMs":15.7,"memorySizeMB":128,"initDurationMs":226.3}}},{"type":"platform.start"}]"#,
        ),
        (
            Format::Aws,
            vec![],
            r#"{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"/aws/lambda/f","logEvents":[{"timestamp":1747081446310,"message":"REPORT RequestId: r\tDuration: 155.5 ms\tMemory Size: 128 MB\tRestore Duration: 9.5 ms\t\n"},{"timestamp":1,"message":"END"}]}"#,
        ),
        (
            Format::Mapping(Arc::new(mapping)),
            vec![],
            r#"{"app":"a","t":"2026-01-02T03:04:05Z","took":"1.5","mem":134217728}"#,
        ),
    ]
}

#[test]
fn every_example_is_read_framed_or_not() {
    for (format, headers, payload) in examples() {
        for frame in [&[][..], &[0, 0, 0, 1, 2]] {
            let payload = [frame, payload.as_bytes()].concat();
            let message = Message { topic: "t", payload: Some(&payload), headers: &headers, ..Message::default() };
            let invocations = ingest::decode(&message, &format, &LIMITS).unwrap();
            assert_eq!(invocations.len(), 1, "{format:?}");
        }
    }
}

#[test]
fn names_are_those_of_the_settings() {
    let mapping = Arc::default();
    for name in Format::NAMES {
        assert_eq!(Format::from_name(name, &mapping).unwrap().name(), name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// No bytes and no changes to a message that can be read make a format panic, and what is read keeps to the rules.
    #[test]
    fn whatever_the_message_it_is_read_or_has_a_reason(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 0..4),
        noise in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let examples = examples();
        let (format, headers, payload) = &examples[which.index(examples.len())];
        let mut bytes = payload.as_bytes().to_vec();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.splice(at..at, noise.iter().copied())),
                _ => bytes.truncate(at.max(1)),
            }
        }
        for payload in [&bytes, &noise] {
            let message = Message { topic: "t", payload: Some(payload), headers, ..Message::default() };
            if let Ok(invocations) = ingest::decode(&message, format, &LIMITS) {
                for invocation in &invocations {
                    prop_assert_eq!(ingest::check(invocation), Ok(()));
                }
            }
        }
    }
}
