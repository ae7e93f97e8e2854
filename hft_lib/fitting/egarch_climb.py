"""The search for the most likely EGARCH(1,1,1), compiled.

Damped scoring (Levenberg-Marquardt on the information matrix) leads near a maximum and Newton's
method on the exact Hessian ends it; every trial is put back within the bounds. The likelihood has a
kink in the mean at each innovation, and many maxima lie on one: near the end a step that crosses a
kink in vain is cut there, and the mean stays where the derivatives of both sides point at it.
"""

import math
from typing import Any

import numpy as np

from hft_lib.fitting.egarch_score import (
    ALPHA,
    BETA,
    GAMMA,
    INVERSE_DOF,
    JUMP,
    LANES,
    LOWEST,
    MEAN,
    MEMORY,
    OMEGA,
    Matrix,
    hessian,
    score,
    values_of,
)
from hft_lib.fitting.garch_score import solve
from hft_lib.kernel import kernel
from hft_lib.models.inputs import Counts, Vector

BETA_MAX = 1.0 - 1e-6
SHOCK_MAX = 5.0  # of alpha and gamma, either way
OMEGA_MAX = 50.0
INVERSE_DOF_MIN, INVERSE_DOF_MAX = 1.0 / 500.0, 1.0 / 2.05
ENDED, EDGE, ASTRAY = range(3)  # at a maximum; at the edge of what a forecast may do; neither
_CLIMBS = 6
_CLEAR, _BETA_CLEAR = 9.0, 0.8  # squared standard errors of alpha from 0, and the least beta
_BARRED_MAX = 5  # iterations in a row that the edge cut short
_MEMORY_MAX = 1.0  # a difference at the start grows at most e-fold over the sample
_GAIN_ANOTHER = 1e-3  # nats that another maximum must be higher
_ITERATIONS_MAX = 60
_SCORINGS = 12  # iterations of scoring before the Hessian takes over
_TRIALS_MAX = 16
_GAIN_NEAR = 1e-2  # nats that the next step promises, below which the Hessian takes over
_GAIN_MIN = 1e-9  # and below which the search is at its end
_GAIN_SEEN = 1e-6  # the same where rounding hides that a step gains
_FAILURES_MAX = 3  # iterations of which no trial gained
_GAIN_KEPT = 0.3  # share of the promise that a step across a kink must keep
_ROUNDING = 1e-9  # nats


@kernel
def search(
    innovations: Vector,
    steps: Counts,
    presample: Vector,
    normal: bool,
    starts: Matrix,
    theta: Vector,
    free: Vector,
    curvature: Matrix,
) -> Any:
    """Climb from the likeliest of `starts` (starts, 6); (log likelihood, how it ended, the same at
    the edge of what a forecast may do if that was met).

    The starts come in groups of LANES. From one of the first alone where that finds a clear and
    lasting effect, for then the likelihood has one maximum worth the name; else from `_CLIMBS` of
    them, a group in turn, and from all where no maximum is found. A maximum goes before a higher
    point of the edge. In place: the point `theta` (6,), 1 in `free` (6,) for what is held by no
    bound or kink, and minus the Hessian in `curvature` (6, 6).
    """
    found = np.full(starts.shape[0], -np.inf)
    _likelihoods(innovations, steps, presample, normal, starts, 0, LANES, found)
    other, other_free, other_curvature = np.empty(6), np.empty(6), np.empty((6, 6))
    value, how, edge, known = -np.inf, ASTRAY, -np.inf, -np.inf
    climbed, groups, polished = 0, starts.shape[0] // LANES, False
    while not polished:
        # Never so for the normal: many zeros, which it alone takes, make several maxima.
        clear = how == ENDED and not normal and _is_clear(theta, free, curvature)
        polished = clear or climbed == starts.shape[0] or (climbed >= _CLIMBS and how == ENDED)
        if not polished:
            if climbed == 1:
                last = starts.shape[0]
                _likelihoods(innovations, steps, presample, normal, starts, LANES, last, found)
            group = climbed % groups
            best = _best(found, group * LANES, group * LANES + LANES)
            other[:] = starts[best]
            found[best] = -np.inf
        elif how != ENDED or not _is_beaten(
            theta, free, curvature, innovations, steps, presample, normal, value, other
        ):
            break
        climbed += 1
        reached, end = climb(
            other, innovations, steps, presample, normal, known, other_free, other_curvature
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
    innovations: Vector,
    steps: Counts,
    presample: Vector,
    normal: bool,
    value: float,
    other: Vector,
) -> bool:
    """Whether past kinks another mean within a standard error is likelier; it goes to `other`."""
    points, unit, column, all_free = np.empty(6 * LANES), np.zeros(6), np.empty(6), np.ones(6)
    unit[MEAN] = 1.0
    for j in range(6):
        all_free[j] = 0.0 if j != MEAN and free[j] == 0.0 else 1.0
    if not solve(curvature, unit, all_free, 0.0, column):
        return False
    width = 0.15 / math.sqrt(column[MEAN])
    for k in range(LANES):
        for j in range(6):
            points[j * LANES + k] = theta[j] + width * column[j]
        width *= -1.0 if k % 2 == 0 else -2.0
    found = values_of(points, innovations, steps, presample, normal)
    best = _best(found, 0, LANES)
    for j in range(6):
        other[j] = points[j * LANES + best]
    return bool(found[best] > value + _GAIN_ANOTHER)


@kernel
def _best(found: Vector, begin: int, end: int) -> int:
    best = begin
    for k in range(begin, end):
        best = k if found[k] > found[best] else best
    return best


@kernel
def _is_clear(theta: Vector, free: Vector, curvature: Matrix) -> bool:
    """Whether shocks raise the variance, by several standard errors, and for long."""
    unit, column = np.zeros(6), np.empty(6)
    unit[ALPHA] = 1.0
    if theta[ALPHA] <= 0.0 or theta[BETA] < _BETA_CLEAR or free[ALPHA] == 0.0:
        return False
    if not solve(curvature, unit, free, 0.0, column):
        return False
    return bool(theta[ALPHA] * theta[ALPHA] > _CLEAR * column[ALPHA])


@kernel
def _likelihoods(
    innovations: Vector,
    steps: Counts,
    presample: Vector,
    normal: bool,
    starts: Matrix,
    first: int,
    last: int,
    found: Vector,
) -> None:
    points = np.empty(6 * LANES)
    for begin in range(first, last, LANES):
        for j in range(6):
            for k in range(LANES):
                points[j * LANES + k] = starts[begin + k, j]
        found[begin : begin + LANES] = values_of(points, innovations, steps, presample, normal)


@kernel
def climb(
    theta: Vector,
    innovations: Vector,
    steps: Counts,
    presample: Vector,
    normal: bool,
    known: float,
    free: Vector,
    curvature: Matrix,
) -> Any:
    """Move `theta` in place to a maximum; (log likelihood, how the search ended).

    It keeps to where a forecast forgets its start and no log variance is below `presample[3]`:
    beyond lie chaos, and at an innovation equal to the mean a density without bound.
    A search that would end no higher than `known` is given up.
    """
    gradient, information, pull = np.empty(9), np.empty((6, 6)), np.empty(6)
    trial, trial_gradient, trial_information = np.empty(6), np.empty(9), np.empty((6, 6))
    bounded(theta, normal)
    value = score(theta, innovations, steps, presample, normal, gradient, information)
    damping, promised, failed, how, barred, failures = 1e-3, np.inf, False, ASTRAY, 0, 0
    for iteration in range(_ITERATIONS_MAX):
        near = (promised < _GAIN_NEAR or iteration >= _SCORINGS) and not failed
        _hold(theta, gradient, normal, pull, free)
        if near and value + promised < known + _GAIN_ANOTHER:
            return value, ASTRAY
        if near:
            hessian(theta, innovations, steps, presample, normal, curvature)
            damping = 0.0 if damping < 1e-6 else damping
        found, how, promised, damping = _gain(
            theta,
            value,
            curvature if near else information,
            pull,
            free,
            near,
            damping,
            innovations,
            steps,
            presample,
            normal,
            trial,
            trial_gradient,
            trial_information,
        )
        accepted = found > -np.inf
        barred = barred + 1 if how == EDGE else 0
        failures += 0 if accepted else 1
        if how == ENDED or barred > _BARRED_MAX or failures > _FAILURES_MAX:
            break
        if accepted:
            theta[:] = trial
            gradient[:] = trial_gradient
            information[:] = trial_information
            value = found
            damping = damping * 0.1 if damping > 1e-9 else 0.0
        elif not near:
            break
        else:
            damping = 1e-3
        failed = not accepted
    if how != ENDED:
        hessian(theta, innovations, steps, presample, normal, curvature)
    return value, how


@kernel
def _gain(
    theta: Vector,
    value: float,
    matrix: Matrix,
    pull: Vector,
    free: Vector,
    near: bool,
    damping: float,
    innovations: Vector,
    steps: Counts,
    presample: Vector,
    normal: bool,
    trial: Vector,
    trial_gradient: Vector,
    trial_information: Matrix,
) -> Any:
    """Damp a step until it gains; (log likelihood at `trial` or -inf, what that says of the search,
    nats promised, damping).
    """
    step, promised, undamped, how = np.empty(6), np.inf, np.inf, ASTRAY
    low, high = _kinks(innovations, theta[MEAN]) if near else (-np.inf, np.inf)
    for _ in range(_TRIALS_MAX):
        if solve(matrix, pull, free, damping, step):
            promised = _promise(pull, step, free)
            if near and damping == 0.0:
                undamped = promised
                if promised < _GAIN_MIN:
                    return -np.inf, ENDED, promised, damping
            share, edge = 1.0, 0.0
            for cut in range(2):  # whole, and where that crosses a kink in vain up to the kink
                _try(theta, step, free, share, normal, trial)
                trial[MEAN] = edge if cut == 1 else trial[MEAN]
                edge = min(max(trial[MEAN], low), high)
                crossed = edge != trial[MEAN]
                found = score(
                    trial, innovations, steps, presample, normal, trial_gradient, trial_information
                )
                least = value + (_GAIN_KEPT * promised if crossed else 0.0)
                if found > least - (_ROUNDING if promised < 1e-8 else 0.0):
                    if _is_tame(trial_gradient, presample):
                        return found, how, promised, damping
                    how = EDGE
                if not crossed:
                    break
                share = (edge - theta[MEAN]) / (trial[MEAN] - theta[MEAN])
        damping = max(10.0 * damping, 1e-6)
    how = ENDED if undamped < _GAIN_SEEN else how
    return -np.inf, how, promised, damping


@kernel
def _is_tame(gradient: Vector, presample: Vector) -> bool:
    """Whether the forecasts forget their start and no variance falls to nothing."""
    return bool(gradient[MEMORY] < _MEMORY_MAX and gradient[LOWEST] > presample[3])


@kernel
def bounded(theta: Vector, normal: bool) -> None:
    """Put a point back within the bounds, in place."""
    theta[OMEGA] = min(max(theta[OMEGA], -OMEGA_MAX), OMEGA_MAX)
    theta[ALPHA] = min(max(theta[ALPHA], -SHOCK_MAX), SHOCK_MAX)
    theta[GAMMA] = min(max(theta[GAMMA], -SHOCK_MAX), SHOCK_MAX)
    theta[BETA] = min(max(theta[BETA], 0.0), BETA_MAX)
    if not normal:
        theta[INVERSE_DOF] = min(max(theta[INVERSE_DOF], INVERSE_DOF_MIN), INVERSE_DOF_MAX)


@kernel
def _hold(theta: Vector, gradient: Vector, normal: bool, pull: Vector, free: Vector) -> None:
    """What the search may move, and what pulls it: not what is pressed against its bound.

    A mean on a kink is held unless one side rises.
    """
    free[:] = 1.0
    pull[:] = gradient[:6]
    jump = gradient[JUMP]
    if jump != 0.0:
        right, left = gradient[MEAN] + jump, gradient[MEAN] - jump
        if right > 0.0 and right >= -left:
            pull[MEAN] = right
        elif left < 0.0:
            pull[MEAN] = left
        else:
            free[MEAN] = 0.0
    free[INVERSE_DOF] = 0.0 if normal else 1.0
    for j in (ALPHA, GAMMA):
        if abs(theta[j]) >= SHOCK_MAX and gradient[j] * theta[j] > 0.0:
            free[j] = 0.0
    if abs(theta[OMEGA]) >= OMEGA_MAX and gradient[OMEGA] * theta[OMEGA] > 0.0:
        free[OMEGA] = 0.0
    if _pressed(theta[BETA], gradient[BETA], 0.0, BETA_MAX):
        free[BETA] = 0.0
    if _pressed(theta[INVERSE_DOF], gradient[INVERSE_DOF], INVERSE_DOF_MIN, INVERSE_DOF_MAX):
        free[INVERSE_DOF] = 0.0


@kernel
def _pressed(value: float, pull: float, low: float, high: float) -> bool:
    return (value <= low and pull < 0.0) or (value >= high and pull > 0.0)


@kernel
def _kinks(innovations: Vector, mean: float) -> Any:
    """The innovations next to `mean` on either side."""
    low, high = -np.inf, np.inf
    for t in range(innovations.shape[0]):
        value = innovations[t]
        low = value if low < value < mean else low
        high = value if mean < value < high else high
    return low, high


@kernel
def _promise(pull: Vector, step: Vector, free: Vector) -> float:
    """What a step promises, in nats, to first order."""
    promised = 0.0
    for j in range(6):
        promised += pull[j] * step[j] * free[j]
    return promised


@kernel
def _try(
    theta: Vector, step: Vector, free: Vector, share: float, normal: bool, trial: Vector
) -> None:
    """The point that a `share` of a step leads to, within the bounds."""
    for j in range(6):
        trial[j] = theta[j] + share * step[j] * free[j]
    bounded(trial, normal)


@kernel
def covariance(curvature: Matrix, held: Vector, inverse: Matrix) -> bool:
    """Put the inverse of minus the Hessian, of the rows with 1 in `held` (6,), in `inverse` (6, 6).

    False where it is no maximum's.
    """
    unit, column = np.zeros(6), np.empty(6)
    inverse[:] = 0.0
    for j in range(6):
        if held[j] > 0.0:
            unit[:] = 0.0
            unit[j] = 1.0
            if not solve(curvature, unit, held, 0.0, column):
                return False
            for k in range(6):
                inverse[k, j] = column[k] * held[k]
    return True
