"""Effect once: every fact of a log is numbered by its writer and chained to the one before it.

A writer numbers its facts by log and key, from 1, and the digest of each covers the one before. A
reader takes number n + 1 after n if its digest continues the chain; a number it has seen is dropped
(a writer that restarts from a snapshot says again what it said); a gap or another digest means that
something was lost or that a restart did not repeat itself, and raises Diverged. The digests cover
what is written and nothing of who runs it, so that a restart under a new epoch continues them.

A writer of which there may be one alone carries an epoch, taken anew at each start: what an older
one still says is not heard. Epochs are heard by writer and not by key: were an older one still
heard on keys of which the newer has not spoken yet, facts would change their order across keys. An
epoch begins with an announcement in the writer's own inbox: from there on in that log an older
process ends, and nothing is heard of its edges.
"""

import enum
from hashlib import blake2b

import msgspec

from hft_lib.events import SCHEMA_VERSION, Event

# What the stages make of the same inbox. A change of it is seen in the header of every fact.
LOGIC_VERSION = 7

# Ours have a hundred: more is none of ours, and neither decoded nor kept.
HEADER_BYTES_MAX = 512
_DIGEST_BYTES = 8  # chance of not seeing a divergence: 1 in 2^64
_ENCODER = msgspec.msgpack.Encoder()


class Diverged(Exception):
    """A log does not hold what its writer must have written."""


class Superseded(Exception):
    """A newer process of this service has begun: nothing that this one says is heard any more."""


class Undecodable(Exception):
    """A message of a log is none of ours; the message says why."""


class Origin(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What of the world a fact came of: when an edge read that, on its host's wall clock (0: it
    came of nothing), and its name, `writer-number`, the same through every restart.

    It is there to be looked at: the digests leave it out and nothing is decided by it.
    """

    born_ns: int = 0
    trace: str = ""


NO_ORIGIN = Origin()


class Header(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What travels beside a fact: versions, who wrote it, which of its facts this is, the chain,
    and what it came of.
    """

    schema: int
    logic: int
    writer: str
    epoch: int
    number: int
    digest: bytes
    origin: Origin = NO_ORIGIN


class Mark(msgspec.Struct, array_like=True, gc=False):
    """How far a chain has come: the last number and its digest."""

    number: int = 0
    digest: bytes = b""


Marks = dict[str, Mark]
Epochs = dict[str, int]


class Verdict(enum.Enum):
    """What a reader does with a message."""

    TAKE = "take"
    SEEN = "seen"
    FENCED = "fenced"


_DECODER = msgspec.msgpack.Decoder(Header)
# What bytes that are none of ours come to, however they are made.
_NOT_OURS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_FACT_DECODER: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)


def key_of(fact: Event) -> str:
    """The pair that a fact is of, and `` for what concerns all."""
    pair: str | None = getattr(fact, "pair", None)
    if pair is not None:
        return pair
    tick = getattr(fact, "tick", None)
    return tick.pair if tick is not None else ""


class Outgoing:
    """The chains of one writer, a chain for each log and key."""

    def __init__(self, writer: str, epoch: int = 0) -> None:
        self.writer = writer
        self.epoch = epoch
        self.marks: Marks = {}

    def announcement(self) -> bytes:
        """A header that says nothing but the epoch: its number is 0."""
        return _ENCODER.encode(
            Header(SCHEMA_VERSION, LOGIC_VERSION, self.writer, self.epoch, 0, b"")
        )

    def continue_at(self, log: str, key: str, mark: Mark) -> None:
        """Go on after what a reader of `log` has heard of this writer."""
        self.marks[f"{log}\n{key}"] = Mark(mark.number, mark.digest)

    def number(self, log: str, key: str = "") -> int:
        """The last number written to a log and key, 0 before the first."""
        return _mark(self.marks, log, key).number

    def chain(self, log: str, key: str, content: bytes) -> Mark:
        """Number `content` and chain it; returns how far that chain has come."""
        mark = _mark(self.marks, log, key)
        mark.number += 1
        mark.digest = _digest(mark.digest, content)
        return mark

    def header(self, log: str, key: str, content: bytes, origin: Origin = NO_ORIGIN) -> bytes:
        """Number `content`, which came of `origin`, and chain it; returns the header as it
        travels.
        """
        mark = self.chain(log, key, content)
        return _ENCODER.encode(
            Header(
                SCHEMA_VERSION,
                LOGIC_VERSION,
                self.writer,
                self.epoch,
                mark.number,
                mark.digest,
                origin,
            )
        )


class Incoming:
    """How far one reader has heard each writer and key of its log."""

    def __init__(self, log: str) -> None:
        self.log = log
        self.marks: Marks = {}
        self.epochs: Epochs = {}  # the highest that was heard of each writer

    def judge(self, header: Header, key: str, content: bytes) -> Verdict:
        """Whether a message is to be taken; its chain moves on if so.

        Raises Diverged at a gap, or where the digest is not that of the chain; Undecodable where
        that is so of another schema's message.
        """
        mark = _mark(self.marks, header.writer, key)
        if header.schema != SCHEMA_VERSION and not _continues(mark, header, content):
            raise Undecodable(_unknown_schema(header))  # it may count and chain in another way
        if header.epoch < self.epochs.get(header.writer, 0):
            return Verdict.FENCED
        self.epochs[header.writer] = header.epoch
        if header.number == 0:
            return Verdict.SEEN
        if header.number < mark.number:
            return Verdict.SEEN
        if header.number == mark.number:
            self._same(header, key, mark.digest)
            return Verdict.SEEN
        if header.number > mark.number + 1:
            raise Diverged(
                f"{self.log}: {header.writer} {key!r} must go on with {mark.number + 1}, "
                f"came {header.number}"
            )
        digest = _digest(mark.digest, content)
        self._same(header, key, digest)
        mark.number, mark.digest = header.number, digest
        return Verdict.TAKE

    def mark(self, writer: str, key: str = "") -> Mark:
        """How far a writer and key were heard."""
        return _mark(self.marks, writer, key)

    def _same(self, header: Header, key: str, digest: bytes) -> None:
        if header.digest != digest:
            raise Diverged(
                f"{self.log}: number {header.number} of {header.writer} {key!r} must have the "
                f"digest {digest.hex()}, had {header.digest.hex()}"
            )


def read_header(content: bytes | None) -> Header:
    """The header of a message; raises Undecodable where it has none of ours."""
    if content is None:
        raise Undecodable("it has no header")
    if len(content) > HEADER_BYTES_MAX:
        raise Undecodable(
            f"its header must have at most {HEADER_BYTES_MAX} bytes, had {len(content)}"
        )
    try:
        return _DECODER.decode(content)
    except _NOT_OURS as error:
        raise Undecodable(f"its header cannot be read: {error}") from error


def read_fact(header: Header, content: bytes) -> Event:
    """The fact of a message; raises Undecodable for another schema, or bytes that are no fact."""
    if header.schema != SCHEMA_VERSION:
        raise Undecodable(_unknown_schema(header))
    try:
        return _FACT_DECODER.decode(content)
    except _NOT_OURS as error:
        raise Undecodable(f"it is no fact: {error}") from error


def _unknown_schema(header: Header) -> str:
    return f"its schema version must be {SCHEMA_VERSION}, was {header.schema}"


def _continues(mark: Mark, header: Header, content: bytes) -> bool:
    return header.number == mark.number + 1 and header.digest == _digest(mark.digest, content)


def _mark(marks: Marks, first: str, key: str) -> Mark:
    name = f"{first}\n{key}"
    mark = marks.get(name)
    if mark is None:
        mark = marks[name] = Mark()
    return mark


def _digest(before: bytes, content: bytes) -> bytes:
    return blake2b(content, digest_size=_DIGEST_BYTES, key=before).digest()
