"""How neighbouring cells of the changepoint detector are merged when all are taken.

Those pairs merge that lose least: whose runs forecast nearly alike, or of which one has little
weight. Old runs only: which of the young is right is not known yet. Nothing is cut, so no mass is
lost and old regimes stay hypotheses. A merged cell goes on as its heavier run, with the weight of
both and with the mean and the variance of their mixture.
"""

from typing import Any

import numpy as np

from hft_lib.kernel import kernel
from hft_lib.models import bocd_cells as cell
from hft_lib.models.bocd_cells import cell_at, log_weight, norm
from hft_lib.models.inputs import Vector
from hft_lib.models.special import exp2, log2

_PROTECTED = 16  # run lengths up to this, and up to the alarm's, keep a cell each
_PROTECTED_MAX = 32
_WEIGHT_FLOOR = 1e-5  # a cell of less probability may gain it: it counts as if it had this


@kernel
def merge(params: Any, state: Vector) -> None:
    """Merge pairs of old cells; there is at least one."""
    protected = min(max(params.alarm_run_length, _PROTECTED), _PROTECTED_MAX)
    pairs, count = 0, int(state[cell.COUNT])
    while pairs + 1 < count and (
        state[cell.STEPS] - state[cell_at(state, pairs + 1) + cell.BIRTH] > protected
    ):
        _set_cost(state, pairs)
        pairs += 1
    _close(state, pairs, _bound(state, pairs))


@kernel
def _set_cost(state: Vector, i: int) -> None:
    """How unlike cell i and its younger neighbour forecast, times the lighter's weight."""
    at, younger = cell_at(state, i), cell_at(state, i + 1)
    old, young = variance(state, at), variance(state, younger)
    apart = state[at + cell.MEAN] - state[younger + cell.MEAN]
    spread = (old - young) / (old + young)
    unlike = apart * apart / (old + young) + spread * spread
    a = state[at + cell.WEIGHT] * state[cell.SCALE] + _WEIGHT_FLOOR
    b = state[younger + cell.WEIGHT] * state[cell.SCALE] + _WEIGHT_FLOOR
    state[at + cell.NORM] = a * b / (a + b) * unlike


@kernel
def variance(state: Vector, at: int) -> float:
    """The expected variance of the run of the cell at `at`, but for 1 / (2 alpha)."""
    n = state[cell.STEPS] - state[at + cell.START]
    return state[at + cell.BETA] / (2.0 * state[cell.PRIOR_ALPHA] + n)


@kernel
def _bound(state: Vector, pairs: int) -> float:
    """The highest cost that merges: the mean of those that are lower than both neighbours."""
    total, found = 0.0, 0
    for i in range(pairs):
        if _lowest(state, i, pairs):
            total += state[cell_at(state, i) + cell.NORM]
            found += 1
    return total / found * 1.0000001


@kernel
def _lowest(state: Vector, i: int, pairs: int) -> bool:
    """Whether no neighbouring pair costs less: of two neighbours one at most is lowest."""
    cost = state[cell_at(state, i) + cell.NORM]
    if i > 0 and state[cell_at(state, i - 1) + cell.NORM] <= cost:
        return False
    return i + 1 >= pairs or state[cell_at(state, i + 1) + cell.NORM] >= cost


@kernel
def _close(state: Vector, pairs: int, bound: float) -> None:
    """Merge the lowest pairs up to `bound`, and move the cells up."""
    count, single = int(state[cell.COUNT]), int(state[cell.SINGLE])
    i, to, single_after = 0, 0, 0
    while i < count:
        joins = i < pairs and _lowest(state, i, pairs)
        joins = joins and state[cell_at(state, i) + cell.NORM] <= bound
        at, target = cell_at(state, i), cell_at(state, to)
        if joins:
            _merge_pair(state, at, cell_at(state, i + 1))
        if to < i:
            for field in range(cell.FIELDS):
                if field * cell.LANES != cell.NORM:
                    state[target + field * cell.LANES] = state[at + field * cell.LANES]
        i += 2 if joins else 1
        to += 1
        if joins or i <= single:
            single_after = to
    state[cell.SINGLE] = single_after
    state[cell.COUNT] = to
    cell.clear(state, to)


@kernel
def _merge_pair(state: Vector, at: int, younger: int) -> None:
    """Put the cell at `younger` into the one at `at`."""
    old, young = log_weight(state, at), log_weight(state, younger)
    odds = exp2(min(young - old, 1000.0))
    share = odds / (1.0 + odds)
    apart = state[younger + cell.MEAN] - state[at + cell.MEAN]
    mixed = variance(state, at)
    mixed += share * (variance(state, younger) - mixed) + share * (1.0 - share) * (apart * apart)
    # BIRTH: the oldest cell's runs begin at 0, so that a cell of m runs has 1 / m of its weight each.
    runs = 1.0 / state[at + cell.PER_RUN] + 1.0 / state[younger + cell.PER_RUN]
    if share > 0.5:
        state[at + cell.START] = state[younger + cell.START]
    n = state[cell.STEPS] - state[at + cell.START]
    beta = mixed * (2.0 * state[cell.PRIOR_ALPHA] + n)
    both = max(old, young) + log2(1.0 + (odds if odds < 1.0 else 1.0 / odds))
    energy = (state[cell.PRIOR_ALPHA] + 0.5 * n) * log2(beta)
    state[at + cell.ENTRY] = both + state[cell.REFERENCE] + energy - norm(state, n)
    state[at + cell.WEIGHT] += state[younger + cell.WEIGHT]
    state[at + cell.MEAN] += share * apart
    state[at + cell.BETA] = beta
    state[at + cell.BIRTH] = state[younger + cell.BIRTH]
    state[at + cell.PER_RUN] = 1.0 / runs
