//! OpenWhisk's user events. Their time (`timestamp`) is the **end**: it is taken when the record of the activation is
//! complete, so an activation started at `timestamp − duration`.
//!
//! `duration` holds the time that loading took (`initTime`), and `initTime` is 0 when warm. The documentation's spelling
//! (no `activationId`, `causedBy` a boolean) and that of the code (`activationId`, `causedBy` a string or left out) are
//! both read. No message has a key.
//!
//! Skipped are `Metric` events, and the activations of sequences and conductors: OpenWhisk writes one for the whole
//! composition besides those of the actions in it, of kind `sequence` or with `conductor` set, for which no container ran.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{parse_object, shortened};
use crate::ingest::Reason;
use crate::model::{Invocation, Status, Temperature, Text, Trigger};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow)]
    event_type: Text<'a>,
    #[serde(borrow)]
    body: &'a RawValue,
    timestamp: Option<i64>,
    #[serde(borrow)]
    namespace: Option<Text<'a>>,
    #[serde(borrow)]
    source: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Activation<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    activation_id: Option<Text<'a>>,
    status_code: Option<i64>,
    duration: f64,
    init_time: Option<f64>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    conductor: Option<bool>,
    memory: Option<f64>,
    #[serde(borrow)]
    caused_by: Option<&'a RawValue>,
}

/// Reads one event: an invocation, or `None` for one that is about something else.
pub(super) fn decode(payload: &[u8]) -> Result<Option<Invocation<'_>>, Reason> {
    let event: Event = parse_object(payload)?;
    match &*event.event_type {
        "Activation" => {}
        "Metric" => return Ok(None),
        other => {
            let other = shortened(other);
            return Err(Reason::Malformed(format!("eventType is '{other}': expected Activation or Metric")));
        }
    }
    let activation: Activation = parse_object(event.body.get().as_bytes())?;
    if activation.conductor == Some(true) || activation.kind.as_deref() == Some("sequence") {
        return Ok(None);
    }
    let timestamp = event.timestamp.ok_or_else(|| super::missing("timestamp"))?;
    let init_ms = activation.init_time.filter(|init_ms| *init_ms != 0.0);
    let in_composition = activation.caused_by.is_some_and(|by| !matches!(by.get(), "false" | "null" | "\"\""));
    Ok(Some(Invocation {
        id: activation.activation_id,
        tenant: event.namespace,
        trigger: in_composition.then_some(Trigger::Orchestration),
        init_ms,
        // 0 stands for a limit that OpenWhisk itself does not know.
        memory_mb: activation.memory.filter(|memory_mb| *memory_mb != 0.0),
        runtime: activation.kind,
        status: activation.status_code.map(|code| if code == 0 { Status::Ok } else { Status::Error }),
        temperature: Some(if init_ms.is_some() { Temperature::Cold } else { Temperature::Warm }),
        node: event.source,
        started_at_ms: Invocation::start_of(timestamp, activation.duration),
        duration_ms: activation.duration,
        function: last_segment(&activation.name),
        app: activation.name,
        ..Invocation::new("", "", 0, 0.0)
    }))
}

/// The action's own name: `echo` of `guest/utils/echo`.
fn last_segment<'a>(name: &Text<'a>) -> Text<'a> {
    match name.as_borrowed() {
        Some(name) => name.rsplit('/').next().unwrap_or(name).into(),
        None => name.rsplit('/').next().unwrap_or(name).to_owned().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{canonical, sample};
    use super::*;
    use crate::ingest::Format;

    fn activation(body: &str) -> String {
        format!(
            r#"{{"eventType":"Activation","timestamp":10000,"namespace":"guest","body":{{"name":"g/p/a",{body}}}}}"#
        )
    }

    #[test]
    fn reads_the_published_samples() {
        let Some(event) = sample("formats/openwhisk-activation.json") else { return };
        insta::assert_snapshot!(canonical(&Format::OpenWhisk, &event).unwrap().join("\n"), @r#"{"app":"whisk.system/invokerHealthTestAction0","function":"invokerHealthTestAction0","started_at_ms":1524476122673,"duration_ms":3.0,"tenant":"whisk.system","memory_mb":256.0,"runtime":"nodejs:6","status":"ok","temperature":"warm","node":"invoker0"}"#);
        let Some(event) = sample("formats/openwhisk-metric.json") else { return };
        assert_eq!(canonical(&Format::OpenWhisk, &event), Ok(vec![]), "a metric is no invocation");
    }

    #[test]
    fn both_spellings_temperatures_and_compositions() {
        let cases = [
            // The code's spelling, cold, within a sequence: started before it was loaded.
            (
                r#""activationId":"i","duration":500,"initTime":300,"causedBy":"sequence","kind":"nodejs:10","statusCode":2"#,
                Some((9500, Some(300.0), Temperature::Cold, Some(Trigger::Orchestration), Some(Status::Error))),
            ),
            // The documentation's.
            (
                r#""duration":500,"initTime":0,"causedBy":true,"conductor":false,"statusCode":0"#,
                Some((9500, None, Temperature::Warm, Some(Trigger::Orchestration), Some(Status::Ok))),
            ),
            (r#""duration":0,"memory":0"#, Some((10_000, None, Temperature::Warm, None, None))),
            // The records of whole compositions.
            (r#""duration":900,"kind":"sequence""#, None),
            (r#""duration":900,"kind":"sequence","conductor":true"#, None),
            (r#""duration":900,"kind":"nodejs:10","conductor":true"#, None),
        ];
        for (body, expected) in cases {
            let event = activation(body);
            let read = decode(event.as_bytes()).unwrap();
            let found = read.as_ref().map(|read| {
                assert_eq!((&*read.app, &*read.function, read.ended_at_ms()), ("g/p/a", "a", 10_000));
                (read.started_at_ms, read.init_ms, read.temperature.unwrap(), read.trigger, read.status)
            });
            assert_eq!(found, expected, "{body}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (event, expected) in [
            (activation(r#""initTime":0"#), "missing field `duration`"),
            (r#"{"eventType":"Activation","body":{"name":"a","duration":1}}"#.to_owned(), "missing field `timestamp`"),
            (
                r#"{"eventType":"Activated","body":{}}"#.to_owned(),
                "eventType is 'Activated': expected Activation or Metric",
            ),
        ] {
            let reason = decode(event.as_bytes()).unwrap_err().to_string();
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
