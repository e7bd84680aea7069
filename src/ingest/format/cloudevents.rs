//! CloudEvents 1.0 over Kafka, in structured mode (the message is the event in JSON) and in binary mode (the attributes
//! are `ce_` headers, the message is the data). The time of a CloudEvent (`time`) is the **end**: an event about an
//! execution can be made only when it is over. It counts where the data has no `started_at_ms`.
//!
//! The data is a native invocation, of which the attributes fill in what is missing:
//! - `id` ← `id`;
//! - `started_at_ms` ← `time` − `duration_ms`;
//! - `app` ← `subject`, without one `source`;
//! - `function` ← `subject`, without one the app.
//!
//! Which mode it is follows from the content type (`application/cloudevents…` is structured); without that header, from
//! whether there is one named `ce_specversion`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{missing, parse_object, parse_time, shortened};
use crate::ingest::Reason;
use crate::model::{Code, Invocation, Status, Temperature, Text, Trigger, known_temperature};

/// An event in structured mode; in binary mode its first five fields come from headers.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    specversion: Text<'a>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    source: Option<Text<'a>>,
    #[serde(borrow)]
    subject: Option<Text<'a>>,
    #[serde(borrow)]
    time: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    data_base64: Option<Text<'a>>,
}

/// A native invocation of which the attributes may still fill in something.
#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    app: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<Text<'a>>,
    started_at_ms: Option<i64>,
    duration_ms: Option<f64>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    tenant: Option<Text<'a>>,
    trigger: Option<Trigger>,
    init_ms: Option<f64>,
    memory_mb: Option<f64>,
    #[serde(borrow)]
    runtime: Option<Text<'a>>,
    status: Option<Status>,
    #[serde(default, deserialize_with = "known_temperature")]
    temperature: Option<Temperature>,
    #[serde(borrow)]
    node: Option<Text<'a>>,
    #[serde(borrow)]
    workflow: Option<Text<'a>>,
    #[serde(borrow)]
    parent: Option<Text<'a>>,
    code: Option<Code>,
}

/// Reads one event.
pub(super) fn decode<'a>(payload: &'a [u8], headers: &[(&'a str, &'a [u8])]) -> Result<Invocation<'a>, Reason> {
    let content_type = header(headers, "content-type")?.unwrap_or_default();
    let version = header(headers, "ce_specversion")?;
    let is_structured = starts_with(content_type, "application/cloudevents");
    let Some(version) = version.filter(|_| !is_structured) else {
        return structured(parse_object(payload)?);
    };
    // `application/json`, `application/vnd.acme+json`; nothing counts as JSON.
    if !content_type.is_empty() && !content_type.to_ascii_lowercase().contains("json") {
        let found = shortened(content_type);
        return Err(Reason::Malformed(format!("content-type is '{found}': expected JSON, such as application/json")));
    }
    let attribute = |name| header(headers, name).map(|value| value.map(Text::from));
    let event = Event {
        specversion: version.into(),
        id: attribute("ce_id")?,
        source: attribute("ce_source")?,
        subject: attribute("ce_subject")?,
        time: attribute("ce_time")?,
        data: None,
        data_base64: None,
    };
    event.fill(parse_object(payload)?)
}

fn structured(mut event: Event<'_>) -> Result<Invocation<'_>, Reason> {
    match (event.data.take(), event.data_base64.take()) {
        (Some(data), _) => event.fill(parse_object(data.get().as_bytes())?),
        (None, Some(text)) => {
            let bytes = STANDARD
                .decode(text.as_bytes())
                .map_err(|error| Reason::Malformed(format!("data_base64 is no base64: {error}")))?;
            event.fill(parse_object(&bytes)?).map(Invocation::into_owned)
        }
        (None, None) => Err(missing("data")),
    }
}

impl<'a> Event<'a> {
    /// `data` with what its event knows and it does not.
    fn fill<'d>(self, data: Data<'d>) -> Result<Invocation<'d>, Reason>
    where
        'a: 'd,
    {
        if !self.specversion.starts_with("1.") {
            let found = shortened(&self.specversion);
            return Err(Reason::Malformed(format!("specversion is '{found}': expected 1.0")));
        }
        let duration_ms = data.duration_ms.ok_or_else(|| missing("duration_ms"))?;
        let started_at_ms = match (data.started_at_ms, &self.time) {
            (Some(started_at_ms), _) => started_at_ms,
            (None, Some(time)) => Invocation::start_of(parse_time("time", time)?, duration_ms),
            (None, None) => return Err(missing("started_at_ms")),
        };
        let app = data.app.or_else(|| self.subject.clone()).or(self.source).ok_or_else(|| missing("app"))?;
        Ok(Invocation {
            function: data.function.or(self.subject).unwrap_or_else(|| app.clone()),
            app,
            started_at_ms,
            duration_ms,
            id: data.id.or(self.id),
            tenant: data.tenant,
            trigger: data.trigger,
            init_ms: data.init_ms,
            memory_mb: data.memory_mb,
            runtime: data.runtime,
            status: data.status,
            temperature: data.temperature,
            node: data.node,
            workflow: data.workflow,
            parent: data.parent,
            code: data.code,
        })
    }
}

/// The value of a header, whose name counts in any case.
fn header<'a>(headers: &[(&'a str, &'a [u8])], name: &'static str) -> Result<Option<&'a str>, Reason> {
    let Some((_, value)) = headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)) else { return Ok(None) };
    let text = std::str::from_utf8(value).map_err(|_| Reason::Malformed(format!("header {name} is not UTF-8")))?;
    Ok(Some(text))
}

fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME_MS: i64 = 1_767_323_045_000; // 2026-01-02T03:04:05Z

    fn event(members: &str) -> String {
        format!(r#"{{"specversion":"1.0","type":"x","id":"ce","source":"/s",{members}}}"#)
    }

    /// App, function, start and id of what is read, or the reason.
    fn summary(
        payload: &str,
        headers: &[(&'static str, &'static [u8])],
    ) -> Result<(String, String, i64, Option<String>), String> {
        // As long as the program: only in tests.
        let payload: &'static str = payload.to_owned().leak();
        let read = decode(payload.as_bytes(), headers).map_err(|reason| reason.to_string())?;
        let id = read.id.as_ref().map(ToString::to_string);
        Ok((read.app.to_string(), read.function.to_string(), read.started_at_ms, id))
    }

    #[test]
    fn attributes_fill_in_what_the_data_lacks() {
        let whole = r#""data":{"app":"a","function":"f","started_at_ms":1,"duration_ms":5,"id":"own"}"#;
        let cases = [
            (format!(r#""subject":"sub","time":"2026-01-02T03:04:05Z",{whole}"#), ("a", "f", 1, "own")),
            // The time is the end, in any zone.
            (
                r#""time":"2026-01-02T04:04:05+01:00","data":{"duration_ms":5}"#.to_owned(),
                ("/s", "/s", TIME_MS - 5, "ce"),
            ),
            (r#""subject":"sub","data":{"started_at_ms":1,"duration_ms":5}"#.to_owned(), ("sub", "sub", 1, "ce")),
            (
                r#""subject":"sub","data":{"app":"a","started_at_ms":1,"duration_ms":5}"#.to_owned(),
                ("a", "sub", 1, "ce"),
            ),
            (r#""data_base64":"eyJzdGFydGVkX2F0X21zIjoxLCJkdXJhdGlvbl9tcyI6Mn0=""#.to_owned(), ("/s", "/s", 1, "ce")),
        ];
        for (members, (app, function, start, id)) in cases {
            let expected = Ok((app.to_owned(), function.to_owned(), start, Some(id.to_owned())));
            assert_eq!(summary(&event(&members), &[]), expected, "{members}");
        }
    }

    #[test]
    fn headers_say_which_mode_it_is() {
        let data = r#"{"duration_ms":5,"function":"f"}"#;
        let attributes: [(&str, &[u8]); 4] = [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"ce"),
            ("ce_source", b"/s"),
            ("ce_time", b"2026-01-02T03:04:05.000Z"),
        ];
        let expected = Ok(("/s".to_owned(), "f".to_owned(), TIME_MS - 5, Some("ce".to_owned())));
        assert_eq!(summary(data, &attributes), expected, "binary");
        let json: (&str, &[u8]) = ("content-type", b"application/json; charset=utf-8");
        assert_eq!(summary(data, &[&attributes[..], &[json]].concat()), expected, "binary, with its content type");
        let structured: (&str, &[u8]) = ("Content-Type", b"application/cloudevents+json");
        let whole = event(r#""time":"2026-01-02T03:04:05Z","data":{"duration_ms":5,"function":"f"}"#);
        assert_eq!(summary(&whole, &[&[structured], &attributes[..]].concat()), expected, "structured");

        let xml: (&str, &[u8]) = ("content-type", b"text/xml");
        for (headers, expected) in [
            ([&attributes[..], &[xml]].concat(), "content-type is 'text/xml': expected JSON"),
            (vec![("ce_specversion", &b"0.3"[..])], "specversion is '0.3': expected 1.0"),
            (vec![("ce_specversion", &b"1.0"[..]), ("ce_id", b"\xff")], "header ce_id is not UTF-8"),
        ] {
            let reason = summary(data, &headers).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (members, expected) in [
            (r#""subject":null"#, "missing field `data`"),
            (r#""data":{"started_at_ms":1}"#, "missing field `duration_ms`"),
            (r#""data":{"duration_ms":1}"#, "missing field `started_at_ms`"),
            (r#""time":"yesterday","data":{"duration_ms":1}"#, "time is 'yesterday': expected a time of RFC 3339"),
            (r#""data_base64":"%""#, "data_base64 is no base64"),
        ] {
            let reason = summary(&event(members), &[]).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
