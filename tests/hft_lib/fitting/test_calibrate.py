"""Calibration on recorded markets and on simulated pairs: what holds together and what does not."""

import gzip
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hft_lib.fitting.calibrate import Calibration, calibrate, default_strategy
from hft_lib.fitting.grid import grid_moments
from hft_lib.fitting.result import FitRefused
from hft_lib.models import kalman
from hft_lib.parameters import check_parameters

NS = 1_000_000_000


def nanoseconds(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * NS


def closes(path: Path) -> tuple[Any, Any]:
    """Close times (ns) and log closes of a bar file: a bar is known at its close."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(path, columns=["ts", "close"])
    opened = table["ts"].to_numpy()
    return (opened + int(np.median(np.diff(opened)))) * 1_000_000, np.log(table["close"].to_numpy())


def joined(y: Path, x: Path, start: str, end: str) -> tuple[Any, Any, Any]:
    """Times and log prices of both where both are known, within the window."""
    (ty, ly), (tx, lx) = closes(y), closes(x)
    times, iy, ix = np.intersect1d(ty, tx, return_indices=True)
    inside = (times >= nanoseconds(start)) & (times < nanoseconds(end))
    return times[inside], ly[iy][inside], lx[ix][inside]


def simulated(size: int, seed: int, step_ns: int = 60 * NS) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    x, spread = 11.0 + np.cumsum(rng.normal(0.0, 5e-4, size)), np.zeros(size)
    for t in range(1, size):
        spread[t] = 0.8 * spread[t - 1] + rng.normal(0.0, 2e-4)
    times = nanoseconds("2024-01-01") + np.arange(size, dtype=np.int64) * step_ns
    return times, 0.01 + 0.9 * x + spread, x


@pytest.fixture(scope="module")
def perpetual_and_spot(market_data: Path) -> Calibration:
    moments = joined(
        market_data / "binance_usdm_perp_1m_202505_202506" / "BTCUSDT_PERP.parquet",
        market_data / "binance_spot_5m_202501_202506_pegged" / "BTCUSDT.parquet",
        "2025-05-05",
        "2025-05-18",
    )
    return calibrate(*moments, "BTC/USDT:USDT~BTC/USDT")


def test_perpetual_and_spot_hold_together(perpetual_and_spot: Calibration) -> None:
    found = perpetual_and_spot
    assert found.relation.cointegrated
    assert found.relation.p_value < 1e-4
    assert found.relation.hedge_ratio == pytest.approx(1.001, abs=0.002)
    assert found.relation.half_life_s == pytest.approx(360.0, rel=0.3)
    assert found.params.grid_ms == 900_000
    assert all(fit.converged for fit in (found.kalman, found.garch, found.bocd))
    check_parameters(found.params)


def test_the_document_has_the_keys_of_the_contract(perpetual_and_spot: Calibration) -> None:
    document = json.loads(json.dumps(perpetual_and_spot.document()))
    assert {"pair", "observations", "start", "end", "kalman", "garch", "bocd"} <= set(document)
    assert document["start"] == "2025-05-05T00:00:00.000Z"
    for name in ("kalman", "garch", "bocd"):
        assert {"params", "standard_errors", "log_likelihood", "converged"} <= set(document[name])
        assert math.isfinite(document[name]["log_likelihood"])
    relation = {"hedge_ratio", "half_life_s", "p_value", "cointegrated"}
    assert relation <= set(document["relation"])


def test_ordinary_coins_are_not_claimed_to_hold_together(market_data: Path) -> None:
    folder = market_data / "binance_spot_5m_202501_202506_pegged"
    moments = joined(
        folder / "BTCUSDT.parquet", folder / "ETHUSDT.parquet", "2025-05-01", "2025-06-01"
    )
    found = calibrate(*moments, "BTC/USDT~ETH/USDT")
    assert not found.relation.cointegrated
    assert not found.kalman.converged or found.relation.p_value > 0.05


def book_tops(path: Path) -> tuple[Any, Any]:
    """Receive times (ns) and log mids of the best bid and ask in a recording of raw lines."""
    times, mids = [], []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            if "bookTicker" not in line:
                continue
            received, _, text = line.partition(" ")
            top = json.loads(text)["data"]
            times.append(int(received))
            mids.append((float(top["b"]) + float(top["a"])) / 2.0)
    return np.array(times, dtype=np.int64), np.log(mids)


def test_three_minutes_of_ticks_are_enough(market_data: Path) -> None:
    folder = market_data / "ticks_hftbacktest_20240808"
    ty, ly = book_tops(folder / "usdm_btcusdt_20240808.gz")
    tx, lx = book_tops(folder / "spot_btcusdt_20240808.gz")
    times = np.unique(np.concatenate([ty, tx]))
    times = times[(times >= max(ty[0], tx[0])) & (times < times[0] + 170 * NS)]
    y = ly[np.searchsorted(ty, times, side="right") - 1]
    x = lx[np.searchsorted(tx, times, side="right") - 1]
    found = calibrate(times, y, x, "BTC/USDT:USDT~BTC/USDT")
    assert found.relation.half_life_s is not None
    assert found.relation.half_life_s < 60.0
    assert found.observations >= 50
    assert found.params.strategy.warmup_s <= 17.0
    check_parameters(found.params)


def test_the_window_alone_decides() -> None:
    times, y, x = simulated(3000, 1)
    part = calibrate(times[:2000], y[:2000], x[:2000], "y~x")
    y[2000:] += 1.0
    assert calibrate(times[:2000], y[:2000], x[:2000], "y~x").document() == part.document()


def test_a_simulated_pair_is_recovered() -> None:
    told: list[str] = []
    found = calibrate(*simulated(6000, 2), "y~x", told.append)
    assert told == ["relation", "kalman", "garch", "changepoints"]
    assert found.relation.cointegrated
    assert found.relation.hedge_ratio == pytest.approx(0.9, abs=0.01)
    assert found.relation.half_life_s == pytest.approx(186.0, rel=0.2)
    assert found.params.grid_ms == 600_000
    assert found.params.garch.dof is None
    assert found.params.bocd.alarm_hold_s == 50 * 600.0  # as many grid steps as are recent


def test_a_run_from_the_priors_warms_within_the_warm_up() -> None:
    times, y, x = simulated(12_000, 3)
    found = calibrate(times[:6000], y[:6000], x[:6000], "y~x")
    indices, steps = grid_moments(times[6000:], found.params.grid_ms)
    row = kalman.params_row(found.params.kalman)
    track = kalman.run(row, y[6000:][indices], x[6000:][indices], steps)
    warm = round(found.params.strategy.warmup_s * 1e3 / found.params.grid_ms)
    z = track["innovation"][warm:] / np.sqrt(track["innovation_var"][warm:])
    assert 0.8 < float(z.std()) < 1.2
    assert track["hedge_ratio"][warm:] == pytest.approx(np.full(z.size, 0.9), abs=0.05)


def test_the_warm_up_is_thirty_steps_and_at_most_a_tenth_of_the_window() -> None:
    assert default_strategy(120.0, 60_000, 1e6).warmup_s == 1800.0
    assert default_strategy(120.0, 60_000, 1e4).warmup_s == 1000.0
    assert default_strategy(120.0, 60_000, 1e6).horizon_s == 120.0
    assert default_strategy(None, 60_000, 1e6).horizon_s == 60.0


@pytest.mark.parametrize(
    ("size", "message"),
    [(99, "moments must be at least 100, was 99"), (0, "moments must be at least 100, was 0")],
)
def test_a_short_window_is_refused(size: int, message: str) -> None:
    times, y, x = simulated(200, 4)
    with pytest.raises(FitRefused, match=message):
        calibrate(times[:size], y[:size], x[:size], "y~x")


def test_prices_that_do_not_move_are_refused() -> None:
    times, y, _ = simulated(500, 5)
    with pytest.raises(FitRefused, match="x must move"):
        calibrate(times, y, np.full(500, 11.0), "y~x")
