"""Bayesian online changepoint detection: how long has the present regime lasted?

    P(r_t = r+1, z_1..t) = P(r_{t-1} = r, z_1..t-1) p(z_t | r) (1 - H)         the regime goes on
    P(r_t = 0,   z_1..t) = sum_r P(r_{t-1} = r, z_1..t-1) p(z_t | r) H         a new one begins

z: a standardised innovation; r: run length, observations since the last changepoint; H: hazard.
Within a run z is normal with unknown mean and variance under the conjugate prior (m, kappa, alpha,
beta), so that its forecast p(z | r) is Student's t and the evidence of a run has a closed form
(`bocd_cells`). A run learns z by

    m += d / (kappa + 1),   beta += d^2 kappa / (2 (kappa + 1)),   d = z - m
    kappa += 1,   alpha += 1/2

Adams & MacKay (2007), Bayesian Online Changepoint Detection, eqs. 3-7; Murphy (2007), Conjugate
Bayesian Analysis of the Gaussian Distribution, sec. 3. With a constant hazard P(r = 0) is the
hazard at every step: what tells of a change is P(r <= k). A missing observation changes nothing.

Each run length has a cell. When all cells are taken neighbours merge (`bocd_merge`): until then the
posterior is exact. After that 64 cells cost less than 0.05 nats in 20,000 observations for regimes
or heavy tails and hazards from 1e-4 to 1e-2, less than 0.2 for hazards far off. Of a variance that
never stands still 64 cells may lose 10 nats, 256 less than a half. A state is one contiguous row of
float64, whose first figures are named here (RUN_LENGTH and so on).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.kernel import kernel
from hft_lib.models import bocd_cells as cell
from hft_lib.models.bocd_cells import Matrix, cell_at
from hft_lib.models.bocd_merge import merge
from hft_lib.models.inputs import Counts, Vector, one_row, vector
from hft_lib.models.special import exp2, log2
from hft_lib.parameters import BocdParameters

Rows = npt.NDArray[Any]

CELLS = 64

# The first figures of a state: cells taken, observations, and what `Track` has.
COUNT, STEPS, RECENT_PROBABILITY = cell.COUNT, cell.STEPS, cell.RECENT_PROBABILITY
RUN_LENGTH, LOG_PREDICTIVE = cell.RUN_LENGTH, cell.LOG_PREDICTIVE

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
_EVIDENCE_MIN = 1e-270  # below, weights are taken relative to the largest
_LN2 = 0.6931471805599453


def params_row(p: BocdParameters) -> Rows:
    """The parameters as one row of `Params`."""
    return np.array([tuple(getattr(p, name) for name in Params.names or ())], dtype=Params)


def new_states(slots: int, cells: int = CELLS) -> Matrix:
    """Rows for `slots` detectors of `cells` cells (at least 48), or a few more, each to be begun by
    `start`.
    """
    if cells < 48:
        raise ValueError(f"cells must be at least 48, was {cells}")
    return np.zeros((slots, cell.state_size(cells)))


@kernel
def start(params: Any, state: Vector) -> None:
    """Put the prior into one row of state: a regime is about to begin."""
    state[:] = 0.0
    cell.set_prior(params, state)
    cell.clear(state, 0)
    state[RECENT_PROBABILITY] = 1.0
    state[cell.SCALE] = state[cell.HAZARD]  # the first cell has all the weight
    state[cell.REFERENCE] = -state[cell.CHANGE]
    cell.append(state)
    state[cell.SCALE], state[cell.REFERENCE] = 1.0, 0.0


@kernel
def step(params: Any, state: Vector, standardised: float) -> None:
    """Learn one standardised innovation, into the state's first figures; NaN, a gap, is skipped."""
    if _advance(params, state, standardised):
        state[RECENT_PROBABILITY] = probability_below(state, params.alarm_run_length + 1.0)
        if state[COUNT] == cell.capacity(state):
            merge(params, state)


@kernel
def _advance(params: Any, state: Vector, standardised: float) -> bool:
    """`step` but for what is only told; whether there was a value."""
    z = standardised
    if z != z:
        return False
    z = _STANDARDISED_MAX if z > _STANDARDISED_MAX else z
    z = -_STANDARDISED_MAX if z < -_STANDARDISED_MAX else z
    if _differs(params, state):
        adopt(params, state)
    cell.learn(state, z)
    total, lengths = cell.sums(state)
    shift = 0.0
    if not total > _EVIDENCE_MIN:
        shift = _shift(state)
        total, lengths = cell.sums(state)
    evidence = (log2(total) + shift) - state[cell.STAY]
    state[LOG_PREDICTIVE] = evidence * _LN2
    state[cell.REFERENCE] += evidence
    state[cell.SCALE] = (1.0 - state[cell.HAZARD]) / total
    state[RUN_LENGTH] = lengths * state[cell.SCALE]
    cell.append(state)
    return True


@kernel
def _shift(state: Vector) -> float:
    """Take every weight relative to the largest; returns its log2."""
    count = int(state[COUNT])
    shift = cell.log_weight(state, cell_at(state, 0))
    for i in range(1, count):
        shift = max(shift, cell.log_weight(state, cell_at(state, i)))
    for i in range(count):
        at = cell_at(state, i)
        state[at + cell.WEIGHT] = exp2(cell.log_weight(state, at) - shift)
    return shift


@kernel
def _differs(params: Any, state: Vector) -> bool:
    """Whether the state goes by other parameters."""
    return (
        params.hazard != state[cell.HAZARD]
        or params.prior_mean != state[cell.PRIOR_MEAN]
        or params.prior_kappa != state[cell.PRIOR_KAPPA]
        or params.prior_alpha != state[cell.PRIOR_ALPHA]
        or params.prior_beta != state[cell.PRIOR_BETA]
    )


@kernel
def adopt(params: Any, state: Vector) -> None:
    """Go by other parameters from here on: weights, means and variances of the runs stay."""
    count, alpha = int(state[COUNT]), state[cell.PRIOR_ALPHA]
    for i in range(count):
        at = cell_at(state, i)
        state[at + cell.ENTRY] = cell.log_weight(state, at) + state[cell.REFERENCE]
    cell.set_prior(params, state)
    for i in range(count):
        at = cell_at(state, i)
        n = state[STEPS] - state[at + cell.START]
        state[at + cell.BETA] *= (2.0 * state[cell.PRIOR_ALPHA] + n) / (2.0 * alpha + n)
        energy = (state[cell.PRIOR_ALPHA] + 0.5 * n) * log2(state[at + cell.BETA])
        state[at + cell.ENTRY] += energy - cell.log_norm(state, n)


@kernel
def probability_below(state: Vector, run_length: float) -> float:
    """P(r < `run_length`); the weight of a cell is spread evenly over its run lengths."""
    i = int(state[COUNT]) - 1
    at, total = cell_at(state, i), 0.0
    while i > 0:
        older = cell_at(state, i - 1)
        if state[STEPS] - state[older + cell.BIRTH] > run_length:
            break
        total += state[at + cell.WEIGHT]
        i, at = i - 1, older
    share = (run_length - (state[STEPS] - state[at + cell.BIRTH])) * state[at + cell.PER_RUN]
    total += state[at + cell.WEIGHT] * min(max(share, 0.0), 1.0)
    return total * state[cell.SCALE]


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
    p, state, lanes = params[0], states[0], np.empty(2 * cell.LANES)
    for t in range(standardised.shape[0]):
        step(p, state, standardised[t])
        track[t].recent_probability = state[RECENT_PROBABILITY]
        track[t].run_length = state[RUN_LENGTH]
        track[t].map_run_length = cell.most_probable(state, lanes)
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
        if _advance(p, state, standardised[t]):
            total += state[LOG_PREDICTIVE]
            if state[COUNT] == cell.capacity(state):
                merge(p, state)
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
