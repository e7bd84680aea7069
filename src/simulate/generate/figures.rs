//! The figures that characterise a workload, counted from what was generated, beside the published ones.

use std::collections::BTreeMap;

use super::Generator;
use crate::model::Trigger;

/// A published figure and what was found.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// As published.
    pub target: f64,
    /// As generated.
    pub found: f64,
    /// How far it may be off.
    pub tolerance: f64,
}

#[derive(Default)]
struct Seen {
    /// Functions that were invoked, and invocations, by trigger.
    triggers: BTreeMap<&'static str, (u64, u64)>,
    combinations: BTreeMap<String, u64>,
    sizes: Vec<u64>,
    app_days: Vec<(f64, u64)>,
    function_totals: Vec<u64>,
    timers: (u64, u64),
    /// Coefficient of variation, whether it has timers, whether it has others.
    variation: Vec<(f64, bool, bool)>,
    hours: Vec<u64>,
    seconds: Vec<f64>,
    memory: Vec<f64>,
    maxima: Vec<f64>,
}

fn letter(trigger: Option<Trigger>) -> &'static str {
    match trigger {
        Some(Trigger::Http) => "HTTP",
        Some(Trigger::Queue) => "queue",
        Some(Trigger::Event) => "event",
        Some(Trigger::Orchestration) => "orchestration",
        Some(Trigger::Timer) => "timer",
        Some(Trigger::Storage) => "storage",
        _ => "other",
    }
}

/// Coefficient of variation of an app's inter-arrival times, where each function's invocations are spread evenly over
/// their minute; none for fewer than three invocations.
pub fn variation(functions: &[super::Counts]) -> Option<f64> {
    let mut cells: Vec<(u32, u32)> = functions.iter().flatten().copied().collect();
    cells.sort_unstable();
    let (mut n, mut sum, mut squares) = (0.0, 0.0, 0.0);
    let mut add = |gap: f64, times: f64| {
        n += times;
        sum += gap * times;
        squares += gap * gap * times;
    };
    let mut last: Option<f64> = None;
    let mut times: Vec<f64> = Vec::new();
    for cells in cells.chunk_by(|a, b| a.0 == b.0) {
        let minute = f64::from(cells[0].0);
        let total: u32 = cells.iter().map(|(_, count)| count).sum();
        // Merging more than that changes nothing that can be seen.
        if cells.len() == 1 || total > 2000 {
            let gap = 1.0 / f64::from(total);
            if let Some(last) = last {
                add(minute + gap / 2.0 - last, 1.0);
            }
            add(gap, f64::from(total - 1));
            last = Some(minute + 1.0 - gap / 2.0);
            continue;
        }
        times.clear();
        for (_, count) in cells {
            times.extend((0..*count).map(|i| minute + (f64::from(i) + 0.5) / f64::from(*count)));
        }
        times.sort_unstable_by(f64::total_cmp);
        for at in &times {
            if let Some(last) = last {
                add(at - last, 1.0);
            }
            last = Some(*at);
        }
    }
    let mean = sum / n;
    (n >= 2.0).then(|| (squares / n - mean * mean).max(0.0).sqrt() / mean)
}

fn share(values: &mut [u64], part: f64) -> f64 {
    values.sort_unstable_by(|a, b| b.cmp(a));
    let top = (values.len() as f64 * part).round() as usize;
    values[..top].iter().sum::<u64>() as f64 / values.iter().sum::<u64>() as f64
}

fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}

fn below(values: &[f64], limit: f64) -> f64 {
    values.iter().filter(|value| **value <= limit).count() as f64 / values.len() as f64
}

/// All figures of a workload.
pub fn figures(generator: &Generator) -> Vec<Figure> {
    let days = f64::from(generator.options().days);
    let mut seen = Seen { hours: vec![0; generator.options().days as usize * 24], ..Seen::default() };
    for (app, counts) in generator.iter() {
        let totals: Vec<u64> =
            counts.iter().map(|counts| counts.iter().map(|(_, count)| u64::from(*count)).sum()).collect();
        let total: u64 = totals.iter().sum();
        if total == 0 {
            continue;
        }
        let mut combination = std::collections::BTreeSet::new();
        let mut functions = 0;
        for ((function, counts), total) in app.functions.iter().zip(&counts).zip(&totals) {
            seen.seconds.push(function.duration.average_ms / 1000.0);
            if *total == 0 {
                continue;
            }
            functions += 1;
            let trigger = letter(function.function.trigger);
            combination.insert(trigger);
            let entry = seen.triggers.entry(trigger).or_default();
            *entry = (entry.0 + 1, entry.1 + total);
            seen.function_totals.push(*total);
            if trigger == "timer" {
                seen.timers.0 += 1;
                seen.timers.1 += u64::from(*total as f64 <= days * 1440.0);
            }
            for (minute, count) in counts {
                seen.hours[*minute as usize / 60] += u64::from(*count);
            }
        }
        seen.memory.push(app.memory.average_mb);
        seen.maxima.push(app.memory.maximum_mb);
        let timers = combination.contains("timer");
        let others = combination.len() > usize::from(timers);
        let names: Vec<&str> = combination.into_iter().collect();
        *seen.combinations.entry(names.join("+")).or_default() += 1;
        seen.sizes.push(functions);
        seen.app_days.push((total as f64 / days, functions));
        if let Some(cv) = variation(&counts) {
            seen.variation.push((cv, timers, others));
        }
    }
    list(seen)
}

fn list(mut seen: Seen) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut add = |name: String, target: f64, found: f64, tolerance: f64| {
        figures.push(Figure { name, target, found, tolerance });
    };
    let apps = seen.sizes.len() as f64;
    for (name, target) in [
        ("HTTP", 43.27),
        ("timer", 13.36),
        ("queue", 9.47),
        ("HTTP+timer", 4.59),
        ("HTTP+queue", 4.22),
        ("event", 3.01),
        ("storage", 2.80),
        ("queue+timer", 2.57),
        ("HTTP+queue+timer", 2.48),
    ] {
        let found = seen.combinations.get(name).copied().unwrap_or(0) as f64;
        add(format!("apps with {name}, %"), target, 100.0 * found / apps, 1.0);
    }
    let any: u64 = seen.combinations.iter().filter(|(name, _)| name.contains("timer")).map(|(_, count)| count).sum();
    add("apps with any timer, %".into(), 29.15, 100.0 * any as f64 / apps, 1.0);
    let functions: u64 = seen.triggers.values().map(|(functions, _)| functions).sum();
    let invocations: u64 = seen.triggers.values().map(|(_, invocations)| invocations).sum();
    for (name, of_functions, of_invocations) in [
        ("HTTP", 55.0, 35.9),
        ("queue", 15.2, 33.5),
        ("event", 2.2, 24.7),
        ("orchestration", 6.9, 2.3),
        ("timer", 15.6, 2.0),
        ("storage", 2.8, 0.7),
        ("other", 2.2, 1.0),
    ] {
        let (f, i) = seen.triggers.get(name).copied().unwrap_or_default();
        add(format!("functions by {name}, %"), of_functions, 100.0 * f as f64 / functions as f64, 1.0);
        let tolerance = if of_invocations > 10.0 { 3.0 } else { 0.6 };
        add(format!("invocations by {name}, %"), of_invocations, 100.0 * i as f64 / invocations as f64, tolerance);
    }
    for (from, to, target) in [(1, 1, 54.0), (2, 2, 16.0), (3, 3, 10.0), (4, 5, 8.0), (6, 10, 7.0), (11, 9999, 5.0)] {
        let found = seen.sizes.iter().filter(|size| (from..=to).contains(*size)).count() as f64;
        add(format!("apps of {from}-{to} functions, %"), target, 100.0 * found / apps, 1.0);
    }
    let found = seen.sizes.iter().filter(|size| **size > 100).count() as f64;
    add("apps of over 100 functions, %".into(), 0.04, 100.0 * found / apps, 0.03);
    let small: f64 = seen.app_days.iter().filter(|(_, size)| *size <= 3).map(|(rate, _)| rate).sum();
    let all: f64 = seen.app_days.iter().map(|(rate, _)| rate).sum();
    add("invocations in apps of up to 3 functions, %".into(), 54.5, 100.0 * small / all, 6.5);
    let rates: Vec<f64> = seen.app_days.iter().map(|(rate, _)| *rate).collect();
    for (limit, target) in [
        (1.1, 0.22),
        (10.0, 0.39),
        (24.0, 0.45),
        (108.0, 0.56),
        (287.0, 0.63),
        (310.0, 0.67),
        (1000.0, 0.79),
        (1438.0, 0.80),
        (1440.0, 0.814),
        (1600.0, 0.84),
        (10_000.0, 0.925),
        (86_400.0, 0.972),
    ] {
        add(format!("apps of at most {limit} a day"), target, below(&rates, limit), 0.02);
    }
    let busy: f64 = rates.iter().filter(|rate| **rate > 1440.0).sum();
    add("invocations in apps above 1/min, %".into(), 99.6, 100.0 * busy / all, 0.2);
    let most = rates.iter().copied().fold(0.0, f64::max);
    let least = rates.iter().copied().fold(f64::MAX, f64::min);
    add("decades from the rarest to the busiest app".into(), 8.5, (most / least).log10(), 1.0);
    let mut totals: Vec<u64> = rates.iter().map(|rate| (rate * 1e3) as u64).collect();
    for (part, apps, functions) in [(0.001, 0.565, 0.665), (0.01, 0.875, 0.92), (0.1, 0.99, 0.995)] {
        let tolerance = if part < 0.01 { 0.06 } else { 0.03 };
        add(format!("top {part} of apps, share"), apps, share(&mut totals, part), tolerance);
        add(format!("top {part} of functions, share"), functions, share(&mut seen.function_totals, part), tolerance);
    }
    add("timers at most once a minute, %".into(), 95.0, 100.0 * seen.timers.1 as f64 / seen.timers.0 as f64, 1.5);
    let of = |want: &dyn Fn(bool, bool) -> bool| -> Vec<f64> {
        seen.variation.iter().filter(|(_, timers, others)| want(*timers, *others)).map(|(cv, ..)| *cv).collect()
    };
    for (name, values, targets) in [
        ("all apps", of(&|_, _| true), [0.20, 0.44, 0.57, 0.71, 0.85, 0.945]),
        ("no timers", of(&|timers, _| !timers), [0.11, 0.22, 0.35, 0.54, 0.76, 0.91]),
        ("only timers", of(&|timers, others| timers && !others), [0.45, 0.83, 0.93, 0.98, 0.99, 1.0]),
    ] {
        for (limit, target) in [0.05, 0.5, 1.0, 2.0, 4.0, 10.0].into_iter().zip(targets) {
            add(format!("CV at most {limit}, {name}"), target, below(&values, limit), 0.05);
        }
    }
    for (limit, target) in [(0.1, 0.14), (1.0, 0.525), (10.0, 0.84), (60.0, 0.955)] {
        add(format!("functions of at most {limit} s"), target, below(&seen.seconds, limit), 0.09);
    }
    let logs: Vec<f64> = seen.seconds.iter().map(|seconds| seconds.ln()).collect();
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    let sigma = (logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / logs.len() as f64).sqrt();
    add("mean of ln(s)".into(), -0.38, mean, 0.1);
    add("sigma of ln(s)".into(), 2.36, sigma, 0.1);
    for (name, values, target) in [
        ("memory, median, MB", &seen.memory, (0.5, 140.0)),
        ("memory, 90th percentile, MB", &seen.memory, (0.9, 262.0)),
        ("most memory, median, MB", &seen.maxima, (0.5, 170.0)),
        ("most memory, 90th percentile, MB", &seen.maxima, (0.9, 400.0)),
    ] {
        add(name.into(), target.1, quantile(&mut values.clone(), target.0), target.1 * 0.12);
    }
    let mut hours: Vec<f64> = seen.hours.iter().map(|count| *count as f64).collect();
    let peak = quantile(&mut hours, 1.0);
    add("lowest hour / peak hour".into(), 0.5, quantile(&mut hours, 0.02) / peak, 0.1);
    figures
}
