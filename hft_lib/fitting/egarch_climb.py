"""The search for the most likely EGARCH(1,1,1), compiled.

Damped scoring (Levenberg-Marquardt on the information matrix) leads near a maximum and Newton's
method on the exact Hessian ends it; every trial is put back within the bounds. The likelihood has a
kink in the mean at each innovation, and many maxima lie on one: near the end a step that crosses a
kink in vain is cut there, and the mean stays where the derivatives of both sides point at it.
"""

from typing import Any

import numpy as np

from hft_lib.fitting.egarch_sample import Sample, hessian, score
from hft_lib.fitting.egarch_score import (
    ALPHA,
    BETA,
    GAMMA,
    INVERSE_DOF,
    JUMP,
    LOWEST,
    MEAN,
    MEMORY,
    OMEGA,
    Matrix,
)
from hft_lib.fitting.garch_score import solve
from hft_lib.kernel import kernel
from hft_lib.models.inputs import Vector

BETA_MAX = 1.0 - 1e-6
SHOCK_MAX = 5.0  # of alpha and gamma, either way
OMEGA_MAX = 50.0
INVERSE_DOF_MIN, INVERSE_DOF_MAX = 1.0 / 500.0, 1.0 / 2.05
ENDED, EDGE, ASTRAY = range(3)  # at a maximum; at the edge of what a forecast may do; neither
_BARRED_MAX = 5  # iterations in a row that the edge cut short
_MEMORY_MAX = 1.0  # a difference at the start grows at most e-fold over the sample
GAIN_ANOTHER = 1e-3  # nats that another maximum must be higher
_ITERATIONS_MAX = 60
_SCORINGS = 12  # iterations of scoring before the Hessian takes over
_TRIALS_MAX = 16
_GAIN_NEAR = 1e-2  # nats that the next step promises, below which the Hessian takes over
_GAIN_MIN = 1e-9  # and below which the search is at its end
_GAIN_SEEN = 1e-6  # the same where rounding hides that a step gains
_FAILURES_MAX = 3  # iterations of which no trial gained
_GAIN_KEPT = 0.3  # share of the promise that a step across a kink must keep
_ROUNDING = 1e-9  # nats
_FALL_NEAR = 0.5  # nats below another end, within which it is asked whether it is the same one
_FALL_LIKE = 0.2  # and how much, as a share, the fall may differ from what a curvature foretells


@kernel
def climb(
    theta: Vector,
    sample: Sample,
    normal: bool,
    known: float,
    rival: Vector,
    rival_curvature: Matrix,
    free: Vector,
    curvature: Matrix,
) -> Any:
    """Move `theta` in place to a maximum; (log likelihood, how the search ended).

    It keeps to where a forecast forgets its start and no log variance is below `presample[3]`:
    beyond lie chaos, and at an innovation equal to the mean a density without bound.
    A search that would end no higher than `known`, or at the end `rival` (6,) of that value and of
    that curvature (6, 6), is given up.
    """
    gradient, information, pull = np.empty(9), np.empty((6, 6)), np.empty(6)
    trial, trial_gradient, trial_information = np.empty(6), np.empty(9), np.empty((6, 6))
    bounded(theta, normal)
    value = score(theta, sample, normal, gradient, information)
    damping, promised, failed, how, barred, failures = 1e-3, np.inf, False, ASTRAY, 0, 0
    for iteration in range(_ITERATIONS_MAX):
        near = (promised < _GAIN_NEAR or iteration >= _SCORINGS) and not failed
        _hold(theta, gradient, normal, pull, free)
        if near and value + promised < known + GAIN_ANOTHER:
            return value, ASTRAY
        if value < known and _is_below(theta, value, known, rival, rival_curvature):
            return value, ASTRAY
        if near:
            hessian(theta, sample, normal, curvature)
            damping = 0.0 if damping < 1e-6 else damping
        found, how, promised, damping = _gain(
            theta,
            value,
            curvature if near else information,
            pull,
            free,
            near,
            damping,
            sample,
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
        hessian(theta, sample, normal, curvature)
    return value, how


@kernel
def _is_below(theta: Vector, value: float, known: float, rival: Vector, curvature: Matrix) -> bool:
    """Whether a point lies on the flank of the maximum `rival`: within a standard error of it, and
    as much lower as its curvature foretells.
    """
    fall = 0.0
    for j in range(6):
        for k in range(6):
            fall += 0.5 * (theta[j] - rival[j]) * curvature[j, k] * (theta[k] - rival[k])
    apart = abs(known - value - fall)
    return 0.0 <= fall < _FALL_NEAR and apart < _FALL_LIKE * fall + GAIN_ANOTHER


@kernel
def _gain(
    theta: Vector,
    value: float,
    matrix: Matrix,
    pull: Vector,
    free: Vector,
    near: bool,
    damping: float,
    sample: Sample,
    normal: bool,
    trial: Vector,
    trial_gradient: Vector,
    trial_information: Matrix,
) -> Any:
    """Damp a step until it gains; (log likelihood at `trial` or -inf, what that says of the search,
    nats promised, damping).
    """
    step, promised, undamped, how = np.empty(6), np.inf, np.inf, ASTRAY
    low, high = _kinks(sample.innovations, theta[MEAN]) if near else (-np.inf, np.inf)
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
                found = score(trial, sample, normal, trial_gradient, trial_information)
                least = value + (_GAIN_KEPT * promised if crossed else 0.0)
                if found > least - (_ROUNDING if promised < 1e-8 else 0.0):
                    if _is_tame(trial_gradient, sample.presample):
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
