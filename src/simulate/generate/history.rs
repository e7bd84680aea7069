//! Writes a workload as history.

use crate::config::Settings;
use crate::model::Invocation;
use crate::simulate::recording::{Error, Recording};

use super::Generator;
use super::events::{Placed, each};

/// Writes the workload as the history of `settings.history`; returns how many invocations there are.
pub fn write(generator: &Generator, settings: &Settings, progress: impl FnMut(u64)) -> Result<u64, Error> {
    let mut recording = Recording::begin(settings)?;
    let functions: Vec<_> = generator.apps().flat_map(|app| app.functions).map(|function| function.function).collect();
    let written = each(
        generator,
        |Placed { function, start_ms, duration_ms }| {
            let function = &functions[function as usize];
            recording.add(&Invocation {
                trigger: function.trigger,
                memory_mb: function.memory_mb,
                ..Invocation::new(&function.app, &function.name, start_ms, duration_ms)
            })
        },
        progress,
    )?;
    recording.finish()?;
    Ok(written)
}
