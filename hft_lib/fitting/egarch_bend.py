"""Minus the Hessian of EGARCH's likelihood where no interval is without an observation.

`egarch_score.hessian` by its equations, on the parts of `egarch_sweep`. A part's second derivatives
of x begin from nought; what they then lack is their start times the product P of the slopes so far,
and what the Hessian lacks by that their start times the sum of dl/dx P over the part.
"""

from hft_lib.fitting.egarch_score import (
    ALPHA,
    BETA,
    GAMMA,
    INVERSE_DOF,
    MEAN,
    OMEGA,
    Matrix,
    log_presample,
    log_scale_slopes,
)
from hft_lib.fitting.egarch_sweep import (
    BLOCK,
    FACTOR_MAX,
    INTO_LOG,
    LN2,
    PER_LOG,
    STARTS,
    Y_MAX,
    exp2,
    find_starts,
    pad,
)
from hft_lib.kernel import kernel
from hft_lib.models.egarch import ABSOLUTE_MEAN
from hft_lib.models.inputs import Vector
from hft_lib.models.lanes import (
    WIDTH,
    fused,
    lanes,
    load,
    multiplied,
    pick_negative,
    split,
    store,
    total,
)
from hft_lib.models.special import log

# Rows: y, the product of the slopes, dx (5), second derivatives of x (15, lower half); then sums
# of the Hessian (15), of dx by dof (5), and others.
_SLOPES, _DX, _DXX, _H, _H_DOF = 1, 2, 7, 22, 37
_REACH, _OF_MEAN, _OF_MEAN_DOF, _RATIOS, _CURVES, _TAILS, _PRODUCT = range(42, 49)
ROWS = 49


@kernel
def hessian(
    theta: Vector,
    data: Vector,
    size: int,
    presample: Vector,
    normal: bool,
    work: Vector,
    bends: Vector,
    matrix: Matrix,
) -> None:
    """`egarch_score.hessian` at `theta` (6,) of `size` observations, `arrange`d to `data`.

    `work` as in `egarch_sweep.score`; `bends` (ROWS 8,) is scratch.
    """
    before, length = pad(size), data.shape[0] // WIDTH
    find_starts(theta, data, before, presample, work)
    bends[:] = 0.0
    bends[: _DXX * WIDTH] = work[STARTS : STARTS + _DXX * WIDTH]
    bends[_SLOPES * WIDTH : (_SLOPES + 1) * WIDTH] = 1.0
    bends[_PRODUCT * WIDTH :] = 1.0
    if before > 0:
        _sweep(data, 0, before, theta, normal, bends)
    for row in range(ROWS):
        bends[row * WIDTH] = work[STARTS + row * WIDTH] if row < _DXX else 0.0
    _, by_mean, by_mean_twice = log_presample(presample, theta[MEAN])
    bends[_SLOPES * WIDTH] = bends[_PRODUCT * WIDTH] = 1.0
    bends[_DXX * WIDTH] = theta[BETA] * by_mean_twice
    bends[(_DXX + 10) * WIDTH] = by_mean  # by mean and beta
    _sweep(data, before, length, theta, normal, bends)
    _join(bends)
    _put(theta, size, normal, bends, matrix)


@kernel
def _sweep(data: Vector, begin: int, end: int, theta: Vector, normal: bool, rows: Vector) -> None:
    """Add what steps `begin` to `end` of the parts have to say, in place."""
    like = lanes(0.0)
    mean, beta, gamma = theta[MEAN], theta[BETA], like + theta[GAMMA]
    above, below = gamma + theta[ALPHA], gamma - theta[ALPHA]
    drift = like + INTO_LOG * (theta[OMEGA] - theta[ALPHA] * ABSOLUTE_MEAN)
    lowest, highest = like - Y_MAX, like + Y_MAX
    dof = 1.0 / theta[INVERSE_DOF]
    d, d_inverse = dof - 2.0, 1.0 / (dof - 2.0)
    curved = 0.5 * d_inverse
    curve_least = 2.0 - (dof + 1.0) * d_inverse
    y, p = load(rows, 0, like), load(rows, 1, like)
    d0, d1, d2 = load(rows, 2, like), load(rows, 3, like), load(rows, 4, like)
    d3, d4 = load(rows, 5, like), load(rows, 6, like)
    x00, x10, x11 = load(rows, 7, like), load(rows, 8, like), load(rows, 9, like)
    x20, x21, x22 = load(rows, 10, like), load(rows, 11, like), load(rows, 12, like)
    x30, x31, x32 = load(rows, 13, like), load(rows, 14, like), load(rows, 15, like)
    x33, x40, x41 = load(rows, 16, like), load(rows, 17, like), load(rows, 18, like)
    x42, x43, x44 = load(rows, 19, like), load(rows, 20, like), load(rows, 21, like)
    h00, h10, h11 = load(rows, 22, like), load(rows, 23, like), load(rows, 24, like)
    h20, h21, h22 = load(rows, 25, like), load(rows, 26, like), load(rows, 27, like)
    h30, h31, h32 = load(rows, 28, like), load(rows, 29, like), load(rows, 30, like)
    h33, h40, h41 = load(rows, 31, like), load(rows, 32, like), load(rows, 33, like)
    h42, h43, h44 = load(rows, 34, like), load(rows, 35, like), load(rows, 36, like)
    v0, v1, v2 = load(rows, 37, like), load(rows, 38, like), load(rows, 39, like)
    v3, v4 = load(rows, 40, like), load(rows, 41, like)
    reach, of_mean = load(rows, 42, like), load(rows, 43, like)
    of_mean_dof, ratios = load(rows, 44, like), load(rows, 45, like)
    curves, tails, product = load(rows, 46, like), load(rows, 47, like), load(rows, 48, like)
    for block in range(begin, end, BLOCK):
        for t in range(block, min(block + BLOCK, end)):
            e = load(data, t, like) - mean
            opposite = 0.0 - e
            lever = pick_negative(e, below, pick_negative(opposite, above, gamma))
            root = exp2(y)
            inside = pick_negative(y * y - Y_MAX * Y_MAX, like + 1.0, like)
            z = e * root
            size = pick_negative(e, opposite, e) * root
            square = z * z
            if normal:
                by_x = (0.5 * square - 0.5) * inside
                by_x_twice = -0.5 * square * inside
                cross = 0.0 - z * root * inside
                of_mean -= root * root
            else:
                rest = 1.0 / (d + square)
                weight = (dof + 1.0) * rest
                factor = fused(square, d_inverse, 1.0)
                product *= pick_negative(factor - FACTOR_MAX, factor, like + FACTOR_MAX)
                share = square * rest
                pulled = weight * square
                ratios += pulled
                curves += curved * share * (curve_least - weight)
                tamed = (1.0 - share) * inside
                by_x = (0.5 * pulled - 0.5) * inside
                by_x_twice = -0.5 * pulled * tamed
                cross = 0.0 - weight * z * root * tamed
                of_mean -= weight * root * root * (1.0 - 2.0 * share)
                untold = 1.0 - weight
                of_mean_dof += z * root * rest * untold
                by_dof = share * untold * inside
                v0 = fused(by_dof, d0, v0)
                v1 = fused(by_dof, d1, v1)
                v2 = fused(by_dof, d2, v2)
                v3 = fused(by_dof, d3, v3)
                v4 = fused(by_dof, d4, v4)
            reach = fused(by_x, p, reach)
            # Of the Hessian: dl/dx by the second derivatives, and d2l by the first ones.
            at0 = fused(by_x_twice, d0, cross)
            at1, at2, at3, at4 = by_x_twice * d1, by_x_twice * d2, by_x_twice * d3, by_x_twice * d4
            h00 = fused(by_x, x00, fused(at0 + cross, d0, h00))
            h10 = fused(by_x, x10, fused(at0, d1, h10))
            h11 = fused(by_x, x11, fused(at1, d1, h11))
            h20 = fused(by_x, x20, fused(at0, d2, h20))
            h21 = fused(by_x, x21, fused(at1, d2, h21))
            h22 = fused(by_x, x22, fused(at2, d2, h22))
            h30 = fused(by_x, x30, fused(at0, d3, h30))
            h31 = fused(by_x, x31, fused(at1, d3, h31))
            h32 = fused(by_x, x32, fused(at2, d3, h32))
            h33 = fused(by_x, x33, fused(at3, d3, h33))
            h40 = fused(by_x, x40, fused(at0, d4, h40))
            h41 = fused(by_x, x41, fused(at1, d4, h41))
            h42 = fused(by_x, x42, fused(at2, d4, h42))
            h43 = fused(by_x, x43, fused(at3, d4, h43))
            h44 = fused(by_x, x44, fused(at4, d4, h44))
            # What the slope b itself is moved by: f by the parameter, with `bend` dx in all.
            b = (beta - 0.5 * lever * z) * inside
            bend = 0.25 * lever * z * inside
            f0, f2, f3 = 0.5 * lever * root * inside, -0.5 * size * inside, -0.5 * z * inside
            w0, w1, w2 = fused(bend, d0, f0), bend * d1, fused(bend, d2, f2)
            w3, w4 = fused(bend, d3, f3), fused(bend, d4, inside)
            sided = pick_negative(e, root, pick_negative(opposite, like - root, like))
            x00 = fused(b, x00, (w0 + f0) * d0)
            x10 = fused(b, x10, w0 * d1)
            x11 = fused(b, x11, w1 * d1)
            x20 = fused(b, x20, fused(w0, d2, fused(d0, f2, sided)))
            x21 = fused(b, x21, fused(w1, d2, d1 * f2))
            x22 = fused(b, x22, (w2 + f2) * d2)
            x30 = fused(b, x30, fused(w0, d3, fused(d0, f3, like - root)))
            x31 = fused(b, x31, fused(w1, d3, d1 * f3))
            x32 = fused(b, x32, fused(w2, d3, d2 * f3))
            x33 = fused(b, x33, (w3 + f3) * d3)
            x40 = fused(b, x40, fused(w0, d4, d0 * inside))
            x41 = fused(b, x41, fused(w1, d4, d1 * inside))
            x42 = fused(b, x42, fused(w2, d4, d2 * inside))
            x43 = fused(b, x43, fused(w3, d4, d3 * inside))
            x44 = fused(b, x44, (w4 + inside) * d4)
            p *= b
            d0 = fused(b, d0, 0.0 - lever * root)
            d1 = fused(b, d1, 1.0)
            d2 = fused(b, d2, size - ABSOLUTE_MEAN)
            d3 = fused(b, d3, z)
            d4 = fused(b, d4, y * PER_LOG)
            y = fused(lever * e * INTO_LOG, root, fused(beta, y, drift))
            y = pick_negative(y - highest, y, highest)
            y = pick_negative(lowest - y, y, lowest)
        # Numbers below the normal ones would be slow.
        p = pick_negative(p * p - 1e-200, like, p)
        product, exponent = split(product)
        tails += exponent
    store(rows, 0, y)
    store(rows, 1, p)
    store(rows, 2, d0)
    store(rows, 3, d1)
    store(rows, 4, d2)
    store(rows, 5, d3)
    store(rows, 6, d4)
    store(rows, 7, x00)
    store(rows, 8, x10)
    store(rows, 9, x11)
    store(rows, 10, x20)
    store(rows, 11, x21)
    store(rows, 12, x22)
    store(rows, 13, x30)
    store(rows, 14, x31)
    store(rows, 15, x32)
    store(rows, 16, x33)
    store(rows, 17, x40)
    store(rows, 18, x41)
    store(rows, 19, x42)
    store(rows, 20, x43)
    store(rows, 21, x44)
    store(rows, 22, h00)
    store(rows, 23, h10)
    store(rows, 24, h11)
    store(rows, 25, h20)
    store(rows, 26, h21)
    store(rows, 27, h22)
    store(rows, 28, h30)
    store(rows, 29, h31)
    store(rows, 30, h32)
    store(rows, 31, h33)
    store(rows, 32, h40)
    store(rows, 33, h41)
    store(rows, 34, h42)
    store(rows, 35, h43)
    store(rows, 36, h44)
    store(rows, 37, v0)
    store(rows, 38, v1)
    store(rows, 39, v2)
    store(rows, 40, v3)
    store(rows, 41, v4)
    store(rows, 42, reach)
    store(rows, 43, of_mean)
    store(rows, 44, of_mean_dof)
    store(rows, 45, ratios)
    store(rows, 46, curves)
    store(rows, 47, tails)
    store(rows, 48, product)


@kernel
def _join(rows: Vector) -> None:
    """Add to the Hessian what the parts' starts of the second derivatives bring, in place."""
    for pair in range(_H - _DXX):
        begun, brought = 0.0, 0.0
        for part in range(1, WIDTH):
            before = part - 1
            # The first part's own start is in its end already.
            begun = rows[(_DXX + pair) * WIDTH + before] + rows[_SLOPES * WIDTH + before] * begun
            brought += rows[_REACH * WIDTH + part] * begun
        rows[(_H + pair) * WIDTH] += brought


@kernel
def _put(theta: Vector, size: int, normal: bool, rows: Vector, matrix: Matrix) -> None:
    """Make minus the Hessian (6, 6) of the sums, in place."""
    like, dof = lanes(0.0), 1.0 / theta[INVERSE_DOF]
    row = _H
    for j in range(BETA + 1):
        for k in range(j + 1):
            matrix[j, k] = matrix[k, j] = -total(load(rows, row, like))
            row += 1
    matrix[MEAN, MEAN] -= total(load(rows, _OF_MEAN, like))
    matrix[INVERSE_DOF, :] = matrix[:, INVERSE_DOF] = 0.0
    if normal:
        return
    for j in range(BETA + 1):
        matrix[INVERSE_DOF, j] = 0.5 * dof * dof * total(load(rows, _H_DOF + j, like))
    matrix[INVERSE_DOF, MEAN] += dof * dof * total(load(rows, _OF_MEAN_DOF, like))
    product = load(rows, _PRODUCT, like)
    tails = LN2 * total(load(rows, _TAILS, like)) + log(multiplied(product))
    slope, curve = log_scale_slopes(dof)
    ratios, curves = total(load(rows, _RATIOS, like)), total(load(rows, _CURVES, like))
    by_dof = size * slope - 0.5 * tails + 0.5 * ratios / (dof - 2.0)
    own = dof * dof * dof * (dof * (size * curve + curves) + 2.0 * by_dof)
    matrix[INVERSE_DOF, INVERSE_DOF] = -own
    for j in range(BETA + 1):
        matrix[j, INVERSE_DOF] = matrix[INVERSE_DOF, j]
