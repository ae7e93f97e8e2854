"""What the models cost beside the libraries that people use instead: the table of targets.

    .venv/bin/python bench/models.py [--json] [--only PATTERN] [--repeats 7]

A row's two results are found equal before anything is timed; unless all are, no time is printed and
the exit code is 1. Figures are nanoseconds a unit of work (an update, an observation, a pair, a
fit), the least of several measurements, ours and the peer's taken in turn. A target that is missed
is no failure: docs/benchmarks.md has the profile that shows the limit.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Run as a file, its own folder is on the path; the project's is not where it is not installed.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from bench.timing import Row, Unequal, measure  # noqa: E402

REPEATS = 7
UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))


def all_rows() -> tuple[Row, ...]:
    """Every row of the table, in its order."""
    from bench import rows_bocd, rows_garch, rows_kalman

    return (*rows_kalman.ROWS, *rows_garch.ROWS, *rows_bocd.ROWS)


def measured(rows: Sequence[Row], repeats: int) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows' figures, and what was unequal, by row; progress goes to stderr."""
    found, failures = [], []
    for number, row in enumerate(rows, 1):
        began = time.perf_counter()
        print(f"[{number}/{len(rows)}] {row.name}", end=" ", file=sys.stderr, flush=True)
        try:
            found.append(measure(row, repeats))
        except Unequal as error:
            failures.append(f"{row.name}: {error}")
        print(f"{time.perf_counter() - began:.1f} s", file=sys.stderr)
    return found, failures


def duration(ns: float) -> str:
    """Nanoseconds in the unit that leaves one to three digits before the point."""
    scale, unit = next(((s, u) for s, u in UNITS if ns >= s), UNITS[-1])
    return f"{ns / scale:.3g} {unit}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text, with what was reached."""
    width = max((len(row["name"]) for row in rows), default=0)
    lines = [f"{'':{width}} {'ours':>9} {'peer':>9} {'ratio':>8} {'target':>8}    peer"]
    for row in rows:
        target = row["target_ratio"]
        reached = "" if target is None else "yes" if row["ratio"] >= target else "no"
        aim = "" if target is None else f"{target:,.4g}"
        lines.append(
            f"{row['name']:{width}} {duration(row['ours_ns']):>9} {duration(row['peer_ns']):>9} "
            f"{row['ratio']:>8,.1f} {aim:>8} {reached:>3} {row['peer']}"
        )
    return "\n".join(lines)


def report(rows: Sequence[Row], repeats: int, as_json: bool) -> int:
    """Measure the rows and print them, or what was unequal; returns the exit code."""
    found, failures = measured(rows, repeats)
    if failures:
        print("results differ, so no time is given:", *failures, sep="\n", file=sys.stderr)
        return 1
    print(json.dumps(found, indent=1) if as_json else table(found))
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON list on stdout")
    parser.add_argument("--only", metavar="PATTERN", default="", help="rows whose name matches")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="measurements of each side")
    options = parser.parse_args(argv)
    if options.repeats < 1:
        parser.error(f"--repeats must be at least 1, was {options.repeats}")
    try:
        options.only = re.compile(options.only, re.IGNORECASE)
    except re.error as error:
        parser.error(f"--only must be a regular expression: {error}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chosen rows; 0 done, 1 results differ, 2 bad usage."""
    options = arguments(argv)
    rows = [row for row in all_rows() if options.only.search(row.name)]
    if not rows:
        print(f"no row's name matches {options.only.pattern}", file=sys.stderr)
        return 2
    return report(rows, options.repeats, options.json)


if __name__ == "__main__":
    sys.exit(main())
