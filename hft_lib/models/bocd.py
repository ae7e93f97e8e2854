"""Bayesian online changepoint detection: how long has the present regime lasted?

    P(r_t = r+1, z_1..t) = P(r_{t-1} = r, z_1..t-1) p(z_t | r) (1 - H)         the regime goes on
    P(r_t = 0,   z_1..t) = sum_r P(r_{t-1} = r, z_1..t-1) p(z_t | r) H         a new one begins

z: a standardised innovation; r: run length, observations since the last changepoint; H: hazard.
Within a run z is normal with unknown mean and variance under the conjugate prior (m, kappa, alpha,
beta), so that its forecast is Student's t:

    u = (z - m)^2 kappa / (2 beta (kappa + 1)),   G(alpha) = Gamma(alpha + 1/2) / Gamma(alpha)
    p(z | r) = G(alpha) sqrt(kappa / (2 pi beta (kappa + 1))) (1 + u)^-(alpha + 1/2)
    m += (z - m) / (kappa + 1),   beta *= 1 + u,   kappa += 1,   alpha += 1/2,   G <- alpha / G

Adams & MacKay (2007), Bayesian Online Changepoint Detection, eqs. 3-7; Murphy (2007), Conjugate
Bayesian Analysis of the Gaussian Distribution, sec. 3. With a constant hazard P(r = 0) is the
hazard at every step: what tells of a change is P(r <= k). A missing observation changes nothing.

Neighbouring run lengths share a cell when all cells are taken (`bocd_cells`); against a cell for
each run length this costs less than 0.05 nats in 20,000 normal observations. A state is one
contiguous row of float64, whose first figures are named here (RUN_LENGTH and so on).
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.kernel import kernel
from hft_lib.models import bocd_cells as cell
from hft_lib.models.bocd_cells import Matrix, cells_of, merge
from hft_lib.models.inputs import Counts, Vector, one_row, vector
from hft_lib.models.special import exp, log, log_gamma
from hft_lib.parameters import BocdParameters

Rows = npt.NDArray[Any]

CELLS = 64

# The first figures of a state; then come the cells.
COUNT, STEPS, RECENT_PROBABILITY, RUN_LENGTH, MAP_RUN_LENGTH, LOG_PREDICTIVE, RATIO_PRIOR = range(7)

Params = np.dtype(
    [
        ("hazard", np.float64),
        ("prior_mean", np.float64),
        ("prior_kappa", np.float64),
        ("prior_alpha", np.float64),
        ("prior_beta", np.float64),
        ("alarm_run_length", np.int64),
    ]
)

# What `run` returns for each observation: P(run length <= alarm_run_length), the expected and the
# most probable run length after it, and the log density it had before it was seen.
Track = np.dtype(
    [
        ("recent_probability", np.float64),
        ("run_length", np.float64),
        ("map_run_length", np.float64),
        ("log_predictive", np.float64),
    ]
)

_STANDARDISED_MAX = 1e12  # larger values count as this: their squares would leave a float64
_WEIGHT_MIN = 1e-290  # no hypothesis dies of underflow
_EXPONENT_MIN = -500.0  # from here down densities are taken relative to the largest
_HALF_LOG_TWO_PI = 0.9189385332046727


def params_row(p: BocdParameters) -> Rows:
    """The parameters as one row of `Params`."""
    return np.array([tuple(getattr(p, name) for name in Params.names or ())], dtype=Params)


def new_states(slots: int, cells: int = CELLS) -> Matrix:
    """Rows for `slots` detectors of `cells` cells (at least 48), each to be begun by `start`."""
    if cells < 48:
        raise ValueError(f"cells must be at least 48, was {cells}")
    return np.zeros((slots, cell.HEADER + cell.FIELDS * cells))


@kernel
def start(params: Any, state: Vector) -> None:
    """Put the prior into one row of state: a regime is about to begin."""
    state[:] = 0.0
    ratio = exp(log_gamma(params.prior_alpha + 0.5) - log_gamma(params.prior_alpha))
    state[RATIO_PRIOR] = ratio
    state[RECENT_PROBABILITY] = 1.0
    _begin(params, state, 1.0)


@kernel
def _begin(params: Any, state: Vector, weight: float) -> None:
    """Append the cell of run length 0."""
    cells, last = cells_of(state), int(state[COUNT])
    cells[cell.WEIGHT, last] = weight
    cells[cell.LENGTH, last] = 0.0
    cells[cell.SHORTEST, last] = 0.0
    cells[cell.MEAN, last] = params.prior_mean
    cells[cell.BETA, last] = params.prior_beta
    cells[cell.RATIO, last] = state[RATIO_PRIOR]
    state[COUNT] += 1.0


@kernel
def step(params: Any, state: Vector, standardised: float) -> None:
    """Learn one standardised innovation, into the state's first figures; NaN, a gap, is skipped."""
    z = standardised
    if z != z:
        return
    z = _STANDARDISED_MAX if z > _STANDARDISED_MAX else z
    z = -_STANDARDISED_MAX if z < -_STANDARDISED_MAX else z
    count = int(state[COUNT])
    cells = cells_of(state)
    shift = _weigh(params, cells, count, z)
    evidence = _sum(cells[cell.WEIGHT], count)
    _learn(params, cells, count, z, (1.0 - params.hazard) / evidence)
    state[LOG_PREDICTIVE] = (log(evidence) + shift) - _HALF_LOG_TWO_PI
    state[STEPS] += 1.0
    _begin(params, state, params.hazard)
    _summarise(params, state)
    if count + 1 == cells.shape[1]:
        state[COUNT] = merge(params, cells, count + 1)


@kernel
def _weigh(params: Any, cells: Matrix, count: int, z: float) -> float:
    """Multiply each weight by the cell's density at `z` times sqrt(2 pi) e^-shift; return shift."""
    weight, length, mean, beta = (
        cells[cell.WEIGHT],
        cells[cell.LENGTH],
        cells[cell.MEAN],
        cells[cell.BETA],
    )
    ratio, one_plus_u, exponent = cells[cell.RATIO], cells[cell.ONE_PLUS_U], cells[cell.EXPONENT]
    kappa_prior, alpha_prior = params.prior_kappa, params.prior_alpha
    for i in range(count):
        kappa = kappa_prior + length[i]
        deviation = z - mean[i]
        precision = kappa / (beta[i] * (kappa + 1.0))
        one_plus_u[i] = 1.0 + 0.5 * (deviation * deviation) * precision
        exponent[i] = precision
    for i in range(count):
        weight[i] *= ratio[i] * math.sqrt(exponent[i])
    for i in range(count):
        exponent[i] = (-0.5 - alpha_prior - 0.5 * length[i]) * log(one_plus_u[i])
    shift = _shift(exponent, count)
    for i in range(count):
        weight[i] *= exp(exponent[i] - shift)
    return shift


@kernel
def _shift(exponent: Vector, count: int) -> float:
    """0, or the largest exponent where even the youngest run's, of the heaviest tail, is low."""
    if exponent[count - 1] > _EXPONENT_MIN:
        return 0.0
    shift = exponent[0]
    for i in range(1, count):
        shift = max(shift, exponent[i])
    return shift


@kernel
def _sum(values: Vector, count: int) -> float:
    """Sum of the first `count` values, in four interleaved parts for a shorter chain."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    fours = count - count % 4
    for i in range(0, fours, 4):
        a += values[i]
        b += values[i + 1]
        c += values[i + 2]
        d += values[i + 3]
    for i in range(fours, count):
        a += values[i]
    return (a + b) + (c + d)


@kernel
def _learn(params: Any, cells: Matrix, count: int, z: float, scale: float) -> None:
    """Update each cell's run by `z`, and scale the weights."""
    weight, length, mean, beta = (
        cells[cell.WEIGHT],
        cells[cell.LENGTH],
        cells[cell.MEAN],
        cells[cell.BETA],
    )
    ratio, one_plus_u, shortest = cells[cell.RATIO], cells[cell.ONE_PLUS_U], cells[cell.SHORTEST]
    kappa_prior, alpha_prior = params.prior_kappa, params.prior_alpha
    for i in range(count):
        mean[i] += (z - mean[i]) / (kappa_prior + length[i] + 1.0)
        beta[i] *= one_plus_u[i]
    for i in range(count):
        ratio[i] = (alpha_prior + 0.5 * length[i]) / ratio[i]
        length[i] += 1.0
    for i in range(count):
        shortest[i] += 1.0
        scaled = weight[i] * scale
        weight[i] = scaled if scaled > _WEIGHT_MIN else _WEIGHT_MIN


@kernel
def _summarise(params: Any, state: Vector) -> None:
    """Put the posterior's figures into the state's first places."""
    count, cells = int(state[COUNT]), cells_of(state)
    weight, length, product = cells[cell.WEIGHT], cells[cell.LENGTH], cells[cell.EXPONENT]
    for i in range(count):
        product[i] = weight[i] * length[i]
    state[RUN_LENGTH] = _sum(product, count)
    state[RECENT_PROBABILITY] = probability_below(state, params.alarm_run_length + 1.0)
    state[MAP_RUN_LENGTH] = _most_probable(state, cells, count)


@kernel
def probability_below(state: Vector, run_length: float) -> float:
    """P(r < `run_length`); the weight of a cell is spread evenly over its run lengths."""
    cells, i = cells_of(state), int(state[COUNT]) - 1
    total = 0.0
    while i > 0 and cells[cell.SHORTEST, i - 1] <= run_length:
        total += cells[cell.WEIGHT, i]
        i -= 1
    end = cells[cell.SHORTEST, i - 1] if i > 0 else state[STEPS] + 1.0
    shortest = cells[cell.SHORTEST, i]
    share = (run_length - shortest) / (end - shortest)
    return total + cells[cell.WEIGHT, i] * min(max(share, 0.0), 1.0)


@kernel
def _most_probable(state: Vector, cells: Matrix, count: int) -> float:
    """The run length of highest probability; a cell's weight is shared by its run lengths."""
    weight, shortest, probability = cells[cell.WEIGHT], cells[cell.SHORTEST], cells[cell.EXPONENT]
    probability[0] = weight[0] / (state[STEPS] + 1.0 - shortest[0])
    for i in range(1, count):
        probability[i] = weight[i] / (shortest[i - 1] - shortest[i])
    best = 0
    for i in range(1, count):
        if probability[i] > probability[best]:
            best = i
    return cells[cell.LENGTH, best]


@kernel
def step_slots(params: Rows, states: Matrix, live: Counts, standardised: Vector) -> None:
    """`step` for each slot whose `live` is not 0, each with its own standardised innovation."""
    for slot in range(states.shape[0]):
        if live[slot] != 0:
            step(params[slot], states[slot], standardised[slot])


def run(
    params: Rows, standardised: npt.ArrayLike, cells: int = CELLS, state: Matrix | None = None
) -> Rows:
    """Detect changes in standardised innovations (time,); returns `Track` rows (time,).

    With `state` (one row of `new_states`) it goes on from there and leaves the last state in it.
    Bit for bit what `step` does.
    """
    values, row = _prepared(params, standardised, cells, state)
    track = np.empty(values.size, dtype=Track)
    _run(params, row, values, track)
    return track


@kernel
def _run(params: Rows, states: Matrix, standardised: Vector, track: Rows) -> None:
    p, state = params[0], states[0]
    for t in range(standardised.shape[0]):
        step(p, state, standardised[t])
        track[t].recent_probability = state[RECENT_PROBABILITY]
        track[t].run_length = state[RUN_LENGTH]
        track[t].map_run_length = state[MAP_RUN_LENGTH]
        track[t].log_predictive = state[LOG_PREDICTIVE]


def run_posterior(
    params: Rows,
    standardised: npt.ArrayLike,
    edges: npt.ArrayLike,
    cells: int = CELLS,
    every: int = 1,
) -> Matrix:
    """P(edges[j] <= run length < edges[j+1]) over time, for a heat map.

    A row after each `every`-th observation: (time // every, bins).
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, was {every}")
    bounds = vector("edges", edges)
    if bounds.size < 2 or (np.diff(bounds) <= 0.0).any():
        raise ValueError(f"edges must be two or more rising run lengths, were {bounds}")
    values, row = _prepared(params, standardised, cells, None)
    posterior = np.empty((values.size // every, bounds.size - 1))
    _run_posterior(params, row, values, bounds, every, posterior)
    return posterior


@kernel
def _run_posterior(
    params: Rows, states: Matrix, standardised: Vector, edges: Vector, every: int, posterior: Matrix
) -> None:
    p, state = params[0], states[0]
    for t in range(posterior.shape[0] * every):
        step(p, state, standardised[t])
        if (t + 1) % every == 0:
            below = probability_below(state, edges[0])
            for j in range(posterior.shape[1]):
                next_below = probability_below(state, edges[j + 1])
                posterior[t // every, j] = max(next_below - below, 0.0)
                below = next_below


def log_likelihood(params: Rows, standardised: npt.ArrayLike, cells: int = CELLS) -> float:
    """Log density, in nats, of the standardised innovations (time,), each given those before."""
    values, row = _prepared(params, standardised, cells, None)
    return _log_likelihood(params, row, values)


@kernel
def _log_likelihood(params: Rows, states: Matrix, standardised: Vector) -> float:
    p, state, total = params[0], states[0], 0.0
    for t in range(standardised.shape[0]):
        step(p, state, standardised[t])
        total += state[LOG_PREDICTIVE]
    return total


def _prepared(
    params: Rows, standardised: npt.ArrayLike, cells: int, state: Matrix | None
) -> tuple[Vector, Matrix]:
    one_row("params", params, Params)
    values = vector("standardised", standardised)
    if state is None:
        state = new_states(1, cells)
        start(params[0], state[0])
    if state.shape[0] != 1 or state.dtype != np.float64:
        raise ValueError(f"state must be one row of new_states, was {state.shape} of {state.dtype}")
    return values, state
