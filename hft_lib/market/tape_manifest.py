"""What a tape says of itself, and the hash of its rows."""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

import msgspec

from hft_lib.events import MarketEvent, TimePassed
from hft_lib.market.tape_columns import SCHEMA_VERSION

MANIFEST = "tape.json"


class DataError(ValueError):
    """Market data cannot be read as what they should be; the text is one sentence."""


class TapeError(DataError):
    """The path holds no whole tape, or a tape cannot be written there."""


class TapeFile(msgspec.Struct, frozen=True):
    """One Parquet file of a tape."""

    name: str
    rows: int


class Manifest(msgspec.Struct, frozen=True):
    """What a tape says of itself.

    `end_ns` is the time of the last row, `source` says where the rows came from.
    """

    schema_version: int
    tape_sha256: str
    rows: int
    rows_by_kind: dict[str, int]
    symbols: list[str]
    start_ns: int
    end_ns: int
    source: dict[str, Any]
    files: list[TapeFile]


def is_tape(path: Path | str) -> bool:
    """Whether `path` claims to be a tape: a directory with a manifest."""
    return (Path(path) / MANIFEST).is_file()


def read_manifest(path: Path) -> Manifest:
    """The manifest of the tape at `path`; raises TapeError where there is none to be read."""
    if not path.is_dir():
        raise TapeError(f"{path} is not a tape: a tape is a directory with {MANIFEST}")
    if not is_tape(path):
        raise TapeError(f"{path} is not a tape: it has no {MANIFEST}")
    try:
        manifest = msgspec.json.decode((path / MANIFEST).read_bytes(), type=Manifest)
    except msgspec.DecodeError as error:
        raise TapeError(f"{path / MANIFEST} is not the manifest of a tape: {error}") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise TapeError(
            f"{path} has schema version {manifest.schema_version},"
            f" this program reads {SCHEMA_VERSION}"
        )
    return manifest


class RowHash:
    """The hash of events in canonical order.

    They are fed in time order, so only those of one time are held and sorted.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._encode = msgspec.msgpack.Encoder().encode
        self._moment: list[MarketEvent | TimePassed] = []

    def update(self, events: Sequence[MarketEvent | TimePassed]) -> None:
        """Take the next events; `more` is not part of a row."""
        rows = [*self._moment, *events]
        if rows:
            first = bisect_left(rows, rows[-1].time_ns, key=attrgetter("time_ns"))
            self._moment = rows[first:]
            self._digest.update(self._canonical(rows[:first]))

    def hexdigest(self) -> str:
        """The hash of all that was taken."""
        digest = self._digest.copy()
        digest.update(self._canonical(self._moment))
        return digest.hexdigest()

    def _canonical(self, rows: list[MarketEvent | TimePassed]) -> bytes:
        times = map(attrgetter("time_ns"), rows)
        symbols = [getattr(row, "symbol", "") for row in rows]
        kinds = [type(row).__name__ for row in rows]
        # Sorting what is in order already but for ties costs one comparison a row.
        ordered = sorted(zip(times, symbols, kinds, map(self._encode, map(_plain, rows))))
        return b"".join(map(itemgetter(3), ordered))


def _plain(event: MarketEvent | TimePassed) -> MarketEvent | TimePassed:
    return msgspec.structs.replace(event, more=False) if getattr(event, "more", False) else event
