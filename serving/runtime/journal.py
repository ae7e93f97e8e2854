"""The log of a line in one process: a file of frames, each chained to the one before it.

A frame is its length, a checksum of that, a checksum over its content and the frame before it, and
the content: the name of a log and a fact. A length that was changed must not pass for the end of
the file, hence its own checksum. The first frame is the header of the run. What the edges bring and
what leaves the line is written; what the stages say to one another is recomputed from it. A
half-written frame at the end, as a crash or a full disk leaves it, ends the reading and is cut off
when the journal is opened again.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import msgspec

from hft_lib.events import SCHEMA_VERSION, Event
from hft_lib.line import LineConfig

RECORDS = "hft.records"  # the log that no stage reads: what left the line
LIVE = ""  # in place of the hash of a tape, where there is none yet
_FRAME = struct.Struct("<III")
_LENGTH = struct.Struct("<I")
_MAGIC = b"HFTJ1\n"
_ENCODER = msgspec.msgpack.Encoder()
_LOG_DECODER = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])
_FACT_DECODER: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)


class JournalError(Exception):
    """The journal cannot be read, or cannot be written."""


class Changed(JournalError):
    """A journal no longer holds the frame that was read from it."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What the run was started with; `start_ns` and `end_ns` bound the part of the tape that it fed
    (0: open). A live run has no hash of its tape, which is made of this journal. `words_ns` numbers
    the last word about a pair that an operator had said by then, `moves_ns` the last about a pair's
    capital.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    config: LineConfig
    config_sha256: str
    git_commit: str
    tape: str
    tape_sha256: str
    start_ns: int
    end_ns: int
    params_sha256: str
    command: str
    words_ns: int = 0
    moves_ns: int = 0


class Place(msgspec.Struct, frozen=True, array_like=True):
    """The end of a frame: how many frames there are to it, where it begins and ends, the chain."""

    frames: int
    start: int
    end: int
    chain: int


class Journal:
    """Append facts to a journal file; `sync` makes what was appended durable."""

    def __init__(self, path: Path, header: Header) -> None:
        self._begin(path, "header", header)

    @classmethod
    def of_other(cls, path: Path, name: str, header: msgspec.Struct) -> Self:
        """A file of such frames that is no run's journal: its first is `header`, called `name`."""
        journal = cls.__new__(cls)
        journal._begin(path, name, header)
        return journal

    def _begin(self, path: Path, name: str, header: msgspec.Struct) -> None:
        self.path = path
        self.frames = 0
        self._chain = 0
        self._file = path.open("xb")
        self._file.write(_MAGIC)
        self.put(name, header)

    @classmethod
    def reopen(cls, path: Path) -> Self:
        """Go on with a journal: what follows its last whole frame is cut off."""
        journal = cls.__new__(cls)
        journal.path = path
        journal.frames, journal._chain, end = 0, 0, len(_MAGIC)
        for _, place in _frames(path):
            journal.frames, journal._chain, end = place.frames, place.chain, place.end
        if not journal.frames:
            raise JournalError(f"journal {path}: no header")
        os.truncate(path, end)
        journal._file = path.open("ab")
        return journal

    def append(self, log: str, fact: Event) -> None:
        """Write one fact of `log`."""
        self.put(log, fact)

    def put(self, name: str, content: msgspec.Struct) -> None:
        """Write one frame: `content`, called `name`."""
        self._append(_ENCODER.encode((name, content)))

    def _append(self, content: bytes) -> None:
        length_check = _length_check(len(content), self._chain)
        self._chain = zlib.crc32(content, self._chain)
        self._file.write(_FRAME.pack(len(content), length_check, self._chain))
        self._file.write(content)
        self.frames += 1

    def sync(self) -> None:
        """Make everything appended durable."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Make everything durable and end."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            self._file.close()  # the disk refused a write: a sync would only refuse again
        else:
            self.close()


def _length_check(length: int, chain: int) -> int:
    """Checksum of a frame's length and of the frames before it."""
    return zlib.crc32(_LENGTH.pack(length), chain)


def _frames(path: Path, after: Place | None = None) -> Iterator[tuple[bytes, Place]]:
    """Content and place of each whole frame, of those `after` a place only.

    Raises JournalError for a file that is not a journal, or that never had that place.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise JournalError(f"journal {path}: {error.strerror}") from error
    with file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise JournalError(f"journal {path}: not a journal, its first bytes are others")
        frames, chain, start = 0, 0, len(_MAGIC)
        if after is not None:
            _find(path, file, after)
            frames, chain, start = after.frames, after.chain, after.end
        while True:
            head = file.read(_FRAME.size)
            if len(head) < _FRAME.size:
                return
            length, length_check, expected = _FRAME.unpack(head)
            if length_check != _length_check(length, chain):
                raise JournalError(f"journal {path}: broken length before byte {file.tell()}")
            content = file.read(length)
            if len(content) < length:
                return
            chain = zlib.crc32(content, chain)
            if chain != expected:
                if file.read(1):
                    raise JournalError(f"journal {path}: broken chain at byte {file.tell()}")
                return
            end, frames = start + _FRAME.size + length, frames + 1
            yield content, Place(frames, start, end, chain)
            start = end


def _find(path: Path, file: BinaryIO, place: Place) -> None:
    """Go to the end of a frame that must be there as it was."""
    file.seek(place.start)
    head = file.read(_FRAME.size)
    file.seek(0, os.SEEK_END)
    if len(head) < _FRAME.size or _FRAME.unpack(head)[2] != place.chain or file.tell() < place.end:
        raise Changed(f"journal {path}: frame {place.frames} is not the one that was read")
    file.seek(place.end)


def read_frames(path: Path) -> Iterator[tuple[str, msgspec.Raw]]:
    """What each whole frame is called, and its content."""
    for content, _ in _frames(path):
        yield _LOG_DECODER.decode(content)


def read_header(path: Path) -> Header:
    """The header of the run."""
    for content, _ in _frames(path):
        name, raw = _LOG_DECODER.decode(content)
        if name != "header":
            break
        return msgspec.msgpack.decode(raw, type=Header)
    raise JournalError(f"journal {path}: no header")


def read(
    path: Path, logs: tuple[str, ...] | None = None, skip: int = 0
) -> Iterator[tuple[str, Event]]:
    """Each fact with its log, in the order of writing; of `logs` only, where given, and without
    those of the first `skip` frames.
    """
    for content, place in _frames(path):
        if place.frames <= skip:
            continue
        name, raw = _LOG_DECODER.decode(content)
        if name != "header" and (logs is None or name in logs):
            yield name, _FACT_DECODER.decode(raw)


def first_place(path: Path) -> Place:
    """The place of the header: no other run has this chain there."""
    for _, place in _frames(path):
        return place
    raise JournalError(f"journal {path}: no header")


def follow(path: Path, after: Place, log: str) -> Iterator[tuple[Place, Event | None]]:
    """Each place after `after` as far as the file is whole, with the fact there if it is of `log`.

    Raises Changed where the frame of `after` is another one now.
    """
    for content, place in _frames(path, after):
        name, raw = _LOG_DECODER.decode(content)
        yield place, _FACT_DECODER.decode(raw) if name == log else None


def read_records(path: Path) -> Iterator[Event]:
    """What the run said for the record: orders, fills, refusals, blocks, marks, decisions."""
    for _, fact in read(path, (RECORDS,)):
        yield fact


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary one beside it is made durable and renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def encode_fact(fact: Any) -> bytes:
    """The bytes of one fact as a log holds them."""
    return _ENCODER.encode(fact)
