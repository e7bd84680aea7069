//! Mapping: any other JSON, by JSON pointers (RFC 6901), units and constants that the settings declare under
//! `[input.mapping]`. Its time is what the settings say: the **start** (`started_at`) or the **end** (`ended_at`).

mod rule;

use serde::Deserialize;
use serde_json::Value;

pub use rule::{Rule, Unit};

use super::{missing, parse_object, parse_time};
use crate::ingest::Reason;
use crate::model::{Invocation, Status, Temperature, Trigger};
use rule::{Kind, optional};

/// Where each field of an invocation is found. An app, a duration and one of the two times are required; the function is
/// the app where nothing says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the fields are those of an invocation; config/default.toml says what each takes")]
pub struct Mapping {
    #[serde(deserialize_with = "optional")]
    pub app: Option<Rule>,
    #[serde(deserialize_with = "optional")]
    pub function: Option<Rule>,
    #[serde(deserialize_with = "optional")]
    pub started_at: Option<Rule>,
    #[serde(deserialize_with = "optional")]
    pub ended_at: Option<Rule>,
    #[serde(deserialize_with = "optional")]
    pub duration: Option<Rule>,
    #[serde(deserialize_with = "optional")]
    pub id: Option<Rule>,
    #[serde(deserialize_with = "optional")]
    pub tenant: Option<Rule>,
    #[serde(deserialize_with = "optional")]
    pub trigger: Option<Rule>,
    #[serde(deserialize_with = "optional")]
    pub init: Option<Rule>,
    #[serde(deserialize_with = "optional")]
    pub memory: Option<Rule>,
    #[serde(deserialize_with = "optional")]
    pub runtime: Option<Rule>,
    #[serde(deserialize_with = "optional")]
    pub status: Option<Rule>,
    #[serde(deserialize_with = "optional")]
    pub temperature: Option<Rule>,
    #[serde(deserialize_with = "optional")]
    pub node: Option<Rule>,
    #[serde(deserialize_with = "optional")]
    pub workflow: Option<Rule>,
    #[serde(deserialize_with = "optional")]
    pub parent: Option<Rule>,
}

/// What is wrong with a mapping: the field, what it is, and what it can be.
pub type Wrong = (&'static str, String, &'static str);

impl Mapping {
    /// Whether it says enough to read invocations by, and nothing that can't be.
    pub fn check(&self) -> Result<(), Wrong> {
        let (nothing, pointer) = ("empty".to_owned(), "where it stands, such as \"/labels/service\"");
        if self.app.is_none() {
            return Err(("app", nothing, pointer));
        }
        if self.duration.is_none() {
            return Err(("duration", nothing, "where it stands, such as { at = \"/took\", unit = \"s\" }"));
        }
        match (&self.started_at, &self.ended_at) {
            (None, None) => return Err(("started_at", nothing, "where it stands, or ended_at in its place")),
            (Some(_), Some(_)) => return Err(("started_at", "given with ended_at".to_owned(), "one of the two")),
            _ => {}
        }
        for (field, rule, kind) in self.rules() {
            if let Some(rule) = rule {
                rule.check(kind).map_err(|(found, expected)| (field, found, expected))?;
            }
        }
        Ok(())
    }

    fn rules(&self) -> [(&'static str, &Option<Rule>, Kind); 16] {
        use Kind::{Duration, Memory, Text, Time};
        [
            ("app", &self.app, Text),
            ("function", &self.function, Text),
            ("started_at", &self.started_at, Time),
            ("ended_at", &self.ended_at, Time),
            ("duration", &self.duration, Duration),
            ("id", &self.id, Text),
            ("tenant", &self.tenant, Text),
            ("trigger", &self.trigger, Text),
            ("init", &self.init, Duration),
            ("memory", &self.memory, Memory),
            ("runtime", &self.runtime, Text),
            ("status", &self.status, Text),
            ("temperature", &self.temperature, Text),
            ("node", &self.node, Text),
            ("workflow", &self.workflow, Text),
            ("parent", &self.parent, Text),
        ]
    }

    /// Reads one invocation.
    pub(super) fn decode(&self, payload: &[u8]) -> Result<Invocation<'static>, Reason> {
        let message: Value = parse_object(payload)?;
        let text = |rule: &Option<Rule>| rule.as_ref().map_or(Ok(None), |rule| rule.text(&message));
        let number = |rule: &Option<Rule>| rule.as_ref().map_or(Ok(None), |rule| rule.number(&message));
        let time = |rule: &Option<Rule>| rule.as_ref().map_or(Ok(None), |rule| rule.time_ms(&message));

        let app = required(text(&self.app)?, &self.app)?;
        let duration_ms = required(number(&self.duration)?, &self.duration)?;
        let started_at_ms = match &self.ended_at {
            Some(_) => Invocation::start_of(required(time(&self.ended_at)?, &self.ended_at)?, duration_ms),
            None => required(time(&self.started_at)?, &self.started_at)?,
        };
        Ok(Invocation {
            function: text(&self.function)?.unwrap_or_else(|| app.clone()).into(),
            app: app.into(),
            started_at_ms,
            duration_ms,
            id: text(&self.id)?.map(Into::into),
            tenant: text(&self.tenant)?.map(Into::into),
            trigger: text(&self.trigger)?.map(|name| Trigger::from_name(&name)),
            init_ms: number(&self.init)?,
            memory_mb: number(&self.memory)?,
            runtime: text(&self.runtime)?.map(Into::into),
            status: text(&self.status)?.map(|name| Status::from_name(&name)),
            temperature: text(&self.temperature)?.and_then(|name| temperature(&name)),
            node: text(&self.node)?.map(Into::into),
            workflow: text(&self.workflow)?.map(Into::into),
            parent: text(&self.parent)?.map(Into::into),
            code: None,
        })
    }
}

fn required<T>(found: Option<T>, rule: &Option<Rule>) -> Result<T, Reason> {
    found.ok_or_else(|| missing(rule.as_ref().map_or("", Rule::place)))
}

/// Many platforms have a flag in place of a name: whether the start was cold.
fn temperature(name: &str) -> Option<Temperature> {
    match name {
        "true" => Some(Temperature::Cold),
        "false" => Some(Temperature::Warm),
        name => Temperature::from_name(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(text: &str) -> Mapping {
        toml::from_str(text).unwrap()
    }

    fn read(text: &str, message: &str) -> Result<String, String> {
        let mapping = mapping(text);
        mapping.check().map_err(|wrong| format!("{wrong:?}"))?;
        let invocation = mapping.decode(message.as_bytes()).map_err(|reason| reason.to_string())?;
        Ok(serde_json::to_string(&invocation).unwrap())
    }

    const SHORT: &str = "app = '/app'\nduration = '/took'\n";

    #[test]
    fn reads_what_the_settings_say() {
        let all = r#"
            app = "/labels/service"
            function = "/labels/a~1b"
            ended_at = { at = "/done", unit = "rfc3339" }
            duration = { at = "/took", unit = "s" }
            id = "/n"
            tenant = { value = "acme" }
            trigger = { value = "http" }
            init = { at = "/load", unit = "us" }
            memory = { at = "/mem", unit = "b" }
            status = "/result"
            temperature = "/cold"
        "#;
        let message = r#"{"labels":{"service":"shop","a/b":"pay"},"done":"1970-01-01T00:00:10Z","took":"1.5","n":7,
            "load":2500,"mem":134217728,"result":"success","cold":true}"#;
        insta::assert_snapshot!(read(all, message).unwrap(), @r#"{"app":"shop","function":"pay","started_at_ms":8500,"duration_ms":1500.0,"id":"7","tenant":"acme","trigger":"http","init_ms":2.5,"memory_mb":128.0,"status":"ok","temperature":"cold"}"#);
    }

    #[test]
    fn times_in_every_unit() {
        for (unit, time, expected) in [
            ("ms", "1700000000123", 1_700_000_000_123),
            ("s", "1700000000.1239", 1_700_000_000_124),
            ("s", "\"1700000000\"", 1_700_000_000_000),
            ("us", "1700000000123999", 1_700_000_000_123),
            ("ns", "1700000000123999999", 1_700_000_000_123),
            ("rfc3339", "\"2023-11-14T23:13:20.123+01:00\"", 1_700_000_000_123),
        ] {
            let mapping = mapping(&format!("{SHORT}started_at = {{ at = '/t', unit = '{unit}' }}"));
            let message = format!(r#"{{"app":"a","took":1,"t":{time}}}"#);
            assert_eq!(mapping.decode(message.as_bytes()).unwrap().started_at_ms, expected, "{time} {unit}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_message_is_named_by_its_place() {
        let text = format!("{SHORT}started_at = '/t'\nmemory = '/mem'");
        for (message, expected) in [
            (r#"{"app":"a","t":1}"#, "missing field `/took`"),
            (r#"{"app":null,"t":1,"took":1}"#, "missing field `/app`"),
            (r#"{"app":["a"],"t":1,"took":1}"#, r#"/app is ["a"]: expected a string"#),
            (r#"{"app":"a","t":1,"took":"long"}"#, r#"/took is "long": expected a number"#),
            (r#"{"app":"a","t":"today","took":1}"#, r#"/t is "today": expected a number; for a date"#),
            (r#"{"app":"a","t":1,"took":1,"mem":{}}"#, "/mem is {}: expected a number"),
            ("[]", "the message is a JSON array"),
        ] {
            let reason = read(&text, message).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_settings_is_named_by_its_field() {
        let with_time = |rest: &str| format!("app = '/app'\nstarted_at = '/t'\n{rest}");
        for (text, field) in [
            (String::new(), "app"),
            (with_time(""), "duration"),
            (SHORT.to_owned(), "started_at"),
            (format!("{SHORT}started_at = '/t'\nended_at = '/t'"), "started_at"),
            (with_time("duration = 'took'"), "duration"),
            (with_time("duration = { at = '/took', unit = 'rfc3339' }"), "duration"),
            (with_time("duration = '/took'\nid = { at = '/id', unit = 's' }"), "id"),
            (with_time("duration = '/took'\nmemory = { at = '/m', unit = 's' }"), "memory"),
        ] {
            assert_eq!(mapping(&text).check().unwrap_err().0, field, "{text}");
        }
        for text in ["app = { unit = 's' }", "app = { at = '/a', value = 'b' }", "app = { from = '/a' }", "ap = '/a'"] {
            assert!(toml::from_str::<Mapping>(text).is_err(), "{text}");
        }
    }
}
