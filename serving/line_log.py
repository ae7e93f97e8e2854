"""What of a line's log its tape and the stages do not make again: a file beside the tape.

A stage is a function of its inbox, and an inbox holds what the stage before it made, in order, and
what others said in between: the orchestrator to ingestion, the registry, operators. The file has
the latter, each with its place, how the line was opened, and how far every chain of the log had
come. A chain's digest covers all that was ever written to it, so that the end of it is enough to
know whether a replay makes the same. The file is one of a journal's frames with another header: who
reads journals refuses it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from hft_lib.events import SCHEMA_VERSION, Event, Registered
from hft_lib.line import LineConfig
from serving.runtime.journal import Journal, JournalError, read_frames
from serving.runtime.opening import FEED
from serving.services import SERVICES

FILE = "line"  # beside the rows of a tape
LOGS = tuple(service.name for service in SERVICES)
# Whom a stage hears in turn: the feed, then each the stage before it.
UPSTREAM = dict(zip(LOGS, (FEED, *LOGS), strict=False))
_HEADER, _GIVEN, _ENDS = "line", "given", "ends"
T = TypeVar("T", bound=msgspec.Struct)


class LineHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Whose log it is: the line's name, and how it was opened."""

    schema_version: int = SCHEMA_VERSION
    line: str
    config: LineConfig
    config_sha256: str
    sets: tuple[Registered, ...]
    start_ns: int
    git_commit: str


class Given(msgspec.Struct, frozen=True, array_like=True):
    """A fact of the inbox `log` that is not of whom the stage hears in turn; `after` so many that
    are.
    """

    log: str
    after: int
    writer: str
    fact: Event


class End(msgspec.Struct, frozen=True, array_like=True):
    """The last number and digest of what `writer` wrote to `log` under `key`."""

    log: str
    writer: str
    key: str
    number: int
    digest: bytes


class Ends(msgspec.Struct, frozen=True, array_like=True):
    """Where every chain of the log ended when it was read, and the logic versions that wrote it; a
    file without it was cut.
    """

    ends: tuple[End, ...]
    logic: tuple[int, ...]


class LineLog:
    """A line's log as a file; `given` may be read of several logs at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = self._only(_HEADER, LineHeader)
        if self.header.schema_version != SCHEMA_VERSION:
            raise JournalError(
                f"{path} must have the schema version {SCHEMA_VERSION}, had "
                f"{self.header.schema_version}: read it with the program that wrote it"
            )
        self.ended = self._only(_ENDS, Ends)

    def given(self, log: str) -> Iterator[Given]:
        """What was said in between in the inbox `log`, in its order."""
        for name, content in read_frames(self.path):
            if name == _GIVEN:
                given = msgspec.msgpack.decode(content, type=Given)
                if given.log == log:
                    yield given

    def _only(self, wanted: str, kind: type[T]) -> T:
        for name, content in read_frames(self.path):
            if name == wanted:
                return msgspec.msgpack.decode(content, type=kind)
        raise JournalError(f"{self.path} is no whole log of a line: it has no frame {wanted!r}")


def is_line_log(path: Path) -> bool:
    """Whether `path` is a line's log, rather than a run's journal; raises JournalError for none."""
    return next((name == _HEADER for name, _ in read_frames(path)), False)


class LineLogWriter:
    """Writes a line's log to `path`, in the order in which it is told."""

    def __init__(self, path: Path, header: LineHeader) -> None:
        self._file = Journal.of_other(path, _HEADER, header)

    def give(self, given: Given) -> None:
        """Keep a fact that was said in between."""
        self._file.put(_GIVEN, given)

    def end(self, ends: Ends) -> None:
        """Say where every chain ended, and make all of it durable."""
        self._file.put(_ENDS, ends)
        self._file.close()

    def close(self) -> None:
        """End, whole or not."""
        self._file.close()
