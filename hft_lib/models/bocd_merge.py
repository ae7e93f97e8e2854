"""How neighbouring cells of the changepoint detector are merged when all are taken.

Those pairs merge that lose least: whose runs forecast nearly alike, or of which one has next to no
weight. Old runs only: which of the young is right is not known yet. Nothing is cut, so no mass is
lost and old regimes stay hypotheses. A merged cell has the weight of both, the mean and variance of
their mixture, and the harmonic mean of their run lengths: what it learns a value by, 1 / n, is the
mixture's too. (With the longer run of two it would follow a drifting variance too slowly, which
cost up to 20 nats in 20,000 values.)
"""

import math
from typing import Any

import numpy as np

from hft_lib.kernel import kernel
from hft_lib.models import bocd_cells as cell
from hft_lib.models.bocd_cells import cell_at, log_weight, norm
from hft_lib.models.inputs import Vector
from hft_lib.models.special import exp2, log2

_PROTECTED = 16  # run lengths up to this, and up to the alarm's, keep a cell each
_PROTECTED_MAX = 32
_WEIGHT_FLOOR = 1e-12  # a cell of less probability may gain it: it counts as if it had this
_BOUND = 0.5  # of the mean cost of the candidates: more merge less often, and lose more


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
    """What merging cell i and its younger neighbour may cost, up to a factor: how unlike they
    forecast, times the lighter's weight, for as long as they stay unlike, which grows with the run.
    """
    at, younger = cell_at(state, i), cell_at(state, i + 1)
    old, young = variance(state, at), variance(state, younger)
    apart = state[at + cell.MEAN] - state[younger + cell.MEAN]
    spread = (old - young) / (old + young)
    unlike = apart * apart / (old + young) + spread * spread
    a = state[at + cell.WEIGHT] * state[cell.SCALE] + _WEIGHT_FLOOR
    b = state[younger + cell.WEIGHT] * state[cell.SCALE] + _WEIGHT_FLOOR
    n = state[cell.STEPS] - state[at + cell.START]
    state[at + cell.NORM] = a * b / (a + b) * unlike * n


@kernel
def variance(state: Vector, at: int) -> float:
    """The expected variance of the run of the cell at `at`, but for 1 / (2 alpha)."""
    n = state[cell.STEPS] - state[at + cell.START]
    return state[at + cell.BETA] / (2.0 * state[cell.PRIOR_ALPHA] + n)


@kernel
def _bound(state: Vector, pairs: int) -> float:
    """The highest cost that merges, not below the lowest there is."""
    total, least, found = 0.0, np.inf, 0
    for i in range(pairs):
        if _lowest(state, i, pairs):
            cost = state[cell_at(state, i) + cell.NORM]
            total += cost
            least = min(least, cost)
            found += 1
    return max(least, _BOUND * total / found)


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
    runs = 1.0 / state[at + cell.PER_RUN] + 1.0 / state[younger + cell.PER_RUN]
    state[at + cell.START] = state[cell.STEPS] - _mean_run(state, at, younger, share)
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


@kernel
def _mean_run(state: Vector, at: int, younger: int, share: float) -> float:
    """Harmonic mean of two run lengths, a whole number: the table of T is by run length."""
    old = state[cell.STEPS] - state[at + cell.START] + 1.0
    young = state[cell.STEPS] - state[younger + cell.START] + 1.0
    mean = math.floor(old * young / (young + share * (old - young)) - 0.5)
    return min(max(mean, young - 1.0), old - 1.0)
