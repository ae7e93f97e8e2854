"""The bus of a process whose logs are elsewhere: what it writes is numbered and chained, what it
reads is checked against that (`runtime.chain`), whatever carries it.

A bus is one process's: its name is the writer of all that it writes. Its position (how far every
log was read and every chain has come) goes into one snapshot with the state of what it serves, so
that a restart takes up all of it at one point.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec
import structlog

from hft_lib.events import SCHEMA_VERSION, Event
from serving.runtime.chain import (
    HEADER_BYTES_MAX,
    NO_ORIGIN,
    Epochs,
    Header,
    Incoming,
    Mark,
    Marks,
    Origin,
    Outgoing,
    Superseded,
    Undecodable,
    Verdict,
    key_of,
    read_fact,
    read_header,
)
from serving.runtime.host import Misdirected, Reader
from serving.runtime.opening import OtherVersion
from serving.services import WRITERS

DEAD_LETTERS = "hft.dead-letter"
# A broker that is there has everything in milliseconds; who waits longer looks at nothing else.
FLUSH_S_MAX = 2.0
# The first message of a process also waits for its connection.
FIRST_FLUSH_S_MAX = 8.0
# Of what is buried, this much is kept: a letter always fits into a message of the broker's default
# size, however large what it names is once it is unpacked.
LETTER_BYTES_MAX = 256 * 1024
REASON_LENGTH_MAX = 300  # a reason may name what came
_log = structlog.get_logger(__name__)


class BusError(Exception):
    """The broker took or gave something in a way that nothing may go on from."""


class Away(BusError):
    """The broker does not answer now: nothing was lost, what was asked may be asked again."""


class Received(msgspec.Struct, frozen=True, gc=False):
    """One message of a log as it came."""

    log: str
    offset: int
    key: bytes
    header: bytes | None
    content: bytes


class Client(Protocol):
    """What carries messages; every method raises BusError where it cannot, Away where it may later.

    A message that could not be sent is never followed by a later one.
    """

    def append(self, log: str, key: str, header: bytes, content: bytes) -> None:
        """Put a message into a log: it goes with the next `send`, and is there for good once
        `flush` has returned.
        """

    def send(self) -> None:
        """Let everything appended go."""

    def bounds(self, log: str) -> tuple[int, int]:
        """The first offset that is kept of a log and the one after its last."""

    def assign(self, offsets: Mapping[str, int]) -> None:
        """Begin to receive, each log at its offset."""

    def receive(self, timeout_s: float) -> Iterable[Received]:
        """Wait up to `timeout_s` for messages; those of one log in its order."""

    def flush(self, timeout_s: float) -> None:
        """Wait until everything appended is there."""

    def close(self) -> None:
        """Receive nothing more."""


class DeadLetter(msgspec.Struct, frozen=True, array_like=True):
    """A message that was none of ours, where it stood and why; of a large one its beginning."""

    log: str
    offset: int
    reason: str
    header: bytes
    content: bytes


class ReadTo(msgspec.Struct, frozen=True, array_like=True):
    """How far a log was read: the next offset, every writer's chains and epoch."""

    offset: int
    marks: Marks
    epochs: Epochs


class Position(msgspec.Struct, frozen=True, array_like=True):
    """A bus at a point: what it has read of each log, and its own chains."""

    read: dict[str, ReadTo]
    written: Marks


class _Log:
    """One log that is read: its reader, its chains, its next offset, and what its end was."""

    def __init__(self, log: str, reader: Reader) -> None:
        self.log = log
        self.reader = reader
        self.incoming = Incoming(log)
        self.offset = 0
        self.end = 0

    def position(self) -> ReadTo:
        return ReadTo(self.offset, self.incoming.marks, self.incoming.epochs)

    def go_on(self, read: ReadTo) -> None:
        self.offset = read.offset
        self.incoming.marks, self.incoming.epochs = read.marks, read.epochs


class Edge:
    """One edge's facts into one log, numbered in the order of the world's own."""

    def __init__(self, bus: "ChainedBus", outgoing: Outgoing, log: str) -> None:
        self._bus = bus
        self._outgoing = outgoing
        self._log = log
        self._encoder = msgspec.msgpack.Encoder()

    @property
    def number(self) -> int:
        """How many facts it has written, now and before."""
        return self._outgoing.number(self._log)

    def write(self, fact: Event) -> None:
        """Append the next fact."""
        origin = Origin(self._bus.now_ns(), f"{self._outgoing.writer}-{self.number + 1}")
        self._bus.produce(self._outgoing, self._log, "", self._encoder.encode(fact), origin)


class ChainedBus:
    """Logs of `client`, for one process named `name`; `open` begins the reading.

    What is written while a message is handed over came of the same as that message. `now_ns`, the
    wall clock, says when an edge read something and how old a message is, and decides nothing.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        epoch: int = 0,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.now_ns = now_ns
        # What the message that is handed over came of; told of every message that is taken.
        self.origin = NO_ORIGIN
        self.on_taken: Callable[[str, Origin], None] | None = None
        self.outgoing = Outgoing(name, epoch)
        # Messages of each log that the broker was known to have, a second ago, and we had not read.
        self.lag: dict[str, int] = {}
        self.dead = 0
        # Of each log, the offset up to which what is none of ours was buried by an earlier reading.
        self.buried: dict[str, int] = {}
        self.seen = 0
        self.fenced = 0
        self.away = ""  # why the broker is not there, as far as that is known
        self._client = client
        self._logic: dict[str, int] = {}
        self._announced: list[tuple[str, str]] = []
        self._logs: dict[str, _Log] = {}
        self._encoder = msgspec.msgpack.Encoder()

    # --- the bus ---

    def write(self, log: str, fact: Event) -> None:
        """Append a fact to `log`; it is there for good when `flush` has returned."""
        self.produce(self.outgoing, log, key_of(fact), self._encoder.encode(fact), self.origin)

    def edge(self, name: str, log: str) -> Edge:
        """A writer of the world's facts into `log`, which this bus reads: it goes on after the last
        of its facts that were read, so it is asked for once `behind` is 0 and its epoch is heard.
        """
        outgoing = Outgoing(name, self.outgoing.epoch)
        outgoing.continue_at(log, "", self._mark(log, name))
        return Edge(self, outgoing, log)

    def read(self, log: str, reader: Reader) -> None:
        """Hand every fact of `log` from its position on to `reader`, in order."""
        if log in self._logs:
            raise ValueError(f"a log has one reader, {log} had one")
        self._logs[log] = _Log(log, reader)

    def produce(
        self, outgoing: Outgoing, log: str, key: str, content: bytes, origin: Origin
    ) -> None:
        """Number, chain and send one message."""
        self._client.append(log, key, outgoing.header(log, key, content, origin), content)

    def announce(self, log: str, *edges: str) -> None:
        """Begin this bus's epoch in its own inbox `log`, for itself and its edges.

        Returns once that is there for good: were anything heard of an epoch whose announcement was
        lost, an older process would go on and be heard by nobody.
        """
        for writer in (self.outgoing.writer, *edges):
            header = Outgoing(writer, self.outgoing.epoch).announcement()
            self._client.append(log, "", header, b"")
            self._announced.append((log, writer))
        self.flush(FIRST_FLUSH_S_MAX)

    @property
    def is_heard(self) -> bool:
        """Whether everything announced has come back: nothing of an older epoch comes after it."""
        return all(
            self._logs[log].incoming.epochs.get(writer, 0) >= self.outgoing.epoch
            for log, writer in self._announced
        )

    # --- its life ---

    def open(self, position: Position | None = None) -> None:
        """Begin to read at `position`, or at the start of every log.

        Raises BusError where the broker no longer keeps what comes next.
        """
        if position is not None:
            self.outgoing.marks = position.written
        for name, log in self._logs.items():
            low, high = self._client.bounds(name)
            read = position.read.get(name) if position is not None else None
            if read is not None:
                log.go_on(read)
            if not low <= log.offset <= high:
                raise BusError(f"{name} must hold offset {log.offset}, held {low} to {high}")
            log.end = high
        self._client.assign({name: log.offset for name, log in self._logs.items()})

    def pump(self, timeout_s: float) -> int:
        """Wait up to `timeout_s` for messages and hand over what came; returns how many."""
        self._client.send()
        count = 0
        try:
            for message in self._client.receive(timeout_s):
                self._take(message)
                self.origin = NO_ORIGIN
                count += 1
        finally:  # what came of the messages before one that ends us, too
            self._client.send()
        return count

    @property
    def behind(self) -> int:
        """Messages that the logs held at `open` and that were not read yet."""
        return sum(max(log.end - log.offset, 0) for log in self._logs.values())

    def heard(self, log: str, writer: str, key: str = "") -> int:
        """The last number of `writer` in `log` that was read."""
        return self._mark(log, writer, key).number

    def offset(self, log: str) -> int:
        """The next offset of `log`."""
        return self._logs[log].offset

    def position(self) -> Position:
        """Where the bus is: of use once `flush` has returned."""
        return Position(
            {name: log.position() for name, log in self._logs.items()}, self.outgoing.marks
        )

    def flush(self, timeout_s: float = FLUSH_S_MAX) -> None:
        """Wait until the broker has everything written; raises Away where it does not yet."""
        self._client.flush(timeout_s)

    def close(self) -> None:
        """End: nothing more is read."""
        self._client.close()

    # --- leaves ---

    def _mark(self, log: str, writer: str, key: str = "") -> Mark:
        return self._logs[log].incoming.mark(writer, key)

    def _take(self, message: Received) -> None:
        log = self._logs[message.log]
        log.offset = message.offset + 1
        try:
            stamp = read_header(message.header)
            must_be_of_the_line(stamp)
            self.origin = stamp.origin
            self._end_if_superseded(stamp)
            verdict = log.incoming.judge(stamp, message.key.decode(), message.content)
            if verdict is Verdict.TAKE:
                self._end_if_of_another_schema(message, stamp)
                self._note_logic(message, stamp)
                if self.on_taken is not None:
                    self.on_taken(message.log, stamp.origin)
                log.reader(read_fact(stamp, message.content))
            elif verdict is Verdict.SEEN:
                self.seen += 1
            else:
                self.fenced += 1
        except (Undecodable, Misdirected, UnicodeDecodeError) as reason:
            self._bury(message, str(reason))

    def _end_if_superseded(self, stamp: Header) -> None:
        ours = self.outgoing
        if stamp.writer == ours.writer and stamp.epoch > ours.epoch:
            raise Superseded(
                f"{ours.writer} runs elsewhere under epoch {stamp.epoch}, this one is {ours.epoch}"
            )

    def _note_logic(self, message: Received, stamp: Header) -> None:
        """Say where in a log a writer's logic changed: the headers declare it."""
        before = self._logic.get(stamp.writer, stamp.logic)
        if before != stamp.logic:
            at, writer = message.offset, stamp.writer
            _log.warning(
                "another logic from here on",
                log=message.log,
                offset=at,
                writer=writer,
                before=before,
                now=stamp.logic,
            )
        self._logic[stamp.writer] = stamp.logic

    def _end_if_of_another_schema(self, message: Received, stamp: Header) -> None:
        """One that is the next of a chain is not passed over: what it says would be lost."""
        if stamp.schema != SCHEMA_VERSION:
            what = f"{message.log} from {stamp.writer}'s fact {stamp.number} on"
            raise OtherVersion.of(what, stamp.schema, SCHEMA_VERSION)

    def _bury(self, message: Received, reason: str) -> None:
        self.dead += 1
        if message.offset < self.buried.get(message.log, 0):
            return
        trace, reason = self.origin.trace, reason[:REASON_LENGTH_MAX]
        _log.error("a dead letter", log=message.log, offset=message.offset, why=reason, trace=trace)
        header, content = message.header or b"", message.content
        if len(content) > LETTER_BYTES_MAX:
            reason += f"; of its {len(content)} bytes the first {LETTER_BYTES_MAX} are kept"
        letter = DeadLetter(
            message.log,
            message.offset,
            reason,
            header[:HEADER_BYTES_MAX],
            content[:LETTER_BYTES_MAX],
        )
        self.produce(self.outgoing, DEAD_LETTERS, "", self._encoder.encode(letter), self.origin)


def must_be_of_the_line(stamp: Header) -> None:
    """A stranger's chain is nobody's: whether it is whole or broken, nothing was lost by it.

    Raises Undecodable for one.
    """
    if stamp.writer not in WRITERS:
        raise Undecodable(f"its writer must be one of the line's, was {stamp.writer!r}")
