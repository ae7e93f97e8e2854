"""Pair selection against what it has to hold: speed, claims that last, claims where nothing is.

    .venv/bin/python bench/pairs.py DATA [--part speed|forward|null] [--months N] [--json]

DATA holds `binance_spot_1h_close_202101_202506/close_wide.parquet`: hourly closes of 60 coins, with
a column `ts` in ms. Nothing of it is kept.

    speed     all pairs from a tape, as `hft pairs scan` does it, beside a loop of statsmodels'
              `coint` over a sample of the same pairs
    forward   what is claimed in one half-year (or `--months`), how much of it is of one asset in
              two wrappers, and whether the pair is found again in the next window by the bare test;
              beside it, what picking every pair with p < 0.05 in its better direction does
    null      blocks of recorded returns put together anew, the same blocks for all coins: nothing
              holds together beyond a block, so each claim is a false one
"""

import argparse
import json
import tempfile
import time
import warnings
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from hft_lib.fitting.selection import pairs
from hft_lib.fitting.selection.p_values import better_direction, p_asymptotic, q_values
from hft_lib.market.imports import import_sources
from hft_lib.market.panel import Panel, read_panel
from hft_lib.market.tape import Tape
from hft_lib.market.wide_bars import wide_source

WIDE = "binance_spot_1h_close_202101_202506/close_wide.parquet"
MONTH_POINTS = 730
WRAPPERS = {frozenset(("WBETH/USDT", "ETH/USDT"))}
SAMPLE = 2
BLOCK_POINTS = 168
NULL_POINTS = 2_000
NULL_COINS = 12
NULL_MARKETS = 100
NAIVE_P = 0.05


def track(items: Any, told: str) -> Any:
    """`items`, with a progress bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import track as track_on

    return track_on(items, told, console=Console(stderr=True), transient=True)


def speed(tape: Tape) -> dict[str, Any]:
    """Seconds of a scan from the tape, and of statsmodels for one of its pairs."""
    from statsmodels.tsa.stattools import coint

    warm = np.random.default_rng(1).normal(size=(3, 200)).cumsum(axis=1)
    pairs.scan(("A", "B", "C"), np.arange(200), warm)
    began, used = time.perf_counter(), time.process_time()
    panel = read_panel(tape)
    found = pairs.scan(panel.symbols, panel.time_ns, panel.log_mid)
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    peer = []
    for one, other in list(combinations(range(len(panel.symbols)), 2))[:: found.tested // SAMPLE]:
        points = np.isfinite(panel.log_mid[one]) & np.isfinite(panel.log_mid[other])
        y, x = panel.log_mid[one, points], panel.log_mid[other, points]
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            coint(y, x), coint(x, y)
        peer.append(time.process_time() - start)
    ours_s = cpu / len(found.findings)
    return {
        "pairs": len(found.findings),
        "points": panel.time_ns.size,
        "scan_s": seconds,
        "scan_cpu_s": cpu,
        "coint_cpu_s_per_pair": float(np.mean(peer)),
        "ratio": float(np.mean(peer)) / ours_s,
        "claimed": len(found.claimed),
    }


def forward(panel: Panel, months: int) -> list[dict[str, Any]]:
    """Of each window of `months`: claims, and how many of them are found in the next one at 5 %."""
    width = months * MONTH_POINTS
    starts = range(0, panel.time_ns.size - width // 2, width)
    shown = track(starts, f"walking forward by {months} months")
    windows = [_window(panel, start, width) for start in shown]
    rows = []
    for number, now in enumerate(windows):
        following = windows[number + 1].findings if number + 1 < len(windows) else ()
        after = {frozenset(f.pair.split("~")): f for f in following if f.tested}
        naive = [f for f in now.findings if f.p_directions and min(f.p_directions) < NAIVE_P]
        wrappers = [f for f in now.claimed if frozenset(f.pair.split("~")) in WRAPPERS]
        rows.append(
            {
                "window": str(np.datetime64(int(panel.time_ns[starts[number]]), "ns"))[:10],
                "tested": now.tested,
                "claimed": len(now.claimed),
                "of_wrappers": len(wrappers),
                "held": _held(now.claimed, after),
                "naive": len(naive),
                "naive_held": _held(naive, after),
                "any_held": sum(_small(f) for f in after.values()),
                "pairs": [f.pair for f in now.claimed],
            }
        )
    return rows


def _window(panel: Panel, start: int, width: int) -> pairs.Selection:
    cut = slice(start, start + width)
    return pairs.scan(panel.symbols, panel.time_ns[cut], panel.log_mid[:, cut])


def _small(finding: pairs.Finding) -> bool:
    """Whether the bare test has p < 0.05, both directions counted."""
    return (1.0 if finding.p_asymptotic is None else finding.p_asymptotic) < NAIVE_P


def _held(found: list[pairs.Finding], after: dict[frozenset[str], pairs.Finding]) -> int:
    """How many of `found` hold in the next window by the bare test."""
    later = (after.get(frozenset(finding.pair.split("~"))) for finding in found)
    return sum(one is not None and _small(one) for one in later)


def null(path: Path, markets: int) -> dict[str, Any]:
    """The share of markets without any relation in which something is claimed."""
    table = pq.read_table(path)
    names = [name for name in table.column_names if name not in ("ts", "WBETH")]
    closes = np.stack([table.column(name).to_numpy() for name in names])
    whole = np.isfinite(closes).mean(axis=1) > 0.999
    returns = np.nan_to_num(np.diff(np.log(closes[whole]), axis=1))
    rng = np.random.default_rng(1)
    any_claimed = {"ours": 0, "by, asymptotic p": 0, "bh, asymptotic p": 0, "p < 0.05": 0}
    for _ in track(range(markets), "markets without a relation"):
        walks = _walks(rng, returns)
        found = pairs.scan(
            tuple(map(str, range(NULL_COINS))), np.arange(walks.shape[1]) * 3600 * 10**9, walks
        )
        statistics = np.array([f.statistics for f in found.findings if f.statistics])
        p_values = better_direction(p_asymptotic(statistics))
        any_claimed["ours"] += bool(found.claimed)
        any_claimed["by, asymptotic p"] += bool((q_values(p_values, "by") <= pairs.LEVEL).any())
        any_claimed["bh, asymptotic p"] += bool((q_values(p_values, "bh") <= pairs.LEVEL).any())
        any_claimed["p < 0.05"] += bool((p_asymptotic(statistics).min(axis=1) < NAIVE_P).any())
    share = {name: count / markets for name, count in any_claimed.items()}
    return {"markets": markets, "pairs": NULL_COINS * (NULL_COINS - 1) // 2, "share": share}


def _walks(rng: np.random.Generator, returns: Any) -> Any:
    """Log prices (coins, points) of blocks of one week drawn with replacement."""
    coins = rng.choice(returns.shape[0], NULL_COINS, replace=False)
    starts = rng.integers(0, returns.shape[1] - BLOCK_POINTS, -(-NULL_POINTS // BLOCK_POINTS))
    points = (starts[:, None] + np.arange(BLOCK_POINTS)).ravel()[:NULL_POINTS]
    return np.cumsum(returns[coins][:, points], axis=1)


def measure(data: Path, parts: list[str], markets: int, months: int) -> dict[str, Any]:
    """The parts asked for, over the data."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        if {"speed", "forward"} & set(parts):
            began = time.perf_counter()
            source = wide_source(data / WIDE, 2.0)
            tape, _ = import_sources([source], Path(folder) / "tape", {})
            found["import_s"] = time.perf_counter() - began
            if "speed" in parts:
                found["speed"] = speed(tape)
            if "forward" in parts:
                found["forward"] = forward(read_panel(tape), months)
    if "null" in parts:
        found["null"] = null(data / WIDE, markets)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", action="append", choices=("speed", "forward", "null"))
    parser.add_argument("--markets", type=int, default=NULL_MARKETS, help="of the part null")
    parser.add_argument("--months", type=int, default=6, help="of a window of the part forward")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    parts = options.part or ["speed", "forward", "null"]
    found = measure(options.data, parts, options.markets, options.months)
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name}:")
        for row in value if isinstance(value, list) else [value]:
            print(f"  {row}")


if __name__ == "__main__":
    main()
