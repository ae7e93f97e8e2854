"""The climb to a maximum of GARCH's likelihood.

The point searched is (mean, omega, up, down, beta, 1/dof) of innovations of mean 0 and variance 1;
`up` and `down` are the slopes of squares above and below the mean, `up` alone without asymmetry.
A climb is damped Newton's (Levenberg-Marquardt on minus the Hessian, on the expected information
where the Hessian is no maximum's), every trial put back within the bounds:

    (M + damping diag M) step = gradient

Where the persistence presses against its cap, beta is what the cap leaves, and the equations are
those of the other parameters along it.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.fitting.garch_sweep import (
    BETA,
    DOWN,
    INVERSE_DOF,
    OMEGA,
    SIZE,
    UP,
    score,
)
from hft_lib.kernel import kernel
from hft_lib.models.inputs import Vector

Matrix = npt.NDArray[np.float64]

PERSISTENCE_MAX = 0.9999
OMEGA_MIN = 1e-13
INVERSE_DOF_MIN, INVERSE_DOF_MAX = 1.0 / 500.0, 1.0 / 2.05
_ITERATIONS_MAX = 200
_TRIALS_MAX = 40
_GAIN_MIN = 1e-11  # nats that the next step promises, below which the search is at its end
_GAIN_MIN_FLAT = 1e-5  # the same where beta moves nothing but the variance's first values
_GAIN_NEAR = (
    1e-2  # and where the Hessian of a series with gaps, which costs six scores, is worth it
)
GAIN_ENDED = 2e-5  # a search that promises more has not come to its end
_DAMPING_FIRST = 1e-2  # after a step that did not gain
_SHIFT_MIN, _SHIFT_MAX = 1e-3, 1.0  # of the Hessian's diagonal, to make it a maximum's
_ROUNDING = 1e-9  # nats
_OMEGA_FALL = 0.2  # omega falls to no less than this share of itself in a step
_NEAR = 0.3  # deviations from an end within which a search would find that end again
# The same of an end where a parabola of the curvature here would have it, if its height is not off
# by more than a share and the equations all but undamped.
_NEAR_SQUARES, _NEAR_SHARE, _NEAR_DAMPING = 3.0, 0.5, 1e-2
_HOPELESS = 1e-3  # nats promised, at most, when a search falls short of an end


@kernel
def factor(information: Matrix, free: Vector, damping: float, lower: Matrix) -> bool:
    """Cholesky's factor of the damped equations of the free parameters; false where not positive.

    `information` (n, n), lower half; `free` (n,): 1 for what may move; `lower` (n, n) in place,
    unset in what is not free.
    """
    size = free.shape[0]
    for j in range(size):
        if free[j] > 0.0:
            for k in range(j + 1):
                if free[k] > 0.0:
                    value = information[j, k]
                    if j == k:
                        value = value + damping * abs(value) + 1e-14
                    for m in range(k):
                        if free[m] > 0.0:
                            value -= lower[j, m] * lower[k, m]
                    if j > k:
                        lower[j, k] = value / lower[k, k]
                    elif value > 0.0:
                        lower[j, j] = math.sqrt(value)
                    else:
                        return False
    return True


@kernel
def substitute(lower: Matrix, gradient: Vector, free: Vector, step: Vector) -> None:
    """Solve the factored equations for `gradient` (n,); `step` (n,) in place, 0 for what is not
    free.
    """
    size = free.shape[0]
    for j in range(size):
        step[j] = 0.0
        if free[j] > 0.0:
            value = gradient[j]
            for m in range(j):
                if free[m] > 0.0:
                    value -= lower[j, m] * step[m]
            step[j] = value / lower[j, j]
    for j in range(size - 1, -1, -1):
        if free[j] > 0.0:
            value = step[j]
            for m in range(j + 1, size):
                if free[m] > 0.0:
                    value -= lower[m, j] * step[m]
            step[j] = value / lower[j, j]


@kernel
def solve(
    information: Matrix, gradient: Vector, free: Vector, damping: float, step: Vector
) -> bool:
    """Solve the damped equations for the free parameters by Cholesky; false where not positive.

    `information` (n, n), lower half, `gradient` and `free` (n,): 1 for what may move; `step` (n,)
    in place, 0 for the rest.
    """
    size = gradient.shape[0]
    lower = np.empty((size, size))
    if not factor(information, free, damping, lower):
        return False
    substitute(lower, gradient, free, step)
    return True


@kernel
def shares(asymmetric: Any) -> Any:
    """What of `up` and of `down` is in the persistence."""
    if asymmetric is None:
        return 1.0, 0.0
    return 0.5, 0.5


@kernel
def bounded(theta: Vector, asymmetric: Any, student: Any) -> None:
    """Put a point back within the bounds, in place."""
    up, down = shares(asymmetric)
    theta[OMEGA] = max(theta[OMEGA], OMEGA_MIN)
    theta[UP] = max(theta[UP], 0.0)
    theta[DOWN] = theta[UP] if asymmetric is None else max(theta[DOWN], 0.0)
    slopes = up * theta[UP] + down * theta[DOWN]
    if slopes > PERSISTENCE_MAX:
        theta[UP] *= PERSISTENCE_MAX / slopes
        theta[DOWN] *= PERSISTENCE_MAX / slopes
        slopes = PERSISTENCE_MAX
    theta[BETA] = min(max(theta[BETA], 0.0), PERSISTENCE_MAX - slopes)
    if student is not None:
        theta[INVERSE_DOF] = min(max(theta[INVERSE_DOF], INVERSE_DOF_MIN), INVERSE_DOF_MAX)


@kernel
def is_capped(theta: Vector, asymmetric: Any) -> bool:
    """Whether the persistence is at its cap."""
    up, down = shares(asymmetric)
    persistence = up * theta[UP] + down * theta[DOWN] + theta[BETA]
    return persistence >= PERSISTENCE_MAX * (1.0 - 1e-12)


@kernel
def reduce_to_cap(gradient: Vector, curvature: Matrix, asymmetric: Any) -> None:
    """Gradient and curvature along the cap, where `up` or `down` up is beta down."""
    share = np.zeros(SIZE)
    share[UP], share[DOWN] = shares(asymmetric)
    by_beta = np.empty(SIZE)
    for j in range(SIZE):
        by_beta[j] = curvature[max(BETA, j), min(BETA, j)]
    for j in range(SIZE):
        if j != BETA:
            gradient[j] -= share[j] * gradient[BETA]
            for k in range(j + 1):
                if k != BETA:
                    curvature[j, k] += share[j] * share[k] * by_beta[BETA]
                    curvature[j, k] -= share[j] * by_beta[k] + share[k] * by_beta[j]


@kernel
def _set_free(
    theta: Vector, gradient: Vector, capped: bool, asymmetric: Any, student: Any, free: Vector
) -> None:
    """1 for what the search may move: not what the gradient presses against its bound."""
    free[:] = 1.0
    free[DOWN] = 0.0 if asymmetric is None else 1.0
    free[INVERSE_DOF] = 0.0 if student is None else 1.0
    if theta[OMEGA] <= OMEGA_MIN and gradient[OMEGA] < 0.0:
        free[OMEGA] = 0.0
    for j in (UP, DOWN, BETA):
        if theta[j] <= 0.0 and gradient[j] < 0.0:
            free[j] = 0.0
    if capped:
        free[BETA] = 0.0
        for j in (UP, DOWN):  # beta cannot fall below 0 to let them rise
            if theta[BETA] <= 0.0 and gradient[j] > 0.0:
                free[j] = 0.0
    if student is not None:
        low = theta[INVERSE_DOF] <= INVERSE_DOF_MIN and gradient[INVERSE_DOF] < 0.0
        if low or (theta[INVERSE_DOF] >= INVERSE_DOF_MAX and gradient[INVERSE_DOF] > 0.0):
            free[INVERSE_DOF] = 0.0


@kernel
def differences(
    theta: Vector,
    data: Vector,
    steps: Any,
    before: Vector,
    asymmetric: Any,
    student: Any,
    work: Vector,
    curvature: Matrix,
) -> None:
    """Put minus the Hessian in `curvature`, by central differences of the gradient."""
    moved, above, below = theta.copy(), np.empty(SIZE), np.empty(SIZE)
    unused = np.empty((SIZE, SIZE))
    for j in range(SIZE):
        width = 1e-6 * max(abs(theta[j]), 1e-3)
        moved[j] = theta[j] + width
        score(moved, data, steps, before, asymmetric, student, 0.0, work, above, unused)
        moved[j] = theta[j] - width
        score(moved, data, steps, before, asymmetric, student, 0.0, work, below, unused)
        moved[j] = theta[j]
        for k in range(SIZE):
            curvature[j, k] = (below[k] - above[k]) / (2.0 * width)
    for j in range(SIZE):
        for k in range(j):
            curvature[j, k] = 0.5 * (curvature[j, k] + curvature[k, j])


@kernel
def _promise(gradient: Vector, step: Vector, free: Vector) -> float:
    """What a step promises, in nats, to first order."""
    promised = 0.0
    for j in range(gradient.shape[0]):
        promised += gradient[j] * step[j] * free[j]
    return promised


@kernel
def _go(
    theta: Vector,
    step: Vector,
    free: Vector,
    capped: bool,
    asymmetric: Any,
    student: Any,
    trial: Vector,
) -> None:
    """The point a step leads to, within the bounds; along the cap beta takes what is left."""
    for j in range(SIZE):
        trial[j] = theta[j] + step[j] * free[j]
    trial[OMEGA] = max(trial[OMEGA], _OMEGA_FALL * theta[OMEGA])
    if capped:
        up, down = shares(asymmetric)
        trial[BETA] -= up * step[UP] * free[UP] + down * step[DOWN] * free[DOWN]
    bounded(trial, asymmetric, student)


@kernel
def _is_near(theta: Vector, other: Vector, curvature: Matrix, free: Vector) -> bool:
    """Whether two points are a part of a deviation apart in every free parameter."""
    for j in range(SIZE):
        apart = theta[j] - other[j]
        if free[j] > 0.0 and apart * apart * curvature[j, j] > _NEAR * _NEAR:
            return False
    return True


@kernel
def _is_foreseen(
    theta: Vector,
    gain: float,
    other: Vector,
    other_free: Vector,
    gradient: Vector,
    curvature: Matrix,
    free: Vector,
    lower: Matrix,
) -> bool:
    """Whether the curvature here, a maximum's, has an end `gain` nats higher where `other` is."""
    squares, slope = 0.0, 0.0
    for j in range(SIZE):
        if free[j] != other_free[j]:
            return False
        apart = (other[j] - theta[j]) * free[j]
        slope += gradient[j] * apart
        squares += curvature[j, j] * apart * apart
        for k in range(j):
            squares += 2.0 * curvature[j, k] * apart * (other[k] - theta[k]) * free[k]
    if not 0.0 < squares < _NEAR_SQUARES:
        return False
    if not abs(slope - 0.5 * squares - gain) < _NEAR_SHARE * gain:
        return False
    return factor(curvature, free, 0.0, lower)


@kernel
def _shift(curvature: Matrix, free: Vector, damping: float, lower: Matrix) -> float:
    """The damping from `damping` on that makes the curvature positive, or all but the largest."""
    if factor(curvature, free, damping, lower):
        return damping
    shift = max(2.0 * damping, _SHIFT_MIN)
    while shift < _SHIFT_MAX and not factor(curvature, free, shift, lower):
        shift *= 2.0
    return shift


@kernel
def _limited(j: int, step: float, theta: Vector) -> float:
    """What of a step of parameter `j` stays within its own bounds."""
    if j == OMEGA:
        return max(step, (_OMEGA_FALL - 1.0) * theta[OMEGA])
    if j < INVERSE_DOF:
        return max(step, -theta[j])
    return min(max(step, INVERSE_DOF_MIN - theta[j]), INVERSE_DOF_MAX - theta[j])


@kernel
def _stop(theta: Vector, curvature: Matrix, within: Vector, pull: Vector, step: Vector) -> bool:
    """Stop at its bound what of `step` goes too far, and take what it does from the others' `pull`;
    whether anything did. The `pull` of what is not `within` is its step from then on.
    """
    stopped = False
    for j in range(SIZE):
        if within[j] == 0.0:
            pull[j] = step[j]
        elif j >= OMEGA and _limited(j, step[j], theta) != step[j]:
            stopped, within[j] = True, 0.0
            step[j] = pull[j] = _limited(j, step[j], theta)
            for k in range(SIZE):
                if within[k] > 0.0:
                    pull[k] -= curvature[max(j, k), min(j, k)] * step[j]
    return stopped


@kernel
def step_within(
    theta: Vector,
    curvature: Matrix,
    gradient: Vector,
    free: Vector,
    damping: float,
    lower: Matrix,
    within: Vector,
    pull: Vector,
    step: Vector,
) -> None:
    """Turn a step that leaves the bounds into the best along them, as the curvature has it.

    What goes too far stops at its bound and the others are solved for again. `step` in place;
    `lower` (6, 6), `within` and `pull` (6,) are scratch.
    """
    for j in range(SIZE):
        within[j], pull[j] = free[j], gradient[j]
    for _ in range(SIZE):
        if not _stop(theta, curvature, within, pull, step):
            return
        if factor(curvature, within, damping, lower):
            substitute(lower, pull, within, step)
        for j in range(SIZE):
            if within[j] == 0.0:
                step[j] = pull[j]


@kernel
def _prepare(
    theta: Vector,
    data: Vector,
    steps: Any,
    before: Vector,
    asymmetric: Any,
    student: Any,
    work: Vector,
    near: bool,
    damping: float,
    gradient: Vector,
    curvature: Matrix,
    free: Vector,
    lower: Matrix,
) -> Any:
    """Make the equations of the next step ready in place: (damping, whether they are Newton's,
    whether the persistence is held at its cap, whether `lower` is their factor).

    Where the Hessian is no maximum's it is damped until it is one's; where that takes too much, the
    information takes its place.
    """
    sharp = steps is None
    if steps is not None:
        if near:
            differences(theta, data, steps, before, asymmetric, student, work, curvature)
            sharp = True
    capped = is_capped(theta, asymmetric) and gradient[BETA] > 0.0
    if capped:
        reduce_to_cap(gradient, curvature, asymmetric)
    _set_free(theta, gradient, capped, asymmetric, student, free)
    if not sharp:
        return damping, False, capped, False
    shift = _shift(curvature, free, damping, lower)
    if shift == damping or shift < _SHIFT_MAX:
        return shift, shift == damping, capped, True
    score(theta, data, steps, before, asymmetric, student, 0.0, work, gradient, curvature)
    if capped:
        reduce_to_cap(gradient, curvature, asymmetric)
    return 1e-3, False, capped, False


@kernel
def climb(
    theta: Vector,
    data: Vector,
    steps: Any,
    before: Vector,
    asymmetric: Any,
    student: Any,
    work: Vector,
    free: Vector,
    curvature: Matrix,
    rival: Vector,
    rival_free: Vector,
    rival_value: float,
) -> Any:
    """Move `theta` (6,) in place to a maximum: (log likelihood, nats still promised, whether
    `curvature` is minus the Hessian there).

    `free` and `curvature` hold what is left free at the end and the curvature there. A search that
    comes near the end `rival`, where `rival_free` is left free, or cannot reach its value, stops:
    with -infinity.
    """
    gradient, step, trial = np.empty(SIZE), np.empty(SIZE), np.empty(SIZE)
    other, other_curvature = np.empty(SIZE), np.empty((SIZE, SIZE))
    within, pull, lower = np.empty(SIZE), np.empty(SIZE), np.empty((SIZE, SIZE))
    bounded(theta, asymmetric, student)
    value = score(theta, data, steps, before, asymmetric, student, 1.0, work, gradient, curvature)
    damping, promised, sharp = 0.0, np.inf, False
    for _ in range(_ITERATIONS_MAX):
        damping, sharp, capped, factored = _prepare(
            theta,
            data,
            steps,
            before,
            asymmetric,
            student,
            work,
            promised < _GAIN_NEAR,
            damping,
            gradient,
            curvature,
            free,
            lower,
        )
        flat = theta[UP] <= 0.0 and theta[DOWN] <= 0.0 and free[UP] == 0.0
        gain_min = _GAIN_MIN_FLAT if flat else _GAIN_MIN
        accepted, found = False, value
        for _ in range(_TRIALS_MAX):
            if factored or factor(curvature, free, damping, lower):
                substitute(lower, gradient, free, step)
                promised = _promise(gradient, step, free)
                if promised < gain_min:
                    break
                if sharp and rival_value > value:
                    hopeless = promised < _HOPELESS and value + 100.0 * promised < rival_value
                    if hopeless or _is_near(theta, rival, curvature, free):
                        return -np.inf, promised, sharp
                    if damping <= _NEAR_DAMPING and _is_foreseen(
                        theta, rival_value - value, rival, rival_free, gradient, curvature, free,
                        lower,
                    ):  # fmt: skip
                        return -np.inf, promised, sharp
                step_within(theta, curvature, gradient, free, damping, lower, within, pull, step)
                _go(theta, step, free, capped, asymmetric, student, trial)
                found = score(
                    trial, data, steps, before, asymmetric, student, 1.0, work, other,
                    other_curvature,
                )  # fmt: skip
                # The last steps gain less than the likelihood's rounding shows.
                accepted = found > value - (_ROUNDING if promised < 1e-8 else 0.0)
                if accepted:
                    break
            factored = False
            damping = max(10.0 * damping, _DAMPING_FIRST)
        if not accepted:
            break
        theta[:] = trial
        gradient[:] = other
        curvature[:] = other_curvature
        value = found
        damping = damping * 0.1 if damping > 1e-4 else 0.0
    return value, promised, sharp
