"""Ingestion: cleans what the feed brings, aligns the legs of every pair, releases control in band.

Every accepted market event makes one `PairTick` a pair that it touches, in the order of the pairs;
every flaw makes a `Rejected`, and what a live feed refused goes on record as it is. Control waits
until the first event at or past its `effective_ns` and goes down the line before it.
"""

from typing import TypeAlias, assert_never

import msgspec

from hft_lib.events import (
    Control,
    Decided,
    Depth,
    Event,
    Funding,
    Instrument,
    Mark,
    MarketEvent,
    PairTick,
    Promoted,
    Quote,
    Rejected,
    RolledBack,
    SlotAssigned,
    TimePassed,
    Trade,
)
from hft_lib.line import LineConfig
from hft_lib.market.alignment import PairState, tick
from hft_lib.market.cleaning import SymbolState, inspect, refused
from hft_lib.stage import Stage

Input: TypeAlias = MarketEvent | TimePassed | Control | Decided | Rejected


class IngestionState(msgspec.Struct):
    """`open` names the pairs whose moment is not complete yet; `pending` holds control in the order
    of its effective times, then of its arrival.
    """

    symbols: dict[str, SymbolState]
    pairs: dict[str, PairState]
    touches: dict[str, list[str]]
    time_ns: int
    open: set[str]
    pending: list[Control]
    decided_ns: dict[str, int]
    unknown: dict[str, int]


def start(config: LineConfig) -> IngestionState:
    """No prices yet, no slots, time not begun."""
    grid_ns = config.grid_ms * 1_000_000
    pairs = {
        item.pair: PairState(item.pair, item.y, item.x, grid_ns, item.limits.stale_cadences_max)
        for item in config.pairs
    }
    symbols = sorted({leg for pair in pairs.values() for leg in (pair.y, pair.x)})
    touches = {
        symbol: [name for name, pair in pairs.items() if symbol in (pair.y, pair.x)]
        for symbol in symbols
    }
    states = {symbol: SymbolState(symbol) for symbol in symbols}
    return IngestionState(states, pairs, touches, 0, set(), [], {}, {})


def step(state: IngestionState, event: Input) -> tuple[Event, ...]:
    """Take one event of the feed or of control; time moves only with the feed's."""
    match event:
        case Quote() | Trade() | Depth() | Instrument() | Funding() | Mark():
            return take(state, event)
        case TimePassed():
            return pass_time(state, event)
        case SlotAssigned() | Promoted() | RolledBack():
            return hold(state, event)
        case Decided():
            state.decided_ns[event.pair] = event.block_end_ns
            return ()
        case Rejected():
            return (event,)
        case _:
            assert_never(event)


def take(state: IngestionState, event: MarketEvent) -> tuple[Event, ...]:
    """Release what is due, then clean and align one market event."""
    facts: list[Event] = []
    if event.time_ns < state.time_ns:
        behind_s = (state.time_ns - event.time_ns) / 1e9
        detail = f"{behind_s:.3f} s behind the line"
        return (Rejected(state.time_ns, "ingestion", "DISORDER", event.symbol, detail),)
    state.time_ns = event.time_ns
    if state.pending:
        facts.extend(release(state))
    symbol = state.symbols.get(event.symbol)
    if symbol is None:
        facts.extend(refuse_unknown(state, event))
    else:
        flaws = inspect(symbol, event)
        for flaw in flaws:
            facts.append(
                Rejected(event.time_ns, "ingestion", flaw.reason, event.symbol, flaw.detail)
            )
        if not (flaws and refused(flaws)):
            for name in state.touches[event.symbol]:
                align(state, name, event, facts)
    if state.open and not event.more:
        complete(state, event, facts)
    return tuple(facts)


def align(state: IngestionState, name: str, event: MarketEvent, facts: list[Event]) -> None:
    """Append the tick of one pair, and once an episode that one of its legs has gone stale."""
    pair = state.pairs[name]
    leg = "y" if event.symbol == pair.y else "x"
    made = tick(pair, state.symbols[pair.y], state.symbols[pair.x], leg, event, event.more)
    if made.stale != pair.stale_told:
        tell_staleness(state, pair, made, facts)
    facts.append(made)
    if event.more:
        state.open.add(name)
    else:
        state.open.discard(name)


def tell_staleness(
    state: IngestionState, pair: PairState, made: PairTick, facts: list[Event]
) -> None:
    """A leg that brought quotes and stopped is told; one that has yet to begin is waited for."""
    y_ns, x_ns = made.y_time_ns, made.x_time_ns
    if made.stale and not (y_ns and x_ns):
        return
    pair.stale_told = made.stale
    if made.stale:
        symbol = pair.y if y_ns < x_ns else pair.x
        silent_s = (made.time_ns - min(y_ns, x_ns)) / 1e9
        detail = f"{pair.pair}: last quote {silent_s:.3f} s ago"
        empty = [leg for leg in (pair.y, pair.x) if state.symbols[leg].is_one_sided]
        if empty:
            symbol, detail = empty[0], f"{pair.pair}: a side of the book is empty"
        facts.append(Rejected(made.time_ns, "ingestion", "STALE_LEG", symbol, detail))


def complete(state: IngestionState, event: MarketEvent, facts: list[Event]) -> None:
    """Close the moment for pairs whose own last event said that more would follow."""
    for name in sorted(state.open):
        pair = state.pairs[name]
        facts.append(tick(pair, state.symbols[pair.y], state.symbols[pair.x], "", event, False))
    state.open.clear()


def refuse_unknown(state: IngestionState, event: MarketEvent) -> tuple[Event, ...]:
    """A symbol of no pair is told once and counted."""
    seen = state.unknown.get(event.symbol, 0)
    state.unknown[event.symbol] = seen + 1
    if seen:
        return ()
    detail = "belongs to no pair of this line"
    return (Rejected(event.time_ns, "ingestion", "UNKNOWN_SYMBOL", event.symbol, detail),)


def pass_time(state: IngestionState, event: TimePassed) -> tuple[Event, ...]:
    """Time moved without a market event: release what is due and say so down the line."""
    if event.time_ns < state.time_ns:
        return ()
    state.time_ns = event.time_ns
    return (*release(state), event)


def hold(state: IngestionState, control: Control) -> tuple[Event, ...]:
    """Keep control until its time; where the line has already passed it, release it at once, marked
    late.
    """
    if state.time_ns > control.effective_ns:
        return (apply(state, msgspec.structs.replace(control, late=True)),)
    state.pending.append(control)
    state.pending.sort(key=lambda item: item.effective_ns)
    return ()


def release(state: IngestionState) -> list[Event]:
    """What is due at or before the line's time, in order."""
    due: list[Event] = []
    while state.pending and state.pending[0].effective_ns <= state.time_ns:
        due.append(apply(state, state.pending.pop(0)))
    return due


def apply(state: IngestionState, control: Control) -> Control:
    """Stamp the pair's ticks from here on with the version that `control` makes."""
    state.pairs[control.pair].slots_version = control.slots_version
    return control


STAGE = Stage(
    name="ingestion",
    state_type=IngestionState,
    start=start,
    step=step,
    routes={
        PairTick: ("kalman_filter",),
        TimePassed: ("kalman_filter",),
        SlotAssigned: ("kalman_filter",),
        Promoted: ("kalman_filter",),
        RolledBack: ("kalman_filter",),
        Rejected: ("hft.records",),
    },
)
