"""ccxt and ccxt.pro, as they are, take the market for Binance."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import ccxt
import pytest

from tests.market.book import Book
from tests.market.ccxt_clients import blocking, streaming
from tests.market.generated import Generated
from tests.market.listing import Key, units
from tests.market.recorded import Recorded
from tests.market.server import Market

ANSWER_S = 10.0
SYMBOLS: list[tuple[str, Key]] = [
    ("BTC/USDT", ("spot", "BTCUSDT")),
    ("ETH/USDT:USDT", ("usdm", "ETHUSDT")),
]


@pytest.fixture(scope="module")
def market() -> Iterator[Market]:
    with Market(Generated(seed=31)) as served:
        end_s = time.monotonic() + ANSWER_S
        while not all(served.ask(lambda x: x.truth.trades(key)) for _, key in SYMBOLS):
            assert time.monotonic() < end_s, "every instrument trades within seconds"
            time.sleep(0.05)
        yield served


def with_streams(market: Market, work: Callable[[Any], Awaitable[None]]) -> None:
    """Do work with a ccxt.pro client, which is closed in any case."""

    async def run() -> None:
        client = streaming(market)
        try:
            await asyncio.wait_for(work(client), ANSWER_S * 3)
        finally:
            await client.close()

    asyncio.run(run())


def true_book(market: Market, key: Key, update_id: int) -> Book:
    """The true book at an id."""
    book = market.ask(lambda exchange: exchange.truth.book(key, update_id))
    assert book is not None
    return book


def test_the_markets_load_with_their_filters(market: Market) -> None:
    markets = blocking(market).load_markets()
    assert sorted(markets) == ["BTC/USDT", "BTC/USDT:USDT", "ETH/USDT", "ETH/USDT:USDT"]
    perpetual = markets["BTC/USDT:USDT"]
    assert perpetual["swap"] and perpetual["linear"] and perpetual["active"]
    assert perpetual["precision"] == {
        "amount": 0.001,
        "price": 0.1,
        "base": 1e-8,
        "quote": 1e-8,
    }
    assert perpetual["limits"]["cost"]["min"] == 100
    assert markets["BTC/USDT"]["limits"]["cost"]["min"] == 5


@pytest.mark.parametrize(("symbol", "key"), SYMBOLS)
def test_the_blocking_client_fetches_books_trades_and_bars(
    market: Market, symbol: str, key: Key
) -> None:
    client = blocking(market)
    book = client.fetch_order_book(symbol, 20)
    true = market.ask(lambda exchange: exchange.truth.book(key, book["nonce"]))
    assert true is not None
    bids, asks = true.top(20)
    assert [units(str(price)) for price, _ in book["bids"]] == [price for price, _ in bids]
    assert [units(str(price)) for price, _ in book["asks"]] == [price for price, _ in asks]
    trades = client.fetch_trades(symbol, limit=10)
    assert trades and trades[-1]["price"] > 0
    assert client.fetch_ohlcv(symbol, "1m")[-1][4] > 0
    touch = client.fetch_bids_asks([symbol])[symbol]
    assert 0 < touch["bid"] < touch["ask"]


def test_the_blocking_client_fetches_marks_and_funding(market: Market) -> None:
    client = blocking(market)
    client.load_markets()
    rate = client.fetch_funding_rate("BTC/USDT:USDT")
    assert rate["markPrice"] > 0 and rate["fundingRate"] == 0.0001
    assert len(client.fetch_funding_rate_history("BTC/USDT:USDT")) == 5
    assert abs(client.fetch_time() - client.milliseconds()) < 5000


@pytest.mark.parametrize(("symbol", "key"), SYMBOLS)
def test_streamed_trades_are_true(market: Market, symbol: str, key: Key) -> None:
    async def watch(client: Any) -> None:
        seen: dict[int, tuple[float, float]] = {}
        while len(seen) < 5:
            for trade in await client.watch_trades(symbol):
                seen[int(trade["id"])] = trade["price"], trade["amount"]
        truth = market.ask(lambda exchange: exchange.truth.trades(key))
        assert seen == {n: (float(truth[n]["p"]), float(truth[n]["q"])) for n in seen}

    with_streams(market, watch)


@pytest.mark.parametrize(("symbol", "key"), SYMBOLS)
def test_a_streamed_book_is_true_at_each_of_its_ids(market: Market, symbol: str, key: Key) -> None:
    async def watch(client: Any) -> None:
        for _ in range(15):
            book = await client.watch_order_book(symbol)
            nonce, shown = book["nonce"], [list(row[:2]) for row in book["bids"]]
            true = true_book(market, key, nonce)
            wanted = [[price / 1e8, float(size)] for price, size in true.top(1000)[0]]
            assert shown == wanted, f"at {nonce}"

    with_streams(market, watch)


def test_quotes_and_marks_are_streamed(market: Market) -> None:
    async def watch(client: Any) -> None:
        spot = await client.watch_bids_asks(["BTC/USDT", "ETH/USDT"])
        assert all(0 < ticker["bid"] < ticker["ask"] for ticker in spot.values())
        perpetual = await client.watch_bids_asks(["BTC/USDT:USDT"])
        assert perpetual["BTC/USDT:USDT"]["info"]["e"] == "bookTicker"
        marks = await client.watch_mark_prices(["BTC/USDT:USDT"])
        assert marks["BTC/USDT:USDT"]["markPrice"] > 0

    with_streams(market, watch)


def test_a_gap_is_a_checksum_error(market: Market) -> None:
    async def watch(client: Any) -> None:
        await client.watch_order_book("BTC/USDT")
        number = await asyncio.to_thread(
            lambda: market.inject("gap", venue="spot", symbol="BTCUSDT", count=1)
        )
        with pytest.raises(ccxt.ChecksumError):
            for _ in range(20):
                await client.watch_order_book("BTC/USDT")
        assert await asyncio.to_thread(market.hits, number) == 1

    with_streams(market, watch)
    market.clear()


def test_a_ban_and_a_429_are_ddos_protection(market: Market) -> None:
    client = blocking(market)
    market.inject("too_many", venue="spot", retry_after_s=1, count=1)
    with pytest.raises(ccxt.DDoSProtection):
        client.fetch_time()
    assert client.last_response_headers["Retry-After"] == "1"
    market.ask(lambda exchange: exchange.budget.pardon("spot", "127.0.0.1"))
    assert client.fetch_time() > 0


def test_a_dropped_connection_is_a_network_error(market: Market) -> None:
    async def watch(client: Any) -> None:
        await client.watch_trades("BTC/USDT")
        # In silence it waits: a drop between two of its calls would show as nothing at all.
        silence = await asyncio.to_thread(lambda: market.inject("silence", venue="spot"))
        while True:
            waiting = asyncio.ensure_future(client.watch_trades("BTC/USDT"))
            if not (await asyncio.wait({waiting}, timeout=0.2))[0]:
                break
        await asyncio.to_thread(lambda: market.inject("drop", venue="spot"))
        with pytest.raises(ccxt.NetworkError):
            await waiting
        await asyncio.to_thread(market.clear, silence)
        assert await client.watch_trades("BTC/USDT")

    with_streams(market, watch)


def test_the_recorded_market_is_watched_at_its_own_pace(market_data: Path) -> None:
    source = Recorded(market_data, ("spot_btcusdt", "usdm_btcusdt"))
    keys: dict[str, Key] = {
        "BTC/USDT": ("spot", "BTCUSDT"),
        "BTC/USDT:USDT": ("usdm", "BTCUSDT"),
    }

    async def watch(client: Any) -> None:
        for symbol, key in keys.items():
            book = await client.watch_order_book(symbol)
            true = true_book(played, key, book["nonce"])
            assert len(book["bids"]) > 500
            best = max(true.bids)
            assert units(str(book["bids"][0][0])) == best
            trades = await client.watch_trades(symbol)
            assert 61_000 < trades[-1]["price"] < 62_500

    with Market(source) as played:
        with_streams(played, watch)
