"""The rule of an upgrade (`docs/runbooks/procedures/upgrade.md`): drain, snapshot at the last
produced offset, swap; the logic that goes on is declared by its version.
"""

import threading
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from hft_lib.events import Event, TimePassed
from hft_lib.stage import Stage
from serving.runtime import chain, service
from serving.runtime.chain import LOGIC_VERSION, Diverged
from serving.runtime.chained import ChainedBus
from serving.runtime.service import Worker
from serving.runtime.snapshots import SnapshotKeeper
from tests.builders import START_NS, story_config
from tests.serving.runtime.test_chained import Logs, MemoryClient
from tests.serving.runtime.test_snapshots import MemoryStore

NAME, NEXT = "kalman_filter", "garch_model"


class Counted(msgspec.Struct):
    """The state of the stage: what it has stepped on."""

    count: int = 0


def stage(late_ns: int) -> Stage[Counted, Any]:
    """A stage whose logic is `late_ns`: so much later it says what it hears."""

    def step(state: Counted, event: TimePassed) -> tuple[Event, ...]:
        state.count += 1
        return (TimePassed(event.time_ns + late_ns),)

    return Stage(NAME, Counted, lambda config: Counted(), step, {TimePassed: (NEXT,)})


class Line:
    """One service between two logs, and the one that reads what it says."""

    def __init__(self) -> None:
        self.logs: Logs = {}
        self.store = MemoryStore()
        self.heard: list[Event] = []
        self._edge = ChainedBus(MemoryClient(self.logs), "ingestion")
        self._reader = ChainedBus(MemoryClient(self.logs), NEXT)
        self._reader.read(NEXT, self.heard.append)
        self._reader.open()
        self._told = 0

    def snapshots(self, name: str) -> SnapshotKeeper:
        return SnapshotKeeper(self.store, name)

    def bus(self, name: str, epoch: int) -> ChainedBus:
        return ChainedBus(MemoryClient(self.logs), name, epoch)

    def start(self, late_ns: int) -> Worker:
        """The service, at its snapshot, with a logic."""
        made: Any = msgspec.defstruct("Made", [("name", str), ("stage", Any)])(NAME, stage(late_ns))
        return Worker(self, made, story_config(), False)

    def run(self, worker: Worker, count: int) -> None:
        """Tell the service some facts, let it step on them, and read what it says."""
        for _ in range(count):
            self._told += 1
            self._edge.write(NAME, TimePassed(START_NS + self._told))
        worker.turn(lambda: 0)
        self._reader.pump(0.0)


def stop(worker: Worker) -> None:
    """What SIGTERM does."""
    told = threading.Event()
    told.set()
    worker.run(told)


@pytest.fixture
def line() -> Line:
    return Line()


def another_logic(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (chain, service):
        monkeypatch.setattr(module, "LOGIC_VERSION", LOGIC_VERSION + 1)


def test_after_an_orderly_stop_another_logic_goes_on_and_nothing_is_said_twice(
    line: Line, monkeypatch: pytest.MonkeyPatch
):
    old = line.start(late_ns=0)
    line.run(old, 3)
    stop(old)
    assert len(line.logs[NEXT]) == 3
    another_logic(monkeypatch)
    with capture_logs() as said:
        new = line.start(late_ns=100)
        assert new.host.read == 3, "at the last produced offset"
        line.run(new, 2)
    assert len(line.logs[NEXT]) == 5
    assert line.heard == [
        TimePassed(START_NS + late_ns + number)
        for number, late_ns in enumerate((0, 0, 0, 100, 100), start=1)
    ]
    assert new.host.state.count == 5
    (swapped,) = (one for one in said if one["event"] == "another logic goes on from here")
    (seen,) = (one for one in said if one["event"] == "another logic from here on")
    assert (swapped["read"], swapped["before"], swapped["now"]) == (
        3,
        LOGIC_VERSION,
        LOGIC_VERSION + 1,
    )
    assert (seen["offset"], seen["writer"], seen["now"]) == (3, NAME, LOGIC_VERSION + 1)


def killed_after_its_snapshot(line: Line) -> None:
    old = line.start(late_ns=0)
    line.run(old, 1)
    old.save()
    line.run(old, 2)


def test_after_a_kill_the_same_logic_says_it_again_and_readers_drop_it(line: Line):
    killed_after_its_snapshot(line)
    line.run(line.start(late_ns=0), 1)
    assert len(line.logs[NEXT]) == 6
    assert line.heard == [TimePassed(START_NS + number) for number in (1, 2, 3, 4)]


def test_after_a_kill_another_logic_stops_the_readers(line: Line, monkeypatch: pytest.MonkeyPatch):
    killed_after_its_snapshot(line)
    another_logic(monkeypatch)
    with pytest.raises(Diverged):
        line.run(line.start(late_ns=100), 1)
    assert line.heard == [TimePassed(START_NS + number) for number in (1, 2, 3)]
