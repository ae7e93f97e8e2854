"""What a market had before it began: a seeded past of minutes, for who fits models to it.

Backwards from its first trade the coin follows a random walk, the same for spot and perpetual; the
perpetual has a basis of its own, which comes back with a half-life of minutes.
"""

import math
from random import Random

from tests.market.listing import Key, Listing

MINUTE_MS = 60_000
MINUTES_MAX = 5 * 24 * 60
WALK, BASIS_KEEP, BASIS = 6e-4, 0.87, 6e-4  # a minute's step; half-life 5 minutes; 6 bp


def past_minutes(
    listing: Listing, price: float, began_ms: int, since_ms: int
) -> list[list[object]]:
    """Bars of whole minutes from `since_ms` to the one in which the first trade was, at `price`."""
    venue, symbol = listing.key
    last_ms = began_ms - began_ms % MINUTE_MS
    count = min((last_ms - since_ms) // MINUTE_MS, MINUTES_MAX)
    closes = _closes((venue, symbol), price, count)
    return [
        _bar(listing, last_ms - back * MINUTE_MS, closes[back], closes[back - 1])
        for back in range(count, 0, -1)
    ]


def _closes(key: Key, price: float, count: int) -> list[float]:
    """Prices backwards from the first, (count + 1,)."""
    venue, symbol = key
    walk, own = Random(f"past-{symbol}"), Random(f"basis-{symbol}")
    level, basis, found = math.log(price), 0.0, [price]
    for _ in range(count):
        level -= walk.gauss(0.0, WALK)
        basis = BASIS_KEEP * basis + own.gauss(0.0, BASIS * math.sqrt(1.0 - BASIS_KEEP**2))
        found.append(math.exp(level + (basis if venue == "usdm" else 0.0)))
    return found


def _bar(listing: Listing, opened_ms: int, opened: float, closed: float) -> list[object]:
    written = [f"{value:.8f}" for value in (opened, max(opened, closed), min(opened, closed))]
    row: list[object] = [opened_ms, *written, f"{closed:.8f}", "10.00000000"]
    return [*row, opened_ms + MINUTE_MS - 1, f"{10 * closed:.8f}", 100, "5.0", "5.0", "0"]
