"""Pairs for the campaign of `robust_kalman.py`: simulated ones of every kind, and recorded ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Generator = np.random.Generator

NOISE_SD = 3e-4
RECORDED_MAX = 50_000  # observations of a recorded pair


@dataclass(frozen=True)
class Pair:
    """Log prices (time,) of a pair, and the grid intervals before each."""

    name: str
    y: Vector
    x: Vector
    steps: npt.NDArray[np.int64]


def _walk(rng: Generator, size: int, sd: float) -> Vector:
    return np.cumsum(rng.normal(0.0, sd, size))


def _held(rng: Generator, prices: Vector, share: float) -> Vector:
    """Prices of which a share repeats the one before."""
    index = np.where(rng.random(prices.size) < share, 0, np.arange(prices.size))
    return prices[np.maximum.accumulate(index)]


def _drift_sd(rng: Generator) -> float:
    """A drift from a hundredth of the noise a step to as much as the noise."""
    return float(NOISE_SD * np.exp(rng.uniform(np.log(1e-2), 0.0)))


def _fixed(rng: Generator, size: int) -> tuple[Vector, Vector]:
    x = 11.0 + _walk(rng, size, 1e-3)
    return 0.1 + 0.97 * x + rng.normal(0.0, NOISE_SD, size), x


def _intercept(rng: Generator, size: int) -> tuple[Vector, Vector]:
    y, x = _fixed(rng, size)
    return y + _walk(rng, size, _drift_sd(rng)), x


def _hedge(rng: Generator, size: int) -> tuple[Vector, Vector]:
    y, x = _fixed(rng, size)
    return y + x * _walk(rng, size, _drift_sd(rng) / 11.0), x


def _both(rng: Generator, size: int) -> tuple[Vector, Vector]:
    y, x = _hedge(rng, size)
    return y + _walk(rng, size, _drift_sd(rng)), x


def _near_one(rng: Generator, size: int) -> tuple[Vector, Vector]:
    """A price near 1, whose logarithm is near 0: the two drifts are different things there."""
    x = _walk(rng, size, 1e-3)
    y = 0.1 + 0.97 * x + rng.normal(0.0, NOISE_SD, size) + x * _walk(rng, size, 3e-3)
    return y + _walk(rng, size, _drift_sd(rng)), x


def _noise_free(rng: Generator, size: int) -> tuple[Vector, Vector]:
    x = 11.0 + _walk(rng, size, 1e-3)
    noise = rng.normal(0.0, 1e-3 * NOISE_SD, size)
    return 0.1 + 0.97 * x + _walk(rng, size, NOISE_SD) + noise, x


def _heavy_tails(rng: Generator, size: int) -> tuple[Vector, Vector]:
    x = 11.0 + np.cumsum(1e-3 * rng.standard_t(3, size))
    noise = NOISE_SD * rng.standard_t(3, size)
    return 0.1 + 0.97 * x + noise + _walk(rng, size, _drift_sd(rng)), x


def _unchanged(rng: Generator, size: int) -> tuple[Vector, Vector]:
    y, x = _intercept(rng, size)
    return _held(rng, y, 0.6), _held(rng, x, 0.6)


def _level_shifts(rng: Generator, size: int) -> tuple[Vector, Vector]:
    y, x = _fixed(rng, size)
    for at in rng.integers(0, size, int(rng.integers(1, 5))):
        y[at:] += rng.normal(0.0, 20.0 * NOISE_SD)
    return y, x


def _still(rng: Generator, size: int) -> tuple[Vector, Vector]:
    """x hardly moves."""
    x = 11.0 + _walk(rng, size, 1e-7)
    return 0.1 + 0.97 * x + rng.normal(0.0, NOISE_SD, size) + _walk(rng, size, _drift_sd(rng)), x


KINDS: dict[str, Callable[[Generator, int], tuple[Vector, Vector]]] = {
    "fixed relation": _fixed,
    "intercept walks": _intercept,
    "hedge ratio walks": _hedge,
    "both walk": _both,
    "prices near 1": _near_one,
    "all but free of noise": _noise_free,
    "heavy tails": _heavy_tails,
    "60 % unchanged prices": _unchanged,
    "level shifts": _level_shifts,
    "x hardly moves": _still,
}


def simulated(number: int, seed: int, size_min: int = 200, size_max: int = 50_000) -> Pair:
    """The pair `number` of a seed: kinds in turn, lengths log-uniform, every third with gaps."""
    rng = np.random.default_rng((seed, number))
    kind = list(KINDS)[number % len(KINDS)]
    size = int(np.exp(rng.uniform(np.log(size_min), np.log(size_max))))
    y, x = KINDS[kind](rng, size)
    steps = np.ones(size, dtype=np.int64)
    if number % 3 == 2:
        steps[1:] = rng.geometric(0.7, size - 1)
        steps[size // 2] = 1000
    return Pair(f"{kind}, {size:,}", y, x, steps)


def recorded(folder: Path) -> Iterator[Pair]:
    """Every symbol against BTC in each folder of recorded bars, and pairs that are one asset."""
    for bars in sorted(folder.glob("binance_*_[15]m_*")):
        closes = {path.stem: _closes(path) for path in sorted(bars.glob("*.parquet"))}
        base = next(name for name in closes if name.startswith("BTC"))
        yield from _against(bars.name, closes, base)
        if {"WBETHUSDT", "ETHUSDT"} <= closes.keys():
            yield _joined(bars.name, closes, "WBETHUSDT", "ETHUSDT")
        if {"LINKUSDT", "UNIUSDT"} <= closes.keys():
            yield _joined(bars.name, closes, "LINKUSDT", "UNIUSDT")
    wide = folder / "binance_spot_1h_close_202101_202506" / "close_wide.parquet"
    yield from _against(wide.parent.name, _wide(wide), "BTC")
    venues = folder / "multivenue_btc_1m_202303_usdc_depeg"
    closes = {path.stem: _closes(path) for path in sorted(venues.glob("*.parquet"))}
    yield from _against(venues.name, closes, "binance_btcusdt")


def _against(folder: str, closes: dict[str, Any], base: str) -> Iterator[Pair]:
    return (_joined(folder, closes, name, base) for name in closes if name != base)


def _closes(path: Path) -> Any:
    import pandas as pd

    return pd.read_parquet(path, columns=["ts", "close"]).set_index("ts")["close"]


def _wide(path: Path) -> dict[str, Any]:
    import pandas as pd

    table = pd.read_parquet(path)
    table = table.set_index("ts")
    return {name: table[name] for name in table.columns}


def _joined(folder: str, closes: dict[str, Any], y: str, x: str) -> Pair:
    import pandas as pd

    both = pd.concat([closes[y], closes[x]], axis=1, join="inner", keys=["y", "x"]).dropna()
    both = both[(both > 0.0).all(axis=1)].iloc[:RECORDED_MAX]
    times = both.index.to_numpy().astype(np.int64)
    apart = np.diff(times, prepend=times[0])
    usual = max(int(np.median(apart)), 1)
    steps = np.maximum(apart // usual, 1)
    values = np.log(both.to_numpy(dtype=np.float64))
    return Pair(f"{folder}: {y} ~ {x}", values[:, 0].copy(), values[:, 1].copy(), steps)
