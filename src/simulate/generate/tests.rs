use std::collections::BTreeSet;

use super::figures::figures;
use super::*;
use crate::model::Invocation;
use crate::simulate::traces;

/// A Monday.
const START_MS: i64 = 1_563_148_800_000;

fn options(apps: u32, days: u32, seed: u64) -> Options {
    Options { apps, days, seed, start_ms: START_MS }
}

#[test]
fn the_figures_are_those_published() {
    // One app in a thousand makes most invocations: only many apps can share them out as published.
    let of_many = |name: &str| ["invocations by", "top 0.001", "lowest hour"].iter().any(|of| name.starts_with(of));
    let off: Vec<_> = figures(&Generator::new(options(1000, 7, 1)))
        .into_iter()
        .filter(|figure| !of_many(&figure.name) && (figure.found - figure.target).abs() > figure.tolerance * 1.4)
        .collect();
    assert!(off.is_empty(), "{off:#?}");
}

#[test]
fn the_busiest_apps_have_the_published_shares() {
    let (apps, seed) = (20_000, 1);
    let plans = plan::plans(apps, seed);
    let rates: Vec<[f64; 7]> = (0..).zip(&plans).map(|(index, plan)| population::per_day(plan, index, seed)).collect();
    let all: f64 = rates.iter().flatten().sum();
    for (trigger, percent, tolerance) in
        [(0, 35.9, 2.0), (1, 33.5, 2.0), (2, 24.7, 2.0), (3, 2.3, 0.5), (4, 2.0, 0.5), (5, 0.7, 0.5), (6, 1.0, 0.5)]
    {
        let found: f64 = 100.0 * rates.iter().map(|rates| rates[trigger]).sum::<f64>() / all;
        assert!((found - percent).abs() <= tolerance, "{:?}: {found}", mix::TRIGGERS[trigger]);
    }
    let mut totals: Vec<f64> = rates.iter().map(|rates| rates.iter().sum()).collect();
    totals.sort_by(|a, b| b.total_cmp(a));
    for (count, share, tolerance) in [(20, 0.565, 0.045), (200, 0.875, 0.015), (2000, 0.99, 0.005)] {
        let found = totals[..count].iter().sum::<f64>() / all;
        assert!((found - share).abs() <= tolerance, "top {count}: {found}");
    }
}

#[test]
fn an_app_is_the_same_whatever_else_is_generated() {
    let generator = Generator::new(options(60, 3, 1));
    let all: Vec<_> = generator.iter().collect();
    let short: Vec<_> = Generator::new(options(60, 1, 1)).iter().collect();
    for ((app, counts), (same, first_day)) in all.iter().zip(short) {
        assert_eq!(*app, same);
        for (counts, first_day) in counts.iter().zip(first_day) {
            assert_eq!(
                counts.iter().copied().filter(|(minute, _)| *minute < DAY_MINUTES).collect::<Vec<_>>(),
                first_day
            );
        }
    }
    let other: Vec<_> = Generator::new(options(60, 3, 2)).iter().collect();
    assert_ne!(all, other);
    let names: BTreeSet<_> = all.iter().flat_map(|(app, _)| &app.functions).map(|of| &of.function.name).collect();
    assert_eq!(names.len(), all.iter().map(|(app, _)| app.functions.len()).sum::<usize>());
    assert!(names.iter().all(|name| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())));
}

#[test]
fn rare_functions_are_invoked_every_week() {
    for (app, counts) in Generator::new(options(200, 7, 3)).iter() {
        for (function, counts) in app.functions.iter().zip(&counts) {
            assert!(!counts.is_empty() || function.calls.per_day() > arrivals::RARE_PER_DAY, "{function:?}");
            assert!(counts.is_sorted_by_key(|(minute, _)| *minute));
        }
    }
}

#[test]
fn any_number_of_apps_can_be_generated() {
    for apps in [1, 2, 3, 7, 17, 34, 100] {
        assert_eq!(Generator::new(options(apps, 1, 5)).iter().count(), apps as usize);
    }
}

#[test]
fn a_written_folder_reads_as_what_was_generated() {
    let generator = Generator::new(options(40, 2, 9));
    let write = |threads: usize| {
        let folder = tempfile::tempdir().unwrap();
        let invocations = azure2019::write(&generator, folder.path(), threads, &|_| ()).unwrap();
        (folder, invocations)
    };
    let (folder, invocations) = write(1);
    let trace = traces::open(folder.path(), |_, _| ()).unwrap();
    let expected: u64 = generator.iter().flat_map(|(_, counts)| counts).flatten().map(|(_, n)| u64::from(n)).sum();
    assert_eq!((trace.invocations(), invocations), (expected, expected));
    assert!(trace.skipped().is_empty());
    let invoked = generator.iter().filter(|(_, counts)| counts.iter().any(|counts| !counts.is_empty()));
    let apps: BTreeSet<_> = invoked.map(|(app, _)| app.name.to_string()).collect();
    let found: BTreeSet<_> = trace.functions().iter().map(|function| function.app.to_string()).collect();
    assert_eq!(found, apps);
    assert!(trace.functions().iter().all(|function| function.memory_mb.is_some_and(|memory| memory > 0.0)));

    let (again, _) = write(2);
    let bytes = |folder: &std::path::Path| {
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| std::fs::read(file).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(bytes(folder.path()).len(), 6);
    assert!(bytes(folder.path()) == bytes(again.path()), "the files differ with the number of threads");
}

#[test]
fn duration_columns_are_in_order() {
    let folder = tempfile::tempdir().unwrap();
    azure2019::write(&Generator::new(options(60, 1, 4)), folder.path(), 1, &|_| ()).unwrap();
    let mut reader = csv::Reader::from_path(folder.path().join("function_durations_percentiles.anon.d01.csv")).unwrap();
    for row in reader.records() {
        let row = row.unwrap();
        let cells: Vec<f64> = (3..14).map(|column| row[column].parse().unwrap()).collect();
        let (average, count, minimum, maximum) = (cells[0], cells[1], cells[2], cells[3]);
        assert!(count >= 1.0 && minimum <= average && average <= maximum, "{row:?}");
        assert!(cells[4..].is_sorted() && minimum <= cells[4] && cells[10] <= maximum, "{row:?}");
    }
}

#[test]
fn events_are_invocations_in_the_order_of_their_starts() {
    // One with few enough invocations to write them all.
    let generator = (0..20).map(|seed| Generator::new(options(12, 1, seed))).find(|generator| {
        let invocations = generator.iter().flat_map(|(_, counts)| counts).flatten().map(|(_, n)| u64::from(n));
        (100..50_000).contains(&invocations.sum::<u64>())
    });
    let generator = generator.unwrap();
    let mut lines = Vec::new();
    let written = events::write(&generator, &mut lines, |_| ()).unwrap();
    let text = String::from_utf8(lines).unwrap();
    let events: Vec<Invocation> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len() as u64, written);
    assert!(events.is_sorted_by_key(|event| event.started_at_ms));
    assert!(events.iter().all(|event| (START_MS..START_MS + DAY_MS).contains(&event.started_at_ms)));
    assert!(events.iter().all(|event| event.duration_ms >= 0.0 && event.trigger.is_some()));
    let generated: u64 = generator.iter().flat_map(|(_, counts)| counts).flatten().map(|(_, n)| u64::from(n)).sum();
    assert_eq!(written, generated);
}
