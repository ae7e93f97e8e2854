"""Maximum likelihood of the Kalman filter's variances, and the priors that a run starts from.

The noise variance r is concentrated out: with the drifts and the diffuse prior in units of r,

    r = mean of e_t^2 / S_t,    log L = -(n/2)(log 2 pi + 1 + log r) - (1/2) sum log S_t

over the n observations after the diffuse start. What is left is searched in two figures within
bounds: the logarithm of the level's drift, lambda = (qa + xm^2 qb) / r with xm the mean of x, and
the hedge ratio's share of it, xm^2 qb / (r lambda), from 0 to 1. x moves little within a window, so
the share is often hardly identified; it then stands at a bound, and says so. The most likely lambda
is 0 for most pairs whose relation is fixed: that is tried too.
"""

import math
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from hft_lib.fitting.result import Fit, require
from hft_lib.kernel import kernel
from hft_lib.models.inputs import Counts, Vector, intervals, vector
from hft_lib.models.kalman import advance, log_likelihood, params_row
from hft_lib.models.special import exp, log
from hft_lib.parameters import KalmanParameters

OBSERVATIONS_MIN = 20
LAMBDA_MAX = 1e6  # from here on the observation noise is nothing beside the drift
_DIFFUSE = 1e10  # prior variances over the noise variance
_PRIOR_WIDENING = 100.0  # the residuals of a relation hang together: ordinary errors are too small
_COARSE_OBSERVATIONS = 2000
_SHARE_GAIN_MIN = (
    1e-3  # nats by which a share between 0 and 1 must beat them, or it is not identified
)
_LOG_TWO_PI = 1.8378770664093453
_NAMES = ("intercept_drift_var", "hedge_drift_var", "noise_var")


def fit_kalman(
    y: npt.ArrayLike, x: npt.ArrayLike, steps: npt.ArrayLike | None = None
) -> Fit[KalmanParameters]:
    """Most likely variances for log prices `y` on `x` (time,), `steps` grid intervals apart.

    The priors are the window's least squares relation, ten of its standard errors wide. Raises
    FitRefused where there are fewer than 20 observations, x does not move, or y follows it without
    error.
    """
    ys, xs = vector("y", y), vector("x", x)
    counts = intervals(steps, ys.size)
    require(xs.size == ys.size, f"x must have {ys.size} values", xs.size)
    require(
        ys.size >= OBSERVATIONS_MIN, f"observations must be at least {OBSERVATIONS_MIN}", ys.size
    )
    start = _least_squares(ys, xs)
    residual = ys - start.intercept_prior_mean - start.hedge_prior_mean * xs
    skip = int(np.argmax(xs != xs[0])) + 1
    xm_square = float(xs.mean()) ** 2
    lowest = math.log(1e-3 / float(counts.sum()) ** 2)
    found = np.array([0.0, 0.0])
    ended = _search(residual, xs, counts, skip, xm_square, lowest, found)
    level, share = (0.0 if found[0] <= lowest else math.exp(found[0])), float(found[1])
    noise = profile(residual, xs, counts, level * (1.0 - share), level * share / xm_square, skip)[1]
    drifts = {
        "intercept_drift_var": level * (1.0 - share) * noise,
        "hedge_drift_var": level * share / xm_square * noise,
    }
    params = msgspec.structs.replace(start, noise_var=noise, **drifts)
    params = _widened(params, int(counts.sum()))
    errors, curved = _standard_errors(params, ys, xs, counts, skip)
    bound = found[0] >= math.log(LAMBDA_MAX)
    return Fit(
        params=params,
        standard_errors=errors,
        log_likelihood=log_likelihood(params_row(params), ys, xs, counts),
        converged=bool(ended and curved and not bound),
        reason=_reason(bool(ended), curved, bound, errors),
        observations=ys.size,
    )


def _least_squares(y: Vector, x: Vector) -> KalmanParameters:
    """The window's relation as priors, each as uncertain as ordinary least squares holds it."""
    moves = x - x.mean()
    square = float((moves * moves).sum())
    require(square > 1e-20 * float((x * x).sum()), "x must move: its variance", square / x.size)
    hedge = float((moves * (y - y.mean())).sum()) / square
    intercept = float(y.mean() - hedge * x.mean())
    errors = y - intercept - hedge * x
    variance = float((errors * errors).sum()) / (x.size - 2)
    rule = "y must not follow x without error: the residual variance"
    require(variance > 1e-28 * max(float((y * y).mean()), 1e-300), rule, variance)
    hedge_var = variance / square
    return KalmanParameters(
        intercept_drift_var=0.0,
        hedge_drift_var=0.0,
        noise_var=variance,
        intercept_prior_mean=intercept,
        intercept_prior_var=variance / x.size + float(x.mean()) ** 2 * hedge_var,
        hedge_prior_mean=hedge,
        hedge_prior_var=hedge_var,
    )


def _widened(p: KalmanParameters, intervals_seen: int) -> KalmanParameters:
    """Priors wide enough for correlated residuals, and for the drift over a window."""
    return msgspec.structs.replace(
        p,
        intercept_prior_var=_PRIOR_WIDENING * p.intercept_prior_var
        + intervals_seen * p.intercept_drift_var,
        hedge_prior_var=_PRIOR_WIDENING * p.hedge_prior_var + intervals_seen * p.hedge_drift_var,
    )


@kernel
def profile(
    y: Vector, x: Vector, steps: Counts, qa: float, qb: float, skip: int
) -> tuple[float, float]:
    """Log likelihood of `y[skip:]` from a diffuse start, drifts in units of the noise; and r."""
    a, b, paa, pab, pbb, d = 0.0, 0.0, _DIFFUSE, 0.0, _DIFFUSE, _DIFFUSE * _DIFFUSE
    squares, logs, product = 0.0, 0.0, 1.0
    for t in range(y.shape[0]):
        n = steps[t]
        a, b, paa, pab, pbb, d, e, s = advance(
            a, b, paa, pab, pbb, d, n * qa, n * qb, 1.0, y[t], x[t]
        )
        if t < skip:
            continue
        squares += e * e / s
        product *= s
        if not 1e-100 < product < 1e100:
            logs += log(product)
            product = 1.0
    count = y.shape[0] - skip
    noise = max(squares / count, 1e-300)
    logs += log(product)
    return -0.5 * (count * (_LOG_TWO_PI + 1.0 + log(noise)) + logs), noise


@kernel
def _at(
    y: Vector, x: Vector, steps: Counts, u: float, share: float, skip: int, xm_square: float
) -> float:
    level = exp(u)
    return profile(y, x, steps, level * (1.0 - share), level * share / xm_square, skip)[0]


@kernel
def _search(
    y: Vector, x: Vector, steps: Counts, skip: int, xm_square: float, lowest: float, best: Vector
) -> bool:
    """Put the most likely (log lambda, share) in `best`; whether the search came to an end.

    A coarse look over lambda for shares 0 and 1, on at most 2000 observations, then Newton's method
    from the best of each and from what it finds.
    """
    highest = log(LAMBDA_MAX)
    some = min(y.shape[0], _COARSE_OBSERVATIONS + skip)
    value, ended = -np.inf, False
    for share in (0.0, 1.0):
        start, top = lowest, -np.inf
        for i in range(13):
            u = lowest + (highest - lowest) * i / 12.0
            found = _at(y[:some], x[:some], steps[:some], u, share, skip, xm_square)
            if found > top:
                start, top = u, found
        point = np.array([start, share])
        found, came = _newton(y, x, steps, skip, xm_square, lowest, highest, point)
        if found > value + 1e-7:
            value, ended = found, came
            best[:] = point
    for share in (0.0, 1.0):
        if 0.0 < best[1] < 1.0:
            other = _at(y, x, steps, best[0], share, skip, xm_square)
            if other > value - _SHARE_GAIN_MIN:
                value, best[1] = other, share
    fixed = profile(y, x, steps, 0.0, 0.0, skip)[0]
    if fixed >= value - 1e-6:  # a drift that gains nothing is none
        best[0], best[1], ended = lowest, 0.0, True
    return ended


@kernel
def _newton(
    y: Vector,
    x: Vector,
    steps: Counts,
    skip: int,
    xm_square: float,
    lowest: float,
    highest: float,
    point: Vector,
) -> tuple[float, bool]:
    """Damped Newton steps in (log lambda, share) within their box, on differences."""
    u, v = point[0], point[1]
    value = _at(y, x, steps, u, v, skip, xm_square)
    damping, promised = 0.0, np.inf
    for _ in range(60):
        du, dv = 0.02, 0.02
        uc, vc = min(max(u, lowest + du), highest - du), min(max(v, dv), 1.0 - dv)
        middle = _at(y, x, steps, uc, vc, skip, xm_square)
        east = _at(y, x, steps, uc + du, vc, skip, xm_square)
        west = _at(y, x, steps, uc - du, vc, skip, xm_square)
        north = _at(y, x, steps, uc, vc + dv, skip, xm_square)
        south = _at(y, x, steps, uc, vc - dv, skip, xm_square)
        corner = _at(y, x, steps, uc + du, vc + dv, skip, xm_square)
        huu = (east - 2.0 * middle + west) / (du * du)
        hvv = (north - 2.0 * middle + south) / (dv * dv)
        huv = (corner - east - north + middle) / (du * dv)
        gu = (east - west) / (2.0 * du) + huu * (u - uc)
        gv = (north - south) / (2.0 * dv) + hvv * (v - vc)
        gain, su, sv = 0.0, 0.0, 0.0
        for _ in range(30):
            su, sv = _box_step(u, v, gu, gv, huu, hvv, huv, damping, lowest, highest)
            promised = abs(gu * su) + abs(gv * sv)
            if promised < 1e-9:
                break
            gain = _at(y, x, steps, u + su, v + sv, skip, xm_square) - value
            if gain > 0.0:
                break
            damping = max(8.0 * damping, 1e-3)
        if not gain > 0.0:
            break
        u, v, value = u + su, v + sv, value + gain
        damping *= 0.1
        if gain < 1e-8:
            break
    point[0], point[1] = u, v
    return value, promised < 1e-4


@kernel
def _box_step(
    u: float,
    v: float,
    gu: float,
    gv: float,
    huu: float,
    hvv: float,
    huv: float,
    damping: float,
    lowest: float,
    highest: float,
) -> tuple[float, float]:
    """A Newton step of at most 3 in log lambda that leaves neither side of the box."""
    free_u = not ((u <= lowest and gu < 0.0) or (u >= highest and gu > 0.0))
    free_v = not ((v <= 0.0 and gv < 0.0) or (v >= 1.0 and gv > 0.0))
    auu = max(-huu, 0.05 * abs(gu)) * (1.0 + damping) + damping
    avv = max(-hvv, 0.5 * abs(gv)) * (1.0 + damping) + damping
    auv = -huv if free_u and free_v and auu * avv > 1.1 * huv * huv else 0.0
    determinant = auu * avv - auv * auv
    su = (avv * gu - auv * gv) / determinant if free_u and determinant > 0.0 else 0.0
    sv = (auu * gv - auv * gu) / determinant if free_v and determinant > 0.0 else 0.0
    su = min(max(su, -3.0, lowest - u), 3.0, highest - u)
    return su, min(max(sv, -v), 1.0 - v)


def _standard_errors(
    p: KalmanParameters, y: Vector, x: Vector, steps: Counts, skip: int
) -> tuple[dict[str, float | None], bool]:
    """By the Hessian of the diffuse likelihood, None at the bound 0; and whether it curves down."""
    errors: dict[str, float | None] = dict.fromkeys(_NAMES)
    free = [name for name in _NAMES if getattr(p, name) > 0.0]
    diffuse = msgspec.structs.replace(
        p, intercept_prior_var=_DIFFUSE * p.noise_var, hedge_prior_var=_DIFFUSE * p.noise_var
    )
    centre = np.array([getattr(p, name) for name in free])

    def value(scales: npt.NDArray[np.float64]) -> float:
        moved = dict(zip(free, (centre * scales).tolist(), strict=True))
        row = params_row(msgspec.structs.replace(diffuse, **moved))
        return log_likelihood(row, y, x, steps, skip)

    hessian = _relative_hessian(value, len(free))
    try:
        np.linalg.cholesky(-hessian)
    except np.linalg.LinAlgError:
        return errors, False
    variances = np.diag(np.linalg.inv(-hessian))
    for name, variance, size in zip(free, variances.tolist(), centre.tolist(), strict=True):
        errors[name] = math.sqrt(variance) * size
    return errors, True


def _relative_hessian(value: Callable[[Vector], float], size: int) -> npt.NDArray[np.float64]:
    """Second differences of `value` in factors on its arguments, about one."""
    width, one = 0.02, np.ones(size)
    steps = width * np.eye(size)
    hessian, middle = np.empty((size, size)), value(one)
    for j in range(size):
        up, down = value(one + steps[j]), value(one - steps[j])
        hessian[j, j] = (up - 2.0 * middle + down) / width**2
        for k in range(j):
            both = value(one + steps[j] + steps[k]) - value(one + steps[j] - steps[k])
            both -= value(one - steps[j] + steps[k]) - value(one - steps[j] - steps[k])
            hessian[j, k] = hessian[k, j] = both / (4.0 * width**2)
    return hessian


def _reason(ended: bool, curved: bool, bound: bool, errors: dict[str, float | None]) -> str:
    if bound:
        return (
            f"drift over noise is at its bound {LAMBDA_MAX}: the noise variance is not identified"
        )
    if not ended:
        return "the search did not come to an end"
    if not curved:
        return "the curvature is not a maximum's"
    names = [name for name, error in errors.items() if error is None]
    return f"at the bound 0: {', '.join(names)}" if names else "maximum"
