"""Maximum likelihood of EGARCH(1,1,1), normal or Student's t."""

import math

import numpy as np
import numpy.typing as npt

from hft_lib.fitting.egarch_climb import (
    BETA_MAX,
    EDGE,
    ENDED,
    INVERSE_DOF_MAX,
    OMEGA_MAX,
    SHOCK_MAX,
    covariance,
)
from hft_lib.fitting.egarch_score import ALPHA, BETA, GAMMA, INVERSE_DOF, MEAN, OMEGA, Matrix
from hft_lib.fitting.egarch_search import search
from hft_lib.fitting.result import Fit, require
from hft_lib.kernel import kernel
from hft_lib.models.garch import presample_variance
from hft_lib.models.inputs import Vector, intervals, vector
from hft_lib.parameters import EgarchParameters

OBSERVATIONS_MIN = 50
# With more exact zeros than this Student's likelihood grows without bound as dof falls to 2.
ALIKE_SHARE_MAX = 0.2
SCALE_MIN, SCALE_MAX = 1e-40, 1e40  # so that variances are within those that can be run
_FALL_MAX = 30.0  # of the log variance below what is usual: then one density decides all
NAMES = ("mean", "omega", "alpha", "gamma", "beta", "dof")
# (alpha, gamma, beta) from which the search starts: lasting, middling, and short or odd effects.
_STARTS = np.array(
    [
        *((0.1, 0.0, 0.99), (0.1, 0.0, 0.95), (0.25, 0.0, 0.99), (0.25, 0.0, 0.95)),
        *((0.03, 0.0, 0.99), (0.02, -0.05, 0.995), (0.02, 0.05, 0.995), (0.1, -0.1, 0.9)),
        *((0.1, 0.0, 0.8), (0.25, 0.0, 0.8), (0.25, 0.0, 0.5), (0.03, 0.0, 0.8)),
        *((0.03, 0.0, 0.5), (0.1, 0.1, 0.8), (0.1, -0.1, 0.7), (0.01, -0.02, 0.7)),
        *((0.1, 0.1, 0.1), (0.1, -0.1, 0.1), (0.01, 0.02, 0.0), (0.01, -0.02, 0.0)),
        *((-0.1, 0.02, 0.0), (-0.1, -0.02, 0.0), (-0.1, 0.02, 0.7), (-0.1, -0.02, 0.7)),
    ]
)


def fit_egarch(
    innovations: npt.ArrayLike,
    steps: npt.ArrayLike | None = None,
    distribution: str = "t",
    presample: str = "sample",
) -> Fit[EgarchParameters]:
    """Most likely EGARCH(1,1,1) of `innovations` (time,), `steps` grid intervals apart.

    `distribution` is `normal` or `t`; `presample` is the convention of
    `models.garch.presample_variance`. Of beta 0 and more are searched; at a bound of the search's
    own it has not converged, and `reason` names it. Raises FitRefused for fewer than 50
    observations, no variance, and for t where more than a fifth are exactly alike.
    """
    if distribution not in ("normal", "t"):
        raise ValueError(f"distribution must be normal or t, was {distribution}")
    values = vector("innovations", innovations)
    counts = None if steps is None else intervals(steps, values.size)
    if counts is not None and not (counts > 1).any():
        counts = None  # no gap: the searches are several times as fast
    normal = distribution == "normal"
    scale, level = _checked_scale(values, normal)
    unit = values / scale
    mean = float(unit.mean())
    variance = presample_variance(unit, mean, presample)
    before = np.array([variance, float(presample == "sample"), mean, level - _FALL_MAX])
    theta, free, curvature = np.empty(6), np.empty(6), np.empty((6, 6))
    value, how, edge = search(
        unit, counts, before, normal, _starts(mean, level), theta, free, curvature
    )
    count = 5 if normal else 6
    alone = free[MEAN] > 0.0 or np.count_nonzero(unit == theta[MEAN]) == 1
    errors, curved = _standard_errors(theta, free, curvature, count, scale, alone)
    caps = _caps(theta, normal)
    return Fit(
        params=_parameters(theta, before, scale, normal),
        standard_errors=errors,
        log_likelihood=float(value) - values.size * math.log(scale),
        converged=how == ENDED and curved and not caps,
        reason="; ".join([_reason(free, how, edge - value, curved, count, alone), *caps]),
        observations=values.size,
    )


def _starts(mean: float, level: float) -> Matrix:
    starts = np.empty((len(_STARTS), 6))
    starts[:, MEAN] = mean
    starts[:, OMEGA] = (1.0 - _STARTS[:, 2]) * level
    starts[:, 2:5] = _STARTS
    starts[:, INVERSE_DOF] = 1.0 / 7.0
    return starts


def _checked_scale(values: Vector, normal: bool) -> tuple[float, float]:
    """Standard deviation, and the log variance about which a search starts in units of it."""
    require(
        values.size >= OBSERVATIONS_MIN,
        f"observations must be at least {OBSERVATIONS_MIN}",
        values.size,
    )
    largest = max(float(values.max()), -float(values.min()))
    require(largest < SCALE_MAX, f"innovations must be below {SCALE_MAX}", largest)
    scale = float(values.std())
    require(scale > 1e-12 * largest, "the innovations' variance must be positive", scale * scale)
    rule = f"the innovations' standard deviation must be above {SCALE_MIN}"
    require(scale > SCALE_MIN, rule, scale)
    if normal:
        return scale, 0.0
    ordered = np.sort(values)
    share = _longest_run(ordered) / values.size
    rule = f"for t the share of innovations exactly alike must be at most {ALIKE_SHARE_MAX}"
    require(share <= ALIKE_SHARE_MAX, rule, share)
    # Half of a normal lies within 1.349 deviations: a measure that no outlier moves.
    spread = float(ordered[(3 * values.size) // 4] - ordered[values.size // 4])
    return scale, 2.0 * math.log(max(spread / (1.349 * scale), 1e-6))


@kernel
def _longest_run(ordered: Vector) -> int:
    """How often the commonest of `ordered` values occurs: a price that does not move."""
    longest, begin = 0, 0
    for t in range(ordered.shape[0]):
        if ordered[t] != ordered[begin]:
            begin = t
        longest = max(longest, t - begin + 1)
    return longest


def _parameters(theta: Vector, before: Vector, scale: float, normal: bool) -> EgarchParameters:
    mean, omega, alpha, gamma, beta, inverse_dof = theta.tolist()
    presample = before[0] + before[1] * (before[2] - mean) ** 2
    prior = omega + beta * math.log(presample)
    return EgarchParameters(
        mean=mean * scale,
        omega=omega + (1.0 - beta) * 2.0 * math.log(scale),
        alpha=alpha,
        gamma=gamma,
        beta=beta,
        variance_prior=math.exp(prior) * scale * scale,
        dof=None if normal else 1.0 / inverse_dof,
    )


def _standard_errors(
    theta: Vector, free: Vector, curvature: Matrix, count: int, scale: float, alone: bool
) -> tuple[dict[str, float | None], bool]:
    """Standard errors by the Hessian, None at a bound; and whether the curvature is a maximum's.

    A mean held by the kink of one innovation has the curvature between the kink's two sides.
    """
    errors: dict[str, float | None] = dict.fromkeys(NAMES[:count])
    inverse, held = np.empty((6, 6)), free.copy()
    held[MEAN] = float(alone)
    if not (covariance(curvature, held, inverse) or covariance(curvature, free, inverse)):
        return errors, False
    of = inverse.tolist()
    variances = [of[j][j] for j in range(6)]
    # To the innovations' own unit: scale mean, omega + (1 - beta) 2 log(scale), 1 / (1 / dof).
    by_beta = -2.0 * math.log(scale)
    variances[MEAN] *= scale * scale
    variances[OMEGA] += by_beta * (2.0 * of[OMEGA][BETA] + by_beta * of[BETA][BETA])
    variances[INVERSE_DOF] *= float(theta[INVERSE_DOF]) ** -4
    for j in range(count):
        if of[j][j] > 0.0:
            errors[NAMES[j]] = math.sqrt(variances[j])
    return errors, True


def _caps(theta: Vector, normal: bool) -> list[str]:
    """Which bounds hold the point that are the search's own: beyond them it may be likelier."""
    found = [
        (theta[BETA] >= BETA_MAX, f"the persistence is at the search's cap {BETA_MAX}"),
        (abs(theta[OMEGA]) >= OMEGA_MAX, f"omega is at the search's bound {OMEGA_MAX}"),
        (abs(theta[ALPHA]) >= SHOCK_MAX, f"alpha is at the search's bound {SHOCK_MAX}"),
        (abs(theta[GAMMA]) >= SHOCK_MAX, f"gamma is at the search's bound {SHOCK_MAX}"),
        (
            not normal and theta[INVERSE_DOF] >= INVERSE_DOF_MAX,
            f"dof is at the search's floor {1.0 / INVERSE_DOF_MAX:g}",
        ),
    ]
    return [said for holds, said in found if holds]


def _reason(free: Vector, how: int, higher: float, curved: bool, count: int, alone: bool) -> str:
    if how == EDGE:
        return "at the edge where a forecast never forgets its start or a variance falls to nothing"
    if how != ENDED:
        return "the search did not come to an end"
    if not curved:
        return "the curvature is not a maximum's"
    held = [j for j in range(count) if free[j] == 0.0 and not (j == MEAN and alone)]
    names = ", ".join(NAMES[j] for j in held)
    reason = f"at a bound or not identified: {names}" if names else "maximum"
    edge = f"; {higher:.2f} nats higher where a forecast goes astray"
    return reason + edge if higher > 0.01 else reason
