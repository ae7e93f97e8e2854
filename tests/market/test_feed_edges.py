"""What a real venue does at the edges, by its number: at a handshake, a ban, a listing, an answer.

Each was found by a market of another make, which had these in combinations.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.adapters.live import connection, gate, repairs
from serving.adapters.live.feed import LiveFeed, NotListed, Pace
from tests.serving.adapters.live.market_server import MarketServer
from tests.serving.adapters.live.test_live_feed import (
    PERP,
    SPOT,
    Watched,
    assert_continuous,
    settings_of,
)


@pytest.fixture
def server() -> Iterator[MarketServer]:
    with MarketServer() as made:
        yield made


@pytest.fixture
def watched(server: MarketServer, tmp_path: Path) -> Iterator[Watched]:
    with LiveFeed(settings_of(server, tmp_path), [SPOT, PERP], pace=Pace(0.3, 60.0, 0.5)) as feed:
        yield Watched(feed, server)


def test_e01_a_handshake_that_is_never_answered_is_given_up(
    server: MarketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "OPEN_S_MAX", 1.0)
    server.hangs_sockets = True
    with LiveFeed(settings_of(server, tmp_path), [SPOT, PERP]) as feed:
        watched = Watched(feed, server)
        watched.until(lambda: server.connects > 3)  # three connections, each tried again
        server.hangs_sockets = False
        watched.begin()
        assert_continuous(watched)


def test_e02_a_renewal_that_is_refused_leaves_the_connection_that_is_open(watched: Watched):
    watched.begin()
    watched.server.refuses_sockets = True
    watched.for_s(1.5)
    watched.server.refuses_sockets = False
    connects = watched.server.connects
    watched.until(lambda: watched.server.connects >= connects + 3)
    assert "DISCONNECTED" not in watched.reasons()
    assert watched.feed.status().is_open
    assert_continuous(watched)


def test_e03_no_connection_is_renewed_during_a_ban(watched: Watched):
    watched.begin()
    server = watched.server
    server.status, server.retry_after = 418, "2"
    watched.until(lambda: server.banned_until_s > 0.0)
    watched.until(lambda: time.time() > server.banned_until_s)
    connects = server.connects
    watched.until(lambda: server.connects > connects)
    assert server.violations == []
    assert "DISCONNECTED" not in watched.reasons()


def test_e04_a_ban_whose_end_stands_in_its_text_alone_is_kept(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(gate.RETRY_S, 418, 0.5)
    watched.begin()
    server = watched.server
    until_s = time.time() + 3.0
    server.message = f"Way too much; IP banned until {until_s * 1000:.0f}. Use the websocket."
    server.status = 418
    watched.until(lambda: server.banned_until_s > 0.0)
    server.banned_until_s = until_s
    watched.until(lambda: time.time() > until_s)
    asked = len(server.requests)
    watched.until(lambda: len(server.requests) > asked)
    assert server.violations == []


def test_e05_who_is_not_listed_is_named_though_binance_names_nobody(
    server: MarketServer, tmp_path: Path
):
    with LiveFeed(settings_of(server, tmp_path), [SPOT, "NIX/USDT"]) as feed:
        with pytest.raises(NotListed, match="does not list NIX/USDT$"):
            for _ in range(100):
                feed.take(0.2)


def test_e06_a_symbol_that_is_listed_no_more_is_told_once_and_may_come_back(watched: Watched):
    watched.begin()
    watched.server.is_listed_no_more = True
    watched.until(lambda: watched.feed.status().halted == (SPOT, PERP))
    assert [one.subject for one in watched.of_reason("HALTED")] == [SPOT, PERP]
    watched.server.is_listed_no_more = False
    watched.until(lambda: not watched.feed.status().halted)
    assert watched.reasons().count("HALTED") == 2


def test_e07_terms_that_cannot_be_read_at_first_are_waited_for(
    server: MarketServer, tmp_path: Path
):
    server.hides_filters = True
    with LiveFeed(settings_of(server, tmp_path), [SPOT, PERP]) as feed:
        watched = Watched(feed, server)
        watched.until(lambda: "cannot be read" in feed.status().problem, ticks=False)
        assert "MALFORMED" in watched.reasons()
        server.hides_filters = False
        watched.begin()


@pytest.mark.parametrize("fault", ["broken_answers", "failed_answers", "cut_answers"])
def test_e08_trades_are_not_given_up_for_answers_that_are_broken_off_or_errors(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, fault: str
):
    watched.begin()
    monkeypatch.setattr(repairs, "backoff_s", lambda failures: 0.1)
    setattr(watched.server, fault, repairs.DOUBTFUL_MAX - 1)
    watched.server.tick(watched.server.spot, 6, skip_trade=6)
    last = watched.server.spot.next_trade - 1
    watched.until(lambda: last in watched.ids())
    assert getattr(watched.server, fault) == 0
    assert "TRADES_LOST" not in watched.reasons()
    assert_continuous(watched)


def test_e09_trades_are_not_given_up_while_the_venues_copy_is_behind(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
):
    watched.begin()
    monkeypatch.setattr(repairs, "backoff_s", lambda failures: 0.1)
    watched.server.behind = 20
    watched.server.tick(watched.server.spot, 6, skip_trade=6)
    last = watched.server.spot.next_trade - 1
    watched.server.tick(watched.server.spot)  # what shows that some are missing
    asked = len(watched.server.requests)
    answers = 3 * (repairs.BACKFILLS_MAX + 1)  # at three sources each
    watched.until(lambda: len(watched.server.requests) > asked + answers, ticks=False)
    watched.server.behind = 0
    watched.until(lambda: last in watched.ids())
    assert "TRADES_LOST" not in watched.reasons()
    assert_continuous(watched)


@pytest.mark.parametrize("where", ["/api/", "/ws/"])
def test_e10_the_wall_before_a_venue_is_left_alone_for_a_while(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, where: str
):
    server = watched.server
    monkeypatch.setitem(gate.RETRY_S, 403, server.wall_s)
    watched.begin()
    server.status, server.status_of = 403, where
    server.drop()
    watched.until(lambda: server.banned_until_s > 0.0)
    watched.until(lambda: time.time() > server.banned_until_s)
    asked = len(server.requests)
    watched.until(lambda: len(server.requests) > asked)
    watched.begin()
    assert server.violations == []


@pytest.mark.parametrize("where", ["/api/", "/ws/"])
def test_e11_what_the_venue_says_to_one_is_known_before_the_next_is_asked(
    watched: Watched, where: str
):
    watched.begin()
    server = watched.server
    server.status, server.status_of, server.retry_after = 418, where, "2"
    server.answers_after_s = 0.4  # in which the other connections would be tried again
    server.drop()
    watched.until(lambda: server.banned_until_s > 0.0)
    watched.until(lambda: time.time() > server.banned_until_s)
    watched.begin()
    assert server.violations == []
