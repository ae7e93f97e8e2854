"""The bus of many processes: a log is a Kafka topic of one partition.

What is decided about a message is in `runtime.chained`; here is what carries it.
"""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from serving.adapters.kafka_client import ANSWER_S_MAX, client_config, meet
from serving.adapters.kafka_errors import PASSING, is_passing, is_worth_asking_again, refusal
from serving.adapters.kafka_topics import MESSAGE_BYTES_MAX, topic_of
from serving.runtime.chain import Mark, Undecodable, read_header
from serving.runtime.chained import (
    DEAD_LETTERS,
    Away,
    BusError,
    ChainedBus,
    DeadLetter,
    Received,
)

HEADER = "hft"
# What is consumed in one go, and what comes of it sent: more holds up the answers of the first (by
# 5 ms here), less costs the broker, which works by the request and not by the message.
BATCH_MAX = 256
LAG_S = 1.0  # between two looks at how far behind we are
# What waits here for the stage, beside its state: enough for thousands. A larger message than a
# fetch's bound comes alone.
_FETCH_BYTES, _WAITING_KBYTES = 1024 * 1024, 4 * 1024
# How soon it is looked whether there is room for more; librdkafka's second starves who is behind.
_FULL_MS = 10
# Messages that the broker has not taken yet, from which on nothing more is read: what one batch
# still makes of them has room in the queue, so that no step stops in its middle.
UNTAKEN_MAX = 20_000
QUEUE_MAX, QUEUE_KBYTES_MAX = 200_000, 256 * 1024
# The queue can be full for as long as the broker is away within one batch, and no longer.
_QUEUE_FULL_S_MAX, _QUEUE_FULL_WAIT_S = 60.0, 0.1
# How soon a broker that is back is found, and one that answers nothing is given up.
_RECONNECT_MS_MAX, _SILENT_MS_MAX = 1000, 10_000


def watermarks(consumer: Consumer, topic: str) -> tuple[int, int]:
    """The first offset that the broker holds of `topic` and the one after its last.

    Raises Away where it does not say.
    """
    try:
        found = _watermarks(consumer, topic)
    except KafkaException as error:
        kind = Away if is_passing(error) else BusError
        raise kind(f"the broker does not say what {topic} holds: {error.args[0].str()}") from error
    if found is None:
        raise Away(f"the broker must say in {ANSWER_S_MAX} s what {topic} holds")
    return int(found[0]), int(found[1])


@retry(
    retry=retry_if_exception(is_worth_asking_again),
    stop=stop_after_delay(ANSWER_S_MAX),
    wait=wait_fixed(0.1),
    reraise=True,
)
def _watermarks(consumer: Consumer, topic: str) -> Any:
    return consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=ANSWER_S_MAX)


class _Broker(msgspec.Struct):
    """What librdkafka's statistics say of one connection."""

    state: str


class _Partition(msgspec.Struct):
    """What they say of a partition: whether it is read, and whether the broker names it no more."""

    desired: bool = False
    unknown: bool = False


class _Topic(msgspec.Struct):
    """What they say of a topic."""

    partitions: dict[str, _Partition] = {}


class _Statistics(msgspec.Struct):
    """What librdkafka's statistics say of a client, as far as it is of use here."""

    brokers: dict[str, _Broker] = {}
    topics: dict[str, _Topic] = {}


class _Heard:
    """What librdkafka says of a client, between its calls.

    Apart from the client, which would else be in a circle with it: one that is dropped ends at once
    and where it is dropped, and not whenever rubbish is collected.
    """

    def __init__(self) -> None:
        self.is_there = True  # whether the broker is, as of the last second
        self.sends = True  # the same, where nothing is read because much is still to be sent
        self.refused = ""  # what the broker said of our login, while it does
        self.missing: list[str] = []  # topics that are read and that the broker has no more
        self.failed: KafkaError | None = None
        self._statistics = msgspec.json.Decoder(_Statistics)

    def delivery(self, error: KafkaError | None, _message: Message) -> None:
        """A message was not taken."""
        self.failed = self.failed or error

    def error(self, error: KafkaError) -> None:
        """Something went wrong, which may pass."""
        if error.code() == KafkaError._AUTHENTICATION:
            self.refused = refusal(error)

    def statistics(self, content: str) -> None:
        """The consumer's; it always has a connection.

        They alone tell of a topic that is deleted: the consumer asks for it for ever, in silence.
        """
        statistics = self._statistics.decode(content)
        self.is_there = _has_broker(statistics)
        self.refused = "" if self.is_there else self.refused
        self.missing = sorted(name for name, topic in statistics.topics.items() if _is_gone(topic))

    def sent_statistics(self, content: str) -> None:
        """The producer's."""
        self.sends = _has_broker(self._statistics.decode(content))


def _has_broker(statistics: _Statistics) -> bool:
    return any(broker.state in ("UP", "UPDATE") for broker in statistics.brokers.values())


def _is_gone(topic: _Topic) -> bool:
    return any(each.desired and each.unknown for each in topic.partitions.values())


class KafkaClient:
    """One producer and one consumer of a broker, for one process named `name`.

    What is sent waits without bound for a broker that is away: a message that timed out would leave
    a gap in its chain, at which every reader stops for good. An error that no time mends stops the
    producer before anything later is sent.
    """

    def __init__(self, servers: str, name: str) -> None:
        self._heard = _Heard()
        self._logs: dict[str, str] = {}
        self._unsent: deque[tuple[str, bytes, bytes, bytes]] = deque()
        self._met: set[str] = set()  # topics of which the producer knows where they are
        self._producer = Producer(
            {
                **client_config(servers),
                "client.id": name,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                # What is sent while the broker takes a request goes in the next one, together.
                "max.in.flight.requests.per.connection": 1,
                "message.max.bytes": MESSAGE_BYTES_MAX,
                "message.timeout.ms": 0,  # none
                "enable.gapless.guarantee": True,
                "queue.buffering.max.messages": QUEUE_MAX,
                "queue.buffering.max.kbytes": QUEUE_KBYTES_MAX,
                "reconnect.backoff.max.ms": _RECONNECT_MS_MAX,
                "socket.timeout.ms": _SILENT_MS_MAX,
                "delivery.report.only.error": True,
                "statistics.interval.ms": 1000,
                "stats_cb": self._heard.sent_statistics,
                "error_cb": self._heard.error,
                "on_delivery": self._heard.delivery,
            }
        )
        self._consumer = Consumer(
            {
                **client_config(servers),
                "client.id": name,
                "group.id": f"hft.{name}",  # offsets are in the snapshots, none is committed
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "allow.auto.create.topics": False,
                "fetch.wait.max.ms": 100,
                "fetch.message.max.bytes": _FETCH_BYTES,
                "fetch.max.bytes": _FETCH_BYTES,
                "fetch.queue.backoff.ms": _FULL_MS,
                "queued.max.messages.kbytes": _WAITING_KBYTES,
                "reconnect.backoff.max.ms": _RECONNECT_MS_MAX,
                "socket.timeout.ms": _SILENT_MS_MAX,
                "statistics.interval.ms": 1000,
                "error_cb": self._heard.error,
                "stats_cb": self._heard.statistics,
            }
        )

    @property
    def is_there(self) -> bool:
        """Whether the broker answers, as of the last second."""
        return self._heard.is_there

    @property
    def refused(self) -> str:
        """What the broker said of our login, while it refuses it."""
        return self._heard.refused

    @property
    def missing(self) -> list[str]:
        """The topics that are read and that the broker has no more."""
        return self._heard.missing

    def append(self, log: str, key: str, header: bytes, content: bytes) -> None:
        """Keep a message until `send`."""
        self._unsent.append((topic_of(log), key.encode(), header, content))

    def send(self) -> None:
        """Hand everything appended to the producer; where its queue is full, wait for room."""
        if not self._unsent:
            return
        self._poll(0.0)
        while self._unsent:
            self._produce(*self._unsent[0])
            self._unsent.popleft()

    def _produce(self, topic: str, key: bytes, header: bytes, content: bytes) -> None:
        if topic not in self._met:
            self._met.add(topic)
            meet(self._producer, topic)
        until_s = 0.0
        while True:
            try:
                self._producer.produce(topic, content, key, 0, headers=[(HEADER, header)])
                return
            except BufferError:  # the broker is slow or away
                until_s = until_s or time.monotonic() + _QUEUE_FULL_S_MAX
                if time.monotonic() > until_s:
                    raise BusError(f"the queue was full for {_QUEUE_FULL_S_MAX} s") from None
                self._poll(_QUEUE_FULL_WAIT_S)
            except KafkaException as error:
                raise self._end(error.args[0]) from error

    def bounds(self, log: str) -> tuple[int, int]:
        """The first offset that the broker keeps of a log and the one after its last."""
        return watermarks(self._consumer, topic_of(log))

    def assign(self, offsets: Mapping[str, int]) -> None:
        """Begin to receive, each log at its offset."""
        self._logs = {topic_of(log): log for log in offsets}
        self._consumer.assign(
            [TopicPartition(topic_of(log), 0, offset) for log, offset in offsets.items()]
        )

    def receive(self, timeout_s: float) -> Iterator[Received]:
        """Wait up to `timeout_s` for messages; what is sent meanwhile is checked at the end.

        None come while the broker has not taken much of what was sent.
        """
        if len(self._producer) > UNTAKEN_MAX:
            self._poll(timeout_s)
            self._heard.is_there = self._heard.sends
            return
        first = self._consumer.poll(timeout_s)
        messages = [] if first is None else [first, *self._consumer.consume(BATCH_MAX - 1, 0)]
        for message in messages:
            error = message.error()
            if error is None:
                yield self._received(message)
            elif error.code() not in PASSING:
                raise BusError(f"{message.topic()}: {error.str()}")
        self._poll(0.0)

    def known_end(self, log: str) -> int:
        """The offset after the last that the consumer knew of when it last fetched; 0 before."""
        known = self._consumer.get_watermark_offsets(TopicPartition(topic_of(log), 0), cached=True)
        return int(known[1]) if known is not None else 0

    def flush(self, timeout_s: float) -> None:
        """Wait until the broker has everything appended."""
        self.send()
        try:
            left = self._producer.flush(timeout_s)
        except KafkaException as error:
            raise self._end(error.args[0]) from error
        self._check()
        if left:
            raise Away(f"the broker must take everything in {timeout_s} s, {left} were left")

    def close(self) -> None:
        """Receive nothing more."""
        self._consumer.close()

    def _received(self, message: Message) -> Received:
        return Received(
            self._logs[message.topic() or ""],
            message.offset() or 0,
            message.key() or b"",
            header_of(message),
            message.value() or b"",
        )

    def _poll(self, timeout_s: float) -> None:
        try:
            self._producer.poll(timeout_s)
        except KafkaException as error:  # what no time mends is raised by whatever is called next
            raise self._end(error.args[0]) from error
        self._check()

    def _check(self) -> None:
        if self._heard.failed is not None:
            raise self._end(self._heard.failed)

    def _end(self, error: KafkaError) -> BusError:
        """Nothing more is sent, now or later."""
        self._heard.failed = error
        self._unsent.clear()
        self._producer.purge(in_queue=True, in_flight=False, blocking=False)
        return BusError(f"the broker did not take a message: {error.str()}")


class KafkaBus(ChainedBus):
    """Logs on a broker, for one process named `name`; `open` begins the reading."""

    def __init__(self, servers: str, name: str, epoch: int = 0) -> None:
        self._kafka = KafkaClient(servers, name)
        self._lag_due_s = 0.0
        super().__init__(self._kafka, name, epoch)

    def pump(self, timeout_s: float) -> int:
        """Wait up to `timeout_s` for messages and hand over what came; returns how many."""
        count = super().pump(timeout_s)
        self.away = self._why_away()
        # Here and not where it is asked for: a call from another thread waits for the reading one.
        if time.monotonic() >= self._lag_due_s:
            self._lag_due_s = time.monotonic() + LAG_S
            for name, log in self._logs.items():
                self.lag[name] = max(self._kafka.known_end(name) - log.offset, 0)
        return count

    def _why_away(self) -> str:
        if not self._kafka.is_there:
            return self._kafka.refused or "the broker does not answer"
        missing = self._kafka.missing
        return f"it has no topic {', '.join(missing)} any more" if missing else ""


def continue_letters(servers: str, bus: ChainedBus, log: str) -> None:
    """Let `bus`, once opened, go on after the dead letters of `log` that it wrote before.

    For a reader that begins again at the log's start, with no snapshot of what it said.
    """
    consumer = Consumer(
        {
            **client_config(servers),
            "group.id": f"hft.{bus.outgoing.writer}.letters",
            "enable.auto.commit": False,
        }
    )
    last = Mark()
    try:
        low, high = watermarks(consumer, DEAD_LETTERS)
        consumer.assign([TopicPartition(DEAD_LETTERS, 0, low)])
        while consumer.position([TopicPartition(DEAD_LETTERS, 0)])[0].offset < high > low:
            message = consumer.poll(ANSWER_S_MAX)
            if message is None or message.error() is not None:
                raise Away(f"{DEAD_LETTERS} cannot be read: {message and message.error()}")
            try:
                header = read_header(header_of(message))
            except Undecodable:  # whoever put it there, it is none of ours
                continue
            if header.writer == bus.outgoing.writer and header.number > last.number:
                letter = msgspec.msgpack.decode(message.value() or b"", type=DeadLetter)
                last = Mark(header.number, header.digest)
                if letter.log == log:
                    bus.buried[log] = letter.offset + 1
    finally:
        consumer.close()
    bus.outgoing.continue_at(DEAD_LETTERS, "", last)


def header_of(message: Message) -> bytes | None:
    """Our header of a message as it came; None where it has none."""
    headers: Any = message.headers()
    for name, value in headers or ():
        if name == HEADER:
            return bytes(value) if value is not None else None
    return None
