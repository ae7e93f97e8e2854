"""The log of a line, copied while it runs, and put back at the same offsets.

Snapshots and the ledger name places of the log by their offsets, so a message is put back where it
was. A copy of a log that grows must hold whatever its facts came of: what a stage said is copied
before the stage's inbox, and the snapshots, which are older than all of it, come first. The line
closes one circle: what the orchestrator tells ingestion. Where it spoke while the copy was made, it
is made again.
"""

import gzip
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from serving.adapters.kafka_bus import HEADER, watermarks
from serving.adapters.kafka_client import ANSWER_S_MAX, administering, client_config
from serving.adapters.kafka_topics import (
    MESSAGE_BYTES_MAX,
    RECORDS,
    REGISTRY,
    SNAPSHOTS,
    VENUE,
    ensure_topics,
    topic_of,
)
from serving.backup import BackupError
from serving.runtime.chain import Undecodable, read_header
from serving.runtime.chained import DEAD_LETTERS, Away
from serving.services import SERVICES

INGESTION, ORCHESTRATOR = SERVICES[0].name, SERVICES[-1].name
# Whatever comes of a log stands before it.
ORDER = (
    SNAPSHOTS,
    RECORDS,
    REGISTRY,
    VENUE,
    DEAD_LETTERS,
    *(topic_of(service.name) for service in reversed(SERVICES)),
)
SUFFIX = ".log.gz"
# The orchestrator tells ingestion something at a day's end or when an operator asks.
TRIES, WAIT_S = 5, 1.0
FLUSH_S_MAX = 60.0
TOPICS_GONE_S_MAX = 30.0
_SIZE_BYTES = 4
_Headers = list[tuple[str, bytes | None]]


class Extent(msgspec.Struct, frozen=True, array_like=True):
    """What a file holds: a topic, its first offset and the one after its last."""

    topic: str
    low: int
    high: int


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """One message; its time is left out, so that what is kept for a week begins a new one."""

    key: bytes | None
    value: bytes | None
    headers: _Headers


def cluster_id(servers: str) -> str:
    """The broker's own name, by which the ledger knows the line."""
    with administering(servers) as admin:
        return str(admin.list_topics(timeout=ANSWER_S_MAX).cluster_id)


def save(servers: str, folder: Path) -> dict[str, int]:
    """Copy every topic of the line into `folder`; how many messages of each.

    Raises BackupError where the orchestrator spoke during each of the copies.
    """
    for left in reversed(range(TRIES)):
        _, circle = _bounds(servers, topic_of(INGESTION))
        counts = {topic: _save(servers, topic, folder) for topic in ORDER}
        if not _spoke(folder / f"{topic_of(INGESTION)}{SUFFIX}", circle):
            return counts
        time.sleep(WAIT_S if left else 0.0)
    raise BackupError(
        f"the orchestrator must be silent for one of {TRIES} copies, it spoke in each"
    )


def restore(servers: str, folder: Path) -> dict[str, int]:
    """Put the topics that `folder` holds in place of those that are there."""
    files = {topic: folder / f"{topic}{SUFFIX}" for topic in ORDER}
    missing = [path.name for path in files.values() if not path.exists()]
    if missing:
        raise BackupError(f"{folder} must hold every topic, it lacks {', '.join(missing)}")
    _remove(servers)
    _make(servers)
    return {topic: _restore(servers, path) for topic, path in files.items()}


# --- saving ---


def _save(servers: str, topic: str, folder: Path) -> int:
    low, high = _bounds(servers, topic)
    count, encoder = 0, msgspec.msgpack.Encoder()
    with gzip.open(folder / f"{topic}{SUFFIX}", "wb", compresslevel=1) as file:
        _put(file, encoder.encode(Extent(topic, low, high)))
        for message in _messages(servers, topic, low, high):
            headers: Any = message.headers() or []
            _put(file, encoder.encode(Kept(message.key(), message.value(), headers)))
            count += 1
    if topic != SNAPSHOTS and count != high - low:  # compaction alone may leave something out
        raise BackupError(f"{topic} must hold {high - low} messages, it held {count}")
    return count


def _messages(servers: str, topic: str, low: int, high: int) -> Iterator[Message]:
    reader = _consumer(servers)
    try:
        reader.assign([TopicPartition(topic, 0, low)])
        while reader.position([TopicPartition(topic, 0)])[0].offset < high > low:
            message = reader.poll(ANSWER_S_MAX)
            if message is None or message.error() is not None:
                raise BackupError(f"{topic} cannot be read: {message and message.error()}")
            if (message.offset() or 0) >= high:
                return
            yield message
    finally:
        reader.close()


def _spoke(path: Path, since: int) -> bool:
    """Whether the orchestrator said anything in a copy of ingestion's inbox from an offset on."""
    extent, messages = read(path)
    for place, message in enumerate(messages, extent.low):
        if place >= since and _writer(message) == ORCHESTRATOR:
            return True
    return False


def _writer(message: Kept) -> str:
    try:
        return read_header(dict(message.headers).get(HEADER)).writer
    except Undecodable:
        return ""


def _bounds(servers: str, topic: str) -> tuple[int, int]:
    reader = _consumer(servers)
    try:
        return watermarks(reader, topic)
    finally:
        reader.close()


def _consumer(servers: str) -> Consumer:
    return Consumer(
        {
            **client_config(servers),
            "group.id": "hft.backup",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "fetch.message.max.bytes": MESSAGE_BYTES_MAX,
        }
    )


# --- files ---


def _put(file: gzip.GzipFile, content: bytes) -> None:
    file.write(len(content).to_bytes(_SIZE_BYTES, "big"))
    file.write(content)


def read(path: Path) -> tuple[Extent, Iterator[Kept]]:
    """What a file says that it holds, and its messages."""
    contents = _contents(path)
    return msgspec.msgpack.decode(next(contents), type=Extent), map(
        msgspec.msgpack.Decoder(Kept).decode, contents
    )


def _contents(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") as file:
        while size := file.read(_SIZE_BYTES):
            yield file.read(int.from_bytes(size, "big"))


# --- restoring ---


def _remove(servers: str) -> None:
    """Take every topic of the line away; returns when they are gone."""
    admin, until_s = _admin(servers), time.monotonic() + TOPICS_GONE_S_MAX
    there = [name for name in admin.list_topics(timeout=ANSWER_S_MAX).topics if name in ORDER]
    if there:
        for answer in admin.delete_topics(there, operation_timeout=ANSWER_S_MAX).values():
            answer.result(TOPICS_GONE_S_MAX)
    while set(admin.list_topics(timeout=ANSWER_S_MAX).topics) & set(ORDER):
        if time.monotonic() > until_s:
            raise BackupError(f"the topics must be gone in {TOPICS_GONE_S_MAX} s, they were not")
        time.sleep(0.1)


@retry(
    retry=retry_if_exception_type(Away),
    stop=stop_after_delay(TOPICS_GONE_S_MAX),
    wait=wait_fixed(1.0),
    reraise=True,
)
def _make(servers: str) -> None:
    """Make the topics; a broker that has just removed as many is slow to answer."""
    ensure_topics(servers)


def _restore(servers: str, path: Path) -> int:
    extent, messages = read(path)
    writer, count = _Writer(servers, extent.topic), 0
    if extent.topic != SNAPSHOTS:
        # What was not kept any more: places alone, which are taken away again.
        for _ in range(extent.low):
            writer.write(Kept(None, b"", []))
    for message in messages:
        writer.write(message)
        count += 1
    writer.flush()
    _, high = _bounds(servers, extent.topic)
    if extent.topic != SNAPSHOTS and high != extent.high:
        raise BackupError(f"{extent.topic} must end at {extent.high}, it ended at {high}")
    if extent.topic != SNAPSHOTS and extent.low:
        place = TopicPartition(extent.topic, 0, extent.low)
        admin = _admin(servers)  # kept: its answers end with it
        admin.delete_records([place])[place].result(TOPICS_GONE_S_MAX)
    return count


class _Writer:
    """Messages into a topic, in order, each there for good once `flush` has returned."""

    def __init__(self, servers: str, topic: str) -> None:
        self._topic = topic
        self._failed = ""
        self._producer = Producer(
            {
                **client_config(servers),
                "enable.idempotence": True,
                "acks": "all",
                "message.max.bytes": MESSAGE_BYTES_MAX,
                "on_delivery": self._delivered,
                "delivery.report.only.error": True,
            }
        )

    def write(self, message: Kept) -> None:
        """Append a message."""
        until_s = time.monotonic() + FLUSH_S_MAX
        headers: Any = message.headers or None
        while True:
            try:
                self._producer.produce(self._topic, message.value, message.key, 0, headers=headers)
                break
            except BufferError:  # the broker takes what is there first
                if time.monotonic() > until_s:
                    raise BackupError(f"{self._topic} was not taken in {FLUSH_S_MAX} s") from None
                self._producer.poll(0.1)
        self._producer.poll(0)
        self._check()

    def flush(self) -> None:
        """Wait until the broker has everything."""
        if self._producer.flush(FLUSH_S_MAX):
            raise BackupError(f"{self._topic} was not taken in {FLUSH_S_MAX} s")
        self._check()

    def _delivered(self, error: object, _message: Message) -> None:
        self._failed = self._failed or str(error)

    def _check(self) -> None:
        if self._failed:
            raise BackupError(f"{self._topic} was not taken: {self._failed}")


def _admin(servers: str) -> AdminClient:
    return AdminClient(client_config(servers))
