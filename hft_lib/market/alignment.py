"""The legs of a pair side by side: tops, staleness, and the grid points at which models step."""

import msgspec

from hft_lib.events import MarketEvent, PairTick
from hft_lib.market.cleaning import SymbolState


class PairState(msgspec.Struct, gc=False):
    """One pair's place on the grid."""

    pair: str
    y: str
    x: str
    grid_ns: int
    stale_cadences_max: float
    grid_index: int = 0
    slots_version: int = 0
    stale_told: bool = False


def tick(
    pair: PairState,
    y: SymbolState,
    x: SymbolState,
    leg: str,
    event: MarketEvent,
    more: bool,
) -> PairTick:
    """The pair's tick after `event`, whose symbol state is already up to date; moves the grid at a
    complete moment.
    """
    time_ns = event.time_ns
    stale = (
        y.is_one_sided
        or x.is_one_sided
        or time_ns - y.quote_ns > y.cadence_ns * pair.stale_cadences_max
        or time_ns - x.quote_ns > x.cadence_ns * pair.stale_cadences_max
    )
    steps = 0
    if not more and not stale:
        index = time_ns // pair.grid_ns
        if index > pair.grid_index:
            steps = index - pair.grid_index if pair.grid_index else 1
            pair.grid_index = index
    return PairTick(
        time_ns,
        pair.pair,
        leg,
        event,
        y.bid,
        y.bid_size,
        y.ask,
        y.ask_size,
        x.bid,
        x.bid_size,
        x.ask,
        x.ask_size,
        y.quote_ns,
        x.quote_ns,
        steps,
        pair.slots_version,
        stale,
        more,
    )
