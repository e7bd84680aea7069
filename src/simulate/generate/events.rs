//! Writes a workload as canonical invocation events, one JSON object a line (`schemas/invocation.v1.json`), in the order
//! of their starts.

use std::io::{self, Write};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::{Duration, Generator};
use crate::model::Invocation;

const MINUTE_MS: i64 = 60_000;
const DAY_MINUTES: usize = super::arrivals::DAY_MINUTES as usize;

/// An invocation of a workload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placed {
    /// Index of its function, among those of all apps.
    pub function: u32,
    /// When it starts, epoch ms.
    pub start_ms: i64,
    /// How long it takes, ms.
    pub duration_ms: f64,
}

/// Hands all invocations of a workload to `take`, in the order of their starts; returns how many there are. In its
/// minute, a function's i-th of k invocations starts at `(i + 0.5) / k`, as the simulator places them. One day's counts
/// are in memory at a time. `progress` hears how many more minutes are done.
pub fn each<E>(
    generator: &Generator,
    mut take: impl FnMut(Placed) -> Result<(), E>,
    mut progress: impl FnMut(u64),
) -> Result<u64, E> {
    let durations: Vec<Duration> =
        generator.apps().flat_map(|app| app.functions).map(|function| function.duration).collect();
    let mut random = ChaCha8Rng::seed_from_u64(generator.options().seed);
    random.set_stream(u64::MAX >> 1);
    let mut arrivals = generator.arrivals();
    let mut written = 0;
    let mut minutes: Vec<Vec<(u32, u32)>> = vec![Vec::new(); DAY_MINUTES];
    let mut starts: Vec<(i64, u32)> = Vec::new();
    for number in 0..generator.options().days {
        let day = generator.day(number);
        let mut index = 0;
        for app in generator.apps() {
            for counts in arrivals.day(&app, day) {
                for (minute, count) in minutes.iter_mut().zip(counts).filter(|(_, count)| **count > 0) {
                    minute.push((index, *count));
                }
                index += 1;
            }
        }
        for (minute, counts) in minutes.iter_mut().enumerate() {
            let begin_ms =
                generator.options().start_ms + (i64::from(number) * DAY_MINUTES as i64 + minute as i64) * MINUTE_MS;
            starts.clear();
            for (index, count) in counts.drain(..) {
                let place = |i: u32| (f64::from(i) + 0.5) / f64::from(count) * MINUTE_MS as f64;
                starts.extend((0..count).map(|i| (begin_ms + place(i) as i64, index)));
            }
            starts.sort_unstable();
            for (start_ms, function) in starts.iter().copied() {
                let Duration { average_ms, sigma } = durations[function as usize];
                let z: f64 = StandardNormal.sample(&mut random);
                let duration_ms = average_ms * (sigma * z - sigma * sigma / 2.0).exp();
                take(Placed { function, start_ms, duration_ms })?;
            }
            written += starts.len() as u64;
            progress(1);
        }
    }
    Ok(written)
}

/// Writes the events of a workload and returns how many there are: see [`each`].
pub fn write(generator: &Generator, out: &mut impl Write, progress: impl FnMut(u64)) -> io::Result<u64> {
    let functions = generator.apps().flat_map(|app| app.functions);
    let functions: Vec<_> = functions.map(|function| Written::new(&function.function)).collect::<Result<_, _>>()?;
    let written = each(generator, |placed| functions[placed.function as usize].write(placed, out), progress)?;
    out.flush()?;
    Ok(written)
}

/// A function's invocations, ready to be written but for their times.
struct Written {
    head: String,
    tail: String,
}

impl Written {
    fn new(function: &crate::simulate::Function) -> io::Result<Self> {
        let event = Invocation {
            trigger: function.trigger,
            memory_mb: function.memory_mb,
            ..Invocation::new(&function.app, &function.name, 0, 0.0)
        };
        let text = serde_json::to_string(&event)?;
        // Names are hexadecimal: the times are where they seem to be.
        let (head, rest) = text.split_once("0,\"duration_ms\":0.0").unwrap_or((&text, ""));
        Ok(Self { head: head.to_owned(), tail: format!("{rest}\n") })
    }

    fn write(&self, Placed { start_ms, duration_ms, .. }: Placed, out: &mut impl Write) -> io::Result<()> {
        out.write_all(self.head.as_bytes())?;
        write!(out, "{start_ms},\"duration_ms\":{duration_ms:.1}")?;
        out.write_all(self.tail.as_bytes())
    }
}
