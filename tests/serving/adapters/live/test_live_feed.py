"""The live feed against a real server over HTTP and WebSocket, and its faults."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hft_lib.events import Depth, Funding, Instrument, Mark, Quote, Rejected, TimePassed, Trade
from serving.adapters.live import binance, connection, gate, intake, watch
from serving.adapters.live.connection import backoff_s
from serving.adapters.live.feed import LiveFeed, NotListed, Pace, budget_of
from serving.adapters.live.figures import Figures
from serving.runtime.settings import Settings
from tests.market.watched import WatchedFeed, settings_at
from tests.serving.adapters.live.market_server import MarketServer

SPOT, PERP = "BTC/USDT", "BTC/USDT:USDT"
VENUE = binance.BinanceVenue  # ccxt's many modules are read before the first wait begins


class Watched(WatchedFeed):
    """The feed before the small Binance."""

    def __init__(self, feed: LiveFeed, server: MarketServer) -> None:
        super().__init__(feed)
        self.server = server

    def tick(self) -> None:
        """Both markets go on."""
        self.server.tick(self.server.spot)
        self.server.tick(self.server.perp)

    def of(self, kind: Any, symbol: str = SPOT) -> list[Any]:
        return super().of(kind, symbol)

    def ids(self, symbol: str = SPOT) -> list[int]:
        return [trade.trade_id for trade in self.of(Trade, symbol)]

    def of_reason(self, reason: str) -> list[Rejected]:
        return [one for one in self.facts if isinstance(one, Rejected) and one.reason == reason]

    def begin(self) -> None:
        """Wait until both markets come and their books are whole."""
        self.until(
            lambda: all(self.feed.status().synced.values()) and self.ids() and self.ids(PERP)
        )


@pytest.fixture
def server() -> Iterator[MarketServer]:
    with MarketServer() as made:
        yield made


def settings_of(server: MarketServer, folder: Path) -> Settings:
    return settings_at("binance", server.host, folder)


@pytest.fixture
def watched(server: MarketServer, tmp_path: Path) -> Iterator[Watched]:
    with LiveFeed(settings_of(server, tmp_path), [SPOT, PERP]) as feed:
        yield Watched(feed, server)


def assert_continuous(watched: Watched) -> None:
    """Each trade once and in order, each book change after the one before it, time forward."""
    for symbol in (SPOT, PERP):
        ids = watched.ids(symbol)
        assert ids == list(range(ids[0], ids[-1] + 1))
        last = 0
        for depth in watched.of(Depth, symbol):
            assert depth.snapshot or depth.previous_id <= last < depth.last_id
            last = depth.last_id
        quotes = [quote.update_id for quote in watched.of(Quote, symbol)]
        assert quotes == sorted(set(quotes))
    watched.assert_time_goes_forward()


def test_everything_of_two_markets_comes_in_one_order(watched: Watched):
    watched.begin()
    watched.until(lambda: len(watched.of(Mark, PERP)) > 3 and len(watched.ids()) > 5)
    first = {symbol: watched.of(Instrument, symbol)[0] for symbol in (SPOT, PERP)}
    assert first[SPOT].quantity_step == 0.001 and first[PERP].short == "perp"
    assert watched.facts[:2] == [first[SPOT], first[PERP]]
    assert [book.snapshot for book in watched.of(Depth)][:2] == [True, False]
    assert_continuous(watched)
    status = watched.feed.status()
    assert status.is_open and not status.problem
    assert set(status.channels) == {"spot", "linear-public", "linear-market"}
    counted = {metric.name: metric.samples for metric in watched.feed.figures.collect()}
    assert {sample.labels["channel"] for sample in counted["hft_feed_frames"]} == {*status.channels}


def test_funding_falls_due_when_the_venue_announces_the_next(watched: Watched):
    watched.server.due_ms = due_ms = int(time.time() * 1000)
    watched.begin()
    watched.until(lambda: watched.of(Mark, PERP))
    watched.server.due_ms += 28_800_000
    watched.until(lambda: watched.of(Funding, PERP))
    funding = watched.of(Funding, PERP)
    assert [(one.rate, one.exchange_time_ns) for one in funding] == [(0.0001, due_ms * 10**6)]


def test_time_passes_where_nothing_comes_and_quotes_are_stale(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(intake, "STALE_NS_MIN", 300_000_000)
    monkeypatch.setattr(intake, "STALE_CADENCES", 0.1)
    watched.begin()
    watched.until(lambda: "STALE" in watched.reasons(), ticks=False)
    assert sum(isinstance(fact, TimePassed) for fact in watched.facts) >= 1
    assert watched.feed.figures.quote_age_s[SPOT] > 0.2
    assert watched.reasons().count("STALE") <= 2, "once a symbol and silence"


def test_a_dropped_connection_comes_back_and_missed_trades_are_filled_in(watched: Watched):
    watched.begin()
    server = watched.server
    server.refuses_sockets = True
    server.drop()
    server.tick(server.spot, 7)  # more than the recent trades hold
    server.tick(server.perp, 2)
    watched.until(lambda: "DISCONNECTED" in watched.reasons(), ticks=False)
    last = server.spot.next_trade - 1
    server.refuses_sockets = False
    watched.until(lambda: last in watched.ids(), ticks=False)
    watched.begin()
    assert_continuous(watched)
    assert watched.feed.figures.backfilled[SPOT] >= 7 and watched.feed.figures.reconnects["spot"]


def test_trades_that_the_stream_left_out_are_filled_in_without_a_key(watched: Watched):
    watched.begin()
    watched.server.refuses_old_trades = True
    watched.server.tick(watched.server.spot, 6, skip_trade=6)
    last = watched.server.spot.next_trade - 1
    watched.until(lambda: last in watched.ids())
    assert_continuous(watched)
    assert "TRADES_LOST" not in watched.reasons()


def test_what_no_source_has_is_told_as_lost(watched: Watched):
    watched.begin()
    server = watched.server
    server.tick(server.spot, 2, skip_trade=2)
    gone = server.spot.next_trade - 1
    for number in (gone - 1, gone):
        del server.spot.trades[number]
    watched.until(lambda: "TRADES_LOST" in watched.reasons())
    watched.until(lambda: max(watched.ids()) > gone)
    assert gone not in watched.ids()


def test_a_gap_in_the_book_begins_it_again_and_a_stale_snapshot_is_refused(watched: Watched):
    watched.begin()
    watched.server.stale_snapshots = 1
    watched.server.spot.update_id += 50
    watched.until(lambda: "STALE_SNAPSHOT" in watched.reasons())
    watched.begin()
    assert "DEPTH_GAP" in watched.reasons()
    assert watched.feed.figures.resyncs[SPOT] == 1
    assert len([book for book in watched.of(Depth) if book.snapshot]) == 2
    assert_continuous(watched)


def test_a_corrupt_or_repeated_frame_costs_one_refusal_each(watched: Watched):
    watched.begin()
    server = watched.server
    connects = server.connects
    quote = {"u": 10**6, "s": "BTCUSDT", "b": "NaN", "B": "1", "a": "101", "A": "1"}
    before = len(watched.reasons())
    for frame in ('{"u":1,"s', "\x00\x01", json.dumps(quote), json.dumps(quote | {"b": None})):
        server.send(server.spot, "bookTicker", frame)
    again = server.spot.trades[watched.ids()[0]]
    trade = {"e": "trade", "E": 1, "T": 1, "s": "BTCUSDT", "t": again["id"], "p": "1", "q": "1"}
    server.send(server.spot, "trade", json.dumps(trade | {"m": True}))
    watched.until(lambda: "DUPLICATE" in watched.reasons(), ticks=False)
    told = [reason for reason in watched.reasons()[before:] if reason != "STALE"]
    assert told == ["BROKEN_FRAME", "BROKEN_FRAME", "NAN", "BROKEN_FRAME", "DUPLICATE"]
    watched.until(lambda: len(watched.ids()) > 8)
    assert server.connects == connects
    assert_continuous(watched)


@pytest.mark.parametrize("status", [429, 418])
def test_a_ban_is_kept_by_everything(
    watched: Watched, status: int, monkeypatch: pytest.MonkeyPatch
):
    watched.begin()
    server = watched.server
    server.status, server.retry_after = status, "2"
    server.spot.update_id += 50  # a snapshot is wanted
    watched.until(lambda: server.banned_until_s > 0.0)
    server.drop()
    watched.until(lambda: time.time() > server.banned_until_s)
    watched.until(lambda: watched.feed.status().is_open)
    watched.begin()
    assert server.violations == []
    assert watched.feed.figures.ban_s >= 2.0
    assert_continuous(watched)


def test_a_ban_without_a_time_is_given_one(monkeypatch: pytest.MonkeyPatch, watched: Watched):
    monkeypatch.setitem(gate.RETRY_S, 429, 1.0)
    watched.begin()
    watched.server.status = 429
    watched.server.spot.update_id += 50
    watched.until(lambda: watched.feed.figures.ban_s > 0.0)
    assert watched.feed.figures.ban_s == pytest.approx(1.5)
    watched.begin()


def test_a_venue_in_maintenance_is_waited_for(server: MarketServer, tmp_path: Path):
    server.status = 503
    with LiveFeed(settings_of(server, tmp_path), [SPOT, PERP]) as feed:
        watched = Watched(feed, server)
        watched.until(lambda: "cannot be read" in feed.status().problem, ticks=False)
        server.status = 200
        watched.begin()
        assert feed.status().is_open


def test_a_silent_connection_is_made_anew(watched: Watched, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watch, "SILENCE_S", 0.5)
    monkeypatch.setattr(watch, "SILENCE_S_MIN", 0.5)
    watched.begin()
    connects = watched.server.connects
    watched.server.is_silent = True
    watched.until(lambda: watched.server.connects > connects)
    watched.server.is_silent = False
    watched.until(lambda: watched.feed.status().is_open)
    watched.begin()
    assert_continuous(watched)


def test_a_refused_subscription_is_tried_again(server: MarketServer, tmp_path: Path):
    server.refuses_subscribe = True
    with LiveFeed(settings_of(server, tmp_path), [SPOT, PERP]) as feed:
        watched = Watched(feed, server)
        watched.until(lambda: "subscription was refused" in feed.status().problem, ticks=False)
        server.refuses_subscribe = False
        watched.begin()


def test_a_connection_is_renewed_without_a_loss(server: MarketServer, tmp_path: Path):
    pace = Pace(renew_s=0.5)
    with LiveFeed(settings_of(server, tmp_path), [SPOT, PERP], pace=pace) as feed:
        watched = Watched(feed, server)
        watched.begin()
        connects = server.connects
        watched.until(lambda: server.connects >= connects + 4)
        assert "DISCONNECTED" not in watched.reasons()
        assert not feed.figures.reconnects
        assert_continuous(watched)


def test_filters_and_the_clock_are_looked_at_on_a_timer(server: MarketServer, tmp_path: Path):
    server.clock_ahead_ms = 7000
    pace = Pace(instruments_s=0.3, clock_s=0.2)
    with LiveFeed(settings_of(server, tmp_path), [SPOT], pace=pace) as feed:
        watched = Watched(feed, server)
        watched.until(lambda: "CLOCK_OFFSET" in watched.reasons())
        assert feed.status().clock_offset_s == pytest.approx(7.0, abs=0.5)
        server.step_size = "0.01"
        watched.until(lambda: watched.of(Instrument)[-1].quantity_step == 0.01)
        assert len(watched.of(Instrument)) == 2


def test_where_the_venue_is_is_told_without_the_password_of_its_address(tmp_path: Path):
    address = "http://me:hunter2@localhost:1"
    settings = Settings(exchange="paper", binance_rest_url=address, hft_home=tmp_path)
    kept = gate.Gate(budget_of(settings, "binance"), Figures())
    assert binance.BinanceVenue(settings, [SPOT, PERP], kept).host == "localhost:1"


def test_a_symbol_that_is_not_listed_ends_the_feed(server: MarketServer, tmp_path: Path):
    with LiveFeed(settings_of(server, tmp_path), ["NIX/USDT"]) as feed:
        with pytest.raises(NotListed, match="does not list NIX/USDT"):
            for _ in range(100):
                feed.take(0.2)


def test_waits_grow_and_have_a_bound():
    waits = [backoff_s(failures, chance=lambda: 1.0) for failures in range(30)]
    assert waits[:3] == [0.25, 0.5, 1.0] and waits[-1] == connection.BACKOFF_S_MAX
    assert backoff_s(2, chance=lambda: 0.0) == 0.5


def test_a_thin_market_may_be_silent_for_longer():
    whole = watch.Watch()
    whole.begun(0.0)
    assert whole.left_s(0.0) == watch.SILENCE_S
    whole.was_silent()
    assert whole.limit_s == 2 * watch.SILENCE_S
    for number in range(watch.GAPS_MAX):
        whole.heard(float(number))
    assert whole.limit_s == pytest.approx(watch.SILENCE_CADENCES, rel=0.02)
    streams = watch.StreamWatch()
    streams.heard("trades", 0.0)
    assert streams.silent(60.0) == "" and streams.silent(62.0) == "trades"
    streams.begun(62.0)
    assert streams.silent(62.0 + 119.0) == "" and streams.silent(62.0 + 122.0) == "trades"


def test_one_silent_stream_among_others_makes_the_connection_anew(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
):
    watched.begin()
    monkeypatch.setattr(watch, "STREAM_SILENCE_S", 0.7)
    connects = watched.server.connects
    watched.server.muted = {"trade"}
    watched.until(lambda: watched.server.connects > connects)
    watched.server.muted = set()
    last = watched.server.spot.next_trade - 1
    watched.until(lambda: last in watched.ids())
    assert any("Trade" in fact.detail for fact in watched.of_reason("DISCONNECTED"))
    assert_continuous(watched)
