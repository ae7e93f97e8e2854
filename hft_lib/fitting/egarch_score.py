"""Likelihood of EGARCH(1,1,1), its gradient, information and Hessian, compiled.

The point is (mean, omega, alpha, gamma, beta, 1/dof) of innovations of unit variance. With sign the
sign of the innovation less its mean, L = alpha sign + gamma and b = beta - L z / 2,

    x' = omega + alpha (|z| - sqrt(2 / pi)) + gamma z + beta x,         dx'_j = b dx_j + c_j
    c  = (-L / sqrt(h), 1, |z| - sqrt(2 / pi), z, x, 0)
    dl/dx = (w z^2 - 1) / 2,    dl/dmean = w z / sqrt(h),   w = (dof + 1) / (dof - 2 + z^2), or 1
    I = sum dof / (2 (dof + 3)) dx dx' + ...                            (expected, given the past)

and the second derivatives by the same recursion once more. |z| makes the likelihood continuous but
not smooth in the mean: at an innovation equal to the mean the derivative jumps. There the sign is
0, which is the average of both sides, and the jump is kept beside the gradient.

These kernels go from one observation to the next; `egarch_sweep` and `egarch_bend` compute the same
of a series without gaps, much faster.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.kernel import kernel
from hft_lib.models.egarch import ABSOLUTE_MEAN, LOG_VARIANCE_MAX, absolute_excess
from hft_lib.models.garch import t_log_scale
from hft_lib.models.inputs import Counts, Vector
from hft_lib.models.special import exp, log

Matrix = npt.NDArray[np.float64]

MEAN, OMEGA, ALPHA, GAMMA, BETA, INVERSE_DOF, JUMP, MEMORY, LOWEST = range(9)
_SLOPE_MIN = 1e-10  # what |dx'/dx| counts as where it is less
_LOG_TWO_PI = 1.8378770664093453


@kernel
def score(
    theta: Vector,
    innovations: Vector,
    steps: Counts,
    presample: Vector,
    normal: bool,
    gradient: Vector,
    information: Matrix,
) -> float:
    """Log likelihood at `theta` (6,); in place its gradient (9,) and the lower half of its
    information (6, 6).

    After the gradient come half the jump of the mean's, and the sum of log |dx'/dx|: below 0 the
    forecasts forget where they began, far above 0 they are chaos; and the lowest log variance.
    On numbers rather than small arrays, which is faster. `presample` is (v, k, m): the variance
    before the sample is v + k (m - mean)^2.
    """
    mean, omega, alpha, gamma = theta[MEAN], theta[OMEGA], theta[ALPHA], theta[GAMMA]
    beta, dof = theta[BETA], 1.0 / theta[INVERSE_DOF]
    before, by_mean, _ = log_presample(presample, mean)
    x, gap = omega + beta * before, np.empty(7)
    d0, d1, d2, d3, d4, d5, d6 = beta * by_mean, 1.0, 0.0, 0.0, before, 0.0, 0.0
    g0, g1, g2, g3, g4, g5, g6 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    s0, s1, s2, s3, s4, s5, of_mean = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    i00, i10, i11, i20, i21, i22, i30, i31 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    i32, i33, i40, i41, i42, i43, i44, i50 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    i51, i52, i53, i54, i55 = 0.0, 0.0, 0.0, 0.0, 0.0
    total, tails, product, ratios, memory, chain, lowest = 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, x
    for t in range(innovations.shape[0]):
        if steps[t] > 1:
            gap[0], gap[1], gap[2], gap[3], gap[4], gap[5], gap[6] = d0, d1, d2, d3, d4, d5, d6
            x = _fill_gap(x, gap, theta, normal, steps[t] - 1)
            d0, d1, d2, d3, d4, d5, d6 = gap[0], gap[1], gap[2], gap[3], gap[4], gap[5], gap[6]
        lowest = min(lowest, x)
        inside = 1.0 if abs(x) < LOG_VARIANCE_MAX else 0.0
        e = innovations[t] - mean
        root = exp(-0.5 * x)
        z = e * root
        sign = 1.0 if e > 0.0 else (-1.0 if e < 0.0 else 0.0)
        square = z * z
        weight = 1.0
        if normal:
            total += x + square
        else:
            total += x
            rest = 1.0 / (dof - 2.0 + square)
            weight = (dof + 1.0) * rest
            ratios += weight * square
            product *= 1.0 + square / (dof - 2.0)
            if product > 1e20:  # one logarithm for many observations
                tails += log(product)
                product = 1.0
        by_x = 0.5 * (weight * square - 1.0) * inside
        g0 += by_x * d0 + weight * z * root
        g1 += by_x * d1
        g2 += by_x * d2
        g3 += by_x * d3
        g4 += by_x * d4
        g5 += by_x * d5
        g6 += by_x * d6
        s0 += d0
        s1 += d1
        s2 += d2
        s3 += d3
        s4 += d4
        s5 += d5
        of_mean += root * root
        i00 += d0 * d0
        i10 += d1 * d0
        i11 += d1 * d1
        i20 += d2 * d0
        i21 += d2 * d1
        i22 += d2 * d2
        i30 += d3 * d0
        i31 += d3 * d1
        i32 += d3 * d2
        i33 += d3 * d3
        i40 += d4 * d0
        i41 += d4 * d1
        i42 += d4 * d2
        i43 += d4 * d3
        i44 += d4 * d4
        i50 += d5 * d0
        i51 += d5 * d1
        i52 += d5 * d2
        i53 += d5 * d3
        i54 += d5 * d4
        i55 += d5 * d5
        lever = alpha * sign + gamma
        b = (beta - 0.5 * lever * z) * inside
        chain *= max(abs(b), _SLOPE_MIN)
        if not 1e-100 < chain < 1e100:
            memory += log(chain)
            chain = 1.0
        apart = sign * z - ABSOLUTE_MEAN
        d0 = b * d0 - lever * root
        d1 = b * d1 + 1.0
        d2 = b * d2 + apart
        d3 = b * d3 + z
        d4 = b * d4 + x
        d5 = b * d5
        d6 = b * d6 + (alpha * root if e == 0.0 else 0.0)
        x = (omega + (alpha * apart + gamma * z)) + beta * x
        x = LOG_VARIANCE_MAX if x > LOG_VARIANCE_MAX else x
        x = -LOG_VARIANCE_MAX if x < -LOG_VARIANCE_MAX else x
    size = innovations.shape[0]
    gradient[0], gradient[1], gradient[2], gradient[3], gradient[4] = g0, g1, g2, g3, g4
    gradient[5], gradient[6], gradient[7] = g5, g6, memory + log(chain)
    gradient[8] = lowest
    information[0, 0], information[1, 0], information[1, 1] = i00, i10, i11
    information[2, 0], information[2, 1], information[2, 2] = i20, i21, i22
    information[3, 0], information[3, 1], information[3, 2] = i30, i31, i32
    information[3, 3], information[4, 0], information[4, 1] = i33, i40, i41
    information[4, 2], information[4, 3], information[4, 4] = i42, i43, i44
    information[5, 0], information[5, 1], information[5, 2] = i50, i51, i52
    information[5, 3], information[5, 4], information[5, 5] = i53, i54, i55
    weigh(dof, normal, of_mean, information)
    if normal:
        return -0.5 * (total + size * _LOG_TWO_PI)
    tails += log(product)
    add_dof(dof, size, tails, ratios, (s0, s1, s2, s3, s4, s5), gradient, information)
    return size * t_log_scale(dof) - 0.5 * (total + (dof + 1.0) * tails)


@kernel
def weigh(dof: float, normal: bool, of_mean: float, information: Matrix) -> None:
    """Make the sums of products of dx, (6, 6), the information without dof's own, in place.

    `of_mean` is the sum of the variances' inverses.
    """
    by_x = 0.5 if normal else 0.5 * dof / (dof + 3.0)
    by_e = 1.0 if normal else dof * (dof + 1.0) / ((dof - 2.0) * (dof + 3.0))
    for j in range(6):
        for k in range(j + 1):
            information[j, k] *= by_x
    information[MEAN, MEAN] += of_mean * by_e


@kernel
def add_dof(
    dof: float,
    size: int,
    tails: float,
    ratios: float,
    slopes: Any,
    gradient: Vector,
    information: Matrix,
) -> None:
    """Add what is by 1/dof alone to gradient and information, in place.

    Sums over the observations: of log(1 + z^2 / (dof - 2)) `tails`, of w z^2 `ratios`, of dx by
    each parameter `slopes`.
    """
    slope, _ = log_scale_slopes(dof)
    by_dof = size * slope - 0.5 * tails + 0.5 * ratios / (dof - 2.0)
    gradient[INVERSE_DOF] -= dof * dof * by_dof
    both, own = _dof_information(dof)
    for j in range(INVERSE_DOF):
        information[INVERSE_DOF, j] -= dof * dof * both * slopes[j]
    expected = dof * dof * own * size - 2.0 * both * slopes[INVERSE_DOF]
    information[INVERSE_DOF, INVERSE_DOF] += dof * dof * expected


@kernel
def hessian(
    theta: Vector,
    innovations: Vector,
    steps: Counts,
    presample: Vector,
    normal: bool,
    matrix: Matrix,
) -> None:
    """Put minus the Hessian of the log likelihood at `theta` (6,) into `matrix` (6, 6).

    Of the branch of |z| on which each innovation lies; on rows of eight, which fill vectors.
    """
    mean, omega, alpha, gamma = theta[MEAN], theta[OMEGA], theta[ALPHA], theta[GAMMA]
    beta, dof = theta[BETA], 1.0 / theta[INVERSE_DOF]
    before, by_mean, by_mean_twice = log_presample(presample, mean)
    x = omega + beta * before
    # Rows of 8: 0-5 second derivatives of x, 6-11 the sum, 12 dx, 13 of dx'/dx, 14 of dl/dx.
    w = np.zeros(15 * 8)
    w[96], w[97], w[100] = beta * by_mean, 1.0, before
    w[0], w[4], w[32] = beta * by_mean_twice, by_mean, by_mean
    of_mean, of_mean_dof = 0.0, 0.0
    tails, product, ratios, curves = 0.0, 1.0, 0.0, 0.0
    for t in range(innovations.shape[0]):
        if steps[t] > 1:
            x = _fill_gap_twice(x, w, theta, normal, steps[t] - 1)
        inside = 1.0 if abs(x) < LOG_VARIANCE_MAX else 0.0
        e = innovations[t] - mean
        root = exp(-0.5 * x)
        z = e * root
        sign = 1.0 if e > 0.0 else (-1.0 if e < 0.0 else 0.0)
        square = z * z
        weight, rest = 1.0, 0.0
        if not normal:
            rest = 1.0 / (dof - 2.0 + square)
            weight = (dof + 1.0) * rest
            product *= 1.0 + square / (dof - 2.0)
            if product > 1e20:  # one logarithm for many observations
                tails += log(product)
                product = 1.0
            near = square * rest / (dof - 2.0)
            ratios += weight * square / (dof - 2.0)
            curves += 0.5 * near * (2.0 - weight - (dof + 1.0) / (dof - 2.0))
            of_mean_dof -= dof * dof * (z * root * rest * (1.0 - weight))
            w[117] = -dof * dof * (0.5 * square * rest * (1.0 - weight)) * inside
        tamed = 1.0 - rest * square
        by_x = 0.5 * (weight * square - 1.0) * inside
        by_x_twice = -0.5 * weight * square * tamed * inside
        of_mean -= weight * root * root * (1.0 - 2.0 * rest * square)
        w[112] = -weight * z * root * tamed * inside
        lever = alpha * sign + gamma
        b = (beta - 0.5 * lever * z) * inside
        bend = 0.25 * lever * z * inside
        w[104] = 0.5 * lever * root * inside
        w[106] = -0.5 * sign * z * inside
        w[107] = -0.5 * z * inside
        w[108] = inside
        for j in range(6):
            d, f, a = w[96 + j], w[104 + j], w[112 + j]
            df, da = bend * d + f, by_x_twice * d + a
            for k in range(8):
                second = w[8 * j + k]
                w[48 + 8 * j + k] += by_x * second + (da * w[96 + k] + d * w[112 + k])
                w[8 * j + k] = b * second + (df * w[96 + k] + d * w[104 + k])
        w[2] -= sign * root
        w[16] -= sign * root
        w[3] -= root
        w[24] -= root
        apart = sign * z - ABSOLUTE_MEAN
        for k in range(8):
            w[96 + k] *= b
        w[96] -= lever * root
        w[97] += 1.0
        w[98] += apart
        w[99] += z
        w[100] += x
        x = (omega + (alpha * apart + gamma * z)) + beta * x
        x = LOG_VARIANCE_MAX if x > LOG_VARIANCE_MAX else x
        x = -LOG_VARIANCE_MAX if x < -LOG_VARIANCE_MAX else x
    w[48] += of_mean
    w[48 + 5] += of_mean_dof
    w[48 + 40] += of_mean_dof
    if not normal:
        size = innovations.shape[0]
        slope, curve = log_scale_slopes(dof)
        by_dof = size * slope - 0.5 * (tails + log(product)) + 0.5 * ratios
        w[48 + 45] += dof * dof * dof * (dof * (size * curve + curves) + 2.0 * by_dof)
    for j in range(6):
        for k in range(6):
            matrix[j, k] = -w[48 + 8 * j + k]


@kernel
def log_presample(presample: Vector, mean: float) -> Any:
    """Log variance before the sample, its derivative by the mean, and the second."""
    apart = presample[2] - mean
    variance = presample[0] + presample[1] * apart * apart
    slope = -2.0 * presample[1] * apart / variance
    return log(variance), slope, 2.0 * presample[1] / variance - slope * slope


@kernel
def _times(a: Any, b: Any) -> Any:
    """Product of two functions of beta, each with its first two derivatives."""
    return a[0] * b[0], a[1] * b[0] + a[0] * b[1], a[2] * b[0] + 2.0 * a[1] * b[1] + a[0] * b[2]


@kernel
def _plus(a: Any, b: Any) -> Any:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


@kernel
def _gap_map(beta: float, missed: int) -> Any:
    """1 + beta + ... + beta^(n-1) and beta^n for n `missed`, each with two derivatives."""
    offset, slope = (1.0, 0.0, 0.0), (beta, 1.0, 0.0)
    sum_, power = (0.0, 0.0, 0.0), (1.0, 0.0, 0.0)
    while missed > 0:
        if missed & 1:
            sum_ = _plus(offset, _times(slope, sum_))
            power = _times(slope, power)
        offset = _plus(offset, _times(slope, offset))
        slope = _times(slope, slope)
        missed >>= 1
    return sum_, power


@kernel
def _shock_slopes(theta: Vector, normal: bool) -> Any:
    """E|z| - sqrt(2 / pi), and its first two derivatives by 1/dof."""
    if normal:
        return 0.0, 0.0, 0.0
    dof = 1.0 / theta[INVERSE_DOF]
    excess = absolute_excess(dof)
    slope, curve = log_scale_slopes(dof)
    apart, over = 1.0 / (dof - 2.0), 1.0 / (dof - 1.0)
    rate = apart - over + slope
    first = (excess + ABSOLUTE_MEAN) * rate
    second = first * rate + (excess + ABSOLUTE_MEAN) * (over * over - apart * apart + curve)
    return excess, -dof * dof * first, dof * dof * dof * (dof * second + 2.0 * first)


@kernel
def _fill_gap(x: float, dx: Vector, theta: Vector, normal: bool, missed: int) -> float:
    """The log variance after `missed` intervals without an observation; its gradient in place."""
    sum_, power = _gap_map(theta[BETA], missed)
    excess, by_dof, _ = _shock_slopes(theta, normal)
    intercept = theta[OMEGA] + theta[ALPHA] * excess
    for j in range(dx.shape[0]):
        dx[j] *= power[0]
    dx[OMEGA] += sum_[0]
    dx[ALPHA] += sum_[0] * excess
    dx[BETA] += sum_[1] * intercept + power[1] * x
    dx[INVERSE_DOF] += sum_[0] * theta[ALPHA] * by_dof
    return sum_[0] * intercept + power[0] * x


@kernel
def _fill_gap_twice(x: float, w: Vector, theta: Vector, normal: bool, missed: int) -> float:
    """The same with second derivatives, in the rows of `hessian`."""
    sum_, power = _gap_map(theta[BETA], missed)
    excess, by_dof, by_dof_twice = _shock_slopes(theta, normal)
    intercept = theta[OMEGA] + theta[ALPHA] * excess
    slopes = np.zeros(8)
    slopes[OMEGA], slopes[ALPHA], slopes[INVERSE_DOF] = 1.0, excess, theta[ALPHA] * by_dof
    for k in range(48):
        w[k] *= power[0]
    for k in range(6):
        mixed = sum_[1] * slopes[k] + power[1] * w[96 + k]
        w[8 * BETA + k] += mixed
        w[8 * k + BETA] += mixed
    w[9 * BETA] += sum_[2] * intercept + power[2] * x
    w[8 * ALPHA + INVERSE_DOF] += sum_[0] * by_dof
    w[8 * INVERSE_DOF + ALPHA] += sum_[0] * by_dof
    w[9 * INVERSE_DOF] += sum_[0] * theta[ALPHA] * by_dof_twice
    for k in range(6):
        w[96 + k] = power[0] * w[96 + k] + sum_[0] * slopes[k]
    w[96 + BETA] += sum_[1] * intercept + power[1] * x
    return sum_[0] * intercept + power[0] * x


@kernel
def log_scale_slopes(dof: float) -> Any:
    """First and second derivative of `t_log_scale` by dof."""
    upper, upper_slope = _digammas(0.5 * (dof + 1.0))
    lower, lower_slope = _digammas(0.5 * dof)
    apart = 1.0 / (dof - 2.0)
    return (
        0.5 * (upper - lower) - 0.5 * apart,
        0.25 * (upper_slope - lower_slope) + 0.5 * apart * apart,
    )


@kernel
def _digammas(x: float) -> Any:
    """First and second derivative of log gamma at `x` > 0, by recurrence and Stirling's series."""
    first, second = 0.0, 0.0
    while x < 12.0:
        first -= 1.0 / x
        second += 1.0 / (x * x)
        x += 1.0
    i = 1.0 / x
    z = i * i
    series = z * (
        1.0 / 12.0 - z * (1.0 / 120.0 - z * (1.0 / 252.0 - z * (1.0 / 240.0 - z / 132.0)))
    )
    tail = z * (1.0 / 6.0 - z * (1.0 / 30.0 - z * (1.0 / 42.0 - z * (1.0 / 30.0 - z * 5.0 / 66.0))))
    return first + (log(x) - 0.5 * i - series), second + (i + 0.5 * z + i * tail)


@kernel
def _dof_information(dof: float) -> Any:
    """Expected information an observation of (x, dof), and of dof."""
    _, upper = _digammas(0.5 * (dof + 1.0))
    _, lower = _digammas(0.5 * dof)
    scale = 1.0 / (dof * (dof - 2.0))
    free = 0.25 * (lower - upper) - (dof + 5.0) / (2.0 * dof * (dof + 1.0) * (dof + 3.0))
    own = free + 2.0 * dof / (dof + 3.0) * scale * scale
    own -= 4.0 * scale / ((dof + 1.0) * (dof + 3.0))
    return 3.0 / ((dof + 3.0) * (dof - 2.0) * (dof + 1.0)), own
