//! AWS Lambda: `platform.report` events of the Telemetry API (and of the older Logs API), and CloudWatch log records with
//! REPORT lines, also where the line itself is JSON. Their time is the **end**: Lambda writes the report when the
//! execution is over, so it started at `time − duration`.
//!
//! `duration` is without loading. What loaded is in `initDurationMs` or, restored from a snapshot (SnapStart),
//! `restoreDurationMs`; either is there only on a cold start. A message is one such record, a JSON array of them, or the
//! envelope of a subscription filter (`logEvents`), as JSON or packed with gzip, as CloudWatch delivers it. Other telemetry
//! and other log lines are skipped.
//!
//! The function is also the app, since Lambda loads each function by itself. It is named by the log group
//! (`/aws/lambda/NAME`); where there is none, as in telemetry, by the record's key; without one, by the topic.

mod report;

use std::io::Read;

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{missing, parse, parse_object, parse_time, shortened};
use crate::ingest::{Invocations, Message, Reason};
use crate::model::Text;
use report::Report;

/// All shapes in one: which one it is follows from the fields that are there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    /// Telemetry: what it is about, when, and the details.
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    time: Option<Text<'a>>,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
    /// A log event: the line, and when it was written, epoch ms.
    #[serde(borrow)]
    message: Option<Text<'a>>,
    timestamp: Option<i64>,
    /// The envelope of a subscription filter.
    #[serde(borrow)]
    log_events: Option<Vec<&'a RawValue>>,
    /// Account, and log group, of an envelope or of a log event.
    #[serde(borrow)]
    owner: Option<Text<'a>>,
    #[serde(borrow, alias = "logGroupName")]
    log_group: Option<Text<'a>>,
}

/// Whose execution a report is about.
#[derive(Clone, Copy)]
struct Function<'t> {
    name: &'t str,
    account: Option<&'t str>,
}

/// How gzip begins; no JSON does (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Reads all reports of a message, which may unpack to `max_bytes`.
pub(super) fn decode<'a>(payload: &[u8], message: &Message, max_bytes: usize) -> Result<Invocations<'a>, Reason> {
    let unpacked;
    let payload = if payload.starts_with(&GZIP) {
        unpacked = unpack(payload, max_bytes)?;
        &unpacked
    } else {
        payload
    };
    let key = message.key.and_then(|key| std::str::from_utf8(key).ok()).filter(|key| !key.is_empty());
    let function = Function { name: key.unwrap_or(message.topic), account: None };
    let mut found = Invocations::new();
    if payload.trim_ascii_start().first() == Some(&b'[') {
        read_all(&parse::<Vec<&RawValue>>(payload)?, function, &mut found)?;
    } else {
        read(payload, function, &mut found)?;
    }
    Ok(found)
}

fn unpack(packed: &[u8], max_bytes: usize) -> Result<Vec<u8>, Reason> {
    let mut unpacked = Vec::new();
    // One byte more tells that there is more.
    let mut bounded = MultiGzDecoder::new(packed).take(max_bytes as u64 + 1);
    bounded
        .read_to_end(&mut unpacked)
        .map_err(|error| Reason::Malformed(format!("the message can't be unpacked with gzip: {error}")))?;
    if unpacked.len() > max_bytes {
        return Err(Reason::UnpacksTooLarge { limit: max_bytes });
    }
    Ok(unpacked)
}

fn read_all(records: &[&RawValue], function: Function, found: &mut Invocations) -> Result<(), Reason> {
    for (i, record) in records.iter().enumerate() {
        read(record.get().as_bytes(), function, found).map_err(|reason| in_record(i + 1, reason))?;
    }
    Ok(())
}

fn read(json: &[u8], function: Function, found: &mut Invocations) -> Result<(), Reason> {
    let record: Record = parse_object(json)?;
    let function = Function {
        name: record.log_group.as_deref().map_or(function.name, |group| {
            group.strip_prefix("/aws/lambda/").filter(|name| !name.is_empty()).unwrap_or(group)
        }),
        account: record.owner.as_deref().or(function.account),
    };
    if let Some(events) = &record.log_events {
        for (i, event) in events.iter().enumerate() {
            let report = parse_object(event.get().as_bytes()).and_then(|event| of_one(&event));
            found.extend(report.map_err(|reason| in_record(i + 1, reason))?.map(|report| report.invocation(function)));
        }
        return Ok(());
    }
    found.extend(of_one(&record)?.map(|report| report.invocation(function)));
    Ok(())
}

/// The report in a telemetry event or log event, if it is one.
fn of_one(record: &Record) -> Result<Option<Report>, Reason> {
    if let Some(line) = &record.message {
        return of_line(line, record.timestamp);
    }
    match record.kind.as_deref() {
        Some("platform.report") => of_telemetry(record).map(Some),
        Some(other) if other.starts_with("platform.") || matches!(other, "function" | "extension") => Ok(None),
        Some(other) => Err(Reason::Malformed(format!("type is '{}': expected platform.report", shortened(other)))),
        None => Err(Reason::Malformed(
            "expected a telemetry event (type, time, record), a log event (message, timestamp) or logEvents".to_owned(),
        )),
    }
}

fn of_line(line: &str, timestamp: Option<i64>) -> Result<Option<Report>, Reason> {
    if line.starts_with("REPORT RequestId:") {
        let ended_at_ms = timestamp.ok_or_else(|| missing("timestamp"))?;
        return Report::from_line(line, ended_at_ms).map(Some);
    }
    // With JSON as the log format, the line is a telemetry event. Functions may log JSON of any other kind.
    if !line.contains("\"platform.report\"") {
        return Ok(None);
    }
    match parse_object::<Record>(line.as_bytes()) {
        Ok(record) if record.kind.as_deref() == Some("platform.report") => of_telemetry(&record).map(Some),
        _ => Ok(None),
    }
}

fn of_telemetry(event: &Record) -> Result<Report, Reason> {
    let time = event.time.as_deref().ok_or_else(|| missing("time"))?;
    let record = event.record.ok_or_else(|| missing("record"))?;
    Report::from_json(record.get().as_bytes(), parse_time("time", time)?)
}

fn in_record(number: usize, reason: Reason) -> Reason {
    Reason::Malformed(format!("record {number} of the message: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{canonical, read, sample};
    use crate::ingest::{self, Format, Limits, Message};
    use crate::model::{Invocation, Status, Temperature};

    fn one(json: &str) -> Invocation<'static> {
        read(&Format::Aws, json.as_bytes()).unwrap().remove(0).into_owned()
    }

    fn line(line: &str) -> String {
        serde_json::json!({"logGroup": "/aws/lambda/shop", "timestamp": 10_000, "message": line}).to_string()
    }

    #[test]
    fn reads_the_published_platform_report() {
        let Some(event) = sample("formats/aws-platform-report.json") else { return };
        insta::assert_snapshot!(canonical(&Format::Aws, &event).unwrap().join("\n"), @r#"{"app":"t","function":"t","started_at_ms":1605141049001,"duration_ms":15.74,"id":"49ae0e5f-4e5e-4f5e-9d5e-2e5d5e4f5e9d","init_ms":226.3,"memory_mb":128.0,"temperature":"cold"}"#);
    }

    /// Each START line has the time at which the execution began, as Lambda saw it.
    #[test]
    fn reads_the_published_log_and_finds_the_starts_that_it_names() {
        let Some(log) = sample("aws-lambda-logs/aws_1rps_cloudwatch.json") else { return };
        let invocations = read(&Format::Aws, &log).unwrap();
        let events: Vec<serde_json::Value> = serde_json::from_slice(&log).unwrap();
        let starts: Vec<_> =
            events.iter().filter(|event| event["message"].as_str().unwrap().starts_with("START")).collect();
        assert_eq!((invocations.len(), starts.len(), events.len()), (120, 120, 360));
        for (invocation, start) in invocations.iter().zip(starts) {
            let id = invocation.id.as_deref().unwrap();
            assert!(start["message"].as_str().unwrap().contains(id));
            let apart_ms = invocation.started_at_ms - start["timestamp"].as_i64().unwrap();
            assert!((-5..=5).contains(&apart_ms), "{id} starts {apart_ms} ms after its START line");
            assert_eq!((invocation.temperature, invocation.init_ms), (Some(Temperature::Warm), None));
            assert_eq!(invocation.memory_mb, Some(1769.0));
        }
    }

    #[test]
    fn reads_report_lines_of_all_kinds() {
        let cold = one(&line(
            "REPORT RequestId: r\tDuration: 15.74 ms\tBilled Duration: 242 ms\tMemory Size: 128 MB\tMax Memory Used: 62 MB\t\
             Init Duration: 226.30 ms\t\nXRAY TraceId: 1-5\tSegmentId: 2\tSampled: true\t\n",
        ));
        assert_eq!((&*cold.app, &*cold.function, cold.started_at_ms, cold.duration_ms), ("shop", "shop", 9984, 15.74));
        assert_eq!((cold.temperature, cold.init_ms), (Some(Temperature::Cold), Some(226.3)));
        assert_eq!((cold.status, cold.memory_mb, cold.ended_at_ms()), (None, Some(128.0), 10_000));

        let restored = one(&line(
            "REPORT RequestId: r\tDuration: 3000.00 ms\tBilled Duration: 3100 ms\tMemory Size: 512 MB\tMax Memory Used: 9 MB\t\
             Restore Duration: 400.50 ms\tBilled Restore Duration: 100 ms\tStatus: timeout\n",
        ));
        assert_eq!((restored.temperature, restored.init_ms), (Some(Temperature::Cold), Some(400.5)));
        assert_eq!((restored.started_at_ms, restored.status), (7000, Some(Status::Timeout)));

        let json = r#"{"time":"1970-01-01T00:00:20.000Z","type":"platform.report","record":{"requestId":"r",
            "status":"error","metrics":{"durationMs":5,"restoreDurationMs":7}}}"#;
        let json = one(&line(json));
        assert_eq!((&*json.app, json.started_at_ms, json.status), ("shop", 19_995, Some(Status::Error)));
        assert_eq!(json.init_ms, Some(7.0));
    }

    #[test]
    fn a_message_may_be_a_batch() {
        let envelope = r#"{"messageType":"DATA_MESSAGE","owner":"123","logGroup":"/aws/lambda/shop","logEvents":[
            {"id":"1","timestamp":5,"message":"START RequestId: a"},
            {"id":"2","timestamp":90,"message":"REPORT RequestId: a\tDuration: 10 ms\t"},
            {"id":"3","timestamp":91,"message":"{\"level\":\"INFO\",\"message\":\"about \\\"platform.report\\\"\"}"},
            {"id":"4","timestamp":95,"message":"REPORT RequestId: b\tDuration: 20 ms\t"}]}"#;
        let invocations = read(&Format::Aws, envelope.as_bytes()).unwrap();
        let found: Vec<_> = invocations.iter().map(|read| (read.started_at_ms, read.tenant.as_deref())).collect();
        assert_eq!(found, [(80, Some("123")), (75, Some("123"))]);

        for nothing in [
            r#"{"messageType":"CONTROL_MESSAGE","logGroup":"","logEvents":[{"timestamp":1,"message":"CWL CONTROL MESSAGE"}]}"#,
            r#"[{"type":"platform.start","time":"x","record":{}},{"type":"function","record":"hello"}]"#,
            "[]",
        ] {
            assert_eq!(canonical(&Format::Aws, nothing.as_bytes()), Ok(vec![]), "{nothing}");
        }
        let half = envelope.replace("Duration: 20 ms", "Duration: long");
        let reason = canonical(&Format::Aws, half.as_bytes()).unwrap_err();
        assert_eq!(reason, "record 4 of the message: Duration is 'long': expected a number of ms");
    }

    #[test]
    fn what_cloudwatch_packs_is_unpacked_within_limits() {
        use std::io::Write;
        let pack = |text: &str| {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            packer.write_all(text.as_bytes()).unwrap();
            packer.finish().unwrap()
        };
        let read = |packed: &[u8]| -> Result<Vec<String>, String> {
            let limits = Limits { max_event_bytes: 1000, max_future_ms: 0, max_past_ms: 0 };
            let message = Message { payload: Some(packed), ..Message::default() };
            let invocations = ingest::decode(&message, &Format::Aws, &limits).map_err(|reason| reason.to_string())?;
            Ok(invocations.iter().map(|read| serde_json::to_string(read).unwrap()).collect())
        };
        let line = line("REPORT RequestId: r\tDuration: 1 ms");
        let envelope = format!(r#"{{"owner":"1","logGroup":"/aws/lambda/a","logEvents":[{line},{line}]}}"#);
        let packed = pack(&envelope);
        assert_eq!(read(&packed), read(envelope.as_bytes()));
        assert_eq!(read(&packed).unwrap().len(), 2);
        // In parts, which gzip allows.
        let (first, second) = envelope.split_at(20);
        assert_eq!(read(&[pack(first), pack(second)].concat()), read(&packed));

        let room = " ".repeat(16_000 - envelope.len());
        assert_eq!(read(&pack(&format!("{envelope}{room}"))), read(&packed));
        let said = read(&pack(&format!("{envelope}{room} "))).unwrap_err();
        assert_eq!(
            said,
            "the message unpacks to more than 16000 bytes: at most 16 times input.max_event_bytes are read"
        );
        let said = read(&packed[..packed.len() - 9]).unwrap_err();
        assert!(said.starts_with("the message can't be unpacked with gzip: "), "{said}");
    }

    #[test]
    fn the_function_is_named_by_log_group_then_key_then_topic() {
        let telemetry = r#"{"time":"2020-11-12T00:30:49Z","type":"platform.report",
            "record":{"requestId":"r","metrics":{"durationMs":1}}}"#;
        let line = line("REPORT RequestId: r\tDuration: 1 ms");
        let other_group = line.replace("/aws/lambda/shop", "/my/logs");
        let limits = Limits { max_event_bytes: 10_000, max_future_ms: 0, max_past_ms: 0 };
        for (payload, key, expected) in [
            (line.as_str(), Some(&b"key"[..]), "shop"),
            (&other_group, None, "/my/logs"),
            (telemetry, Some(b"key"), "key"),
            (telemetry, Some(b""), "topic"),
            (telemetry, Some(b"\xff"), "topic"),
            (telemetry, None, "topic"),
        ] {
            let message = Message { topic: "topic", key, payload: Some(payload.as_bytes()), ..Message::default() };
            assert_eq!(&*ingest::decode(&message, &Format::Aws, &limits).unwrap()[0].app, expected);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (payload, expected) in [
            (line("REPORT RequestId: r\tBilled Duration: 1 ms"), "missing field `Duration`"),
            (line("REPORT RequestId: r\tDuration: NaN ms"), "duration_ms is NaN: expected"),
            (r#"{"message":"REPORT RequestId: r\tDuration: 1 ms"}"#.to_owned(), "missing field `timestamp`"),
            (r#"{"type":"platform.report","time":"now","record":{}}"#.to_owned(), "time is 'now': expected a time"),
            (r#"{"type":"order.placed"}"#.to_owned(), "type is 'order.placed': expected platform.report"),
            ("{}".to_owned(), "expected a telemetry event"),
            ("[[]]".to_owned(), "record 1 of the message: the message is a JSON array"),
        ] {
            let reason = canonical(&Format::Aws, payload.as_bytes()).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
