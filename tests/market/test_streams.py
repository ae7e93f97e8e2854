"""The market's streams: paths, forms, subscriptions, what each carries, a connection's limits."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.market.clients import RAW, Listener, listening, step
from tests.market.exchange import Exchange
from tests.market.generated import Generated
from tests.market.listing import VENUES, Venue
from tests.market.server import Market
from tests.market.streams import placed


@pytest.fixture(scope="module")
def market() -> Iterator[Market]:
    with Market(Generated(seed=5), stepwise=True) as served:
        yield served


@pytest.mark.parametrize(
    ("path", "venue", "combined", "streams"),
    [
        ("/stream", "spot", True, []),
        ("/stream/ws", "spot", False, []),
        ("/stream/ws/0", "spot", False, []),
        ("/stream/ws/btcusdt@trade", "spot", False, ["btcusdt@trade"]),
        ("/ws", "usdm", False, []),
        ("/ws/3", "usdm", False, []),
        ("/ws/btcusdt@depth@100ms", "usdm", False, ["btcusdt@depth@100ms"]),
        ("/public/ws/0", "usdm", False, []),
        ("/market/ws/0", "usdm", False, []),
        ("/public/stream", "usdm", True, []),
        ("/fapi/stream", "usdm", True, []),
        ("/market/ws/!markPrice@arr@1s", "usdm", False, ["!markPrice@arr@1s"]),
    ],
)
def test_a_path_says_market_form_and_streams(
    path: str, venue: Venue, combined: bool, streams: list[str]
) -> None:
    assert placed(path) == (venue, combined, streams)


async def heard(market: Market, path: str, *streams: str, ticks: int = 400) -> Listener:
    """What a connection hears over some ticks."""
    async with listening(market, path, *streams) as listener:
        await step(market, ticks)
        await listener.settled(market)
        return listener


@pytest.mark.parametrize("venue", VENUES)
def test_every_trade_and_quote_comes_in_order_as_it_is_true(market: Market, venue: Venue) -> None:
    streams = ("btcusdt@trade", "btcusdt@bookTicker", "btcusdt@aggTrade")
    listener = asyncio.run(heard(market, RAW[venue], *streams))
    truth = market.ask(lambda exchange: exchange.truth)
    trades, quotes = listener.events("trade"), listener.events("bookTicker")
    assert len(trades) > 10 and len(quotes) > 5 and listener.events("aggTrade")
    assert trades == truth.log("trade", (venue, "BTCUSDT")).since(trades[0]["t"], len(trades))
    assert [quote["u"] for quote in quotes] == sorted(quote["u"] for quote in quotes)
    for quote in quotes:
        assert quote in truth.log("quote", (venue, "BTCUSDT")).since(quote["u"], 5)


def test_messages_have_the_fields_of_their_market(market: Market) -> None:
    streams = ("btcusdt@trade", "btcusdt@bookTicker", "btcusdt@depth@100ms")
    spot = asyncio.run(heard(market, "/stream/ws", *streams))
    perpetual = asyncio.run(heard(market, "/ws", *streams, "btcusdt@markPrice@1s", ticks=1200))
    assert set(spot.events("bookTicker")[0]) == set("usbBaA")
    assert set(perpetual.events("bookTicker")[0]) == set("eusbBaATE")
    assert set(spot.events("depthUpdate")[0]) == set("eEsUuba")
    assert set(perpetual.events("depthUpdate")[0]) == {*"eETsUuba", "pu"}
    assert set(spot.events("trade")[0]) == set("eETstpqmM")
    assert set(perpetual.events("trade")[0]) == set("eETstpqXm")
    assert {*"eEspiPrT"} <= set(perpetual.events("markPriceUpdate")[0])


def test_marks_come_each_second_and_as_an_array(market: Market) -> None:
    async def hear() -> tuple[Listener, int]:
        async with listening(market, "/market/ws", "!markPrice@arr@1s") as listener:
            before = market.time_of_source()
            await step(market, 2000)
            await listener.settled(market)
            return listener, market.time_of_source() - before

    listener, passed_ns = asyncio.run(hear())
    arrays = [message for message in listener.messages if isinstance(message, list)]
    assert abs(len(arrays) - passed_ns / 1e9) <= 1 and len(arrays) >= 3
    assert {row["s"] for row in arrays[0]} == {"BTCUSDT", "ETHUSDT"}


@pytest.mark.parametrize("path", ["/stream", "/public/stream"])
def test_a_combined_connection_wraps_each_message(market: Market, path: str) -> None:
    listener = asyncio.run(heard(market, path + "?streams=btcusdt@trade/ethusdt@trade"))
    wrapped = [message for message in listener.messages if "id" not in message]
    assert {message["stream"] for message in wrapped} == {"btcusdt@trade", "ethusdt@trade"}
    for message in wrapped:
        assert message["data"]["s"].lower() + "@trade" == message["stream"]


def test_a_raw_path_subscribes_by_itself(market: Market) -> None:
    listener = asyncio.run(heard(market, "/ws/ethusdt@trade"))
    assert {trade["s"] for trade in listener.events("trade")} == {"ETHUSDT"}


def test_subscriptions_are_listed_and_end(market: Market) -> None:
    async def talk() -> None:
        async with listening(market, "/stream/ws", "btcusdt@trade", "ethusdt@trade") as listener:
            assert await listener.say("UNSUBSCRIBE", ["ethusdt@trade"], 2) == {
                "result": None,
                "id": 2,
            }
            listed = await listener.say("LIST_SUBSCRIPTIONS", [], 3)
            assert listed == {"result": ["btcusdt@trade"], "id": 3}
            await step(market, 400)
            await listener.settled(market)
            assert {trade["s"] for trade in listener.events("trade")} == {"BTCUSDT"}

    asyncio.run(talk())


def test_a_connection_can_be_switched_to_the_combined_form(market: Market) -> None:
    async def talk() -> None:
        async with listening(market, "/ws", "btcusdt@trade") as listener:
            await listener.say("SET_PROPERTY", ["combined", True], 7)
            assert (await listener.say("GET_PROPERTY", ["combined"], 8))["result"] is True
            await step(market, 200)
            await listener.settled(market)
            assert any(message.get("stream") == "btcusdt@trade" for message in listener.messages)

    asyncio.run(talk())


@pytest.mark.parametrize(
    "said",
    [
        {"method": "SUBSCRIBE", "params": "btcusdt@trade", "id": 1},
        {"method": "SUBSCRIBE", "params": [], "id": 1},
        {"method": "SUBSCRIBE", "params": [7], "id": 1},
        {"method": "ORDER", "params": [], "id": 1},
        {"method": "SET_PROPERTY", "params": [], "id": 1},
        [1, 2],
        "no json",
    ],
)
def test_a_malformed_message_is_answered_with_an_error(market: Market, said: Any) -> None:
    async def talk() -> dict:
        async with listening(market, "/stream/ws") as listener:
            text = said if isinstance(said, str) else json.dumps(said)
            await listener.socket.send_str(text)
            await listener.until(lambda: bool(listener.received), "an answer")
            return listener.messages[0]

    assert asyncio.run(talk())["error"]["code"] in (2, 3)


def test_who_says_too_much_is_disconnected(market: Market) -> None:
    async def talk() -> None:
        async with listening(market, "/stream/ws") as listener:
            for number in range(12):
                said = {"method": "LIST_SUBSCRIPTIONS", "id": number}
                await listener.socket.send_str(json.dumps(said))
            await listener.until(lambda: listener.closed, "the end of the connection")
            assert listener.socket.close_code == 1008

    asyncio.run(talk())
    assert market.violations()[-1]["rule"] == "too many messages"


def test_too_many_streams_are_refused(market: Market) -> None:
    async def talk() -> dict:
        async with listening(market, "/ws") as listener:
            return await listener.say("SUBSCRIBE", [f"coin{n}usdt@trade" for n in range(201)])

    assert asyncio.run(talk())["error"]["code"] == 2


def test_the_server_pings_and_ends_a_connection_that_does_not_answer() -> None:
    async def talk(market: Market) -> tuple[list[aiohttp.WSMsgType], int | None]:
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(market.ws_url + "/ws", autoping=False) as socket:
                seen: list[aiohttp.WSMsgType] = []
                while (message := await socket.receive(10)).type == aiohttp.WSMsgType.PING:
                    seen.append(message.type)
                return seen, socket.close_code

    market = Market(Generated(seed=1), stepwise=True)
    market.streams.ping_s["usdm"], market.streams.pong_s["usdm"] = 0.05, 0.3
    with market:
        pings, code = asyncio.run(talk(market))
    assert pings and code == 1008


def test_a_client_that_answers_pings_stays() -> None:
    def answered(exchange: Exchange) -> bool:
        return all(each.ponged_s > each.pinged_s > 0 for each in exchange.connections)

    async def talk(market: Market) -> bool:
        async with listening(market, "/ws", "btcusdt@trade") as listener:
            await listener.until(lambda: market.ask(answered), "an answer to a ping")
            await asyncio.sleep(0.5)
            return listener.closed

    market = Market(Generated(seed=1), stepwise=True)
    # Within the ten messages a second that a client may send, its pongs among them.
    market.streams.ping_s["usdm"], market.streams.pong_s["usdm"] = 0.3, 5.0
    with market:
        assert asyncio.run(talk(market)) is False
        assert market.violations() == []
