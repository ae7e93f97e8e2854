"""The cells of the changepoint detector: their layout, and how neighbours are merged when all are
taken.

A state is one row of float64: seven figures, then for each field of a cell one value a cell, oldest
cell first. A cell is one run length or several neighbouring ones, and forecasts as its heaviest run
does. Those merge first that forecast nearly alike or have little weight, old runs only: which of
the young is right is not known yet. Nothing is cut, so no mass is lost and old regimes stay
hypotheses.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.kernel import kernel
from hft_lib.models.inputs import Vector

Matrix = npt.NDArray[np.float64]

HEADER = 7  # figures before the cells, named in `bocd`
FIELDS = 8
# Weight; observations, mean, beta and G of the heaviest run; shortest run length; two to work in.
WEIGHT, LENGTH, MEAN, BETA, RATIO, SHORTEST, ONE_PLUS_U, EXPONENT = range(FIELDS)

_PROTECTED = 16  # run lengths up to this, and up to the alarm's, keep a cell each
_PROTECTED_MAX = 32
_WEIGHT_FLOOR = 1e-5  # merging costs at least as if a cell had this weight: it may gain it


@kernel
def cells_of(state: Vector) -> Matrix:
    """The cells in one row of state, a view (field, cell)."""
    return state[HEADER:].reshape((FIELDS, (state.shape[0] - HEADER) // FIELDS))


@kernel
def merge(params: Any, cells: Matrix, count: int) -> int:
    """Merge a sixteenth of the cells into their neighbours, those that lose least; returns the
    cells left.
    """
    pairs = _merging_costs(params, cells, count)
    cost, merged = cells[EXPONENT], cells[ONE_PLUS_U]
    for i in range(count):
        merged[i] = 0.0
    left = count
    for _ in range(count // 16):
        best = 0
        for i in range(1, pairs):
            if cost[i] < cost[best]:
                best = i
        if not cost[best] < np.inf:
            break
        _merge_pair(params, cells, best)
        merged[best + 1] = 1.0
        left -= 1
        for i in range(max(best - 1, 0), min(best + 2, pairs)):
            cost[i] = np.inf  # neither joins a third cell in this round
    _close_gaps(cells, count)
    return left


@kernel
def _merging_costs(params: Any, cells: Matrix, count: int) -> int:
    """How much unlike each cell forecasts from its younger neighbour, times their weight; returns
    the pairs.
    """
    weight, length, mean, beta = cells[WEIGHT], cells[LENGTH], cells[MEAN], cells[BETA]
    cost = cells[EXPONENT]
    protected = min(max(params.alarm_run_length, _PROTECTED), _PROTECTED_MAX)
    pairs = 0
    while pairs + 1 < count and cells[SHORTEST, pairs + 1] > protected:
        pairs += 1
    for i in range(pairs):
        old = beta[i] / (params.prior_alpha + 0.5 * length[i])
        young = beta[i + 1] / (params.prior_alpha + 0.5 * length[i + 1])
        shift = (mean[i] - mean[i + 1]) * (mean[i] - mean[i + 1])
        spread = (old - young) / (old + young)
        unlike = shift / (old + young) + spread * spread
        cost[i] = (weight[i] + weight[i + 1] + _WEIGHT_FLOOR) * unlike
    return pairs


@kernel
def _merge_pair(params: Any, cells: Matrix, i: int) -> None:
    """Put cell i + 1 into cell i: the heavier's run, with mean and variance of both, weighted."""
    j = i + 1
    total = cells[WEIGHT, i] + cells[WEIGHT, j]
    share = cells[WEIGHT, j] / total
    variance_i = cells[BETA, i] / (params.prior_alpha + 0.5 * cells[LENGTH, i])
    variance_j = cells[BETA, j] / (params.prior_alpha + 0.5 * cells[LENGTH, j])
    apart = cells[MEAN, j] - cells[MEAN, i]
    if share > 0.5:
        cells[LENGTH, i] = cells[LENGTH, j]
        cells[RATIO, i] = cells[RATIO, j]
    variance = (
        variance_i + share * (variance_j - variance_i) + share * (1.0 - share) * (apart * apart)
    )
    cells[MEAN, i] += share * apart
    cells[BETA, i] = variance * (params.prior_alpha + 0.5 * cells[LENGTH, i])
    cells[WEIGHT, i] = total
    cells[SHORTEST, i] = cells[SHORTEST, j]


@kernel
def _close_gaps(cells: Matrix, count: int) -> None:
    merged = cells[ONE_PLUS_U]
    for field in range(SHORTEST + 1):
        to = 0
        for i in range(count):
            cells[field, to] = cells[field, i]
            to += 1 if merged[i] == 0.0 else 0
