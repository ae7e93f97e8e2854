"""EGARCH's likelihood, gradient and information where no interval is without an observation.

The same figures as `egarch_score.score`, by its equations, in a sixth of the time. A series is cut
into eight parts that run side by side in the lanes of a vector, so that a step, whose exponential
must wait for that of the step before, waits once for eight. What a part starts from is not known
before the part before it has run: the parts run from what is guessed, and Newton's method puts the
guesses right,

    start_{p+1} <- end_p + P_p (start_p's correction),      P_p = product of dx'/dx over part p

which from the last point's starts, moved along their derivatives, takes one or two runs. After
seven runs in which every start is the end before it they are exact whatever the slopes were. The
derivatives dx have the same slopes: a part's own begin from nought, and are joined by P.

The log variance runs as y = -x / (2 log 2), so that 2^y is what an innovation is multiplied with.
Multiple shooting: Stoer & Bulirsch (2002), Introduction to Numerical Analysis, sec. 7.3.5.
"""

from typing import Any

import numpy as np

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
    add_dof,
    log_presample,
    weigh,
)
from hft_lib.kernel import kernel
from hft_lib.models.egarch import ABSOLUTE_MEAN, LOG_VARIANCE_MAX
from hft_lib.models.garch import t_log_scale
from hft_lib.models.inputs import Vector
from hft_lib.models.lanes import (
    WIDTH,
    fused,
    lanes,
    load,
    multiplied,
    pick_negative,
    shifted,
    split,
    store,
    total,
)
from hft_lib.models.special import EXP2_SERIES, log

# x = PER_LOG y
PER_LOG = -1.3862943611198906
INTO_LOG = 1.0 / PER_LOG
Y_MAX = -LOG_VARIANCE_MAX / PER_LOG
SLOPE_MIN = 1e-10  # what |dx'/dx| counts as where it is less
_ROUND = 6755399441055744.0  # its addition leaves the nearest integer in a float64's low bits
LN2 = 0.6931471805599453
_LOG_TWO_PI = 1.8378770664093453
BLOCK = 8  # factors multiplied before their logarithm's exponent is taken out
FACTOR_MAX = 1e30
# Rows of a state: y, the product of the slopes, dx by the parameters, and dx where the mean jumps.
_Y, _SLOPES, _DX, _DX_JUMP = 0, 1, 2, 7
ROWS = 8
_APART_MAX = 1e-9  # of a part's start, before its last correction
_MOVE_MAX = 1.0
_RUNS, _RUNS_EXACT = 8, 8
# Where `work` keeps what.
STARTS, _STATE, _POINT = 0, 64, 128
WORK = 136 + 8 * 48
SUMS = 136


@kernel
def pad(size: int) -> int:
    """Steps of the first part that stand before the sample, so that all parts are equally long."""
    return (WIDTH - size % WIDTH) % WIDTH


@kernel
def arrange(values: Vector) -> Vector:
    """The eight parts of `values` (time,) side by side, the first after `pad` zeros."""
    size, before = values.shape[0], pad(values.shape[0])
    length = (size + before) // WIDTH
    arranged = np.zeros(length * WIDTH)
    for part in range(WIDTH):
        for t in range(before if part == 0 else 0, length):
            arranged[t * WIDTH + part] = values[part * length + t - before]
    return arranged


@kernel
def exp2(y: Any) -> Any:
    """2 to the power of lanes between -1000 and 1000: `special.exp2` with less to wait for."""
    high = y + _ROUND
    r = y - (high - _ROUND)
    c = EXP2_SERIES
    square = r * r
    fourth = square * square
    low = fused(fused(c[3], r, c[2]), square, fused(c[1], r, c[0]))
    middle = fused(fused(c[7], r, c[6]), square, fused(c[5], r, c[4]))
    top = fused(c[10], square, fused(c[9], r, c[8]))
    return shifted(fused(top, fourth * fourth, fused(middle, fourth, low)), high)


@kernel
def _run(data: Vector, begin: int, end: int, theta: Vector, state: Vector) -> None:
    """Bring a state (ROWS 8,) over steps `begin` to `end` of its parts, in place."""
    like = lanes(0.0)
    mean, beta, gamma = theta[MEAN], theta[BETA], like + theta[GAMMA]
    tie = like + theta[ALPHA]
    above, below = gamma + theta[ALPHA], gamma - theta[ALPHA]
    drift = like + INTO_LOG * (theta[OMEGA] - theta[ALPHA] * ABSOLUTE_MEAN)
    lowest, highest = like - Y_MAX, like + Y_MAX
    y, p = load(state, 0, like), load(state, 1, like)
    d0, d1, d2 = load(state, 2, like), load(state, 3, like), load(state, 4, like)
    d3, d4, d6 = load(state, 5, like), load(state, 6, like), load(state, 7, like)
    for block in range(begin, end, BLOCK):
        for t in range(block, min(block + BLOCK, end)):
            e = load(data, t, like) - mean
            opposite = 0.0 - e
            lever = pick_negative(e, below, pick_negative(opposite, above, gamma))
            tied = pick_negative(e, like, pick_negative(opposite, like, tie))
            root = exp2(y)
            inside = pick_negative(y * y - Y_MAX * Y_MAX, like + 1.0, like)
            z = e * root
            b = (beta - 0.5 * lever * z) * inside
            p *= b
            d0 = fused(b, d0, 0.0 - lever * root)
            d1 = fused(b, d1, 1.0)
            d2 = fused(b, d2, pick_negative(e, opposite, e) * root - ABSOLUTE_MEAN)
            d3 = fused(b, d3, z)
            d4 = fused(b, d4, y * PER_LOG)
            d6 = fused(b, d6, tied * root)
            y = fused(lever * e * INTO_LOG, root, fused(beta, y, drift))
            y = pick_negative(y - highest, y, highest)
            y = pick_negative(lowest - y, y, lowest)
        # Numbers below the normal ones would be slow.
        p = pick_negative(p * p - 1e-200, like, p)
    store(state, 0, y)
    store(state, 1, p)
    store(state, 2, d0)
    store(state, 3, d1)
    store(state, 4, d2)
    store(state, 5, d3)
    store(state, 6, d4)
    store(state, 7, d6)


@kernel
def _put_first(theta: Vector, presample: Vector, state: Vector) -> None:
    """Give the first part what the sample starts from, in place."""
    before, by_mean, _ = log_presample(presample, theta[MEAN])
    x = theta[OMEGA] + theta[BETA] * before
    for row in range(ROWS):
        state[row * WIDTH] = 0.0
    state[_Y * WIDTH] = min(max(x * INTO_LOG, -Y_MAX), Y_MAX)
    state[_SLOPES * WIDTH] = 1.0
    state[(_DX + MEAN) * WIDTH] = theta[BETA] * by_mean
    state[(_DX + OMEGA) * WIDTH] = 1.0
    state[(_DX + BETA) * WIDTH] = before


@kernel
def _guess(theta: Vector, work: Vector) -> None:
    """What the parts may start from: from the last point's along their derivatives, in place."""
    starts, point = work[STARTS : STARTS + ROWS * WIDTH], work[_POINT : _POINT + 6]
    if point[BETA] != point[BETA]:  # none yet
        x = theta[OMEGA] / max(1.0 - theta[BETA], 1e-3)
        for part in range(1, WIDTH):
            starts[part] = min(max(x * INTO_LOG, -20.0), 20.0)
    else:
        for part in range(1, WIDTH):
            move = 0.0
            for j in range(BETA + 1):
                move += starts[(_DX + j) * WIDTH + part] * (theta[j] - point[j])
            move = min(max(move * INTO_LOG, -_MOVE_MAX), _MOVE_MAX)
            starts[part] = min(max(starts[part] + move, -Y_MAX), Y_MAX)
    point[:] = theta


@kernel
def _correct(starts: Vector, ends: Vector, exact: bool) -> float:
    """Put right what the parts start from, in place; the largest correction."""
    apart, largest = 0.0, 0.0
    for part in range(1, WIDTH):
        carried = ends[_SLOPES * WIDTH + part - 1] * apart
        apart = ends[part - 1] - starts[part]
        if not exact and abs(carried) < _MOVE_MAX:
            apart += carried
        starts[part] += apart
        largest = max(largest, abs(apart))
    return largest


@kernel
def find_starts(theta: Vector, data: Vector, before: int, presample: Vector, work: Vector) -> None:
    """Put what every part starts from, (ROWS 8,), in place at the head of `work`."""
    starts = work[STARTS : STARTS + ROWS * WIDTH]
    state = work[_STATE : _STATE + ROWS * WIDTH]
    length = data.shape[0] // WIDTH
    _guess(theta, work)
    for run in range(_RUNS + _RUNS_EXACT):
        state[:] = 0.0
        state[: 2 * WIDTH] = 1.0
        state[:WIDTH] = starts[:WIDTH]
        if before > 0:
            state[0] = 0.0
            _run(data, 0, before, theta, state)
        _put_first(theta, presample, state)
        _run(data, before, length, theta, state)
        if _correct(starts, state, run >= _RUNS) < _APART_MAX:
            break
    _put_first(theta, presample, starts)
    for part in range(1, WIDTH):
        slopes = state[_SLOPES * WIDTH + part - 1]
        starts[_SLOPES * WIDTH + part] = slopes
        for row in range(_DX, ROWS):
            here = row * WIDTH + part
            # The first part's own start is in its end already.
            carried = slopes * starts[here - 1] if part > 1 else 0.0
            starts[here] = state[here - 1] + carried


@kernel
def score(
    theta: Vector,
    data: Vector,
    size: int,
    presample: Vector,
    normal: bool,
    work: Vector,
    gradient: Vector,
    information: Matrix,
) -> float:
    """`egarch_score.score` at `theta` (6,) of `size` observations, `arrange`d to `data`.

    `work` (WORK,) is the caller's from point to point; NaN before the first.
    """
    before, length = pad(size), data.shape[0] // WIDTH
    find_starts(theta, data, before, presample, work)
    state = work[_STATE : _STATE + ROWS * WIDTH]
    state[:] = work[STARTS : STARTS + ROWS * WIDTH]
    sums = work[SUMS:WORK]
    sums[:] = 0.0
    sums[_PRODUCT * WIDTH : (_LOWEST + 1) * WIDTH] = 1.0
    sums[_LOWEST * WIDTH : (_LOWEST + 1) * WIDTH] = -np.inf
    if before > 0:
        _sweep(data, 0, before, theta, normal, state, sums)
        for row in range(_SUMS):
            sums[row * WIDTH] = 0.0
        sums[_PRODUCT * WIDTH], sums[_CHAIN * WIDTH] = 1.0, 1.0
        sums[_LOWEST * WIDTH] = -np.inf
        for row in range(ROWS):
            state[row * WIDTH] = work[STARTS + row * WIDTH]
    _sweep(data, before, length, theta, normal, state, sums)
    return _summed(theta, size, normal, sums, gradient, information)


# Rows of the sums: of the gradient, of dx, of the information's products (lower half), and others.
_G, _G_JUMP, _S, _I = 0, 5, 6, 11
_SUM_Y, _RATIOS, _OF_MEAN, _TAILS, _MEMORY, _PRODUCT, _CHAIN, _LOWEST = range(26, 34)
_SUMS = 34


@kernel
def _sweep(
    data: Vector,
    begin: int,
    end: int,
    theta: Vector,
    normal: bool,
    state: Vector,
    sums: Vector,
) -> None:
    """Add what steps `begin` to `end` of the parts have to say, in place."""
    like = lanes(0.0)
    mean, beta, gamma = theta[MEAN], theta[BETA], like + theta[GAMMA]
    tie = like + theta[ALPHA]
    above, below = gamma + theta[ALPHA], gamma - theta[ALPHA]
    drift = like + INTO_LOG * (theta[OMEGA] - theta[ALPHA] * ABSOLUTE_MEAN)
    lowest, highest = like - Y_MAX, like + Y_MAX
    dof = 1.0 / theta[INVERSE_DOF]
    d, d_inverse = dof - 2.0, 1.0 / (dof - 2.0)
    y = load(state, 0, like)
    d0, d1, d2 = load(state, 2, like), load(state, 3, like), load(state, 4, like)
    d3, d4, d6 = load(state, 5, like), load(state, 6, like), load(state, 7, like)
    g0, g1, g2 = load(sums, 0, like), load(sums, 1, like), load(sums, 2, like)
    g3, g4, g6 = load(sums, 3, like), load(sums, 4, like), load(sums, 5, like)
    s0, s1, s2 = load(sums, 6, like), load(sums, 7, like), load(sums, 8, like)
    s3, s4 = load(sums, 9, like), load(sums, 10, like)
    i00, i10, i11 = load(sums, 11, like), load(sums, 12, like), load(sums, 13, like)
    i20, i21, i22 = load(sums, 14, like), load(sums, 15, like), load(sums, 16, like)
    i30, i31, i32 = load(sums, 17, like), load(sums, 18, like), load(sums, 19, like)
    i33, i40, i41 = load(sums, 20, like), load(sums, 21, like), load(sums, 22, like)
    i42, i43, i44 = load(sums, 23, like), load(sums, 24, like), load(sums, 25, like)
    sum_y, ratios, of_mean = load(sums, 26, like), load(sums, 27, like), load(sums, 28, like)
    tails, memory = load(sums, 29, like), load(sums, 30, like)
    product, chain, highest_y = load(sums, 31, like), load(sums, 32, like), load(sums, 33, like)
    for block in range(begin, end, BLOCK):
        for t in range(block, min(block + BLOCK, end)):
            e = load(data, t, like) - mean
            opposite = 0.0 - e
            lever = pick_negative(e, below, pick_negative(opposite, above, gamma))
            tied = pick_negative(e, like, pick_negative(opposite, like, tie))
            root = exp2(y)
            inside = pick_negative(y * y - Y_MAX * Y_MAX, like + 1.0, like)
            z = e * root
            square = z * z
            sum_y += y
            highest_y = pick_negative(highest_y - y, y, highest_y)
            of_mean = fused(root, root, of_mean)
            if normal:
                ratios += square
                pulled, pull = square, z * root
            else:
                weight = (dof + 1.0) / (d + square)
                factor = fused(square, d_inverse, 1.0)
                product *= pick_negative(factor - FACTOR_MAX, factor, like + FACTOR_MAX)
                pulled, pull = weight * square, weight * z * root
                ratios += pulled
            by_x = (0.5 * pulled - 0.5) * inside
            g0 = fused(by_x, d0, g0 + pull)
            g1 = fused(by_x, d1, g1)
            g2 = fused(by_x, d2, g2)
            g3 = fused(by_x, d3, g3)
            g4 = fused(by_x, d4, g4)
            g6 = fused(by_x, d6, g6)
            s0 += d0
            s1 += d1
            s2 += d2
            s3 += d3
            s4 += d4
            i00 = fused(d0, d0, i00)
            i10 = fused(d1, d0, i10)
            i11 = fused(d1, d1, i11)
            i20 = fused(d2, d0, i20)
            i21 = fused(d2, d1, i21)
            i22 = fused(d2, d2, i22)
            i30 = fused(d3, d0, i30)
            i31 = fused(d3, d1, i31)
            i32 = fused(d3, d2, i32)
            i33 = fused(d3, d3, i33)
            i40 = fused(d4, d0, i40)
            i41 = fused(d4, d1, i41)
            i42 = fused(d4, d2, i42)
            i43 = fused(d4, d3, i43)
            i44 = fused(d4, d4, i44)
            b = (beta - 0.5 * lever * z) * inside
            length = pick_negative(b, 0.0 - b, b)
            length = pick_negative(length - SLOPE_MIN, like + SLOPE_MIN, length)
            chain *= pick_negative(length - FACTOR_MAX, length, like + FACTOR_MAX)
            d0 = fused(b, d0, 0.0 - lever * root)
            d1 = fused(b, d1, 1.0)
            d2 = fused(b, d2, pick_negative(e, opposite, e) * root - ABSOLUTE_MEAN)
            d3 = fused(b, d3, z)
            d4 = fused(b, d4, y * PER_LOG)
            d6 = fused(b, d6, tied * root)
            y = fused(lever * e * INTO_LOG, root, fused(beta, y, drift))
            y = pick_negative(y - highest, y, highest)
            y = pick_negative(lowest - y, y, lowest)
        chain, exponent = split(chain)
        memory += exponent
        product, exponent = split(product)
        tails += exponent
    store(state, 0, y)
    store(state, 2, d0)
    store(state, 3, d1)
    store(state, 4, d2)
    store(state, 5, d3)
    store(state, 6, d4)
    store(state, 7, d6)
    store(sums, 0, g0)
    store(sums, 1, g1)
    store(sums, 2, g2)
    store(sums, 3, g3)
    store(sums, 4, g4)
    store(sums, 5, g6)
    store(sums, 6, s0)
    store(sums, 7, s1)
    store(sums, 8, s2)
    store(sums, 9, s3)
    store(sums, 10, s4)
    store(sums, 11, i00)
    store(sums, 12, i10)
    store(sums, 13, i11)
    store(sums, 14, i20)
    store(sums, 15, i21)
    store(sums, 16, i22)
    store(sums, 17, i30)
    store(sums, 18, i31)
    store(sums, 19, i32)
    store(sums, 20, i33)
    store(sums, 21, i40)
    store(sums, 22, i41)
    store(sums, 23, i42)
    store(sums, 24, i43)
    store(sums, 25, i44)
    store(sums, 26, sum_y)
    store(sums, 27, ratios)
    store(sums, 28, of_mean)
    store(sums, 29, tails)
    store(sums, 30, memory)
    store(sums, 31, product)
    store(sums, 32, chain)
    store(sums, 33, highest_y)


@kernel
def _summed(
    theta: Vector,
    size: int,
    normal: bool,
    sums: Vector,
    gradient: Vector,
    information: Matrix,
) -> float:
    """The log likelihood; gradient and information in place."""
    like, dof = lanes(0.0), 1.0 / theta[INVERSE_DOF]
    product, chain = load(sums, _PRODUCT, like), load(sums, _CHAIN, like)
    for j in range(BETA + 1):
        gradient[j] = total(load(sums, _G + j, like))
    gradient[INVERSE_DOF] = 0.0
    gradient[JUMP] = total(load(sums, _G_JUMP, like))
    gradient[MEMORY] = LN2 * total(load(sums, _MEMORY, like)) + log(multiplied(chain))
    highest = -np.inf
    for part in range(WIDTH):
        highest = max(highest, sums[_LOWEST * WIDTH + part])
    gradient[LOWEST] = PER_LOG * highest
    row = _I
    for j in range(BETA + 1):
        for k in range(j + 1):
            information[j, k] = total(load(sums, row, like))
            row += 1
    information[INVERSE_DOF, :] = 0.0
    weigh(dof, normal, total(load(sums, _OF_MEAN, like)), information)
    logs = PER_LOG * total(load(sums, _SUM_Y, like))
    ratios = total(load(sums, _RATIOS, like))
    if normal:
        return -0.5 * (logs + ratios + size * _LOG_TWO_PI)
    tails = LN2 * total(load(sums, _TAILS, like)) + log(multiplied(product))
    slopes = (
        total(load(sums, _S, like)),
        total(load(sums, _S + 1, like)),
        total(load(sums, _S + 2, like)),
        total(load(sums, _S + 3, like)),
        total(load(sums, _S + 4, like)),
        0.0,
    )
    add_dof(dof, size, tails, ratios, slopes, gradient, information)
    return size * t_log_scale(dof) - 0.5 * (logs + (dof + 1.0) * tails)
