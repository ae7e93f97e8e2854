"""Likelihood, gradient and information of GARCH(1,1), and the search that climbs them, compiled.

The point searched is (mean, omega, alpha, beta, 1/dof) of innovations of unit variance. The search
is damped scoring (Levenberg-Marquardt on the information matrix) with every trial put back within
the bounds:

    (I + damping diag I) step = gradient,    dl/dh = (w e^2 - 1) / (2h),   dl/dmean = w e / h
    I = sum c dh dh' / (2 h^2) + sum dl dl' of 1/dof

w is 1 for the normal and (dof + 1) / (dof - 2 + e^2/h) for Student's t; c = dof / (dof + 3).
Fiorentini, Calzolari & Panattoni (1996), Analytic derivatives and the computation of GARCH
estimates.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.kernel import kernel
from hft_lib.models.garch import t_log_scale
from hft_lib.models.inputs import Counts, Vector
from hft_lib.models.special import log

Matrix = npt.NDArray[np.float64]

MEAN, OMEGA, ALPHA, BETA, INVERSE_DOF = range(5)
PERSISTENCE_MAX = 0.9999
OMEGA_MIN = 1e-10
INVERSE_DOF_MIN, INVERSE_DOF_MAX = 1.0 / 200.0, 1.0 / 2.05
_ITERATIONS_MAX = 200
_SCORINGS = 12  # iterations of scoring before the Hessian takes turns
_TRIALS_MAX = 40
_GAIN_MIN = 1e-13  # nats that the next step promises, below which the search is at its end
_GAIN_MIN_FLAT = 1e-7  # the same where alpha is 0 and leaves omega and beta all but collinear
_GAIN_NEAR = 1e-2  # and where the Hessian, which costs five scores, is worth it
_GAIN_ENDED = 1e-5  # a search that promises more has not come to its end
_ROUNDING = 1e-9  # nats
_LOG_TWO_PI = 1.8378770664093453


@kernel
def _fill_gap(h: float, dh: Vector, omega: float, persistence: float, missed: int) -> float:
    """The variance after `missed` intervals without an observation; its gradient `dh` in place."""
    offset, slope = omega, persistence
    offset_omega, offset_slope, slope_slope = 1.0, 0.0, 1.0
    while missed > 0:
        if missed & 1:
            by_persistence = offset_slope + slope_slope * h
            for j in range(4):
                dh[j] *= slope
            dh[1] += offset_omega
            dh[2] += by_persistence
            dh[3] += by_persistence
            h = offset + slope * h
        offset_slope += slope_slope * offset + slope * offset_slope
        offset_omega += slope * offset_omega
        offset += slope * offset
        slope_slope *= 2.0 * slope
        slope *= slope
        missed >>= 1
    return h


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
    """Log likelihood at `theta`; its gradient (5,) and information (5, 5), lower half, in place.

    On numbers rather than small arrays, which is four times as fast: the searches live here.

    `presample` is (v, k, m): the variance before the sample is v + k (m - mean)^2.
    """
    omega, alpha, beta = theta[OMEGA], theta[ALPHA], theta[BETA]
    mean, dof = theta[MEAN], 1.0 / theta[INVERSE_DOF]
    apart = presample[2] - mean
    before = presample[0] + presample[1] * apart * apart
    h, gap = omega + (alpha + beta) * before, np.empty(4)
    h0, h1, h2, h3 = -2.0 * (alpha + beta) * presample[1] * apart, 1.0, before, before
    constant = -0.5 * _LOG_TWO_PI if normal else t_log_scale(dof)
    slope = 0.0 if normal else _log_scale_slope(dof)
    by_h_unit = 0.5 if normal else 0.5 * dof / (dof + 3.0)
    by_e_unit = 1.0 if normal else dof * (dof + 1.0) / ((dof - 2.0) * (dof + 3.0))
    total, product = 0.0, 1.0
    g0, g1, g2, g3, g4 = 0.0, 0.0, 0.0, 0.0, 0.0
    i00, i10, i11, i20, i21, i22, i30, i31 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    i32, i33, i40, i41, i42, i43, i44 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for t in range(innovations.shape[0]):
        if steps[t] > 1:
            gap[0], gap[1], gap[2], gap[3] = h0, h1, h2, h3
            h = _fill_gap(h, gap, omega, alpha + beta, steps[t] - 1)
            h0, h1, h2, h3 = gap[0], gap[1], gap[2], gap[3]
        e = innovations[t] - mean
        inverse = 1.0 / h
        square = e * e
        ratio = square * inverse
        product *= h  # one logarithm for many observations
        if not 1e-100 < product < 1e100:
            total -= 0.5 * log(product)
            product = 1.0
        weight, by_dof = 1.0, 0.0
        if normal:
            total -= 0.5 * ratio
        else:
            tail = log(1.0 + ratio / (dof - 2.0))
            weight = (dof + 1.0) / (dof - 2.0 + ratio)
            total -= 0.5 * (dof + 1.0) * tail
            by_dof = -dof * dof * (slope - 0.5 * tail + 0.5 * weight * ratio / (dof - 2.0))
        by_h = 0.5 * (weight * ratio - 1.0) * inverse
        by_e = weight * e * inverse
        g0 += by_h * h0 + by_e
        g1 += by_h * h1
        g2 += by_h * h2
        g3 += by_h * h3
        unit = by_h_unit * (inverse * inverse)
        u0, u1, u2, u3 = unit * h0, unit * h1, unit * h2, unit * h3
        i00 += u0 * h0 + by_e_unit * inverse
        i10 += u1 * h0
        i11 += u1 * h1
        i20 += u2 * h0
        i21 += u2 * h1
        i22 += u2 * h2
        i30 += u3 * h0
        i31 += u3 * h1
        i32 += u3 * h2
        i33 += u3 * h3
        if not normal:
            g4 += by_dof
            i40 += by_dof * (by_h * h0 + by_e)
            i41 += by_dof * by_h * h1
            i42 += by_dof * by_h * h2
            i43 += by_dof * by_h * h3
            i44 += by_dof * by_dof
        h0 = beta * h0 - 2.0 * alpha * e
        h1 = beta * h1 + 1.0
        h2 = beta * h2 + square
        h3 = beta * h3 + h
        h = (omega + alpha * square) + beta * h
    gradient[0], gradient[1], gradient[2], gradient[3], gradient[4] = g0, g1, g2, g3, g4
    information[0, 0] = i00
    information[1, 0], information[1, 1] = i10, i11
    information[2, 0], information[2, 1], information[2, 2] = i20, i21, i22
    information[3, 0], information[3, 1], information[3, 2], information[3, 3] = i30, i31, i32, i33
    information[4, 0], information[4, 1], information[4, 2], information[4, 3] = i40, i41, i42, i43
    information[4, 4] = i44
    return total - 0.5 * log(product) + innovations.shape[0] * constant


@kernel
def _log_scale_slope(dof: float) -> float:
    """Derivative of `t_log_scale` by dof, by central difference: to 1e-9."""
    width = 1e-4 * (dof - 2.0)
    return (t_log_scale(dof + width) - t_log_scale(dof - width)) / (2.0 * width)


@kernel
def bounded(theta: Vector, normal: bool) -> None:
    """Put a point back within the bounds, in place."""
    theta[OMEGA] = max(theta[OMEGA], OMEGA_MIN)
    theta[ALPHA] = min(max(theta[ALPHA], 0.0), PERSISTENCE_MAX)
    theta[BETA] = min(max(theta[BETA], 0.0), PERSISTENCE_MAX - theta[ALPHA])
    if not normal:
        theta[INVERSE_DOF] = min(max(theta[INVERSE_DOF], INVERSE_DOF_MIN), INVERSE_DOF_MAX)


@kernel
def _is_free(theta: Vector, gradient: Vector, normal: bool, free: Vector) -> None:
    """1 for what the search may move: not what the gradient presses against its bound."""
    free[:] = 1.0
    free[4] = 0.0 if normal else 1.0
    if theta[OMEGA] <= OMEGA_MIN and gradient[OMEGA] < 0.0:
        free[OMEGA] = 0.0
    for j in (ALPHA, BETA):
        if theta[j] <= 0.0 and gradient[j] < 0.0:
            free[j] = 0.0
    at_low = theta[4] <= INVERSE_DOF_MIN and gradient[4] < 0.0
    if at_low or (theta[4] >= INVERSE_DOF_MAX and gradient[4] > 0.0):
        free[4] = 0.0


@kernel
def _reduce_to_cap(theta: Vector, gradient: Vector, information: Matrix) -> bool:
    """Where alpha + beta presses against its cap, search along it: alpha up is beta down."""
    pressed = theta[ALPHA] + theta[BETA] >= PERSISTENCE_MAX * (1.0 - 1e-12)
    if not (pressed and gradient[BETA] > 0.0):
        return False
    gradient[ALPHA] -= gradient[BETA]
    for k in range(5):
        a, b = information[max(ALPHA, k), min(ALPHA, k)], information[max(BETA, k), min(BETA, k)]
        if k not in (ALPHA, BETA):
            information[max(ALPHA, k), min(ALPHA, k)] = a - b
    information[ALPHA, ALPHA] += information[BETA, BETA] - 2.0 * information[BETA, ALPHA]
    return True


@kernel
def solve(
    information: Matrix, gradient: Vector, free: Vector, damping: float, step: Vector
) -> bool:
    """Solve the damped equations for the free parameters by Cholesky; false where not positive."""
    size = gradient.shape[0]
    lower = np.zeros((size, size))
    for j in range(size):
        for k in range(j + 1):
            both = free[j] * free[k]
            value = information[j, k] * both
            if j == k:
                value = value * (1.0 + damping) + 1e-14 if free[j] > 0.0 else 1.0
            for m in range(k):
                value -= lower[j, m] * lower[k, m]
            if j == k:
                if not value > 0.0:
                    return False
                lower[j, j] = math.sqrt(value)
            else:
                lower[j, k] = value / lower[k, k]
    for j in range(size):
        value = gradient[j] * free[j]
        for m in range(j):
            value -= lower[j, m] * step[m]
        step[j] = value / lower[j, j]
    for j in range(size - 1, -1, -1):
        value = step[j]
        for m in range(j + 1, size):
            value -= lower[m, j] * step[m]
        step[j] = value / lower[j, j]
    return True


@kernel
def _curvature(
    theta: Vector,
    gradient: Vector,
    innovations: Vector,
    steps: Counts,
    presample: Vector,
    normal: bool,
    information: Matrix,
) -> None:
    """Put minus the Hessian in `information`, by forward differences of the gradient."""
    moved, other, unused = theta.copy(), np.empty(5), np.empty((5, 5))
    for j in range(5):
        width = 1e-6 * max(abs(theta[j]), 1e-2)
        moved[j] = theta[j] + width
        score(moved, innovations, steps, presample, normal, other, unused)
        moved[j] = theta[j]
        for k in range(5):
            information[j, k] = (gradient[k] - other[k]) / width


@kernel
def _promise(gradient: Vector, step: Vector, free: Vector) -> float:
    """What a step promises, in nats, to first order."""
    promised = 0.0
    for j in range(gradient.shape[0]):
        promised += gradient[j] * step[j] * free[j]
    return promised


@kernel
def _try(theta: Vector, step: Vector, free: Vector, normal: bool, trial: Vector) -> None:
    """The point a step leads to, within the bounds; along the cap beta falls as alpha rises."""
    for j in range(5):
        trial[j] = theta[j] + step[j] * free[j]
    if free[BETA] == 0.0 and theta[BETA] > 0.0:
        trial[BETA] = theta[BETA] - step[ALPHA] * free[ALPHA]
    bounded(trial, normal)


@kernel
def climb(
    theta: Vector, innovations: Vector, steps: Counts, presample: Vector, normal: bool
) -> Any:
    """Move `theta` in place to a maximum; (log likelihood, whether the search came to its end)."""
    gradient, information = np.empty(5), np.empty((5, 5))
    trial_gradient, trial_information = np.empty(5), np.empty((5, 5))
    free, step, trial = np.empty(5), np.empty(5), np.empty(5)
    bounded(theta, normal)
    value = score(theta, innovations, steps, presample, normal, gradient, information)
    damping, promised, found, failed = 1e-3, np.inf, value, False
    for iteration in range(_ITERATIONS_MAX):
        near = promised < _GAIN_NEAR or iteration >= _SCORINGS
        by_hessian = near and not failed and iteration % 4 != 0
        if by_hessian:  # scoring is slow near a flat maximum
            _curvature(theta, gradient, innovations, steps, presample, normal, information)
        capped = _reduce_to_cap(theta, gradient, information)
        _is_free(theta, gradient, normal, free)
        free[BETA] = 0.0 if capped else free[BETA]
        gain_min = _GAIN_MIN if free[ALPHA] > 0.0 else _GAIN_MIN_FLAT
        accepted = False
        for _ in range(_TRIALS_MAX):
            if solve(information, gradient, free, damping, step):
                promised = _promise(gradient, step, free)
                _try(theta, step, free, normal, trial)
                found = score(
                    trial, innovations, steps, presample, normal, trial_gradient, trial_information
                )
                # The last steps gain less than the likelihood's rounding shows.
                accepted = found > value - (_ROUNDING if promised < 1e-8 else 0.0)
                if accepted or promised < gain_min:
                    break
            damping = max(10.0 * damping, 1e-6)
        if accepted:
            theta[:] = trial
            gradient[:] = trial_gradient
            information[:] = trial_information
            value = found
            damping = damping * 0.1 if damping > 1e-9 else 0.0
        failed = by_hessian and not accepted
        if failed:  # no maximum's curvature here: score again
            score(theta, innovations, steps, presample, normal, gradient, information)
            damping = 1e-3
        elif promised < gain_min or not accepted:
            break
    return value, promised < _GAIN_ENDED
