"""The relation of a pair: hedge ratio, how fast the spread returns, and whether it does at all."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.fitting.result import require
from hft_lib.fitting.selection.engle_granger import both_directions
from hft_lib.fitting.selection.p_values import better_direction, p_asymptotic
from hft_lib.models.inputs import Vector, vector

OBSERVATIONS_MIN = 30
P_VALUE_MAX = 0.05  # cointegrated below this, both directions counted
LAGS_MAX = 12


@dataclass(frozen=True)
class Relation:
    """log Y = intercept + hedge_ratio log X + spread; `half_life_s` None where the spread does not
    return.
    """

    hedge_ratio: float
    intercept: float
    half_life_s: float | None
    p_value: float
    cointegrated: bool

    def document(self) -> dict[str, Any]:
        """The relation as plain values, for JSON."""
        return asdict(self)


def relation(y: npt.ArrayLike, x: npt.ArrayLike, interval_s: float) -> Relation:
    """Engle and Granger's test of log prices `y` on `x` (time,), `interval_s` apart, in both
    directions.

    `p_value` is twice the smaller of the two directions' (Bonferroni: the smaller alone rejects 8.8
    % of independent walks at 5 %). The half-life is that of an autoregression of the spread. Raises
    FitRefused for fewer than 30 values, or a leg that does not move. Engle & Granger (1987);
    MacKinnon (2010) for the p-value.
    """
    ys, xs = vector("y", y), vector("x", x)
    require(xs.size == ys.size, f"x must have {ys.size} values", xs.size)
    require(
        ys.size >= OBSERVATIONS_MIN, f"observations must be at least {OBSERVATIONS_MIN}", ys.size
    )
    for name, leg in (("y", ys), ("x", xs)):
        require(float(np.ptp(leg)) > 0.0, f"{name} must move: its range", float(np.ptp(leg)))
    hedge, intercept = least_squares(ys, xs)
    p_value = _p_value(ys, xs)
    return Relation(
        hedge_ratio=hedge,
        intercept=intercept,
        half_life_s=half_life_s(ys - intercept - hedge * xs, interval_s),
        p_value=p_value,
        cointegrated=p_value < P_VALUE_MAX,
    )


def least_squares(y: Vector, x: Vector) -> tuple[float, float]:
    """Slope and intercept of `y` on `x`."""
    moves = x - x.mean()
    slope = float((moves * (y - y.mean())).sum() / (moves * moves).sum())
    return slope, float(y.mean() - slope * x.mean())


def half_life_s(spread: Vector, interval_s: float) -> float | None:
    """Time in which a deviation halves, by the autoregression s_t = phi s_{t-1} + noise; None from
    phi 1 on.

    A phi of 1/16 or less is taken as 1/16: a quarter of an interval is as fast as the sampling
    shows.
    """
    deviations = spread - spread.mean()
    before = deviations[:-1]
    square = float((before * before).sum())
    if square == 0.0:
        return None
    phi = float((before * deviations[1:]).sum()) / square
    return None if phi >= 1.0 else interval_s * math.log(2.0) / -math.log(max(phi, 1.0 / 16.0))


def _p_value(y: Vector, x: Vector) -> float:
    """P-value of no cointegration, both directions counted."""
    lags = min(LAGS_MAX, int(12.0 * (y.size / 100.0) ** 0.25), y.size // 4)
    found = np.empty((2, 5))
    both_directions(y, x, lags, found)
    # Where no residual is left the legs are one series, and as cointegrated as can be: p is 0 then.
    statistics = np.where(np.isnan(found[:, 0]), -np.inf, found[:, 0])
    return float(better_direction(p_asymptotic(statistics)))
