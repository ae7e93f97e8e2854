"""The live market as what a line of one process runs on.

There is no tape of it yet: the journal takes each event before a stage sees it, so what came is in
it with both its times, whatever happens, and the tape is made of that when the run ends.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from hft_lib.events import Event, MarketEvent, TimePassed
from hft_lib.market.tape import Tape, TapeWriter
from serving.adapters.live.feed import LiveFeed
from serving.live_order import WAIT_S, LineOrder, Taking, last_trades
from serving.runtime.embedded import EmbeddedLine
from serving.runtime.journal import LIVE, Header, read, read_header
from serving.runtime.latched import Feed
from serving.runtime.run_folder import legs_of_line
from serving.runtime.settings import Settings

TAPE = "tape"  # the folder beside the journal
DURABLE_S = 1.0  # what came is on disk after this: a tick lost to a power cut is no order


class LiveMarket(msgspec.Struct, frozen=True):
    """Where its tape will be, and when the line began to listen; there is no hash of it yet."""

    path: Path
    start_ns: int
    sha256: str = LIVE


def opened(settings: Settings, header: Header, line: EmbeddedLine) -> LiveFeed:
    """The live feed of the legs of `line`, behind what it was told before; to be entered."""
    feed = LiveFeed(settings, legs_of_line(header.config))
    feed.go_on(last_trades(line.hosts["ingestion"].state))
    return feed


def live_feed(
    feed: Taking, line: EmbeddedLine, clock_s: Callable[[], float] = time.monotonic
) -> Feed:
    """The facts of `feed` as they come, without end, what it refused among them.

    Raises NotThisLine where the venue has none of its symbols.
    """

    def events(sleep: Callable[[float], None]) -> Iterator[Event]:
        durable_s = clock_s()
        order = LineOrder(feed, line.hosts["ingestion"].state.time_ns)
        while True:
            yield from order.take(WAIT_S)
            if clock_s() - durable_s >= DURABLE_S:
                line.journal.sync()
                durable_s = clock_s()
            sleep(0.0)

    return events


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
