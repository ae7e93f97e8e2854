"""The line over a real broker: what it makes is what the memory bus makes, killed or not."""

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from hft_lib.events import SCHEMA_VERSION, Decided, Event, Halted, TimePassed
from serving.adapters.kafka_bus import KafkaBus, watermarks
from serving.adapters.kafka_topics import TOPICS, ensure_topics, topic_of
from serving.runtime.chain import Diverged, Outgoing, read_header
from serving.runtime.chained import (
    DEAD_LETTERS,
    LETTER_BYTES_MAX,
    Away,
    BusError,
    DeadLetter,
    Position,
)
from serving.runtime.host import Host, Snapshot, serve
from serving.services import INBOXES, SERVICES
from tests.builders import DAY_NS, PAIR, START_NS, Told, encoded, story, story_config, told
from tests.integration.conftest import free_ports

pytestmark = pytest.mark.slow


class Six:
    """The six services, each with a bus of its own, pumped in turn; one more bus for the edges."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.saved: dict[str, tuple[Snapshot, bytes]] = {}
        self.buses: dict[str, KafkaBus] = {}
        self.hosts: dict[str, Host] = {}
        self.records: list[bytes] = []
        self.watch = Consumer({"bootstrap.servers": servers, "group.id": "watch"})
        self.edge = KafkaBus(servers, "feed")
        self.sink = KafkaBus(servers, "sink")
        self.sink.read(
            "hft.records", lambda fact: self.records.append(msgspec.msgpack.encode(fact))
        )
        self.sink.open()
        for service in SERVICES:
            self.start(service.name)

    def start(self, name: str) -> None:
        stage = next(service.stage for service in SERVICES if service.name == name)
        bus = KafkaBus(self.servers, name)
        host = serve(stage, story_config(), bus)
        position = None
        if name in self.saved:
            state, content = self.saved[name]
            host.restore(state)
            position = msgspec.msgpack.decode(content, type=Position)
        bus.open(position)
        self.buses[name], self.hosts[name] = bus, host

    def save(self, name: str) -> None:
        bus = self.buses[name]
        bus.flush()
        self.saved[name] = (self.hosts[name].snapshot(), msgspec.msgpack.encode(bus.position()))

    def kill(self, name: str) -> None:
        """Lose what the process knew; what it had written may or may not have arrived."""
        self.buses.pop(name).close()

    def tell(self, posts: list[tuple[str, Event]]) -> None:
        for log, fact in posts:
            self.edge.write(log, fact)
        self.settle()

    def settle(self) -> None:
        """Pump until the broker holds nothing that was not read."""
        self.edge.flush()
        buses = {**self.buses, "hft.records": self.sink}
        while any(self._unread(log, bus) for log, bus in buses.items()):
            for log, bus in buses.items():
                while self._unread(log, bus):
                    bus.pump(0.05)
                bus.flush()

    def _unread(self, log: str, bus: KafkaBus) -> bool:
        # Asked by a client of its own: a reader's connection waits for what it fetches.
        _, end = watermarks(self.watch, topic_of(log))
        return bool(bus.offset(log) < end)

    def close(self) -> None:
        for bus in (*self.buses.values(), self.sink, self.edge):
            bus.close()


def chapters() -> Iterator[list[tuple[str, Event]]]:
    """The story in parts: whoever answers a part has answered before the next is told.

    A tape's feed waits for `Decided`, and an operator for what came of a word.
    """
    part: list[tuple[str, Event]] = []
    ingestion: Any = None
    for log, fact in story():
        is_control = log != "ingestion" or not hasattr(fact, "more")
        if part and (is_control or ingestion != log):
            yield part
            part = []
        part.append((log, fact))
        ingestion = None if is_control else log
    yield part


def recorded(line: Told) -> list[bytes]:
    """What a line said for the record; writers' words come in any order among one another."""
    return sorted(encoded(fact for log, fact in line.leaving if log == "hft.records"))


@pytest.fixture
def six(servers: str) -> Iterator[Six]:
    made = Six(servers)
    yield made
    made.close()


def test_the_line_over_a_broker_says_what_it_says_in_one_process(six: Six):
    for part in chapters():
        six.tell(part)
    line = told()
    assert sorted(six.records) == recorded(line)
    for name in INBOXES:
        assert six.hosts[name].snapshot().state == line.hosts[name].snapshot().state, name


def test_a_service_killed_between_its_snapshots_changes_nothing(six: Six):
    victims = itertools.cycle([service.name for service in SERVICES])
    for number, part in enumerate(chapters()):
        six.tell(part)
        if number % 5 == 2:
            six.save(next(victims))
        if number % 5 == 4:
            victim = next(victims)
            six.kill(victim)
            six.start(victim)
    six.settle()
    line = told()
    assert sorted(six.records) == recorded(line)
    assert sum(bus.seen for bus in six.buses.values()) > 0, "nobody said anything twice"
    for name in INBOXES:
        assert six.hosts[name].snapshot().state == line.hosts[name].snapshot().state, name


def test_poison_goes_to_the_dead_letters_and_the_line_goes_on(six: Six, servers: str):
    producer = Producer({"bootstrap.servers": servers})
    contents = [b"", b"\x00poison", msgspec.msgpack.encode(TimePassed(START_NS))]
    for content in contents:
        producer.produce(topic_of("execution"), content, partition=0)
    producer.flush(10)
    for part in itertools.islice(chapters(), 20):
        six.tell(part)
    assert six.buses["execution"].dead == 3
    letters = buried(servers)
    assert [letter.log for letter in letters] == ["execution"] * 3
    assert [letter.content for letter in letters] == contents
    assert all("no header" in letter.reason for letter in letters)
    assert six.records


def test_what_is_as_large_as_the_broker_takes_is_buried_too(six: Six, servers: str):
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "compression.type": "gzip",
            "message.max.bytes": 50_000_000,
        }
    )
    for content in (random.Random(1).randbytes(1_048_000), bytes(30_000_000)):
        producer.produce(topic_of("execution"), content, partition=0)
        assert producer.flush(30) == 0
    for part in itertools.islice(chapters(), 20):
        six.tell(part)
    six.buses["execution"].flush(10)
    assert six.buses["execution"].dead == 2 and six.records
    assert [letter.content for letter in buried(servers)] == [
        random.Random(1).randbytes(1_048_000)[:LETTER_BYTES_MAX],
        bytes(LETTER_BYTES_MAX),
    ]


def test_what_decodes_and_is_none_of_an_inboxs_goes_to_the_dead_letters(six: Six, servers: str):
    parts = list(itertools.islice(chapters(), 20))
    for part in parts[:10]:
        six.tell(part)
    operator = KafkaBus(servers, "host")
    operator.write("execution", Decided(START_NS, PAIR, START_NS))
    operator.write("execution", Halted(START_NS, "A~B", True, "ada", "a pair of another line"))
    operator.flush()  # what is poisoned goes another way to the broker
    stranger = Outgoing("stranger")
    poison(servers, stranger, SCHEMA_VERSION + 1, msgspec.msgpack.encode(("New", 1)))
    poison(servers, stranger, SCHEMA_VERSION, msgspec.msgpack.encode(TimePassed(START_NS)))
    poison(servers, operator.outgoing, SCHEMA_VERSION, b"\xc1 no fact")
    operator.write("execution", TimePassed(START_NS))  # what follows is heard: nothing was lost
    operator.flush()
    operator.close()
    for part in parts[10:]:
        six.tell(part)
    reasons = [letter.reason for letter in buried(servers)]
    assert reasons[0] == "execution takes no Decided"
    assert reasons[1] == "the line has no pair 'A~B'"
    assert all("was 'stranger'" in reason for reason in reasons[2:4])
    assert reasons[4].startswith("it is no fact") and len(reasons) == 5
    assert six.buses["execution"].dead == 5
    assert six.buses["execution"].heard("execution", "host") == 2
    assert six.records


def poison(servers: str, writer: Outgoing, schema: int, content: bytes) -> None:
    """A message of another schema, or of bytes that are no fact, in a writer's chain."""
    stamp = read_header(writer.header("execution", "", content))
    header = msgspec.msgpack.encode(msgspec.structs.replace(stamp, schema=schema))
    producer = Producer({"bootstrap.servers": servers})
    producer.produce(
        topic_of("execution"), content, partition=0, key=b"", headers=[("hft", header)]
    )
    producer.flush(10)


def buried(servers: str) -> list[DeadLetter]:
    """What the topic of dead letters holds."""
    reader = Consumer({"bootstrap.servers": servers, "group.id": "graves"})
    reader.assign([TopicPartition(DEAD_LETTERS, 0, 0)])
    _, end = watermarks(reader, DEAD_LETTERS)
    found = [reader.poll(10) for _ in range(end)]
    reader.close()
    return [msgspec.msgpack.decode(m.value() or b"", type=DeadLetter) for m in found if m]


def test_a_log_that_lost_a_message_ends_its_reader(six: Six):
    six.edge.outgoing.header("kafka", "", b"")  # another log's chain is none of this one's
    six.edge.write("ingestion", TimePassed(START_NS))
    six.edge.outgoing.header("ingestion", "", b"never sent")
    six.edge.write("ingestion", TimePassed(START_NS + DAY_NS))
    with pytest.raises(Diverged, match="must go on with 2, came 3"):
        six.settle()


def test_an_offset_that_the_broker_no_longer_keeps_is_refused(servers: str):
    bus = KafkaBus(servers, "execution")
    bus.read("execution", lambda fact: None)
    position = bus.position()
    position.read["execution"] = msgspec.structs.replace(position.read["execution"], offset=99)
    with pytest.raises(BusError, match="must hold offset 99, held 0 to 0"):
        bus.open(position)
    bus.close()


def delete_topic(servers: str, log: str) -> None:
    admin, topic = AdminClient({"bootstrap.servers": servers}), topic_of(log)
    admin.delete_topics([topic], operation_timeout=30)[topic].result(30)


def pump_until(bus: KafkaBus, holds: Callable[[], bool]) -> None:
    for _ in range(300):
        bus.pump(0.1)
        if holds():
            return
    raise AssertionError(f"it did not come to hold in 30 s; away: {bus.away!r}")


def test_a_topic_that_is_deleted_under_its_reader_is_named_until_it_is_back(servers: str):
    heard: list[Event] = []
    bus = KafkaBus(servers, "execution")
    for log in ("execution", "orchestrator"):
        bus.read(log, heard.append)
    bus.open()
    pump_until(bus, lambda: bus.is_heard)
    delete_topic(servers, "execution")
    pump_until(bus, lambda: bus.away == "it has no topic hft.execution any more")
    other = KafkaBus(servers, "feed")
    other.write("orchestrator", TimePassed(START_NS))
    other.flush()
    pump_until(bus, lambda: heard == [TimePassed(START_NS)])
    ensure_topics(servers)
    pump_until(bus, lambda: bus.away == "")
    for each in (bus, other):
        each.close()


def test_a_topic_that_is_made_again_without_what_was_read_ends_its_reader(servers: str):
    heard: list[Event] = []
    bus, other = KafkaBus(servers, "execution"), KafkaBus(servers, "feed")
    bus.read("execution", heard.append)
    bus.open()
    for number in range(3):
        other.write("execution", TimePassed(START_NS + number))
    other.flush()
    pump_until(bus, lambda: len(heard) == 3)
    delete_topic(servers, "execution")
    pump_until(bus, lambda: bus.away != "")
    ensure_topics(servers)
    with pytest.raises(BusError, match=r"hft\.execution: .*[Oo]ffset"):
        pump_until(bus, lambda: False)
    for each in (bus, other):
        each.close()


def test_the_first_message_to_a_broker_that_is_away_waits_for_it():
    (port,) = free_ports(1)
    bus = KafkaBus(f"127.0.0.1:{port}", "risk_manager")
    bus.write("execution", TimePassed(START_NS))
    with pytest.raises(Away, match="1 were left"):
        bus.flush(0.1)
    bus.close()


def alter_message_bytes(servers: str, log: str, how: AlterConfigOpType, value: str = "") -> None:
    """Set how large a message of a log may be, or delete what was set."""
    resource = ConfigResource(ResourceType.TOPIC, topic_of(log))
    entry = ConfigEntry("max.message.bytes", value, incremental_operation=how)
    resource.add_incremental_config(entry)
    admin = AdminClient({"bootstrap.servers": servers})
    admin.incremental_alter_configs([resource])[resource].result(10)


@pytest.fixture
def narrow(servers: str) -> Iterator[str]:
    """A broker that takes 2000 bytes a message into execution's inbox.

    Undone, because a topic made again under its name may find what was altered of the one before.
    """
    alter_message_bytes(servers, "execution", AlterConfigOpType.SET, "2000")
    yield servers
    alter_message_bytes(servers, "execution", AlterConfigOpType.DELETE)


@pytest.mark.parametrize("together", [False, True])
def test_nothing_follows_a_message_that_the_broker_refused(narrow: str, together: bool):
    """A gap in a chain would stop every reader for good."""
    bus, heard = KafkaBus(narrow, "risk_manager"), KafkaBus(narrow, "execution")
    facts: list[Event] = []
    heard.read("execution", facts.append)
    heard.open()
    bus.write("execution", TimePassed(START_NS))
    bus.flush()
    bus.write("execution", Halted(START_NS, PAIR, True, "ada", "x" * 4000))
    with pytest.raises(BusError, match="did not take a message"):
        for number in range(1000):
            bus.write("execution", TimePassed(START_NS + number))
            if not together:
                bus.pump(0.001)
        bus.flush()
    with pytest.raises(BusError, match="did not take a message"):
        bus.write("execution", TimePassed(START_NS))
        bus.flush()
    for _ in range(10):
        heard.pump(0.1)
    assert facts == [TimePassed(START_NS)], "what came after it was never sent"
    for one in (bus, heard):
        one.close()


def topic_config(servers: str, name: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, name)
    admin = AdminClient({"bootstrap.servers": servers})
    found = admin.describe_configs([resource])[resource].result(10)
    return {key: entry.value for key, entry in found.items()}


def test_topics_are_made_once_and_as_they_are_written_down(servers: str):
    ensure_topics(servers)
    for topic in TOPICS:
        known = topic_config(servers, topic.name)
        assert {name: known[name] for name in topic.config} == topic.config


def test_a_topic_that_is_known_late_is_waited_for_and_one_that_never_was_is_an_error(servers: str):
    reader = Consumer({"bootstrap.servers": servers, "group.id": "late"})
    admin = AdminClient({"bootstrap.servers": servers})
    later = threading.Timer(1.0, admin.create_topics, [[NewTopic("hft.late", 1)]])
    later.start()
    assert watermarks(reader, "hft.late") == (0, 0)
    later.join()
    with pytest.raises(BusError, match="hft.never holds: .*Unknown partition") as told:
        watermarks(reader, "hft.never")
    assert not isinstance(told.value, Away)
    reader.close()
