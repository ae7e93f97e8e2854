"""A made-up market whose truth is known: a perpetual (y) and the spot (x) that it follows.

The relation drifts, turns turbulent, and breaks once, late (`synthetic_paths`). Around that:
outages, fundings, thin tops, and quotes planted wrong (`synthetic_quotes`). One seed gives one
market, to the bit.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hft_lib.events import MarketEvent
from hft_lib.market import synthetic_paths, synthetic_quotes
from hft_lib.market.merge import DAY_NS
from hft_lib.market.synthetic_paths import SyntheticMarket, Times, Vector, ticks
from hft_lib.market.tape import Tape, TapeWriter

__all__ = ["SyntheticMarket", "Truth", "synthesise", "ticks", "write", "write_truth"]

Progress = Callable[[int], None]
MakePaths = Callable[[np.random.Generator, SyntheticMarket, Times], dict[str, Any]]

TRUTH = "truth.json"
TRUTH_ROWS = "truth.parquet"


class Truth(msgspec.Struct, frozen=True):
    """What the quotes were made from, (steps,) each; `turbulent` is 1.0 on turbulent days."""

    time_ns: Times
    x_log_price: Vector
    y_log_price: Vector
    hedge_ratio: Vector
    intercept: Vector
    spread: Vector
    turbulent: Vector
    half_quoted_spread_bp: Vector
    break_ns: int
    outages: list[tuple[int, int]]
    flaws: dict[str, int]


def synthesise(
    seed: int,
    market: SyntheticMarket = SyntheticMarket(),
    make_paths: MakePaths = synthetic_paths.paths,
) -> tuple[Iterator[MarketEvent], Truth]:
    """The events of the market of `seed`, in time order, and its truth; one seed, one market.

    `make_paths` makes the relation; by default the plain market's.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    time_ns = synthetic_paths.times(random, market)
    paths = make_paths(random, market, time_ns)
    outages = synthetic_paths.outages(random, market, time_ns)
    quotes = synthetic_quotes.quotes(random, market, paths, time_ns, outages)
    flaws = synthetic_quotes.plant_flaws(random, market, quotes)
    special = synthetic_quotes.instruments(market) + synthetic_quotes.fundings(
        random, market, paths, time_ns
    )
    truth = Truth(time_ns=time_ns, outages=outages, flaws=flaws, **paths)
    return synthetic_quotes.events(quotes, (market.x_symbol, market.y_symbol), special), truth


def write(
    seed: int,
    out: Path | str,
    market: SyntheticMarket = SyntheticMarket(),
    progress: Progress | None = None,
    replace: bool = False,
    make_paths: MakePaths = synthetic_paths.paths,
    source: dict[str, Any] | None = None,
) -> Tape:
    """Write the market of `seed` as a tape at `out`, with `truth.json` and `truth.parquet` in it.

    `progress` is told the rows of each group written; `source` is what the manifest says beside
    market and seed. Raises TapeError where `out` is taken.
    """
    events, truth = synthesise(seed, market, make_paths)
    known = {"synthetic": msgspec.to_builtins(market), "seed": seed} | (source or {})
    with TapeWriter(out, known, replace) as tape:
        tape.write(events, progress)
        write_truth(tape.directory, seed, market, truth)
    return Tape.open(out)


def write_truth(directory: Path, seed: int, market: SyntheticMarket, truth: Truth) -> None:
    """Write what the market was made from: magnitudes and days in JSON, steps in Parquet."""
    steps = {
        name: getattr(truth, name)
        for name in ("time_ns", "hedge_ratio", "intercept", "spread", "turbulent")
    }
    pq.write_table(pa.table(steps), directory / TRUTH_ROWS, compression="zstd")
    document = {
        "seed": seed,
        "market": msgspec.to_builtins(market),
        "break_ns": truth.break_ns,
        "outages": truth.outages,
        "flaws": truth.flaws,
        "days": list(_days(truth)),
    }
    content = msgspec.json.format(msgspec.json.encode(document), indent=1)
    (directory / TRUTH).write_bytes(content + b"\n")


def _days(truth: Truth) -> Iterator[dict[str, Any]]:
    """Each UTC day: the relation at its end, the spread's standard deviation, the regime."""
    day = truth.time_ns // DAY_NS
    starts = np.flatnonzero(np.diff(day, prepend=day[0] - 1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(day)]):
        broke = bool(truth.time_ns[start] <= truth.break_ns <= truth.time_ns[end - 1])
        calm = "turbulent" if truth.turbulent[start] else "calm"
        yield {
            "day": str(np.datetime64(int(day[start]), "D")),
            "hedge_ratio": float(truth.hedge_ratio[end - 1]),
            "intercept": float(truth.intercept[end - 1]),
            "spread_sd": float(np.std(truth.spread[start:end])),
            "regime": "break" if broke else calm,
        }
