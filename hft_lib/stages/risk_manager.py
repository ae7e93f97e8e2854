"""Risk manager: is the relation breaking, and how much may be held? Limits in force go with every
view.

BOCD watches each slot's standardised innovations as normal scores (`garch.normal_score`), for its
regimes are normal; an alarm is a collapse of the run length, held for a while. The size of a pair's
positions is cut where the pairs' mids move together:

    size_i = 1 / sqrt(1 + sum over j of max(rho_ij, 0))

rho: exponentially weighted correlation of the returns of the pairs' y legs from one grid step to
the next, of two pairs that step in the same grid interval: with ticks each does at a moment of its
own.
"""

from typing import TypeAlias, assert_never

import msgspec
import numpy as np

from hft_lib.events import (
    Event,
    Promoted,
    RiskView,
    RolledBack,
    SlotAssigned,
    TimePassed,
    Volatility,
)
from hft_lib.kernel import Direct, kernel
from hft_lib.line import LineConfig
from hft_lib.models import bocd
from hft_lib.models.special import log
from hft_lib.parameters import Limits
from hft_lib.rows import RISK, VOLATILITY, Rows
from hft_lib.stage import Stage

Input: TypeAlias = Volatility | SlotAssigned | Promoted | RolledBack | TimePassed
CORRELATION_DECAY = 0.97  # RiskMetrics' weight of the past for a month of days, here of grid steps

Watch = np.dtype(
    [
        ("live", np.int64),
        ("alarm_probability", np.float64),
        ("alarm_hold_ns", np.int64),
        ("alarm_until_ns", np.int64),
    ]
)


class PairRisk(msgspec.Struct):
    """One pair's detectors, a row a slot."""

    row: int
    limits: Limits
    params: Rows
    detectors: Rows
    watches: Rows
    risks: Rows
    verdict: bytes


class Correlations(msgspec.Struct):
    """Log mids, last grid returns and their exponentially weighted products, a row a pair in the
    line's order; `grid_ns` is the line's interval, known with the first parameter set (0 before).
    """

    log_mids: Rows
    returns: Rows
    stepped_ns: Rows
    products: Rows
    grid_ns: int = 0


class RiskState(msgspec.Struct):
    """The detectors of every pair, and how their mids move together."""

    pairs: dict[str, PairRisk]
    correlations: Correlations


def start(config: LineConfig) -> RiskState:
    """Every slot empty, nothing known of correlations."""
    n = len(config.pairs)
    pairs = {
        item.pair: _empty(row, item.limits, config.slots) for row, item in enumerate(config.pairs)
    }
    return RiskState(
        pairs, Correlations(np.zeros(n), np.zeros(n), np.zeros(n, np.int64), np.zeros((n, n)))
    )


def _empty(row: int, limits: Limits, slots: int) -> PairRisk:
    risks = np.zeros(slots, RISK)
    return PairRisk(
        row,
        limits,
        np.zeros(slots, bocd.Params),
        bocd.new_states(slots),
        np.zeros(slots, Watch),
        risks,
        risks.tobytes(),
    )


def step(state: RiskState, event: Input) -> tuple[Event, ...]:
    """Judge the pair at one tick; control and time go on down the line."""
    match event:
        case Volatility():
            return observe(state, event)
        case SlotAssigned():
            return assign(state, event)
        case Promoted() | RolledBack() | TimePassed():
            return (event,)
        case _:
            assert_never(event)


def observe(state: RiskState, volatility: Volatility) -> tuple[Event, ...]:
    """At a grid point judge every live slot; at any other tick carry the last verdict."""
    tick = volatility.tick
    pair = state.pairs[tick.pair]
    if tick.grid_steps:
        known = state.correlations
        size = _SIZE.call(
            known.log_mids,
            known.returns,
            known.stepped_ns,
            known.products,
            pair.row,
            0.5 * (tick.y_bid + tick.y_ask),
            tick.time_ns,
            known.grid_ns,
        )
        _OBSERVE.call(
            pair.params,
            pair.detectors,
            pair.watches,
            pair.risks,
            np.frombuffer(volatility.volatilities, VOLATILITY),
            tick.time_ns,
            size,
        )
        pair.verdict = pair.risks.tobytes()
    return (RiskView(tick, volatility.hedges, volatility.volatilities, pair.verdict, pair.limits),)


def assign(state: RiskState, assigned: SlotAssigned) -> tuple[Event, ...]:
    """Give a slot its detector; its beliefs come from another slot, or from its prior."""
    state.correlations.grid_ns = assigned.parameters.grid_ms * 1_000_000
    pair = state.pairs[assigned.pair]
    slot, parameters = assigned.slot, assigned.parameters.bocd
    pair.params[slot] = bocd.params_row(parameters)[0]
    pair.watches[slot] = (1, parameters.alarm_probability, round(parameters.alarm_hold_s * 1e9), 0)
    if assigned.copy_from >= 0:
        pair.detectors[slot] = pair.detectors[assigned.copy_from]
        pair.risks[slot] = pair.risks[assigned.copy_from]
    else:
        start_slot(pair.params, pair.detectors, slot)
        pair.risks[slot] = (1.0, 0, 0.0, 1.0)
    pair.verdict = pair.risks.tobytes()
    return (assigned,)


@kernel
def start_slot(params, detectors, slot):
    """Start one slot from its prior."""
    bocd.start(params[slot], detectors[slot])


@kernel
def observe_slots(params, detectors, watches, risks, volatilities, time_ns, size):
    """Let every live slot's detector learn its innovation's score, and write its verdict."""
    for slot in range(params.shape[0]):
        watch = watches[slot]
        if watch.live == 0:
            continue
        detector = detectors[slot]
        bocd.step(params[slot], detector, volatilities[slot].score)
        recent = detector[bocd.RECENT_PROBABILITY]
        # A detector that has seen no more than the alarm's run length cannot tell a change from its
        # own start.
        seasoned = detector[bocd.STEPS] > params[slot].alarm_run_length
        if seasoned and recent > watch.alarm_probability:
            watch.alarm_until_ns = time_ns + watch.alarm_hold_ns
            risks[slot].alarm = 1
        else:
            risks[slot].alarm = 1 if time_ns < watch.alarm_until_ns else 0
        risks[slot].size = size
        risks[slot].run_length = detector[bocd.RUN_LENGTH]
        risks[slot].recent_probability = recent


@kernel
def correlated_size(log_mids, returns, stepped_ns, products, row, y_mid, time_ns, grid_ns):
    """Take the pair's return since its last grid step; the size that correlations with the other
    pairs leave it.
    """
    interval_ns = time_ns // grid_ns * grid_ns if grid_ns > 0 else time_ns  # where it began
    log_mid = log(y_mid)
    returns[row] = log_mid - log_mids[row] if stepped_ns[row] > 0 else 0.0
    log_mids[row] = log_mid
    stepped_ns[row] = time_ns
    total = 1.0
    for other in range(returns.shape[0]):
        if stepped_ns[other] < interval_ns:
            continue  # its return is of another interval
        product = CORRELATION_DECAY * products[row, other] + returns[row] * returns[other]
        products[row, other] = product
        products[other, row] = product
    for other in range(returns.shape[0]):
        scale = products[row, row] * products[other, other]
        if other != row and scale > 0.0:
            total += max(0.0, min(1.0, products[row, other] / np.sqrt(scale)))
    return 1.0 / np.sqrt(total)


_SIZE, _OBSERVE = Direct(correlated_size), Direct(observe_slots)
STAGE = Stage(
    name="risk_manager",
    state_type=RiskState,
    start=start,
    step=step,
    routes={
        RiskView: ("execution",),
        SlotAssigned: ("execution",),
        Promoted: ("execution",),
        RolledBack: ("execution",),
        TimePassed: ("execution",),
    },
)
