"""Books rebuilt from the market's streams by Binance's documented rules equal the truth."""

import asyncio
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

from tests.market.book import Book, levels
from tests.market.clients import RAW, Gap, LocalBook, listening, rest, step
from tests.market.generated import Generated
from tests.market.listing import VENUES, Payload, Venue
from tests.market.recorded import FOLDER, Recorded
from tests.market.server import Market

# A snapshot of perpetuals holds 1000 levels: what lies deeper cannot be known from it.
DEPTH = {"spot": 5000, "usdm": 1000}
COMPARED = {"spot": 2000, "usdm": 200}
GROUP = 250


@dataclass
class Kept:
    """A local book at each of its update ids that was looked at."""

    books: dict[int, Book]
    events: list[Payload]


async def keep(
    market: Market,
    venue: Venue,
    stream: str,
    ticks: int,
    after_group: Callable[[int], None] = lambda group: None,
) -> Kept:
    """Subscribe, take a snapshot while events come, and keep the book by the documented rule."""
    symbol = stream.split("@")[0].upper()
    async with listening(market, RAW[venue], stream) as listener:
        await step(market, GROUP)
        await listener.settled(market)
        query = {"symbol": symbol, "limit": DEPTH[venue]}
        snapshot = (await asyncio.to_thread(rest, market, venue, "depth", **query)).json()
        local, books, taken = LocalBook(venue), dict[int, Book](), 0
        local.begin(snapshot)
        for group in range(ticks // GROUP):
            after_group(group)
            await step(market, GROUP)
            await asyncio.sleep(0)
        await listener.settled(market)
        events = listener.events("depthUpdate")
        for event in events:
            taken += local.take(event)
            if taken % 10 == 0 and local.update_id is not None:
                books[local.update_id] = local.book.copy()
        assert local.update_id is not None
        books[local.update_id] = local.book.copy()
        assert taken > 0
        return Kept(books, events)


def compare(market: Market, venue: Venue, symbol: str, kept: Kept) -> None:
    """Hold each kept book against the truth at its update id."""
    for update_id, book in kept.books.items():
        true = market.ask(
            lambda exchange, at=update_id: exchange.truth.book((venue, symbol), at)  # type: ignore
        )
        assert true is not None
        assert book.top(COMPARED[venue]) == true.top(COMPARED[venue]), f"at {update_id}"


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("speed", ["@100ms", ""])
def test_a_book_of_the_synthetic_market_equals_the_truth(venue: Venue, speed: str) -> None:
    with Market(Generated(seed=11), stepwise=True) as market:
        kept = asyncio.run(keep(market, venue, f"ethusdt@depth{speed}", 3000))
        assert len(kept.books) >= 2
        compare(market, venue, "ETHUSDT", kept)


@pytest.mark.parametrize(
    ("venue", "stream"),
    [
        ("spot", "btcusdt@depth@100ms"),
        ("spot", "btcusdt@depth"),
        ("usdm", "btcusdt@depth@0ms"),
        ("usdm", "btcusdt@depth@100ms"),
        ("usdm", "btcusdt@depth"),
    ],
)
def test_a_book_of_the_recorded_market_equals_the_truth(
    market_data: Path, venue: Venue, stream: str
) -> None:
    source = Recorded(market_data, (f"{venue}_btcusdt",))
    with Market(source, stepwise=True) as market:
        kept = asyncio.run(keep(market, venue, stream, 5_000))
        compare(market, venue, "BTCUSDT", kept)


@pytest.mark.parametrize("name", ["spot_btcusdt", "usdm_btcusdt"])
def test_the_recorded_book_is_that_of_the_file(market_data: Path, name: str) -> None:
    source = Recorded(market_data, (name,))
    key = source.listings[0].key
    with Market(source, stepwise=True) as market:
        market.step(5000)
        last, true = market.ask(
            lambda exchange: (exchange.instruments[key].depth_id, exchange.instruments[key].shown)
        )
    with gzip.open(market_data / FOLDER / f"{name}_20240808.gz") as file:
        messages = [json.loads(line.split(b" ", 1)[1]) for line in islice(file, 8000)]
    snapshot = next(message for message in messages if "stream" not in message)
    book = Book()
    book.apply(levels(snapshot["bids"]), levels(snapshot["asks"]))
    for message in messages:
        event = message.get("data", {})
        if event.get("e") == "depthUpdate" and snapshot["lastUpdateId"] < event["u"] <= last:
            book.apply(levels(event["b"]), levels(event["a"]))
    assert last > snapshot["lastUpdateId"] and true == book


def test_recorded_trades_keep_their_ids_prices_and_order(market_data: Path) -> None:
    source = Recorded(market_data, ("spot_ethusdt", "usdm_ethusdt"))
    recorded = []
    with Market(source, stepwise=True) as market:
        assert market.step(10_000) == 10_000
        truth = market.ask(lambda exchange: exchange.truth.trades(("usdm", "ETHUSDT")))
    for tick in source.ticks():
        if tick.kind == "trade" and tick.key == ("usdm", "ETHUSDT"):
            recorded.append(tick.payload)
        if len(recorded) == len(truth):
            break
    assert len(truth) > 300
    assert [(row["t"], row["p"], row["q"], row["m"]) for row in recorded] == [
        (row["t"], row["p"], row["q"], row["m"]) for row in truth.values()
    ]


@pytest.mark.parametrize("venue", VENUES)
def test_books_stay_true_through_jumps_freezes_halts_and_empty_sides(venue: Venue) -> None:
    numbers: list[int] = []

    def disturb(group: int) -> None:
        names = ("jump", "freeze", "one_sided", "halt")
        if group % 4 == 0:
            share = {"share": -0.2} if group % 8 else {}
            numbers.append(market.inject(names[group // 4 % 4], seed=group, **share))
        if group % 4 == 2:
            market.clear(numbers[-1])

    with Market(Generated(seed=17), stepwise=True) as market:
        kept = asyncio.run(keep(market, venue, "btcusdt@depth@100ms", 250 * 24, disturb))
        assert len(numbers) == 6
        compare(market, venue, "BTCUSDT", kept)


@pytest.mark.parametrize("venue", VENUES)
def test_the_rule_sees_a_gap(venue: Venue) -> None:
    def lose_one(group: int) -> None:
        if group == 3:
            market.inject("gap", venue=venue, count=1)

    with Market(Generated(seed=2), stepwise=True) as market:
        with pytest.raises(Gap):
            asyncio.run(keep(market, venue, "btcusdt@depth@100ms", 3000, lose_one))


@pytest.mark.parametrize("venue", VENUES)
def test_the_same_seed_makes_the_same_market(venue: Venue) -> None:
    def published(seed: int) -> list[tuple]:
        with Market(Generated(seed), stepwise=True) as market:
            market.step(1000)
            truth = market.ask(lambda exchange: exchange.truth.trades((venue, "BTCUSDT")))
            return [(row["t"], row["p"], row["q"]) for row in truth.values()]

    assert published(8) == published(8) != published(9)
