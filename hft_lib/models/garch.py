"""GARCH(1,1) of the Kalman filter's innovations: the variance of the spread, forecast.

    e_t     = innovation_t - mean
    h_{t+1} = omega + (alpha + gamma [e_t < 0]) e_t^2 + beta h_t
    z_t     = e_t / sqrt(h_t),     z_t ~ N(0, 1) or Student's t with dof degrees of freedom scaled
    to unit variance

h_t: variance of innovation t forecast at t-1, squared log units; z: the standardised innovation;
gamma: what a fall adds to alpha, 0 in the symmetric model. An interval without an observation has
the expected square in place of the square: h <- omega + persistence h, persistence = alpha +
gamma/2 + beta. Bollerslev (1986), Generalized autoregressive conditional heteroskedasticity; for t
Bollerslev (1987); for gamma Glosten, Jagannathan & Runkle (1993).
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.kernel import kernel
from hft_lib.models.inputs import Counts, Vector, intervals, one_row, vector
from hft_lib.models.special import log, log_gamma
from hft_lib.parameters import GarchParameters

Rows = npt.NDArray[Any]

# `dof` is infinite for the normal.
Params = np.dtype([(name, np.float64) for name in GarchParameters.__struct_fields__])

State = np.dtype(
    [
        ("variance", np.float64),  # forecast variance of the next innovation
        (
            "standardised",
            np.float64,
        ),  # last innovation less its mean, over its forecast standard deviation
        ("steps", np.int64),  # grid intervals seen
    ]
)

# What `run` returns for each observation: the variance forecast before it, and it standardised by
# that.
Track = np.dtype([("variance", np.float64), ("standardised", np.float64)])

# Larger deviations count as this: their squares would leave the range of a float64.
_DEVIATION_MAX = 1e75
PRESAMPLES = ("sample", "backcast")
_LOG_TWO_PI = 1.8378770664093453
_LOG_PI = 1.1447298858494002


def params_row(p: GarchParameters) -> Rows:
    """The parameters as one row of `Params`."""
    dof = math.inf if p.dof is None else p.dof
    return np.array([(p.mean, p.omega, p.alpha, p.beta, p.variance_prior, dof, p.gamma)], dtype=Params)


def new_states(slots: int) -> Rows:
    """Rows for `slots` models, each to be given its prior by `start`."""
    return np.zeros(slots, dtype=State)


@kernel
def start(params: Any, state: Any) -> None:
    """Put the prior into one row of state."""
    state.variance = params.variance_prior
    state.standardised = 0.0
    state.steps = 0


@kernel
def drift(variance: float, omega: float, share: float, steps: int) -> float:
    """The variance expected after `steps` intervals without an observation.

    The map h -> omega + share h is doubled, so that a gap of days costs a few steps, and
    nothing is divided by 1 - share.
    """
    offset, power = omega, share
    while steps > 0:
        if steps & 1:
            variance = offset + power * variance
        offset += power * offset
        power *= power
        steps >>= 1
    return variance


@kernel
def deviation(innovation: float, mean: float) -> float:
    """The innovation less its mean, kept within what can be squared."""
    e = innovation - mean
    e = _DEVIATION_MAX if e > _DEVIATION_MAX else e
    return -_DEVIATION_MAX if e < -_DEVIATION_MAX else e


@kernel
def persistence(params: Any) -> float:
    """Share of a deviation of the variance that is left an interval later."""
    return (params.alpha + 0.5 * params.gamma) + params.beta


@kernel
def slope(alpha: float, gamma: float, e: float) -> float:
    """Weight of the square of `e`: exactly `alpha` where gamma is 0."""
    return alpha + gamma * (1.0 if e < 0.0 else 0.0)


@kernel
def step(params: Any, state: Any, innovation: float, steps: int) -> None:
    """Bring one row of state over `steps` intervals, at whose end came `innovation`."""
    h = state.variance
    if steps > 1:
        h = drift(h, params.omega, persistence(params), steps - 1)
    e = deviation(innovation, params.mean)
    state.standardised = e / math.sqrt(h)
    state.variance = (params.omega + slope(params.alpha, params.gamma, e) * (e * e)) + params.beta * h
    state.steps += steps


@kernel
def step_slots(params: Rows, states: Rows, live: Counts, innovations: Vector, steps: int) -> None:
    """`step` for each slot whose `live` is not 0, each with its own innovation."""
    for slot in range(states.shape[0]):
        if live[slot] != 0:
            step(params[slot], states[slot], innovations[slot], steps)


@kernel
def forecast_variance(params: Any, state: Any, horizon_steps: int) -> float:
    """Expected variance, squared log units, of the innovation `horizon_steps` ahead (1: next)."""
    return drift(state.variance, params.omega, persistence(params), horizon_steps - 1)


def run(
    params: Rows,
    innovations: npt.ArrayLike,
    steps: npt.ArrayLike | None = None,
    state: Rows | None = None,
) -> Rows:
    """Forecast each innovation's variance before it is seen; returns `Track` rows (time,).

    With `state` (one row) it goes on from there and leaves the last state in it. Bit for bit what
    `step` does.
    """
    one_row("params", params, Params)
    values = vector("innovations", innovations)
    if state is None:
        state = new_states(1)
        start(params[0], state[0])
    one_row("state", state, State)
    track = np.empty(values.size, dtype=Track)
    _run(params, state, values, intervals(steps, values.size), track)
    return track


@kernel
def _run(params: Rows, states: Rows, innovations: Vector, steps: Counts, track: Rows) -> None:
    p, state = params[0], states[0]
    size = innovations.shape[0]
    if size == 0:
        return
    h, seen = state.variance, state.steps
    for t in range(size):
        if steps[t] > 1:
            h = drift(h, p.omega, persistence(p), steps[t] - 1)
        e = deviation(innovations[t], p.mean)
        track[t].variance = h
        h = (p.omega + slope(p.alpha, p.gamma, e) * (e * e)) + p.beta * h
        seen += steps[t]
    # Apart, because square roots and divisions are independent from step to step.
    for t in range(size):
        track[t].standardised = deviation(innovations[t], p.mean) / math.sqrt(track[t].variance)
    state.variance, state.standardised, state.steps = h, track[size - 1].standardised, seen


def presample_variance(innovations: Vector, mean: float, convention: str) -> float:
    """The variance, and squared deviation, taken to have been before the sample.

    `sample`: the mean square over the sample (Fiorentini, Calzolari and Panattoni 1996).
    `backcast`: the first 75 squares weighted by powers of 0.94, the latest lightest (the `arch`
    package's default).
    """
    if convention not in PRESAMPLES:
        raise ValueError(f"presample convention must be sample or backcast, was {convention}")
    return mean_square(innovations, mean, convention == "backcast")


@kernel
def mean_square(innovations: Vector, mean: float, backcast: bool) -> float:
    """Mean squared deviation; with `backcast` of the first 75, weighted."""
    total, weights, weight = 0.0, 0.0, 1.0
    size = min(innovations.shape[0], 75) if backcast else innovations.shape[0]
    for t in range(size):
        e = deviation(innovations[t], mean)
        total += weight * (e * e)
        weights += weight
        weight *= 0.94 if backcast else 1.0
    return total / weights


def log_likelihood(
    params: Rows, innovations: npt.ArrayLike, steps: npt.ArrayLike | None = None
) -> float:
    """Log density, in nats, of `innovations` (time,), the first of variance `variance_prior`."""
    one_row("params", params, Params)
    values = vector("innovations", innovations)
    return _log_likelihood(params, values, intervals(steps, values.size))


@kernel
def _log_likelihood(params: Rows, innovations: Vector, steps: Counts) -> float:
    p = params[0]
    h, total, product = p.variance_prior, 0.0, 1.0
    normal = p.dof == np.inf
    for t in range(innovations.shape[0]):
        if steps[t] > 1:
            h = drift(h, p.omega, persistence(p), steps[t] - 1)
        e = deviation(innovations[t], p.mean)
        square = e * e
        product *= h  # one logarithm for many observations
        if not 1e-100 < product < 1e100:
            total += log(product)
            product = 1.0
        if normal:
            total += square / h
        else:
            total += (p.dof + 1.0) * log(1.0 + square / (h * (p.dof - 2.0)))
        h = (p.omega + slope(p.alpha, p.gamma, e) * square) + p.beta * h
    constant = _LOG_TWO_PI if normal else -2.0 * t_log_scale(p.dof)
    return -0.5 * (innovations.shape[0] * constant + (total + log(product)))


@kernel
def t_log_scale(dof: float) -> float:
    """Log density at 0 of Student's t with `dof` > 2 degrees of freedom and unit variance."""
    return log_gamma(0.5 * (dof + 1.0)) - log_gamma(0.5 * dof) - 0.5 * (_LOG_PI + log(dof - 2.0))
