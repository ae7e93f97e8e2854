"""Execution: a target for each slot, the gate, the two legs of every account, simulated fills, the
day's blocks.

It alone knows what is held. Before an event at t it runs what fell due at or before t, each at its
own time: order arrivals and answers, and the end of a UTC day, which marks every account and closes
the block.
"""

from typing import TypeAlias, assert_never

import msgspec
import numpy as np

from hft_lib.events import (
    BlockClosed,
    CapitalOrder,
    Event,
    Fill,
    Funding,
    Halted,
    HandedOver,
    Instrument,
    Marked,
    Promoted,
    Rejected,
    Resumed,
    RiskView,
    RolledBack,
    ShadowOrder,
    SlotAssigned,
    TimePassed,
)
from hft_lib.exchange import account as books
from hft_lib.kernel import Direct
from hft_lib.line import LineConfig
from hft_lib.risk import gate
from hft_lib.rows import HEDGE, RISK, VOLATILITY
from hft_lib.stage import Stage
from hft_lib.stages import desk as desk_kernels
from hft_lib.stages.desk_facts import DAY_NS, close_block, marked, refusal, tell
from hft_lib.stages.pair_desk import LEGS, PairDesk, SlotIdentity, open_desk
from hft_lib.strategy import decision

Input: TypeAlias = RiskView | SlotAssigned | Promoted | RolledBack | TimePassed | Halted | Resumed
_SETTLE, _TRADE = Direct(desk_kernels.settle_sheet), Direct(desk_kernels.trade_sheet)
_FORECAST = Direct(desk_kernels.forecast_sheet)
TERMS = (Instrument, Funding)
# Seven decades: whatever cadence is told, a sum with a time fits.
STALE_AFTER_NS_MAX = desk_kernels.NEVER_NS // 4
# Who holds a pair's capital back: each is lifted by its own word alone.
BY_LATCH, BY_PAIR, BY_MISMATCH = 1, 2, 4
SHORTS = {"none": books.SHORT_NONE, "borrow": books.SHORT_BORROW, "perp": books.SHORT_PERP}


class ExecutionState(msgspec.Struct):
    """The desks of every pair; whether the latch is pulled, and whether to close with it."""

    pairs: dict[str, PairDesk]
    latched: bool = False
    flattening: bool = False


def start(config: LineConfig) -> ExecutionState:
    """Flat accounts, no slots, no prices."""
    return ExecutionState({item.pair: open_desk(config, item) for item in config.pairs})


def step(state: ExecutionState, event: Input) -> tuple[Event, ...]:
    """Run what fell due, then act on one event."""
    match event:
        case RiskView():
            return observe(state.pairs[event.tick.pair], event)
        case TimePassed():
            facts: list[Event] = []
            for pair in state.pairs.values():
                run_due(pair, event.time_ns, facts)
            return tuple(facts)
        case SlotAssigned():
            return assign(state.pairs[event.pair], event)
        case Promoted() | RolledBack():
            return move_pointer(state.pairs[event.pair], event)
        case Halted() | Resumed():
            return latch(state, event)
        case _:
            assert_never(event)


def observe(pair: PairDesk, view: RiskView) -> tuple[Event, ...]:
    """One tick of the line: what fell due, the event's own effect, and at a complete moment the
    decisions.
    """
    tick = view.tick
    time_ns = tick.time_ns
    facts: list[Event] = []
    if time_ns >= pair.next_due_ns:
        if not pair.block_start_ns:
            open_first_block(pair, time_ns)
        run_due(pair, time_ns, facts)
    if tick.leg and isinstance(tick.event, TERMS):
        apply_terms(pair, LEGS.index(tick.leg), tick.event)
    if tick.more:
        return tuple(facts)
    if tick.slots_version != pair.slots_version:
        return (*facts, *halt_on_mismatch(pair, time_ns, tick.slots_version))
    load(pair, view)
    count = _TRADE.call(
        pair.sheet,
        time_ns,
        tick.stale,
        tick.y_bid,
        tick.y_bid_size,
        tick.y_ask,
        tick.y_ask_size,
        tick.y_time_ns,
        tick.x_bid,
        tick.x_bid_size,
        tick.x_ask,
        tick.x_ask_size,
        tick.x_time_ns,
    )
    if count:
        tell(pair, count, facts)
    if tick.grid_steps:
        facts.append(marked(pair, tick))
    return tuple(facts)


def load(pair: PairDesk, view: RiskView) -> None:
    """Take the forecasts that the view carries, where they changed, and the limits in force."""
    if (
        view.hedges != pair.hedges
        or view.volatilities != pair.volatilities
        or view.risks != pair.risks
    ):
        take_forecasts(pair, view)
    if view.limits.version != pair.limits_version:
        pair.limits[:] = gate.limits_row(view.limits, pair.config.capital_quote)
        pair.desk["watch_all"] = 1
        pair.limits_version = view.limits.version
    slot = int(pair.desk[0]["capital_slot"]) if view.tick.grid_steps else -1
    if slot >= 0:
        forecast = pair.forecasts[slot]
        pair.volatility_sum += float(forecast["spread_sd"])
        pair.volatility_count += 1
        pair.block_alarm = pair.block_alarm or bool(forecast["alarm"])


def take_forecasts(pair: PairDesk, view: RiskView) -> None:
    """Take the forecasts that the view carries."""
    pair.hedges, pair.volatilities, pair.risks = view.hedges, view.volatilities, view.risks
    _FORECAST.call(
        pair.sheet,
        np.frombuffer(view.hedges, HEDGE),
        np.frombuffer(view.volatilities, VOLATILITY),
        np.frombuffer(view.risks, RISK),
    )


def apply_terms(pair: PairDesk, i: int, event: Instrument | Funding) -> None:
    """Take a leg's terms, or settle its funding on what every account holds."""
    leg = pair.legs[i]
    if isinstance(event, Funding):
        desk_kernels.settle_funding(pair.legs, pair.accounts, i, event.rate)
        return
    stale_after_ns = round(event.cadence_ns * pair.config.limits.stale_cadences_max)
    leg["stale_after_ns"] = min(stale_after_ns, STALE_AFTER_NS_MAX)
    leg["taker_fee_rate"] = event.taker_fee_rate
    leg["lots_per_unit"] = lots_per_unit(event.quantity_step)
    leg["notional_min"] = event.notional_min_quote
    leg["short"] = SHORTS[event.short]
    leg["borrow_rate_annual"] = event.borrow_rate_annual
    if event.short == "none" and pair.borrow_rate_annual is not None:
        leg["short"] = books.SHORT_BORROW
        leg["borrow_rate_annual"] = pair.borrow_rate_annual


def lots_per_unit(quantity_step: float) -> float:
    """Lots in one base unit; a whole number where the step divides one, so that quantities print
    short.
    """
    lots = 1.0 / quantity_step
    return float(round(lots)) if abs(lots - round(lots)) < 1e-6 * lots else lots


# --- what falls due ---


def run_due(pair: PairDesk, until_ns: int, facts: list[Event]) -> None:
    """Order arrivals, answers and ends of days up to `until_ns`, each at its own time, in order."""
    while pair.block_end_ns <= until_ns:
        settle(pair, pair.block_end_ns, facts)
        facts.append(close_block(pair))
    settle(pair, until_ns, facts)


def settle(pair: PairDesk, until_ns: int, facts: list[Event]) -> None:
    """Order arrivals and answers up to `until_ns`."""
    tell(pair, _SETTLE.call(pair.sheet, until_ns), facts)


def open_first_block(pair: PairDesk, time_ns: int) -> None:
    """The first block runs from the first tick to the next midnight, and is not whole."""
    pair.block_start_ns = time_ns
    pair.block_end_ns = (time_ns // DAY_NS + 1) * DAY_NS
    pair.accounts["accrued_at_ns"] = time_ns


# --- control ---


def assign(pair: PairDesk, assigned: SlotAssigned) -> tuple[Event, ...]:
    """A slot starts over: new parameters, a flat account, warming."""
    facts: list[Event] = []
    run_due(pair, assigned.effective_ns, facts)
    slot = assigned.slot
    pair.slots_version = assigned.slots_version
    pair.strategies[slot] = decision.params_row(assigned.parameters.strategy)[0]
    pair.identities[slot] = SlotIdentity(assigned.generation, assigned.parameters_sha256)
    account = np.zeros(1, books.Account)
    account["slot"] = slot
    account["live"] = 1
    account["warm_at_ns"] = assigned.effective_ns + round(assigned.warmup_s * 1e9)
    account["whole_from_ns"] = account["warm_at_ns"]
    account["accrued_at_ns"] = assigned.effective_ns
    pair.accounts[slot] = account[0]
    pair.orders[slot] = np.zeros(2, books.Order)
    pair.forecasts["z"][slot] = 0.0
    pair.desk["watch_all"] = 1
    return tuple(facts)


def move_pointer(pair: PairDesk, moved: Promoted | RolledBack) -> tuple[Event, ...]:
    """Point the capital account at another slot, unless what was promoted is gone."""
    facts: list[Event] = []
    run_due(pair, moved.effective_ns, facts)
    pair.slots_version = moved.slots_version
    known = pair.identities[moved.slot].generation
    if known != moved.generation:
        detail = f"slot {moved.slot} runs generation {known}, not {moved.generation}"
        return (*facts, refusal(pair, moved.effective_ns, "PROMOTION_GONE", detail))
    first = int(pair.desk[0]["capital_slot"]) < 0
    pair.desk[0]["capital_slot"] = moved.slot
    pair.desk["watch_all"] = 1
    if not first:
        desk_kernels.start_handover(pair.accounts, moved.effective_ns)
    return tuple(facts)


def latch(state: ExecutionState, event: Halted | Resumed) -> tuple[Event, ...]:
    """Hold back, or let go, the capital accounts: of all pairs by the latch, or of one by its own
    halt.

    Each lifts what its like put on. What locked after a drawdown is let go pair by pair. The word
    goes on the record, and a pair's way back to the orchestrator, which may have frozen it.
    """
    halted = isinstance(event, Halted)
    flatten = isinstance(event, Halted) and event.flatten
    if not event.pair:
        state.latched, state.flattening = halted, flatten
        for pair in state.pairs.values():
            hold(pair, BY_LATCH, halted, flatten)
    elif event.pair in state.pairs:
        pair = state.pairs[event.pair]
        pair.word_ns = max(pair.word_ns, event.word_ns)
        hold(pair, BY_PAIR, halted, flatten)
        if not halted:
            hold(pair, BY_MISMATCH, False, False)
            desk_kernels.unlock(pair.desk, pair.accounts)
    return (event,)


def hold(pair: PairDesk, by: int, halted: bool, flatten: bool) -> None:
    """Set or clear one reason to hold the capital account back, and one to close it."""
    desk = pair.desk[0]
    desk["halted"] = int(desk["halted"]) & ~by | (by if halted else 0)
    desk["flatten"] = int(desk["flatten"]) & ~by | (by if flatten else 0)


def halt_on_mismatch(pair: PairDesk, time_ns: int, version: int) -> tuple[Event, ...]:
    """A tick of another slot table than ours: halt the pair, say so once."""
    if int(pair.desk[0]["halted"]) & BY_MISMATCH:
        return ()
    hold(pair, BY_MISMATCH, True, False)
    detail = f"the line is at slots version {version}, execution at {pair.slots_version}"
    return (refusal(pair, time_ns, "SLOTS_VERSION", detail),)


RECORDS = "hft.records"
STAGE = Stage(
    name="execution",
    state_type=ExecutionState,
    start=start,
    step=step,
    routes={
        CapitalOrder: (RECORDS,),
        ShadowOrder: (RECORDS,),
        Fill: (RECORDS,),
        Rejected: (RECORDS,),
        BlockClosed: ("orchestrator", RECORDS),
        HandedOver: ("orchestrator", RECORDS),
        Marked: (RECORDS,),
        Halted: (RECORDS,),
        Resumed: ("orchestrator", RECORDS),
    },
)
