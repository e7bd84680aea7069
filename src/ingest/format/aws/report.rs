//! What Lambda reports of one execution, as a REPORT line or as JSON.

use serde::Deserialize;

use super::{Function, missing, parse_object, shortened};
use crate::ingest::Reason;
use crate::model::{Invocation, Status, Temperature, Text};

/// One execution.
pub(super) struct Report {
    request_id: String,
    ended_at_ms: i64,
    duration_ms: f64,
    /// Loading: initialisation, or restoring from a snapshot.
    load_ms: Option<f64>,
    memory_mb: Option<f64>,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    #[serde(borrow)]
    request_id: Text<'a>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
    metrics: Metrics,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    duration_ms: f64,
    init_duration_ms: Option<f64>,
    restore_duration_ms: Option<f64>,
    #[serde(rename = "memorySizeMB")]
    memory_size_mb: Option<f64>,
}

impl Report {
    /// From the `record` of a `platform.report`.
    pub(super) fn from_json(json: &[u8], ended_at_ms: i64) -> Result<Self, Reason> {
        let Json { request_id, status, metrics } = parse_object(json)?;
        Ok(Self {
            request_id: request_id.to_string(),
            ended_at_ms,
            duration_ms: metrics.duration_ms,
            load_ms: sum(metrics.init_duration_ms, metrics.restore_duration_ms),
            memory_mb: metrics.memory_size_mb,
            status: status.as_deref().map(Status::from_name),
        })
    }

    /// From a line of tab-separated fields: `REPORT RequestId: … Duration: 155.51 ms … Memory Size: 128 MB …`.
    pub(super) fn from_line(line: &str, ended_at_ms: i64) -> Result<Self, Reason> {
        let (mut request_id, mut duration_ms, mut memory_mb, mut status) = (None, None, None, None);
        let (mut init_ms, mut restore_ms) = (None, None);
        for field in line.split(['\t', '\n']) {
            let Some((name, value)) = field.split_once(": ") else { continue };
            match name {
                "REPORT RequestId" => request_id = Some(value.trim().to_owned()),
                "Duration" => duration_ms = Some(number(name, value, "ms")?),
                "Init Duration" => init_ms = Some(number(name, value, "ms")?),
                "Restore Duration" => restore_ms = Some(number(name, value, "ms")?),
                "Memory Size" => memory_mb = Some(number(name, value, "MB")?),
                "Status" => status = Some(Status::from_name(value.trim())),
                _ => {}
            }
        }
        Ok(Self {
            request_id: request_id.ok_or_else(|| missing("RequestId"))?,
            ended_at_ms,
            duration_ms: duration_ms.ok_or_else(|| missing("Duration"))?,
            load_ms: sum(init_ms, restore_ms),
            memory_mb,
            status,
        })
    }

    /// The invocation that it reports.
    pub(super) fn invocation<'a>(self, function: Function) -> Invocation<'a> {
        let name: Text = function.name.to_owned().into();
        Invocation {
            app: name.clone(),
            function: name,
            started_at_ms: Invocation::start_of(self.ended_at_ms, self.duration_ms),
            duration_ms: self.duration_ms,
            id: Some(self.request_id.into()),
            tenant: function.account.map(|account| account.to_owned().into()),
            init_ms: self.load_ms,
            memory_mb: self.memory_mb,
            status: self.status,
            temperature: Some(if self.load_ms.is_some() { Temperature::Cold } else { Temperature::Warm }),
            ..Invocation::new("", "", 0, 0.0)
        }
    }
}

fn sum(init_ms: Option<f64>, restore_ms: Option<f64>) -> Option<f64> {
    match (init_ms, restore_ms) {
        (None, None) => None,
        (init_ms, restore_ms) => Some(init_ms.unwrap_or(0.0) + restore_ms.unwrap_or(0.0)),
    }
}

fn number(name: &str, value: &str, unit: &str) -> Result<f64, Reason> {
    let number = value.trim().strip_suffix(unit).map(str::trim_end).and_then(|number| number.parse().ok());
    number.ok_or_else(|| Reason::Malformed(format!("{name} is '{}': expected a number of {unit}", shortened(value))))
}
