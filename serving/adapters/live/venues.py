"""The venues whose market data can be fed, by their names."""

from collections.abc import Callable, Sequence

import msgspec

from serving.adapters.live.gate import Gate
from serving.adapters.live.venue import Venue
from serving.runtime.settings import Settings

BINANCE, KRAKEN = "binance", "kraken"


class Known(msgspec.Struct, frozen=True):
    """How a venue is made, and which address its requests go to where that is not its own."""

    make: Callable[[Settings, Sequence[str], Gate], Venue]
    rest_url: Callable[[Settings], str | None]


def _binance(settings: Settings, symbols: Sequence[str], gate: Gate) -> Venue:
    # Each is imported here alone, because ccxt is a hundred megabytes.
    from serving.adapters.live.binance import BinanceVenue

    return BinanceVenue(settings, symbols, gate)


def _kraken(settings: Settings, symbols: Sequence[str], gate: Gate) -> Venue:
    from serving.adapters.live.kraken import KrakenVenue

    return KrakenVenue(settings, symbols, gate)


VENUES = {
    BINANCE: Known(_binance, lambda settings: settings.binance_rest_url),
    KRAKEN: Known(_kraken, lambda settings: settings.kraken_rest_url),
}
