"""The search for the maximum of GARCH's likelihood: where climbs start, which end is the best, and
whether it is a maximum.
"""

import math
from typing import Any

import numpy as np

from hft_lib.fitting.garch_score import (
    GAIN_ENDED,
    Matrix,
    climb,
    differences,
    factor,
    is_capped,
    reduce_to_cap,
    substitute,
)
from hft_lib.fitting.garch_sweep import (
    BETA,
    BLOCK,
    DOWN,
    INVERSE_DOF,
    LN2,
    MEAN,
    OMEGA,
    SIZE,
    UP,
    arrange,
    score,
)
from hft_lib.kernel import kernel
from hft_lib.models.inputs import Vector
from hft_lib.models.lanes import WIDTH, fused, lanes, load, split, store
from hft_lib.models.special import log

_LOG_TWO_PI = 1.8378770664093453
_GAP_MAX = 100  # intervals of a gap that the ranking of starts goes through
_CLIMBS = 2
_GAIN_CLEAR = 5.0  # nats over a constant variance, below which every start is climbed from
_SIZE_CLEAR = 500  # observations, and
_SLOPE_CLEAR = 0.01  # what the last square counts, below which likewise
# (alpha, persistence) from which the search may start, a pass of eight each: squares soon forgotten
# and late, as a likelihood may have a maximum of either kind.
_STARTS = (
    (0.02, 0.1), (0.1, 0.12), (0.2, 0.3), (0.4, 0.45), (0.05, 0.5), (0.2, 0.5), (0.4, 0.7),
    (0.1, 0.65),
    (0.02, 0.85), (0.02, 0.95), (0.02, 0.99), (0.06, 0.85), (0.06, 0.95), (0.06, 0.99),
    (0.15, 0.9), (0.15, 0.98),
)  # fmt: skip
_STARTS_COUNT = len(_STARTS)
# Where a doubtful search also starts, whatever the likelihood there: no memory but of the last
# square, a variance that drifts through the whole sample by itself, and the levels where the sample
# begins and ends: a mean that moved may be near either rather than in between.
_LAST_STARTS = ((0.3, 0.3), (0.0005, 0.9999), (0.15, 0.98), (0.15, 0.98))
_LEVEL_FIRST, _LEVEL_LAST = len(_STARTS) + 2, len(_STARTS) + 3
_LEVEL_SHARE = 5  # of the sample, one part of so many, whose mean is its level at an end
_ALL_STARTS = _STARTS + _LAST_STARTS
_ALL_STARTS_COUNT = len(_ALL_STARTS)
_START_ALPHA = np.array([alpha for alpha, _ in _ALL_STARTS])
_START_PERSISTENCE = np.array([persistence for _, persistence in _ALL_STARTS])
_START_OMEGA, _START_BETA = 1.0 - _START_PERSISTENCE, _START_PERSISTENCE - _START_ALPHA
_START_INVERSE_DOF = 1.0 / 8.0


@kernel
def rank(values: Vector, steps: Any, before: Vector, student: Any, found: Vector) -> None:
    """Log likelihoods, in nats and less a constant, of all sixteen starts in one pass; `found`
    (16,) in place.

    The squares over the variances are added up eight at a time over one denominator, which is the
    product that the logarithms are of; of t the product of h + square / d takes their place.
    """
    like = lanes(0.0)
    omega, other_omega = load(_START_OMEGA, 0, like), load(_START_OMEGA, 1, like)
    slope, other_slope = load(_START_ALPHA, 0, like), load(_START_ALPHA, 1, like)
    beta, other_beta = load(_START_BETA, 0, like), load(_START_BETA, 1, like)
    share = _START_INVERSE_DOF / (1.0 - 2.0 * _START_INVERSE_DOF)
    h = fused(slope + beta, before[0], omega)
    other_h = fused(other_slope + other_beta, before[0], other_omega)
    product, other_product, logs, other_logs = like + 1.0, like + 1.0, like, like
    tail, other_tail, sums, other_sums = like + 1.0, like + 1.0, like, like
    size = values.shape[0]
    for block in range(0, size, BLOCK):
        top, other_top = like, like
        if student is not None:
            top, other_top = tail, other_tail
        bottom, other_bottom = like + 1.0, like + 1.0
        for t in range(block, min(block + BLOCK, size)):
            if steps is not None:
                for _ in range(min(steps[t] - 1, _GAP_MAX)):
                    h = fused(slope + beta, h, omega)
                    other_h = fused(other_slope + other_beta, other_h, other_omega)
            square = values[t] * values[t]
            if student is None:
                top = fused(top, h, square * bottom)
                other_top = fused(other_top, other_h, square * other_bottom)
            else:
                top *= h + share * square
                other_top *= other_h + share * square
            bottom *= h
            other_bottom *= other_h
            h = fused(beta, h, fused(slope, square, omega))
            other_h = fused(other_beta, other_h, fused(other_slope, square, other_omega))
        product, exponent = split(product * bottom)
        other_product, other_exponent = split(other_product * other_bottom)
        logs += exponent
        other_logs += other_exponent
        if student is None:
            sums += top / bottom
            other_sums += other_top / other_bottom
        else:
            tail, exponent = split(top)
            other_tail, other_exponent = split(other_top)
            sums += exponent
            other_sums += other_exponent
    weight = 0.0 if student is None else 1.0 / _START_INVERSE_DOF + 1.0
    _rank_of(product, logs, tail, sums, weight, found[:WIDTH])
    _rank_of(other_product, other_logs, other_tail, other_sums, weight, found[WIDTH:])


@kernel
def _rank_of(product: Any, logs: Any, tail: Any, sums: Any, weight: float, found: Any) -> None:
    """Eight log likelihoods of the sums; `weight` is dof + 1, 0 for the normal."""
    tails = np.empty(WIDTH)
    store(found, 0, product)
    store(tails, 0, tail)
    known = np.empty(WIDTH)
    if weight == 0.0:
        store(known, 0, LN2 * logs + sums)
    else:
        store(known, 0, (1.0 - weight) * LN2 * logs + weight * LN2 * sums)
    for k in range(WIDTH):
        own = log(found[k])
        if weight > 0.0:
            own = (1.0 - weight) * own + weight * log(tails[k])
        found[k] = -0.5 * (own + known[k])


@kernel
def begin(start: int, theta: Vector) -> None:
    """Put a start's parameters into `theta` (6,)."""
    theta[MEAN], theta[OMEGA], theta[BETA] = 0.0, _START_OMEGA[start], _START_BETA[start]
    theta[UP], theta[DOWN] = _START_ALPHA[start], _START_ALPHA[start]
    theta[INVERSE_DOF] = _START_INVERSE_DOF


@kernel
def _mean(values: Vector) -> float:
    sum_of = 0.0
    for t in range(values.shape[0]):
        sum_of += values[t]
    return sum_of / values.shape[0]


@kernel
def _best(found: Vector, first: int, last: int) -> int:
    best = first
    for k in range(first, last):
        if found[k] > found[best]:
            best = k
    return best


@kernel
def _is_doubtful(
    theta: Vector,
    value: float,
    free: Vector,
    data: Vector,
    steps: Any,
    before: Vector,
    asymmetric: Any,
    student: Any,
    work: Vector,
) -> bool:
    """Whether other maxima are near: the sample is short, a slope is small or held at a bound, beta
    is, omega is all but nought, or a constant variance is nearly as likely.
    """
    if data.shape[0] < _SIZE_CLEAR:
        return True
    held = theta[UP] < _SLOPE_CLEAR or free[BETA] == 0.0 or theta[OMEGA] < 1e-6
    if held or (asymmetric is not None and free[DOWN] == 0.0):
        return True
    if student is None:  # of the values, whose mean is 0 and whose variance is 1
        size = data.shape[0]
        return value + 0.5 * size * (1.0 + theta[MEAN] * theta[MEAN] + _LOG_TWO_PI) < _GAIN_CLEAR
    flat = theta.copy()
    flat[OMEGA], flat[UP], flat[DOWN], flat[BETA] = 1.0, 0.0, 0.0, 0.0
    gradient, curvature = np.empty(SIZE), np.empty((SIZE, SIZE))
    constant = score(flat, data, steps, before, asymmetric, student, 0.0, work, gradient, curvature)
    return value - constant < _GAIN_CLEAR


@kernel
def search(
    values: Vector,
    steps: Any,
    before: Vector,
    asymmetric: Any,
    student: Any,
    theta: Vector,
    free: Vector,
    curvature: Matrix,
) -> Any:
    """The likeliest end of climbs from the likeliest starts; (log likelihood,
    whether the search came to its end, whether `curvature` is minus the Hessian there).

    Two climbs, or one from every start where the best end is doubtful.
    `values` (time,) have mean 0 and variance 1; `theta`, `free` and `curvature` in place.
    """
    data = values
    if steps is None:
        data = np.empty(values.shape[0])
        arrange(values, data)
    found, work = np.empty(_STARTS_COUNT), np.empty(256)
    rank(values, steps, before, student, found)
    end, end_free, end_curvature = np.empty(SIZE), np.empty(SIZE), np.empty((SIZE, SIZE))
    value, promised, sharp = -np.inf, np.inf, False
    start = 0
    climbs_max = _CLIMBS
    for climbs in range(_ALL_STARTS_COUNT):
        if climbs == _CLIMBS and _is_doubtful(
            theta, value, free, data, steps, before, asymmetric, student, work
        ):
            climbs_max = _ALL_STARTS_COUNT
        if climbs >= climbs_max:
            break
        # The second climb is from the other eight.
        first, last = 0, _STARTS_COUNT
        if climbs == 1:
            first, last = (0, WIDTH) if start >= WIDTH else (WIDTH, _STARTS_COUNT)
        start = climbs
        if climbs < _STARTS_COUNT:
            start = _best(found, first, last)
            found[start] = -np.inf
        begin(start, end)
        size = values.shape[0]
        if start == _LEVEL_FIRST:
            end[MEAN] = _mean(values[: size // _LEVEL_SHARE])
        elif start == _LEVEL_LAST:
            end[MEAN] = _mean(values[size - size // _LEVEL_SHARE :])
        reached, left, curved = climb(
            end, data, steps, before, asymmetric, student, work, end_free, end_curvature, theta,
            free, value,
        )  # fmt: skip
        if reached > value:
            value, promised, sharp = reached, left, curved
            theta[:] = end
            free[:] = end_free
            curvature[:] = end_curvature
    return value, promised < GAIN_ENDED, sharp


@kernel
def certify(
    theta: Vector,
    values: Vector,
    steps: Any,
    before: Vector,
    asymmetric: Any,
    student: Any,
    sharp: bool,
    free: Vector,
    curvature: Matrix,
) -> bool:
    """Whether the curvature at the end of a search is a maximum's in what is free, with `curvature`
    minus the Hessian.

    Without a slope the variance does not say what beta is: that is then not free.
    """
    flat = theta[UP] <= 0.0 and free[UP] == 0.0
    flat = flat and (asymmetric is None or (theta[DOWN] <= 0.0 and free[DOWN] == 0.0))
    if not sharp:
        work, gradient, data = np.empty(256), np.empty(SIZE), values
        if steps is None:
            data = np.empty(values.shape[0])
            arrange(values, data)
        score(theta, data, steps, before, asymmetric, student, 1.0, work, gradient, curvature)
        if steps is not None:
            differences(theta, data, steps, before, asymmetric, student, work, curvature)
        if is_capped(theta, asymmetric) and gradient[BETA] > 0.0:
            reduce_to_cap(gradient, curvature, asymmetric)
    if flat:
        free[BETA] = 0.0
    return factor(curvature, free, 0.0, np.empty((SIZE, SIZE)))


@kernel
def errors(free: Vector, curvature: Matrix, found: Vector) -> bool:
    """Standard errors (6,) of the point searched, and that of `down - up`; NaN for what is held.

    `found` (7,) in place; false where the curvature is not positive.
    """
    column, unit, lower = np.empty(SIZE), np.zeros(SIZE), np.empty((SIZE, SIZE))
    found[:] = np.nan
    if not factor(curvature, free, 0.0, lower):
        return False
    for j in range(SIZE):
        if free[j] > 0.0:
            unit[j] = 1.0
            substitute(lower, unit, free, column)
            found[j] = math.sqrt(column[j])
            unit[j] = 0.0
    if free[DOWN] > 0.0:
        unit[DOWN], unit[UP] = 1.0, -1.0
        substitute(lower, unit, free, column)
        up = column[UP] if free[UP] > 0.0 else 0.0
        found[SIZE] = math.sqrt(column[DOWN] - up)
    return True
