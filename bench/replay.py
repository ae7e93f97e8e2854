"""What a tick costs: the six stages with six slots over synthetic ticks, as `hft replay` runs them,
on one core.

    .venv/bin/python bench/replay.py [--ticks 10000 --ticks 1000000] [--json]

Each size runs in a process of its own, from a tape on disk, after the kernels are compiled; making
the tape is not timed. The cost a tick must not grow with the length, nor the memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hft_lib.backtest.tally import Tally
from hft_lib.events import Registered
from hft_lib.line import LineConfig, PairConfig
from hft_lib.market import synthetic
from hft_lib.market.merge import feed_events
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
    return {
        "ticks": tally.events,
        "seconds": seconds,
        "us_per_tick": 1e6 * seconds / tally.events,
        "ticks_per_s": tally.events / seconds,
        "orders": tally.orders,
        "fills": tally.fills,
        "resident_mb": resident_peak_mb(),
        "orders_sha256": tally.orders_sha256(),
    }


def resident_peak_mb() -> float:
    """Peak of this process's resident memory; getrusage would count the parent's as well."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def new_line(start_ns: int, pairs: tuple[str, ...] = (PAIR,)) -> Line:
    """Six slots a pair: the champion and four challengers run sets, the predecessor's row waits."""
    from serving.services import stages

    items = tuple(PairConfig(pair=pair, capital_quote=10_000.0) for pair in pairs)
    line = Line(stages(), LineConfig(pairs=items, grid_ms=GRID_MS, challengers_max=CHALLENGERS))
    for pair in pairs:
        for number in range(CHALLENGERS + 1):
            params = parameters(1.5 + 0.1 * number)
            alias = "champion" if number == 0 else f"challenger-{number}"
            sha = parameter_sha256(params)
            line.post(
                "orchestrator", Registered(start_ns, pair, alias, params, sha, "", "", "", "")
            )
    return line


def warm(tape: Tape) -> None:
    """Compile what the line compiles, on the first events."""
    line = new_line(tape.start_ns)
    for count, event in enumerate(feed_events(tape)):
        line.post("ingestion", event)
        if count > 5_000:
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
    print(f"{'ticks':>10} {'µs a tick':>10} {'ticks/s':>10} {'orders':>8} {'resident MB':>12}")
    for row in rows:
        print(
            f"{row['ticks']:>10,} {row['us_per_tick']:>10.2f} {row['ticks_per_s']:>10,.0f} "
            f"{row['orders']:>8,} {row['resident_mb']:>12.0f}"
        )


if __name__ == "__main__":
    main()
