"""Snapshots on a real broker: the newest whole one of this version is taken up, or none."""

import msgspec
import pytest
from confluent_kafka import Producer

from hft_lib.events import SCHEMA_VERSION
from serving.adapters.kafka_snapshots import Snapshots
from serving.adapters.kafka_topics import SNAPSHOTS
from serving.runtime.chained import Position
from serving.runtime.host import Snapshot
from serving.runtime.opening import FEED, FeedOpened, OtherVersion
from serving.runtime.snapshots import ServiceSnapshot, checksum

pytestmark = pytest.mark.slow


def save(snapshots: Snapshots, read: int) -> None:
    snapshots.save(1, Snapshot("execution", read, 0, b"state"), Position({}, {}))


def put(servers: str, key: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": servers})
    producer.produce(SNAPSHOTS, value, key.encode(), 0)
    assert producer.flush(10) == 0


def test_a_service_finds_its_newest_snapshot(servers: str):
    assert Snapshots(servers, "execution").load() is None
    for read in range(1, 6):
        save(Snapshots(servers, "orchestrator"), 100 + read)
    writer = Snapshots(servers, "execution")
    for read in range(1, 6):
        save(writer, read)
    found = Snapshots(servers, "execution").load()
    assert found is not None and (found.stage.read, found.serial, found.epoch) == (5, 5, 1)


def test_a_snapshot_that_is_cut_leaves_the_one_before_it(servers: str):
    writer = Snapshots(servers, "execution")
    save(writer, 1)
    save(writer, 2)
    whole = msgspec.msgpack.encode(("anything", 2))
    put(servers, "execution/1/1", (checksum(whole) + whole)[:-1])
    found = Snapshots(servers, "execution").load()
    assert found is not None and found.stage.read == 2


def test_a_snapshot_of_another_schema_refuses_and_one_that_is_no_snapshot_does_not(servers: str):
    writer = Snapshots(servers, "execution")
    save(writer, 1)
    other = msgspec.msgpack.encode(
        ServiceSnapshot(
            schema=SCHEMA_VERSION + 1,
            serial=9,
            epoch=1,
            stage=Snapshot("execution", 9, 0, b""),
            bus=Position({}, {}),
        )
    )
    put(servers, "execution/1/0", checksum(b"\xc1") + b"\xc1")
    found = Snapshots(servers, "execution").load()
    assert found is not None and found.stage.read == 1
    put(servers, "execution/1/0", checksum(other) + other)
    with pytest.raises(OtherVersion, match=f"must be {SCHEMA_VERSION}"):
        Snapshots(servers, "execution").load()


def test_the_next_snapshot_counts_on_from_the_one_that_was_taken_up(servers: str):
    save(Snapshots(servers, "execution"), 1)
    again = Snapshots(servers, "execution")
    again.load()
    save(again, 2)
    found = Snapshots(servers, "execution").load()
    assert found is not None and (found.stage.read, found.serial) == (2, 2)


def test_how_the_line_was_opened_is_read_by_every_service(servers: str):
    opened = FeedOpened(tape="tape", tape_sha256="ab" * 32, start_ns=7)
    Snapshots(servers, "ingestion").put(FEED, opened)
    assert Snapshots(servers, "orchestrator").read(FEED, FeedOpened) == opened
    assert Snapshots(servers, "orchestrator").read("line", FeedOpened) is None
