"""EGARCH's likelihood at many points at once: a point a lane, eight a vector."""

from typing import Any

import numpy as np

from hft_lib.fitting.egarch_score import (
    ALPHA,
    BETA,
    GAMMA,
    INVERSE_DOF,
    MEAN,
    OMEGA,
    Matrix,
    log_presample,
)
from hft_lib.fitting.egarch_sweep import BLOCK, FACTOR_MAX, INTO_LOG, LN2, PER_LOG, Y_MAX, exp2
from hft_lib.kernel import kernel
from hft_lib.models.egarch import ABSOLUTE_MEAN, absolute_excess
from hft_lib.models.garch import t_log_scale
from hft_lib.models.inputs import Vector
from hft_lib.models.lanes import WIDTH, fused, lanes, load, pick_negative, split, store
from hft_lib.models.special import log

_LOG_TWO_PI = 1.8378770664093453
# Rows of eight points: parameters in the units of y = -x / (2 log 2), and what runs.
_MEAN, _DRIFT, _BETA, _ABOVE, _BELOW, _OVER, _MISSED = range(7)
_Y, _SUM_Y, _TAILS, _PRODUCT = range(7, 11)
_ROWS = 11


@kernel
def values_of(
    points: Matrix, innovations: Vector, steps: Any, presample: Vector, normal: bool
) -> Vector:
    """Log likelihoods (points,) at `points` (points, 6), of which there are a multiple of eight.

    To tell good from bad: no deviation counts more than 1e15 of its forecast.
    """
    groups, size = points.shape[0] // WIDTH, innovations.shape[0]
    w = np.empty(groups * _ROWS * WIDTH)
    for k in range(points.shape[0]):
        _put(points[k], presample, normal, w[(k // WIDTH) * _ROWS * WIDTH + k % WIDTH :])
    like = lanes(0.0)
    for block in range(0, size, BLOCK):
        for t in range(block, min(block + BLOCK, size)):
            for row in range(0, groups * _ROWS, _ROWS):
                if steps is not None:
                    if steps[t] > 1:
                        _fill_gap(w, row, steps[t] - 1)
                y = load(w, row + _Y, like)
                e = innovations[t] - load(w, row + _MEAN, like)
                lever = pick_negative(e, load(w, row + _BELOW, like), load(w, row + _ABOVE, like))
                z = e * exp2(y)
                ratio = z * z * load(w, row + _OVER, like)
                store(w, row + _SUM_Y, load(w, row + _SUM_Y, like) + y)
                if normal:
                    store(w, row + _TAILS, load(w, row + _TAILS, like) + ratio)
                else:
                    factor = 1.0 + pick_negative(ratio - FACTOR_MAX, ratio, like + FACTOR_MAX)
                    store(w, row + _PRODUCT, load(w, row + _PRODUCT, like) * factor)
                kept = fused(load(w, row + _BETA, like), y, load(w, row + _DRIFT, like))
                store(w, row + _Y, _within(fused(lever, z, kept)))
        if not normal:
            for row in range(0, groups * _ROWS, _ROWS):
                product, exponent = split(load(w, row + _PRODUCT, like))
                store(w, row + _PRODUCT, product)
                store(w, row + _TAILS, load(w, row + _TAILS, like) + exponent)
    values = np.empty(points.shape[0])
    for k in range(points.shape[0]):
        at = (k // WIDTH) * _ROWS * WIDTH + k % WIDTH
        total = PER_LOG * w[at + _SUM_Y * WIDTH]
        tails, constant = w[at + _TAILS * WIDTH], -0.5 * _LOG_TWO_PI
        if not normal:
            dof = 1.0 / points[k, INVERSE_DOF]
            tails = (dof + 1.0) * (LN2 * tails + log(w[at + _PRODUCT * WIDTH]))
            constant = t_log_scale(dof)
        values[k] = size * constant - 0.5 * (total + tails)
    return values


@kernel
def _put(theta: Vector, presample: Vector, normal: bool, lane: Vector) -> None:
    """Put a point into its lane, in place."""
    before, _, _ = log_presample(presample, theta[MEAN])
    dof = 1.0 / theta[INVERSE_DOF]
    missed = theta[OMEGA] + (0.0 if normal else theta[ALPHA] * absolute_excess(dof))
    first = INTO_LOG * (theta[OMEGA] + theta[BETA] * before)
    lane[_MEAN * WIDTH], lane[_BETA * WIDTH] = theta[MEAN], theta[BETA]
    lane[_DRIFT * WIDTH] = INTO_LOG * (theta[OMEGA] - theta[ALPHA] * ABSOLUTE_MEAN)
    lane[_ABOVE * WIDTH] = INTO_LOG * (theta[GAMMA] + theta[ALPHA])
    lane[_BELOW * WIDTH] = INTO_LOG * (theta[GAMMA] - theta[ALPHA])
    lane[_OVER * WIDTH] = 1.0 if normal else 1.0 / (dof - 2.0)
    lane[_MISSED * WIDTH] = INTO_LOG * missed
    lane[_Y * WIDTH] = min(max(first, -Y_MAX), Y_MAX)
    lane[_SUM_Y * WIDTH], lane[_TAILS * WIDTH], lane[_PRODUCT * WIDTH] = 0.0, 0.0, 1.0


@kernel
def _within(y: Any) -> Any:
    """Lanes kept within what can be computed with."""
    like = lanes(0.0)
    y = pick_negative(y - Y_MAX, y, like + Y_MAX)
    return pick_negative(y + Y_MAX, like - Y_MAX, y)


@kernel
def _fill_gap(w: Vector, row: int, missed: int) -> None:
    """Bring eight points over `missed` intervals without an observation, in place."""
    like = lanes(0.0)
    y, offset = load(w, row + _Y, like), load(w, row + _MISSED, like)
    slope = load(w, row + _BETA, like)
    while missed > 0:
        if missed & 1:
            y = offset + slope * y
        offset += slope * offset
        slope *= slope
        missed >>= 1
    store(w, row + _Y, _within(y))
