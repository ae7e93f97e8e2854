"""The cells of the changepoint detector: their layout in a state, and the loop that teaches them.

A state is one row of float64: a header, a table by run length, then the cells, oldest first, in
blocks of `LANES`. Within a block each field's values lie together, so that the loop over a block is
vectorised: the distance between two fields is a constant the compiler sees.

The posterior weight of a run of n observations is its regime's mass at birth times the evidence of
its observations. With the prior (m, kappa, alpha, beta) of `bocd`, in bits,

    log2 w = entry + T(n) - reference - (alpha + n/2) log2(2 beta_n)
    T(n) = log2(Gamma(alpha + n/2) / Gamma(alpha) sqrt(kappa / (kappa + n)) ((1 - H) / sqrt(pi))^n)

entry: log2 of (mass at birth) + reference then + alpha log2(2 beta); reference: log2 of the density
of all observations. So a cell costs one logarithm and one power of two. T comes from the table, and
for longer runs from Stirling's series. Murphy (2007), Conjugate Bayesian Analysis of the Gaussian
Distribution, eq. 95.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.kernel import kernel
from hft_lib.models.inputs import Vector
from hft_lib.models.special import exp2, fma, log, log2, log_gamma

Matrix = npt.NDArray[np.float64]

LANES = 32
# Fields of a cell. Weight, not normalised; observations before its run began (if it has several, a
# mean); mean and 2 beta; entry; T; observations before its youngest run began; 1 / number of runs.
FIELDS = 8
WEIGHT, START, MEAN, BETA, ENTRY, NORM, BIRTH, PER_RUN = (LANES * field for field in range(FIELDS))
BLOCK = LANES * FIELDS
TABLE_PER_CELL = 8  # run lengths in the table, a cell

# The header. The first figures are the posterior's.
COUNT, STEPS, RECENT_PROBABILITY, RUN_LENGTH, LOG_PREDICTIVE = range(5)
SCALE, REFERENCE = 5, 6  # what makes a weight a probability; see above
SINGLE = 7  # the cells from this one on have one run length each
CHANGE, STAY = 8, 9  # log2 of the hazard, of 1 - hazard
HAZARD, PRIOR_MEAN, PRIOR_KAPPA, PRIOR_ALPHA, PRIOR_BETA = range(10, 15)  # in force
NORM_BITS, NORM_BITS_PER_RUN = 15, 16  # T(n) but for its gamma function and kappa + n
TABLE = 32

_NOTHING = -1e300  # the entry of a cell that is not taken
_LN2_INVERSE = 1.4426950408889634
_LOG2_PI_HALF = 0.8257480647361594
_LOG2_TWO_PI_HALF = 1.3257480647361594
# Unsigned, so that an index is used as it is: Python's counting from the end costs a select.
_LANES, _BLOCK = np.uint64(LANES), np.uint64(BLOCK)
_WEIGHT, _START, _MEAN, _BETA, _ENTRY, _NORM, _BIRTH, _PER_RUN = (
    np.uint64(LANES * field) for field in range(FIELDS)
)


def state_size(cells: int) -> int:
    """Length of a state of at least `cells` cells: whole blocks are made."""
    return TABLE + -(-cells // LANES) * LANES * (TABLE_PER_CELL + FIELDS)


@kernel
def capacity(state: Vector) -> int:
    """The cells that a state has room for."""
    return (state.shape[0] - TABLE) // (TABLE_PER_CELL + FIELDS)


@kernel
def cell_at(state: Vector, i: int) -> int:
    """Where cell `i` stands: at this index its weight, the other fields from there."""
    return TABLE + capacity(state) * TABLE_PER_CELL + (i // LANES) * BLOCK + i % LANES


@kernel
def next_at(at: int) -> int:
    """Where the cell after the one at `at` stands."""
    lane = (at - TABLE) & (LANES - 1)
    return at + 1 if lane < LANES - 1 else at + 1 + (BLOCK - LANES)


@kernel
def clear(state: Vector, since: int) -> None:
    """Let the cells from `since` on be empty: whatever is learned leaves them without weight."""
    for i in range(since, capacity(state)):
        at = cell_at(state, i)
        state[at + WEIGHT] = 0.0
        state[at + START] = state[STEPS]
        state[at + MEAN] = 0.0
        state[at + BETA] = 1.0
        state[at + ENTRY] = _NOTHING
        state[at + NORM] = 0.0
        state[at + BIRTH] = state[STEPS]
        state[at + PER_RUN] = 0.0


@kernel
def set_prior(params: Any, state: Vector) -> None:
    """Put the parameters in force into the header, and T by run length into the table."""
    hazard, kappa, alpha = params.hazard, params.prior_kappa, params.prior_alpha
    state[HAZARD], state[PRIOR_KAPPA], state[PRIOR_ALPHA] = hazard, kappa, alpha
    state[PRIOR_MEAN], state[PRIOR_BETA] = params.prior_mean, params.prior_beta
    state[CHANGE] = log(hazard) * _LN2_INVERSE
    state[STAY] = log(1.0 - hazard) * _LN2_INVERSE
    gamma = log_gamma(alpha)
    state[NORM_BITS] = (0.5 * log(kappa) - gamma) * _LN2_INVERSE
    state[NORM_BITS_PER_RUN] = state[STAY] - _LOG2_PI_HALF
    for n in range(table_length(state)):
        nats = (log_gamma(alpha + 0.5 * n) - gamma) - 0.5 * log((kappa + n) / kappa)
        state[_table_at(state, n)] = nats * _LN2_INVERSE + n * state[NORM_BITS_PER_RUN]


@kernel
def table_length(state: Vector) -> int:
    """The run lengths in the table."""
    return capacity(state) * TABLE_PER_CELL


@kernel
def _table_at(state: Vector, n: float) -> int:
    """Where T(n) stands: longer runs first, as in the cells."""
    return TABLE + table_length(state) - 1 - int(n)


@kernel
def log_norm(state: Vector, n: float) -> float:
    """T(n), from the table or by Stirling's series."""
    if n < table_length(state):
        return state[_table_at(state, n)]
    return _long_norm(
        n,
        state[PRIOR_ALPHA],
        state[PRIOR_KAPPA],
        state[NORM_BITS] + n * state[NORM_BITS_PER_RUN],
    )


@kernel
def _long_norm(n: float, alpha_prior: float, kappa_prior: float, bits: float) -> float:
    """T(n) for long runs: the series' next term is 1 / 1680 alpha^7."""
    alpha = fma(0.5, n, alpha_prior)
    inverse = 1.0 / alpha
    z = inverse * inverse
    series = inverse * (
        0.08333333333333333 - z * (0.002777777777777778 - z * 0.0007936507936507937)
    )
    gamma = (alpha - 0.5) * log2(alpha) + ((series - alpha) * _LN2_INVERSE + _LOG2_TWO_PI_HALF)
    return (gamma - 0.5 * log2(kappa_prior + n)) + bits


@kernel
def log_weight(state: Vector, at: int) -> float:
    """log2 of the weight of the cell at `at`, before it is scaled."""
    n = state[STEPS] - state[at + START]
    energy = (state[PRIOR_ALPHA] + 0.5 * n) * log2(state[at + BETA])
    return state[at + ENTRY] + log_norm(state, n) - state[REFERENCE] - energy


@kernel
def append(state: Vector) -> None:
    """Add the cell of the regime that may begin now; its weight is scaled as the others are."""
    at, beta = cell_at(state, int(state[COUNT])), 2.0 * state[PRIOR_BETA]
    state[at + WEIGHT] = state[HAZARD] / state[SCALE]
    state[at + START] = state[STEPS]
    state[at + MEAN] = state[PRIOR_MEAN]
    state[at + BETA] = beta
    state[at + ENTRY] = state[CHANGE] + state[REFERENCE] + state[PRIOR_ALPHA] * log2(beta)
    state[at + BIRTH] = state[STEPS]
    state[at + PER_RUN] = 1.0
    state[COUNT] += 1.0


@kernel
def learn(state: Vector, z: float) -> None:
    """Update each cell's run by `z`, and its weight by the run's evidence."""
    blocks = used_blocks(state)
    state[STEPS] += 1.0
    first = cell_at(state, 0)
    for block in range(blocks):
        at = first + block * BLOCK
        if block * LANES >= state[SINGLE]:
            _copy_norms(state, at)
        else:
            _find_norms(state, at)
    _learn_blocks(state, np.uint64(first), blocks, z)


@kernel
def used_blocks(state: Vector) -> int:
    """The blocks that hold a cell."""
    return (int(state[COUNT]) + LANES - 1) // LANES


@kernel
def _copy_norms(state: Vector, at: int) -> None:
    """T for a block of single runs, each one observation younger than the one before."""
    source = np.uint64(_table_at(state, state[STEPS] - state[at + START]))
    target = np.uint64(at) + _NORM
    for lane in range(_LANES):
        state[target + lane] = state[source + lane]


@kernel
def _find_norms(state: Vector, at: int) -> None:
    """T for a block of runs of any length."""
    steps, length = state[STEPS], float(table_length(state))
    last = np.uint64(TABLE + table_length(state) - 1)
    i, long = np.uint64(at), steps - state[at + START] >= length
    if long:
        _long_norms(state, i)
    for lane in range(_LANES):
        n = steps - state[i + _START + lane]
        if not long or n < length:
            state[i + _NORM + lane] = state[last - np.uint64(np.int64(n))]


@kernel
def _long_norms(state: Vector, at: Any) -> None:
    """T for a block by Stirling's series, of use where runs are longer than the table."""
    steps, bits, per_run = state[STEPS], state[NORM_BITS], state[NORM_BITS_PER_RUN]
    alpha_prior, kappa_prior = state[PRIOR_ALPHA], state[PRIOR_KAPPA]
    for lane in range(_LANES):
        n = steps - state[at + lane + _START]
        state[at + lane + _NORM] = _long_norm(n, alpha_prior, kappa_prior, fma(n, per_run, bits))


@kernel
def _learn_blocks(state: Vector, first: Any, blocks: int, z: float) -> None:
    steps, reference = state[STEPS], state[REFERENCE]
    alpha_prior, kappa_prior = state[PRIOR_ALPHA], state[PRIOR_KAPPA]
    at = first
    for _ in range(blocks):
        for lane in range(_LANES):
            i = at + lane
            n = steps - state[i + _START]
            share = 1.0 / (kappa_prior + n)
            deviation = z - state[i + _MEAN]
            state[i + _MEAN] = fma(deviation, share, state[i + _MEAN])
            beta = fma(deviation, fma(-deviation, share, deviation), state[i + _BETA])
            state[i + _BETA] = beta
            height = (state[i + _ENTRY] + state[i + _NORM]) - reference
            state[i + _WEIGHT] = exp2(fma(-fma(0.5, n, alpha_prior), log2(beta), height))
        at += _BLOCK


@kernel
def sums(state: Vector) -> tuple[float, float]:
    """Sum of the weights, and of the weights times run length; four interleaved parts each."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    e, f, g, h = 0.0, 0.0, 0.0, 0.0
    steps, at = state[STEPS], np.uint64(cell_at(state, 0))
    for _ in range(used_blocks(state)):
        for lane in range(np.uint64(0), _LANES, np.uint64(4)):
            i = at + lane
            p, q = state[i], state[i + np.uint64(1)]
            r, s = state[i + np.uint64(2)], state[i + np.uint64(3)]
            i += _START
            a, b, c, d = a + p, b + q, c + r, d + s
            e = fma(p, steps - state[i], e)
            f = fma(q, steps - state[i + np.uint64(1)], f)
            g = fma(r, steps - state[i + np.uint64(2)], g)
            h = fma(s, steps - state[i + np.uint64(3)], h)
        at += _BLOCK
    return (a + b) + (c + d), (e + f) + (g + h)


@kernel
def most_probable(state: Vector, lanes: Vector) -> float:
    """The run length of highest probability; a cell's weight is shared by its run lengths. `lanes`
    (2 * LANES,) is to work in.
    """
    at = np.uint64(cell_at(state, 0))
    for lane in range(LANES):
        lanes[lane] = -1.0
    for _ in range(used_blocks(state)):
        _best_of_block(state, lanes, at)
        at += _BLOCK
    half = LANES // 2
    while half > 0:
        for lane in range(half):
            if lanes[lane + half] > lanes[lane]:
                lanes[lane] = lanes[lane + half]
                lanes[LANES + lane] = lanes[LANES + lane + half]
        half //= 2
    return lanes[LANES]


@kernel
def _best_of_block(state: Vector, lanes: Vector, at: Any) -> None:
    """Keep the highest probability of a run in each lane, and after the lanes the run's length."""
    steps = state[STEPS]
    for lane in range(_LANES):
        probability = state[at + lane] * state[at + lane + _PER_RUN]
        best, run = lanes[lane], steps - state[at + lane + _START]
        lanes[_LANES + lane] = run if probability > best else lanes[_LANES + lane]
        lanes[lane] = probability if probability > best else best
