"""What research asks that no stage needs: how well the hedge ratio is known, what the usual rolling
regression would have said, how soon a detector finds a planted change.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hft_lib.models import bocd, kalman
from hft_lib.models.inputs import Counts, Vector, vector
from hft_lib.parameters import BocdParameters, KalmanParameters

SETTLE = 60  # values that a detector sees before a change is planted
AFTER = 60  # and after it: a change not found by then is missed


def hedge_sd(params: KalmanParameters, y: Vector, x: Vector, steps: Counts) -> Vector:
    """The filter's own standard deviation of the hedge ratio after each observation, (time,)."""
    row, state = kalman.params_row(params), kalman.new_states(1)
    kalman.start(row[0], state[0])
    found = np.empty(y.size)
    for t in range(y.size):
        kalman.step(row[0], state[0], y[t], x[t], steps[t])
        found[t] = kalman.covariance(state)[2, 0]
    return np.sqrt(found)


@dataclass(frozen=True)
class RollingFit:
    """Least squares over the last `window` observations, NaN until there are as many, (time,) each.

    `error` is y less what the fit up to the observation before says, as an innovation is.
    """

    hedge_ratio: Vector
    intercept: Vector
    error: Vector


def rolling_least_squares(y: npt.ArrayLike, x: npt.ArrayLike, window: int) -> RollingFit:
    """Regress `y` on `x` (time,) over a rolling `window`; ValueError below 3 observations."""
    ys = vector("y", y)
    xs = vector("x", x, ys.size)
    if not 3 <= window <= ys.size:
        raise ValueError(f"window must be from 3 to {ys.size}, was {window}")
    parts = np.lib.stride_tricks.sliding_window_view
    y_parts, x_parts = parts(ys, window), parts(xs, window)
    y_mean, x_mean = y_parts.mean(axis=1), x_parts.mean(axis=1)
    moves = x_parts - x_mean[:, None]
    squares = (moves * moves).sum(axis=1)
    slope = np.full(squares.size, np.nan)
    np.divide((moves * (y_parts - y_mean[:, None])).sum(axis=1), squares, slope, where=squares > 0)
    before = np.full(window - 1, np.nan)
    hedge = np.concatenate((before, slope))
    intercept = np.concatenate((before, y_mean - slope * x_mean))
    forecast = intercept[:-1] + hedge[:-1] * xs[1:]
    return RollingFit(hedge, intercept, np.concatenate(([np.nan], ys[1:] - forecast)))


@dataclass(frozen=True)
class Detection:
    """How a detector fares against changes planted at known places.

    For each size of the change and each alarm threshold (sizes, thresholds): the median delay in
    observations of those found, NaN where none was, and the share found. `false_share`
    (thresholds,): the share of observations without a change at which the alarm stood.
    """

    delay: npt.NDArray[np.float64]
    found: npt.NDArray[np.float64]
    false_share: Vector


def detection(
    params: BocdParameters,
    scores: npt.ArrayLike,
    sizes: Sequence[float],
    thresholds: Sequence[float],
    trials: int = 100,
    seed: int = 0,
) -> Detection:
    """Plant a shift of the mean by each of `sizes` (standard deviations) into stretches of
    `scores` (time,), normal values without a change, and see when the alarm comes.

    Each trial takes a stretch at random, begins 60 values before the change and gives up 60 after
    it. The filter and the GARCH model stand before the detector and are not run again: live they
    learn the shift and hide a part of it, so that these delays are the least to expect. Raises
    ValueError where there are fewer than 120 values.
    """
    values = vector("scores", scores)
    if values.size < SETTLE + AFTER:
        raise ValueError(f"values must be at least {SETTLE + AFTER}, were {values.size}")
    row, random = bocd.params_row(params), np.random.default_rng(seed)
    starts = random.integers(0, values.size - SETTLE - AFTER + 1, trials)
    levels = np.asarray(thresholds, dtype=np.float64)
    delays = np.full((len(sizes), levels.size, trials), np.nan)
    for trial, start in enumerate(starts.tolist()):
        for i, size in enumerate(sizes):
            stretch = values[start : start + SETTLE + AFTER].copy()
            stretch[SETTLE:] += size
            recent = bocd.run(row, stretch)["recent_probability"][SETTLE:]
            over = recent[:, None] > levels
            delays[i, :, trial] = np.where(over.any(axis=0), over.argmax(axis=0) + 1.0, np.nan)
    calm = bocd.run(row, values)["recent_probability"][2 * params.alarm_run_length :]
    return Detection(
        delay=_median_of_known(delays),
        found=np.isfinite(delays).mean(axis=2),
        false_share=(calm[:, None] > levels).mean(axis=0),
    )


def _median_of_known(delays: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    medians = np.full(delays.shape[:2], np.nan)
    for place in np.ndindex(*medians.shape):
        known = delays[place][np.isfinite(delays[place])]
        medians[place] = np.median(known) if known.size else np.nan
    return medians
