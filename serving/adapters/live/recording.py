"""A live feed into a tape: what came, with both clocks; what was refused is beside it.

A recording that ends, by its time, by a word or because the disk is nearly full, leaves a whole
tape: the last of them is seen before the disk is full, when there is still room for the end.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from hft_lib.events import Instrument, Rejected, TimePassed
from hft_lib.market.tape import TapeWriter
from serving.adapters.live.feed import Status
from serving.adapters.live.intake import Told

REFUSED = "rejected.jsonl"
REFUSED_MAX = 100_000  # lines of it; all are counted
FREE_BYTES_MIN = 256 << 20  # row groups and manifest that are not on disk yet need far less
TAKE_S = 0.25
FIRST_S_MAX = 20.0  # for the first quote or trade; a venue that is there brings one within seconds
LOAD_S_MAX = 120.0  # for the venue's own modules, on a slow machine
DONE, STOPPED, DISK = "done", "stopped", "disk"


class NoMarket(Exception):
    """Nothing of a market came; the text says what was wrong with it."""


class Feed(Protocol):
    """What is recorded."""

    def take(self, timeout_s: float) -> list[Told]:
        """The facts since the last call."""

    def status(self) -> Status:
        """How the feed is."""


class Recorded(msgspec.Struct):
    """How a recording went; `ended` says why it ended."""

    rows: int = 0
    rejected: Counter[str] = msgspec.field(default_factory=Counter)
    ended: str = DONE
    seconds: float = 0.0


def free_bytes(path: Path) -> int:
    """What is free on the disk of `path`."""
    return shutil.disk_usage(path).free


def record(
    feed: Feed,
    writer: TapeWriter,
    seconds: float,
    is_stopped: Callable[[], bool],
    tell: Callable[[Recorded, Status], None],
    free: Callable[[Path], int] = free_bytes,
) -> Recorded:
    """Write what `feed` brings for `seconds` from the first quote or trade on, or until stopped.

    `tell` is told how it goes, some times a second. Raises NoMarket where nothing comes at first.
    """
    recorded = Recorded()
    _await_venue(feed, is_stopped)
    with (writer.directory / REFUSED).open("wb") as refused:
        asked_s = time.monotonic()
        began_s: float | None = None
        while not is_stopped():
            facts = feed.take(TAKE_S)
            _write(writer, recorded, facts, refused)
            now_s = time.monotonic()
            if began_s is None and any(map(_is_market, facts)):
                began_s = now_s
            if began_s is None and now_s - asked_s > FIRST_S_MAX:
                raise NoMarket(why_nothing(feed.status()))
            recorded.seconds = now_s - (began_s or now_s)
            tell(recorded, feed.status())
            if began_s is not None and recorded.seconds >= seconds:
                return recorded
            if free(writer.directory) < FREE_BYTES_MIN:
                recorded.ended = DISK
                break
        else:
            recorded.ended = STOPPED
    if began_s is None:
        raise NoMarket(f"it ended before any market data came: {why_nothing(feed.status())}")
    return recorded


def _await_venue(feed: Feed, is_stopped: Callable[[], bool]) -> None:
    """Wait until the venue's modules are loaded: no fault of the network."""
    end_s = time.monotonic() + LOAD_S_MAX
    while not feed.status().host and time.monotonic() < end_s and not is_stopped():
        time.sleep(0.02)


def _write(writer: TapeWriter, recorded: Recorded, facts: list[Told], refused: BinaryIO) -> None:
    writer.write(fact for fact in facts if not isinstance(fact, Rejected))
    for fact in facts:
        if not isinstance(fact, Rejected):
            recorded.rows += 1
            continue
        if recorded.rejected.total() < REFUSED_MAX:
            refused.write(msgspec.json.encode(fact) + b"\n")
        recorded.rejected[fact.reason] += fact.count


def _is_market(fact: Told) -> bool:
    return not isinstance(fact, Rejected | Instrument | TimePassed)


def why_nothing(status: Status) -> str:
    """Why no market data came, as far as the feed knows."""
    problem = status.problem or "it is connected and silent"
    where = status.host or status.venue
    return f"no market data came from {where}: {problem}"
