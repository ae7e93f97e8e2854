"""Changepoint detection, measured: speed beside fast-bocpd, delay beside Page's CUSUM, coverage of
the fitted hazard, and when it alarms on recorded breaks.

    .venv/bin/python bench/changepoints.py [--part speed --part delay ...] [--json]

speed     microseconds an observation, with the peer's posterior held to equality first.
delay     200 series a scenario, the break after 1,000 values; the detector is fitted to an
          unbroken window, the CUSUM set to the detector's false alarms on 200,000 values.
coverage  100 series of the model itself at each hazard: how often the 95 % interval is right.
recorded  BTC in USDC against BTC in USDT around 2023-03-10, LINK against UNI around 2022-05-09.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numba
import numpy as np
import numpy.typing as npt

from hft_lib.fitting.bocd import FALSE_ALARMS_PER_10K, alarms, fit_bocd
from hft_lib.models import bocd
from hft_lib.parameters import BocdParameters

Vector = npt.NDArray[np.float64]
Rows = list[dict[str, Any]]

SERIES = 200
BEFORE, AFTER = 1_000, 200
UNBROKEN = 200_000
WINDOW = 5_000
RECORDED = Path(__file__).resolve().parents[2] / "shared" / "data"


def prior(hazard: float) -> BocdParameters:
    """One observation's worth of prior."""
    return BocdParameters(
        hazard=hazard, prior_mean=0.0, prior_kappa=1.0, prior_alpha=1.0, prior_beta=1.0
    )


# --- speed ----------------------------------------------------------------------------------------


def peer(hazard: float, cap: int) -> Any:
    """fast-bocpd with the same prior."""
    from fast_bocpd import BOCPD, ConstantHazard, GaussianNIG

    return BOCPD(GaussianNIG(0.0, 1.0, 1.0, 1.0), ConstantHazard(1.0 / hazard), cap)


def assert_equal_to_peer(size: int = 400, hazard: float = 0.004) -> float:
    """The largest difference of the two posteriors over `size` values, neither capped.

    The peer lets a change come before a value, we after it (Adams & MacKay): its run length n - 1
    is our n, given that no change follows, so ours is (1 - hazard) times its. Its first regime has
    two places, begun at the first value and before it: together they are our longest run.
    """
    values = np.random.default_rng(1).normal(size=size)
    values[size // 2 :] += 2.0
    ours = bocd.run_posterior(bocd.params_row(prior(hazard)), values, np.arange(size + 2.0), 500)
    other, worst = peer(hazard, size + 1), 0.0
    for t in range(size):
        theirs = other.update(values[t])[0]
        expected = np.append(theirs[:t], theirs[t] + theirs[t + 1]) * (1.0 - hazard)
        worst = max(worst, float(np.abs(ours[t, 1 : t + 2] - expected).max()))
    assert worst < 1e-10, worst
    return worst


def speed() -> Rows:
    """Least time an observation over many short turns, the two alternating."""
    difference = assert_equal_to_peer()
    return [{"difference": difference} | speed_at(cap) for cap in (64, 200, 1000)]


def speed_at(cap: int, turns: int = 60) -> dict[str, Any]:
    """Both detectors long past their caps."""
    row, values = bocd.params_row(prior(0.004)), np.random.default_rng(0).normal(size=cap)
    state, other = bocd.new_states(1, cap), peer(0.004, cap)
    bocd.start(row[0], state[0])
    stepping = [values, np.zeros(1)]
    for part in stepping:
        bocd.run(row, part, state=state)
        other.batch_update(part)
    bocd.step(row[0], state[0], 0.0)
    ours, theirs, steps = math.inf, math.inf, math.inf
    for _ in range(turns):
        ours = min(ours, seconds(lambda: bocd.run(row, values, state=state)) / values.size)
        theirs = min(theirs, seconds(lambda: other.batch_update(values[:50])) / 50)
        for value in values[:50].tolist():
            steps = min(steps, seconds(partial(bocd.step, row[0], state[0], value)))
    return {
        "cells": cap,
        "run_us": 1e6 * ours,
        "step_from_python_us": 1e6 * steps,
        "fast_bocpd_us": 1e6 * theirs,
        "ratio": theirs / ours,
    }


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# --- delay ----------------------------------------------------------------------------------------


def normal(rng: np.random.Generator, size: int) -> Vector:
    """Standard normal values."""
    return rng.normal(size=size)


def heavy(rng: np.random.Generator, size: int) -> Vector:
    """Student's t with 4 degrees of freedom, of variance 1."""
    return rng.standard_t(4, size) / math.sqrt(2.0)


def scored(rng: np.random.Generator, size: int) -> Vector:
    """The same through its own distribution function to the normal's: what GARCH-t can hand on."""
    from scipy import stats

    return stats.norm.ppf(stats.t.cdf(heavy(rng, size) * math.sqrt(2.0), 4))


def autocorrelated(values: Vector) -> Vector:
    """AR(1) with coefficient 0.9 and these shocks: the spread no longer comes back."""
    out, last = np.empty(values.size), 0.0
    for t, value in enumerate(values.tolist()):
        last = 0.9 * last + value
        out[t] = last
    return out


BREAKS: dict[str, Callable[[Vector], Vector]] = {
    "variance x4": lambda values: 2.0 * values,
    "mean shift 2 sd": lambda values: values + 2.0,
    "relation (AR 0.9)": autocorrelated,
}


def _page(values: Vector, bound: float) -> Vector:
    """Page's CUSUM of three log likelihood ratios: the mean 2 up, 2 down, the variance times 4.

    Returns 1 where one of them passes `bound`; then all begin anew.
    """
    out = np.zeros(values.size)
    up = down = wide = 0.0
    for t in range(values.size):
        x = values[t]
        up = max(0.0, up + 2.0 * x - 2.0)
        down = max(0.0, down - 2.0 * x - 2.0)
        wide = max(0.0, wide + 0.375 * x * x - 0.6931471805599453)
        if max(up, down, wide) > bound:
            out[t] = 1.0
            up = down = wide = 0.0
    return out


page: Any = numba.njit(_page)


def page_bound(unbroken: Vector, alarms_wanted: float) -> float:
    """The bound at which Page's CUSUM alarms so often on `unbroken`."""
    low, high = 1.0, 200.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (
            (middle, high) if page(unbroken, middle).sum() > alarms_wanted else (low, middle)
        )
    return high


def delay() -> Rows:
    """Each kind of value, each break, each detector."""
    rows: Rows = []
    for draw in (normal, heavy, scored):
        params = fit_bocd(draw(np.random.default_rng(7), WINDOW)).params
        unbroken = draw(np.random.default_rng(9), UNBROKEN)
        false = alarmed(params, unbroken).size
        bound = page_bound(unbroken, max(false, 1.0))
        found = {
            "bocd": (lambda values, p=params: alarmed(p, values), false),
            "cusum": (
                lambda values, b=bound: np.flatnonzero(page(values, b)),
                int(page(unbroken, bound).sum()),
            ),
        }
        for scenario, broken in BREAKS.items():
            series = [broken_series(draw, broken, seed) for seed in range(SERIES)]
            for detector, (alarm, false_alarms) in found.items():
                rows.append(
                    {"values": draw.__name__, "break": scenario, "detector": detector}
                    | delays(alarm, series)
                    | {"false_per_10k": 1e4 * false_alarms / UNBROKEN}
                )
    return rows


def alarmed(params: BocdParameters, values: Vector) -> npt.NDArray[np.int64]:
    """Where the detector's alarms begin."""
    recent = bocd.run(bocd.params_row(params), values)["recent_probability"]
    return alarms(recent, params.alarm_probability, params.alarm_run_length)


def broken_series(
    draw: Callable[[np.random.Generator, int], Vector],
    broken: Callable[[Vector], Vector],
    seed: int,
) -> Vector:
    """1,000 values, then the break and 200 more."""
    rng = np.random.default_rng(1_000 + seed)
    return np.concatenate([draw(rng, BEFORE), broken(draw(rng, AFTER))])


def delays(alarm: Callable[[Vector], Any], series: list[Vector]) -> dict[str, Any]:
    """Values from the break to the first alarm after it; missed: none within 200."""
    firsts = []
    for values in series:
        after = [at - BEFORE + 1 for at in alarm(values).tolist() if at >= BEFORE]
        firsts.append(after[0] if after else math.inf)
    ordered = sorted(firsts)
    return {
        "delay_median": ordered[len(ordered) // 2],
        "delay_90": ordered[int(0.9 * len(ordered))],
        "missed": sum(math.isinf(first) for first in firsts) / len(firsts),
    }


# --- coverage -------------------------------------------------------------------------------------


def regimes(size: int, hazard: float, seed: int) -> Vector:
    """Values of the model itself: each regime's mean and variance come from the prior."""
    rng, values = np.random.default_rng(seed), np.empty(size)
    mean = sd = 0.0
    for t in range(size):
        if t == 0 or rng.random() < hazard:
            sd = math.sqrt(1.0 / rng.gamma(1.0))
            mean = sd * rng.normal()
        values[t] = mean + sd * rng.normal()
    return values


def coverage(series: int = 100, size: int = 2_000) -> Rows:
    """Fits of many series: the share of 95 % intervals of log hazard that hold the truth."""
    rows: Rows = []
    for hazard in (0.005, 0.01, 0.02):
        fits = [fit_bocd(regimes(size, hazard, seed)) for seed in range(series)]
        held = 0
        for fit in fits:
            error = fit.standard_errors["hazard"]
            if error is not None:
                distance = abs(math.log(fit.params.hazard / hazard)) * fit.params.hazard / error
                held += distance < 1.96
        median = float(np.median([fit.params.hazard for fit in fits]))
        converged = sum(fit.converged for fit in fits)
        rows.append(
            {"hazard": hazard, "median": median, "covered": held, "converged": converged}
            | {"series": series}
        )
    return rows


# --- recorded -------------------------------------------------------------------------------------


def recorded() -> Rows:
    """Calibrate before each break, then step through it: the first alarms."""
    depeg = RECORDED / "multivenue_btc_1m_202303_usdc_depeg"
    luna = RECORDED / "binance_spot_5m_202201_202208_luna"
    if not RECORDED.is_dir():
        return [{"skipped": "no recorded market data beside the repository: shared/data"}]
    return [
        first_alarms(
            "BTCUSDC~BTCUSDT", depeg / "binance_btcusdc.parquet", depeg / "binance_btcusdt.parquet",
            60_000, "2023-03-01", "2023-03-09", "2023-03-10T21:00", "2023-03-13",
        ),
        first_alarms(
            "LINK~UNI", luna / "LINKUSDT.parquet", luna / "UNIUSDT.parquet",
            300_000, "2022-02-01", "2022-05-01", "2022-05-07T21:00", "2022-05-20",
        ),
    ]  # fmt: skip


def first_alarms(
    pair: str,
    y_file: Path,
    x_file: Path,
    bar_ms: int,
    begin: str,
    split: str,
    broke: str,
    end: str,
) -> dict[str, Any]:
    """Fit on [begin, split), step through [split, end): the alarms before and after `broke`."""
    from hft_lib.fitting.calibrate import calibrate
    from hft_lib.fitting.grid import grid_moments
    from hft_lib.models import garch, kalman

    closes = {path: close_by_time(path, bar_ms) for path in (y_file, x_file)}
    shared = sorted(set(closes[y_file]) & set(closes[x_file]))
    times = np.array([t for t in shared if ns(begin) <= t < ns(end)], dtype=np.int64)
    y, x = (np.log([closes[path][t] for t in times.tolist()]) for path in (y_file, x_file))
    known = times < ns(split)
    found = calibrate(times[known], y[known], x[known], pair)
    at, steps = grid_moments(times, found.params.grid_ms)
    filtered = kalman.run(kalman.params_row(found.params.kalman), y[at], x[at], steps)
    track = garch.run(garch.params_row(found.params.garch), filtered["innovation"].copy(), steps)
    params, grid = found.params.bocd, times[at]
    where = alarmed(params, track["standardised"].copy())
    moments = [int(grid[i]) for i in where if grid[i] >= ns(split)]
    after = [moment for moment in moments if moment >= ns(broke)]
    quiet = int(((grid >= ns(split)) & (grid < ns(broke))).sum())
    return {
        "pair": pair,
        "grid_s": found.params.grid_ms / 1e3,
        "dof": found.params.garch.dof,
        "hazard": params.hazard,
        "alarm_probability": params.alarm_probability,
        "alarms_before": len(moments) - len(after),
        "grid_steps_before": quiet,
        "first_after": str(np.datetime64(after[0], "ns"))[:16] if after else "none",
        "minutes_after": (after[0] - ns(broke)) / 6e10 if after else math.inf,
    }


def close_by_time(path: Path, bar_ms: int) -> dict[int, float]:
    """Close by the time at which it is known, ns."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["ts", "close"])
    pairs = zip(table["ts"].to_pylist(), table["close"].to_pylist(), strict=True)
    return {(ts + bar_ms) * 1_000_000: close for ts, close in pairs}


def ns(moment: str) -> int:
    """ISO 8601 in UTC as nanoseconds since 1970."""
    return int(np.datetime64(moment, "ns").astype(np.int64))


PARTS: dict[str, Callable[[], Rows]] = {
    "speed": speed,
    "delay": delay,
    "coverage": coverage,
    "recorded": recorded,
}


def main() -> None:
    """Measure the parts asked for and print each row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--part", action="append", choices=list(PARTS), help="may be repeated")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    found = {name: PARTS[name]() for name in options.part or PARTS}
    if options.json:
        found["false_alarms_per_10k_wanted"] = [{"value": FALSE_ALARMS_PER_10K}]
        print(msgspec.json.encode(found).decode())
        return
    for name, rows in found.items():
        print(name)
        for row in rows:
            cells = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
            print("   " + "  ".join(cells))


if __name__ == "__main__":
    main()
