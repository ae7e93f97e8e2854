"""What a line must find again, by key: how it was opened, every service's state.

The last value of a key is kept. A service writes its snapshots to two keys in turn, each with a
checksum, so that one that is cut leaves the one before it. One of another schema refuses the start:
what came after it in the logs is of that schema too. One of another logic is gone on from. The keys
are those of its epoch: an older process that still runs overwrites nothing of a newer one, and an
epoch that was taken is known even where no value of it can be read. The keys of older epochs are
dropped once both of an epoch are written.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Protocol, TypeVar

import msgspec
import structlog

from hft_lib.events import SCHEMA_VERSION
from serving.runtime.chain import LOGIC_VERSION
from serving.runtime.chained import Position
from serving.runtime.host import Snapshot
from serving.runtime.opening import OtherVersion

T = TypeVar("T")
_CHECKSUM_BYTES = 16
_log = structlog.get_logger(__name__)


class Store(Protocol):
    """Where values are kept by key; every method raises BusError where it cannot."""

    def put(self, key: str, value: bytes) -> None:
        """Keep a value in place of the last one of `key`: it is there when this returns."""

    def drop(self, key: str) -> None:
        """Keep no value of `key` any more."""

    def values(self) -> Iterable[tuple[str, bytes | None]]:
        """Every key and value that is kept now, in the order in which they were put, older ones of
        a key among them; None where a key was dropped.
        """


class ServiceSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A service at one point: its stage, its bus, the epoch it ran under; `serial` counts up."""

    schema: int = SCHEMA_VERSION
    logic: int = LOGIC_VERSION
    serial: int
    epoch: int
    stage: Snapshot
    bus: Position


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """What can be read of a snapshot of any schema."""

    schema: int
    serial: int
    epoch: int


class Shared(msgspec.Struct, frozen=True, array_like=True):
    """What all services of the line read, with the schema that it was written under."""

    schema: int
    content: bytes


class SnapshotKeeper:
    """The snapshots in `store`, for one process named `name`."""

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self.epoch = 0  # the highest that was taken, as of `load`
        self._store = store
        self._serial = 0
        self._saved = 0
        self._keys: set[str] = set()

    def load(self) -> ServiceSnapshot | None:
        """The newest snapshot of this service that is whole; None where there is none.

        Raises OtherVersion where that one is of another schema.
        """
        found: dict[str, list[ServiceSnapshot | Stamp]] = {}
        for key, value in self._store.values():
            name, _, place = key.partition("/")
            if name != self.name:
                continue
            self.epoch = max(self.epoch, _epoch_of(place))
            if value is None:
                found.pop(key, None)
                continue
            snapshot = _snapshot(key, value)
            found.setdefault(key, []).extend([snapshot] if snapshot is not None else [])
        self._keys = set(found)
        whole = [snapshot for one in found.values() for snapshot in one]
        newest = max(whole, key=lambda snapshot: (snapshot.epoch, snapshot.serial), default=None)
        if isinstance(newest, Stamp):
            what = f"the newest snapshot of {self.name}"
            raise OtherVersion.of(what, newest.schema, SCHEMA_VERSION)
        self._serial = newest.serial if newest is not None else 0
        return newest

    def save(self, epoch: int, stage: Snapshot, bus: Position) -> int:
        """Keep a snapshot of what is on the broker already; returns its size in bytes."""
        self._serial += 1
        content = msgspec.msgpack.encode(
            ServiceSnapshot(serial=self._serial, epoch=epoch, stage=stage, bus=bus)
        )
        self._put(f"{self.name}/{epoch}/{self._serial % 2}", content)
        self._saved += 1
        if self._saved == 2:
            for key in sorted(self._keys - {f"{self.name}/{epoch}/{slot}" for slot in (0, 1)}):
                self._store.drop(key)
        return len(content)

    def read(self, key: str, kind: type[T]) -> T | None:
        """The struct that `put` wrote under `key`; None before.

        Raises OtherVersion where it was written under another schema.
        """
        last: bytes | None = None
        for found, value in self._store.values():
            content = _checked(value) if value is not None else None
            if found == key and content is not None:
                last = content
        if last is None:
            return None
        shared = msgspec.msgpack.decode(last, type=Shared)
        if shared.schema != SCHEMA_VERSION:
            raise OtherVersion.of(f"what {key!r} says", shared.schema, SCHEMA_VERSION)
        return msgspec.msgpack.decode(shared.content, type=kind)

    def put(self, key: str, value: msgspec.Struct) -> None:
        """Write what all services of the line read."""
        shared = Shared(SCHEMA_VERSION, msgspec.msgpack.encode(value))
        self._put(key, msgspec.msgpack.encode(shared))

    def _put(self, key: str, content: bytes) -> None:
        self._store.put(key, checksum(content) + content)


def _epoch_of(place: str) -> int:
    """The epoch in `epoch/slot`; 0 where there is none."""
    epoch = place.partition("/")[0]
    return int(epoch) if epoch.isdecimal() else 0


def _snapshot(key: str, value: bytes) -> ServiceSnapshot | Stamp | None:
    content = _checked(value)
    if content is None:
        _log.error("a snapshot is cut or changed, the one before it is taken", key=key)
        return None
    try:
        stamp = msgspec.msgpack.decode(content, type=Stamp)
        if stamp.schema != SCHEMA_VERSION:
            return stamp
        return msgspec.msgpack.decode(content, type=ServiceSnapshot)
    except msgspec.MsgspecError as error:
        _log.error("a snapshot cannot be read, the one before it is taken", key=key, error=error)
        return None


def checksum(content: bytes) -> bytes:
    """What stands before a value: a value that was cut or changed has another."""
    return blake2b(content, digest_size=_CHECKSUM_BYTES).digest()


def _checked(value: bytes) -> bytes | None:
    content = value[_CHECKSUM_BYTES:]
    return content if value[:_CHECKSUM_BYTES] == checksum(content) else None
