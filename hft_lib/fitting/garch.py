"""Maximum likelihood of GARCH(1,1) and GJR-GARCH, normal or Student's t."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.fitting.garch_score import (
    INVERSE_DOF_MAX,
    PERSISTENCE_MAX,
    is_capped,
    shares,
)
from hft_lib.fitting.garch_search import certify, errors, search
from hft_lib.fitting.garch_sweep import BETA, DOWN, INVERSE_DOF, MEAN, OMEGA, SIZE, UP
from hft_lib.fitting.result import Fit, FitRefused, require
from hft_lib.kernel import kernel
from hft_lib.models.garch import PRESAMPLES, mean_square
from hft_lib.models.inputs import Vector, intervals, vector
from hft_lib.models.lanes import WIDTH, lanes, load, pick_negative, store, total
from hft_lib.models.special import log
from hft_lib.parameters import GarchParameters

OBSERVATIONS_MIN = 50
# With more exact zeros than this Student's likelihood grows without bound as dof falls to 2.
ZERO_SHARE_MAX = 0.2
DOF_MIN = 1.0 / INVERSE_DOF_MAX  # of the search
SCALE_MIN, SCALE_MAX = 1e-40, 1e40  # so that variances are within those that can be run
_HASH_BITS, _HASH_FACTOR = 6, np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio
_SCALE_RELATIVE_MIN = 1e-12  # of the largest innovation


# What the compiled fit leaves: the point in the innovations' units, the errors of its numbers (NaN
# at a bound), and what else is asked of it.
_ERRORS, _GAMMA_ERROR = SIZE, 2 * SIZE
_PRIOR, _LIKELIHOOD, _ENDED, _CURVED, _REFUSED, _VALUE = range(2 * SIZE + 1, 2 * SIZE + 7)
_HELD = 2 * SIZE + 7  # which bounds of the search's own hold the point: the sum of some of these
_RESULT = 2 * SIZE + 8
_PERSISTENCE_HELD, _DOF_HELD = 1, 2
_CAPS = {
    _PERSISTENCE_HELD: f"the persistence is at the search's cap {PERSISTENCE_MAX}",
    _DOF_HELD: f"dof is at the search's floor {DOF_MIN:g}",
}
_NO_VARIANCE, _TOO_SMALL, _TOO_LARGE, _ALIKE = 1.0, 2.0, 3.0, 4.0
_RULES = {
    _NO_VARIANCE: "the innovations' variance must be positive",
    _TOO_SMALL: f"the innovations' standard deviation must be above {SCALE_MIN}",
    _TOO_LARGE: f"the innovations' standard deviation must be below {SCALE_MAX}",
    _ALIKE: f"for t the share of innovations exactly alike must be at most {ZERO_SHARE_MAX}",
}


def fit_garch(
    innovations: npt.ArrayLike,
    steps: npt.ArrayLike | None = None,
    distribution: str = "normal",
    presample: str = "sample",
    asymmetric: bool = False,
) -> Fit[GarchParameters]:
    """Most likely GARCH(1,1) of `innovations` (time,), `steps` grid intervals apart.

    `distribution` is `normal` or `t`; `asymmetric` gives innovations below the mean a slope of
    their own (GJR); `presample` is the convention of `models.garch.presample_variance`. At a bound
    of the model (omega, alpha, beta 0; dof so high that t is the normal) it may have converged; at
    one of the search's own (persistence, lowest dof) it has not, and `reason` names it. Raises
    FitRefused for fewer than 50 observations, no variance, and for t where more than a fifth are
    exactly alike.
    """
    _check_names(distribution, presample)
    values = vector("innovations", innovations)
    require(
        values.size >= OBSERVATIONS_MIN,
        f"observations must be at least {OBSERVATIONS_MIN}",
        values.size,
    )
    counts = None if steps is None else intervals(steps, values.size)
    if counts is not None and counts.max() == 1:
        counts = None
    found = np.empty(_RESULT)
    student = None if distribution == "normal" else 1.0
    _fit(values, counts, 1.0 if asymmetric else None, student, presample == "backcast", found)
    return _result(found.tolist(), values.size, asymmetric, student is not None)


def fit_garch_many(
    innovations: npt.ArrayLike,
    distribution: str = "normal",
    presample: str = "sample",
    asymmetric: bool = False,
    threads: int = 2,
) -> list[Fit[GarchParameters] | FitRefused]:
    """`fit_garch` of each row of `innovations` (series, time), no gaps, on so many threads.

    A row that cannot be fitted gives its FitRefused in its place.
    """
    _check_names(distribution, presample)
    rows = np.ascontiguousarray(innovations, dtype=np.float64)
    if rows.ndim != 2:
        raise ValueError(f"innovations must have two dimensions, had shape {rows.shape}")
    finite = np.isfinite(rows)
    if not finite.all():
        series, time = np.argwhere(~finite)[0].tolist()
        value = rows[series, time]
        raise ValueError(f"innovations must be finite, was {value} at series {series}, time {time}")
    size = rows.shape[1]
    require(size >= OBSERVATIONS_MIN, f"observations must be at least {OBSERVATIONS_MIN}", size)
    found = np.empty((rows.shape[0], _RESULT))
    student = None if distribution == "normal" else 1.0
    kind = (1.0 if asymmetric else None, student, presample == "backcast")
    if threads > 1:
        parts = zip(np.array_split(rows, threads), np.array_split(found, threads), strict=True)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: _fit_rows(part[0], *kind, part[1]), parts))
    else:
        _fit_rows(rows, *kind, found)
    return [_either(row, size, asymmetric, student is not None) for row in found.tolist()]


def fit_garch_best(
    innovations: npt.ArrayLike, steps: npt.ArrayLike | None = None, presample: str = "sample"
) -> Fit[GarchParameters]:
    """The normal or Student's t, whichever has the lower AIC; the normal where t is refused, or
    held at the search's lowest dof.

    A t that has not converged is taken all the same, with its reason: what it lacks is a maximum's
    curvature or a persistence below the cap, and the normal is likely to lack the same. At the
    lowest dof the search's bound decides what the variance is in terms of the scale: over values
    nearly all alike the forecast variance was 300,000 times too small. Symmetric both: a spread has
    no leverage effect, and its sign is that of the pair's order.
    """
    normal = fit_garch(innovations, steps, "normal", presample)
    try:
        student = fit_garch(innovations, steps, "t", presample)
    except FitRefused:
        return normal
    at_floor = student.params.dof is not None and student.params.dof <= DOF_MIN
    better = student.log_likelihood - 1.0 > normal.log_likelihood
    return student if better and not at_floor else normal


def _check_names(distribution: str, presample: str) -> None:
    if distribution not in ("normal", "t"):
        raise ValueError(f"distribution must be normal or t, was {distribution}")
    if presample not in PRESAMPLES:
        raise ValueError(f"presample convention must be sample or backcast, was {presample}")


@kernel(nogil=True)
def _fit_rows(rows: Any, asymmetric: Any, student: Any, backcast: bool, found: Any) -> None:
    for k in range(rows.shape[0]):
        _fit(rows[k], None, asymmetric, student, backcast, found[k])


@kernel(nogil=True)
def _fit(
    values: Vector, steps: Any, asymmetric: Any, student: Any, backcast: bool, found: Vector
) -> None:
    """Fit one series whole; `found` (20,) in place."""
    size = values.shape[0]
    centre, scale = _centre_and_scale(values)
    found[_REFUSED], found[_VALUE] = _refusal(values, scale, student)
    if found[_REFUSED] != 0.0:
        return
    unit = np.empty(size)
    for t in range(size):
        unit[t] = (values[t] - centre) / scale
    before = np.array([1.0, 1.0])
    if backcast:
        before[0], before[1] = mean_square(unit, 0.0, True), 0.0
    theta, free, curvature = np.empty(SIZE), np.empty(SIZE), np.empty((SIZE, SIZE))
    value, ended, sharp = search(unit, steps, before, asymmetric, student, theta, free, curvature)
    curved = certify(
        theta, unit, steps, before, asymmetric, student, sharp, free, curvature
    ) and errors(free, curvature, found[_ERRORS : _ERRORS + SIZE + 1])
    square, (up, down) = scale * scale, shares(asymmetric)
    persistence = up * theta[UP] + down * theta[DOWN] + theta[BETA]
    first = before[0] + before[1] * theta[MEAN] * theta[MEAN]
    for j in range(SIZE):
        found[j] = theta[j]
    found[MEAN], found[OMEGA] = centre + scale * theta[MEAN], square * theta[OMEGA]
    found[_ERRORS + MEAN] *= scale
    found[_ERRORS + OMEGA] *= square
    found[_PRIOR] = square * (theta[OMEGA] + persistence * first)
    found[_LIKELIHOOD] = value - size * log(scale)
    found[_HELD] = _held(theta, asymmetric, student)
    found[_ENDED], found[_CURVED] = 1.0 if ended else 0.0, 1.0 if curved else 0.0


@kernel
def _held(theta: Vector, asymmetric: Any, student: Any) -> int:
    """Which bounds hold a point that are not the model's: beyond them it may be likelier.

    Without a slope beta moves nothing but the first variances: it is not identified, nor capped.
    """
    slopes = theta[UP] > 0.0 or theta[DOWN] > 0.0
    held = _PERSISTENCE_HELD if slopes and is_capped(theta, asymmetric) else 0
    return held + (
        _DOF_HELD if student is not None and theta[INVERSE_DOF] >= INVERSE_DOF_MAX else 0
    )


@kernel
def _centre_and_scale(values: Vector) -> Any:
    """Mean and standard deviation; the squares are taken of shares of the largest deviation, so
    that none leaves the range of a float64.
    """
    size, like, parts = values.shape[0], lanes(0.0), np.empty(WIDTH)
    whole = size // WIDTH
    most, sums, squares = like, like, like
    for t in range(whole):
        x = load(values, t, like)
        x = pick_negative(x, -x, x)
        most = pick_negative(most - x, x, most)
    store(parts, 0, most)
    largest = 0.0
    for k in range(WIDTH):
        largest = max(largest, parts[k])
    for t in range(whole * WIDTH, size):
        largest = max(largest, abs(values[t]))
    if largest == 0.0 or not 1.0 / largest < np.inf:
        return 0.0, 0.0
    inverse = 1.0 / largest
    for t in range(whole):
        sums += load(values, t, like) * inverse
    centre = total(sums)
    for t in range(whole * WIDTH, size):
        centre += values[t] * inverse
    centre /= size
    for t in range(whole):
        x = load(values, t, like) * inverse - centre
        squares += x * x
    square = total(squares)
    for t in range(whole * WIDTH, size):
        apart = values[t] * inverse - centre
        square += apart * apart
    deviation = math.sqrt(square / size)
    if not deviation > _SCALE_RELATIVE_MIN:
        return centre * largest, 0.0
    return centre * largest, deviation * largest


@kernel
def _refusal(values: Vector, scale: float, student: Any) -> Any:
    """Which rule forbids a fit, 0 for none, and the value that breaks it."""
    if scale == 0.0:
        return _NO_VARIANCE, 0.0
    if scale < SCALE_MIN:
        return _TOO_SMALL, scale
    if scale > SCALE_MAX:
        return _TOO_LARGE, scale
    if student is not None:
        share = _share_alike(values) if _may_be_alike(values) else 0.0
        if share > ZERO_SHARE_MAX:
            return _ALIKE, share
    return 0.0, 0.0


@kernel
def _may_be_alike(values: Vector) -> bool:
    """Whether more than a fifth may be alike: alike values share a bin of their bits' hash
    (Fibonacci hashing, Knuth 6.4).
    """
    counts, most = np.zeros(1 << _HASH_BITS, dtype=np.int64), 0
    for t in range(values.shape[0]):
        bits = np.float64(values[t] + 0.0).view(np.uint64)  # -0 is 0
        counts[np.int64((bits * _HASH_FACTOR) >> np.uint64(64 - _HASH_BITS))] += 1
    for k in range(1 << _HASH_BITS):
        most = max(most, counts[k])
    return most > ZERO_SHARE_MAX * values.shape[0]


@kernel
def _share_alike(values: Vector) -> float:
    """Share of the commonest value where it is more than a fifth: four counters find it (Misra &
    Gries 1982), and a second pass counts. Below a fifth it may be 0.
    """
    kept, counts = np.zeros(4), np.zeros(4)
    for t in range(values.shape[0]):
        place = -1
        for k in range(4):
            if counts[k] > 0.0 and kept[k] == values[t]:
                place = k
        if place < 0:
            for k in range(4):
                if counts[k] == 0.0 and place < 0:
                    place = k
                    kept[k] = values[t]
        if place >= 0:
            counts[place] += 1.0
        else:
            for k in range(4):
                counts[k] -= 1.0
    most = 0.0
    for k in range(4):
        count = 0.0
        for t in range(values.shape[0]):
            count += 1.0 if values[t] == kept[k] else 0.0
        most = max(most, count if counts[k] > 0.0 else 0.0)
    return most / values.shape[0]


def _result(
    found: list[float], observations: int, asymmetric: bool, student: bool
) -> Fit[GarchParameters]:
    """The fit as Python takes it; raises the FitRefused that the compiled fit reports."""
    if found[_REFUSED] != 0.0:
        raise FitRefused(_RULES[found[_REFUSED]], found[_VALUE])
    alpha, inverse_dof = found[UP], found[INVERSE_DOF]
    params = GarchParameters(
        mean=found[MEAN],
        omega=found[OMEGA],
        alpha=alpha,
        gamma=found[DOWN] - alpha if asymmetric else 0.0,
        beta=found[BETA],
        variance_prior=found[_PRIOR],
        dof=1.0 / inverse_dof if student else None,
    )
    deviations = {
        "mean": found[_ERRORS + MEAN],
        "omega": found[_ERRORS + OMEGA],
        "alpha": found[_ERRORS + UP],
        "beta": found[_ERRORS + BETA],
    }
    if asymmetric:
        deviations["gamma"] = found[_GAMMA_ERROR]
    if student:
        deviations["dof"] = found[_ERRORS + INVERSE_DOF] / (inverse_dof * inverse_dof)
    known = {name: None if error != error else error for name, error in deviations.items()}
    ended, curved = found[_ENDED] != 0.0, found[_CURVED] != 0.0
    return Fit(
        params=params,
        standard_errors=known if curved else dict.fromkeys(known),
        log_likelihood=found[_LIKELIHOOD],
        converged=ended and curved and found[_HELD] == 0.0,
        reason=_reason(known, ended, curved, int(found[_HELD])),
        observations=observations,
    )


def _either(
    found: list[float], observations: int, asymmetric: bool, student: bool
) -> Fit[GarchParameters] | FitRefused:
    try:
        return _result(found, observations, asymmetric, student)
    except FitRefused as refusal:
        return refusal


def _reason(errors: dict[str, float | None], ended: bool, curved: bool, held: int) -> str:
    if not ended:
        return "the search did not come to an end"
    if not curved:
        return "the curvature is not a maximum's"
    names = [name for name, error in errors.items() if error is None]
    words = [f"at a bound or not identified: {', '.join(names)}"] if names else []
    words += [said for cap, said in _CAPS.items() if held & cap]
    return "; ".join(words) or "maximum"
