"""Likelihood of the Kalman filter from a diffuse start, at eight points in one pass.

The noise variance r is concentrated out: with the drifts in units of r,

    r = (1/n) sum e_t^2 / S_t,    log L = -(n/2)(log 2 pi + 1 + log r) - (1/2) sum log S_t

over the n observations that do not go into the start. Nothing is known of intercept and hedge ratio
before the first of all: until x first moves, at time k, only the level l = a + b x_0 is learned, a
local level with forecast variance p (in units of r) at k. With h = x_k - x_0 the start is then

    b = (y_k - l) / h,   a = l - b x_0,   D = p / h^2,
    Paa = (p x_k^2 + x_0^2) / h^2,   Pab = -(p x_k + x_0) / h^2,   Pbb = (p + 1) / h^2

which is the limit of ever wider priors; Durbin & Koopman (2012), sec. 5.2. Two observations go into
it. Eight points take the time of one: they are the eight lanes of a vector.
"""

import numpy as np
import numpy.typing as npt

from hft_lib.kernel import kernel
from hft_lib.models.inputs import Counts, Vector
from hft_lib.models.kalman import predict_and_update
from hft_lib.models.lanes import WIDTH, lanes, load, split, store
from hft_lib.models.special import log

Matrix = npt.NDArray[np.float64]

LANES = WIDTH
VALUE, LOGS, SQUARES = range(3)  # rows of `found`
WORK = 11 * LANES
_LOG_TWO_PI = 1.8378770664093453
_LN2 = 0.6931471805599453
_NOISE_MIN = 1e-300
_ROUNDING = 1e-14  # of a log price

# Where each figure's lanes lie in the work array, counted in eights.
_A, _B, _AA, _AB, _BB, _D, _SQUARES, _PRODUCT, _EXPONENT, _QA, _QB = range(11)


@kernel
def likelihoods(
    y: Vector, x: Vector, steps: Counts, drifts: Matrix, work: Vector, found: Matrix
) -> None:
    """Put (log likelihood, sum of log S, sum of e^2 / S) of eight points in `found` (3, 8).

    `drifts` (2, 8): those of intercept and hedge ratio over the noise variance. `work` has WORK
    values; x must move. A likelihood that is no number is minus infinity.
    """
    moved = first_move(x)
    for i in range(LANES):
        _start(y, x, steps, moved, drifts[0, i], drifts[1, i], i, work)
    like = lanes(0.0)
    a, b, aa = load(work, _A, like), load(work, _B, like), load(work, _AA, like)
    ab, bb, d = load(work, _AB, like), load(work, _BB, like), load(work, _D, like)
    scale, squares = lanes(1.0), load(work, _SQUARES, like)
    product, exponent = load(work, _PRODUCT, like), load(work, _EXPONENT, like)
    qa, qb = load(work, _QA, like), load(work, _QB, like)
    for t in range(moved + 1, y.shape[0]):
        n = float(steps[t])
        _, _, _, _, a, b, aa, ab, bb, d, scale, e, _, _ = predict_and_update(
            a, b, aa, ab, bb, d, scale, n * qa, n * qb, 1.0, y[t], x[t]
        )
        squares += e * e * scale
        # The product of all 1 / S as a mantissa and an exponent: one logarithm at the end.
        product, more = split(product * scale)
        exponent += more
    store(work, _SQUARES, squares)
    store(work, _PRODUCT, product)
    store(work, _EXPONENT, exponent)
    count = y.shape[0] - 2
    for i in range(LANES):
        logs = -(log(work[_PRODUCT * LANES + i]) + work[_EXPONENT * LANES + i] * _LN2)
        noise = max(work[_SQUARES * LANES + i] / count, _NOISE_MIN)
        value = -0.5 * (count * (_LOG_TWO_PI + 1.0 + log(noise)) + logs)
        found[VALUE, i] = value if -np.inf < value < np.inf else -np.inf
        found[LOGS, i], found[SQUARES, i] = logs, work[_SQUARES * LANES + i]


@kernel
def first_move(x: Vector) -> int:
    """The first index at which `x` is not what it was at the first, but for its rounding; the last
    one where it never is.
    """
    moved = 1
    while moved < x.shape[0] - 1 and abs(x[moved] - x[0]) <= _ROUNDING * abs(x[0]):
        moved += 1
    return moved


@kernel
def _start(
    y: Vector, x: Vector, steps: Counts, moved: int, qa: float, qb: float, lane: int, work: Vector
) -> None:
    """The diffuse start of one lane, and the terms of what came before x moved."""
    level, p, squares, product, exponent = y[0], 1.0, 0.0, 1.0, 0.0
    drift = qa + x[0] * x[0] * qb
    for t in range(1, moved):
        p += steps[t] * drift
        e, s = y[t] - level, p + 1.0
        squares += e * e / s
        level += e * (p / s)
        p /= s
        product, more = split(product / s)
        exponent += more
    p += steps[moved] * drift
    h = x[moved] - x[0]
    inverse = 1.0 / h
    square = inverse * inverse
    b = (y[moved] - level) * inverse
    began = (  # in the order of the work array
        level - b * x[0],
        b,
        (p * x[moved] * x[moved] + x[0] * x[0]) * square,
        -(p * x[moved] + x[0]) * square,
        (p + 1.0) * square,
        p * square,
        squares,
        product,
        exponent,
        qa,
        qb,
    )
    for k in range(len(began)):
        work[k * LANES + lane] = began[k]
