"""What a tick costs: the six stages with six slots over synthetic ticks, as `hft replay` runs them,
on one core; and in the compiled loop of `hft backtest`, which reads ahead on another.

    .venv/bin/python bench/replay.py [--ticks 10000 --ticks 1000000] [--json]

Each size runs in a process of its own, from a tape on disk, after the kernels are compiled; making
the tape is not timed. The cost a tick must not grow with the length, nor the memory. Where the
orders of the two are not the same there are no times.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.timing import Unequal
from hft_lib.backtest.fused import FusedLine
from hft_lib.backtest.fused_rows import Prepared, events_in, prepared_feed
from hft_lib.backtest.tally import Tally
from hft_lib.events import Registered
from hft_lib.line import LineConfig, PairConfig
from hft_lib.market import synthetic
from hft_lib.market.merge import feed_events
from hft_lib.market.pairs import legs_of
from hft_lib.market.tape import Tape
from hft_lib.parameters import (
    BocdParameters,
    GarchParameters,
    KalmanParameters,
    Parameters,
    StrategyParameters,
    parameter_sha256,
)
from hft_lib.stage import Line

PAIR = "SYN/USDT:USDT~SYN/USDT"
GRID_MS = 1000
CHALLENGERS = 4  # with the champion and the predecessor: six slots
SIZES = (10_000, 100_000, 1_000_000)


def parameters(entry_z: float) -> Parameters:
    """A set that trades the synthetic ticks."""
    return Parameters(
        grid_ms=GRID_MS,
        kalman=KalmanParameters(
            intercept_drift_var=1e-10,
            hedge_drift_var=1e-10,
            noise_var=6e-6,
            intercept_prior_mean=0.0,
            intercept_prior_var=1e-2,
            hedge_prior_mean=1.0,
            hedge_prior_var=1e-4,
        ),
        garch=GarchParameters(
            mean=0.0, omega=3e-7, alpha=0.05, beta=0.9, variance_prior=6e-6, dof=None
        ),
        bocd=BocdParameters(
            hazard=0.001, prior_mean=0.0, prior_kappa=1.0, prior_alpha=1.0, prior_beta=1.0
        ),
        strategy=StrategyParameters(
            entry_z=entry_z,
            exit_z=0.3,
            stop_z=8.0,
            horizon_s=1.0,
            risk_fraction=0.001,
            gross_fraction_max=0.5,
            edge_cost_ratio_min=0.0,
            warmup_s=5.0,
        ),
    )


def measure(path: Path) -> dict[str, Any]:
    """Run the line over the tape at `path`: ticks, seconds, the peak of resident memory."""
    tape = Tape.open(path)
    warm(tape)
    line, tally = new_line(tape.start_ns), Tally()
    began = time.perf_counter()
    for event in feed_events(tape):
        tally.events += 1
        for _, fact in line.post("ingestion", event):
            tally.take(fact)
    seconds = time.perf_counter() - began
    resident_mb = resident_peak_mb()
    backtest_s = time_of_backtest(tape, tally)
    return {
        "backtest_ns_per_tick": 1e9 * backtest_s / tally.events,
        "backtest_ratio": seconds / backtest_s,
        "ticks": tally.events,
        "seconds": seconds,
        "us_per_tick": 1e6 * seconds / tally.events,
        "ticks_per_s": tally.events / seconds,
        "orders": tally.orders,
        "fills": tally.fills,
        "resident_mb": resident_mb,
        "orders_sha256": tally.orders_sha256(),
    }


def time_of_backtest(tape: Tape, replayed: Tally) -> float:
    """Seconds of the compiled loop over `tape`; Unequal where its orders are not `replayed`'s."""
    line, tally = FusedLine(line_config()), Tally()
    for said in registry(tape.start_ns):
        line.post("orchestrator", said)
    began = time.perf_counter()
    for brought in prepared_feed(tape, None, None, legs_of(PAIR)):
        tally.events += events_in(brought)
        for _, fact in line.feed(brought):
            tally.take(fact)
    seconds = time.perf_counter() - began
    found, expected = ((each.events, each.orders_sha256()) for each in (tally, replayed))
    if found != expected:
        raise Unequal("events and orders", found, expected, "none")
    return seconds


def resident_peak_mb() -> float:
    """Peak of this process's resident memory; getrusage would count the parent's as well."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def line_config(pairs: tuple[str, ...] = (PAIR,)) -> LineConfig:
    """Six slots a pair."""
    items = tuple(PairConfig(pair=pair, capital_quote=10_000.0) for pair in pairs)
    return LineConfig(pairs=items, grid_ms=GRID_MS, challengers_max=CHALLENGERS)


def registry(start_ns: int, pairs: tuple[str, ...] = (PAIR,)) -> Iterator[Registered]:
    """Of each pair a champion and four challengers; the predecessor's row waits."""
    for pair in pairs:
        for number in range(CHALLENGERS + 1):
            params = parameters(1.5 + 0.1 * number)
            alias = "champion" if number == 0 else f"challenger-{number}"
            sha = parameter_sha256(params)
            yield Registered(start_ns, pair, alias, params, sha, "", "", "", "")


def new_line(start_ns: int, pairs: tuple[str, ...] = (PAIR,)) -> Line:
    """The six stages with all that the registry holds."""
    from serving.services import stages

    line = Line(stages(), line_config(pairs))
    for said in registry(start_ns, pairs):
        line.post("orchestrator", said)
    return line


def warm(tape: Tape) -> None:
    """Compile what both compile, on the first events."""
    line, fused = new_line(tape.start_ns), FusedLine(line_config())
    for count, event in enumerate(feed_events(tape)):
        line.post("ingestion", event)
        if count > 5_000:
            break
    for brought in prepared_feed(tape, None, None, legs_of(PAIR)):
        list(fused.feed(brought))
        if isinstance(brought, Prepared):
            return


def main() -> None:
    """Measure each size in a process of its own and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--ticks", type=int, action="append", help="a length; may be repeated")
    parser.add_argument("--json", action="store_true", help="one JSON list on stdout")
    parser.add_argument("--tape", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tape:
        print(json.dumps(measure(options.tape)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for ticks in options.ticks or SIZES:
            path = Path(folder) / str(ticks)
            synthetic.write(7, path, synthetic.ticks(ticks, spread_half_life_s=10.0))
            command = [sys.executable, __file__, "--tape", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout))
    if options.json:
        print(json.dumps(rows))
        return
    print(
        f"{'ticks':>10} {'µs a tick':>10} {'ticks/s':>10} {'orders':>8} {'resident MB':>12} "
        f"{'back-test, ns':>14} {'ratio':>6}"
    )
    for row in rows:
        print(
            f"{row['ticks']:>10,} {row['us_per_tick']:>10.2f} {row['ticks_per_s']:>10,.0f} "
            f"{row['orders']:>8,} {row['resident_mb']:>12.0f} "
            f"{row['backtest_ns_per_tick']:>14.0f} {row['backtest_ratio']:>6.1f}"
        )


if __name__ == "__main__":
    main()
