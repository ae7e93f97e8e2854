"""The feed of a tape into a line that answers when it can.

Nothing at or beyond a block's end and the lead is fed before the orchestrator has answered that
block: then what it decided takes effect at its own time, and a run over a tape is a function of the
tape, however fast its services are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from hft_lib.events import Event
from hft_lib.evop.policy import DAY_NS

# Facts under way from the feed to its own stage: enough to keep it busy, few enough to read again.
UNREAD_MAX = 4096
# Facts written in one go, before what has come back is read.
BURST_MAX = 512


class Inlet(Protocol):
    """Where a feed writes."""

    @property
    def number(self) -> int:
        """How many facts it has written, now and before."""

    def write(self, fact: Event) -> None:
        """Append the next fact."""


def limit_ns(decided_ns: Mapping[str, int], pairs: Iterable[str], lead_ns: int) -> int:
    """The time at which the feed waits; -1 before the orchestrator has answered for every pair."""
    ends = [decided_ns.get(pair, -1) for pair in pairs]
    if min(ends, default=-1) < 0:
        return -1
    return (min(ends) // DAY_NS + 1) * DAY_NS + lead_ns


class Feeding:
    """One feed on its way into `inlet`, from where it stopped.

    `wait_s` says of an event's time how long it is until it is due. Nothing waits for that here:
    what feeds has an inbox to read meanwhile, and an end to be told.
    """

    def __init__(
        self,
        events: Iterator[Event],
        inlet: Inlet,
        wait_s: Callable[[int], float] = lambda time_ns: 0.0,
    ) -> None:
        self._events = events
        self._inlet = inlet
        self._wait_s = wait_s
        self._next: Event | None = None
        self.ended = False

    def push(self, until_ns: int, heard: int) -> int:
        """Write what is due and comes before `until_ns`, as far as `heard` is not left behind; how
        many.
        """
        count = 0
        while count < BURST_MAX and self._inlet.number - heard < UNREAD_MAX:
            event = self._next if self._next is not None else next(self._events, None)
            if event is None:
                self.ended = True
                break
            self._next = event
            time_ns: int = event.time_ns  # type: ignore[union-attr]
            if time_ns >= until_ns or self._wait_s(time_ns) > 0.0:
                break
            self._inlet.write(event)
            self._next = None
            count += 1
        return count
