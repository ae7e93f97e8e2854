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
# beta to the power 40 / (1 - beta) is below 2^-57: what a first variance leaves after so long.
_FORGOTTEN = 40.0
PRESAMPLES = ("sample", "backcast")
_LOG_TWO_PI = 1.8378770664093453
_LOG_PI = 1.1447298858494002


def params_row(p: GarchParameters) -> Rows:
    """The parameters as one row of `Params`."""
    dof = math.inf if p.dof is None else p.dof
    return np.array(
        [(p.mean, p.omega, p.alpha, p.beta, p.variance_prior, dof, p.gamma)], dtype=Params
    )


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
def following(h: float, e: float, omega: float, alpha: float, gamma: float, beta: float) -> float:
    """The variance after one of `h` and a deviation of `e`."""
    return (omega + slope(alpha, gamma, e) * (e * e)) + beta * h


@kernel
def step(params: Any, state: Any, innovation: float, steps: int) -> None:
    """Bring one row of state over `steps` intervals, at whose end came `innovation`."""
    h = state.variance
    if steps > 1:
        h = drift(h, params.omega, persistence(params), steps - 1)
    e = deviation(innovation, params.mean)
    state.standardised = e / math.sqrt(h)
    state.variance = following(h, e, params.omega, params.alpha, params.gamma, params.beta)
    state.steps += steps


def new_cell(p: GarchParameters) -> Vector:
    """One model, parameters and then state, as a plain array (10,), started from its prior: a call
    from Python with one such array costs a third of one with structured rows.
    """
    row = params_row(p).view(np.float64)
    return np.concatenate([row, [p.variance_prior, 0.0, 0.0]])


@kernel
def step_cell(cell: Vector, innovation: float, steps: int) -> None:
    """`step` of a cell, bit for bit: its last three numbers are those of `State`."""
    mean, omega, alpha, beta, gamma, h = cell[0], cell[1], cell[2], cell[3], cell[6], cell[7]
    if steps > 1:
        h = drift(h, omega, (alpha + 0.5 * gamma) + beta, steps - 1)
    e = deviation(innovation, mean)
    cell[8] = e / math.sqrt(h)
    cell[7] = following(h, e, omega, alpha, gamma, beta)
    cell[9] += steps


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


def variances(
    params: Rows, innovations: npt.ArrayLike, steps: npt.ArrayLike | None = None
) -> Vector:
    """The variance forecast before each innovation (time,), from the prior: `run` without the
    standardised innovations, whose roots and divisions cost twice as much.
    """
    one_row("params", params, Params)
    values = vector("innovations", innovations)
    found = np.empty(values.size)
    counts = None if steps is None else intervals(steps, values.size)
    _filter(params, values, counts, params["variance_prior"][0], found)
    return found


@kernel
def _run(params: Rows, states: Rows, innovations: Vector, steps: Counts, track: Rows) -> None:
    p, state = params[0], states[0]
    size = innovations.shape[0]
    if size == 0:
        return
    seen = 0
    for t in range(size):
        seen += steps[t]
    found = np.empty(size)
    if seen == size:
        h = _filter(params, innovations, None, state.variance, found)
    else:
        h = _filter(params, innovations, steps, state.variance, found)
    # Apart, because square roots and divisions are independent from step to step.
    standardised, mean = np.empty(size), p.mean
    for t in range(size):
        standardised[t] = deviation(innovations[t], mean) / math.sqrt(found[t])
    for t in range(size):
        track[t].variance = found[t]
        track[t].standardised = standardised[t]
    state.variance, state.standardised = h, standardised[size - 1]
    state.steps += seen


@kernel
def _filter(params: Rows, innovations: Vector, steps: Any, h: float, found: Vector) -> float:
    """Each variance into `found` (time,), `h` being the first; returns the one after the last."""
    p = params[0]
    if steps is None:
        inputs = np.empty(innovations.shape[0])
        mean, omega, alpha, gamma = p.mean, p.omega, p.alpha, p.gamma
        for t in range(innovations.shape[0]):
            e = deviation(innovations[t], mean)
            inputs[t] = omega + slope(alpha, gamma, e) * (e * e)
        return _recur(inputs, p.beta, h, found)
    for t in range(innovations.shape[0]):
        if steps[t] > 1:
            h = drift(h, p.omega, persistence(p), steps[t] - 1)
        e = deviation(innovations[t], p.mean)
        found[t] = h
        h = following(h, e, p.omega, p.alpha, p.gamma, p.beta)
    return h


@kernel
def _recur(inputs: Vector, beta: float, h: float, found: Vector) -> float:
    """h <- input + beta h over all `inputs` (time,), each h before its input into `found`.

    A step waits for the one before it, so eight parts run side by side. A part begins early from a
    guess, which is forgotten to the last bit by the time it counts; where the part before it ends
    on another number, it is done again as far as the two differ. So the bits are those of one run.
    """
    size = inputs.shape[0]
    length = size // 8
    warm = _FORGOTTEN / max(1.0 - beta, 1e-9)
    if warm > length:
        return _recur_part(inputs, beta, h, found, 0, size)
    early = int(warm)
    n1, n2, n3, n4 = length, 2 * length, 3 * length, 4 * length
    n5, n6, n7 = 5 * length, 6 * length, 7 * length
    h0, h1, h2, h3, h4, h5, h6, h7 = h, h, h, h, h, h, h, h
    for t in range(-early, 0):
        h1 = inputs[n1 + t] + beta * h1
        h2 = inputs[n2 + t] + beta * h2
        h3 = inputs[n3 + t] + beta * h3
        h4 = inputs[n4 + t] + beta * h4
        h5 = inputs[n5 + t] + beta * h5
        h6 = inputs[n6 + t] + beta * h6
        h7 = inputs[n7 + t] + beta * h7
    for t in range(length):
        found[t], h0 = h0, inputs[t] + beta * h0
        found[n1 + t], h1 = h1, inputs[n1 + t] + beta * h1
        found[n2 + t], h2 = h2, inputs[n2 + t] + beta * h2
        found[n3 + t], h3 = h3, inputs[n3 + t] + beta * h3
        found[n4 + t], h4 = h4, inputs[n4 + t] + beta * h4
        found[n5 + t], h5 = h5, inputs[n5 + t] + beta * h5
        found[n6 + t], h6 = h6, inputs[n6 + t] + beta * h6
        found[n7 + t], h7 = h7, inputs[n7 + t] + beta * h7
    h = h0
    for part, end in enumerate((h1, h2, h3, h4, h5, h6, h7)):
        t, last = (part + 1) * length, (part + 2) * length
        while t < last and found[t] != h:
            found[t] = h
            h = inputs[t] + beta * h
            t += 1
        h = end if t < last else h
    return _recur_part(inputs, beta, h, found, 8 * length, size)


@kernel
def _recur_part(
    inputs: Vector, beta: float, h: float, found: Vector, first: int, last: int
) -> float:
    for t in range(first, last):
        found[t] = h
        h = inputs[t] + beta * h
    return h


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
