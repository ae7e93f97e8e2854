"""How a line was opened: what all its services must agree on, written once for each line."""

import msgspec

from hft_lib.events import Registered
from hft_lib.line import LineConfig

FEED, LINE = "feed", "line"


class FeedOpened(msgspec.Struct, frozen=True, kw_only=True):
    """What ingestion feeds the line: the tape and its hash, the time at which it begins, and its
    symbols.
    """

    tape: str
    tape_sha256: str
    start_ns: int
    symbols: tuple[str, ...] = ()


class LineOpened(msgspec.Struct, frozen=True, kw_only=True):
    """What every stage is started from, and the parameter sets that the registry held then."""

    config: LineConfig
    sets: tuple[Registered, ...]


class NotThisLine(Exception):
    """A service was started for another line than the one that is open."""


class RunError(Exception):
    """The run in a folder cannot go on, or cannot begin there; the text is one sentence."""
