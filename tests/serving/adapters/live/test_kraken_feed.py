"""The live feed on a second venue: Kraken's spot market, from a server of our own, with faults."""

import gzip
import inspect
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from hft_lib.events import Depth, Instrument, Quote, Trade
from hft_lib.market.kraken_ws import symbol_of
from serving.adapters.live import connection, feed, gate, intake, kraken, repairs, watch
from serving.adapters.live.feed import LiveFeed, NotListed, Pace
from serving.runtime.settings import Settings
from tests.market.kraken import KrakenServer
from tests.market.watched import WatchedFeed, settings_at

BTC, ETH = "BTC/USD", "ETH/USD"
NAMES = {BTC: "XBT/USD", ETH: "ETH/USD"}
VENUE = kraken.KrakenVenue  # ccxt's many modules are read before the first wait begins


class Watched(WatchedFeed):
    """The feed before the small Kraken, and the books that its facts make."""

    def __init__(self, live: LiveFeed, server: KrakenServer) -> None:
        super().__init__(live)
        self.server = server
        self.books: dict[str, tuple[dict[float, float], dict[float, float]]] = {}

    def tick(self) -> None:
        """Every pair goes on."""
        for name in self.server.pairs:
            self.server.tick(name)

    def take(self, timeout_s: float = 0.02) -> None:
        seen = len(self.facts)
        super().take(timeout_s)
        for depth in self.facts[seen:]:
            if isinstance(depth, Depth):
                if depth.snapshot:
                    self.books[depth.symbol] = ({}, {})
                for side, rows in zip(self.books[depth.symbol], (depth.bids, depth.asks)):
                    side.update(rows)

    def book(self, symbol: str) -> tuple[list[tuple[float, float]], ...]:
        """Bids and asks that the facts make, best first."""
        bids, asks = ([row for row in side.items() if row[1]] for side in self.books[symbol])
        return sorted(bids, reverse=True), sorted(asks)

    def settled(self, levels: int | None = None) -> None:
        """Take, the market at rest, until the books are the server's own, to so many levels."""
        self.until(lambda: all(self.feed.status().synced.values()))
        self.until(
            lambda: all(
                best(self.book(symbol_of(name)), levels) == best(theirs(pair), levels)
                for name, pair in self.pairs()
            ),
            ticks=False,
        )

    def pairs(self) -> Any:
        return self.server.pairs.items()

    def of(self, kind: Any, symbol: str = BTC) -> list[Any]:
        return super().of(kind, symbol)

    def begin(self) -> None:
        self.until(
            lambda: all(self.feed.status().synced.values())
            and self.of(Trade, symbol_of(list(self.server.pairs)[-1]))
            and self.of(Trade, symbol_of(list(self.server.pairs)[0]))
        )


def best(
    book: tuple[list[tuple[float, float]], ...], levels: int | None
) -> tuple[list[tuple[float, float]], ...]:
    """The best levels of both sides."""
    return tuple(side[:levels] for side in book)


def theirs(pair: Any) -> tuple[list[tuple[float, float]], ...]:
    """The server's book as a client should have it."""
    asks, bids = ([(float(row[0]), float(row[1])) for row in pair.rows(side)] for side in (0, 1))
    return bids, asks


@pytest.fixture
def server() -> Iterator[KrakenServer]:
    with KrakenServer() as made:
        yield made


def settings_of(server: KrakenServer, folder: Path) -> Settings:
    return settings_at("kraken", server.host, folder)


@pytest.fixture(autouse=True)
def _a_machine_that_is_slow_makes_no_silent_market(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "STALE_NS_MIN", 60_000_000_000)


@pytest.fixture
def watched(server: KrakenServer, tmp_path: Path) -> Iterator[Watched]:
    with LiveFeed(settings_of(server, tmp_path), [BTC, ETH], "kraken") as live:
        yield Watched(live, server)


def assert_continuous(watched: Watched) -> None:
    """Each trade of the server once and in order, each change after the one before it."""
    for symbol, name in NAMES.items():
        told = [(one.price, one.size, one.side[0]) for one in watched.of(Trade, symbol)]
        truth = [
            (float(price), float(size), side)
            for price, size, _, side in watched.server.pairs[name].trades
        ]
        first = truth.index(told[0])
        assert told == truth[first : first + len(told)]
        last = 0
        for depth in watched.of(Depth, symbol):
            assert depth.snapshot or depth.previous_id == last
            assert depth.last_id > last
            last = depth.last_id
        quotes = [quote.update_id for quote in watched.of(Quote, symbol) if quote.update_id]
        assert quotes == sorted(set(quotes))
        assert all(quote.bid < quote.ask for quote in watched.of(Quote, symbol))
    watched.assert_time_goes_forward()


def test_01_everything_of_two_pairs_comes_in_one_order(watched: Watched):
    watched.begin()
    watched.until(lambda: len(watched.of(Trade)) > 20)
    first = watched.of(Instrument)[0]
    assert watched.facts[:2] == [first, watched.of(Instrument, ETH)[0]]
    assert (first.price_tick, first.quantity_step, first.notional_min_quote) == (0.1, 1e-8, 0.5)
    assert (first.taker_fee_rate, first.maker_fee_rate, first.short) == (0.004, 0.0025, "none")
    assert [book.snapshot for book in watched.of(Depth)][:2] == [True, False]
    watched.settled()
    assert_continuous(watched)
    assert watched.reasons() == []
    last = [quote for quote in watched.of(Quote) if quote.update_id][-1]
    assert (last.bid, last.bid_size, last.ask, last.ask_size) == (
        watched.server.pairs["XBT/USD"].top()
    )
    status = watched.feed.status()
    assert status.is_open and (status.venue, status.host) == ("kraken", watched.server.host)
    assert set(watched.feed.figures.weight) == {"spot"}


def test_02_a_wrong_checksum_costs_the_book_and_not_the_connection(watched: Watched):
    watched.begin()
    watched.until(lambda: len(watched.of(Depth)) > 3)
    time.sleep(1.0)  # the first whole book was asked for within this
    watched.server.wrong_checksums = 1
    wholes = [depth.snapshot for depth in watched.facts if isinstance(depth, Depth)].count(True)
    watched.until(lambda: "CHECKSUM" in watched.reasons())
    watched.settled()
    assert watched.reasons().count("CHECKSUM") == 1
    assert [one.snapshot for one in watched.facts if isinstance(one, Depth)].count(True) > wholes
    asked = [one for one in watched.server.asked if one["event"] == "unsubscribe"]
    assert [one["subscription"]["name"] for one in asked] == ["book"]
    assert watched.server.connects == 1
    assert sum(watched.feed.figures.resyncs.values()) == 1
    assert_continuous(watched)


def test_03_a_change_that_never_came_is_found_by_the_next(watched: Watched):
    watched.begin()
    time.sleep(1.0)
    watched.server.swallowed = 1
    watched.until(lambda: "CHECKSUM" in watched.reasons())
    watched.settled()
    assert watched.server.connects == 1
    assert_continuous(watched)


def test_04_a_corrupt_frame_is_one_refusal_and_no_book_is_trusted_after_it(watched: Watched):
    watched.begin()
    time.sleep(1.0)
    watched.server.corrupt = 1
    watched.until(lambda: "BROKEN_FRAME" in watched.reasons())
    watched.settled()
    assert watched.reasons().count("BROKEN_FRAME") == 1
    assert "CHECKSUM" not in watched.reasons(), "both books are anew before the next change"
    assert sum(watched.feed.figures.resyncs.values()) == 2
    assert watched.server.connects == 1


def test_05_trades_of_an_outage_are_asked_for_by_time_and_told_once(watched: Watched):
    watched.begin()
    watched.server.refuses_sockets = True
    watched.server.drop()
    watched.until(lambda: "DISCONNECTED" in watched.reasons(), ticks=False)
    for _ in range(5):
        watched.server.tick("XBT/USD", trades=3)
    watched.server.refuses_sockets = False
    watched.until(lambda: watched.feed.figures.backfilled[BTC] >= 15, ticks=False)
    watched.settled()
    assert watched.reasons().count("TRADES_LOST") == 0
    assert watched.feed.figures.backfilled[BTC] == 15
    assert watched.feed.status().synced == {BTC: True, ETH: True}
    assert_continuous(watched)


def test_06_trades_that_a_subscription_begins_with_are_told_once(
    server: KrakenServer, tmp_path: Path
):
    for pair in server.pairs.values():
        pair.trades = [("1.0", "1.0", f"{time.time() - 60.0:.6f}", "b")]
    server.last_trades = 50
    with LiveFeed(settings_of(server, tmp_path), [BTC, ETH], "kraken") as live:
        watched = Watched(live, server)
        watched.begin()
        server.drop()
        watched.until(lambda: server.connects == 2)
        before = len(watched.of(Trade))
        watched.until(lambda: len(watched.of(Trade)) > before + 5)
        assert all(trade.price > 1.0 for trade in watched.of(Trade)), "what was before we listened"
        watched.settled()
        assert_continuous(watched)


def test_07_a_repeated_frame_of_trades_is_refused(watched: Watched):
    watched.begin()
    watched.server.repeated = 3
    watched.until(lambda: len(watched.of(Trade)) > 20)
    assert watched.reasons() == ["DUPLICATE"] * 3
    assert_continuous(watched)


def test_08_a_venue_that_cannot_say_what_was_traded_is_not_believed_whole(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(repairs, "BACKFILLS_MAX", 1)
    watched.begin()
    watched.server.error = "EGeneral:Invalid arguments"
    watched.server.drop()
    watched.until(lambda: watched.reasons().count("TRADES_LOST") == 2)
    watched.until(lambda: len(watched.of(Trade)) > 10)
    watched.settled()


def test_09_a_silent_connection_is_made_anew_and_a_quiet_one_is_not(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watch, "SILENCE_S", 0.6)
    monkeypatch.setattr(watch, "SILENCE_S_MIN", 0.6)
    watched.begin()
    end_s = time.monotonic() + 1.5
    watched.until(lambda: time.monotonic() > end_s, ticks=False)
    assert watched.server.connects == 1, "heartbeats came"
    watched.server.is_silent = True
    watched.until(lambda: watched.server.connects > 1)
    watched.server.is_silent = False
    watched.settled()
    assert "DISCONNECTED" in watched.reasons()
    assert_continuous(watched)


def test_10_quotes_are_stale_where_none_comes(watched: Watched, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(intake, "STALE_NS_MIN", 300_000_000)
    monkeypatch.setattr(intake, "STALE_CADENCES", 0.1)
    watched.begin()
    watched.until(lambda: "STALE" in watched.reasons(), ticks=False)
    assert watched.feed.figures.quote_age_s[BTC] > 0.2


@pytest.mark.parametrize("fault", ["refuses_subscribe", "refuses_sockets"])
def test_11_a_refusal_at_first_is_tried_again(server: KrakenServer, tmp_path: Path, fault: str):
    setattr(server, fault, True)
    with LiveFeed(settings_of(server, tmp_path), [BTC, ETH], "kraken") as live:
        watched = Watched(live, server)
        watched.until(lambda: "refused" in live.status().problem or "503" in live.status().problem)
        setattr(server, fault, False)
        watched.begin()
        watched.settled()


def test_12_a_pair_that_is_not_listed_ends_the_feed_by_its_name(
    server: KrakenServer, tmp_path: Path
):
    with LiveFeed(settings_of(server, tmp_path), [BTC, "NIX/USD"], "kraken") as live:
        with pytest.raises(NotListed, match="does not list NIX/USD$"):
            for _ in range(100):
                live.take(0.2)


def test_13_a_halt_and_the_clock_are_told(server: KrakenServer, tmp_path: Path):
    server.clock_ahead_s = 7.0
    server.pairs["ETH/USD"].status = "cancel_only"
    pace = Pace(instruments_s=0.5, clock_s=0.5)
    with LiveFeed(settings_of(server, tmp_path), [BTC, ETH], "kraken", pace) as live:
        watched = Watched(live, server)
        watched.until(lambda: {"HALTED", "CLOCK_OFFSET"} <= set(watched.reasons()))
        assert live.status().halted == (ETH,)
        assert live.status().clock_offset_s == pytest.approx(7.0, abs=1.0)


def test_14_no_request_is_made_while_the_venue_wants_none(
    server: KrakenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(gate.RETRY_S, 429, 1.5)
    server.error = "EAPI:Rate limit exceeded"
    with LiveFeed(settings_of(server, tmp_path), [BTC, ETH], "kraken") as live:
        watched = Watched(live, server)
        watched.until(lambda: live.figures.ban_s > 0.0)
        asked = len(server.requests)
        server.error, end_s = "", time.monotonic() + 1.2
        watched.until(lambda: time.monotonic() > end_s)
        assert len(server.requests) == asked
        watched.begin()


def test_15_maintenance_is_waited_for(server: KrakenServer, tmp_path: Path):
    server.error = "EService:Unavailable"
    with LiveFeed(settings_of(server, tmp_path), [BTC, ETH], "kraken") as live:
        watched = Watched(live, server)
        watched.until(lambda: "cannot be read" in live.status().problem, ticks=False)
        server.error = ""
        watched.begin()
        server.say({"event": "systemStatus", "status": "maintenance"})
        watched.until(lambda: "VENUE_STATUS" in watched.reasons())
        assert live.status().is_open


def test_16_a_subscription_that_the_venue_ends_is_begun_again(watched: Watched):
    watched.begin()
    ended = {"event": "subscriptionStatus", "status": "unsubscribed", "pair": "XBT/USD"}
    watched.server.say(ended | {"subscription": {"name": "trade"}})
    watched.until(lambda: watched.server.connects == 2)
    watched.settled()
    assert_continuous(watched)


@pytest.mark.parametrize("seed", range(5))
def test_17_after_faults_in_combination_the_books_and_trades_are_the_venues(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hft_lib.market.live.kraken.AGAIN_NS", 100_000_000)
    random = Random(seed)
    with (
        KrakenServer(seed=seed) as server,
        LiveFeed(settings_of(server, tmp_path), [BTC, ETH], "kraken") as live,
    ):
        watched = Watched(live, server)
        watched.begin()
        for _ in range(5):
            fault = random.choice(["wrong_checksums", "corrupt", "swallowed", "repeated", "drop"])
            if fault == "drop":
                server.drop()
            else:
                setattr(server, fault, random.randrange(1, 4))
            watched.for_s(random.uniform(0.05, 0.2))
        server.corrupt = server.swallowed = server.wrong_checksums = 0
        watched.for_s(0.3)  # the last change may have been one that was swallowed
        watched.settled(levels=10)  # a checksum covers no more
        watched.until(lambda: all(newest(watched, symbol) for symbol in NAMES), ticks=False)
        assert "TRADES_LOST" not in watched.reasons()
        assert_continuous(watched)


def test_18_recorded_frames_come_to_the_books_that_they_make(market_data: Path, tmp_path: Path):
    frames = recorded(market_data)
    names = sorted({frame[-1] for frame in frames})
    with KrakenServer(names, depth=1000) as server:
        for frame in frames:
            if "as" in frame[1]:
                server.play(frame)
        symbols = [symbol_of(name) for name in names]
        with LiveFeed(settings_of(server, tmp_path), symbols, "kraken") as live:
            watched = Watched(live, server)
            watched.until(lambda: all(live.status().synced.values()), ticks=False)
            changes = [frame for frame in frames if "as" not in frame[1]]
            for frame in changes:
                server.play(frame)
            watched.until(
                lambda: sum(not one.snapshot for one in depths(watched)) == len(changes),
                ticks=False,
            )
            watched.settled()
            assert watched.reasons() == []
    assert len(changes) > 4000 and len(names) == 10


def newest(watched: Watched, symbol: str) -> bool:
    """Whether the server's last trade was told."""
    row, trade = watched.server.pairs[NAMES[symbol]].trades[-1], watched.of(Trade, symbol)[-1]
    return (float(row[0]), float(row[1])) == (trade.price, trade.size)


def recorded(market_data: Path) -> list[Any]:
    """The book frames of the recording."""
    with gzip.open(market_data / "payloads_cryptofeed" / "KRAKEN.ws.50.0.gz", "rt") as file:
        texts = (line.partition(": ")[2] for line in file)
        frames = [json.loads(text) for text in texts if text.startswith("[")]
    return [frame for frame in frames if str(frame[-2]).startswith("book-")]


def test_20_a_lost_book_is_no_book_and_quotes_go_on(watched: Watched):
    watched.begin()
    time.sleep(1.0)
    watched.server.hides_wholes = True
    watched.server.wrong_checksums = 1
    watched.until(lambda: "CHECKSUM" in watched.reasons())
    assert not all(watched.feed.status().synced.values()), "a wrong book is none"
    before = len(watched.facts)
    watched.until(lambda: spreads(watched.facts[before:]))
    watched.until(lambda: sum(one["event"] == "unsubscribe" for one in watched.server.asked) >= 2)
    watched.server.hides_wholes = False
    watched.settled()
    assert watched.server.connects == 1
    assert_continuous(watched)


def spreads(facts: list[Any]) -> list[Quote]:
    """The quotes that no book made."""
    return [one for one in facts if isinstance(one, Quote) and not one.update_id]


def depths(watched: Watched) -> list[Depth]:
    return [fact for fact in watched.facts if isinstance(fact, Depth)]


def test_21_what_a_connection_brought_before_all_was_agreed_to_is_gone_on_from(
    server: KrakenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "BACKOFF_S_MIN", 1.0)  # trades happen meanwhile
    server.ends_early = 1
    with LiveFeed(settings_of(server, tmp_path), [BTC, ETH], "kraken") as live:
        watched = Watched(live, server)
        watched.until(lambda: "DISCONNECTED" in watched.reasons(), ticks=False)
        assert len(watched.of(Trade)) == 1 and server.connects == 1
        watched.until(lambda: server.connects == 2)
        watched.until(lambda: live.figures.backfilled[BTC] > 0)
        watched.begin()
        watched.settled()
        assert_continuous(watched)


def test_22_trades_of_a_silence_that_did_not_end_the_connection_are_asked_for(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hft_lib.market.live.kraken.SILENT_NS", 1_000_000_000)
    watched.begin()
    watched.server.is_silent = True
    watched.for_s(2.0)
    watched.server.is_silent = False
    watched.until(lambda: all(watched.feed.figures.backfilled[symbol] for symbol in NAMES))
    watched.settled()
    assert watched.server.connects == 1
    assert_continuous(watched)


def test_19_what_feeds_knows_no_venue_by_name():
    for module in (feed, connection, intake, repairs, watch, gate):
        text = inspect.getsource(module)
        found = re.findall(r"kraken|venue\w* ==|== \w*venue", text, re.IGNORECASE)
        assert not found, module
