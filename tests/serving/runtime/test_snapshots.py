"""Snapshots over a store in memory: which is taken up, and what an older process may not undo."""

import msgspec
import pytest

from hft_lib.events import SCHEMA_VERSION
from serving.runtime.chained import Position
from serving.runtime.host import Snapshot
from serving.runtime.opening import FeedOpened, OtherVersion
from serving.runtime.snapshots import ServiceSnapshot, Shared, SnapshotKeeper, checksum


class MemoryStore:
    """Every value that was put, in order, as a topic that was not compacted yet."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, bytes | None]] = []

    def put(self, key: str, value: bytes) -> None:
        self.kept.append((key, value))

    def drop(self, key: str) -> None:
        self.kept.append((key, None))

    def values(self) -> list[tuple[str, bytes | None]]:
        return list(self.kept)

    @property
    def keys(self) -> set[str]:
        last = dict(self.kept)
        return {key for key in last if last[key] is not None}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def save(keeper: SnapshotKeeper, epoch: int, read: int) -> None:
    keeper.save(epoch, Snapshot(keeper.name, read, 0, b"state"), Position({}, {}))


def loaded(store: MemoryStore, name: str = "execution") -> tuple[int, int]:
    """How far the snapshot that is found has read, and the highest epoch that was taken."""
    keeper = SnapshotKeeper(store, name)
    found = keeper.load()
    return (found.stage.read if found is not None else -1), keeper.epoch


def test_the_newest_of_a_service_is_taken_up(store: MemoryStore):
    assert loaded(store) == (-1, 0)
    other, mine = SnapshotKeeper(store, "orchestrator"), SnapshotKeeper(store, "execution")
    for read in range(1, 6):
        save(mine, 1, read)
        save(other, 9, 100 + read)
    assert loaded(store) == (5, 1)
    assert store.keys == {
        f"{n}/{e}/{s}" for n, e in (("execution", 1), ("orchestrator", 9)) for s in (0, 1)
    }


def test_an_older_process_that_still_runs_does_not_win(store: MemoryStore):
    old, new = SnapshotKeeper(store, "execution"), SnapshotKeeper(store, "execution")
    save(old, 1, 10)
    new.load()
    save(new, 2, 10)
    for read in range(11, 20):
        save(old, 1, read)
    assert loaded(store) == (10, 2)


def test_the_keys_of_older_epochs_are_dropped_once_both_of_an_epoch_are_written(store: MemoryStore):
    for epoch in (1, 2, 3):
        keeper = SnapshotKeeper(store, "execution")
        keeper.load()
        save(keeper, epoch, 10 * epoch)
        assert len(store.keys) == (1 if epoch == 1 else 3), "nothing is dropped for one alone"
        save(keeper, epoch, 10 * epoch + 1)
        assert store.keys == {f"execution/{epoch}/0", f"execution/{epoch}/1"}


@pytest.mark.parametrize("left", [0, 1, 15, 16, 40])
def test_one_that_is_cut_leaves_the_one_before_it_and_its_epoch_taken(
    store: MemoryStore, left: int
):
    keeper = SnapshotKeeper(store, "execution")
    save(keeper, 3, 1)
    save(keeper, 4, 2)
    key, value = store.kept[-1]
    assert value is not None
    store.kept[-1] = (key, value[:left])
    assert loaded(store) == (1, 4)


def of_schema(schema: int, epoch: int, serial: int) -> bytes:
    content = msgspec.msgpack.encode(
        ServiceSnapshot(
            schema=schema,
            serial=serial,
            epoch=epoch,
            stage=Snapshot("execution", 9, 0, b""),
            bus=Position({}, {}),
        )
    )
    return checksum(content) + content


def test_the_newest_of_another_schema_refuses_and_says_both(store: MemoryStore):
    save(SnapshotKeeper(store, "execution"), 6, 1)
    store.put("execution/7/1", of_schema(SCHEMA_VERSION + 1, 7, 9))
    why = f"snapshot of execution must be {SCHEMA_VERSION}, was {SCHEMA_VERSION + 1}"
    with pytest.raises(OtherVersion, match=why):
        SnapshotKeeper(store, "execution").load()
    assert loaded(store, "orchestrator") == (-1, 0), "it is nobody else's"


def test_an_older_one_of_another_schema_is_left_aside(store: MemoryStore):
    store.put("execution/5/1", of_schema(SCHEMA_VERSION - 1, 5, 9))
    save(SnapshotKeeper(store, "execution"), 6, 1)
    assert loaded(store) == (1, 6)


def test_how_the_line_was_opened_in_another_schema_is_refused(store: MemoryStore):
    shared = msgspec.msgpack.encode(Shared(SCHEMA_VERSION + 1, b"of a shape that nobody knows"))
    store.put("line", checksum(shared) + shared)
    with pytest.raises(OtherVersion, match="'line' says must be"):
        SnapshotKeeper(store, "execution").read("line", FeedOpened)


def test_what_all_read_is_the_last_whole_value_of_its_key(store: MemoryStore):
    keeper = SnapshotKeeper(store, "ingestion")
    opened = FeedOpened(tape="tape", tape_sha256="ab" * 32, start_ns=7)
    assert keeper.read("feed", FeedOpened) is None
    keeper.put("feed", opened)
    store.put("feed", b"half")
    store.put("other", b"")
    assert SnapshotKeeper(store, "orchestrator").read("feed", FeedOpened) == opened
