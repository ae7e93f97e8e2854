"""Likelihood of the Kalman filter from a diffuse start, at eight points in one pass.

The noise variance r is concentrated out: with the drifts in units of r,

    r = (1/n) sum e_t^2 / S_t,    log L = -(n/2)(log 2 pi + 1 + log r) - (1/2) sum log S_t

over the n observations that do not go into the start. Nothing is known of intercept and hedge ratio
before the first of all: until x first moves, at time k, only the level l = a + b x_0 is learned, a
local level with forecast variance p (in units of r) at k. With h = x_k - x_0 the start is then

    b = (y_k - l) / h,   a = l - b x_0,   D = p / h^2,
    Paa = (p x_k^2 + x_0^2) / h^2,   Pab = -(p x_k + x_0) / h^2,   Pbb = (p + 1) / h^2

which is the limit of ever wider priors; Durbin & Koopman (2012), sec. 5.2. Two observations go into
it. Eight points take the time of one: one waits for its divisions, eight fill the vectors.
"""

import numpy as np
import numpy.typing as npt

from hft_lib.kernel import kernel
from hft_lib.models.inputs import Counts, Vector
from hft_lib.models.kalman import predict_and_update
from hft_lib.models.special import log

Matrix = npt.NDArray[np.float64]

LANES = 8
VALUE, LOGS, SQUARES = range(3)  # rows of `found`
WORK = 11 * LANES
_LOG_TWO_PI = 1.8378770664093453
_LN2 = 0.6931471805599453
_MANTISSA = np.uint64(0x000FFFFFFFFFFFFF)
_ONE = np.uint64(0x3FF0000000000000)
_EXPONENT_BIAS = 1023.0
_NOISE_MIN = 1e-300
_ROUNDING = 1e-14  # of a log price

# Where each figure's lanes begin in the work array: constants, so that the loop is vectorised.
_A, _B, _AA, _AB, _BB, _D, _SQUARE, _PRODUCT, _EXPONENT, _QA, _QB = (LANES * k for k in range(11))


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
    for t in range(moved + 1, y.shape[0]):
        n, yt, xt = float(steps[t]), y[t], x[t]
        for i in range(LANES):
            _, _, _, a, b, aa, ab, bb, d, e, _, scale, _ = predict_and_update(
                work[_A + i],
                work[_B + i],
                work[_AA + i],
                work[_AB + i],
                work[_BB + i],
                work[_D + i],
                n * work[_QA + i],
                n * work[_QB + i],
                1.0,
                yt,
                xt,
            )
            work[_A + i], work[_B + i] = a, b
            work[_AA + i], work[_AB + i], work[_BB + i], work[_D + i] = aa, ab, bb, d
            work[_SQUARE + i] += e * e * scale
            # The product of all 1 / S as a mantissa and an exponent: one logarithm at the end.
            bits = np.float64(work[_PRODUCT + i] * scale).view(np.uint64)
            work[_EXPONENT + i] += np.float64(np.int64(bits >> np.uint64(52))) - _EXPONENT_BIAS
            work[_PRODUCT + i] = np.uint64((bits & _MANTISSA) | _ONE).view(np.float64)
    count = y.shape[0] - 2
    for i in range(LANES):
        logs = -(log(work[_PRODUCT + i]) + work[_EXPONENT + i] * _LN2)
        noise = max(work[_SQUARE + i] / count, _NOISE_MIN)
        value = -0.5 * (count * (_LOG_TWO_PI + 1.0 + log(noise)) + logs)
        found[VALUE, i] = value if -np.inf < value < np.inf else -np.inf
        found[LOGS, i], found[SQUARES, i] = logs, work[_SQUARE + i]


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
        bits = np.float64(product / s).view(np.uint64)
        exponent += np.float64(np.int64(bits >> np.uint64(52))) - _EXPONENT_BIAS
        product = np.uint64((bits & _MANTISSA) | _ONE).view(np.float64)
    p += steps[moved] * drift
    h = x[moved] - x[0]
    inverse = 1.0 / h
    square = inverse * inverse
    b = (y[moved] - level) * inverse
    work[_A + lane], work[_B + lane] = level - b * x[0], b
    work[_AA + lane] = (p * x[moved] * x[moved] + x[0] * x[0]) * square
    work[_AB + lane] = -(p * x[moved] + x[0]) * square
    work[_BB + lane] = (p + 1.0) * square
    work[_D + lane] = p * square
    work[_SQUARE + lane], work[_PRODUCT + lane], work[_EXPONENT + lane] = squares, product, exponent
    work[_QA + lane], work[_QB + lane] = qa, qb
