"""A tape's feed waits for the orchestrator's answers, and never runs far ahead of its own stage."""

from collections.abc import Iterator

import pytest

from hft_lib.events import Event, TimePassed
from serving.runtime.feeding import BURST_MAX, UNREAD_MAX, Feeding, limit_ns
from tests.builders import DAY_NS, PAIR, PAIR2

DAY = 20_000
LEAD_NS = 5_000_000_000


class Inlet:
    """Takes what is written, as an edge does."""

    def __init__(self) -> None:
        self.facts: list[Event] = []

    @property
    def number(self) -> int:
        return len(self.facts)

    def write(self, fact: Event) -> None:
        self.facts.append(fact)


def seconds(count: int, start_ns: int = DAY * DAY_NS) -> Iterator[Event]:
    return (TimePassed(start_ns + i * 1_000_000_000) for i in range(count))


@pytest.mark.parametrize(
    "decided, day",
    [
        ({}, None),
        ({PAIR: DAY * DAY_NS + 7}, None),  # the other pair has not answered
        ({PAIR: DAY * DAY_NS + 7, PAIR2: DAY * DAY_NS + 7}, DAY + 1),  # the registry's last word
        ({PAIR: (DAY + 1) * DAY_NS, PAIR2: (DAY + 1) * DAY_NS}, DAY + 2),
        ({PAIR: (DAY + 2) * DAY_NS, PAIR2: (DAY + 1) * DAY_NS}, DAY + 2),  # the slower one counts
    ],
)
def test_the_feed_may_go_to_the_end_of_the_block_under_way_and_the_lead(
    decided: dict[str, int], day: int | None
):
    limit = limit_ns(decided, (PAIR, PAIR2), LEAD_NS)
    assert limit == (-1 if day is None else day * DAY_NS + LEAD_NS)


def test_nothing_at_or_beyond_the_limit_is_written_and_nothing_is_lost():
    inlet = Inlet()
    feeding = Feeding(seconds(10), inlet)
    limit = DAY * DAY_NS + 4_000_000_000
    pushed = [feeding.push(until_ns, 0) for until_ns in (limit, limit, limit + DAY_NS)]
    assert pushed == [4, 0, 6] and feeding.ended
    assert inlet.facts == list(seconds(10))


def test_the_feed_stays_within_what_its_stage_has_read():
    inlet = Inlet()
    feeding = Feeding(seconds(3 * UNREAD_MAX), inlet)
    while feeding.push(DAY * DAY_NS * 2, 0):
        assert inlet.number % BURST_MAX == 0
    assert inlet.number == UNREAD_MAX
    assert feeding.push(DAY * DAY_NS * 2, 10) == 10


def test_a_paced_feed_writes_what_is_due_and_waits_for_nothing():
    inlet, now_ns = Inlet(), DAY * DAY_NS
    feeding = Feeding(seconds(10), inlet, lambda time_ns: (time_ns - now_ns) / 1e9)
    pushed = []
    for now_ns in (now_ns, now_ns, now_ns + 2_500_000_000, now_ns + 20_000_000_000):
        pushed.append(feeding.push(2 * DAY * DAY_NS, 0))
    assert pushed == [1, 0, 2, 7] and feeding.ended
    assert inlet.facts == list(seconds(10))


def test_the_pace_begins_with_the_first_event_that_may_be_written():
    asked: list[int] = []

    def wait_s(time_ns: int) -> float:
        asked.append(time_ns)
        return 0.0

    feeding = Feeding(seconds(3), Inlet(), wait_s)
    assert feeding.push(-1, 0) == 0 and not asked
    assert feeding.push(2 * DAY * DAY_NS, 0) == 3 and len(asked) == 3
