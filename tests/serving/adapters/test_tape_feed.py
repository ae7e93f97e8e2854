"""The tape feed: every event in order, the rest after a skip, pace without a clock of its own."""

from typing import Any

import pytest

from hft_lib.events import MarketEvent, Quote, TimePassed
from hft_lib.market.tape import Tape, TapeWriter
from serving.adapters.tape_feed import SLEEP_S_MAX, pace, tape_feed
from tests.builders import DAY_NS, PAIR, S_NS, START_NS, X, Y, encoded, instrument, quote, story


def story_events() -> list[Any]:
    """The story's market, of which a tape keeps what came in the order of time."""
    events: list[Any] = []
    now_ns = 0
    for log, fact in story():
        if log == "ingestion" and isinstance(fact, MarketEvent) and fact.time_ns >= now_ns:
            events.append(fact)
            now_ns = fact.time_ns
    return events


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    folder = tmp_path_factory.mktemp("tape") / "story"
    with TapeWriter(folder, {"story": 7}) as writer:
        writer.write(iter(sorted(story_events(), key=lambda e: (e.time_ns, e.symbol))))
    return Tape.open(folder)


SYMBOLS = PAIR.split("~")


def told_by(tape: Tape, *args: Any, **options: Any) -> list[Any]:
    return list(tape_feed(tape, SYMBOLS, *args, **options))


def test_only_the_symbols_asked_for_come_in_order(tape: Tape):
    events = told_by(tape)
    market = [event for event in events if isinstance(event, MarketEvent)]
    assert {event.symbol for event in market} == {X, Y}
    assert len(market) == sum(event.symbol in (X, Y) for event in story_events())
    times = [event.time_ns for event in events if not isinstance(event, TimePassed)]
    assert times == sorted(times)


def test_a_midnight_and_the_end_are_told(tape: Tape):
    events = told_by(tape)
    passed = [event.time_ns for event in events if isinstance(event, TimePassed)]
    midnights = [time_ns for time_ns in passed if time_ns % DAY_NS == 0]
    assert (
        midnights == [(START_NS // DAY_NS + day) * DAY_NS for day in range(1, 7)][: len(midnights)]
    )
    assert len(midnights) >= 5 and isinstance(events[-1], TimePassed)
    for number, event in enumerate(events):
        if isinstance(event, TimePassed) and event.time_ns % DAY_NS == 0:
            assert all(before.time_ns < event.time_ns for before in events[:number])


def test_a_skip_is_the_same_feed_but_for_its_beginning(tape: Tape):
    whole = encoded(told_by(tape))
    for skip in (0, 1, 100, len(whole) - 1, len(whole), len(whole) + 5):
        assert encoded(told_by(tape, skip=skip)) == whole[skip:]


def test_a_window_holds_what_lies_in_it(tape: Tape):
    start_ns, end_ns = START_NS + DAY_NS, START_NS + 2 * DAY_NS
    events = told_by(tape, start_ns, end_ns)
    assert all(start_ns <= event.time_ns <= end_ns for event in events)
    inside = [
        event
        for event in story_events()
        if isinstance(event, Quote)
        and event.symbol in (X, Y)
        and start_ns <= event.time_ns < end_ns
    ]
    assert len([event for event in events if isinstance(event, Quote)]) == len(inside) > 0


# --- pace ---


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, wait_s: float) -> None:
        self.slept.append(wait_s)
        self.now_s += wait_s


def test_events_come_at_their_pace_times_the_speed():
    clock = Clock()
    events = [quote(Y, START_NS + k * 7 * S_NS, 100.0) for k in range(4)]
    came = [(event, clock.now_s) for event in pace(events, 2.0, clock, clock.sleep)]
    assert [event for event, _ in came] == events
    assert [at for _, at in came] == pytest.approx([1000.0, 1003.5, 1007.0, 1010.5])
    assert max(clock.slept) <= SLEEP_S_MAX


def test_what_is_late_is_not_waited_for_and_catches_up():
    clock = Clock()
    events = [instrument(Y, START_NS + k * S_NS) for k in range(4)]
    came = []
    for event in pace(events, 1.0, clock, clock.sleep):
        came.append(clock.now_s)
        if event is events[0]:
            clock.now_s += 2.5  # the line was busy
    assert came == pytest.approx([1000.0, 1002.5, 1002.5, 1003.0])


def test_as_fast_as_possible_asks_no_clock(tape: Tape, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("serving.adapters.tape_feed.pace", None)
    assert len(told_by(tape)) > 100
