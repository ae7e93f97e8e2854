"""`hft tape record --venue kraken` from a server of our own; what came is run and replayed."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hft_lib.events import Depth, Instrument, Quote, Trade
from hft_lib.market.tape import Tape
from hft_lib.parameters import read_parameter_file
from serving.adapters.live import kraken
from tests.cli.conftest import Verb, write
from tests.market.kraken import KrakenServer
from tests.market.watched import going_on

VENUE = kraken.KrakenVenue  # ccxt's many modules are read before the first wait begins
PAIR = "BTC/USD~ETH/USD"
RECORD = ("tape", "record", "--venue", "kraken", "--for", "2s")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KrakenServer]:
    """A market that goes on by itself."""

    def tick() -> None:
        for name in made.pairs:
            made.tick(name)

    with KrakenServer() as made:
        monkeypatch.setenv("KRAKEN_REST_URL", f"http://{made.host}")
        monkeypatch.setenv("KRAKEN_WS_URL", f"ws://{made.host}")
        with going_on(tick):
            yield made


def test_what_came_of_kraken_is_on_the_tape(hft: Verb, server: KrakenServer, tmp_path: Path):
    out = tmp_path / "tape"
    told = hft(*RECORD, "--pair", PAIR, "--out", out, "--json").json
    assert told["symbols"] == ["BTC/USD", "ETH/USD"] and told["ended"] == "done"
    assert told["rejected"] == {}
    tape = Tape.open(out)
    assert tape.manifest.source["venue"] == "kraken"
    events = list(tape.events())
    assert [type(event) for event in events[:2]] == [Instrument, Instrument]
    for symbol, name in (("BTC/USD", "XBT/USD"), ("ETH/USD", "ETH/USD")):
        own = [one for one in events if isinstance(one, Trade) and one.symbol == symbol]
        prices = [(one.price, one.size) for one in own]
        truth = [(float(price), float(size)) for price, size, *_ in server.pairs[name].trades]
        first = truth.index(prices[0])
        assert len(own) > 10 and prices == truth[first : first + len(own)]
        books = [one for one in events if isinstance(one, Depth) and one.symbol == symbol]
        assert [one.snapshot for one in books] == [True] + [False] * (len(books) - 1)
    assert any(isinstance(one, Quote) for one in events)
    assert hft("tape", "check", out, "--json").code == 0


def test_a_tape_of_kraken_replays_to_the_same_facts(
    hft: Verb, server: KrakenServer, params: Path, tmp_path: Path, home: Path
):
    out = tmp_path / "tape"
    assert hft(*RECORD, "--pair", PAIR, "--out", out, "--json").code == 0
    file = msgspec.structs.replace(read_parameter_file(params.read_bytes()), pair=PAIR)
    named = ("--tape", out, "--params", write(tmp_path / "params.json", file))
    ran = hft("run", *named, "--json").json
    journal = Path(ran["journal"]) if "journal" in ran else next(home.rglob("journal*"))
    verified = hft("replay", *named, "--verify", journal, "--json")
    assert verified.code == 0, verified.err
    assert verified.json["orders_sha256"] == ran["orders_sha256"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--venue", "nowhere", "--symbol", "BTC/USD"), "--venue must be one of binance, kraken"),
        (("--venue", "kraken", "--symbol", "BTC/USD:USD"), "BTC/USD:USD is no spot symbol"),
        (("--venue", "kraken", "--symbol", "NIX/USD"), "does not list NIX/USD"),
    ],
)
def test_what_kraken_has_not_is_said(
    hft: Verb, server: KrakenServer, tmp_path: Path, words: tuple[str, ...], sentence: str
):
    told = hft("tape", "record", *words, "--for", "2s", "--out", tmp_path / "tape")
    assert told.code == 2 and sentence in told.sentence
    assert not (tmp_path / "tape").exists()
