"""Maximum likelihood of the changepoint detector, and an alarm of a stated rate of false ones.

The hazard and the variance that a new regime is expected to have are searched for; the rest of the
prior is one observation's worth (kappa 1, alpha 1) about 0. Each value is forecast from those
before it, so the likelihood is the detector's own evidence.

The alarm is P(run length <= k) above a threshold. The window's regimes, each standardised and all
their values in random order, are a series that never breaks and has the window's tails: the
threshold is the lowest at which that raises the alarm twice in 10,000 values. It is raised further
where the window itself raises the alarm more often than the fit finds changes in it.
"""

import math

import msgspec
import numpy as np
import numpy.typing as npt

from hft_lib.fitting.bocd_climb import Top, climb
from hft_lib.fitting.result import Fit, require
from hft_lib.models.bocd import log_likelihood, params_row, run
from hft_lib.models.inputs import Vector, vector
from hft_lib.parameters import BocdParameters

OBSERVATIONS_MIN = 50
HAZARD_MAX = 0.1
PRIOR_BETA_MIN, PRIOR_BETA_MAX = 0.05, 20.0
FALSE_ALARMS_PER_10K = 2.0
# Of breaks of the variance by four under t4, 20 misses four in ten and 50 one in twelve, with as
# few false alarms and a shift of the mean found as soon; 80 gains little and holds for longer.
ALARM_RUN_LENGTH = 50
# From 0.02 to 0.9999, a quarter of a unit of log odds apart.
ALARM_LADDER = tuple(1.0 / (1.0 + math.exp(-0.25 * step)) for step in range(-16, 38))
# Longer series are judged by their last part: a likelihood costs about half a microsecond a value.
OBSERVATIONS_MAX = 20_000
_UNBROKEN_MIN = 50_000  # values in random order: ten false alarms are expected in these
_HAZARD_STARTS, _BETA_STARTS = 5, (0.3, 1.0, 3.0)
_REGIME_MIN = 100
_SEED = 20_071


def fit_bocd(
    standardised: npt.ArrayLike, alarm_run_length: int = ALARM_RUN_LENGTH
) -> Fit[BocdParameters]:
    """Most likely hazard and prior variance for standardised innovations (time,) as normal scores
    (`garch.normal_scores`), with an alarm to fit.

    Of more than 20,000 values the last are used. Without a change in the window the hazard is at
    its lower bound: converged, and `reason` says so. At the hazard's cap or a bound of the prior
    variance, which are the search's own, it has not converged. Raises FitRefused for fewer than 50
    values, or values all alike.
    """
    values = vector("standardised", standardised)[-OBSERVATIONS_MAX:]
    require(
        values.size >= OBSERVATIONS_MIN,
        f"observations must be at least {OBSERVATIONS_MIN}",
        values.size,
    )
    require(float(values.std()) > 0.0, "the values' variance must be positive", 0.0)

    def value(point: Vector) -> float:
        hazard, beta = _natural(point, values.size)
        return log_likelihood(params_row(_parameters(hazard, beta, alarm_run_length)), values)

    box = _box(values.size)
    top = climb(value, box, _starts(box))
    hazard, beta = _natural(top.point, values.size)
    params = _parameters(hazard, beta, alarm_run_length)
    errors, caps = _errors(top), _caps(hazard, beta)
    return Fit(
        params=msgspec.structs.replace(params, alarm_probability=_threshold(params, values)),
        standard_errors=errors,
        log_likelihood=top.value,
        converged=top.ended and not caps,
        reason=_reason(top, errors, caps),
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


def _hazard_min(size: int) -> float:
    """Less than a change in ten such windows cannot be told from none."""
    return min(1.0 / (10.0 * size), HAZARD_MAX / 2.0)


def _box(size: int) -> npt.NDArray[np.float64]:
    """Bounds of (log hazard, log beta)."""
    hazards = (_hazard_min(size), HAZARD_MAX)
    return np.log(np.array([hazards, (PRIOR_BETA_MIN, PRIOR_BETA_MAX)]))


def _natural(point: Vector, size: int) -> tuple[float, float]:
    """Hazard and beta of their logarithms; a bound is the bound itself, not an ulp off."""
    hazard, beta = np.exp(point).tolist()
    hazard = min(max(hazard, _hazard_min(size)), HAZARD_MAX)
    return hazard, min(max(beta, PRIOR_BETA_MIN), PRIOR_BETA_MAX)


def _starts(box: npt.NDArray[np.float64]) -> list[Vector]:
    """A coarse look at the whole box: the likelihood may have more than one hill."""
    hazards = np.linspace(box[0, 0], box[0, 1], _HAZARD_STARTS)
    return [np.array([hazard, math.log(beta)]) for hazard in hazards for beta in _BETA_STARTS]


def _errors(top: Top) -> dict[str, float | None]:
    """Standard errors of hazard and beta; those of the climb are of their logarithms."""
    return {
        name: None if math.isnan(error) else math.exp(point) * error
        for name, point, error in zip(
            ("hazard", "prior_beta"), top.point.tolist(), top.errors.tolist(), strict=True
        )
    }


def _caps(hazard: float, beta: float) -> list[str]:
    """Which bounds of the search's own hold the point: beyond them it may be likelier."""
    at = math.nextafter
    caps = [f"hazard is at the search's cap {HAZARD_MAX}"] if hazard >= at(HAZARD_MAX, 0.0) else []
    if not at(PRIOR_BETA_MIN, 1.0) < beta < at(PRIOR_BETA_MAX, 1.0):
        caps.append(f"prior_beta is at the search's bound {beta:g}")
    return caps


def _reason(top: Top, errors: dict[str, float | None], caps: list[str]) -> str:
    if not top.ended:
        return "the search did not come to an end"
    if caps:
        return "; ".join(caps)
    bounds = [name for name, error in errors.items() if error is None]
    if bounds == ["hazard"]:
        return "at a bound: hazard, the lowest: no change is seen"
    return f"at a bound: {', '.join(bounds)}" if bounds else "maximum"


def _threshold(params: BocdParameters, values: Vector) -> float:
    """The lowest alarm probability with few enough false alarms."""
    unbroken = _unbroken(params, values)
    by_chance = _lowest(params, unbroken, FALSE_ALARMS_PER_10K * 1e-4 * unbroken.size)
    changes = (FALSE_ALARMS_PER_10K * 1e-4 + params.hazard) * values.size
    return max(by_chance, _lowest(params, values, changes))


def _unbroken(params: BocdParameters, values: Vector) -> Vector:
    """A long series without a change, from what the regimes of `values` have in common."""
    regimes = np.split(values, _boundaries(params, values))
    pool = np.concatenate([(part - part.mean()) / (part.std() or 1.0) for part in regimes])
    rng, copies = np.random.default_rng(_SEED), -(-_UNBROKEN_MIN // pool.size)
    return np.concatenate([rng.permutation(pool) for _ in range(copies)])


def _boundaries(params: BocdParameters, values: Vector) -> list[int]:
    """Where regimes begin, seen from the end of each: the most probable run lengths, last first.

    What is shorter than `_REGIME_MIN` stays with what follows: an outlier is no regime.
    """
    lengths = run(params_row(params), values)["map_run_length"].astype(int)
    found, end = [], values.size
    while end > 2 * _REGIME_MIN:
        begin = end - max(int(lengths[end - 1]), _REGIME_MIN)
        if begin < _REGIME_MIN:
            break
        found.append(begin)
        end = begin
    return found[::-1]


def _lowest(params: BocdParameters, values: Vector, alarms_max: float) -> float:
    """The lowest of the ladder at which `values` raise no more alarms, and none of them lasts."""
    recent = run(params_row(params), values)["recent_probability"]
    above_max = (params.alarm_run_length + 1) * max(alarms_max, 1.0)
    for probability in ALARM_LADDER:
        found = alarms(recent, probability, params.alarm_run_length).size
        if found <= alarms_max and np.count_nonzero(recent > probability) <= above_max:
            return probability
    return ALARM_LADDER[-1]


def alarms(
    recent_probability: Vector, alarm_probability: float, alarm_run_length: int
) -> npt.NDArray[np.int64]:
    """Where alarms begin in `recent_probability` (time,): it is above, after as many values as the
    alarm's run length in which it was not. A detector that has not seen as many cannot tell a
    change from its own start.
    """
    above = np.flatnonzero(recent_probability > alarm_probability).astype(np.int64)
    above = above[above >= alarm_run_length]
    return above[np.diff(above, prepend=-alarm_run_length - 1) > alarm_run_length]
