"""EGARCH(1,1,1) of the Kalman filter's innovations: the logarithm of the variance, forecast.

    x_{t+1} = omega + alpha (|z_t| - sqrt(2 / pi)) + gamma z_t + beta x_t,      x_t = ln h_t
    z_t     = (innovation_t - mean) / sqrt(h_t),     z_t ~ N(0, 1) or Student's t with dof degrees
    of freedom scaled to unit variance

h_t: variance of innovation t forecast at t-1, squared log units; z: the standardised innovation;
gamma below 0: a fall raises the variance more than a rise does. As in the `arch` package (vol
EGARCH, p=1, o=1, q=1) |z| is centred by the normal's mean whatever the distribution, and the first
forecast is omega + beta ln v for a variance v before the sample. An interval without an observation
has the expected log variance, x <- omega + alpha (E|z| - sqrt(2 / pi)) + beta x, in which the
middle term is 0 for the normal. Nelson (1991), Conditional heteroskedasticity in asset returns.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.kernel import kernel
from hft_lib.models.garch import deviation
from hft_lib.models.garch import drift as drift_affine
from hft_lib.models.garch import t_log_scale
from hft_lib.models.inputs import Counts, Vector, intervals, one_row, vector
from hft_lib.models.special import exp, log
from hft_lib.parameters import EgarchParameters

Rows = npt.NDArray[Any]

# `dof` is infinite for the normal; `shock_mean` is alpha (E|z| - sqrt(2 / pi)).
Params = np.dtype(
    [(name, np.float64) for name in (*EgarchParameters.__struct_fields__, "shock_mean")]
)

State = np.dtype(
    [
        ("log_variance", np.float64),  # of the next innovation, forecast
        ("standardised", np.float64),  # last innovation less its mean, over its forecast deviation
        ("steps", np.int64),  # grid intervals seen
    ]
)

# What `run` returns for each observation: the variance forecast before it, and it standardised by
# that.
Track = np.dtype([("variance", np.float64), ("standardised", np.float64)])

ABSOLUTE_MEAN = 0.7978845608028654  # sqrt(2 / pi): E|z| of the normal
# Beyond these a standardised deviation's square would leave the range of a float64.
LOG_VARIANCE_MAX = 300.0
_LOG_TWO_PI = 1.8378770664093453


def params_row(p: EgarchParameters) -> Rows:
    """The parameters as one row of `Params`."""
    dof = math.inf if p.dof is None else p.dof
    shock_mean = 0.0 if p.dof is None else p.alpha * absolute_excess(dof)
    values = (p.mean, p.omega, p.alpha, p.gamma, p.beta, p.variance_prior, dof, shock_mean)
    return np.array([values], dtype=Params)


def new_states(slots: int) -> Rows:
    """Rows for `slots` models, each to be given its prior by `start`."""
    return np.zeros(slots, dtype=State)


@kernel
def start(params: Any, state: Any) -> None:
    """Put the prior into one row of state."""
    state.log_variance = within(log(params.variance_prior))
    state.standardised = 0.0
    state.steps = 0


@kernel
def within(x: float) -> float:
    """A log variance kept within what can be computed with."""
    x = LOG_VARIANCE_MAX if x > LOG_VARIANCE_MAX else x
    return -LOG_VARIANCE_MAX if x < -LOG_VARIANCE_MAX else x


@kernel
def absolute_excess(dof: float) -> float:
    """E|z| - sqrt(2 / pi) of Student's t with `dof` > 2 degrees of freedom and unit variance."""
    return 2.0 * (dof - 2.0) / (dof - 1.0) * exp(t_log_scale(dof)) - ABSOLUTE_MEAN


@kernel
def drift(x: float, intercept: float, beta: float, steps: int) -> float:
    """The log variance expected after `steps` intervals without an observation."""
    return within(drift_affine(x, intercept, beta, steps))


@kernel
def advance(params: Any, x: float, z: float) -> float:
    """The log variance after one whose standardised innovation was `z`."""
    shock = params.alpha * (abs(z) - ABSOLUTE_MEAN) + params.gamma * z
    return within((params.omega + shock) + params.beta * x)


@kernel
def step(params: Any, state: Any, innovation: float, steps: int) -> None:
    """Bring one row of state over `steps` intervals, at whose end came `innovation`.

    NaN is a gap: the log variance expected after it is kept, and `standardised` is NaN, which the
    detector skips.
    """
    x = state.log_variance
    if steps > 1:
        x = drift(x, params.omega + params.shock_mean, params.beta, steps - 1)
    z = deviation(innovation, params.mean) * exp(-0.5 * x)
    state.standardised = z
    if z == z:
        state.log_variance = advance(params, x, z)
    else:
        state.log_variance = drift(x, params.omega + params.shock_mean, params.beta, 1)
    state.steps += steps


@kernel
def step_slots(params: Rows, states: Rows, live: Counts, innovations: Vector, steps: int) -> None:
    """`step` for each slot whose `live` is not 0, each with its own innovation."""
    for slot in range(states.shape[0]):
        if live[slot] != 0:
            step(params[slot], states[slot], innovations[slot], steps)


@kernel
def forecast_variance(params: Any, state: Any, horizon_steps: int) -> float:
    """Variance, squared log units, of the innovation `horizon_steps` ahead (1: next).

    The exponential of the expected log variance, which is exact for the next. Farther ahead the
    expected variance itself is infinite under Student's t wherever a shock raises the variance, for
    exp(alpha |z|) has no mean; for the normal it is higher than this by the variance of the path.
    """
    intercept = params.omega + params.shock_mean
    return exp(drift(state.log_variance, intercept, params.beta, horizon_steps - 1))


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
    x, z, seen = state.log_variance, state.standardised, state.steps
    for t in range(size):
        if steps[t] > 1:
            x = drift(x, p.omega + p.shock_mean, p.beta, steps[t] - 1)
        z = deviation(innovations[t], p.mean) * exp(-0.5 * x)
        track[t].variance = x
        track[t].standardised = z
        x = advance(p, x, z)
        seen += steps[t]
    # Apart, because these exponentials are independent from step to step.
    for t in range(size):
        track[t].variance = exp(track[t].variance)
    state.log_variance, state.standardised, state.steps = x, z, seen


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
    x, total = within(log(p.variance_prior)), 0.0
    normal = p.dof == np.inf
    for t in range(innovations.shape[0]):
        if steps[t] > 1:
            x = drift(x, p.omega + p.shock_mean, p.beta, steps[t] - 1)
        z = deviation(innovations[t], p.mean) * exp(-0.5 * x)
        square = z * z
        total += x + (square if normal else (p.dof + 1.0) * log(1.0 + square / (p.dof - 2.0)))
        x = advance(p, x, z)
    constant = _LOG_TWO_PI if normal else -2.0 * t_log_scale(p.dof)
    return -0.5 * (innovations.shape[0] * constant + total)
