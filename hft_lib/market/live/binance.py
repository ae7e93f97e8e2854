"""Binance's frames and REST answers as items; the connection says which market they are of.

The payload struct is that of the recordings (`binance_ws.py`). Each function raises Unreadable with
a stable reason for what is not wholly what it should be.
"""

import contextlib
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from hft_lib.events import Depth, Instrument, Mark, Quote, Trade
from hft_lib.market.binance_ws import Levels, Payload
from hft_lib.market.imports import instrument_of
from hft_lib.market.live.items import (
    Answer,
    Closing,
    FundingNotice,
    Item,
    Listing,
    Unreadable,
    exchange_ns,
    identity,
    positive,
    price,
)
from hft_lib.market.live.symbol import CADENCE_NS_START

RATE_MAX = 1.0  # of a funding: no venue takes the whole position at once
WEIGHT_DEFAULT = 1200  # a minute, where the venue does not say: the least it ever allowed


class Frame(Payload):
    """A message of a stream, wrapped or not, or the answer to a request."""

    data: Payload | None = None
    id: int | str | None = None
    result: Any = None
    error: Any = None
    code: Any = None
    msg: Any = None


# Not strict, so that a level's two texts are read as numbers where they stand.
_decode = msgspec.json.Decoder(Frame, strict=False).decode


def parse(frame: bytes | str, time_ns: int, symbols: Mapping[str, str]) -> Item | Answer | Closing:
    """The message of a frame that came at `time_ns`; `symbols` are the unified ones by the ids."""
    try:
        read = _decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable("BROKEN_FRAME", " ".join(str(error).split())) from None
    payload = read.data or read
    if payload.e:
        return _event(payload, time_ns, symbols)
    if read.error is not None or read.code is not None:
        return Answer(_number(read.id), f"{read.error or read.msg or read.code}")
    if read.id is not None:
        return Answer(_number(read.id))
    if payload.s:
        return _quote(payload, time_ns, _symbol(payload, symbols))
    raise Unreadable("UNREAD_MESSAGE", "a message of no known kind")


def _number(value: int | str | None) -> int:
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdecimal() else 0
    return value or 0


def _event(payload: Payload, time_ns: int, symbols: Mapping[str, str]) -> Item | Answer | Closing:
    match payload.e:
        case "trade":
            return _trade(payload, time_ns, _symbol(payload, symbols))
        case "depthUpdate":
            return _depth(payload, time_ns, _symbol(payload, symbols))
        case "bookTicker":
            return _quote(payload, time_ns, _symbol(payload, symbols))
        case "markPriceUpdate":
            return _mark(payload, time_ns, _symbol(payload, symbols))
        case "serverShutdown" | "eventStreamTerminated":
            return Closing(payload.e)
        case _:
            raise Unreadable("UNREAD_MESSAGE", f"of kind {payload.e}")


def _symbol(payload: Payload, symbols: Mapping[str, str]) -> str:
    symbol = symbols.get(payload.s)
    if symbol is None:
        raise Unreadable("UNKNOWN_SYMBOL", f"{payload.s or 'none'} was not asked for")
    return symbol


def _quote(payload: Payload, time_ns: int, symbol: str) -> Quote:
    quote = Quote(
        time_ns,
        exchange_ns(payload.T or payload.E, symbol),
        symbol,
        price(payload.b, symbol),
        price(payload.B, symbol),
        price(payload.a, symbol),
        price(payload.A, symbol),
        identity(payload.u, symbol),
    )
    # An empty side has neither price nor size.
    if (quote.bid_size and not quote.bid) or (quote.ask_size and not quote.ask):
        raise Unreadable("PRICE", "a quote with a size at no price", symbol)
    return quote


def _trade(payload: Payload, time_ns: int, symbol: str) -> Trade:
    side = "sell" if payload.m else "buy"  # `m`: the buyer was the maker, so the taker sold
    return Trade(
        time_ns,
        exchange_ns(payload.T or payload.E, symbol),
        symbol,
        positive(payload.p, symbol),
        positive(payload.q, symbol),
        side,
        identity(payload.t, symbol),
    )


def _depth(payload: Payload, time_ns: int, symbol: str) -> Depth:
    first_id, last_id = identity(payload.U, symbol), identity(payload.u, symbol)
    if first_id > last_id:
        raise Unreadable("MALFORMED", f"a change from {first_id} to {last_id}", symbol)
    # Spot names no previous update: its own first follows the last one's last.
    previous_id = first_id - 1 if payload.pu is None else payload.pu
    if not 0 <= previous_id < last_id:
        raise Unreadable("MALFORMED", f"change {last_id} after {previous_id}", symbol)
    return Depth(
        time_ns,
        exchange_ns(payload.T or payload.E, symbol),
        symbol,
        False,
        first_id,
        last_id,
        previous_id,
        _levels(payload.b, symbol),
        _levels(payload.a, symbol),
    )


def _levels(levels: str | int | Levels, symbol: str) -> Levels:
    if not isinstance(levels, tuple):
        raise Unreadable("MALFORMED", "a change without its levels", symbol)
    for at, size in levels:
        if not (0.0 < at < math.inf and 0.0 <= size < math.inf):
            reason = "PRICE" if math.isfinite(at) and math.isfinite(size) else "NAN"
            raise Unreadable(reason, f"a level of {size} at {at}", symbol)
    return levels


def _mark(payload: Payload, time_ns: int, symbol: str) -> Mark | FundingNotice:
    event_ns = exchange_ns(identity(payload.E, symbol), symbol)
    mark = Mark(time_ns, event_ns, symbol, positive(payload.p, symbol))
    if not payload.r:  # a delivery contract has no funding
        return mark
    rate = price(payload.r, symbol, least=-RATE_MAX)
    if rate > RATE_MAX:
        raise Unreadable("FUNDING", f"a funding rate of {payload.r}", symbol)
    return FundingNotice(mark, rate, exchange_ns(identity(payload.T, symbol), symbol))


# --- REST ---


class _Snapshot(msgspec.Struct):
    lastUpdateId: int
    bids: Levels
    asks: Levels
    E: int = 0
    T: int = 0


class _RestTrade(msgspec.Struct):
    id: int
    price: str
    qty: str
    time: int
    isBuyerMaker: bool


class _AggregateTrade(msgspec.Struct):
    p: str
    q: str
    f: int
    l: int  # noqa: E741 - Binance's name
    T: int
    m: bool


class _Market(msgspec.Struct):
    symbol: str
    status: str = ""
    contractStatus: str = ""
    filters: list[dict[str, Any]] = []


class _RateLimit(msgspec.Struct):
    rateLimitType: str = ""
    interval: str = ""
    intervalNum: int = 1
    limit: int = 0


class _ExchangeInfo(msgspec.Struct):
    symbols: list[dict[str, Any]]
    rateLimits: list[dict[str, Any]] = []


class _ServerTime(msgspec.Struct):
    serverTime: int


def _converted(answer: object, kind: Any) -> Any:
    try:
        return msgspec.convert(answer, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Unreadable("BROKEN_ANSWER", " ".join(str(error).split())) from None


def snapshot(answer: object, time_ns: int, symbol: str) -> Depth:
    """The whole book of a `depth` answer."""
    read: _Snapshot = _converted(answer, _Snapshot)
    return Depth(
        time_ns,
        exchange_ns(read.T or read.E, symbol),
        symbol,
        True,
        0,
        identity(read.lastUpdateId, symbol),
        0,
        _levels(read.bids, symbol),
        _levels(read.asks, symbol),
    )


def trades(answer: object, time_ns: int, symbol: str) -> list[Trade]:
    """The trades of a `trades` or `historicalTrades` answer."""
    read: list[_RestTrade] = _converted(answer, list[_RestTrade])
    return [
        _rest_trade(one.id, one.price, one.qty, one.time, one.isBuyerMaker, time_ns, symbol)
        for one in read
    ]


def single_trades(answer: object, time_ns: int, symbol: str) -> list[Trade]:
    """The trades of an `aggTrades` answer whose row is one: the parts of a sum are unknown."""
    read: list[_AggregateTrade] = _converted(answer, list[_AggregateTrade])
    return [
        _rest_trade(one.f, one.p, one.q, one.T, one.m, time_ns, symbol)
        for one in read
        if one.f == one.l
    ]


def bars(answer: object, symbol: str) -> list[list[float]]:
    """The rows of a `klines` answer: open time in ms, open, high, low, close, volume."""
    rows: list[list[Any]] = _converted(answer, list[list[Any]])
    found = []
    for row in rows:
        if len(row) < 6 or not isinstance(row[0], int):
            raise Unreadable("UNREADABLE", f"a bar of {symbol} must begin with its time", symbol)
        prices = [positive(price, symbol) for price in row[1:5]]
        volume = positive(row[5], symbol) if float(row[5]) else 0.0  # a minute without a trade
        found.append([float(row[0]), *prices, volume])
    return found


def _rest_trade(
    trade_id: int, at: str, size: str, time_ms: int, buyer_made: bool, time_ns: int, symbol: str
) -> Trade:
    return Trade(
        time_ns,
        exchange_ns(time_ms, symbol),
        symbol,
        positive(at, symbol),
        positive(size, symbol),
        "sell" if buyer_made else "buy",
        identity(trade_id, symbol),
    )


def server_time_ms(answer: object) -> int:
    """The exchange's clock of a `time` answer."""
    read: _ServerTime = _converted(answer, _ServerTime)
    return identity(read.serverTime, "")


def listing(answer: object, time_ns: int, symbols: Mapping[str, str]) -> Listing:
    """The terms of `symbols` (unified by id) in an `exchangeInfo` answer."""
    read: _ExchangeInfo = _converted(answer, _ExchangeInfo)
    found: dict[str, Instrument] = {}
    halted, flaws = [], []
    for row in read.symbols:
        symbol = symbols.get(str(row.get("symbol")))
        if symbol is None:
            continue  # what another one's entry says is no matter
        try:
            market: _Market = _converted(row, _Market)
            if (market.status or market.contractStatus) != "TRADING":
                halted.append(symbol)
            found[symbol] = _instrument(market, time_ns, symbol)
        except Unreadable as error:
            flaws.append(Unreadable(error.reason, str(error), symbol))
    return Listing(found, tuple(halted), tuple(flaws), _weight_a_minute(read.rateLimits))


def _instrument(market: _Market, time_ns: int, symbol: str) -> Instrument:
    filters = {item.get("filterType"): item for item in market.filters}
    lot, ticks = filters.get("LOT_SIZE", {}), filters.get("PRICE_FILTER", {})
    least = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or {}
    known = instrument_of(
        symbol,
        time_ns,
        positive(ticks.get("tickSize"), symbol),
        positive(lot.get("stepSize"), symbol),
        CADENCE_NS_START,
    )
    notional = price(least.get("minNotional", least.get("notional", "0")), symbol)
    return msgspec.structs.replace(known, notional_min_quote=notional)


def _weight_a_minute(rows: list[dict[str, Any]]) -> int:
    limits: list[_RateLimit] = []
    for row in rows:
        with contextlib.suppress(Unreadable):  # of another kind than those read here
            limits.append(_converted(row, _RateLimit))
    found = [
        one.limit // one.intervalNum
        for one in limits
        if one.rateLimitType == "REQUEST_WEIGHT"
        and one.interval == "MINUTE"
        and one.intervalNum > 0
        and one.limit > 0
    ]
    return min(found, default=WEIGHT_DEFAULT)
