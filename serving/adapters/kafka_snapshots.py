"""What a line must find again, in one compacted topic: how it was opened, every service's state.

The last value of a key is kept. A service writes its snapshots to two keys in turn, each with a
checksum, so that one that is cut or of another schema leaves the one before it.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import TypeVar

import msgspec
import structlog
from confluent_kafka import Consumer, Producer, TopicPartition

from hft_lib.events import SCHEMA_VERSION
from serving.adapters.kafka_bus import FLUSH_S_MAX, BusError, Position, watermarks
from serving.adapters.kafka_topics import MESSAGE_BYTES_MAX, SNAPSHOTS
from serving.runtime.chain import LOGIC_VERSION
from serving.runtime.host import Snapshot

T = TypeVar("T")
_CHECKSUM_BYTES = 16
_log = structlog.get_logger(__name__)


class ServiceSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A service at one point: its stage, its bus, the epoch it ran under; `serial` counts up."""

    schema: int = SCHEMA_VERSION
    logic: int = LOGIC_VERSION
    serial: int
    epoch: int
    stage: Snapshot
    bus: Position


class Snapshots:
    """The topic of snapshots, for one process named `name`."""

    def __init__(self, servers: str, name: str) -> None:
        self.name = name
        self._servers = servers
        self._serial = 0
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "client.id": f"{name}-snapshots",
                "enable.idempotence": True,
                "acks": "all",
                "message.max.bytes": MESSAGE_BYTES_MAX,
                "log_level": 0,
            }
        )

    def load(self) -> ServiceSnapshot | None:
        """The newest snapshot of this service that can be read; None where there is none."""
        found = []
        for key, value in self._values():
            if key.startswith(f"{self.name}/"):
                snapshot = _snapshot(key, value)
                if snapshot is not None:
                    found.append(snapshot)
        newest = max(found, key=lambda snapshot: snapshot.serial, default=None)
        self._serial = newest.serial if newest is not None else 0
        return newest

    def save(self, epoch: int, stage: Snapshot, bus: Position) -> int:
        """Write a snapshot of what is on the broker already; returns its size in bytes."""
        self._serial += 1
        content = msgspec.msgpack.encode(
            ServiceSnapshot(serial=self._serial, epoch=epoch, stage=stage, bus=bus)
        )
        if len(content) + _CHECKSUM_BYTES > MESSAGE_BYTES_MAX:
            raise BusError(
                f"a snapshot must have at most {MESSAGE_BYTES_MAX} bytes, had {len(content)}"
            )
        self._put(f"{self.name}/{self._serial % 2}", content)
        return len(content)

    def read(self, key: str, kind: type[T]) -> T | None:
        """The struct that `put` wrote under `key`; None before."""
        last: T | None = None
        for found, value in self._values():
            content = _checked(value)
            if found == key and content is not None:
                last = msgspec.msgpack.decode(content, type=kind)
        return last

    def put(self, key: str, value: msgspec.Struct) -> None:
        """Write what all services of the line read."""
        self._put(key, msgspec.msgpack.encode(value))

    def _put(self, key: str, content: bytes) -> None:
        self._producer.produce(SNAPSHOTS, checksum(content) + content, key.encode(), 0)
        if self._producer.flush(FLUSH_S_MAX):
            raise BusError(f"the broker must take {key} in {FLUSH_S_MAX} s, and did not")

    def _values(self) -> Iterator[tuple[str, bytes]]:
        """Every key and value that the topic holds now, in order."""
        reader = Consumer(
            {
                "bootstrap.servers": self._servers,
                "group.id": f"hft.{self.name}.snapshots",
                "enable.auto.commit": False,
                "fetch.message.max.bytes": MESSAGE_BYTES_MAX,
                "log_level": 0,
            }
        )
        try:
            low, high = watermarks(reader, SNAPSHOTS)
            reader.assign([TopicPartition(SNAPSHOTS, 0, low)])
            while reader.position([TopicPartition(SNAPSHOTS, 0)])[0].offset < high > low:
                message = reader.poll(FLUSH_S_MAX)
                if message is None or message.error() is not None:
                    raise BusError(f"{SNAPSHOTS} cannot be read: {message and message.error()}")
                if message.value() is not None:
                    yield (message.key() or b"").decode("utf-8", "replace"), message.value() or b""
        finally:
            reader.close()


def _snapshot(key: str, value: bytes) -> ServiceSnapshot | None:
    content = _checked(value)
    if content is None:
        _log.error("a snapshot is cut or changed, the one before it is taken", key=key)
        return None
    try:
        snapshot = msgspec.msgpack.decode(content, type=ServiceSnapshot)
    except msgspec.MsgspecError as error:
        _log.error("a snapshot cannot be read, the one before it is taken", key=key, error=error)
        return None
    if (snapshot.schema, snapshot.logic) != (SCHEMA_VERSION, LOGIC_VERSION):
        _log.warning(
            "a snapshot of another version is left aside",
            key=key,
            schema=snapshot.schema,
            logic=snapshot.logic,
        )
        return None
    return snapshot


def checksum(content: bytes) -> bytes:
    """What stands before a value: a value that was cut or changed has another."""
    return blake2b(content, digest_size=_CHECKSUM_BYTES).digest()


def _checked(value: bytes) -> bytes | None:
    content = value[_CHECKSUM_BYTES:]
    return content if value[:_CHECKSUM_BYTES] == checksum(content) else None
