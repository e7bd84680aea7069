//! Every format decides as the native one does: what the published samples hold is what `check --sample` shows, and a round
//! trip through a real broker ends in the decisions that the same invocations lead to as native events.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use support::program::{Program, run};
use support::{kafka, schema, topic, trace, wait_for};

/// How the format `mapping` is declared here.
const MAPPING: [&str; 6] = [
    "input.mapping.app=/labels/service",
    "input.mapping.function=/labels/handler",
    "input.mapping.ended_at={ at = \"/done\", unit = \"rfc3339\" }",
    "input.mapping.duration={ at = \"/took\", unit = \"s\" }",
    "input.mapping.memory={ at = \"/memory\", unit = \"b\" }",
    "input.mapping.trigger={ value = \"http\" }",
];

fn settings() -> Vec<&'static str> {
    MAPPING.iter().flat_map(|set| ["--set", set]).collect()
}

/// One message: headers and payload.
type Message = (BTreeMap<String, String>, String);

fn plain(payload: impl ToString) -> Message {
    (BTreeMap::new(), payload.to_string())
}

/// What `check --sample` prints for these messages: invocations, and what is said beside them.
fn check(format: &str, topic: &str, messages: &[Message], code: i32) -> (Vec<Value>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("{topic}.jsonl"));
    let lines = messages.iter().map(|(headers, payload)| {
        let value: Value = serde_json::from_str(payload).unwrap_or(Value::String(payload.clone()));
        json!({"headers": headers, "value": value}).to_string()
    });
    std::fs::write(&file, lines.collect::<Vec<_>>().join("\n")).unwrap();
    check_file(format, &file, code)
}

fn check_file(format: &str, file: &Path, code: i32) -> (Vec<Value>, String) {
    let output = run(&[&["check", "--sample", file.to_str().unwrap(), "--format", format], &settings()[..]].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    let printed = String::from_utf8(output.stdout).unwrap();
    (printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), said)
}

#[test]
fn check_shows_what_the_published_samples_hold() {
    let Some(samples) = trace("formats") else { return };
    let Some(logs) = trace("aws-lambda-logs") else { return };
    let valid = schema("invocation.v1.json");
    let all_valid = |invocations: &[Value]| invocations.iter().all(|invocation| valid.is_valid(invocation));

    let (found, _) = check_file("openwhisk", &samples.join("openwhisk-activation.json"), 0);
    assert_eq!((&found[0]["started_at_ms"], &found[0]["duration_ms"]), (&json!(1524476122673_i64), &json!(3.0)));
    assert_eq!((&found[0]["temperature"], found.len()), (&json!("warm"), 1));
    assert!(all_valid(&found));
    let (found, said) = check_file("openwhisk", &samples.join("openwhisk-metric.json"), 0);
    assert!(found.is_empty() && said.contains("skipped messages 1"), "{said}");

    let (found, _) = check_file("aws", &samples.join("aws-platform-report.json"), 0);
    assert_eq!((&found[0]["started_at_ms"], &found[0]["duration_ms"]), (&json!(1605141049001_i64), &json!(15.74)));
    assert_eq!((&found[0]["temperature"], &found[0]["init_ms"]), (&json!("cold"), &json!(226.3)));
    assert!(all_valid(&found));
    let (found, said) = check_file("aws", &logs.join("aws_1rps_cloudwatch.json"), 0);
    assert!(said.contains("messages 360, invocations 120, skipped messages 240"), "{said}");
    assert_eq!((&found[0]["started_at_ms"], &found[0]["duration_ms"]), (&json!(1747081446154_i64), &json!(155.51)));
    assert!(all_valid(&found) && found.len() == 120);

    // What is no invocation is said with its place, and fails.
    let (found, said) = check_file("native", &samples.join("openwhisk-metric.json"), 1);
    assert!(found.is_empty() && said.contains("the message: missing field `app`"), "{said}");
}

#[test]
fn check_says_where_a_message_is_wrong_and_prints_the_others() {
    let good = r#"{"app":"a","function":"f","started_at_ms":1,"duration_ms":2}"#;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events");
    for (text, place) in [(format!("{good}\n\n{{\"app\":1}}\n"), "line 3"), (format!("[{good},5]"), "element 2")] {
        std::fs::write(&file, text).unwrap();
        let (found, said) = check_file("native", &file, 1);
        assert_eq!((found.len(), &found[0]["app"]), (1, &json!("a")));
        assert!(said.contains(&format!("{place}: ")) && said.contains("1 of 2 messages"), "{said}");
    }
}

/// A format, its messages, how many of them it skips, and how many it can't read.
struct Case {
    format: &'static str,
    messages: Vec<Message>,
    skipped: usize,
    bad: usize,
}

/// Many invocations of a few apps in each format, so that decisions rest on more than one, and one bad message each.
fn cases(samples: &Path, logs: &Path) -> Vec<Case> {
    let read = |file: &Path| std::fs::read_to_string(file).unwrap();
    let minute = |i: i64| 1_700_000_000_000 + i * 60_000;
    let rfc3339 = |ms: i64| chrono::DateTime::from_timestamp_millis(ms).unwrap().to_rfc3339();
    let bad = || plain("{\"app\":");

    let structured = |i| {
        let data = json!({"function": "f", "duration_ms": 100 + i % 3, "memory_mb": 64});
        let app = format!("ce-{}", i % 3);
        plain(json!({"specversion": "1.0", "type": "t", "id": format!("{i}"), "source": "/s", "subject": app,
            "time": rfc3339(minute(i)), "data": data}))
    };
    let valid: Value = serde_json::from_str(&read(&samples.join("cloudevents.schema.json"))).unwrap();
    let valid = jsonschema::validator_for(&valid).unwrap();
    let binary = |i| {
        let attributes = [("specversion", "1.0".to_owned()), ("id", format!("b{i}")), ("time", rfc3339(minute(i)))];
        let mut headers: BTreeMap<_, _> =
            attributes.into_iter().map(|(name, value)| (format!("ce_{name}"), value)).collect();
        headers.insert("content-type".to_owned(), "application/json".to_owned());
        (headers, json!({"app": "ce-binary", "function": "g", "duration_ms": 7}).to_string())
    };
    let mut events: Vec<_> = (0..60).map(structured).collect();
    assert!(events.iter().all(|(_, event)| valid.is_valid(&serde_json::from_str(event).unwrap())));
    events.extend((60..90).map(binary));
    events.push(bad());

    let activation = |i: i64| {
        let init_ms = if i % 10 == 0 { 40 } else { 0 };
        let body = json!({"name": format!("guest/a{}", i % 4), "statusCode": 0, "duration": 50 + init_ms, "waitTime": 9,
            "initTime": init_ms, "kind": "python:3", "conductor": false, "memory": 256, "activationId": format!("{i}")});
        plain(json!({"eventType": "Activation", "source": "invoker0", "namespace": "guest", "subject": "guest",
            "userId": "u", "timestamp": minute(i), "body": body}))
    };
    let mut whisk: Vec<_> = (0..80).map(activation).collect();
    whisk.push(plain(read(&samples.join("openwhisk-activation.json"))));
    whisk.push(plain(read(&samples.join("openwhisk-metric.json"))));
    whisk.push(plain(activation(90).1.replace("python:3", "sequence")));
    whisk.push(bad());

    let envelope = |i: i64| {
        let line = |at: i64| {
            json!({"id": "1", "timestamp": at, "message":
            "REPORT RequestId: r\tDuration: 10.50 ms\tMemory Size: 128 MB\tInit Duration: 90.00 ms\t\n"})
        };
        let events = json!([line(minute(5 * i)), line(minute(5 * i + 1)), {"timestamp": 1, "message": "END"}]);
        plain(json!({"messageType": "DATA_MESSAGE", "owner": "1", "logGroup": "/aws/lambda/shop", "logStream": "s",
            "logEvents": events}))
    };
    let mut aws: Vec<_> = (0..20).map(envelope).collect();
    // The whole published log in one message, and a report without a name: both are named by the topic.
    aws.push(plain(read(&samples.join("aws-platform-report.json"))));
    aws.push(plain(read(&logs.join("aws_1rps_cloudwatch.json"))));
    aws.push(plain(r#"{"type":"platform.start","time":"2020-11-12T00:30:49.017Z","record":{}}"#));
    aws.push(bad());

    let mapped = |i: i64| {
        plain(
            json!({"labels": {"service": format!("mapped-{}", i % 2), "handler": "h"}, "done": rfc3339(minute(i * 3)),
            "took": "0.25", "memory": 64 << 20, "other": [1, 2]}),
        )
    };
    let mut mapping: Vec<_> = (0..50).map(mapped).collect();
    mapping.push(plain(r#"{"labels":{"service":"mapped-0"},"took":1}"#));

    vec![
        Case { format: "cloudevents", messages: events, skipped: 0, bad: 1 },
        Case { format: "openwhisk", messages: whisk, skipped: 2, bad: 1 },
        Case { format: "aws", messages: aws, skipped: 1, bad: 1 },
        Case { format: "mapping", messages: mapping, skipped: 0, bad: 1 },
    ]
}

#[test]
fn a_round_trip_decides_as_the_native_format_does() {
    let Some(samples) = trace("formats") else { return };
    let Some(logs) = trace("aws-lambda-logs") else { return };
    let Some(broker) = kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    let cases = cases(&samples, &logs);

    // Each format in a topic of its own, and beside it the same invocations as native events of other apps.
    let topics: Vec<_> = cases.iter().map(|case| format!("of-{}", case.format)).collect();
    let twins: Vec<_> = topics.iter().map(|topic| format!("{topic}-as-native")).collect();
    topic::create(&bootstrap, &topics.iter().chain(&twins).map(String::as_str).collect::<Vec<_>>());
    let writer = topic::Writer::open(&bootstrap);
    let (mut produced, mut skipped, mut bad) = (0, 0, 0);
    for ((case, topic), twin) in cases.iter().zip(&topics).zip(&twins) {
        for (headers, payload) in &case.messages {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            writer.write_with(topic, &headers, payload.as_bytes(), None);
        }
        let (invocations, said) = check(case.format, topic, &case.messages, 1);
        let counts = format!("skipped messages {}, unreadable messages {}", case.skipped, case.bad);
        assert!(said.contains(&counts), "{}: {said}", case.format);
        for mut invocation in invocations {
            invocation["app"] = format!("native/{}", invocation["app"].as_str().unwrap()).into();
            writer.write_with(twin, &[], invocation.to_string().as_bytes(), None);
            produced += 1;
        }
        produced += case.messages.len();
        skipped += case.skipped;
        bad += case.bad;
    }
    writer.flush();

    let sources = cases.iter().zip(&topics).map(|(case, topic)| format!("{topic}:{}", case.format));
    let input = sources.chain(twins.clone()).collect::<Vec<_>>().join(",");
    // The samples are of different years, and none is to be forgotten.
    let forget = "publish.forget_after=36500d";
    let arguments = ["pipeline", "--bootstrap-servers", &bootstrap, "--input", &input, "--set", forget];
    let pipeline = Program::start_ready(&[&arguments[..], &settings()].concat());
    wait_for("all events read", Duration::from_secs(60), || {
        (pipeline.metric("pilotlight_events_total") == produced as f64).then_some(())
    });
    assert_eq!(pipeline.metric("pilotlight_skipped_total"), skipped as f64);
    // Ends only when all is delivered.
    assert_eq!(pipeline.interrupt().0, Some(0));

    let letters = topic::read_json(&bootstrap, "pilotlight.dead-letters");
    let mut origins: Vec<_> = letters.iter().map(|letter| letter["topic"].as_str().unwrap()).collect();
    origins.sort_unstable();
    let mut expected: Vec<_> = topics.iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!((origins, letters.len()), (expected, bad), "one of each topic");

    let decisions = topic::compacted(&bootstrap, "pilotlight.decisions");
    let decision = |app: &str| -> Value {
        let record = decisions.get(app).unwrap_or_else(|| panic!("no decision about {app}"));
        let mut decision: Value = serde_json::from_slice(record.payload.as_deref().unwrap()).unwrap();
        for differs in ["app", "version"] {
            decision.as_object_mut().unwrap().remove(differs);
        }
        decision
    };
    let apps: Vec<_> = decisions.keys().filter(|app| !app.starts_with("native/")).map(String::as_str).collect();
    let named = ["ce-0", "ce-1", "ce-2", "ce-binary", "guest/a0", "guest/a1", "guest/a2", "guest/a3", "mapped-0"];
    let others = ["mapped-1", "of-aws", "shop", "whisk.system/invokerHealthTestAction0"];
    assert_eq!(apps, [&named[..], &others].concat());
    assert_eq!(decisions.len(), 2 * apps.len());
    for app in apps {
        assert_eq!(decision(app), decision(&format!("native/{app}")), "{app}");
    }
}
