"""The most likely drifts of the Kalman filter: the search, compiled.

A point is (u, w): e^u is the level's drift over the noise, lambda = lambda_a + lambda_b with x of
mean square one, and 1 / (1 + e^-w) the hedge ratio's share of it. The likelihood is rough in u and
mostly flat along w, so the two are searched apart before they are searched together:

1. along u at either end of w (all drift the intercept's, all the hedge ratio's): a scan of the
   whole range, then each of its two highest peaks is narrowed down;
2. along w through the better end; where something between the ends is likelier, Newton steps from
   there within a radius, on differences from one pass of eight points.

So a maximum on a bound is compared with the whole line beside it, not with its own slope alone. A
drift, or a share between the ends, that gains less than GAIN_MIN nats is none.
"""

import numpy as np
import numpy.typing as npt

from hft_lib.fitting.kalman_likelihood import (
    LANES,
    SQUARES,
    VALUE,
    WORK,
    likelihoods,
)
from hft_lib.kernel import kernel
from hft_lib.models.inputs import Counts, Vector
from hft_lib.models.special import exp

Matrix = npt.NDArray[np.float64]

GAIN_MIN = 1e-3
PROMISE_MAX = 1e-4  # nats that a search may still promise where it has ended
# What `search` puts in `result`.
U, W, FOUND, ENDED, CURVED, WORST_END, VAR_A, VAR_B, VAR_NOISE, NOISE, FIXED = range(11)
RESULT = 11

_SCAN_SPACING = 2.6
_SCAN_MAX = 12 * LANES
_PEAKS = 2
_NARROWINGS_MAX = 16
_NARROW = 0.02  # a peak is narrowed down to points this far apart
_W_MAX = 25.0
_W_SCAN = (0.0, 0.7, 1.5, 2.5, 4.0, 6.0, 9.0, 13.0)
_U_WIDTH, _W_WIDTH = 0.02, 0.05  # of the differences
_STEPS_MAX = 40
_ROUNDING = 1e-9


@kernel
def evaluate(
    y: Vector, x: Vector, steps: Counts, u: Vector, w: Vector, work: Vector, found: Matrix
) -> None:
    """`likelihoods` of eight points (u, w); -inf and inf are allowed."""
    drifts = np.empty((2, LANES))
    for i in range(LANES):
        level = exp(u[i])
        drifts[0, i] = level / (1.0 + exp(w[i]))
        drifts[1, i] = level / (1.0 + exp(-w[i]))
    likelihoods(y, x, steps, drifts, work, found)


@kernel(nogil=True)
def search(
    y: Vector, x: Vector, steps: Counts, lowest: float, highest: float, result: Vector
) -> None:
    """Put the most likely point, and what is known about it, in `result` (RESULT,).

    `y` and `x` (time,) in units of their own: x of mean square one. u is searched from `lowest`,
    below which a drift is none, to `highest`.
    """
    u, w, work, found = np.zeros(LANES), np.zeros(LANES), np.empty(WORK), np.empty((3, LANES))
    u[:] = -np.inf
    evaluate(y, x, steps, u, w, work, found)
    fixed, noise = found[VALUE, 0], found[SQUARES, 0] / (y.shape[0] - 2)
    u_a, value_a = _climb_line(y, x, steps, -np.inf, lowest, highest, work, found)
    u_b, value_b = _climb_line(y, x, steps, np.inf, lowest, highest, work, found)
    best_u, best_w, value = u_a, -np.inf, value_a
    if value_b > value:
        best_u, best_w, value = u_b, np.inf, value_b
    between_w, between = _scan_share(y, x, steps, best_u, work, found)
    ended, curved, promised = True, True, 0.0
    if between > value + GAIN_MIN:
        between_u, between_w, between, promised = _climb_plane(
            y, x, steps, best_u, between_w, lowest, highest, work, found
        )
        best_u, best_w, value = between_u, between_w, between
        ended = promised < PROMISE_MAX
    result[FOUND], result[FIXED] = value, fixed
    result[WORST_END] = min(max(value_a, fixed), max(value_b, fixed))
    result[VAR_A], result[VAR_B], result[VAR_NOISE] = np.nan, np.nan, np.nan
    if not value > fixed + GAIN_MIN:
        best_u, best_w, result[FOUND] = -np.inf, -np.inf, fixed
        result[VAR_NOISE], result[NOISE] = 2.0 / (y.shape[0] - 2), noise
    else:
        curved, promised = _curvature(y, x, steps, best_u, best_w, work, found, result)
        ended = ended and promised < PROMISE_MAX
    result[U], result[W], result[ENDED], result[CURVED] = best_u, best_w, ended, curved


@kernel
def _climb_line(
    y: Vector,
    x: Vector,
    steps: Counts,
    w: float,
    lowest: float,
    highest: float,
    work: Vector,
    found: Matrix,
) -> tuple[float, float]:
    """The most likely u at a share, and its value."""
    passes = min(max(int((highest - lowest) / (_SCAN_SPACING * LANES)) + 1, 2), _SCAN_MAX // LANES)
    size = passes * LANES
    spacing = (highest - lowest) / (size - 1)
    values, u, shares = np.empty(size), np.empty(LANES), np.full(LANES, w)
    for k in range(passes):
        for i in range(LANES):
            u[i] = lowest + spacing * (k * LANES + i)
        evaluate(y, x, steps, u, shares, work, found)
        values[k * LANES : (k + 1) * LANES] = found[VALUE]
    best_u, best = lowest, values[0]
    for _ in range(_PEAKS):
        peak = 0
        for k in range(1, size):
            after = values[k + 1] if k + 1 < size else -np.inf
            if values[k] >= values[k - 1] and values[k] >= after and values[k] > values[peak]:
                peak = k
        if peak == 0:
            break
        at, value = _narrow(
            y, x, steps, lowest + spacing * peak, w, spacing, lowest, highest, work, found
        )
        if value > best:
            best_u, best = at, value
        low = peak  # forget this peak with its slopes
        while low > 0 and values[low - 1] <= values[low]:
            low -= 1
        while peak + 1 < size and values[peak + 1] <= values[peak]:
            values[peak] = -np.inf
            peak += 1
        values[low : peak + 1] = -np.inf
    return best_u, best


@kernel
def _narrow(
    y: Vector,
    x: Vector,
    steps: Counts,
    centre: float,
    w: float,
    half: float,
    lowest: float,
    highest: float,
    work: Vector,
    found: Matrix,
) -> tuple[float, float]:
    """Narrow a peak down to the parabola through its three highest points; (u, value)."""
    u, shares = np.empty(LANES), np.full(LANES, w)
    best_u, best = centre, -np.inf
    for _ in range(_NARROWINGS_MAX):
        spacing = 2.0 * half / (LANES - 1)
        for i in range(LANES):
            u[i] = min(max(centre - half + spacing * i, lowest), highest)
        evaluate(y, x, steps, u, shares, work, found)
        top = 0
        for i in range(1, LANES):
            top = i if found[VALUE, i] > found[VALUE, top] else top
        if found[VALUE, top] > best:
            best_u, best = u[top], found[VALUE, top]
        if best_u >= highest:
            break
        centre = best_u
        if 0 < top < LANES - 1 and found[VALUE, top] >= best:
            left, right = found[VALUE, top - 1], found[VALUE, top + 1]
            bend = left - 2.0 * found[VALUE, top] + right
            if bend < 0.0:
                offset = 0.5 * (left - right) / bend
                centre = min(max(u[top] + spacing * offset, lowest), highest)
                if spacing < _NARROW:
                    return centre, found[VALUE, top] - 0.5 * bend * offset * offset
            half = 0.5 * spacing
        elif top == 0 or top == LANES - 1:
            half = half if found[VALUE, top] >= best else 0.3 * half
        else:
            half = 0.3 * half
        if half < 1e-7:
            break
    return best_u, best


@kernel
def _scan_share(
    y: Vector, x: Vector, steps: Counts, best_u: float, work: Vector, found: Matrix
) -> tuple[float, float]:
    """The most likely w between the ends at u, and its value."""
    u, w = np.full(LANES, best_u), np.empty(LANES)
    best_w, best = 0.0, -np.inf
    for sign in (-1.0, 1.0):
        for i in range(LANES):
            w[i] = sign * _W_SCAN[i] if i > 0 else sign * 0.35
        evaluate(y, x, steps, u, w, work, found)
        for i in range(LANES):
            if found[VALUE, i] > best:
                best_w, best = w[i], found[VALUE, i]
    return best_w, best


@kernel
def _stencil(
    y: Vector,
    x: Vector,
    steps: Counts,
    u: float,
    w: float,
    u_width: float,
    w_width: float,
    work: Vector,
    found: Matrix,
) -> None:
    """The point and those about it: centre, u up, u down, w up, w down, both up, both down."""
    us, ws = np.full(LANES, u), np.full(LANES, w)
    us[1], us[2], us[5], us[6] = u + u_width, u - u_width, u + u_width, u - u_width
    ws[3], ws[4], ws[5], ws[6] = w + w_width, w - w_width, w + w_width, w - w_width
    evaluate(y, x, steps, us, ws, work, found)


@kernel
def _derivatives(
    row: Vector, u_width: float, w_width: float
) -> tuple[float, float, float, float, float]:
    """(d/du, d/dw, d2/du2, d2/dw2, d2/dudw) of one row of `found` after `_stencil`."""
    uu, ww = row[1] - 2.0 * row[0] + row[2], row[3] - 2.0 * row[0] + row[4]
    uw = 0.5 * (row[5] - 2.0 * row[0] + row[6] - uu - ww)
    return (
        (row[1] - row[2]) / (2.0 * u_width),
        (row[3] - row[4]) / (2.0 * w_width),
        uu / (u_width * u_width),
        ww / (w_width * w_width),
        uw / (u_width * w_width),
    )


@kernel
def _climb_plane(
    y: Vector,
    x: Vector,
    steps: Counts,
    u: float,
    w: float,
    lowest: float,
    highest: float,
    work: Vector,
    found: Matrix,
) -> tuple[float, float, float, float]:
    """Newton steps within a radius; (u, w, value, nats that the next step promises)."""
    value, radius, promised = -np.inf, 1.0, np.inf
    trial_u, trial_w, step_u, step_w = u, w, 0.0, 0.0
    du, dw, duu, dww, duw = 0.0, 0.0, 0.0, 0.0, 0.0
    for _ in range(_STEPS_MAX):
        _stencil(y, x, steps, trial_u, trial_w, _U_WIDTH, _W_WIDTH, work, found)
        if found[VALUE, 0] > value - _ROUNDING:
            u, w, value = trial_u, trial_w, found[VALUE, 0]
            radius = min(2.0 * radius, 4.0)
            du, dw, duu, dww, duw = _derivatives(found[VALUE], _U_WIDTH, _W_WIDTH)
            step_u, step_w = _newton(du, dw, duu, dww, duw)
        else:
            radius = 0.25 * min(radius, max(abs(trial_u - u), abs(trial_w - w)))
        shrink = min(1.0, radius / max(abs(step_u), abs(step_w), 1e-300))
        trial_u = min(max(u + shrink * step_u, lowest), highest)
        trial_w = min(max(w + shrink * step_w, -_W_MAX), _W_MAX)
        su, sw = trial_u - u, trial_w - w
        promised = du * su + dw * sw + 0.5 * (duu * su * su + dww * sw * sw) + duw * su * sw
        if promised < 1e-7 or radius < 1e-6:
            break
    return u, w, value, promised


@kernel
def _newton(du: float, dw: float, duu: float, dww: float, duw: float) -> tuple[float, float]:
    """Newton's step where the curvature is a maximum's; else with as much added to it as makes it
    so.
    """
    uu, ww = -duu, -dww
    middle, apart = 0.5 * (uu + ww), 0.5 * (uu - ww)
    smallest = middle - np.sqrt(apart * apart + duw * duw)
    wanted = 1e-6 + 1e-3 * (abs(du) + abs(dw))
    if smallest < wanted:
        uu += wanted - smallest
        ww += wanted - smallest
    determinant = uu * ww - duw * duw
    return (ww * du + duw * dw) / determinant, (uu * dw + duw * du) / determinant


@kernel
def _curvature(
    y: Vector,
    x: Vector,
    steps: Counts,
    u: float,
    w: float,
    work: Vector,
    found: Matrix,
    result: Vector,
) -> tuple[bool, float]:
    """Put the noise and the variances of the logarithms of drifts and noise in `result`; whether
    the curvature is a maximum's, and the nats that a step still promises.

    VALUE is concentrated: its curvature is that of (u, w) with log r free. Given them log r has the
    variance 2/n and the mean log sum e^2 / S, which moves with them; nothing cancels that way.
    """
    _stencil(y, x, steps, u, w, _U_WIDTH, _W_WIDTH, work, found)
    count, squares = y.shape[0] - 2, found[SQUARES, 0]
    result[NOISE], result[FOUND] = squares / count, found[VALUE, 0]
    du, dw, duu, dww, duw = _derivatives(found[VALUE], _U_WIDTH, _W_WIDTH)
    su, sw, _, _, _ = _derivatives(found[SQUARES], _U_WIDTH, _W_WIDTH)
    between = -_W_MAX < w < _W_MAX
    if not between:  # u alone is searched for
        dw, dww, duw, sw = 0.0, -1.0, 0.0, 0.0
    curved = duu < 0.0 and duu * dww > duw * duw
    if curved:
        spread = (-dww, duw, -duu, duu * dww - duw * duw)
        by_u, by_w, alone = su / squares, sw / squares, 2.0 / count
        share = 1.0 / (1.0 + exp(-w)) if between else 0.0
        result[VAR_NOISE] = alone + _along(spread, by_u, by_w)
        result[VAR_A] = alone + _along(spread, 1.0 + by_u, by_w - share)
        result[VAR_B] = alone + _along(spread, 1.0 + by_u, by_w + (1.0 - share) * between)
    step_u, step_w = _newton(du, dw, duu, dww, duw)
    return curved, 0.5 * (du * step_u + dw * step_w)


@kernel
def _along(spread: tuple[float, float, float, float], j: float, k: float) -> float:
    """Variance of j u + k w; `spread` is (ww, uw, uu, determinant) of minus the Hessian."""
    return (j * j * spread[0] + 2.0 * j * k * spread[1] + k * k * spread[2]) / spread[3]
