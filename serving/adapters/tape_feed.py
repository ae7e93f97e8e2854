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


def pace(
    events: Iterable[Event],
    speed: float,
    now_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Event]:
    """Yield `events` at `speed` times the pace in which they came."""
    began_s = began_ns = None
    for event in events:
        time_ns: int = event.time_ns  # type: ignore[union-attr]
        if began_s is None or began_ns is None:
            began_s, began_ns = now_s(), time_ns
        due_s = began_s + (time_ns - began_ns) / 1e9 / speed
        while (wait_s := due_s - now_s()) > 0.0:
            sleep(min(wait_s, SLEEP_S_MAX))
        yield event
