"""Maximum likelihood of GARCH(1,1), normal or Student's t."""

import math
from itertools import product

import numpy as np
import numpy.typing as npt

from hft_lib.fitting.garch_score import (
    ALPHA,
    BETA,
    INVERSE_DOF,
    INVERSE_DOF_MAX,
    INVERSE_DOF_MIN,
    OMEGA_MIN,
    PERSISTENCE_MAX,
    climb,
    score,
)
from hft_lib.fitting.result import Fit, require
from hft_lib.models.garch import log_likelihood, params_row, presample_variance
from hft_lib.models.inputs import Counts, Vector, intervals, vector
from hft_lib.parameters import GarchParameters

OBSERVATIONS_MIN = 50
# With more exact zeros than this Student's likelihood grows without bound as dof falls to 2.
ZERO_SHARE_MAX = 0.2
NAMES = ("mean", "omega", "alpha", "beta", "dof")
# (alpha, alpha + beta) from which the search starts; the likeliest two are climbed from.
_STARTS = tuple(product((0.02, 0.06, 0.15), (0.5, 0.85, 0.95, 0.99))) + ((0.001, 0.01), (0.35, 0.9))


def fit_garch(
    innovations: npt.ArrayLike,
    steps: npt.ArrayLike | None = None,
    distribution: str = "normal",
    presample: str = "sample",
) -> Fit[GarchParameters]:
    """Most likely GARCH(1,1) of `innovations` (time,), `steps` grid intervals apart.

    `distribution` is `normal` or `t`; `presample` is the convention of
    `models.garch.presample_variance`. Raises FitRefused for fewer than 50 observations, no
    variance, and for t where more than a fifth are exactly alike.
    """
    if distribution not in ("normal", "t"):
        raise ValueError(f"distribution must be normal or t, was {distribution}")
    values = vector("innovations", innovations)
    counts = intervals(steps, values.size)
    normal = distribution == "normal"
    scale = _checked_scale(values, normal)
    unit = values / scale
    mean = float(unit.mean())
    before = np.array(
        [presample_variance(unit, mean, presample), float(presample == "sample"), mean]
    )
    theta, ended = _search(unit, counts, before, normal)
    params = _parameters(theta, before, scale, normal)
    errors, curved = _standard_errors(theta, unit, counts, before, normal)
    units = {"mean": scale, "omega": scale * scale, "dof": (1.0 / theta[INVERSE_DOF]) ** 2}
    return Fit(
        params=params,
        standard_errors={n: e and e * float(units.get(n, 1.0)) for n, e in errors.items()},
        log_likelihood=log_likelihood(params_row(params), values, counts),
        converged=ended and curved,
        reason=_reason(theta, ended, curved, normal),
        observations=values.size,
    )


def fit_garch_best(
    innovations: npt.ArrayLike, steps: npt.ArrayLike | None = None, presample: str = "sample"
) -> Fit[GarchParameters]:
    """The normal or Student's t, whichever has the lower AIC; the normal where t is refused."""
    normal = fit_garch(innovations, steps, "normal", presample)
    if _zero_share(vector("innovations", innovations)) > ZERO_SHARE_MAX:
        return normal
    student = fit_garch(innovations, steps, "t", presample)
    better = student.log_likelihood - 1.0 > normal.log_likelihood
    return student if better and (student.converged or not normal.converged) else normal


def _checked_scale(values: Vector, normal: bool) -> float:
    require(
        values.size >= OBSERVATIONS_MIN,
        f"observations must be at least {OBSERVATIONS_MIN}",
        values.size,
    )
    scale = float(values.std())
    largest = float(np.abs(values).max())
    require(scale > 1e-12 * largest, "the innovations' variance must be positive", scale * scale)
    require(scale > 1e-140, "the innovations' standard deviation must be above 1e-140", scale)
    share = _zero_share(values)
    require(
        normal or share <= ZERO_SHARE_MAX,
        f"for t the share of innovations exactly alike must be at most {ZERO_SHARE_MAX}",
        share,
    )
    return scale


def _zero_share(values: Vector) -> float:
    """Share of the commonest value: a price that does not move."""
    counts = np.unique(values, return_counts=True)[1]
    return float(counts.max()) / values.size if counts.max() > 1 else 0.0


def _search(unit: Vector, steps: Counts, before: Vector, normal: bool) -> tuple[Vector, bool]:
    """Climb from the two likeliest starts; the better end and whether its search came to one."""
    gradient, information = np.empty(5), np.empty((5, 5))
    starts = []
    for alpha, persistence in _STARTS:
        theta = np.array([before[2], 1.0 - persistence, alpha, persistence - alpha, 1.0 / 8.0])
        value = score(theta, unit, steps, before, normal, gradient, information)
        starts.append((value, theta))
    starts.sort(key=lambda pair: -pair[0])
    ends = [(*climb(theta, unit, steps, before, normal), theta) for _, theta in starts[:2]]
    _, ended, theta = max(ends, key=lambda end: end[0])
    return theta, bool(ended)


def _parameters(theta: Vector, before: Vector, scale: float, normal: bool) -> GarchParameters:
    mean, omega, alpha, beta, inverse_dof = theta.tolist()
    presample = before[0] + before[1] * (before[2] - mean) ** 2
    return GarchParameters(
        mean=mean * scale,
        omega=omega * scale * scale,
        alpha=alpha,
        beta=beta,
        variance_prior=float(omega + (alpha + beta) * presample) * scale * scale,
        dof=None if normal else 1.0 / inverse_dof,
    )


def _standard_errors(
    theta: Vector, unit: Vector, steps: Counts, before: Vector, normal: bool
) -> tuple[dict[str, float | None], bool]:
    """Standard errors by the Hessian, None at a bound; and whether the curvature is a maximum's."""
    errors: dict[str, float | None] = dict.fromkeys(NAMES[: 4 if normal else 5])
    free = [j for j in range(4 if normal else 5) if not _at_bound(theta, j)]
    hessian = _hessian(theta, unit, steps, before, normal)[np.ix_(free, free)]
    try:
        covariance = np.linalg.inv(-hessian)
        np.linalg.cholesky(-hessian)
    except np.linalg.LinAlgError:
        return errors, False
    for j, variance in zip(free, np.diag(covariance), strict=True):
        errors[NAMES[j]] = math.sqrt(float(variance)) if variance > 0.0 else None
    return errors, True


def _at_bound(theta: Vector, j: int) -> bool:
    capped = theta[ALPHA] + theta[BETA] >= PERSISTENCE_MAX * (1.0 - 1e-9)
    match j:
        case 0:
            return False
        case 1:
            return bool(theta[1] <= OMEGA_MIN)
        case 2:
            return bool(theta[ALPHA] <= 0.0)
        case 3:  # without alpha the variance says nothing of beta
            return bool(theta[BETA] <= 0.0 or theta[ALPHA] <= 0.0 or capped)
        case _:
            return not INVERSE_DOF_MIN < theta[INVERSE_DOF] < INVERSE_DOF_MAX


def _hessian(
    theta: Vector, unit: Vector, steps: Counts, before: Vector, normal: bool
) -> npt.NDArray[np.float64]:
    """Central differences of the analytic gradient."""
    hessian, information = np.empty((5, 5)), np.empty((5, 5))
    for j in range(5):
        width = 1e-5 * max(abs(float(theta[j])), 1e-2)
        up, down = theta.copy(), theta.copy()
        up[j] += width
        down[j] -= width
        above, below = np.empty(5), np.empty(5)
        score(up, unit, steps, before, normal, above, information)
        score(down, unit, steps, before, normal, below, information)
        hessian[j] = (above - below) / (2.0 * width)
    return (hessian + hessian.T) / 2.0


def _reason(theta: Vector, ended: bool, curved: bool, normal: bool) -> str:
    if not ended:
        return "the search did not come to an end"
    if not curved:
        return "the curvature is not a maximum's"
    names = [NAMES[j] for j in range(4 if normal else 5) if _at_bound(theta, j)]
    return f"at a bound or not identified: {', '.join(names)}" if names else "maximum"
