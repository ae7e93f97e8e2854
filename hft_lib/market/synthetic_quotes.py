"""What a made-up market shows: instruments, quotes, thin tops, planted flaws, fundings."""

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from hft_lib.events import Funding, Instrument, Mark, MarketEvent, Quote
from hft_lib.market.synthetic_paths import SyntheticMarket, Times, Vector

BLOCK_ROWS = 16_384


class Quotes(msgspec.Struct):
    """Rows of both legs in time order: leg 0 is x and precedes leg 1 at one time."""

    time_ns: Times
    exchange_time_ns: Times
    leg: npt.NDArray[np.int64]
    bid: Vector
    bid_size: Vector
    ask: Vector
    ask_size: Vector
    update_id: npt.NDArray[np.int64]

    def take(self, rows: npt.NDArray[np.int64]) -> "Quotes":
        """The chosen rows, in the order chosen."""
        return Quotes(*(getattr(self, name)[rows] for name in self.__struct_fields__))


def quotes(
    random: np.random.Generator,
    market: SyntheticMarket,
    paths: dict[str, Any],
    time_ns: Times,
    outages: list[tuple[int, int]],
) -> Quotes:
    """The rows of both legs at `time_ns` (steps,), none of them inside an outage."""
    step, leg = _quoted(random, market, time_ns, outages)
    logs = np.where(leg == 0, paths["x_log_price"][step], paths["y_log_price"][step])
    bid, ask = _prices(market, np.exp(logs), paths["half_quoted_spread_bp"][step])
    times = time_ns[step]
    delay_ns = 1e6 * market.latency_ms_mean * random.standard_exponential(len(step))
    return Quotes(
        time_ns=times,
        exchange_time_ns=times - delay_ns.astype(np.int64),
        leg=leg,
        bid=bid,
        bid_size=_sizes(random, market, len(step)),
        ask=ask,
        ask_size=_sizes(random, market, len(step)),
        update_id=np.arange(1, len(step) + 1),
    )


def _quoted(
    random: np.random.Generator,
    market: SyntheticMarket,
    time_ns: Times,
    outages: list[tuple[int, int]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which step and leg each quote shows, without those that fall in an outage."""
    up = np.ones(len(time_ns), np.bool_)
    for start, end in outages:
        up[np.searchsorted(time_ns, start) : np.searchsorted(time_ns, end)] = False
    steps = np.flatnonzero(up)
    if market.irregular:
        return steps, random.integers(0, 2, len(steps))
    return np.repeat(steps, 2), np.tile(np.array([0, 1]), len(steps))


def _prices(market: SyntheticMarket, mid: Vector, half_spread_bp: Vector) -> tuple[Vector, Vector]:
    """Bid and ask on the tick, at least a tick apart.

    Rounding hides the last bit, in which the exp of different machines differs.
    """
    per_unit = 1.0 / market.price_tick
    half = mid * half_spread_bp * 1e-4
    bid_ticks = np.rint((mid - half) * per_unit)
    ask_ticks = np.maximum(np.rint((mid + half) * per_unit), bid_ticks + 1.0)
    return _on_grid(bid_ticks, market.price_tick), _on_grid(ask_ticks, market.price_tick)


def _on_grid(steps: Vector, step: float) -> Vector:
    decimals = max(-math.floor(math.log10(step)), 0)
    return np.round(steps * step, decimals)


def _sizes(random: np.random.Generator, market: SyntheticMarket, count: int) -> Vector:
    """Ample log-normal sizes, with now and then a thin top that fills an order in part only."""
    sizes = market.size_median * np.exp(market.size_log_sd * random.standard_normal(count))
    thin = random.random(count) < market.thin_probability
    sizes = np.where(thin, market.thin_size * (0.1 + random.random(count)), sizes)
    return _on_grid(np.maximum(np.rint(sizes / market.quantity_step), 1.0), market.quantity_step)


def plant_flaws(
    random: np.random.Generator, market: SyntheticMarket, quotes: Quotes
) -> dict[str, int]:
    """Spoil a few quotes: cross them, lose a price, send them twice; tells how many of each."""
    count = len(quotes.time_ns)
    wrong = min(int(round(market.flaws_per_day * market.days)), count // 8)
    rows = np.sort(random.choice(np.arange(4, max(count, 5)), size=wrong, replace=False))
    crossed, lost, twice = (rows[start::3] for start in range(3))
    quotes.bid[crossed], quotes.ask[crossed] = quotes.ask[crossed], quotes.bid[crossed].copy()
    quotes.bid[lost] = np.nan
    repeated = np.sort(np.concatenate((np.arange(count), twice)))
    for name in quotes.__struct_fields__:
        setattr(quotes, name, getattr(quotes, name)[repeated])
    return {"crossed": len(crossed), "not_a_number": len(lost), "duplicate": len(twice)}


def instruments(market: SyntheticMarket) -> list[MarketEvent]:
    """Both legs at the market's start; the spot can be borrowed: both directions can trade."""

    def instrument(symbol: str, kind: str, short: str, borrow_rate_annual: float) -> Instrument:
        return Instrument(
            time_ns=market.start_ns,
            symbol=symbol,
            kind=kind,
            short=short,
            borrow_rate_annual=borrow_rate_annual,
            taker_fee_rate=market.taker_fee_rate,
            maker_fee_rate=market.maker_fee_rate,
            price_tick=market.price_tick,
            quantity_step=market.quantity_step,
            notional_min_quote=5.0,
            cadence_ns=round(market.step_s * 1e9) * (2 if market.irregular else 1),
        )

    return [
        instrument(market.x_symbol, "spot", "borrow", market.borrow_rate_annual),
        instrument(market.y_symbol, "perp", "perp", 0.0),
    ]


def fundings(
    random: np.random.Generator,
    market: SyntheticMarket,
    paths: dict[str, Any],
    time_ns: Times,
) -> list[MarketEvent]:
    """The perpetual's mark price and funding at each due time, whether quotes come or not."""
    period_ns = round(market.funding_hours * 3.6e12)
    due = np.arange(market.start_ns // period_ns + 1, int(time_ns[-1]) // period_ns + 1) * period_ns
    rates = market.funding_rate_mean + market.funding_rate_sd * random.standard_normal(len(due))
    rows = np.searchsorted(time_ns, due, side="right") - 1
    marks = np.round(np.exp(paths["y_log_price"][np.maximum(rows, 0)]), 6)
    events: list[MarketEvent] = []
    for time, rate, mark in zip(due.tolist(), np.round(rates, 8).tolist(), marks.tolist()):
        events.append(Mark(time, time, market.y_symbol, mark))
        events.append(Funding(time, time, market.y_symbol, rate))
    return events


def events(
    quotes: Quotes, symbols: tuple[str, str], special: list[MarketEvent]
) -> Iterator[MarketEvent]:
    """The quotes with `special` between them, each before the quotes of its time."""
    start = 0
    for event in special:
        end = int(np.searchsorted(quotes.time_ns, event.time_ns))
        yield from _quote_events(quotes, symbols, start, end)
        yield event
        start = end
    yield from _quote_events(quotes, symbols, start, len(quotes.time_ns))


def _quote_events(
    quotes: Quotes, symbols: tuple[str, str], start: int, end: int
) -> Iterator[Quote]:
    names = np.array(symbols, object)
    for first in range(start, end, BLOCK_ROWS):
        rows = slice(first, min(first + BLOCK_ROWS, end))
        yield from map(
            Quote,
            quotes.time_ns[rows].tolist(),
            quotes.exchange_time_ns[rows].tolist(),
            names[quotes.leg[rows]].tolist(),
            quotes.bid[rows].tolist(),
            quotes.bid_size[rows].tolist(),
            quotes.ask[rows].tolist(),
            quotes.ask_size[rows].tolist(),
            quotes.update_id[rows].tolist(),
        )
