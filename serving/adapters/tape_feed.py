"""The feed of a tape: its events in order, as fast as they are taken or at a multiple of the time
in which they came.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from hft_lib.events import Event
from hft_lib.market.merge import feed_events
from hft_lib.market.tape import Tape

SLEEP_S_MAX = 1.0  # a wait is cut into pieces, so that an interrupt is seen


def tape_feed(
    tape: Tape,
    symbols: Iterable[str],
    start_ns: int | None = None,
    end_ns: int | None = None,
    speed: float | None = None,
    skip: int = 0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Event]:
    """Yield the feed of start_ns <= time < end_ns but for its first `skip` facts; `speed` None is
    as fast as possible, at any other it waits by `sleep`, a second at most at a time.
    """
    events = islice(feed_events(tape, start_ns, end_ns, symbols), skip, None)
    return iter(events) if speed is None else pace(events, speed, sleep=sleep)


class Pace:
    """When events are due at `speed` times the pace in which they came; the first is at once."""

    def __init__(self, speed: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._speed = speed
        self._now_s = now_s
        self._began: tuple[float, int] | None = None

    def wait_s(self, time_ns: int) -> float:
        """How long until an event of that time is due, at most 0 where it is."""
        now_s = self._now_s()
        began_s, began_ns = self._began = self._began or (now_s, time_ns)
        return began_s + (time_ns - began_ns) / 1e9 / self._speed - now_s


def pace(
    events: Iterable[Event],
    speed: float,
    now_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Event]:
    """Yield `events` at `speed` times the pace in which they came."""
    due = Pace(speed, now_s)
    for event in events:
        while (wait_s := due.wait_s(event.time_ns)) > 0.0:  # type: ignore[union-attr]
            sleep(min(wait_s, SLEEP_S_MAX))
        yield event
