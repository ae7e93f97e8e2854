"""A tape that is fed at a pace leaves its service to its work between two events."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hft_lib.events import Event, Quote
from hft_lib.market.tape import Tape, TapeWriter
from serving.tape_edge import TapeEdge
from tests.builders import DAY_NS, PAIR, S_NS, START_NS, X, Y, quote

LEAD_S = 5.0


class Worker:
    """The service that feeds: it has decided all, and takes what is written."""

    def __init__(self) -> None:
        self.host = SimpleNamespace(state=SimpleNamespace(decided_ns={PAIR: START_NS}))
        self.written: list[Event] = []
        self.bus = SimpleNamespace(edge=lambda *names: self, heard=lambda *names: self.number)

    @property
    def number(self) -> int:
        return len(self.written)

    def write(self, fact: Event) -> None:
        self.written.append(fact)


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    with TapeWriter(tmp_path / "tape", {"made": "up"}) as writer:
        writer.write(
            quote(symbol, START_NS + k * 60 * S_NS, 100.0) for k in range(5) for symbol in (X, Y)
        )
    return Tape.open(tmp_path / "tape").path


def edge_of(worker: Worker, tape: Path, *how: Any) -> TapeEdge:
    legs = SimpleNamespace(pair=PAIR, y=Y, x=X)
    config = SimpleNamespace(pairs=(legs,), lead_s=LEAD_S)
    made: Any = TapeEdge
    return made(worker, config, tape, *how)


def quotes(worker: Worker) -> int:
    return sum(isinstance(fact, Quote) for fact in worker.written)


@pytest.mark.timeout(60)  # what waits for a clock that stands waits for good
def test_between_two_events_the_service_has_its_turn(tape: Path) -> None:
    worker, now_s = Worker(), 0.0
    # A minute of the market a second.
    edge = edge_of(worker, tape, 60.0, lambda: now_s)
    came = []
    for now_s in (1000.0, 1000.5, 1001.0, 1001.9, 1004.0):
        edge.turn()
        came.append(quotes(worker))
    assert came == [2, 2, 4, 4, 10]


def test_without_a_speed_all_comes_that_may(tape: Path) -> None:
    worker = Worker()
    assert START_NS % DAY_NS + 240 * S_NS < DAY_NS
    edge_of(worker, tape, None).turn()
    assert quotes(worker) == 10


def test_a_tape_that_is_through_says_so_and_one_that_waits_for_its_time_does_not(
    tape: Path,
) -> None:
    worker, now_s = Worker(), 0.0
    edge = edge_of(worker, tape, 60.0, lambda: now_s)
    told = []
    for now_s in (0.0, 1.0, 100.0):
        worker.host.state.decided_ns[PAIR] = START_NS + DAY_NS
        edge.turn()
        edge.turn()
        told.append(edge.figures()["hft_tape_ended"][1])
    assert told == [0.0, 0.0, 1.0]
