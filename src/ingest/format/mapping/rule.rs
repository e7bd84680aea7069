//! Where one field comes from: a place in the message, with the unit that it has there, or a constant.

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::parse_time;
use crate::ingest::Reason;
use crate::ingest::format::shortened;

/// Where one field comes from. In TOML: `"/labels/service"`, `{ at = "/took", unit = "s" }` or `{ value = "http" }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    source: Source,
    unit: Option<Unit>,
}

#[derive(Debug, Clone, PartialEq)]
enum Source {
    /// A JSON pointer into the message.
    At(String),
    /// The same for all messages.
    Constant(Value),
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "their names say it")]
pub enum Unit {
    Ns,
    Us,
    Ms,
    S,
    /// A date and time in words: for times only.
    Rfc3339,
    B,
    Kb,
    Mb,
    Gb,
}

/// What a field is, which says what units it can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Time,
    Duration,
    Memory,
}

impl Unit {
    /// How many of what Pilotlight counts in (ms, MB) one of it is, as a fraction: 1 ns = 1/1,000,000 ms.
    const fn ratio(self) -> (i64, i64) {
        match self {
            Unit::Ns => (1, 1_000_000),
            Unit::Us => (1, 1000),
            Unit::S => (1000, 1),
            Unit::Ms | Unit::Mb | Unit::Rfc3339 => (1, 1),
            Unit::B => (1, 1024 * 1024),
            Unit::Kb => (1, 1024),
            Unit::Gb => (1024, 1),
        }
    }
}

impl Rule {
    /// Its place in messages, for errors.
    pub(super) fn place(&self) -> &str {
        match &self.source {
            Source::At(pointer) => pointer,
            Source::Constant(_) => "value",
        }
    }

    /// Whether it can be the rule of such a field: what it is, and what it can be, where not.
    pub(super) fn check(&self, kind: Kind) -> Result<(), (String, &'static str)> {
        if let Source::At(pointer) = &self.source
            && !pointer.starts_with('/')
        {
            return Err((format!("'{pointer}'"), "a JSON pointer, which begins with '/', or { value = … }"));
        }
        let Some(unit) = self.unit else { return Ok(()) };
        let (units, expected): (&[Unit], _) = match kind {
            Kind::Text => (&[], "no unit"),
            Kind::Time => (&[Unit::Ms, Unit::S, Unit::Us, Unit::Ns, Unit::Rfc3339], "ms, s, us, ns or rfc3339"),
            Kind::Duration => (&[Unit::Ms, Unit::S, Unit::Us, Unit::Ns], "ms, s, us or ns"),
            Kind::Memory => (&[Unit::Mb, Unit::Gb, Unit::Kb, Unit::B], "mb, gb, kb or b"),
        };
        let found = || format!("in the unit {}", format!("{unit:?}").to_lowercase());
        if units.contains(&unit) { Ok(()) } else { Err((found(), expected)) }
    }

    fn find<'m>(&'m self, message: &'m Value) -> Option<&'m Value> {
        let found = match &self.source {
            Source::At(pointer) => message.pointer(pointer),
            Source::Constant(value) => Some(value),
        };
        found.filter(|value| !value.is_null())
    }

    /// The text that stands there; numbers and truth values as they are written.
    pub(super) fn text(&self, message: &Value) -> Result<Option<String>, Reason> {
        match self.find(message) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
            Some(other) => Err(self.wrong(other, "a string")),
        }
    }

    /// The number that stands there, in ms or MB; also where it is written as a string.
    pub(super) fn number(&self, message: &Value) -> Result<Option<f64>, Reason> {
        let Some(value) = self.find(message) else { return Ok(None) };
        let number = match value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        let (times, divided_by) = self.unit.map_or((1, 1), Unit::ratio);
        let scaled = number.map(|number| number * times as f64 / divided_by as f64);
        scaled.map(Some).ok_or_else(|| self.wrong(value, "a number"))
    }

    /// The time that stands there, epoch ms.
    pub(super) fn time_ms(&self, message: &Value) -> Result<Option<i64>, Reason> {
        let Some(value) = self.find(message) else { return Ok(None) };
        match (self.unit, value) {
            (Some(Unit::Rfc3339), Value::String(text)) => return parse_time(self.place(), text).map(Some),
            (Some(Unit::Rfc3339), other) => return Err(self.wrong(other, "a time of RFC 3339")),
            _ => {}
        }
        let whole = match value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_i64(),
        };
        // Nanoseconds since 1970 have more digits than a float has.
        if let Some(whole) = whole {
            let (times, divided_by) = self.unit.map_or((1, 1), Unit::ratio);
            return Ok(Some(whole.saturating_mul(times).div_euclid(divided_by)));
        }
        let expected = "a number; for a date in words, give the unit rfc3339";
        match self.number(message) {
            Ok(number) => Ok(number.map(|number| number.round() as i64)),
            Err(_) => Err(self.wrong(value, expected)),
        }
    }

    fn wrong(&self, found: &Value, expected: &str) -> Reason {
        let found = found.to_string();
        Reason::Malformed(format!("{} is {}: expected {expected}", self.place(), shortened(&found)))
    }
}

/// A rule, or none where the setting is the empty string.
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rule>, D::Error> {
    struct RuleVisitor;
    impl<'de> Visitor<'de> for RuleVisitor {
        type Value = Option<Rule>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a JSON pointer, { at = POINTER, unit = UNIT } or { value = CONSTANT }")
        }
        fn visit_str<E: Error>(self, pointer: &str) -> Result<Self::Value, E> {
            let source = Source::At(pointer.to_owned());
            Ok((!pointer.is_empty()).then_some(Rule { source, unit: None }))
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let (mut source, mut unit) = (None, None);
            while let Some(key) = map.next_key::<String>()? {
                match key.as_str() {
                    "at" if source.is_none() => source = Some(Source::At(map.next_value()?)),
                    "value" if source.is_none() => source = Some(Source::Constant(map.next_value()?)),
                    "unit" => unit = Some(map.next_value()?),
                    "at" | "value" => {
                        map.next_value::<IgnoredAny>()?;
                        return Err(A::Error::custom("either 'at' or 'value'"));
                    }
                    other => return Err(A::Error::unknown_field(other, &["at", "value", "unit"])),
                }
            }
            let source =
                source.ok_or_else(|| A::Error::custom("'at' with a JSON pointer, or 'value' with a constant"))?;
            Ok(Some(Rule { source, unit }))
        }
    }
    deserializer.deserialize_any(RuleVisitor)
}
