#!/usr/bin/env python3
"""Runs files of sql/ in Pilotlight and in DuckDB on the same tables: are the rows the same, and who is how fast?

Usage: benches/beside_duckdb.py --pilotlight 'target/release/pilotlight sql --history file:///folder/history' \\
           --table invocations_per_minute='/folder/history/invocations_per_minute/**/*.parquet' [FILE.sql ...]

Needs DuckDB's Python package (pip install duckdb pytz) and psql. Each --table names a table of the files and where its Parquet
lies. Without files, all of sql/ are run of which DuckDB has the tables. Times are wall clock, the best of --runs, each in a
process that is started already: for Pilotlight as psql measures it, through the PostgreSQL protocol. Exits with 1 where
rows differ.
"""
import argparse
import csv
import io
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import duckdb

# What Pilotlight's own functions are in DuckDB's words.
MACROS = """
CREATE MACRO rate_class(per_day) AS CASE
    WHEN per_day <= 1 THEN '1: up to 1/day' WHEN per_day <= 24 THEN '2: up to 1/hour'
    WHEN per_day <= 1440 THEN '3: up to 1/minute' WHEN per_day <= 86400 THEN '4: up to 1/second'
    ELSE '5: above 1/second' END;
CREATE MACRO cv_of_sums(n, s, q) AS CASE WHEN n >= 2 AND s <> 0 THEN
    sqrt(CASE WHEN q / n - (s / n) ** 2 < 1e-9 * (s / n) ** 2 THEN 0 ELSE q / n - (s / n) ** 2 END) / (s / n) END;
CREATE MACRO cv(x) AS CASE WHEN count(x) >= 2 THEN stddev_pop(x) / nullif(avg(x), 0) END;
CREATE MACRO nearest_rank(x, p) AS quantile_disc(x, p);
CREATE MACRO to_unixtime(t) AS epoch(t);
"""


# What history has as views.
VIEWS = """
CREATE VIEW function_durations AS SELECT date, owner, app, function, sum(duration_ms) / sum(invocations) AS average_ms,
    sum(invocations) AS count, min(duration_min_ms) AS minimum_ms, max(duration_max_ms) AS maximum_ms
    FROM invocations_per_minute GROUP BY ALL;
CREATE VIEW app_memory AS SELECT date, owner, app, sum(memory_mb * invocations) / sum(invocations) AS average_mb,
    sum(invocations) AS sample_count FROM invocations_per_minute WHERE memory_mb IS NOT NULL GROUP BY ALL;
"""


PORT = 25433


def cells(rows):
    """Rows that can be compared: numbers of six digits, times as text."""
    def cell(value):
        if value is None or value == "":
            return ""
        try:
            return f"{float(value):.6g}"
        except (TypeError, ValueError):
            return str(value).replace(" ", "T").removesuffix("+00:00").removesuffix("+00").removesuffix(".000000")
    return [[cell(value) for value in row] for row in rows]


def best(runs, run):
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        rows = run()
        times.append(time.perf_counter() - begin)
    return rows, min(times)


def main():
    options = argparse.ArgumentParser(usage=__doc__)
    options.add_argument("--pilotlight", required=True)
    options.add_argument("--table", action="append", default=[], metavar="NAME=GLOB")
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--threads", type=int, default=os.cpu_count())
    options.add_argument("files", nargs="*", type=Path)
    options = options.parse_args()

    database = duckdb.connect(config={"threads": options.threads})
    database.execute("SET TimeZone = 'UTC'")
    database.execute(MACROS)
    for table in options.table:
        name, glob = table.split("=", 1)
        database.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{glob}', hive_partitioning = true)")
    if any(table.startswith("invocations_per_minute=") for table in options.table):
        database.execute(VIEWS)

    server = subprocess.Popen([*shlex.split(options.pilotlight), "--listen", f"127.0.0.1:{PORT}"], stderr=subprocess.DEVNULL)
    try:
        is_same = compare(options, database)
    finally:
        server.terminate()
    sys.exit(0 if is_same else 1)


def compare(options, database):
    while subprocess.run(["psql", "-X", "-h", "127.0.0.1", "-p", str(PORT), "-U", "bench", "-d", "pilotlight", "-c", "SELECT 1"],
                         capture_output=True).returncode != 0:
        time.sleep(0.1)
    is_same = True
    print(f"{'file':40} {'rows':>6} {'pilotlight s':>13} {'DuckDB s':>9} {'ratio':>6}")
    for file in options.files or sorted((Path(__file__).parents[1] / "sql").glob("*.sql")):
        try:
            theirs, their_s = best(options.runs, lambda: database.execute(file.read_text()).fetchall())
        except duckdb.Error as error:
            print(f"{file.stem:40} left out: DuckDB: {str(error).splitlines()[0]}")
            continue
        psql = ["psql", "-X", "-h", "127.0.0.1", "-p", str(PORT), "-U", "bench", "-d", "pilotlight", "--csv"]
        psql += ["-c", "\\timing on", *["-f", str(file)] * options.runs]
        said = subprocess.run(psql, check=True, capture_output=True, text=True).stdout
        times = [float(ms) / 1000 for ms in re.findall(r"^Time: ([0-9.]+) ms", said, re.MULTILINE)]
        our_s = min(times)
        answer = re.split(r"^Time: .*$", said, flags=re.MULTILINE)[0].partition("\n")[2]
        ours = list(csv.reader(io.StringIO(answer)))[1:]
        print(f"{file.stem:40} {len(ours):6} {our_s:13.3f} {their_s:9.3f} {our_s / their_s:6.2f}")
        if cells(ours) != cells(theirs):
            is_same = False
            pairs = [pair for pair in zip(cells(ours), cells(theirs)) if pair[0] != pair[1]]
            print(f"  the rows differ: {len(ours)} and {len(theirs)}, first {pairs[:1]}")
    return is_same


if __name__ == "__main__":
    main()
