"""Two pairs on one tape, a parameter file for each, and what a replay makes of them."""

from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import chain
from pathlib import Path

from hft_lib.backtest.tally import Tally
from hft_lib.events import Event
from hft_lib.line import LineConfig, PairConfig, registrations, registry_words
from hft_lib.market import synthetic
from hft_lib.market.merge import feed_events
from hft_lib.market.tape import Tape, TapeWriter
from hft_lib.parameters import read_parameter_file
from hft_lib.stage import Line
from serving.services import stages
from tests.integration.conftest import Outside

COINS = ("SYN/USDT", "TWO/USDT")
PAIRS = tuple(f"{coin}:USDT~{coin}" for coin in COINS)
DAYS = 8.0
CAPITAL_QUOTE = 10_000.0  # what is set by default


class TwoPairs:
    """Two synthetic markets of the same days as one tape."""

    def __init__(self, folder: Path, outside: Outside) -> None:
        self.tape = folder / "two"
        markets = [
            synthetic.SyntheticMarket(days=DAYS, x_symbol=coin, y_symbol=f"{coin}:USDT")
            for coin in COINS
        ]
        events = [synthetic.synthesise(3 + at, market)[0] for at, market in enumerate(markets)]
        with TapeWriter(self.tape, {"synthetic": "two markets"}) as tape:
            tape.write(merge(*events, key=lambda event: event.time_ns))
        self.params = [folder / f"{at}.json" for at in range(len(COINS))]
        for pair, params in zip(PAIRS, self.params, strict=True):
            fit = ("--pair", pair, "--end", "2024-01-04T00:00:00Z", "--out", params)
            assert outside("calibrate", "--tape", self.tape, *fit).code == 0
        self.replayed = hash_by_pair(self._replay())

    def _replay(self) -> Iterator[Event]:
        """What leaves the six stages, both pairs in one line: their correlation sizes both."""
        files = [read_parameter_file(path.read_bytes()) for path in self.params]
        pairs = tuple(PairConfig(pair=file.pair, capital_quote=CAPITAL_QUOTE) for file in files)
        line = Line(stages(), LineConfig(pairs=pairs, grid_ms=files[0].params.grid_ms))
        tape = Tape.open(self.tape)
        sets = [item for file in files for item in registrations(file, tape.start_ns)]
        posts = [("orchestrator", said) for said in registry_words(sets)]
        for log, fact in chain(posts, (("ingestion", event) for event in feed_events(tape))):
            yield from (made for _, made in line.post(log, fact))

    def words(self, *places: int) -> list[object]:
        """`--params` of the pairs, in this order."""
        return [word for place in places for word in ("--params", self.params[place])]


def hash_by_pair(facts: Iterable[Event]) -> dict[str, str]:
    """The hash of each pair's orders."""
    tallies = {pair: Tally() for pair in PAIRS}
    for fact in facts:
        pair = getattr(fact, "pair", "")
        if pair in tallies:
            tallies[pair].take(fact)
    return {pair: tally.orders_sha256() for pair, tally in tallies.items()}
