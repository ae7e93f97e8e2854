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
    """What every stage is started from, and the parameter sets that the registry held then.

    `words_ns` numbers the last word about a pair that an operator had said by then, `moves_ns` the
    last about a pair's capital. `git_commit` is of the program that opened it, empty where that is
    not known; lines that were opened before it was kept have none.
    """

    config: LineConfig
    sets: tuple[Registered, ...]
    words_ns: int = 0
    moves_ns: int = 0
    git_commit: str = ""


class NotThisLine(Exception):
    """A service was started for another line than the one that is open."""


class OtherVersion(NotThisLine):
    """What is to be read was written by another version of this program."""

    @classmethod
    def of(cls, what: str, theirs: int, ours: int) -> "OtherVersion":
        """The refusal of `what`, written under the schema version `theirs`."""
        return cls(
            f"the schema version of {what} must be {ours}, was {theirs}: run this line with the "
            "program that wrote it, or open another one"
        )


class RunError(Exception):
    """The run in a folder cannot go on, or cannot begin there; the text is one sentence."""
