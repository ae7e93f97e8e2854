"""Recorded REST answers and documents of Binance through the live parsers: each is read, or is
named among those that nothing here needs.
"""

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hft_lib.events import Depth, Quote, Rejected, Trade
from hft_lib.market.live import binance
from hft_lib.market.live.items import FundingNotice, Listing, Unreadable
from hft_lib.market.live.symbol import SymbolFeed

T0 = 1_700_000_000 * 10**9

# What a document is read as, by its name, and how many of it there are in it.
READ: tuple[tuple[str, Callable[[Any], Any], type, int], ...] = (
    (r"(spot_market_depth|depth_response)", lambda d: binance.snapshot(d, T0, "S"), Depth, 2),
    (r"futures_market_depth", lambda d: binance.snapshot(d, T0, "S"), Depth, 1),
    (r"market_(historical_)?trades|^trades_response", lambda d: trades(d), Trade, 5),
    (r"market_agg_trades", lambda d: binance.single_trades(d, T0, "S"), Trade, 2),
    (r"market_(\w+_)?klines|blvt_nav_kline|^klines_response", lambda d: bars(d), list, 7),
    (r"exchange_info", lambda d: binance.listing(d, T0, Everything()), Listing, 3),
    (r"market_time|server_time", lambda d: binance.server_time_ms(d), int, 2),
    (r"^(ws_futures_|ws_spot_|)trade(_stream)?\.", lambda d: stream(d), Trade, 2),
    (r"book_ticker_stream|ws_futures_book_ticker|ticker_book", lambda d: stream(d), Quote, 3),
    (r"depth_(diff_)?update", lambda d: stream(d), Depth, 3),
    (r"mark_price_stream", lambda d: stream(d), FundingNotice, 1),
)
# What nothing here needs, and why.
UNREAD = {
    "account and orders, which live trading will read": (
        r"account|order|execution_report|position|balance|algo_update|trade_lite|list_status"
        r"|commission_rate|trading_fee|web_socket_response|manifest|outbound"
    ),
    "sums of trades, of which the single ones are taken": r"agg_trade(_stream)?\.",
    "bars of a stream: they are made of trades, or asked for": r"kline_stream",
    "statistics of a day and of others' positions": (
        r"ticker_24hr|ticker_stream|ratio|open_interest|liquidation|avg_price"
        r"|index_info|asset_index"
    ),
    "the top at one moment: the stream has all": r"http_\w+_book_ticker|^book_ticker_response",
    "a last price, without size or side": r"ticker_price",
    "mark price and past funding: the stream tells both": r"premium_index|funding_rate",
    "a word that the venue is there": r"ping",
}


class Everything(dict[str, str]):
    """Every symbol was asked for."""

    def get(self, key: str, default: Any = None) -> Any:
        return f"{key}/X" if key else default


def trades(document: Any) -> list[Trade]:
    return binance.trades(document, T0, "S")


def bars(document: Any) -> list[list[float]]:
    return binance.bars(document, "S")


def stream(document: Any) -> Any:
    return binance.parse(json.dumps(document), T0, Everything())


def documents(market_data: Path) -> list[Path]:
    return sorted((market_data / "payloads_nautilus_binance").rglob("*.json"))


def matching(path: Path) -> list[int]:
    return [n for n, (pattern, *_) in enumerate(READ) if re.search(pattern, path.name)]


def test_each_document_of_market_data_is_read(market_data: Path):
    found: Counter[int] = Counter()
    for path in documents(market_data):
        if skipped(path):
            continue
        (number,) = matching(path)
        _, read, kind, _ = READ[number]
        made = read(json.loads(path.read_bytes()))
        parts = made if isinstance(made, list) else [made]
        assert parts and all(isinstance(one, kind) for one in parts), path
        found[number] += 1
    assert found == {number: count for number, (*_, count) in enumerate(READ)}


def skipped(path: Path) -> list[str]:
    """Why the document is not read; empty where it is."""
    whys = [why for why, pattern in UNREAD.items() if re.search(pattern, path.name)]
    return [] if matching(path) else whys or ["?"]


def test_each_document_that_is_not_read_has_its_reason_and_is_refused(market_data: Path):
    reasons: Counter[str] = Counter()
    for path in documents(market_data):
        whys = skipped(path)
        if not whys:
            continue
        assert whys != ["?"], f"{path} is neither read nor named"
        reasons[whys[0]] += 1
        with pytest.raises(Unreadable):
            stream(json.loads(path.read_bytes()))
    assert set(reasons) == set(UNREAD)


def answers(path: Path) -> Iterator[tuple[str, int, Any]]:
    """Address, receive time in ns and document of each recorded answer."""
    with gzip.open(path, "rt") as file:
        for line in file:
            address, found, rest = line.partition(" -> ")
            time_s, _, text = rest.partition(": ")
            if found:
                yield address, int(float(time_s) * 1e9), json.loads(text)


@pytest.mark.parametrize(
    ("name", "symbols", "halted", "weight"),
    [("BINANCE", 1695, 433, 1200), ("BINANCE_FUTURES", 122, 1, 2400)],
)
def test_each_recorded_instrument_has_its_filters(
    market_data: Path, name: str, symbols: int, halted: int, weight: int
):
    ((_, time_ns, answer),) = answers(market_data / "payloads_cryptofeed" / f"{name}.0.gz")
    read = binance.listing(answer, time_ns, Everything())
    assert (len(read.instruments), len(read.halted)) == (symbols, halted)
    assert read.flaws == () and read.weight_a_minute == weight
    for market in answer["symbols"]:
        filters = {one["filterType"]: one for one in market["filters"]}
        made = read.instruments[f"{market['symbol']}/X"]
        least = filters["MIN_NOTIONAL"]
        assert made.price_tick == float(filters["PRICE_FILTER"]["tickSize"])
        assert made.quantity_step == float(filters["LOT_SIZE"]["stepSize"])
        assert made.notional_min_quote == float(least.get("minNotional", least.get("notional")))


@pytest.mark.parametrize("name", ["BINANCE", "BINANCE_FUTURES"])
def test_recorded_snapshots_are_continued_by_the_recorded_stream(market_data: Path, name: str):
    folder = market_data / "payloads_cryptofeed"
    feeds: dict[str, SymbolFeed] = {}
    came: list[tuple[int, str, Any]] = []
    for address, time_ns, answer in answers(folder / f"{name}.http.0.0.gz"):
        symbol = address.partition("symbol=")[2].partition("&")[0]
        feeds[symbol] = SymbolFeed(symbol)
        came.append((time_ns, symbol, answer))
    assert len(feeds) == 4
    with gzip.open(folder / f"{name}.ws.1.0.gz", "rt") as file:
        for line in file:
            time_s, found, text = line.partition(": ")
            if found and time_s.replace(".", "", 1).isdecimal():
                came.append((int(float(time_s) * 1e9), "", text))
    told: Counter[str] = Counter()
    for time_ns, symbol, content in sorted(came, key=lambda one: one[0]):
        for fact in _facts(feeds, time_ns, symbol, content):
            told[fact.reason if isinstance(fact, Rejected) else type(fact).__name__] += 1
    assert told["Depth"] > 100 and told["Quote"] > 80
    assert set(told) <= {"Depth", "Quote", "Mark"}, told
    assert sum(feed.book.is_synced for feed in feeds.values()) >= 3


def _facts(feeds: dict[str, SymbolFeed], time_ns: int, symbol: str, content: Any) -> list[Any]:
    if symbol:
        return feeds[symbol].book.restore(binance.snapshot(content, time_ns, symbol))
    try:
        item = binance.parse(content, time_ns, {name: name for name in feeds})
    except Unreadable as error:
        assert error.reason in ("UNREAD_MESSAGE", "UNKNOWN_SYMBOL"), error
        return []
    if isinstance(item, FundingNotice):
        return feeds[item.mark.symbol].take(item)
    assert isinstance(item, Depth | Quote | Trade)
    return feeds[item.symbol].take(item)
