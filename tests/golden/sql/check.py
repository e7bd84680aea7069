#!/usr/bin/env python3
"""Counts the figures of the golden files from the CSV files of the traces, and says which differ.

Usage: tests/golden/sql/check.py [TRACES]      (default ../shared/traces, from the project's root)

Shares no code with the project: the csv module, counters and loops. Exits with 1 where a figure differs.
"""
import csv
import math
import statistics
import sys
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from pathlib import Path

GOLDEN = Path(__file__).parent
TRACES = Path(sys.argv[1] if len(sys.argv) > 1 else GOLDEN.parents[3] / "shared/traces")
differences = 0


def same(name, trace, expected):
    """Compares rows of text and numbers; numbers may differ in the last digit that is printed."""
    global differences
    with open(GOLDEN / f"{name}.{trace}.csv", newline="") as file:
        found = list(csv.reader(file))[1:]
    before = differences
    if len(found) != len(expected):
        differences += 1
        print(f"{name}: {len(found)} rows, counted {len(expected)}")
    for row, (got, want) in enumerate(zip(found, expected)):
        for column, (text, value) in enumerate(zip(got, want, strict=True)):
            is_same = abs(float(text) - value) < 0.00051 if isinstance(value, (int, float)) else text == value
            if not is_same:
                differences += 1
                print(f"{name}: row {row + 1}, column {column + 1}: {text}, counted {value}")
    if differences == before:
        print(f"{name} on {trace}: the same")


def percent(part, whole):
    return 100.0 * part / whole


def nearest_rank(values, p):
    ordered = sorted(values)
    return ordered[max(1, math.ceil(p * len(ordered) / 100)) - 1]


def sizes(functions):
    """functions: {(app, function): invocations}."""
    per_app, invocations = Counter(), Counter()
    for (app, _), count in functions.items():
        per_app[app] += 1
        invocations[app] += count
    classes = [("01", 1, 1), ("02", 2, 2), ("03", 3, 3), ("04-05", 4, 5), ("06-10", 6, 10), ("11-100", 11, 100)]
    rows = []
    for label, low, high in classes:
        apps = [app for app, number in per_app.items() if low <= number <= high]
        if apps:
            rows.append([
                label, len(apps), percent(len(apps), len(per_app)),
                percent(sum(per_app[app] for app in apps), len(functions)),
                percent(sum(invocations[app] for app in apps), sum(invocations.values())),
            ])
    return rows


def rates(counts, days):
    limits = [(1, "1: up to 1/day"), (24, "2: up to 1/hour"), (1440, "3: up to 1/minute"),
              (86400, "4: up to 1/second"), (math.inf, "5: above 1/second")]
    rows, so_far, below = [], 0, -1
    for limit, label in limits:
        of_class = [count for count in counts if below < count / days <= limit]
        below = limit
        so_far += len(of_class)
        if of_class:
            rows.append([label, len(of_class), percent(len(of_class), len(counts)), percent(so_far, len(counts)),
                         percent(sum(of_class), sum(counts))])
    return rows


def counts_by_minute(trace):
    functions, triggers, hours, minutes = Counter(), {}, Counter(), set()
    with open(TRACES / trace / "invocations_per_function_md.anon.d07.csv", newline="") as file:
        for row in csv.DictReader(file):
            key = (row["HashApp"], row["HashFunction"])
            for label, cell in row.items():
                if label.isdigit() and int(cell) > 0:
                    minute = int(label) - 1
                    functions[key] += int(cell)
                    hours[minute // 60] += int(cell)
                    minutes.add(minute)
            if functions[key]:
                triggers[key] = row["Trigger"].replace("others", "other")
    total = sum(functions.values())
    same("functions_per_app", trace, sizes(functions))

    by_trigger = Counter(triggers.values())
    by_invocation = Counter()
    for key, count in functions.items():
        by_invocation[triggers[key]] += count
    same("triggers", trace, [
        [name, number, percent(number, len(triggers)), by_invocation[name], percent(by_invocation[name], total)]
        for name, number in sorted(by_trigger.items(), key=lambda item: (-item[1], item[0]))
    ])

    of_app = defaultdict(set)
    for (app, _), trigger in triggers.items():
        of_app[app].add(trigger)
    mixes = Counter("+".join(sorted(names)) for names in of_app.values())
    rows, so_far = [], 0
    for name, number in sorted(mixes.items(), key=lambda item: (-item[1], item[0])):
        so_far += number
        rows.append([name, number, percent(number, len(of_app)), percent(so_far, len(of_app))])
    same("trigger_mix_of_apps", trace, rows)

    day = datetime(2019, 7, 15) + timedelta(days=6)
    peak = max(hours.values())
    same("load_over_time", trace, [
        [(day + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ"), count, percent(count, peak)]
        for hour, count in sorted(hours.items())
    ])

    days = (max(minutes) - min(minutes) + 1) / 1440
    apps = Counter()
    for (app, _), count in functions.items():
        apps[app] += count
    same("rates_of_apps", trace, rates(list(apps.values()), days))
    same("rates_of_functions", trace, rates(list(functions.values()), days))

    rows = []
    for name, counts in [("apps", apps), ("functions", functions)]:
        ordered = sorted(counts.values(), reverse=True)
        for top in (0.1, 1.0, 10.0, 50.0):
            rows.append([name, top, percent(sum(ordered[:math.ceil(len(ordered) * top / 100)]), total)])
    same("skew", trace, rows)

    def column(name, of):
        with open(TRACES / trace / f"{name}.anon.d07.csv", newline="") as file:
            return [float(row[of]) for row in csv.DictReader(file)]

    durations = [column("function_durations_percentiles", of) for of in ("Minimum", "Average", "Maximum")]
    percentiles = (1, 5, 25, 50, 75, 90, 95, 99)
    same("execution_time", trace, [[p, *(nearest_rank(values, p) for values in durations)] for p in percentiles])
    memory = column("app_memory_percentiles", "AverageAllocatedMb")
    same("memory", trace, [[p, nearest_rank(memory, p)] for p in percentiles])


def single_invocations(trace):
    functions, starts = Counter(), defaultdict(list)
    with open(TRACES / trace / "AzureFunctionsInvocationTraceForTwoWeeksJan2021.txt", newline="") as file:
        for row in csv.DictReader(file):
            functions[row["app"], row["func"]] += 1
            start_s = float(row["end_timestamp"]) - float(row["duration"])
            starts[row["app"]].append(max(0, round(start_s * 1000)))
    same("functions_per_app", trace, sizes(functions))
    variations = []
    for times in starts.values():
        times.sort()
        gaps = [after - before for before, after in zip(times, times[1:])]
        if len(gaps) >= 2 and statistics.fmean(gaps) > 0:
            variations.append(statistics.pstdev(gaps) / statistics.fmean(gaps))
    limits = (0.05, 0.5, 1, 2, 4, 10)
    shares = [percent(sum(1 for cv in variations if cv <= limit), len(variations)) for limit in limits]
    same("inter_arrival_cv_of_invocations", trace, [[len(variations), *shares]])


counts_by_minute("azure2019-d07-sample")
single_invocations("azure2021-head998")
sys.exit(1 if differences else 0)
