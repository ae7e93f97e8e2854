"""From where the climbs to EGARCH's likeliest point start, and which of their ends it is."""

import math
from typing import Any

import numpy as np

from hft_lib.fitting.egarch_climb import ASTRAY, EDGE, ENDED, GAIN_ANOTHER, climb
from hft_lib.fitting.egarch_sample import Sample, sample_of
from hft_lib.fitting.egarch_score import ALPHA, BETA, INVERSE_DOF, MEAN, Matrix
from hft_lib.fitting.egarch_values import values_of
from hft_lib.fitting.garch_score import solve
from hft_lib.kernel import kernel
from hft_lib.models.inputs import Vector
from hft_lib.models.lanes import WIDTH

_CLIMBS = 6
_CLEAR, _BETA_CLEAR = 9.0, 0.8  # squared standard errors of alpha from 0, and the least beta


@kernel
def search(
    innovations: Vector,
    steps: Any,
    presample: Vector,
    normal: bool,
    starts: Matrix,
    theta: Vector,
    free: Vector,
    curvature: Matrix,
) -> Any:
    """Climb from the likeliest of `starts` (starts, 6); (log likelihood, how it ended, the same at
    the edge of what a forecast may do if that was met).

    The starts come in groups of WIDTH. From one of the first alone where that finds a clear and
    lasting effect, for then the likelihood has one maximum worth the name; else from `_CLIMBS` of
    them, a group in turn, and from all where no maximum is found. A maximum goes before a higher
    point of the edge. In place: the point `theta` (6,), 1 in `free` (6,) for what is held by no
    bound or kink, and minus the Hessian in `curvature` (6, 6).
    """
    sample = sample_of(innovations, steps, presample)
    found = np.full(starts.shape[0], -np.inf)
    found[:WIDTH] = values_of(starts[:WIDTH], innovations, steps, presample, normal)
    other, other_free, other_curvature = np.empty(6), np.empty(6), np.empty((6, 6))
    value, how, edge, known = -np.inf, ASTRAY, -np.inf, -np.inf
    climbed, groups, polished = 0, starts.shape[0] // WIDTH, False
    while not polished:
        # Never so for the normal: many zeros, which it alone takes, make several maxima.
        clear = how == ENDED and not normal and _is_clear(theta, free, curvature)
        polished = clear or climbed == starts.shape[0] or (climbed >= _CLIMBS and how == ENDED)
        if not polished:
            if climbed == 1:
                found[WIDTH:] = values_of(starts[WIDTH:], innovations, steps, presample, normal)
            group = climbed % groups
            best = _best(found, group * WIDTH, group * WIDTH + WIDTH)
            other[:] = starts[best]
            found[best] = -np.inf
        elif how != ENDED or not _is_beaten(theta, free, curvature, sample, normal, value, other):
            break
        climbed += 1
        reached, end = climb(
            other, sample, normal, known, theta, curvature, other_free, other_curvature
        )
        edge = reached if end == EDGE and reached > edge else edge
        if end < how or (end == how and reached > value):
            theta[:] = other
            free[:] = other_free
            curvature[:] = other_curvature
            value, how = reached, end
        known = value if how == ENDED else known
    return value, how, edge


@kernel
def _is_beaten(
    theta: Vector,
    free: Vector,
    curvature: Matrix,
    sample: Sample,
    normal: bool,
    value: float,
    other: Vector,
) -> bool:
    """Whether past kinks another mean is likelier; it goes to `other`.

    Up to a standard error away with what would follow the mean, farther with the mean alone: the
    other side of a value that came often has a maximum of its own.
    """
    points, unit, column, all_free = np.empty((2 * WIDTH, 6)), np.zeros(6), np.empty(6), np.ones(6)
    unit[MEAN] = 1.0
    for j in range(6):
        all_free[j] = 0.0 if j != MEAN and free[j] == 0.0 else 1.0
    if not solve(curvature, unit, all_free, 0.0, column):
        return False
    error = math.sqrt(column[MEAN])
    near, far = 0.15 / error, error
    for k in range(WIDTH):
        for j in range(6):
            points[k, j] = theta[j] + near * column[j]
            points[WIDTH + k, j] = theta[j]
        points[WIDTH + k, MEAN] += far
        near *= -1.0 if k % 2 == 0 else -2.0
        far *= -1.0 if k % 2 == 0 else -1.5
    found = values_of(points, sample.innovations, sample.steps, sample.presample, normal)
    best = _best(found, 0, 2 * WIDTH)
    other[:] = points[best]
    return bool(found[best] > value + GAIN_ANOTHER)


@kernel
def _best(found: Vector, begin: int, end: int) -> int:
    best = begin
    for k in range(begin, end):
        best = k if found[k] > found[best] else best
    return best


@kernel
def _is_clear(theta: Vector, free: Vector, curvature: Matrix) -> bool:
    """Whether shocks raise the variance, by several standard errors, and for long; Student's t."""
    unit, column = np.zeros(6), np.empty(6)
    unit[ALPHA] = 1.0
    if theta[ALPHA] <= 0.0 or theta[BETA] < _BETA_CLEAR or free[ALPHA] == 0.0:
        return False
    if free[INVERSE_DOF] == 0.0:  # tails without end stand for what another point may explain
        return False
    if not solve(curvature, unit, free, 0.0, column):
        return False
    return bool(theta[ALPHA] * theta[ALPHA] > _CLEAR * column[ALPHA])
