"""What is wrong with a market event, judged against what its symbol brought before.

One `SymbolState` a symbol; `inspect` returns the flaws of an event and, where none of them refuses
it, takes the event into the state. Nothing is buffered: what comes late is refused as disorder.

An id that is nowhere near the last one is a corrupt frame rather than news, and must not make all
that follow late: it is refused, and believed only when the next one goes on from it.
"""

import math
from typing import TypeVar, assert_never

import msgspec

from hft_lib.events import Depth, Funding, Instrument, Mark, MarketEvent, Quote, Trade

CLOCK_JUMP_NS_MAX = (
    5_000_000_000  # a step of the receive clock against the exchange's beyond this is a jump
)
# A trade that is told so much later than others was filled in after an outage, and says nothing of
# a clock. Filling in takes less than the most: where all trades are late for longer, the clock is.
LATE_NS = 1_000_000_000
LATE_NS_MAX = 60_000_000_000
REGULAR_CADENCE_NS = 1_000_000_000  # at or above it quotes come on a grid: one missing is a gap
REGULAR_GAP_CADENCES = 1.5
IRREGULAR_GAP_CADENCES = 10.0
CADENCE_NS_DEFAULT = 1_000_000_000
# What ids move by at most in a second. Those of quotes and books may be shared by all symbols: half
# a million between two messages of one was recorded. Those of trades are consecutive.
UPDATES_A_SECOND_MAX = 5_000_000
TRADES_A_SECOND_MAX = 100_000
SHORTS = ("none", "borrow", "perp")


class Flaw(msgspec.Struct, frozen=True, gc=False):
    """One thing wrong with an event; a flaw that does not refuse is told and the event is used."""

    reason: str
    detail: str
    refuses: bool = True


class Doubt(msgspec.Struct, gc=False):
    """What is doubted of a sequence of ids: the last far one, and the first where none followed."""

    suspect: int = 0
    time_ns: int = 0
    is_sure: bool = False


class SymbolState(msgspec.Struct, gc=False):
    """What is known of one symbol: its last top, its sequences, its clock, its cadence.

    `is_one_sided` says that a side of the book is empty now: what was the top is no more.
    `late_since_ns` is when the first came of trades that are late without a break (0: none is).
    `trade_exchange_ns` is the exchange's time of the trade `trade_id`.
    """

    symbol: str
    bid: float = 0.0
    bid_size: float = 0.0
    ask: float = 0.0
    ask_size: float = 0.0
    quote_ns: int = 0
    quote_exchange_ns: int = 0
    update_id: int = 0
    trade_id: int = 0
    depth_id: int = 0
    update_doubt: Doubt = msgspec.field(default_factory=Doubt)
    trade_doubt: Doubt = msgspec.field(default_factory=Doubt)
    depth_doubt: Doubt = msgspec.field(default_factory=Doubt)
    clock_offset_ns: int | None = None
    cadence_ns: int = CADENCE_NS_DEFAULT
    gap_ns: int = int(CADENCE_NS_DEFAULT * REGULAR_GAP_CADENCES)
    is_one_sided: bool = False
    late_since_ns: int = 0
    trade_exchange_ns: int = 0


CLEAN: tuple[Flaw, ...] = ()


def inspect(state: SymbolState, event: MarketEvent) -> tuple[Flaw, ...]:
    """The flaws of `event`; it is taken into `state` unless one of them refuses."""
    match event:
        case Quote():
            return _inspect_quote(state, event)
        case Trade():
            return _inspect_trade(state, event)
        case Depth():
            return _inspect_depth(state, event)
        case Instrument():
            return _inspect_instrument(state, event)
        case Funding():
            return _refuse_unless(math.isfinite(event.rate), "NAN", f"rate {event.rate}")
        case Mark():
            return _refuse_unless(0.0 < event.price < math.inf, "PRICE", f"price {event.price}")
        case _:
            assert_never(event)


def refused(flaws: tuple[Flaw, ...]) -> bool:
    """Whether one of `flaws` keeps the event out."""
    return any(flaw.refuses for flaw in flaws)


def _inspect_quote(state: SymbolState, quote: Quote) -> tuple[Flaw, ...]:
    bid, ask = quote.bid, quote.ask
    if not (
        0.0 < bid <= ask < math.inf
        and 0.0 <= quote.bid_size < math.inf
        and 0.0 <= quote.ask_size < math.inf
    ):
        if _is_one_sided(quote) and (not state.quote_ns or _order_flaw(state, quote) is None):
            state.is_one_sided = True
        return (_price_flaw(quote),)
    if state.quote_ns:
        flaw = _order_flaw(state, quote)
        if flaw is not None:
            return (flaw,)
    flaws = _clock_flaws(state, quote)
    if flaws:
        return flaws
    if state.quote_ns and quote.time_ns - state.quote_ns > state.gap_ns:
        gap_s = (quote.time_ns - state.quote_ns) / 1e9
        flaws = (Flaw("GAP", f"{gap_s:.3f} s without a quote", refuses=False),)
    state.bid, state.bid_size, state.ask, state.ask_size = bid, quote.bid_size, ask, quote.ask_size
    state.quote_ns = quote.time_ns
    state.is_one_sided = False
    state.quote_exchange_ns = quote.exchange_time_ns
    if quote.update_id:
        _believe(state.update_doubt, state.update_id, quote.time_ns)
        state.update_id = quote.update_id
    return flaws


def _is_one_sided(quote: Quote) -> bool:
    """Whether a side has neither price nor size, as venues tell an empty one."""
    return quote.bid == quote.bid_size == 0.0 or quote.ask == quote.ask_size == 0.0


def _price_flaw(quote: Quote) -> Flaw:
    values = (quote.bid, quote.bid_size, quote.ask, quote.ask_size)
    detail = "bid {} x {}, ask {} x {}".format(*values)
    if any(math.isnan(value) or math.isinf(value) for value in values):
        return Flaw("NAN", detail)
    if quote.bid > quote.ask > 0.0:
        return Flaw("CROSSED", detail)
    return Flaw("PRICE", detail)


def _order_flaw(state: SymbolState, quote: Quote) -> Flaw | None:
    if quote.update_id:
        last, doubt, most = state.update_id, state.update_doubt, UPDATES_A_SECOND_MAX
        return _id_flaw(doubt, last, quote.update_id, quote.time_ns, most, "update")
    if not quote.exchange_time_ns:
        return None
    if quote.exchange_time_ns < state.quote_exchange_ns:
        late_s = (state.quote_exchange_ns - quote.exchange_time_ns) / 1e9
        return Flaw("DISORDER", f"{late_s:.3f} s behind the last quote")
    if quote.exchange_time_ns == state.quote_exchange_ns and _same_top(state, quote):
        return Flaw("DUPLICATE", f"the quote of {quote.exchange_time_ns} again")
    return None


def _id_flaw(
    doubt: Doubt, last: int, new: int, time_ns: int, a_second_max: int, what: str
) -> Flaw | None:
    """What is wrong with `new` after `last` (0: the first); None where it is the next."""
    suspect, doubt.suspect = doubt.suspect, 0
    if new == last:
        return Flaw("DUPLICATE", f"{what} {new}")
    reach = a_second_max * max((time_ns - doubt.time_ns) / 1e9, 1.0)
    if not last or 0 < new - last <= reach:
        return None
    follows = suspect and 0 < new - suspect <= a_second_max
    if new > last:
        if follows:
            return None
        doubt.suspect = new
        return Flaw("ID_JUMP", f"{what} {new} after {last}")
    if not doubt.is_sure and last - new > a_second_max:  # the first one may have been corrupt
        if follows:
            return None
        doubt.suspect = new
    return Flaw("DISORDER", f"{what} {new} after {last}")


def _believe(doubt: Doubt, last: int, time_ns: int) -> None:
    """An id was taken after `last` (0: it is the first, and may itself be the corrupt one)."""
    doubt.is_sure, doubt.time_ns = last > 0, time_ns


def _same_top(state: SymbolState, quote: Quote) -> bool:
    return (state.bid, state.bid_size, state.ask, state.ask_size) == (
        quote.bid,
        quote.bid_size,
        quote.ask,
        quote.ask_size,
    )


Timed = TypeVar("Timed", Quote, Trade, Depth)


def _clock_flaws(state: SymbolState, event: Timed) -> tuple[Flaw, ...]:
    """A jump of the receive clock refuses one event and is then the new offset."""
    if not event.exchange_time_ns:
        return CLEAN
    offset_ns = event.time_ns - event.exchange_time_ns
    known_ns, state.clock_offset_ns = state.clock_offset_ns, offset_ns
    if known_ns is None or abs(offset_ns - known_ns) <= CLOCK_JUMP_NS_MAX:
        return CLEAN
    return (Flaw("CLOCK_JUMP", f"{(offset_ns - known_ns) / 1e9:+.3f} s against the exchange"),)


def _inspect_trade(state: SymbolState, trade: Trade) -> tuple[Flaw, ...]:
    if not (0.0 < trade.price < math.inf and 0.0 < trade.size < math.inf):
        finite = math.isfinite(trade.price) and math.isfinite(trade.size)
        return (Flaw("PRICE" if finite else "NAN", f"price {trade.price} x {trade.size}"),)
    last, doubt, most = state.trade_id, state.trade_doubt, TRADES_A_SECOND_MAX
    if trade.trade_id:
        flaw = _id_flaw(doubt, last, trade.trade_id, trade.time_ns, most, "trade")
        if flaw is not None:
            return (flaw,)
    flaws = _lateness_flaws(state, trade)
    if not trade.trade_id:
        return flaws
    # It came in its turn, whatever the clock: it is not missing.
    _believe(doubt, last, trade.time_ns)
    state.trade_id, state.trade_exchange_ns = trade.trade_id, trade.exchange_time_ns
    if last and trade.trade_id > last + 1:
        missing = trade.trade_id - last - 1
        gap = Flaw("GAP", f"{missing} trades missing before {trade.trade_id}", refuses=False)
        return (gap, *flaws)
    return flaws


def _lateness_flaws(state: SymbolState, trade: Trade) -> tuple[Flaw, ...]:
    """What a trade says of the clocks: that it is late is no flaw, unless all are for long."""
    known_ns, offset_ns = state.clock_offset_ns, trade.time_ns - trade.exchange_time_ns
    if known_ns is None or not trade.exchange_time_ns or offset_ns - known_ns <= LATE_NS:
        state.late_since_ns = 0
        return _clock_flaws(state, trade)
    state.late_since_ns = state.late_since_ns or trade.time_ns
    if trade.time_ns - state.late_since_ns <= LATE_NS_MAX:
        return CLEAN
    state.late_since_ns = 0
    return _clock_flaws(state, trade)


def _inspect_depth(state: SymbolState, depth: Depth) -> tuple[Flaw, ...]:
    if any(
        not (0.0 < price < math.inf and 0.0 <= size < math.inf)
        for side in (depth.bids, depth.asks)
        for price, size in side
    ):
        return (Flaw("PRICE", f"a level of update {depth.last_id} has no price or size"),)
    doubt, most = state.depth_doubt, UPDATES_A_SECOND_MAX
    if depth.snapshot:
        _believe(doubt, 0, depth.time_ns)
        state.depth_id = depth.last_id
        return CLEAN
    last = state.depth_id
    flaw = _id_flaw(doubt, last, depth.last_id, depth.time_ns, most, "depth update")
    if flaw is not None:
        return (flaw,)
    _believe(doubt, last, depth.time_ns)
    state.depth_id = depth.last_id
    if last and depth.previous_id > last:
        return (Flaw("GAP", f"depth updates {last} to {depth.previous_id} missing", refuses=False),)
    return CLEAN


def _inspect_instrument(state: SymbolState, instrument: Instrument) -> tuple[Flaw, ...]:
    wrong = _wrong_terms(instrument)
    if wrong:
        return (Flaw("INSTRUMENT", wrong),)
    state.cadence_ns = instrument.cadence_ns
    regular = instrument.cadence_ns >= REGULAR_CADENCE_NS
    cadences = REGULAR_GAP_CADENCES if regular else IRREGULAR_GAP_CADENCES
    state.gap_ns = int(instrument.cadence_ns * cadences)
    return CLEAN


def _wrong_terms(instrument: Instrument) -> str:
    """The first of the terms that nothing can be traded on, empty where all can."""
    if not instrument.cadence_ns > 0:
        return f"cadence_ns {instrument.cadence_ns}"
    if not 0.0 < instrument.quantity_step < math.inf:
        return f"quantity_step {instrument.quantity_step}"
    if instrument.short not in SHORTS:
        return f"short {instrument.short}"
    for name in ("taker_fee_rate", "maker_fee_rate", "borrow_rate_annual", "notional_min_quote"):
        if not math.isfinite(getattr(instrument, name)):
            return f"{name} {getattr(instrument, name)}"
    return ""


def _refuse_unless(holds: bool, reason: str, detail: str) -> tuple[Flaw, ...]:
    return CLEAN if holds else (Flaw(reason, detail),)
