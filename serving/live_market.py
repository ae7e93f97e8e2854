"""The live market as what a line of one process runs on.

There is no tape of it yet: the journal takes each event before a stage sees it, so what came is in
it with both its times, whatever happens, and the tape is made of that when the run ends.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import to_builtins

from hft_lib.events import Event, MarketEvent, Rejected, TimePassed
from hft_lib.market.live.items import Unreadable
from hft_lib.market.merge import DAY_NS
from hft_lib.market.tape import Tape, TapeWriter
from serving.adapters.live.feed import LiveFeed, NotListed
from serving.adapters.live.intake import Told
from serving.runtime.embedded import EmbeddedLine
from serving.runtime.journal import LIVE, Header, read, read_header
from serving.runtime.latched import Feed
from serving.runtime.opening import FEED, NotThisLine
from serving.runtime.run_folder import legs_of_line
from serving.runtime.settings import Settings

TAPE = "tape"  # the folder beside the journal
WAIT_S = 0.05  # for events, before what operators say is looked at
DURABLE_S = 1.0  # what came is on disk after this: a tick lost to a power cut is no order


class LiveMarket(msgspec.Struct, frozen=True):
    """Where its tape will be, and when the line began to listen; there is no hash of it yet."""

    path: Path
    start_ns: int
    sha256: str = LIVE


class LivePart:
    """What a service's pages show of its live feed."""

    def __init__(self, feed: LiveFeed) -> None:
        self._feed = feed

    def why(self) -> str:
        """Why nothing comes; empty where the market does."""
        return self._feed.status().problem

    def document(self) -> dict[str, Any]:
        """The feed's own word of itself."""
        return {"feed": to_builtins(self._feed.status())}

    def figures(self) -> dict[str, tuple[str, float]]:
        """None without a label: those of the feed are measured by label."""
        return {}


def opened(settings: Settings, header: Header) -> LiveFeed:
    """The live feed of a line's legs, to be entered."""
    return LiveFeed(settings, legs_of_line(header.config))


class Taking(Protocol):
    """A live feed."""

    def take(self, timeout_s: float) -> list[Told]:
        """What came since it was last asked, in order; waits where that is nothing."""


def live_feed(
    feed: Taking, line: EmbeddedLine, clock_s: Callable[[], float] = time.monotonic
) -> Feed:
    """The events of `feed` as they come, without end; what it refused goes on record.

    A line that goes on is first told of the midnights that passed while nobody listened; what came
    before its own time, by a clock that was set back, is refused. Raises NotThisLine where the
    venue has none of its symbols.
    """

    def events(sleep: Callable[[float], None]) -> Iterator[Event]:
        durable_s, last_ns = clock_s(), line.hosts["ingestion"].state.time_ns
        while True:
            for fact in _taken(feed):
                if isinstance(fact, Rejected):
                    line.note(fact)
                    continue
                if fact.time_ns <= last_ns:
                    line.note(_behind(fact, last_ns))
                    continue
                if last_ns:
                    yield from _midnights(last_ns, fact.time_ns)
                    last_ns = 0  # from here on the feed's own order holds
                yield fact
            if clock_s() - durable_s >= DURABLE_S:
                line.journal.sync()
                durable_s = clock_s()
            sleep(0.0)

    return events


def _taken(feed: Taking) -> list[Told]:
    try:
        return feed.take(WAIT_S)
    except (NotListed, Unreadable) as error:
        raise NotThisLine(str(error)) from error


def _behind(fact: MarketEvent | TimePassed, last_ns: int) -> Rejected:
    symbol = "" if isinstance(fact, TimePassed) else fact.symbol
    detail = f"{(last_ns - fact.time_ns) / 1e9:.3f} s behind what the line has seen"
    return Rejected(last_ns, FEED, "CLOCK_BACK", symbol, detail)


def _midnights(last_ns: int, until_ns: int) -> Iterator[TimePassed]:
    """Each midnight after `last_ns` and before `until_ns`, as the line's tape will have them."""
    first_ns = (last_ns // DAY_NS + 1) * DAY_NS
    return (TimePassed(time_ns) for time_ns in range(first_ns, until_ns, DAY_NS))


def write_tape(journal: Path) -> Tape:
    """The tape of a live run, made of its journal where the header says; raises TapeError where
    nothing came, or the place is taken by something else than a tape.
    """
    header = read_header(journal)
    path = Path(header.tape)
    source = {"kind": "live", "run": header.run_id, "code": header.git_commit}
    with TapeWriter(path, source, replace=True) as tape:
        tape.write(_fed(journal))
    return Tape.open(path)


def _fed(journal: Path) -> Iterator[MarketEvent | TimePassed]:
    for _, fact in read(journal, ("ingestion",)):
        if isinstance(fact, MarketEvent | TimePassed):
            yield fact
