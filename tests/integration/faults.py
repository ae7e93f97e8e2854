"""What the tests of faults do to a running line, and how they look at what became of it."""

import resource
from collections.abc import Iterator
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from hft_lib.events import SCHEMA_VERSION, Event, Halted, Resumed
from hft_lib.market.tape import Tape
from hft_lib.stage import replay
from serving.adapters.kafka_bus import header_of, watermarks
from serving.adapters.kafka_errors import PASSING
from serving.adapters.kafka_snapshots import KafkaStore, Snapshots
from serving.adapters.kafka_topics import SNAPSHOTS, topic_of
from serving.adapters.tape_feed import tape_feed
from serving.runtime.chain import Incoming, Outgoing, Undecodable, Verdict, read_fact, read_header
from serving.runtime.chained import DEAD_LETTERS, DeadLetter, Position
from serving.runtime.host import Snapshot
from serving.runtime.opening import FEED, LINE, LineOpened
from serving.runtime.snapshots import ServiceSnapshot, checksum
from serving.services import WRITERS, stages

Said = list[tuple[str, bytes]]  # writer and fact, in the order of a log


def messages(servers: str, topic: str) -> Iterator[Message]:
    """Every message that a topic holds now."""
    reader = Consumer({"bootstrap.servers": servers, "group.id": "faults"})
    _, end = watermarks(reader, topic)  # which waits for a leader after an outage
    reader.assign([TopicPartition(topic, 0, 0)])
    while reader.position([TopicPartition(topic, 0)])[0].offset < end:
        message = reader.poll(10)
        assert message is not None
        if (error := message.error()) is not None:
            assert error.code() in PASSING, error
            continue
        yield message
    reader.close()


def said(servers: str, log: str) -> Said:
    """What a reader of a log takes, whoever said it; what is none of ours is passed over."""
    incoming, found = Incoming(log), []
    for message in messages(servers, topic_of(log)):
        content = message.value() or b""
        try:
            header = read_header(header_of(message))
            if header.writer not in WRITERS:
                continue
            key = (message.key() or b"").decode()
            if incoming.judge(header, key, content) is Verdict.TAKE:
                read_fact(header, content)
                found.append((header.writer, content))
        except Undecodable:
            continue
    return found


def facts_of(log: Said) -> list[Event]:
    """The facts of a log."""
    decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)
    return [decoder.decode(content) for _, content in log]


def words(servers: str) -> list[Halted | Resumed]:
    """What execution was told of the latch, in order."""
    inbox = facts_of(said(servers, "execution"))
    return [fact for fact in inbox if isinstance(fact, Halted | Resumed)]


def check_replay(servers: str, *names: str, is_through: bool = False) -> int:
    """Every stage named (or all) has written what a replay of its inbox makes; how many facts.

    While the line runs its logs are read one after the other, so what they have in common is
    compared; `is_through` says that it has come to rest and all must be there.
    """
    config = opened(servers).config
    wanted = [stage for stage in stages() if not names or stage.name in names]
    read = {stage.name for stage in wanted}
    read |= {log for stage in wanted for targets in stage.routes.values() for log in targets}
    logs = {log: said(servers, log) for log in sorted(read)}
    compared = 0
    for stage in wanted:
        made: dict[str, list[bytes]] = {}
        for fact in replay(stage, config, facts_of(logs[stage.name])):
            for log in stage.routes[type(fact)]:
                made.setdefault(log, []).append(msgspec.msgpack.encode(fact))
        for log, content in logs.items():
            ours = [fact for writer, fact in content if writer == stage.name]
            theirs = made.get(log, [])
            count = min(len(ours), len(theirs))
            assert ours[:count] == theirs[:count], f"{stage.name} into {log}"
            assert not is_through or len(ours) == len(theirs), f"{stage.name} into {log}"
            compared += count
    return compared


def check_feed(servers: str, path: Path) -> int:
    """What was fed is the tape, from its first row on with nothing left out; how many facts."""
    legs = [leg for item in opened(servers).config.pairs for leg in (item.y, item.x)]
    fed = [fact for writer, fact in said(servers, "ingestion") if writer == FEED]
    tape = tape_feed(Tape.open(path), legs)
    for number, (ours, event) in enumerate(zip(fed, tape, strict=False)):
        assert ours == msgspec.msgpack.encode(event), f"fact {number} of the feed"
    return len(fed)


def opened(servers: str) -> LineOpened:
    """How the line was opened."""
    found = Snapshots(servers, "faults").read(LINE, LineOpened)
    assert found is not None
    return found


# --- poison ---


def poison(servers: str, log: str) -> int:
    """Messages that are none of ours into a log; how many."""
    stamp = read_header(Outgoing("stranger").header(log, "", b"a shape that nobody knows"))
    newer = msgspec.structs.replace(stamp, schema=SCHEMA_VERSION + 1)
    producer = Producer({"bootstrap.servers": servers})
    later = msgspec.structs.replace(stamp, number=7)  # as if six of the stranger's were lost
    headers = [None, b"\x96\x01", msgspec.msgpack.encode(newer), msgspec.msgpack.encode(later)]
    for header in headers:
        producer.produce(
            topic_of(log),
            b"a shape that nobody knows",
            partition=0,
            headers=[("hft", header)] if header is not None else [],
        )
    assert producer.flush(10) == 0
    return len(headers)


def letters(servers: str, log: str) -> list[int]:
    """The offsets of a log that the topic of dead letters names, each chain taken once."""
    found = said_letters(servers)
    return sorted(letter.offset for letter in found if letter.log == log)


def said_letters(servers: str) -> list[DeadLetter]:
    """What a reader of the dead letters takes."""
    incoming, found = Incoming(DEAD_LETTERS), []
    for message in messages(servers, DEAD_LETTERS):
        content = message.value() or b""
        if incoming.judge(read_header(header_of(message)), "", content) is Verdict.TAKE:
            found.append(msgspec.msgpack.decode(content, type=DeadLetter))
    return found


# --- snapshots ---


def snapshots(servers: str, name: str) -> dict[str, bytes]:
    """The snapshots of a service, the newest first."""
    last = dict(KafkaStore(servers, "faults").values())
    mine = {k: v for k, v in last.items() if k.startswith(f"{name}/") and v is not None}
    return dict(sorted(mine.items(), key=lambda item: _serial_of(item[1]), reverse=True))


def cut_snapshots(servers: str, name: str, count: int) -> None:
    """Leave half of the newest `count` snapshots of a service."""
    for key, value in list(snapshots(servers, name).items())[:count]:
        KafkaStore(servers, "faults").put(key, value[: len(value) // 2])


def _serial_of(value: bytes) -> tuple[int, int]:
    found = msgspec.msgpack.decode(value[16:], type=ServiceSnapshot)
    return found.epoch, found.serial


def put_of_another_schema(servers: str, name: str) -> str:
    """The snapshot that a newer program would have left; its key."""
    stage, bus = Snapshot(name, 0, 0, b""), Position({}, {})
    newer = ServiceSnapshot(schema=SCHEMA_VERSION + 1, serial=1, epoch=999, stage=stage, bus=bus)
    content = msgspec.msgpack.encode(newer)
    key = f"{name}/999/1"
    KafkaStore(servers, "faults").put(key, checksum(content) + content)
    return key


def drop(servers: str, key: str) -> None:
    """Take a snapshot away, with what its key says."""
    KafkaStore(servers, "faults").drop(key)
    assert dict(KafkaStore(servers, "faults").values())[key] is None, SNAPSHOTS


# --- disks ---


def fill_disk_of(pid: int) -> None:
    """Let a process write nothing more to any file: what a full disk does to it."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, hard))
