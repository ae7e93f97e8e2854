"""What can be set: the parameter set of a slot, the parameter file, the limits, the assumptions of
a run.

All of it is immutable and hashed by content. A parameter set holds no filter states: a run starts
from its priors.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import msgspec


class Set(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of everything settable: immutable, and an unknown name is an error."""


class KalmanParameters(Set):
    """Variances a grid interval of the random walks and of the observation; priors of intercept and
    hedge ratio.
    """

    intercept_drift_var: float
    hedge_drift_var: float
    noise_var: float
    intercept_prior_mean: float
    intercept_prior_var: float
    hedge_prior_mean: float
    hedge_prior_var: float


class GarchParameters(Set):
    """GARCH(1,1) of the innovations, log units; `dof` None is the normal, else Student's t of unit
    variance; `gamma` is what innovations below the mean add to `alpha` (GJR), 0 for none.

    `variance_prior` is the variance forecast before the first innovation.
    """

    mean: float
    omega: float
    alpha: float
    beta: float
    variance_prior: float
    dof: float | None = None
    gamma: float = 0.0


class EgarchParameters(Set):
    """EGARCH(1,1,1) of the innovations, log units; `dof` None is the normal, else Student's t of
    unit variance.

    `gamma` is the asymmetric term; |`beta`| < 1; `variance_prior` is the variance forecast before
    the first innovation.
    """

    mean: float
    omega: float
    alpha: float
    gamma: float
    beta: float
    variance_prior: float
    dof: float | None = None


class BocdParameters(Set):
    """Constant `hazard` a grid interval; normal-inverse-gamma prior of the innovations'
    normal scores.

    The alarm is P(run length <= `alarm_run_length`) above `alarm_probability`, held for
    `alarm_hold_s`.
    """

    hazard: float
    prior_mean: float
    prior_kappa: float
    prior_alpha: float
    prior_beta: float
    alarm_run_length: int = 10
    alarm_probability: float = 0.5
    alarm_hold_s: float = 0.0


class StrategyParameters(Set):
    """When to hold a spread and how much of it.

    z is the spread over its forecast standard deviation at `horizon_s`. Enter at `entry_z`, leave
    at `exit_z`, give up at `stop_z` (exit < entry < stop). Size: `risk_fraction` of the capital
    share is one forecast standard deviation of the position, at most `gross_fraction_max` of it a
    leg. `edge_cost_ratio_min` times the round trip's cost must be expected back from z to the exit,
    0 to ignore costs.
    """

    entry_z: float
    exit_z: float
    stop_z: float
    horizon_s: float
    risk_fraction: float
    gross_fraction_max: float
    edge_cost_ratio_min: float
    warmup_s: float


class Parameters(Set):
    """One slot's parameter set: the grid and the parameters of models and strategy."""

    grid_ms: int
    kalman: KalmanParameters
    garch: GarchParameters
    bocd: BocdParameters
    strategy: StrategyParameters


class Binned(Set):
    """How `observations` values were spread: their share in each bin, the bins' upper `edges` being
    one fewer.
    """

    observations: int
    edges: tuple[float, ...]
    shares: tuple[float, ...]


class Reference(Set):
    """What a model ate in its calibration, step by step of the grid: log returns of both legs, its
    own innovations in log units, the mean gap between moments in seconds.
    """

    return_y: Binned
    return_x: Binned
    innovation: Binned
    gap_s: Binned


class Provenance(Set):
    """Where a parameter set came from: data, window, code, and every trial made on that window.

    `reference` is what later data are held against, None for a set of which it is not known.
    """

    tape_sha256: str
    start: str
    end: str
    trials: int
    git_commit: str = ""
    seed: int = 0
    reference: Reference | None = None


class Evop(Set):
    """Scales of the evidence, measured in calibration: `s0_quote` is the sd of active daily
    differences (0: unknown).

    `units` are the step sizes of the coded parameters, by dotted name (`strategy.entry_z`).
    """

    s0_quote: float = 0.0
    units: dict[str, float] = {}


class Challenger(Set):
    """A named candidate beside the champion of a parameter file."""

    name: str
    params: Parameters


class ParameterFile(Set):
    """What `hft calibrate --out` writes: immutable as a version, read by every verb that runs."""

    pair: str
    params: Parameters
    evop: Evop
    provenance: Provenance
    challengers: tuple[Challenger, ...] = ()


class Limits(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The limits of one pair's accounts, each a fraction of the capital share unless its name says
    otherwise.
    """

    version: int = 1
    order_notional_max: float = 1.5
    position_notional_max: float = 1.5
    gross_max: float = 3.0
    leverage_max: float = 3.0
    daily_loss_max: float = 0.01
    drawdown_max: float = 0.10
    spread_bp_max: float = 50.0
    stale_cadences_max: float = 10.0


class Assumptions(Set):
    """What flatters or burdens a simulated fill, by name; each is in the report with the direction
    in which it errs.
    """

    order_latency_ns: int = 5_000_000
    response_latency_ns: int = 5_000_000
    borrow_rate_annual: float | None = None


def parameter_content(params: Parameters) -> bytes:
    """A parameter set as the JSON that is stored and hashed, in the fields' order.

    A gamma of 0 is left out, so that a set has the content it had before there was a gamma.
    """
    content = msgspec.to_builtins(params)
    if content["garch"]["gamma"] == 0.0:
        del content["garch"]["gamma"]
    return msgspec.json.encode(content)


def parameter_sha256(params: Parameters) -> str:
    """Hash of a parameter set alone: the same content has the same hash, wherever it came from."""
    return hashlib.sha256(parameter_content(params)).hexdigest()


def read_parameter_file(content: bytes) -> ParameterFile:
    """Decode and check a parameter file; raises ValueError naming the rule and the value."""
    try:
        file = msgspec.json.decode(content, type=ParameterFile)
    except msgspec.ValidationError as error:
        raise ValueError(f"parameter file: {error}") from error
    except msgspec.DecodeError as error:
        raise ValueError(f"parameter file is not JSON: {error}") from error
    check_parameters(file.params)
    for challenger in file.challengers:
        check_parameters(challenger.params)
        if challenger.params.grid_ms != file.params.grid_ms:
            raise ValueError(
                f"grid_ms must be the same for all slots, was {challenger.params.grid_ms} in "
                f"challenger {challenger.name} and {file.params.grid_ms} in the champion"
            )
    return file


def check_parameters(params: Parameters) -> None:
    """Raise ValueError with the rule and the value where `params` cannot be run."""
    for name, value in _numbers("", params):
        _check(name, value, "finite", math.isfinite)
    for name, rule, holds in _RULES:
        _check(name, _lookup(params, name), rule, holds)
    strategy, garch = params.strategy, params.garch
    if not strategy.exit_z < strategy.entry_z < strategy.stop_z:
        raise ValueError(
            "exit_z < entry_z < stop_z must hold, was "
            f"{strategy.exit_z}, {strategy.entry_z}, {strategy.stop_z}"
        )
    if garch.alpha + garch.gamma < 0.0:
        raise ValueError(
            f"garch.alpha + garch.gamma must be at least 0, was {garch.alpha + garch.gamma}"
        )
    persistence = garch.alpha + 0.5 * garch.gamma + garch.beta
    if persistence >= 1.0:
        raise ValueError(
            f"garch.alpha + garch.gamma / 2 + garch.beta must be below 1, was {persistence}"
        )


def check_egarch(params: EgarchParameters) -> None:
    """Raise ValueError with the rule and the value where `params` cannot be run."""
    for name, value in _numbers("egarch.", params):
        _check(name, value, "finite", math.isfinite)
    for name, rule, holds in _EGARCH_RULES:
        _check(f"egarch.{name}", getattr(params, name), rule, holds)


def _check(name: str, value: Any, rule: str, holds: Callable[[Any], bool]) -> None:
    if not holds(value):
        raise ValueError(f"{name} must be {rule}, was {value}")


def _numbers(prefix: str, value: Any) -> Iterator[tuple[str, float]]:
    for name in value.__struct_fields__:
        item = getattr(value, name)
        if isinstance(item, Set):
            yield from _numbers(f"{prefix}{name}.", item)
        elif item is not None:
            yield f"{prefix}{name}", item


def _lookup(params: Parameters, name: str) -> float:
    part, field = name.split(".") if "." in name else ("", name)
    value: float = getattr(getattr(params, part) if part else params, field)
    return value


_Rule: TypeAlias = tuple[str, str, Callable[[Any], bool]]

# Products of a variance with a square stay within the range of a float64 (the models clip
# deviations at 1e75), and sums of prices and forecasts keep their digits.
VARIANCE_MIN, VARIANCE_MAX = 1e-100, 1e100
MEAN_MAX = 1e100
# The detector's prior is of values of about unit variance; its observations' worth within what
# leaves a log density of 1e24 values' squares its digits.
BOCD_MEAN_MAX = 1e6
BOCD_PRIOR_MIN, BOCD_PRIOR_MAX = 1e-6, 1e9
HAZARD_MIN, HAZARD_MAX = 1e-12, 0.5
EGARCH_SHARE_MAX = 1e3  # |omega|, |alpha|, |gamma|: shocks of opposite signs stay finite


def _positive(value: float) -> bool:
    return value > 0.0


def _not_negative(value: float) -> bool:
    return value >= 0.0


def _probability(value: float) -> bool:
    return 0.0 < value < 1.0


def _between(name: str, low: float, high: float) -> _Rule:
    return name, f"from {low:g} to {high:g}", lambda value: low <= value <= high


def _dof(name: str) -> _Rule:
    return name, "above 2, or null for the normal", lambda value: value is None or value > 2.0


_RULES: tuple[_Rule, ...] = (
    ("grid_ms", "at least 1", lambda value: value >= 1),
    _between("kalman.intercept_drift_var", 0.0, VARIANCE_MAX),
    _between("kalman.hedge_drift_var", 0.0, VARIANCE_MAX),
    _between("kalman.noise_var", VARIANCE_MIN, VARIANCE_MAX),
    _between("kalman.intercept_prior_mean", -MEAN_MAX, MEAN_MAX),
    _between("kalman.intercept_prior_var", VARIANCE_MIN, VARIANCE_MAX),
    _between("kalman.hedge_prior_mean", -MEAN_MAX, MEAN_MAX),
    _between("kalman.hedge_prior_var", VARIANCE_MIN, VARIANCE_MAX),
    _between("garch.mean", -MEAN_MAX, MEAN_MAX),
    _between("garch.omega", VARIANCE_MIN, VARIANCE_MAX),
    ("garch.alpha", "at least 0", _not_negative),
    ("garch.beta", "at least 0", _not_negative),
    _between("garch.variance_prior", VARIANCE_MIN, VARIANCE_MAX),
    _dof("garch.dof"),
    _between("bocd.hazard", HAZARD_MIN, HAZARD_MAX),
    _between("bocd.prior_mean", -BOCD_MEAN_MAX, BOCD_MEAN_MAX),
    _between("bocd.prior_kappa", BOCD_PRIOR_MIN, BOCD_PRIOR_MAX),
    _between("bocd.prior_alpha", BOCD_PRIOR_MIN, BOCD_PRIOR_MAX),
    _between("bocd.prior_beta", BOCD_PRIOR_MIN, BOCD_PRIOR_MAX),
    ("bocd.alarm_run_length", "at least 1", lambda value: value >= 1),
    ("bocd.alarm_probability", "between 0 and 1", _probability),
    ("bocd.alarm_hold_s", "at least 0", _not_negative),
    ("strategy.exit_z", "at least 0", _not_negative),
    ("strategy.horizon_s", "positive", _positive),
    ("strategy.risk_fraction", "positive", _positive),
    ("strategy.gross_fraction_max", "positive", _positive),
    ("strategy.edge_cost_ratio_min", "at least 0", _not_negative),
    ("strategy.warmup_s", "at least 0", _not_negative),
)

_EGARCH_RULES: tuple[_Rule, ...] = (
    _between("mean", -MEAN_MAX, MEAN_MAX),
    _between("omega", -EGARCH_SHARE_MAX, EGARCH_SHARE_MAX),
    _between("alpha", -EGARCH_SHARE_MAX, EGARCH_SHARE_MAX),
    _between("gamma", -EGARCH_SHARE_MAX, EGARCH_SHARE_MAX),
    ("beta", "between -1 and 1", lambda value: -1.0 < value < 1.0),
    _between("variance_prior", VARIANCE_MIN, VARIANCE_MAX),
    _dof("dof"),
)
