"""Maximum predictive likelihood of the changepoint detector, and its alarm set so that it rarely
cries wolf.

The hazard and the variance that a new regime is expected to have are searched for; the rest of the
prior is one observation's worth (kappa 1, alpha 1) about 0. Each value is forecast from those
before it, so the likelihood is the detector's own evidence. The alarm threshold is then the lowest
of a ladder that the fitting window itself passes in no more than two values in a thousand.
"""

import math
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from hft_lib.fitting.result import Fit, require
from hft_lib.models.bocd import log_likelihood, params_row, run
from hft_lib.models.inputs import Vector, vector
from hft_lib.parameters import BocdParameters

OBSERVATIONS_MIN = 50
HAZARD_MAX = 0.1
PRIOR_BETA_MIN, PRIOR_BETA_MAX = 0.05, 20.0
ALARM_LADDER = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
FALSE_ALARM_SHARE_MAX = 0.002
# Longer series are judged by their last part: a likelihood costs about a microsecond a value.
OBSERVATIONS_MAX = 20_000
_ROUNDS = 3


def fit_bocd(standardised: npt.ArrayLike, alarm_run_length: int = 10) -> Fit[BocdParameters]:
    """Most likely hazard and prior variance for standardised innovations (time,), with an alarm to
    fit.

    Of more than 20,000 values the last are used. Raises FitRefused for fewer than 50 values, or
    values all alike.
    """
    values = vector("standardised", standardised)[-OBSERVATIONS_MAX:]
    require(
        values.size >= OBSERVATIONS_MIN,
        f"observations must be at least {OBSERVATIONS_MIN}",
        values.size,
    )
    require(float(values.std()) > 0.0, "the values' variance must be positive", 0.0)
    box = _box(values.size)

    def value(point: Vector) -> float:
        hazard, beta = np.exp(point).tolist()
        return log_likelihood(params_row(_parameters(hazard, beta, alarm_run_length)), values)

    point, ended = _climb(value, box)
    errors = _standard_errors(value, point, box)
    hazard, beta = np.exp(point).tolist()
    params = _parameters(hazard, beta, alarm_run_length)
    bounds = [name for name, error in errors.items() if error is None]
    return Fit(
        params=msgspec.structs.replace(params, alarm_probability=_threshold(params, values)),
        standard_errors=errors,
        log_likelihood=value(point),
        converged=ended,
        reason=(
            (f"at a bound: {', '.join(bounds)}" if bounds else "maximum")
            if ended
            else "the search did not come to an end"
        ),
        observations=values.size,
    )


def _parameters(hazard: float, beta: float, alarm_run_length: int) -> BocdParameters:
    return BocdParameters(
        hazard=hazard,
        prior_mean=0.0,
        prior_kappa=1.0,
        prior_alpha=1.0,
        prior_beta=beta,
        alarm_run_length=alarm_run_length,
    )


def _box(size: int) -> npt.NDArray[np.float64]:
    """Bounds of (log hazard, log beta): less than a change in ten such windows cannot be told from
    none.
    """
    hazards = (min(1.0 / (10.0 * size), HAZARD_MAX / 2.0), HAZARD_MAX)
    return np.log(np.array([hazards, (PRIOR_BETA_MIN, PRIOR_BETA_MAX)]))


def _climb(value: Callable[[Vector], float], box: npt.NDArray[np.float64]) -> tuple[Vector, bool]:
    """A coarse look at the hazard, then each coordinate in turn; whether the last round gained
    nothing.
    """
    from scipy.optimize import minimize_scalar

    starts = [np.array([hazard, 0.0]) for hazard in np.linspace(box[0, 0], box[0, 1], 6)]
    values = [value(start) for start in starts]
    point, best, gain = starts[int(np.argmax(values))].copy(), max(values), math.inf
    for _ in range(_ROUNDS):
        before = best
        for j in (1, 0):

            def along(coordinate: float, j: int = j) -> float:
                moved = point.copy()
                moved[j] = coordinate
                return -value(moved)

            found = minimize_scalar(along, bounds=box[j], method="bounded", options={"xatol": 0.01})
            ends = [(along(end), end) for end in box[j].tolist()]
            lowest, coordinate = min([(found.fun, float(found.x)), *ends])
            if -lowest > best:
                best, point[j] = -lowest, coordinate
        gain = best - before
        if gain < 0.01:
            break
    return point, bool(gain < 0.1)


def _standard_errors(
    value: Callable[[Vector], float], point: Vector, box: npt.NDArray[np.float64]
) -> dict[str, float | None]:
    """By the curvature along each logarithm; None at a bound or where it does not curve down."""
    errors: dict[str, float | None] = {}
    for j, name in enumerate(("hazard", "prior_beta")):
        width = 0.2 * np.eye(2)[j]
        inside = box[j, 0] + 0.2 < point[j] < box[j, 1] - 0.2
        curvature = (value(point + width) - 2.0 * value(point) + value(point - width)) / 0.04
        flat = not inside or curvature >= 0.0
        errors[name] = None if flat else math.exp(float(point[j])) / math.sqrt(-curvature)
    return errors


def _threshold(params: BocdParameters, values: Vector) -> float:
    """The lowest alarm probability that few enough of the window's values exceed."""
    recent = run(params_row(params), values)["recent_probability"][2 * params.alarm_run_length :]
    for probability in ALARM_LADDER:
        if float((recent > probability).mean()) <= FALSE_ALARM_SHARE_MAX:
            return probability
    return ALARM_LADDER[-1]
