"""GARCH: each slot's volatility forecast of the spread at its trading horizon, from the filter's
innovations; and a window of what came of the forecasts, by which the slots' models are judged.
"""

from typing import TypeAlias, assert_never

import msgspec
import numpy as np

from hft_lib.events import (
    Event,
    HedgeRatio,
    Promoted,
    RolledBack,
    SlotAssigned,
    TimePassed,
    Volatility,
)
from hft_lib.health import window as windows
from hft_lib.health.window import Window
from hft_lib.kernel import Direct, kernel
from hft_lib.line import LineConfig
from hft_lib.models import garch
from hft_lib.rows import HEDGE, VOLATILITY, Rows
from hft_lib.stage import Stage

Input: TypeAlias = HedgeRatio | SlotAssigned | Promoted | RolledBack | TimePassed


class PairVolatilities(msgspec.Struct):
    """One pair's volatility models, a row a slot; `horizons` in grid steps."""

    params: Rows
    states: Rows
    horizons: Rows
    live: Rows
    volatilities: Rows
    forecast: bytes


class GarchState(msgspec.Struct):
    """The volatility models of every pair, and by what their slots are judged.

    A snapshot from before there were windows has none: they begin where it goes on.
    """

    pairs: dict[str, PairVolatilities]
    windows: dict[str, Window] = {}


def start(config: LineConfig) -> GarchState:
    """Every slot empty."""
    names = [item.pair for item in config.pairs]
    return GarchState(
        {name: _empty(config.slots) for name in names},
        {name: windows.empty(config.slots) for name in names},
    )


def _empty(slots: int) -> PairVolatilities:
    volatilities = np.zeros(slots, VOLATILITY)
    return PairVolatilities(
        np.zeros(slots, garch.Params),
        np.zeros(slots, garch.State),
        np.ones(slots, np.int64),
        np.zeros(slots, np.int64),
        volatilities,
        volatilities.tobytes(),
    )


def step(state: GarchState, event: Input) -> tuple[Event, ...]:
    """Advance the pair's volatility models by one tick; control and time go on down the line."""
    match event:
        case HedgeRatio():
            pair = event.tick.pair
            window = state.windows.get(pair) or _begun(state, pair)
            return observe(state.pairs[pair], window, event)
        case SlotAssigned():
            pair = event.pair
            window = state.windows.get(pair) or _begun(state, pair)
            return assign(state.pairs[pair], window, event)
        case Promoted() | RolledBack() | TimePassed():
            return (event,)
        case _:
            assert_never(event)


def _begun(state: GarchState, pair: str) -> Window:
    state.windows[pair] = windows.empty(len(state.pairs[pair].live))
    return state.windows[pair]


def observe(models: PairVolatilities, window: Window, hedge: HedgeRatio) -> tuple[Event, ...]:
    """At a grid point step every live slot on its innovation; at any other tick carry the last
    forecast.
    """
    tick = hedge.tick
    if not (tick.more or tick.stale):
        window.moments += 1
    if tick.grid_steps:
        hedges = np.frombuffer(hedge.hedges, HEDGE)
        _OBSERVE.call(
            models.params,
            models.states,
            models.horizons,
            models.live,
            models.volatilities,
            hedges,
            tick.grid_steps,
        )
        models.forecast = models.volatilities.tobytes()
        _TAKE.call(
            window.values,
            window.clock,
            window.warm_ns,
            models.live,
            hedges,
            models.volatilities,
            0.5 * (tick.y_bid + tick.y_ask),
            0.5 * (tick.x_bid + tick.x_ask),
            tick.time_ns,
            tick.grid_steps,
            window.moments,
        )
        window.moments = 0
    return (Volatility(tick, hedge.hedges, models.forecast),)


def assign(models: PairVolatilities, window: Window, assigned: SlotAssigned) -> tuple[Event, ...]:
    """Give a slot its parameters; its variance comes from another slot, or from its prior."""
    slot, parameters = assigned.slot, assigned.parameters
    models.params[slot] = garch.params_row(parameters.garch)[0]
    models.horizons[slot] = horizon_steps(parameters.strategy.horizon_s, parameters.grid_ms)
    models.live[slot] = 1
    if assigned.copy_from >= 0:
        models.states[slot] = models.states[assigned.copy_from]
    else:
        start_slot(models.params, models.states, slot)
    carry_slot(models.params, models.states, models.horizons, models.volatilities, slot)
    models.forecast = models.volatilities.tobytes()
    warm_ns = assigned.effective_ns + round(assigned.warmup_s * 1e9)
    windows.assign(window, slot, assigned.generation, warm_ns, assigned.reference)
    return (assigned,)


def horizon_steps(horizon_s: float, grid_ms: int) -> int:
    """The trading horizon in whole grid steps, at least one."""
    return max(1, round(horizon_s * 1000.0 / grid_ms))


@kernel
def start_slot(params, states, slot):
    """Start one slot from its prior variance."""
    garch.start(params[slot], states[slot])


@kernel
def observe_slots(params, states, horizons, live, volatilities, hedges, steps):
    """Step every live slot by `steps` grid intervals on its innovation, and write its forecast.

    The spread is judged by the forecast made before the moment: one that has seen the moment's own
    innovation holds alpha times its square, so that no z could pass 1 / sqrt(alpha).
    """
    for slot in range(states.shape[0]):
        if live[slot] != 0:
            carry_forecast(params, states, horizons, volatilities, slot, steps)
            garch.step(params[slot], states[slot], hedges[slot].innovation, steps)
            carry_state(params, states, volatilities, slot)


_OBSERVE, _TAKE = Direct(observe_slots), Direct(windows.take)


@kernel
def carry_slot(params, states, horizons, volatilities, slot):
    """Write a model that has just been given its state as the row that the line carries."""
    carry_forecast(params, states, horizons, volatilities, slot, 1)
    carry_state(params, states, volatilities, slot)


@kernel
def carry_forecast(params, states, horizons, volatilities, slot, steps):
    """Write the deviation expected at the horizon as of the grid point `steps` intervals on."""
    ahead = steps - 1 + horizons[slot]
    volatilities[slot].spread_sd = np.sqrt(
        garch.forecast_variance(params[slot], states[slot], ahead)
    )


@kernel
def carry_state(params, states, volatilities, slot):
    """Write what the model knows after its last innovation."""
    volatilities[slot].variance_next = states[slot].variance
    volatilities[slot].score = garch.normal_score(params[slot], states[slot].standardised)


STAGE = Stage(
    name="garch_model",
    state_type=GarchState,
    start=start,
    step=step,
    routes={
        Volatility: ("risk_manager",),
        SlotAssigned: ("risk_manager",),
        Promoted: ("risk_manager",),
        RolledBack: ("risk_manager",),
        TimePassed: ("risk_manager",),
    },
)
