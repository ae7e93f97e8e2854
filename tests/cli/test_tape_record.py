"""`hft tape record` from a real server: a whole tape however it ends, or a sentence."""

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.errors import BadInput
from cli.tape_record import parse_duration
from hft_lib.events import Instrument, Quote, Trade
from hft_lib.market import quality
from hft_lib.market.tape import Tape
from serving.adapters.live import binance, recording
from tests.cli.conftest import ended
from tests.market.watched import going_on
from tests.serving.adapters.live.market_server import MarketServer

PAIR = "BTC/USDT:USDT~BTC/USDT"
VENUE = binance.BinanceVenue  # ccxt's many modules are read before the first wait begins


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MarketServer]:
    """A market that goes on by itself."""

    def tick() -> None:
        made.tick(made.spot)
        made.tick(made.perp)

    with MarketServer() as made:
        monkeypatch.setenv("BINANCE_REST_URL", f"http://{made.host}")
        monkeypatch.setenv("BINANCE_WS_URL", f"ws://{made.host}")
        with going_on(tick):
            yield made


def rows(path: Path) -> list[Any]:
    return list(Tape.open(path).events())


def test_what_came_is_on_the_tape(hft: Any, server: MarketServer, tmp_path: Path):
    out = tmp_path / "tape"
    told = hft("tape", "record", "--pair", PAIR, "--for", "2s", "--out", out, "--json").json
    assert told["symbols"] == ["BTC/USDT", "BTC/USDT:USDT"] and told["ended"] == "done"
    assert told["seconds"] == pytest.approx(2.0, abs=1.0)
    tape = Tape.open(out)
    assert (tape.rows, tape.sha256) == (told["rows"], told["tape_sha256"])
    assert "HASH" not in {flaw.reason for flaw in quality.check(out).flaws}
    events = rows(out)
    assert [type(event) for event in events[:2]] == [Instrument, Instrument]
    for symbol, market in (("BTC/USDT", server.spot), ("BTC/USDT:USDT", server.perp)):
        own = [one for one in events if isinstance(one, Trade) and one.symbol == symbol]
        ids = [trade.trade_id for trade in own]
        assert len(ids) > 10 and ids == list(range(ids[0], ids[-1] + 1))
        truth = [market.trades[number] for number in ids]
        assert [trade.price for trade in own] == [float(row["price"]) for row in truth]
        assert [trade.exchange_time_ns for trade in own] == [row["time"] * 10**6 for row in truth]
    assert all(event.time_ns > 0 for event in events if isinstance(event, Quote))
    assert (out / recording.REFUSED).is_file()
    checked = hft("tape", "check", out, "--json")
    assert checked.code == 0 and checked.json["rows"] == told["rows"]


def test_an_interrupt_leaves_a_whole_tape(begin: Any, server: MarketServer, tmp_path: Path):
    out = tmp_path / "tape"
    process = begin("tape", "record", "--symbol", "BTC/USDT", "--for", "1h", "--out", out, "--json")
    while not server.spot.sockets:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    heard = server.spot.next_trade
    while server.spot.next_trade < heard + 50:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    told = ended(process).json
    assert told["ended"] == "stopped"
    assert Tape.open(out).rows == told["rows"] > 3


def test_a_disk_that_is_nearly_full_leaves_a_whole_tape(
    hft: Any, server: MarketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out, begun_s = tmp_path / "tape", time.monotonic()

    def usage(path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=0 if time.monotonic() - begun_s > 3.0 else 1 << 40)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    answer = hft("tape", "record", "--pair", PAIR, "--for", "1h", "--out", out)
    assert answer.code == 1 and "is nearly full" in answer.err
    assert Tape.open(out).rows > 3


def test_without_a_network_a_sentence_says_so(
    hft: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("BINANCE_REST_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(recording, "FIRST_S_MAX", 1.0)
    out = tmp_path / "tape"
    answer = hft("tape", "record", "--pair", PAIR, "--for", "10s", "--out", out)
    assert answer.code == 1
    last = answer.err.splitlines()[-1]
    assert last.startswith("hft: no market data came from 127.0.0.1:9") and "network" in last
    assert "Cannot connect to host 127.0.0.1:9" in last
    assert "Traceback" not in answer.err
    assert [one for one in tmp_path.iterdir() if one.name != "home"] == [], "nothing is left"


def test_a_symbol_that_is_not_listed_is_bad_input(hft: Any, server: MarketServer, tmp_path: Path):
    words = ("tape", "record", "--symbol", "NIX/USDT", "--for", "10s", "--out", tmp_path / "tape")
    answer = hft(*words)
    assert answer.code == 2 and "does not list NIX/USDT" in answer.err


@pytest.mark.parametrize(
    "words",
    [
        ("--for", "soon", "--pair", PAIR),
        ("--for", "10s"),
        ("--for", "10s", "--symbol", "btc"),
        ("--for", "10s", "--pair", PAIR, "--symbol", "BTC/USDT"),
        ("--for", "10s", "--pair", "BTC/USDT"),
    ],
)
def test_what_makes_no_sense_is_bad_input(hft: Any, tmp_path: Path, words: tuple[str, ...]):
    answer = hft("tape", "record", *words, "--out", tmp_path / "tape")
    assert answer.code == 2 and answer.sentence


def test_durations_are_read():
    assert parse_duration("1h30m") == 5400.0 and parse_duration("0.5s") == 0.5
    for wrong in ("", "10", "m", "0s", "40d", "-1s", "1.2.3s"):
        with pytest.raises(BadInput):
            parse_duration(wrong)
