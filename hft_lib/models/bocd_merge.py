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

from hft_lib.kernel import kernel
from hft_lib.models import bocd_cells as cell
from hft_lib.models.bocd_cells import capacity, cell_at, log_norm, next_at
from hft_lib.models.inputs import Vector
from hft_lib.models.special import log2

_PROTECTED = 16  # run lengths up to this, and up to the alarm's, keep a cell each
_PROTECTED_MAX = 32
_WEIGHT_FLOOR = 1e-12  # a cell of less probability may gain it: it counts as if it had this
_PROBABILITY_MIN = 1e-290  # no merged cell dies of underflow
_REFERENCE_MAX = 4096.0  # bits
_COST_MAX, _ALL, _NONE = 1e299, 2e299, 1e300  # of a pair; a bound for all; no pair
_KEPT = 56  # so many cells, or half of them if that is more, are left


@kernel
def merge(params: Any, state: Vector) -> None:
    """Merge pairs of old cells until there is room for a while."""
    kept = max(_KEPT, capacity(state) // 2)
    while state[cell.COUNT] > kept:
        pairs = _set_costs(params, state)
        bound = _bound(state, pairs)
        # Far from the end of it all candidates merge, for fewer rounds.
        _close(state, pairs, bound if state[cell.COUNT] < 1.5 * kept else _ALL)
    if abs(state[cell.REFERENCE]) > _REFERENCE_MAX:
        _take_up(state)


@kernel
def _take_up(state: Vector) -> None:
    """Take the reference into the entries: as a small number it has more digits."""
    at = cell_at(state, 0)
    for _ in range(int(state[cell.COUNT])):
        state[at + cell.ENTRY] -= state[cell.REFERENCE]
        at = next_at(at)
    state[cell.REFERENCE] = 0.0


@kernel
def _set_costs(params: Any, state: Vector) -> int:
    """What merging each old cell and its younger neighbour may cost, up to a factor, in place of T;
    returns the number of such pairs.

    How unlike they forecast, times the lighter's weight, for as long as they stay unlike, which
    grows with the run.
    """
    protected = min(max(params.alarm_run_length, _PROTECTED), _PROTECTED_MAX)
    youngest, scale = state[cell.STEPS] - protected, state[cell.SCALE]
    pairs, count, at = 0, int(state[cell.COUNT]), cell_at(state, 0)
    old, a = variance(state, at), state[at + cell.WEIGHT] * scale + _WEIGHT_FLOOR
    while pairs + 1 < count:
        younger = next_at(at)
        if state[younger + cell.BIRTH] >= youngest:
            break
        young = variance(state, younger)
        b = state[younger + cell.WEIGHT] * scale + _WEIGHT_FLOOR
        apart = state[at + cell.MEAN] - state[younger + cell.MEAN]
        inverse = 1.0 / (old + young)
        spread = (old - young) * inverse
        n = state[cell.STEPS] - state[at + cell.START]
        cost = a * b / (a + b) * n * (apart * apart * inverse + spread * spread)
        state[at + cell.NORM] = cost if cost < _COST_MAX else _COST_MAX
        at, old, a, pairs = younger, young, b, pairs + 1
    state[at + cell.NORM] = _NONE
    return pairs


@kernel
def variance(state: Vector, at: int) -> float:
    """The expected variance of the run of the cell at `at`, but for 1 / (2 alpha)."""
    n = state[cell.STEPS] - state[at + cell.START]
    return state[at + cell.BETA] / (2.0 * state[cell.PRIOR_ALPHA] + n)


@kernel
def _bound(state: Vector, pairs: int) -> float:
    """Leave costs only where both neighbouring pairs cost more, so that none shares a cell; returns
    the mean of those left: what costs more waits for another round.
    """
    total, found, before, at = 0.0, 0, _NONE, cell_at(state, 0)
    for _ in range(pairs):
        younger = next_at(at)
        cost = state[at + cell.NORM]
        if cost < before and cost <= state[younger + cell.NORM]:
            total += cost
            found += 1
        else:
            state[at + cell.NORM] = _NONE
        at, before = younger, cost
    return total / found * (1.0 + 1e-12)


@kernel
def _close(state: Vector, pairs: int, bound: float) -> None:
    """Merge the pairs that cost up to `bound`, and move the cells up."""
    count, single = int(state[cell.COUNT]), int(state[cell.SINGLE])
    i, to, single_after, at, target = 0, 0, 0, cell_at(state, 0), cell_at(state, 0)
    while i < count:
        joins = i < pairs and state[at + cell.NORM] <= bound
        younger = next_at(at)
        if joins:
            _merge_pair(state, at, younger)
        if to < i:
            _move(state, at, target)
        i, at = (i + 2, next_at(younger)) if joins else (i + 1, younger)
        to, target = to + 1, next_at(target)
        if joins or i <= single:
            single_after = to
    state[cell.SINGLE] = single_after
    state[cell.COUNT] = to
    cell.clear(state, to)


@kernel
def _move(state: Vector, at: int, target: int) -> None:
    """Put the cell at `at` in another place."""
    state[target + cell.WEIGHT] = state[at + cell.WEIGHT]
    state[target + cell.START] = state[at + cell.START]
    state[target + cell.MEAN] = state[at + cell.MEAN]
    state[target + cell.BETA] = state[at + cell.BETA]
    state[target + cell.ENTRY] = state[at + cell.ENTRY]
    state[target + cell.BIRTH] = state[at + cell.BIRTH]
    state[target + cell.PER_RUN] = state[at + cell.PER_RUN]


@kernel
def _merge_pair(state: Vector, at: int, younger: int) -> None:
    """Put the cell at `younger` into the one at `at`."""
    weight = state[at + cell.WEIGHT] + state[younger + cell.WEIGHT]
    share = state[younger + cell.WEIGHT] / weight
    apart = state[younger + cell.MEAN] - state[at + cell.MEAN]
    mixed = variance(state, at)
    mixed += share * (variance(state, younger) - mixed) + share * (1.0 - share) * (apart * apart)
    runs = 1.0 / state[at + cell.PER_RUN] + 1.0 / state[younger + cell.PER_RUN]
    n = _mean_run(state, at, younger, share)
    double_alpha = 2.0 * state[cell.PRIOR_ALPHA] + n
    beta = mixed * double_alpha
    probability = max(weight * state[cell.SCALE], _PROBABILITY_MIN)
    evidence = log_norm(state, n) - 0.5 * double_alpha * log2(beta)
    state[at + cell.ENTRY] = log2(probability) + state[cell.REFERENCE] - evidence
    state[at + cell.WEIGHT] = weight
    state[at + cell.START] = state[cell.STEPS] - n
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
