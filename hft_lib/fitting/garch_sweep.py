"""One pass over the innovations: GARCH's log likelihood, gradient and curvature.

With s+ and s- the square of e where e >= 0 and e < 0, and D = d + e^2/h, d = dof - 2:

    h' = omega + up s+ + down s- + beta h
    l  = c(dof) - log(h)/2 - (dof + 1) log(D/d) / 2       (normal: -e^2/(2h))
    l_h = (w r - 1) / (2h),  l_e = -w e / h,   r = e^2/h,  w = (dof + 1) / D      (normal: w = 1)
    l_hh = (1 - w r (1 + d/D)) / (2 h^2),  l_he = w (d/D) e / h^2,  l_ee = -w (1 - 2 r/D) / h
    l_dof = c' - log(D/d)/2 + w r / (2d),  l_h,dof = r (r - 3) / (2 h D^2)

The curvature is minus the Hessian, -(l_hh h_i h_j + l_h h_ij + ..), or the expected information,
which is never indefinite. Of t the loop knows r/D as its share, and multiplies up h D, which needs
no division; derivatives by the mean are kept as those by twice the mean, which need no doubling.
The recursions of h_i and h_ij have the slope beta, as h has, so a series is cut into eight parts
that run side by side: a first pass from nought gives what each part adds, from which the parts'
true starts follow. An interval without an observation has another slope: such series run as one
part, and have the information only. Fiorentini, Calzolari & Panattoni (1996), Analytic derivatives
and the computation of GARCH estimates; for t Lange, Little & Taylor (1989).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.kernel import kernel
from hft_lib.models.lanes import (
    WIDTH,
    align_spills,
    fused,
    lanes,
    load,
    multiplied,
    pick_negative,
    split,
    store,
    total,
)
from hft_lib.models.special import log, log_gamma

Matrix = npt.NDArray[np.float64]

MEAN, OMEGA, UP, DOWN, BETA, INVERSE_DOF = range(6)
SIZE = 6
# Rows of a state: the variance, its derivatives, its second derivatives that are not nought; those
# by the mean are by twice the mean.
_H, _H_MEAN, _H_OMEGA, _H_UP, _H_DOWN, _H_BETA = range(6)
_MEAN_MEAN, _MEAN_UP, _MEAN_DOWN, _MEAN_BETA = 6, 7, 8, 9
_OMEGA_BETA, _UP_BETA, _DOWN_BETA, _BETA_BETA = 10, 11, 12, 13
_STATE = 14
BLOCK = 8  # factors multiplied before their logarithm's exponent is taken out
LN2 = 0.6931471805599453
_LOG_TWO_PI = 1.8378770664093453
_LOG_PI = 1.1447298858494002
_LOGS, _RATIOS, _TAIL_LOGS, _SHARES, _BENDS = range(5)
# Constants of t in `terms`.
_SLOPE, _CURVE, _INFO_H, _INFO_MEAN, _INFO_CROSS, _INFO_DOF, _LOG_SCALE = range(7)


@kernel
def arrange(values: Any, arranged: Any) -> None:
    """Lay the eight parts of `values` (time,) side by side; what is left over goes last."""
    length = values.shape[0] // WIDTH
    for part in range(WIDTH):
        for t in range(length):
            arranged[t * WIDTH + part] = values[part * length + t]
    for t in range(length * WIDTH, values.shape[0]):
        arranged[t] = values[t]


@kernel
def _polygamma(x: float) -> Any:
    """Digamma and trigamma at `x` > 0: raised to 10 by the recurrence, then asymptotic."""
    first, second = 0.0, 0.0
    while x < 10.0:
        first -= 1.0 / x
        second += 1.0 / (x * x)
        x += 1.0
    z = 1.0 / (x * x)
    series = z * (1.0 / 12 - z * (1.0 / 120 - z * (1.0 / 252 - z * (1.0 / 240 - z / 132))))
    first += log(x) - 0.5 / x - series
    tail = 1.0 / 6 - z * (1.0 / 30 - z * (1.0 / 42 - z * (1.0 / 30 - z * 5.0 / 66)))
    return first, second + 1.0 / x + 0.5 * z + z / x * tail


@kernel
def student_terms(dof: float, terms: Any) -> None:
    """Constants of one observation of t of unit variance, in place."""
    d = dof - 2.0
    high, high_slope = _polygamma(0.5 * (dof + 1.0))
    low, low_slope = _polygamma(0.5 * dof)
    scale = log_gamma(0.5 * (dof + 1.0)) - log_gamma(0.5 * dof)
    terms[_LOG_SCALE] = scale - 0.5 * (_LOG_PI + log(d))
    terms[_SLOPE] = 0.5 * (high - low - 1.0 / d)
    terms[_CURVE] = 0.25 * (high_slope - low_slope) + 0.5 / (d * d)
    # Expected information of log scale and dof, and of both once the scale has unit variance.
    scale_scale, by = 0.5 * dof / (dof + 3.0), 2.0 / (dof * d)
    scale_dof = -1.0 / ((dof + 1.0) * (dof + 3.0))
    dof_dof = 0.25 * (low_slope - high_slope)
    dof_dof -= 0.5 * (dof + 5.0) / (dof * (dof + 1.0) * (dof + 3.0))
    terms[_INFO_H] = scale_scale
    terms[_INFO_MEAN] = dof * (dof + 1.0) / (d * (dof + 3.0))
    terms[_INFO_CROSS] = by * scale_scale + scale_dof
    terms[_INFO_DOF] = dof_dof + by * (2.0 * scale_dof + by * scale_scale)


@kernel
def _first_state(theta: Any, before: Any, asymmetric: bool, state: Any) -> None:
    """The variance of the first observation and its derivatives; `before` is (v, k) of the variance
    v + k mean^2 before the sample.
    """
    up, down = (0.5, 0.5) if asymmetric else (1.0, 0.0)
    persistence = up * theta[UP] + down * theta[DOWN] + theta[BETA]
    variance = before[0] + before[1] * theta[MEAN] * theta[MEAN]
    slope = before[1] * theta[MEAN]
    state[:] = 0.0
    state[_H] = theta[OMEGA] + persistence * variance
    state[_H_MEAN], state[_H_OMEGA] = persistence * slope, 1.0
    state[_H_UP], state[_H_DOWN], state[_H_BETA] = up * variance, down * variance, variance
    state[_MEAN_MEAN] = persistence * 0.5 * before[1]
    state[_MEAN_UP], state[_MEAN_DOWN], state[_MEAN_BETA] = up * slope, down * slope, slope


@kernel
def _add_up(data: Any, length: int, theta: Any, asymmetric: Any, ends: Any) -> None:
    """Each part's state at its end, had it begun from nought; `ends` (14 * 8,) in place."""
    like = lanes(0.0)
    mean, omega, beta = theta[MEAN], theta[OMEGA], lanes(theta[BETA])
    up, down = lanes(theta[UP]), lanes(theta[DOWN])
    h, h0, h1, hu, hd, hb = like, like, like, like, like, like
    h00, h0u, h0d, h0b, h1b, hub, hdb, hbb = like, like, like, like, like, like, like, like
    for t in range(length):
        e = load(data, t, like) - mean
        hbb = fused(beta, hbb, hb + hb)
        h0b = fused(beta, h0b, h0)
        h1b = fused(beta, h1b, h1)
        hub = fused(beta, hub, hu)
        hb = fused(beta, hb, h)
        h1 = fused(beta, h1, 1.0)
        if asymmetric is None:
            square = e * e
            h00 = fused(beta, h00, 0.5 * up)
            h0u = fused(beta, h0u, -e)
            h0 = fused(beta, h0, -(up * e))
            hu = fused(beta, hu, square)
            h = fused(beta, h, fused(up, square, omega))
        else:
            fall = pick_negative(e, e, like)
            rise = e - fall
            above, below = rise * rise, fall * fall
            hdb = fused(beta, hdb, hd)
            h00 = fused(beta, h00, 0.5 * pick_negative(e, down, up))
            h0u = fused(beta, h0u, -rise)
            h0d = fused(beta, h0d, -fall)
            h0 = fused(beta, h0, -fused(up, rise, down * fall))
            hu = fused(beta, hu, above)
            hd = fused(beta, hd, below)
            h = fused(beta, h, fused(up, above, fused(down, below, omega)))
    store(ends, 0, h)
    store(ends, 1, h0)
    store(ends, 2, h1)
    store(ends, 3, hu)
    store(ends, 4, hd)
    store(ends, 5, hb)
    store(ends, 6, h00)
    store(ends, 7, h0u)
    store(ends, 8, h0d)
    store(ends, 9, h0b)
    store(ends, 10, h1b)
    store(ends, 11, hub)
    store(ends, 12, hdb)
    store(ends, 13, hbb)


@kernel
def _power(base: float, exponent: int) -> float:
    """`base` to a whole power, by doubling; 0 for a negative one."""
    value = 1.0 if exponent >= 0 else 0.0
    while exponent > 0:
        if exponent & 1:
            value *= base
        base *= base
        exponent >>= 1
    return value


@kernel
def _join(ends: Any, beta: float, length: int, state: Any, starts: Any) -> None:
    """Each part's true start into `starts` (14 * 8,); `state` goes from the sample's start to the
    last part's end.
    """
    p0 = _power(beta, length)
    p1 = length * _power(beta, length - 1)
    p2 = float(length) * (length - 1.0) * _power(beta, length - 2)
    for part in range(WIDTH):
        for row in range(_STATE):
            starts[row * WIDTH + part] = state[row]
        h, h0, h1 = state[_H], state[_H_MEAN], state[_H_OMEGA]
        hu, hd, hb = state[_H_UP], state[_H_DOWN], state[_H_BETA]
        for row in range(_STATE):
            state[row] = ends[row * WIDTH + part] + p0 * state[row]
        state[_H_BETA] += p1 * h
        state[_BETA_BETA] += 2.0 * p1 * hb + p2 * h
        state[_MEAN_BETA] += p1 * h0
        state[_OMEGA_BETA] += p1 * h1
        state[_UP_BETA] += p1 * hu
        state[_DOWN_BETA] += p1 * hd


@kernel
def _fill_gap(h: float, dh: Any, omega: float, persistence: float, missed: int) -> float:
    """The variance after `missed` intervals without an observation; its gradient by (mean, omega,
    persistence) from `dh` in place: what is left of the old and what is added.
    """
    offset, slope = omega, persistence
    offset_omega, offset_slope, slope_slope = 1.0, 0.0, 1.0
    dh[0], dh[1], dh[2] = 1.0, 0.0, 0.0
    while missed > 0:
        if missed & 1:
            dh[2] = dh[2] * slope + offset_slope + slope_slope * h
            dh[1] = dh[1] * slope + offset_omega
            dh[0] *= slope
            h = offset + slope * h
        offset_slope += slope_slope * offset + slope * offset_slope
        offset_omega += slope * offset_omega
        offset += slope * offset
        slope_slope *= 2.0 * slope
        slope *= slope
        missed >>= 1
    return h


@kernel
def _sweep(  # noqa: C901 - one loop: what is split off is passed through memory
    data: Any,
    steps: Any,
    first: int,
    last: int,
    like: Any,
    theta: Any,
    asymmetric: Any,
    student: Any,
    exact: float,
    terms: Any,
    state: Any,
    gradient: Any,
    curvature: Any,
    sums: Any,
) -> None:
    """Add what observations `first` to `last` (of lanes where `like` is lanes) have to say.

    `steps`, `asymmetric` and `student` are None for no gaps, one slope for both signs, the normal:
    what they would need is then not compiled.
    """
    align_spills()
    mean, omega, beta = theta[MEAN], like + theta[OMEGA], like + theta[BETA]
    up, down = like + theta[UP], like + theta[DOWN]
    half_up, half_down = 0.5 * up, 0.5 * down
    dof = 1.0 / theta[INVERSE_DOF]
    d, half_weight, rest = dof - 2.0, 0.5 * (dof + 1.0), 1.0 - exact
    bend_slope, bend_level = exact * half_weight, rest * terms[_INFO_H] - 0.5 * exact
    straight_slope, straight_level = 0.5 * exact * half_weight, 0.25 * rest * terms[_INFO_MEAN]
    dof_slope, dof_level = 0.5 * exact, rest * terms[_INFO_CROSS]
    gap = np.empty(3)
    h, h0, h1 = load(state, 0, like), load(state, 1, like), load(state, 2, like)
    hu, hd, hb = load(state, 3, like), load(state, 4, like), load(state, 5, like)
    h00, h0u, h0d = load(state, 6, like), load(state, 7, like), load(state, 8, like)
    h0b, h1b, hub = load(state, 9, like), load(state, 10, like), load(state, 11, like)
    hdb, hbb = load(state, 12, like), load(state, 13, like)
    g0, g1, gu, gd, gb = like, like, like, like, like
    m00, m10, m11, mu0, mu1, muu = like, like, like, like, like, like
    md0, md1, mdu, mdd = like, like, like, like
    mb0, mb1, mbu, mbd, mbb = like, like, like, like, like
    mv0, mv1, mvu, mvd, mvb = like, like, like, like, like
    ratios, logs, tail_logs, shares, bends = like, like, like, like, like
    product, tail = like + 1.0, like + 1.0
    for block in range(first, last, BLOCK):
        for t in range(block, min(block + BLOCK, last)):
            if steps is not None:
                if steps[t] > 1:
                    persistence, half = theta[UP] + beta, 1.0
                    if asymmetric is not None:
                        persistence, half = 0.5 * (theta[UP] + theta[DOWN]) + beta, 0.5
                    h = _fill_gap(h, gap, omega, persistence, steps[t] - 1)
                    h0 *= gap[0]
                    h1 = h1 * gap[0] + gap[1]
                    hu = hu * gap[0] + half * gap[2]
                    hd = hd * gap[0] + half * gap[2]
                    hb = hb * gap[0] + gap[2]
            e = load(data, t, like) - mean
            square = e * e
            product *= h
            if student is None:
                inverse = 1.0 / h
                half_inverse, ratio = 0.5 * inverse, square * inverse
                ratios += ratio
                by_h = fused(ratio, half_inverse, -half_inverse)
                by_mean = e * half_inverse
                bend = inverse * fused(2.0 * exact, by_h, half_inverse)
                cross = by_mean * (exact * inverse)
                straight = 0.5 * half_inverse
            else:
                scaled = fused(d, h, square)
                tail *= scaled
                both = 1.0 / (h * scaled)
                inverse, inverse_scaled = both * scaled, both * h
                share, spread = square * inverse_scaled, h * inverse_scaled
                shares += share
                tilt, press = fused(-3.0, spread, share), e * inverse_scaled
                bent = share * tilt
                bends += bent
                by_h = fused(half_weight, share, -0.5) * inverse
                by_mean = half_weight * press
                bend = fused(bend_slope, fused(-share, share, share + share), bend_level)
                bend = (inverse * inverse) * bend
                cross = (exact * (by_mean * inverse)) * (1.0 - share)
                straight = fused(straight_slope * spread, fused(-2.0, share, 1.0), straight_level)
                straight = inverse * straight
                by_dof = inverse * fused(-dof_slope, bent, dof_level)
                mv0 = fused(-dof_slope * press, tilt, fused(by_dof, h0, mv0))
                mv1 = fused(by_dof, h1, mv1)
                mvu = fused(by_dof, hu, mvu)
                mvb = fused(by_dof, hb, mvb)
                if asymmetric is not None:
                    mvd = fused(by_dof, hd, mvd)
            g0 = fused(by_h, h0, g0) + by_mean
            g1 = fused(by_h, h1, g1)
            gu = fused(by_h, hu, gu)
            gb = fused(by_h, hb, gb)
            push = -exact * by_h
            at0, at1, atb = fused(bend, h0, cross), bend * h1, bend * hb
            m00 = fused(push, h00, fused(at0 + cross, h0, m00 + straight))
            m10 = fused(at0, h1, m10)
            m11 = fused(at1, h1, m11)
            mu0 = fused(push, h0u, fused(at0, hu, mu0))
            mu1 = fused(at1, hu, mu1)
            muu = fused(bend * hu, hu, muu)
            mb0 = fused(push, h0b, fused(at0, hb, mb0))
            mb1 = fused(push, h1b, fused(at1, hb, mb1))
            mbu = fused(push, hub, fused(atb, hu, mbu))
            mbb = fused(push, hbb, fused(atb, hb, mbb))
            if steps is None:
                hbb = fused(beta, hbb, hb + hb)
                h0b = fused(beta, h0b, h0)
                h1b = fused(beta, h1b, h1)
                hub = fused(beta, hub, hu)
            hb = fused(beta, hb, h)
            h1 = fused(beta, h1, 1.0)
            if asymmetric is None:
                if steps is None:
                    h00 = fused(beta, h00, half_up)
                    h0u = fused(beta, h0u, -e)
                h0 = fused(beta, h0, -(up * e))
                hu = fused(beta, hu, square)
                h = fused(beta, h, fused(up, square, omega))
            else:
                fall = pick_negative(e, e, like)
                rise = e - fall
                above, below = rise * rise, fall * fall
                gd = fused(by_h, hd, gd)
                atd = bend * hd
                md0 = fused(push, h0d, fused(at0, hd, md0))
                md1 = fused(at1, hd, md1)
                mdu = fused(atd, hu, mdu)
                mdd = fused(atd, hd, mdd)
                mbd = fused(push, hdb, fused(atb, hd, mbd))
                if steps is None:
                    hdb = fused(beta, hdb, hd)
                    h00 = fused(beta, h00, pick_negative(e, half_down, half_up))
                    h0u = fused(beta, h0u, -rise)
                    h0d = fused(beta, h0d, -fall)
                h0 = fused(beta, h0, -fused(up, rise, down * fall))
                hu = fused(beta, hu, above)
                hd = fused(beta, hd, below)
                h = fused(beta, h, fused(up, above, fused(down, below, omega)))
        product, exponent = split(product)
        logs += exponent
        if student is not None:
            tail, exponent = split(tail)
            tail_logs += exponent
    gradient[MEAN] += 2.0 * total(g0)
    gradient[OMEGA] += total(g1)
    gradient[UP] += total(gu)
    gradient[BETA] += total(gb)
    curvature[MEAN, MEAN] += 4.0 * total(m00)
    curvature[OMEGA, MEAN] += 2.0 * total(m10)
    curvature[OMEGA, OMEGA] += total(m11)
    curvature[UP, MEAN] += 2.0 * total(mu0)
    curvature[UP, OMEGA] += total(mu1)
    curvature[UP, UP] += total(muu)
    curvature[BETA, MEAN] += 2.0 * total(mb0)
    curvature[BETA, OMEGA] += total(mb1)
    curvature[BETA, UP] += total(mbu)
    curvature[BETA, BETA] += total(mbb)
    sums[_LOGS] += LN2 * total(logs) + log(multiplied(product))
    if asymmetric is not None:
        gradient[DOWN] += total(gd)
        curvature[DOWN, MEAN] += 2.0 * total(md0)
        curvature[DOWN, OMEGA] += total(md1)
        curvature[DOWN, UP] += total(mdu)
        curvature[DOWN, DOWN] += total(mdd)
        curvature[BETA, DOWN] += total(mbd)
    if student is None:
        sums[_RATIOS] += total(ratios)
    else:
        sums[_TAIL_LOGS] += LN2 * total(tail_logs) + log(multiplied(tail))
        sums[_SHARES] += total(shares)
        sums[_BENDS] += total(bends)
        curvature[INVERSE_DOF, MEAN] += 2.0 * total(mv0)
        curvature[INVERSE_DOF, OMEGA] += total(mv1)
        curvature[INVERSE_DOF, UP] += total(mvu)
        curvature[INVERSE_DOF, BETA] += total(mvb)
        if asymmetric is not None:
            curvature[INVERSE_DOF, DOWN] += total(mvd)


@kernel
def score(
    theta: Any,
    data: Any,
    steps: Any,
    before: Any,
    asymmetric: Any,
    student: Any,
    exact: float,
    work: Any,
    gradient: Any,
    curvature: Any,
) -> float:
    """Log likelihood, in nats, at `theta` (6,); its gradient (6,) and curvature (6, 6), lower half,
    in place.

    `data` (time,) is arranged, or in the order of time where `steps` is not None. `curvature` is
    minus the Hessian where `exact` is 1, and the expected information where it is 0 or `steps` is
    given. `before` is (v, k): the variance before the sample is v + k mean^2. `work` (256,).
    """
    size = data.shape[0]
    ends, starts = work[:112], work[112:224]
    state, terms, sums = work[224:238], work[238:245], work[245:250]
    gradient[:] = 0.0
    curvature[:] = 0.0
    sums[:] = 0.0
    if student is not None:
        student_terms(1.0 / theta[INVERSE_DOF], terms)
    _first_state(theta, before, asymmetric is not None, state)
    if steps is None:
        length = size // WIDTH
        _add_up(data, length, theta, asymmetric, ends)
        _join(ends, theta[BETA], length, state, starts)
        like = lanes(0.0)
        _sweep(
            data, None, 0, length, like, theta, asymmetric, student, exact, terms, starts, gradient,
            curvature, sums,
        )  # fmt: skip
        _sweep(
            data, None, length * WIDTH, size, 0.0, theta, asymmetric, student, exact, terms, state,
            gradient, curvature, sums,
        )  # fmt: skip
    else:
        exact = 0.0
        _sweep(
            data, steps, 0, size, 0.0, theta, asymmetric, student, exact, terms, state, gradient,
            curvature, sums,
        )  # fmt: skip
    if student is None:
        return -0.5 * (sums[_LOGS] + sums[_RATIOS] + size * _LOG_TWO_PI)
    return _with_dof(size, 1.0 / theta[INVERSE_DOF], exact, terms, sums, gradient, curvature)


@kernel
def _with_dof(
    size: int, dof: float, exact: float, terms: Any, sums: Any, gradient: Any, curvature: Any
) -> float:
    """The log likelihood of t; gradient and curvature by 1/dof in place."""
    d, square = dof - 2.0, dof * dof
    tail_logs = sums[_TAIL_LOGS] - sums[_LOGS] - size * log(d)
    pulls = (dof + 1.0) * sums[_SHARES]
    by_dof = size * terms[_SLOPE] - 0.5 * tail_logs + 0.5 * pulls / d
    bent = size * terms[_CURVE] + 0.5 * (sums[_SHARES] + sums[_BENDS] - pulls / d) / d
    gradient[INVERSE_DOF] = -square * by_dof
    curved = -square * (square * bent + 2.0 * dof * by_dof)
    expected = square * square * size * terms[_INFO_DOF]
    curvature[INVERSE_DOF, INVERSE_DOF] = expected + exact * (curved - expected)
    for j in range(INVERSE_DOF):
        curvature[INVERSE_DOF, j] *= -square
    return size * terms[_LOG_SCALE] - 0.5 * (sums[_LOGS] + (dof + 1.0) * tail_logs)
