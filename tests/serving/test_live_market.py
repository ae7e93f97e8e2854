"""The live market under a line of one process: what came is kept, and its tape brings it again."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from cli.replay import verify_over_tape
from cli.runs import read_header
from hft_lib.backtest.tally import Tally
from hft_lib.events import MarketEvent, Rejected, TimePassed
from hft_lib.market.merge import feed_events
from hft_lib.market.tape import TapeError
from serving.adapters.live.intake import Told
from serving.live_market import LiveMarket, live_feed, write_tape
from serving.runtime.embedded import EmbeddedLine
from serving.runtime.journal import RECORDS, Header, Journal, encode_fact, read
from serving.runtime.run_folder import legs_of_line, new_header
from tests.builders import story, story_config

POSTS = story()
REFUSAL = Rejected(1, "feed", "CORRUPT", "BTC/USDT", "a frame cut off")


class Ended(Exception):
    """The script is through."""


class Script:
    """A feed that brings the story's market, each event at a time of its own, and a refusal in each
    of its turns.
    """

    def __init__(self) -> None:
        legs = {*legs_of_line(story_config())}
        fed = (fact for _, fact in POSTS if isinstance(fact, MarketEvent | TimePassed))
        market = [fact for fact in fed if isinstance(fact, TimePassed) or fact.symbol in legs]
        last_ns = 0
        self.events: list[Told] = []
        for event in market:
            last_ns = max(last_ns + 1, event.time_ns)
            more = {"more": False} if hasattr(event, "more") else {}
            self.events.append(replace(event, time_ns=last_ns, **more))
        self._turns = iter(range(0, len(self.events), 7))

    def take(self, timeout_s: float) -> list[Told]:
        """Seven events at a time."""
        begin = next(self._turns, None)
        if begin is None:
            raise Ended
        return [*self.events[begin : begin + 7], REFUSAL]


def never(seconds: float) -> None:
    """A wait in which nothing happens."""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A live run of the whole story in `tmp_path`; its tape is not made yet."""
    path, script = tmp_path / "journal", Script()
    market = LiveMarket(tmp_path / "tape", script.events[0].time_ns)
    header: Header = new_header(
        market, (), story_config(), "r1", "hft run", (market.start_ns, None)
    )
    with Journal(path, header) as written:
        line = EmbeddedLine(story_config(), written, tmp_path / "snapshot")
        for log, fact in POSTS:
            if log != "ingestion":
                line.post(log, fact)
        feed = iter(live_feed(script, line)(never))
        with pytest.raises(Ended):
            while True:
                line.feed(next(feed))
    return path


def test_every_fact_of_a_live_run_comes_again_of_the_tape_that_its_journal_makes(journal: Path):
    tape = write_tape(journal)
    brought, came = list(feed_events(tape)), Script().events
    assert [encode_fact(fact) for fact in brought[: len(came)]] == [*map(encode_fact, came)]
    known = verify_over_tape(tape, (), read_header(journal), journal, Tally())
    assert known["verified"] and known["complete"]
    told = [log for log, fact in read(journal) if fact == REFUSAL]
    assert known["rejected"]["CORRUPT"] == told.count(RECORDS) == told.count("ingestion") > 0
    assert known["orders"] > 0


def test_a_tape_is_made_again_after_more_came_and_refused_where_nothing_did(
    journal: Path, tmp_path: Path
):
    first = write_tape(journal)
    assert write_tape(journal).sha256 == first.sha256
    empty = tmp_path / "empty"
    empty.mkdir()
    market = LiveMarket(empty / "tape", 1)
    with Journal(empty / "journal", new_header(market, (), story_config(), "r2", "x", (1, None))):
        pass
    with pytest.raises(TapeError):
        write_tape(empty / "journal")
