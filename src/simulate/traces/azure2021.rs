//! Azure Functions 2021: single invocations, `app,func,end_timestamp,duration` in seconds since the trace began (Zhang
//! et al., SOSP 2021). The duration leaves out a cold start.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::{Error, Source, Trace, columns, csv};
use crate::simulate::{Arrival, Function};

pub(super) fn read(path: &Path) -> Result<Trace, Error> {
    let mut reader = csv(path)?;
    let [app, func, end, duration] = columns(path, &mut reader, ["app", "func", "end_timestamp", "duration"])?;
    let mut functions = Vec::new();
    let mut known: HashMap<(String, String), u32> = HashMap::new();
    let mut arrivals = Vec::new();
    let (mut skipped, mut end_ms) = (0, 0);
    for row in reader.records() {
        let row = row.ok();
        let cell = |column: usize| row.as_ref().and_then(|row| row.get(column));
        let seconds = |column: usize| {
            cell(column).and_then(|text| text.parse::<f64>().ok()).filter(|seconds| (0.0..1e12).contains(seconds))
        };
        let (Some(app), Some(func), Some(end_s), Some(duration_s)) =
            (cell(app), cell(func), seconds(end), seconds(duration))
        else {
            skipped += 1;
            continue;
        };
        let function = *known.entry((app.to_owned(), func.to_owned())).or_insert_with(|| {
            functions.push(Function { app: Arc::from(app), name: Arc::from(func), trigger: None, memory_mb: None });
            functions.len() as u32 - 1
        });
        let at_ms = ((end_s - duration_s) * 1000.0).round().max(0.0) as i64;
        end_ms = end_ms.max((end_s * 1000.0).round() as i64);
        arrivals.push(Arrival { at_ms, duration_ms: duration_s * 1000.0, function });
    }
    arrivals.sort_by_key(|arrival| arrival.at_ms);
    let invocations = arrivals.len() as u64;
    Ok(Trace { functions, invocations, end_ms, skipped, source: Source::Single(arrivals) })
}
