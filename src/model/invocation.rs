//! One execution of a function, as the bus tells it: `schemas/invocation.v1.json`.

use serde::{Deserialize, Deserializer, Serialize};

use super::Text;

/// One execution of a function. Borrows from the message that it came in.
///
/// Its end is `started_at_ms + duration_ms`. Fields that this version does not know are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Invocation<'a> {
    /// The unit that is loaded and kept in memory; it has one or more functions.
    #[serde(borrow)]
    pub app: Text<'a>,
    /// The function of the app.
    #[serde(borrow)]
    pub function: Text<'a>,
    /// Start of the execution, epoch ms, UTC.
    pub started_at_ms: i64,
    /// From start to end, ms; fractions are welcome.
    pub duration_ms: f64,
    /// Unique id, for finding duplicates.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Text<'a>>,
    /// Who the app belongs to.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Text<'a>>,
    /// What caused the invocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// How long loading took, ms, where the invocation waited for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_ms: Option<f64>,
    /// Memory of the app, MB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<f64>,
    /// Runtime kind, for instance `python3`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Text<'a>>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// What the invocation found loaded; a name that this version does not know says nothing.
    #[serde(default, deserialize_with = "known_temperature", skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Temperature>,
    /// The node that executed it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Text<'a>>,
    /// The workflow that it is part of.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<Text<'a>>,
    /// The id of the invocation that caused it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Text<'a>>,
    /// The app's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
}

impl<'a> Invocation<'a> {
    /// An invocation with the required fields only.
    pub fn new(app: &'a str, function: &'a str, started_at_ms: i64, duration_ms: f64) -> Self {
        Self {
            app: app.into(),
            function: function.into(),
            started_at_ms,
            duration_ms,
            id: None,
            tenant: None,
            trigger: None,
            init_ms: None,
            memory_mb: None,
            runtime: None,
            status: None,
            temperature: None,
            node: None,
            workflow: None,
            parent: None,
            code: None,
        }
    }

    /// The same invocation without the message that it came in.
    pub fn into_owned(self) -> Invocation<'static> {
        Invocation {
            app: self.app.into_owned(),
            function: self.function.into_owned(),
            id: self.id.map(Text::into_owned),
            tenant: self.tenant.map(Text::into_owned),
            runtime: self.runtime.map(Text::into_owned),
            node: self.node.map(Text::into_owned),
            workflow: self.workflow.map(Text::into_owned),
            parent: self.parent.map(Text::into_owned),
            started_at_ms: self.started_at_ms,
            duration_ms: self.duration_ms,
            trigger: self.trigger,
            init_ms: self.init_ms,
            memory_mb: self.memory_mb,
            status: self.status,
            temperature: self.temperature,
            code: self.code,
        }
    }

    /// End of the execution, epoch ms, rounded to the nearest.
    pub fn ended_at_ms(&self) -> i64 {
        self.started_at_ms.saturating_add(self.duration_ms.round() as i64)
    }

    /// The start of what ended at `ended_at_ms` (epoch ms) after `duration_ms`: [`Self::ended_at_ms`] gives the end again.
    pub fn start_of(ended_at_ms: i64, duration_ms: f64) -> i64 {
        ended_at_ms.saturating_sub(duration_ms.round() as i64)
    }
}

/// Where an app's code is, and what its bytes must hash to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Code {
    /// `file://`, `data:`, `http://`, `https://` or `s3://` URI.
    pub uri: String,
    /// Lower-case hex digest of the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl Code {
    /// Whether `text` is a SHA-256 in hex. A digest names a file of the code cache: nothing else may.
    pub fn is_digest(text: &str) -> bool {
        text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// What causes an invocation: the classes of "Serverless in the Wild", §3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A request that somebody waits for.
    Http,
    /// A message in a queue.
    Queue,
    /// A stream or event bus.
    Event,
    /// A schedule.
    Timer,
    /// A change in a store or database.
    Storage,
    /// A workflow engine.
    Orchestration,
    /// Anything else, also names that this version does not know.
    Other,
}

impl Trigger {
    /// All of them, each at the place of its number.
    pub const ALL: [Self; 7] =
        [Self::Http, Self::Queue, Self::Event, Self::Timer, Self::Storage, Self::Orchestration, Self::Other];

    /// The class of a platform's own name for it, in any case; unknown names are [`Trigger::Other`].
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|trigger| name.eq_ignore_ascii_case(trigger.name())).unwrap_or(Trigger::Other)
    }

    /// Its name in events.
    pub const fn name(self) -> &'static str {
        match self {
            Trigger::Http => "http",
            Trigger::Queue => "queue",
            Trigger::Event => "event",
            Trigger::Timer => "timer",
            Trigger::Storage => "storage",
            Trigger::Orchestration => "orchestration",
            Trigger::Other => "other",
        }
    }
}

impl<'de> Deserialize<'de> for Trigger {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer).map(|name| Self::from_name(&name))
    }
}

/// How an invocation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// With a result.
    Ok,
    /// The function failed.
    Error,
    /// The function ran past its limit.
    Timeout,
    /// The app could not be loaded.
    InitFailed,
}

impl Status {
    /// All of them, each at the place of its number.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Error, Self::Timeout, Self::InitFailed];

    /// Its name in events.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Error => "error",
            Status::Timeout => "timeout",
            Status::InitFailed => "init_failed",
        }
    }

    /// The status of a platform's own name for it; unknown names are [`Status::Error`].
    pub fn from_name(name: &str) -> Self {
        match name {
            "ok" | "success" => Status::Ok,
            "timeout" => Status::Timeout,
            "init_failed" => Status::InitFailed,
            _ => Status::Error,
        }
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer).map(|name| Self::from_name(&name))
    }
}

/// Start temperature: what the invocation found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Temperature {
    /// Nothing: a runtime was created for it.
    Cold,
    /// A pooled runtime that was specialised for it, or the app loaded ahead of time and not used yet.
    Prewarmed,
    /// The app, loaded and used before.
    Warm,
}

/// For fields that name a temperature: a name that this version does not know says nothing.
pub fn known_temperature<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Temperature>, D::Error> {
    let name = Option::<Text>::deserialize(deserializer)?;
    Ok(name.and_then(|name| Temperature::from_name(&name)))
}

impl Temperature {
    /// The temperature of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        let known = [Temperature::Cold, Temperature::Prewarmed, Temperature::Warm];
        known.into_iter().find(|known| known.as_str() == name)
    }

    /// The name in events and in the `x-pilotlight-start` header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Temperature::Cold => "cold",
            Temperature::Prewarmed => "prewarmed",
            Temperature::Warm => "warm",
        }
    }
}
