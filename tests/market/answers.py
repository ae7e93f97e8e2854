"""The answers of the REST paths, from what the exchange has published."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tests.market.exchange import Exchange
from tests.market.instrument import Instrument
from tests.market.listing import Payload, Venue
from tests.market.past import MINUTE_MS, past_minutes
from tests.market.truth import Log

Query = Mapping[str, str]
UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
PERPETUAL_DEPTHS = (5, 10, 20, 50, 100, 500, 1000)
DEPTH_DEFAULT: dict[Venue, int] = {"spot": 100, "usdm": 500}
DEPTH_MAX: dict[Venue, int] = {"spot": 5000, "usdm": 1000}
ROWS_DEFAULT, ROWS_MAX = 500, 1000


class BadRequest(Exception):
    """A request that the exchange refuses: its code and message."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


def number(query: Query, name: str) -> int | None:
    """An integer parameter."""
    if name not in query:
        return None
    try:
        return int(query[name])
    except ValueError:
        raise BadRequest(-1100, f"Illegal characters found in parameter '{name}'.") from None


def rows(query: Query, default: int = ROWS_DEFAULT, largest: int = ROWS_MAX) -> int:
    """How many rows are wanted."""
    limit = number(query, "limit")
    if limit is not None and limit < 1:
        raise BadRequest(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(default if limit is None else limit, largest)


def instrument(exchange: Exchange, venue: Venue, query: Query) -> Instrument:
    """The instrument that a request names."""
    if not query.get("symbol"):
        raise BadRequest(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null.")
    found = exchange.instruments.get((venue, query["symbol"]))
    if found is None or not found.ready:
        raise BadRequest(-1121, "Invalid symbol.")
    return found


def asked_for(exchange: Exchange, venue: Venue, query: Query) -> list[Instrument]:
    """The instrument that is named, or all."""
    if query.get("symbol"):
        return [instrument(exchange, venue, query)]
    return [item for item in exchange.of(venue) if item.ready]


def one_or_all(query: Query, found: list[Any]) -> Any:
    """One object where a symbol was named, else the list."""
    return found[0] if query.get("symbol") else found


def ping(exchange: Exchange, venue: Venue, query: Query) -> Any:
    """Nothing, as the exchange says it."""
    return {}


def server_time(exchange: Exchange, venue: Venue, query: Query) -> Any:
    """The exchange's clock."""
    return {"serverTime": exchange.now_ms()}


def exchange_info(exchange: Exchange, venue: Venue, query: Query) -> Any:
    """Listings and limits."""
    limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
    told: Payload = {
        "timezone": "UTC",
        "serverTime": exchange.now_ms(),
        "rateLimits": [{**limit, "limit": exchange.budget.limits[venue]}],
        "exchangeFilters": [],
    }
    if venue == "usdm":
        told |= {"futuresType": "U_MARGINED", "assets": [{"asset": "USDT"}]}
    symbols = [item.listing.info() for item in asked_for(exchange, venue, query)]
    return {**told, "symbols": symbols}


def depth_limit(venue: Venue, query: Query) -> int:
    """How deep a snapshot is wanted; perpetuals know certain limits only."""
    limit = number(query, "limit")
    if venue == "usdm" and limit is not None and limit not in PERPETUAL_DEPTHS:
        raise BadRequest(-4021, f"{limit} is not valid depth limit.")
    return min(DEPTH_DEFAULT[venue] if limit is None else limit, DEPTH_MAX[venue])


def depth(exchange: Exchange, venue: Venue, query: Query) -> Any:
    """The book after its last depth event; a stale one where a fault says so."""
    found, limit = instrument(exchange, venue, query), depth_limit(venue, query)
    update_id, book = found.depth_id, found.shown
    for fault in exchange.named("stale_snapshot", venue):
        if fault.meets(*found.listing.key) and fault.strikes():
            ids = exchange.truth.update_ids(found.listing.key)
            update_id = ids[max(0, len(ids) - 1 - int(fault.options.get("behind", 20)))]
            book = exchange.truth.book(found.listing.key, update_id) or book
    bids, asks = book.top(limit)
    now_ms = exchange.now_ms()
    times = {} if venue == "spot" else {"E": now_ms, "T": now_ms}
    return {
        "lastUpdateId": update_id,
        **times,
        "bids": found.rows(bids),
        "asks": found.rows(asks),
    }


def trade_row(venue: Venue, trade: Payload) -> Payload:
    """A trade as REST words it."""
    digits = len(trade["q"].partition(".")[2])
    told = {
        "id": trade["t"],
        "price": trade["p"],
        "qty": trade["q"],
        "quoteQty": f"{float(trade['p']) * float(trade['q']):.{digits}f}",
        "time": trade["T"],
        "isBuyerMaker": trade["m"],
    }
    return told | ({"isBestMatch": True} if venue == "spot" else {})


def trades(exchange: Exchange, venue: Venue, query: Query) -> Any:
    """The newest trades."""
    log = exchange.truth.log("trade", instrument(exchange, venue, query).listing.key)
    return [trade_row(venue, trade) for trade in log.last(rows(query))]


def historical_trades(exchange: Exchange, venue: Venue, query: Query) -> Any:
    """Trades from an id on, else the newest."""
    log = exchange.truth.log("trade", instrument(exchange, venue, query).listing.key)
    limit = rows(query) if venue == "spot" else rows(query, 100, 500)
    first = number(query, "fromId")
    found = log.last(limit) if first is None else log.since(first, limit)
    return [trade_row(venue, trade) for trade in found]


def between(log: Log, query: Query, name: str) -> list[bytes]:
    """The payloads from `startTime` to `endTime`, by the time under this name."""

    def time(payload: bytes) -> int:
        return int(msgspec.json.decode(payload)[name])

    start, end = number(query, "startTime"), number(query, "endTime")
    low = 0 if start is None else bisect_left(log.payloads, start, key=time)
    high = None if end is None else bisect_right(log.payloads, end, key=time)
    return log.payloads[low:high]


def agg_trades(exchange: Exchange, venue: Venue, query: Query) -> Any:
    """Aggregates from an id on, or of a span of time, else the newest."""
    log = exchange.truth.log("aggTrade", instrument(exchange, venue, query).listing.key)
    limit, first = rows(query), number(query, "fromId")
    if first is not None:
        found = log.since(first, limit)
    elif "startTime" in query or "endTime" in query:
        found = [msgspec.json.decode(row) for row in between(log, query, "T")[:limit]]
    else:
        found = log.last(limit)
    return [{name: row[name] for name in "apqflTmM" if name in row} for row in found]


def interval_ms(query: Query) -> int:
    """The length of a bar."""
    text = query.get("interval", "")
    if not text[:-1].isdigit() or text[-1] not in UNITS_MS:
        raise BadRequest(-1120, "Invalid interval.")
    return int(text[:-1]) * UNITS_MS[text[-1]]


def klines(exchange: Exchange, venue: Venue, query: Query) -> Any:
    """Bars of the trades; from before the first of them, of the market's made-up past."""
    listing = instrument(exchange, venue, query).listing
    log = exchange.truth.log("trade", listing.key)
    length, bars = interval_ms(query), dict[int, list[Any]]()
    limit = rows(query)
    for payload in between(log, query, "T"):
        trade = msgspec.json.decode(payload)
        add_to_bar(bars, trade, trade["T"] - trade["T"] % length, length)
    found = [bars[opened] for opened in sorted(bars)]
    since = number(query, "startTime")
    if log.payloads and since is not None and length == MINUTE_MS:
        first = msgspec.json.decode(log.payloads[0])
        past = past_minutes(listing, float(first["p"]), first["T"], since)
        found = [*(bar for bar in past if bar[0] not in bars), *found]
    return found[:limit] if "startTime" in query else found[-limit:]


def add_to_bar(bars: dict[int, list[Any]], trade: Payload, opened: int, length: int) -> None:
    """Take a trade into the bar that it belongs to."""
    price, quantity = trade["p"], float(trade["q"])
    if opened not in bars:
        zero = "0.00000000"
        bars[opened] = [opened, price, price, price, price, zero, opened + length - 1]
        bars[opened] += [zero, 0, zero, zero, "0"]
    bar = bars[opened]
    bar[2], bar[3] = max(bar[2], price, key=float), min(bar[3], price, key=float)
    bar[4], bar[8] = price, bar[8] + 1
    bought = 0.0 if trade["m"] else quantity
    for at, more in ((5, quantity), (7, quantity * float(price)), (9, bought)):
        bar[at] = f"{float(bar[at]) + more:.8f}"
    bar[10] = f"{float(bar[10]) + bought * float(price):.8f}"


def book_ticker(exchange: Exchange, venue: Venue, query: Query) -> Any:
    """The last quotes."""
    found = []
    for item in asked_for(exchange, venue, query):
        if item.quote is None:
            continue
        names = {"b": "bidPrice", "B": "bidQty", "a": "askPrice", "A": "askQty"}
        told = {long: item.quote[short] for short, long in names.items()}
        if venue == "usdm":
            told |= {"time": item.quote["T"], "lastUpdateId": item.quote["u"]}
        found.append({"symbol": item.listing.symbol, **told})
    if query.get("symbol") and not found:
        raise BadRequest(-1121, "No quote yet.")
    return one_or_all(query, found)


def premium_index(exchange: Exchange, venue: Venue, query: Query) -> Any:
    """Marks, and what funding will be."""
    found = [
        {
            "symbol": item.listing.symbol,
            "markPrice": item.mark["p"],
            "indexPrice": item.mark["i"],
            "estimatedSettlePrice": item.mark["P"],
            "lastFundingRate": item.mark["r"],
            "interestRate": "0.00010000",
            "nextFundingTime": item.mark["T"],
            "time": item.mark["E"],
        }
        for item in asked_for(exchange, venue, query)
        if item.mark is not None
    ]
    if query.get("symbol") and not found:
        raise BadRequest(-1121, "No mark yet.")
    return one_or_all(query, found)


def funding_rate(exchange: Exchange, venue: Venue, query: Query) -> Any:
    """Fundings that were settled, oldest first."""
    found = [
        msgspec.json.decode(row)
        for item in asked_for(exchange, venue, query)
        for row in between(exchange.truth.funding[item.listing.key], query, "fundingTime")
    ]
    found.sort(key=lambda row: row["fundingTime"])
    limit = rows(query, 100)
    return found[:limit] if "startTime" in query else found[-limit:]


def funding_info(exchange: Exchange, venue: Venue, query: Query) -> Any:
    """How often funding is, and its bounds."""
    return [
        {
            "symbol": item.listing.symbol,
            "adjustedFundingRateCap": "0.02000000",
            "adjustedFundingRateFloor": "-0.02000000",
            "fundingIntervalHours": 8,
            "disclaimer": False,
        }
        for item in exchange.of("usdm")
    ]


Answer = Callable[[Exchange, Venue, Query], Any]
COMMON: dict[str, Answer] = {
    "ping": ping,
    "time": server_time,
    "exchangeInfo": exchange_info,
    "depth": depth,
    "trades": trades,
    "historicalTrades": historical_trades,
    "aggTrades": agg_trades,
    "klines": klines,
    "ticker/bookTicker": book_ticker,
}
ANSWERS: dict[Venue, dict[str, Answer]] = {
    "spot": COMMON,
    "usdm": COMMON
    | {"premiumIndex": premium_index, "fundingRate": funding_rate, "fundingInfo": funding_info},
}
