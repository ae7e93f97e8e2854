"""Each fault of the market is seen on the wire, and the truth stays whole behind it."""

import asyncio
import http.client
import json
from collections.abc import Callable, Iterator

import aiohttp
import pytest

from tests.market.clients import RAW, Gap, Listener, LocalBook, listening, rest, step
from tests.market.exchange import wall_ms
from tests.market.generated import Generated
from tests.market.listing import VENUES, Payload, Venue
from tests.market.scenarios import catalogue
from tests.market.server import Market

SPOT_ALL = ("btcusdt@trade", "btcusdt@bookTicker", "btcusdt@depth@100ms")


@pytest.fixture(scope="module")
def served() -> Iterator[Market]:
    with Market(Generated(seed=23), stepwise=True) as market:
        yield market


@pytest.fixture
def market(served: Market) -> Iterator[Market]:
    """The market of the module without faults."""
    yield served
    served.clear()


Disturb = Callable[[Market], object]


async def hear(
    market: Market, disturb: Disturb, *streams: str, venue: Venue = "spot", ticks: int = 400
) -> Listener:
    """What a raw connection hears once the market is disturbed."""
    async with listening(market, RAW[venue], *streams) as listener:
        await asyncio.to_thread(disturb, market)
        listener.received.clear()
        await step(market, ticks)
        await listener.settled(market)
        return listener


def heard(market: Market, name: str, *streams: str, **asked: object) -> Listener:
    """What is heard under one fault."""
    return asyncio.run(hear(market, lambda m: m.inject(name, **asked), *streams))


def test_the_catalogue_says_what_each_fault_does() -> None:
    assert len(catalogue()) >= 30
    assert all(line and line != "None" for line in catalogue().values())


def test_an_unknown_fault_is_refused(market: Market) -> None:
    with pytest.raises(ValueError, match="no fault is named flood"):
        market.inject("flood")


def nothing(market: Market) -> None:
    """Leave the market as it is."""


def linked(venue: Venue, listener: Listener) -> list[bool]:
    """Of each depth event whether it follows on the one before."""
    events = listener.events("depthUpdate")
    assert len(events) > 5
    return [
        later["U"] == event["u"] + 1 if venue == "spot" else later["pu"] == event["u"]
        for event, later in zip(events, events[1:], strict=False)
    ]


def ids_of_truth(market: Market, trades: list[Payload]) -> list[int]:
    """The ids that were published from the first to the last of these trades."""
    log = market.ask(lambda exchange: exchange.truth.log("trade", ("spot", "BTCUSDT")))
    return [row["t"] for row in log.since(trades[0]["t"]) if row["t"] <= trades[-1]["t"]]


def test_missed_trades_are_true_and_can_be_asked_for(market: Market) -> None:
    listener = heard(market, "missed", "btcusdt@trade", rate=0.5, seed=1)
    got = [row["t"] for row in listener.events("trade")]
    true = ids_of_truth(market, listener.events("trade"))
    assert set(got) < set(true) and got == sorted(got)
    query = {"symbol": "BTCUSDT", "fromId": true[0], "limit": len(true)}
    told = rest(market, "spot", "historicalTrades", **query).json()
    assert [row["id"] for row in told] == true


@pytest.mark.parametrize("venue", VENUES)
def test_a_gap_breaks_the_ids_of_depth(market: Market, venue: Venue) -> None:
    number = market.inject("gap", venue=venue, rate=0.4, seed=3)
    listener = asyncio.run(hear(market, nothing, "btcusdt@depth@100ms", venue=venue, ticks=1200))
    assert market.hits(number) > 0 and not all(linked(venue, listener))
    market.clear(number)
    listener = asyncio.run(hear(market, nothing, "btcusdt@depth@100ms", venue=venue, ticks=1200))
    assert all(linked(venue, listener))


def test_duplicates_come_twice(market: Market) -> None:
    ids = [row["t"] for row in heard(market, "duplicate", "btcusdt@trade").events("trade")]
    assert ids[::2] == ids[1::2] and len(set(ids)) * 2 == len(ids)


def test_disorder_in_both_markets_keeps_them_apart(market: Market) -> None:
    async def hear_both() -> tuple[Listener, Listener]:
        async with (
            listening(market, RAW["spot"], "btcusdt@trade") as spot,
            listening(market, RAW["usdm"], "btcusdt@trade") as usdm,
        ):
            await asyncio.to_thread(lambda: market.inject("disorder", rate=0.5, seed=2))
            await step(market, 400)
            for listener in (spot, usdm):
                await listener.settled(market)
            return spot, usdm

    for venue, listener in zip(VENUES, asyncio.run(hear_both()), strict=True):
        every = market.ask(lambda exchange: exchange.truth)
        trades = listener.events("trade")
        ids = {row["t"] for row in trades}
        assert len(ids) >= 10 and ids <= set(every.trades((venue, "BTCUSDT")))


def test_who_is_banned_is_always_told_so(market: Market) -> None:
    for name in ("reset", "cut_json", "cut_body", "garbage_body"):
        market.inject(name)
    market.inject("ban", ban_s=0.1, count=1)
    answer = rest(market, "spot", "time")
    assert answer.status == 418
    market.ask(lambda exchange: exchange.budget.accounts.clear())


def test_disorder_changes_the_order_and_loses_nothing(market: Market) -> None:
    async def hear_all() -> list[int]:
        async with listening(market, "/stream/ws", "btcusdt@trade") as listener:
            await asyncio.to_thread(lambda: market.inject("disorder", rate=0.4, seed=2))
            await step(market, 400)
            await asyncio.to_thread(market.clear)
            await listener.settled(market)
            return [row["t"] for row in listener.events("trade")]

    ids = asyncio.run(hear_all())
    assert ids != sorted(ids)
    assert sorted(ids) == list(range(min(ids), max(ids) + 1))


@pytest.mark.parametrize("how", ["cut", "mixed", "binary", "empty"])
def test_corrupt_messages_are_no_json(market: Market, how: str) -> None:
    listener = heard(market, "corrupt", "btcusdt@trade", how=how, count=5)
    broken = []
    for message in listener.received:
        try:
            json.loads(message.data)
        except (json.JSONDecodeError, UnicodeDecodeError):
            broken.append(message)
    assert len(broken) == 5
    binary = [message.type == aiohttp.WSMsgType.BINARY for message in broken]
    assert binary == [how == "binary"] * 5


@pytest.mark.parametrize("value", ["NaN", None, "-1.00", "Infinity", "", "1e400"])
def test_poisoned_prices_come_as_asked_and_are_not_true(market: Market, value: str | None) -> None:
    listener = heard(market, "poison", *SPOT_ALL, value=value)
    assert {row["p"] for row in listener.events("trade")} == {value}
    assert {row["b"] for row in listener.events("bookTicker")} == {value}
    assert any(
        row[side][0][0] == value
        for row in listener.events("depthUpdate")
        for side in "ba"
        if row[side]
    )
    truth = market.ask(lambda exchange: exchange.truth.trades(("spot", "BTCUSDT")))
    assert all(float(row["p"]) > 0 for row in truth.values())


def test_a_bare_nan_can_come(market: Market) -> None:
    listener = heard(market, "poison", "btcusdt@trade", value="BARE", count=1)
    assert '"p":NaN' in listener.received[0].data


def test_silence_brings_nothing_over_an_open_connection(market: Market) -> None:
    async def hear_silence() -> tuple[int, bool, int]:
        async with listening(market, "/stream/ws", *SPOT_ALL) as listener:
            number = await asyncio.to_thread(lambda: market.inject("silence", venue="spot"))
            before = len(listener.received)
            await step(market, 300)
            await listener.settled(market)
            during = len(listener.received) - before - 1
            await asyncio.to_thread(market.clear, number)
            await step(market, 300)
            await listener.settled(market)
            return during, listener.closed, len(listener.events("trade"))

    during, closed, after = asyncio.run(hear_silence())
    assert (during, closed) == (0, False) and after > 0


def test_a_fault_that_is_aimed_at_one_symbol_spares_the_other(market: Market) -> None:
    streams = ("btcusdt@trade", "ethusdt@trade")
    listener = heard(market, "missed", *streams, symbol="BTCUSDT")
    assert {row["s"] for row in listener.events("trade")} == {"ETHUSDT"}


def test_in_a_freeze_frames_come_and_prices_stand(market: Market) -> None:
    listener = heard(market, "freeze", *SPOT_ALL, symbol="BTCUSDT")
    quotes, trades = listener.events("bookTicker"), listener.events("trade")
    assert len(quotes) > 5 and len(trades) > 5 and len(listener.events("depthUpdate")) > 2
    assert len({(row["b"], row["a"]) for row in quotes}) == 1
    assert len({row["p"] for row in trades}) == 1
    assert len({row["u"] for row in quotes}) > 1


@pytest.mark.parametrize(("side", "price"), [("bids", "b"), ("asks", "a")])
def test_a_one_sided_book_has_zeros_there(market: Market, side: str, price: str) -> None:
    listener = heard(market, "one_sided", *SPOT_ALL, side=side)
    quotes = listener.events("bookTicker")
    other = "a" if price == "b" else "b"
    # The touch of the book is told at once, before the connection's first message is cleared.
    assert {float(row[price]) for row in quotes} == {0.0}
    assert min(float(row[other]) for row in quotes) > 0
    told = rest(market, "spot", "depth", symbol="BTCUSDT").json()
    assert told[side] == [] and told["bids" if side == "asks" else "asks"]


@pytest.mark.parametrize("share", [0.2, -0.2])
def test_a_jump_moves_every_price_at_once(market: Market, share: float) -> None:
    before = float(rest(market, "spot", "ticker/bookTicker", symbol="BTCUSDT").json()["bidPrice"])
    number = market.inject("jump", share=share, back=True)
    after = float(rest(market, "spot", "ticker/bookTicker", symbol="BTCUSDT").json()["bidPrice"])
    assert after / before - 1 == pytest.approx(share, abs=0.001)
    market.step(200)
    trade = rest(market, "usdm", "trades", symbol="BTCUSDT", limit=1).json()[0]
    assert float(trade["price"]) / before - 1 == pytest.approx(share, abs=0.02)
    mark = rest(market, "usdm", "premiumIndex", symbol="BTCUSDT").json()
    assert float(mark["markPrice"]) / before - 1 == pytest.approx(share, abs=0.02)
    market.clear(number)
    back = float(rest(market, "spot", "ticker/bookTicker", symbol="BTCUSDT").json()["bidPrice"])
    assert back == pytest.approx(before, rel=0.02)


@pytest.mark.parametrize("venue", VENUES)
def test_a_halted_symbol_says_so_and_nothing_comes(market: Market, venue: Venue) -> None:
    listener = asyncio.run(
        hear(
            market,
            lambda m: m.inject("halt", venue=venue, symbol="BTCUSDT"),
            "btcusdt@trade",
            "btcusdt@bookTicker",
            "btcusdt@depth@100ms",
            venue=venue,
        )
    )
    halted = rest(market, venue, "exchangeInfo").json()["symbols"][0]
    assert halted["status"] in ("BREAK", "SETTLING")
    assert listener.events("trade") == listener.events("bookTicker") == []
    first = market.ask(lambda exchange: exchange.instruments[venue, "BTCUSDT"].trade_id)
    market.clear()
    market.step(300)
    assert rest(market, venue, "exchangeInfo").json()["symbols"][0]["status"] == "TRADING"
    truth = market.ask(lambda exchange: exchange.truth.trades((venue, "BTCUSDT")))
    assert first in truth and first + 1 in truth


def test_changed_filters_are_listed_told_and_go_back(market: Market) -> None:
    changed = {"tick_size": "0.50", "step_size": "0.010"}

    async def change() -> list[Payload]:
        async with listening(market, "/ws", "!contractInfo") as listening_now:
            aimed = {"venue": "usdm", "symbol": "BTCUSDT", **changed}
            await asyncio.to_thread(lambda: market.inject("filters", **aimed))
            await listening_now.settled(market)
            return listening_now.events("contractInfo")

    assert [row["s"] for row in asyncio.run(change())] == ["BTCUSDT"]
    listed = rest(market, "usdm", "exchangeInfo").json()["symbols"][0]["filters"]
    assert (listed[0]["tickSize"], listed[1]["stepSize"]) == ("0.50", "0.010")
    market.clear()
    listed = rest(market, "usdm", "exchangeInfo").json()["symbols"][0]["filters"]
    assert listed[0]["tickSize"] == "0.10"
    log = market.ask(lambda exchange: exchange.truth.listings["usdm", "BTCUSDT"].since(0))
    sizes = [row["filters"][0]["tickSize"] for row in log]
    assert sizes[-3:] == ["0.10", "0.50", "0.10"]


def off_by_ms(market: Market) -> tuple[int, int]:
    """Between what the exchange's clock must be off, by the clock of this machine."""
    before_ms = wall_ms()
    told_ms = rest(market, "spot", "time").json()["serverTime"]
    return told_ms - wall_ms(), told_ms - before_ms


def test_the_clock_can_be_seven_seconds_off(market: Market) -> None:
    number = market.inject("clock")
    least_ms, most_ms = off_by_ms(market)
    assert least_ms <= 7000 <= most_ms
    before_ms = wall_ms()
    trades = asyncio.run(hear(market, nothing, "btcusdt@trade")).events("trade")
    assert all(before_ms + 7000 <= trade["E"] <= wall_ms() + 7000 for trade in trades) and trades
    market.clear(number)
    least_ms, most_ms = off_by_ms(market)
    assert least_ms <= 0 <= most_ms


@pytest.mark.parametrize("how", ["fragments", "torn"])
def test_partial_messages_come_whole_in_the_end(market: Market, how: str) -> None:
    async def hear_parts() -> list[Payload]:
        async with listening(market, "/stream/ws", "btcusdt@trade") as listener:
            asked = {"how": how, "pause_s": 0.01, "count": 5}
            number = await asyncio.to_thread(lambda: market.inject("partial", **asked))
            await step(market, 300)
            await listener.settled(market)
            assert await asyncio.to_thread(market.hits, number) == 5
            return listener.events("trade")

    trades = asyncio.run(hear_parts())
    log = market.ask(lambda exchange: exchange.truth.log("trade", ("spot", "BTCUSDT")))
    assert trades == log.since(trades[0]["t"], len(trades))


async def ended(market: Market, venue: Venue, name: str, **asked: object) -> Listener:
    """A connection that a fault ends."""
    async with listening(market, RAW[venue], "btcusdt@trade") as listener:
        await asyncio.to_thread(lambda: market.inject(name, venue=venue, **asked))
        await step(market, 200)
        await listener.until(lambda: listener.closed, "the end of the connection")
        return listener


def test_a_message_can_break_off_with_the_connection(market: Market) -> None:
    listener = asyncio.run(ended(market, "spot", "partial", how="cut", count=1))
    assert listener.events("trade") == [] and listener.socket.close_code != 1000


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"name": "drop"}, 1006),
        ({"name": "drop", "how": "close", "code": 1008}, 1008),
        ({"name": "day_end"}, 1001),
        ({"name": "maintenance"}, 1001),
    ],
)
def test_connections_end(market: Market, asked: dict, code: int) -> None:
    listener = asyncio.run(ended(market, "usdm", **asked))
    assert listener.socket.close_code == code
    named = [message.get("e") for message in listener.messages]
    assert ("eventStreamTerminated" in named) == (asked["name"] == "maintenance")


def test_terminated_streams_leave_the_connection_open(market: Market) -> None:
    listener = heard(market, "terminated", "btcusdt@trade")
    assert not listener.closed and listener.events("trade") == []


def test_in_maintenance_requests_and_handshakes_get_503(market: Market) -> None:
    async def shake() -> int:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with listening(market, "/stream/ws"):
                raise AssertionError("the handshake was let through")
        return refused.value.status

    number = market.inject("maintenance", venue="spot")
    assert rest(market, "spot", "time").status == 503
    assert rest(market, "usdm", "time").status == 200
    assert asyncio.run(shake()) == 503
    market.clear(number)
    assert rest(market, "spot", "time").status == 200


def test_connections_are_refused_for_a_time(served: Market) -> None:
    served.inject("refuse", for_s=2.0)
    with pytest.raises(ConnectionRefusedError):
        rest(served, "spot", "ping")

    async def come_back() -> float:
        begun = asyncio.get_running_loop().time()
        while True:
            try:
                assert rest(served, "spot", "ping").status == 200
                return asyncio.get_running_loop().time() - begun
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)

    assert asyncio.run(asyncio.wait_for(come_back(), 10)) < 10


@pytest.mark.parametrize("answered", [True, False])
def test_a_subscription_is_refused_or_not_answered(market: Market, answered: bool) -> None:
    async def subscribe() -> list[Payload]:
        async with listening(market, "/ws") as listener:
            said = {"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 5}
            await listener.socket.send_str(json.dumps(said))
            await step(market, 200)
            await listener.settled(market)
            return listener.messages[:-1]

    market.inject("refuse_subscribe", answer=answered, count=1)
    messages = asyncio.run(subscribe())
    assert [row["id"] for row in messages if "error" in row] == ([5] if answered else [])
    assert not [row for row in messages if row.get("e") == "trade"]
    assert [row for row in asyncio.run(subscribe()) if row.get("e") == "trade"]


def test_a_handshake_is_refused(market: Market) -> None:
    async def shake() -> None:
        async with listening(market, "/ws"):
            await asyncio.sleep(0)

    market.inject("refuse_stream", count=1)
    with pytest.raises(aiohttp.WSServerHandshakeError):
        asyncio.run(shake())
    asyncio.run(shake())


@pytest.mark.parametrize("venue", VENUES)
def test_a_stale_snapshot_leads_to_a_gap(market: Market, venue: Venue) -> None:
    market.step(1500)
    fresh = rest(market, venue, "depth", symbol="BTCUSDT").json()
    number = market.inject("stale_snapshot", venue=venue, behind=10)
    stale = rest(market, venue, "depth", symbol="BTCUSDT", limit=1000).json()
    assert stale["lastUpdateId"] < fresh["lastUpdateId"]
    listener = asyncio.run(hear(market, nothing, "btcusdt@depth@100ms", venue=venue))
    local = LocalBook(venue)
    local.begin(stale)
    with pytest.raises(Gap):
        local.take(listener.events("depthUpdate")[0])
    true = market.ask(lambda x: x.truth.book((venue, "BTCUSDT"), stale["lastUpdateId"]))
    assert true is not None and local.book.top(20) == true.top(20)
    market.clear(number)
    assert rest(market, venue, "depth", symbol="BTCUSDT").json()["lastUpdateId"] > (
        fresh["lastUpdateId"]
    )


def broken(work: Callable[[], object]) -> bool:
    """Whether a request breaks off."""
    try:
        work()
    except (OSError, ValueError, http.client.HTTPException):
        return True
    return False


@pytest.mark.parametrize("name", ["reset", "cut_json", "cut_body", "garbage_body"])
def test_answers_come_broken(market: Market, name: str) -> None:
    market.inject(name, kinds=["depth"], count=1)
    assert broken(lambda: rest(market, "spot", "depth", symbol="BTCUSDT").json())
    assert not broken(lambda: rest(market, "spot", "depth", symbol="BTCUSDT").json())


def test_an_answer_comes_slowly_and_another_is_an_error(market: Market) -> None:
    number = market.inject("slow", delay_s=0.3, count=1)
    assert rest(market, "spot", "time").status == 200 and market.hits(number) == 1
    market.inject("error", status=502, code=-1001, count=1)
    assert rest(market, "usdm", "time").status == 502
    assert rest(market, "usdm", "time").status == 200


def disturbed(market: Market, venue: Venue) -> tuple[bool, bool, bool]:
    """Whether the symbol is frozen, one-sided, halted."""
    item = market.ask(lambda exchange: exchange.instruments[venue, "BTCUSDT"])
    return item.frozen, item.hidden is not None, item.listing.halted()


def test_faults_that_overlap_end_with_the_last_one(market: Market) -> None:
    first = [market.inject(name, symbol="BTCUSDT") for name in ("freeze", "halt", "one_sided")]
    second = [market.inject(name, venue="spot") for name in ("freeze", "halt", "one_sided")]
    refused = [market.inject("refuse"), market.inject("refuse")]
    for number in (*first, refused[0]):
        market.clear(number)
    assert disturbed(market, "spot") == (True, True, True)
    assert disturbed(market, "usdm") == (False, False, False)
    with pytest.raises(ConnectionRefusedError):
        rest(market, "spot", "ping")
    for number in (*second, refused[1]):
        market.clear(number)
    assert disturbed(market, "spot") == (False, False, False)
    market.step(50)
    assert rest(market, "spot", "ping").status == 200


def test_filters_and_budgets_that_overlap_go_back_to_what_was_listed(market: Market) -> None:
    tick = market.inject("filters", venue="spot", tick_size="0.05")
    step_size = market.inject("filters", venue="spot", step_size="0.01")
    budgets = [market.inject("budget", venue="spot", limit=limit) for limit in (100, 200)]
    market.clear(tick)
    market.clear(budgets[0])
    listing = market.ask(lambda exchange: exchange.instruments["spot", "BTCUSDT"].listing)
    assert (listing.tick_size, listing.step_size) == ("0.01000000", "0.01")
    assert market.ask(lambda exchange: exchange.budget.limits["spot"]) == 200
    market.clear(step_size)
    market.clear(budgets[1])
    listing = market.ask(lambda exchange: exchange.instruments["spot", "BTCUSDT"].listing)
    assert (listing.tick_size, listing.step_size) == ("0.01000000", "0.00001000")
    assert market.ask(lambda exchange: exchange.budget.limits["spot"]) == 6000
