"""Kalman filter: each slot's hedge ratio and intercept of a pair, stepped at the grid, carried
between.
"""

from typing import TypeAlias, assert_never

import msgspec
import numpy as np

from hft_lib.events import (
    Event,
    HedgeRatio,
    PairTick,
    Promoted,
    RolledBack,
    SlotAssigned,
    TimePassed,
)
from hft_lib.kernel import Direct, kernel
from hft_lib.line import LineConfig
from hft_lib.models import kalman
from hft_lib.models.special import log
from hft_lib.rows import HEDGE, Rows
from hft_lib.stage import Stage

Input: TypeAlias = PairTick | SlotAssigned | Promoted | RolledBack | TimePassed


class PairFilters(msgspec.Struct):
    """One pair's filters, a row a slot; `forecast` is what the facts carry until the next grid
    point.
    """

    params: Rows
    states: Rows
    hedges: Rows
    forecast: bytes


class KalmanState(msgspec.Struct):
    """The filters of every pair."""

    pairs: dict[str, PairFilters]


def start(config: LineConfig) -> KalmanState:
    """Every slot empty."""
    return KalmanState({item.pair: _empty(config.slots) for item in config.pairs})


def _empty(slots: int) -> PairFilters:
    hedges = np.zeros(slots, HEDGE)
    return PairFilters(
        np.zeros(slots, kalman.Params), np.zeros(slots, kalman.State), hedges, hedges.tobytes()
    )


def step(state: KalmanState, event: Input) -> tuple[Event, ...]:
    """Advance the pair's filters by one tick; control and time go on down the line."""
    match event:
        case PairTick():
            return observe(state.pairs[event.pair], event)
        case SlotAssigned():
            return assign(state.pairs[event.pair], event)
        case Promoted() | RolledBack() | TimePassed():
            return (event,)
        case _:
            assert_never(event)


def observe(filters: PairFilters, tick: PairTick) -> tuple[Event, ...]:
    """At a grid point step every live slot; at any other tick carry the last forecast."""
    if tick.grid_steps:
        _OBSERVE.call(
            filters.params,
            filters.states,
            filters.hedges,
            0.5 * (tick.y_bid + tick.y_ask),
            0.5 * (tick.x_bid + tick.x_ask),
            tick.grid_steps,
        )
        filters.forecast = filters.hedges.tobytes()
    return (HedgeRatio(tick, filters.forecast),)


def assign(filters: PairFilters, assigned: SlotAssigned) -> tuple[Event, ...]:
    """Give a slot its parameters; its beliefs come from another slot, or from its priors."""
    slot = assigned.slot
    filters.params[slot] = kalman.params_row(assigned.parameters.kalman)[0]
    if assigned.copy_from >= 0:
        filters.states[slot] = filters.states[assigned.copy_from]
        filters.hedges[slot] = filters.hedges[assigned.copy_from]
    else:
        start_slot(filters.params, filters.states, filters.hedges, slot)
    filters.hedges[slot]["live"] = 1
    filters.hedges[slot]["generation"] = assigned.generation
    filters.forecast = filters.hedges.tobytes()
    return (assigned,)


@kernel
def start_slot(params, states, hedges, slot):
    """Start one slot from its priors."""
    kalman.start(params[slot], states[slot])
    carry(states[slot], hedges[slot])


@kernel
def observe_slots(params, states, hedges, y_mid, x_mid, steps):
    """Step every live slot by `steps` grid intervals on the log mids, and write its forecast."""
    y, x = log(y_mid), log(x_mid)
    for slot in range(states.shape[0]):
        if hedges[slot].live != 0:
            kalman.step(params[slot], states[slot], y, x, steps)
            carry(states[slot], hedges[slot])


_OBSERVE = Direct(observe_slots)


@kernel
def carry(state, hedge):
    """Write a filter's state as the row that the line carries."""
    hedge.intercept = state.intercept
    hedge.hedge_ratio = state.hedge_ratio
    hedge.innovation = state.innovation
    hedge.innovation_var = state.innovation_var
    hedge.steps = state.steps


STAGE = Stage(
    name="kalman_filter",
    state_type=KalmanState,
    start=start,
    step=step,
    routes={
        HedgeRatio: ("garch_model",),
        SlotAssigned: ("garch_model",),
        Promoted: ("garch_model",),
        RolledBack: ("garch_model",),
        TimePassed: ("garch_model",),
    },
)
