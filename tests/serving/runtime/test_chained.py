"""A bus over a client in memory: what is handed over, buried, and what ends an older process."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from hft_lib.events import SCHEMA_VERSION, Event, Halted, TimePassed
from serving.runtime.chain import (
    LOGIC_VERSION,
    NO_ORIGIN,
    Diverged,
    Origin,
    Outgoing,
    Superseded,
    read_header,
)
from serving.runtime.chained import (
    DEAD_LETTERS,
    LETTER_BYTES_MAX,
    REASON_LENGTH_MAX,
    BusError,
    ChainedBus,
    DeadLetter,
    Received,
)
from serving.runtime.opening import OtherVersion
from tests.builders import START_NS

Logs = dict[str, list[tuple[str, bytes | None, bytes]]]


class MemoryClient:
    """Logs of which everything arrives at once."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._offsets: dict[str, int] = {}

    def append(self, log: str, key: str, header: bytes | None, content: bytes) -> None:
        self._logs.setdefault(log, []).append((key, header, content))

    def send(self) -> None:
        """What is appended has arrived."""

    def bounds(self, log: str) -> tuple[int, int]:
        return 0, len(self._logs.get(log, []))

    def assign(self, offsets: Mapping[str, int]) -> None:
        self._offsets = dict(offsets)

    def receive(self, timeout_s: float) -> Iterator[Received]:
        for log in self._offsets:
            for offset in range(self._offsets[log], len(self._logs.get(log, []))):
                self._offsets[log] += 1
                key, header, content = self._logs[log][offset]
                yield Received(log, offset, key.encode(), header, content)

    def flush(self, timeout_s: float) -> None:
        assert timeout_s > 0.0

    def close(self) -> None:
        self._offsets = {}


def opened(logs: Logs, epoch: int) -> tuple[ChainedBus, list[Event]]:
    """Execution's bus under an epoch, and what it is handed."""
    facts: list[Event] = []
    bus = ChainedBus(MemoryClient(logs), "execution", epoch)
    bus.read("execution", facts.append)
    bus.open()
    return bus, facts


def passed(number: int) -> TimePassed:
    return TimePassed(START_NS + number)


def test_an_older_process_ends_at_the_announcement_of_a_newer_one():
    logs: Logs = {}
    old, facts = opened(logs, 1)
    feed = ChainedBus(MemoryClient(logs), "risk_manager")
    feed.write("execution", passed(1))
    new, _ = opened(logs, 2)
    new.announce("execution")
    feed.write("execution", passed(2))
    with pytest.raises(Superseded, match="elsewhere under epoch 2, this one is 1"):
        old.pump(0.0)
    assert facts == [passed(1)], "nothing after the announcement is stepped on"


def test_an_edge_is_opened_where_nothing_of_an_older_one_can_come_any_more():
    logs: Logs = {}
    old, _ = opened(logs, 1)
    old.edge("host", "execution").write(passed(1))
    new, facts = opened(logs, 2)
    new.announce("execution", "host")
    heard = [new.is_heard]
    new.pump(0.0)
    assert [*heard, new.is_heard] == [False, True] and facts == [passed(1)]
    inlet = new.edge("host", "execution")
    old.edge("host", "execution").write(passed(7))  # has not heard of the newer one yet
    inlet.write(passed(2))
    new.pump(0.0)
    assert facts == [passed(1), passed(2)] and new.fenced == 1


class KeepingClient(MemoryClient):
    """A client whose messages go when they are let go."""

    def __init__(self, logs: Logs) -> None:
        super().__init__(logs)
        self.kept: list[tuple[str, str, bytes | None, bytes]] = []

    def append(self, log: str, key: str, header: bytes | None, content: bytes) -> None:
        self.kept.append((log, key, header, content))

    def send(self) -> None:
        for message in self.kept:
            super().append(*message)
        self.kept.clear()


def test_what_was_made_goes_before_the_next_wait_and_at_the_end_of_a_batch():
    logs: Logs = {}
    bus = ChainedBus(KeepingClient(logs), "execution")
    bus.read("execution", lambda fact: bus.write("hft.records", fact))
    bus.open()
    bus.write("hft.records", passed(1))
    bus.pump(0.0)
    assert len(logs["hft.records"]) == 1, "nothing came, and what an edge wrote has gone"
    line = ChainedBus(MemoryClient(logs), "risk_manager")
    line.write("execution", passed(2))
    line.write("execution", passed(3))
    bus.pump(0.0)
    assert len(logs["hft.records"]) == 3


def test_what_was_made_before_a_gap_in_the_same_batch_goes_too():
    logs: Logs = {}
    line = ChainedBus(MemoryClient(logs), "risk_manager")
    for number in range(3):
        line.write("execution", passed(number))
    del logs["execution"][1]
    bus = ChainedBus(KeepingClient(logs), "execution")
    bus.read("execution", lambda fact: bus.write("hft.records", fact))
    bus.open()
    with pytest.raises(Diverged, match="must go on with 2, came 3"):
        bus.pump(0.0)
    assert [content for _, _, content in logs["hft.records"]] == [msgspec.msgpack.encode(passed(0))]


def test_an_announcement_is_there_before_anything_is_said_after_it():
    class Slow(KeepingClient):
        """A client whose messages arrive at a flush, the last first."""

        def flush(self, timeout_s: float) -> None:
            self.kept.reverse()
            self.send()

    logs: Logs = {}
    bus = ChainedBus(Slow(logs), "execution", 1)
    bus.read("execution", lambda fact: None)
    bus.open()
    bus.announce("execution")
    bus.write("hft.records", passed(1))
    assert [len(logs.get(log, ())) for log in ("execution", "hft.records")] == [1, 0]


def test_what_is_none_of_ours_is_buried_once_and_the_rest_goes_on():
    logs: Logs = {}
    bus, facts = opened(logs, 0)
    MemoryClient(logs).append("execution", "", None, b"poison")
    ChainedBus(MemoryClient(logs), "risk_manager").write("execution", passed(1))
    bus.pump(0.0)
    bus.pump(0.0)
    assert facts == [passed(1)] and bus.dead == 1
    found = [(letter.log, letter.offset, letter.content) for letter in letters(logs)]
    assert found == [("execution", 0, b"poison")]


def letters(logs: Logs) -> list[DeadLetter]:
    """What was buried."""
    return [msgspec.msgpack.decode(c, type=DeadLetter) for _, _, c in logs[DEAD_LETTERS]]


def of_another_schema(writer: str, number: int, content: bytes) -> tuple[str, bytes, bytes]:
    outgoing = Outgoing(writer)
    for _ in range(number):
        stamp = read_header(outgoing.header("execution", "", content))
    stamp = msgspec.structs.replace(stamp, schema=SCHEMA_VERSION + 1)
    return "", msgspec.msgpack.encode(stamp), content


def test_the_next_fact_of_a_writer_of_the_line_in_another_schema_is_refused():
    logs: Logs = {"execution": [of_another_schema("risk_manager", 1, b"of another shape")]}
    bus, facts = opened(logs, 0)
    with pytest.raises(OtherVersion, match=f"fact 1 on must be {SCHEMA_VERSION}, was"):
        bus.pump(0.0)
    assert not facts and DEAD_LETTERS not in logs


def headed(content: bytes, writer: str = "stranger", **said: Any) -> tuple[str, bytes, bytes]:
    """A message under a header that says `said`, and else what is right."""
    stamp = read_header(Outgoing(writer).header("execution", "", content))
    return "", msgspec.msgpack.encode(msgspec.structs.replace(stamp, **said)), content


def test_whatever_a_stranger_says_is_buried_and_the_line_goes_on():
    fact = msgspec.msgpack.encode(Halted(START_NS, "", True, "eve", "by a stranger"))
    said: list[dict[str, Any]] = [
        {},
        {"number": 7},
        {"digest": b"another"},
        {"epoch": 9},
        {"schema": SCHEMA_VERSION + 1},
        {"schema": SCHEMA_VERSION + 1, "number": 2},
        {"origin": Origin(1, "x" * 600)},
    ]
    logs: Logs = {"execution": [headed(fact, **lie) for lie in said]}
    nested = b"\x98" + headed(fact)[1][1:] + b"\x91" * 400
    logs["execution"].append(("", nested, fact))
    bus, facts = opened(logs, 0)
    ChainedBus(MemoryClient(logs), "risk_manager").write("execution", passed(1))
    bus.pump(0.0)
    assert facts == [passed(1)] and bus.dead == len(said) + 1
    assert [letter.offset for letter in letters(logs)] == list(range(bus.dead))
    assert letters(logs)[0].reason == "its writer must be one of the line's, was 'stranger'"


def test_a_fact_that_is_nested_without_end_is_buried_in_its_writers_chain():
    fact = msgspec.msgpack.encode(passed(1))
    deep = bytes([fact[0] + 1]) + fact[1:] + b"\x91" * 100_000
    logs: Logs = {"execution": [headed(deep, "risk_manager")]}
    bus, facts = opened(logs, 0)
    bus.pump(0.0)
    assert not facts and bus.dead == 1 and "recursion" in letters(logs)[0].reason
    assert bus.heard("execution", "risk_manager") == 1


def test_a_letter_keeps_the_beginning_of_what_is_large_and_says_how_large_it_was():
    content = bytes(30_000_000)
    logs: Logs = {"execution": [("", bytes(1_000_000), content)]}
    bus, _ = opened(logs, 0)
    bus.pump(0.0)
    (letter,) = letters(logs)
    assert len(logs[DEAD_LETTERS][0][2]) < 2 * LETTER_BYTES_MAX
    assert letter.content == bytes(LETTER_BYTES_MAX) and "30000000 bytes" in letter.reason
    names = msgspec.msgpack.encode(("Z" * 100_000, 1))
    logs["execution"].append(headed(names, "risk_manager"))
    bus.pump(0.0)
    assert letters(logs)[1].reason.startswith("it is no fact: Invalid value 'ZZ")
    assert len(letters(logs)[1].reason) <= REASON_LENGTH_MAX


def test_a_change_of_logic_in_a_log_is_said_once():
    logs: Logs = {}
    writer = ChainedBus(MemoryClient(logs), "risk_manager")
    for number in range(3):
        writer.write("execution", passed(number))
    for place in (1, 2):
        key, header, content = logs["execution"][place]
        newer = msgspec.structs.replace(read_header(header), logic=LOGIC_VERSION + 1)
        logs["execution"][place] = (key, msgspec.msgpack.encode(newer), content)
    bus, facts = opened(logs, 0)
    with capture_logs() as said:
        bus.pump(0.0)
    assert len(facts) == 3
    offsets = [one["offset"] for one in said if one["event"] == "another logic from here on"]
    assert offsets == [1]


def test_a_position_that_is_not_kept_any_more_is_refused():
    bus, _ = opened({"execution": [("", None, b"")]}, 0)
    bus.pump(0.0)
    again = ChainedBus(MemoryClient({}), "execution")
    again.read("execution", lambda fact: None)
    with pytest.raises(BusError, match="must hold offset 1, held 0 to 0"):
        again.open(bus.position())


def test_a_log_has_one_reader():
    bus, _ = opened({}, 0)
    with pytest.raises(ValueError, match="a log has one reader"):
        bus.read("execution", lambda fact: None)


def test_what_is_made_of_an_edges_fact_carries_where_that_came_from_through_every_bus():
    logs: Logs = {}
    first = ChainedBus(MemoryClient(logs), "ingestion", now_ns=lambda: 77)
    first.read("ingestion", lambda fact: first.write("execution", fact))
    first.open()
    last = ChainedBus(MemoryClient(logs), "execution", now_ns=lambda: 99)
    taken: list[tuple[str, Origin]] = []
    last.on_taken = lambda log, origin: taken.append((log, origin))
    last.read("execution", lambda fact: last.write("records", fact))
    last.open()
    feed = first.edge("feed", "ingestion")
    for number in range(2):
        feed.write(passed(number))
    first.pump(0.0)
    last.pump(0.0)
    origins = [Origin(77, "feed-1"), Origin(77, "feed-2")]
    assert taken == [("execution", origin) for origin in origins]
    assert [read_header(header).origin for _, header, _ in logs["records"]] == origins
    assert last.origin == NO_ORIGIN, "what is written between messages came of none"


def test_a_restart_at_another_time_says_the_same_by_the_same_name():
    digests = []
    for now_ns in (1, 2):
        logs: Logs = {}
        clock = partial(int, now_ns)
        bus = ChainedBus(MemoryClient(logs), "ingestion", now_ns=clock)
        bus.read("ingestion", lambda fact: None)
        bus.edge("feed", "ingestion").write(passed(1))
        header = read_header(logs["ingestion"][0][1])
        assert header.origin == Origin(now_ns, "feed-1")
        digests.append(header.digest)
    assert digests[0] == digests[1], "nothing of the clock is in the chain"


def test_a_header_from_before_origins_is_read():
    header = msgspec.msgpack.encode([1, 2, "feed", 0, 1, b"digest"])
    assert read_header(header).origin == NO_ORIGIN
