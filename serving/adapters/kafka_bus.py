"""The bus of many processes: a log is a Kafka topic of one partition.

What is written is numbered and chained, what is read is checked against that (`runtime.chain`). A
bus is one process's: its name is the writer of all that it writes. Its position (how far every log
was read and every chain has come) goes into one snapshot with the state of what it serves, so that
a restart takes up all of it at one point.
"""

import time
from typing import Any

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from hft_lib.events import Event
from serving.adapters.kafka_topics import DEAD_LETTERS, MESSAGE_BYTES_MAX, topic_of
from serving.runtime.chain import (
    Incoming,
    Marks,
    Outgoing,
    Undecodable,
    Verdict,
    key_of,
    read_fact,
    read_header,
)
from serving.runtime.host import Misdirected, Reader

HEADER = "hft"
# What is consumed in one go: more would hold up the answers of the first, less costs calls.
BATCH_MAX = 512
FLUSH_S_MAX = 30.0
LAG_S = 1.0  # between two looks at how far behind we are
_QUEUE_FULL_WAIT_S = 0.1
# Errors of a consumer that librdkafka mends by itself.
_PASSING = frozenset(
    (
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    )
)
_log = structlog.get_logger(__name__)


class BusError(Exception):
    """The broker took or gave something in a way that nothing may go on from."""


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in _PASSING


@retry(
    retry=retry_if_exception(_is_passing),
    stop=stop_after_delay(FLUSH_S_MAX),
    wait=wait_fixed(0.1),
    reraise=True,
)
def watermarks(consumer: Consumer, topic: str) -> tuple[int, int]:
    """The first offset that the broker holds of `topic` and the one after its last.

    Raises BusError where it does not say.
    """
    found = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=FLUSH_S_MAX)
    if found is None:
        raise BusError(f"the broker must say in {FLUSH_S_MAX} s what {topic} holds")
    return int(found[0]), int(found[1])


class DeadLetter(msgspec.Struct, frozen=True, array_like=True):
    """A message that was none of ours, where it stood and why."""

    log: str
    offset: int
    reason: str
    header: bytes
    content: bytes


class ReadTo(msgspec.Struct, frozen=True, array_like=True):
    """How far a log was read: the next offset, and every writer's chain."""

    offset: int
    marks: Marks


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


class Edge:
    """One edge's facts into one log, numbered in the order of the world's own."""

    def __init__(self, bus: "KafkaBus", outgoing: Outgoing, log: str) -> None:
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
        self._bus.produce(self._outgoing, self._log, "", self._encoder.encode(fact))


class KafkaBus:
    """Logs on a broker, for one process named `name`; `open` begins the reading."""

    def __init__(self, servers: str, name: str, epoch: int = 0) -> None:
        self.outgoing = Outgoing(name, epoch)
        # Messages of each log that the broker was known to have, a second ago, and we had not read.
        self.lag: dict[str, int] = {}
        self.dead = 0
        self.seen = 0
        self.fenced = 0
        self._logs: dict[str, _Log] = {}
        self._encoder = msgspec.msgpack.Encoder()
        self._failed: KafkaError | None = None
        self._lag_due_s = 0.0
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "client.id": name,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                "message.max.bytes": MESSAGE_BYTES_MAX,
                # Longer than a broker's restart; then the process ends, and begins at its snapshot.
                "message.timeout.ms": 300_000,
                "delivery.report.only.error": True,
                "on_delivery": self._on_delivery,
                "log_level": 0,  # what matters comes back as an error
            }
        )
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "client.id": name,
                "group.id": f"hft.{name}",  # offsets are in the snapshots, none is committed
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "allow.auto.create.topics": False,
                "fetch.wait.max.ms": 100,
                "fetch.message.max.bytes": MESSAGE_BYTES_MAX,
                "queued.max.messages.kbytes": 32 * 1024,
                "log_level": 0,  # what matters comes back as an error
            }
        )

    # --- the bus ---

    def write(self, log: str, fact: Event) -> None:
        """Append a fact to `log`; it is there for good when `flush` has returned."""
        self.produce(self.outgoing, log, key_of(fact), self._encoder.encode(fact))

    def edge(self, name: str, log: str) -> "Edge":
        """A writer of the world's facts into `log`, which this bus reads: it goes on after the last
        of its facts that were read, so it is asked for once `behind` is 0.
        """
        mark = self._logs[topic_of(log)].incoming.mark(name)
        outgoing = Outgoing(name, self.outgoing.epoch)
        outgoing.continue_at(log, "", mark)
        return Edge(self, outgoing, log)

    def read(self, log: str, reader: Reader) -> None:
        """Hand every fact of `log` from its position on to `reader`, in order."""
        if topic_of(log) in self._logs:
            raise ValueError(f"a log has one reader, {log} had one")
        self._logs[topic_of(log)] = _Log(log, reader)

    def produce(self, outgoing: Outgoing, log: str, key: str, content: bytes) -> None:
        """Number, chain and send one message."""
        header = outgoing.header(log, key, content)
        while True:
            try:
                self._producer.produce(
                    topic_of(log), content, key.encode(), 0, headers=[(HEADER, header)]
                )
                return
            except BufferError:  # the broker is slow or away: wait for room
                self._producer.poll(_QUEUE_FULL_WAIT_S)
                self._check()

    # --- its life ---

    def open(self, position: Position | None = None) -> None:
        """Begin to read at `position`, or at the start of every log.

        Raises BusError where the broker no longer keeps what comes next.
        """
        if position is not None:
            self.outgoing.marks = position.written
        for topic, log in self._logs.items():
            low, high = watermarks(self._consumer, topic)
            read = position.read.get(log.log) if position is not None else None
            if read is not None:
                log.offset, log.incoming.marks = read.offset, read.marks
            if not low <= log.offset <= high:
                raise BusError(f"{topic} must hold offset {log.offset}, held {low} to {high}")
            log.end = high
        self._consumer.assign(
            [TopicPartition(topic, 0, log.offset) for topic, log in self._logs.items()]
        )

    def pump(self, timeout_s: float) -> int:
        """Wait up to `timeout_s` for messages and hand over what came; returns how many."""
        first = self._consumer.poll(timeout_s)
        messages = [] if first is None else [first, *self._consumer.consume(BATCH_MAX - 1, 0)]
        for message in messages:
            self._take(message)
        self._producer.poll(0)
        self._check()
        if time.monotonic() >= self._lag_due_s:
            self._measure_lag()
        return len(messages)

    @property
    def behind(self) -> int:
        """Messages that the logs held at `open` and that were not read yet."""
        return sum(max(log.end - log.offset, 0) for log in self._logs.values())

    def heard(self, log: str, writer: str, key: str = "") -> int:
        """The last number of `writer` in `log` that was read."""
        return self._logs[topic_of(log)].incoming.mark(writer, key).number

    def offset(self, log: str) -> int:
        """The next offset of `log`."""
        return self._logs[topic_of(log)].offset

    def position(self) -> Position:
        """Where the bus is: of use once `flush` has returned."""
        read = {log.log: ReadTo(log.offset, log.incoming.marks) for log in self._logs.values()}
        return Position(read, self.outgoing.marks)

    def flush(self, timeout_s: float = FLUSH_S_MAX) -> None:
        """Wait until the broker has everything written; raises BusError where it has not."""
        left = self._producer.flush(timeout_s)
        self._check()
        if left:
            raise BusError(f"the broker must take everything in {timeout_s} s, {left} were left")

    def close(self) -> None:
        """End: nothing more is read."""
        self._consumer.close()

    # --- leaves ---

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.code() not in _PASSING:
                raise BusError(f"{message.topic()}: {error.str()}")
            return
        log = self._logs[message.topic() or ""]
        log.offset = (message.offset() or 0) + 1
        header, content = _header_of(message), message.value() or b""
        try:
            stamp = read_header(header)
            verdict = log.incoming.judge(stamp, (message.key() or b"").decode(), content)
            if verdict is Verdict.TAKE:
                log.reader(read_fact(stamp, content))
            elif verdict is Verdict.SEEN:
                self.seen += 1
            else:
                self.fenced += 1
        except (Undecodable, Misdirected, UnicodeDecodeError) as reason:
            self._bury(DeadLetter(log.log, log.offset - 1, str(reason), header or b"", content))

    def _bury(self, letter: DeadLetter) -> None:
        self.dead += 1
        _log.error("a dead letter", log=letter.log, offset=letter.offset, why=letter.reason)
        self.produce(self.outgoing, DEAD_LETTERS, "", self._encoder.encode(letter))

    def _measure_lag(self) -> None:
        # Here and not where it is asked for: a call from another thread waits for the reading one.
        self._lag_due_s = time.monotonic() + LAG_S
        for topic, log in self._logs.items():
            known = self._consumer.get_watermark_offsets(TopicPartition(topic, 0), cached=True)
            self.lag[log.log] = max(int(known[1]) - log.offset, 0) if known is not None else 0

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        self._failed = error or self._failed

    def _check(self) -> None:
        if self._failed is not None:
            raise BusError(f"the broker did not take a message: {self._failed.str()}")


def _header_of(message: Message) -> bytes | None:
    headers: Any = message.headers()
    for name, value in headers or ():
        if name == HEADER:
            return bytes(value) if value is not None else None
    return None
