"""The bus of many processes: a log is a Kafka topic of one partition.

What is decided about a message is in `runtime.chained`; here is what carries it.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from serving.adapters.kafka_topics import MESSAGE_BYTES_MAX, topic_of
from serving.runtime.chained import FLUSH_S_MAX, BusError, ChainedBus, Received

HEADER = "hft"
# What is consumed in one go: more would hold up the answers of the first, less costs calls.
BATCH_MAX = 512
LAG_S = 1.0  # between two looks at how far behind we are
_QUEUE_FULL_WAIT_S = 0.1
# What a process holds of messages under way, beside its state: enough for some thousands each way.
_QUEUE_KIB = 4 * 1024
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


class KafkaClient:
    """One producer and one consumer of a broker, for one process named `name`."""

    def __init__(self, servers: str, name: str) -> None:
        self._failed: KafkaError | None = None
        self._logs: dict[str, str] = {}
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "client.id": name,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                "message.max.bytes": MESSAGE_BYTES_MAX,
                "queue.buffering.max.kbytes": _QUEUE_KIB + MESSAGE_BYTES_MAX // 1024,
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
                "queued.max.messages.kbytes": _QUEUE_KIB,
                "fetch.max.bytes": MESSAGE_BYTES_MAX,
                "log_level": 0,  # what matters comes back as an error
            }
        )

    def append(self, log: str, key: str, header: bytes, content: bytes) -> None:
        """Send a message; where the queue is full, wait for room in it."""
        while True:
            try:
                self._producer.produce(
                    topic_of(log), content, key.encode(), 0, headers=[(HEADER, header)]
                )
                return
            except BufferError:  # the broker is slow or away
                self._producer.poll(_QUEUE_FULL_WAIT_S)
                self._check()

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
        """Wait up to `timeout_s` for messages; what is sent meanwhile is checked at the end."""
        first = self._consumer.poll(timeout_s)
        messages = [] if first is None else [first, *self._consumer.consume(BATCH_MAX - 1, 0)]
        for message in messages:
            error = message.error()
            if error is None:
                yield self._received(message)
            elif error.code() not in _PASSING:
                raise BusError(f"{message.topic()}: {error.str()}")
        self._producer.poll(0)
        self._check()

    def known_end(self, log: str) -> int:
        """The offset after the last that the consumer knew of when it last fetched; 0 before."""
        known = self._consumer.get_watermark_offsets(TopicPartition(topic_of(log), 0), cached=True)
        return int(known[1]) if known is not None else 0

    def flush(self, timeout_s: float) -> None:
        """Wait until the broker has everything sent."""
        left = self._producer.flush(timeout_s)
        self._check()
        if left:
            raise BusError(f"the broker must take everything in {timeout_s} s, {left} were left")

    def close(self) -> None:
        """Receive nothing more."""
        self._consumer.close()

    def _received(self, message: Message) -> Received:
        return Received(
            self._logs[message.topic() or ""],
            message.offset() or 0,
            message.key() or b"",
            _header_of(message),
            message.value() or b"",
        )

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        self._failed = error or self._failed

    def _check(self) -> None:
        if self._failed is not None:
            raise BusError(f"the broker did not take a message: {self._failed.str()}")


class KafkaBus(ChainedBus):
    """Logs on a broker, for one process named `name`; `open` begins the reading."""

    def __init__(self, servers: str, name: str, epoch: int = 0) -> None:
        self._kafka = KafkaClient(servers, name)
        self._lag_due_s = 0.0
        super().__init__(self._kafka, name, epoch)

    def pump(self, timeout_s: float) -> int:
        """Wait up to `timeout_s` for messages and hand over what came; returns how many."""
        count = super().pump(timeout_s)
        # Here and not where it is asked for: a call from another thread waits for the reading one.
        if time.monotonic() >= self._lag_due_s:
            self._lag_due_s = time.monotonic() + LAG_S
            for name, log in self._logs.items():
                self.lag[name] = max(self._kafka.known_end(name) - log.offset, 0)
        return count


def _header_of(message: Message) -> bytes | None:
    headers: Any = message.headers()
    for name, value in headers or ():
        if name == HEADER:
            return bytes(value) if value is not None else None
    return None
