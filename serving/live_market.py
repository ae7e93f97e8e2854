"""The live market as what a line of one process runs on.

There is no tape of it yet: the journal takes each event before a stage sees it, so what came is in
it with both its times, whatever happens, and the tape is made of that when the run ends.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from hft_lib.events import Event, MarketEvent, Rejected, TimePassed
from hft_lib.market.tape import Tape, TapeWriter
from serving.runtime.embedded import EmbeddedLine
from serving.runtime.journal import LIVE, read, read_header
from serving.runtime.latched import Feed

TAPE = "tape"  # the folder beside the journal
WAIT_S = 0.05  # for events, before what operators say is looked at
DURABLE_S = 1.0  # what came is on disk after this: a tick lost to a power cut is no order


class LiveMarket(msgspec.Struct, frozen=True):
    """Where its tape will be, and when the line began to listen; there is no hash of it yet."""

    path: Path
    start_ns: int
    sha256: str = LIVE


class Taking(Protocol):
    """A live feed."""

    def take(self, timeout_s: float) -> list[Event]:
        """What came since it was last asked, in order; waits where that is nothing."""


def live_feed(
    feed: Taking, line: EmbeddedLine, clock_s: Callable[[], float] = time.monotonic
) -> Feed:
    """The events of `feed` as they come, without end; what it refused goes on record."""

    def events(sleep: Callable[[float], None]) -> Iterator[Event]:
        durable_s = clock_s()
        while True:
            for fact in feed.take(WAIT_S):
                if isinstance(fact, Rejected):
                    line.note(fact)
                else:
                    yield fact
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
