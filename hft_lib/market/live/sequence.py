"""The one order of a live feed: time goes forward at every fact, and passes where nothing comes."""

from collections.abc import Iterable

import msgspec

from hft_lib.events import MarketEvent, Rejected, TimePassed
from hft_lib.market.merge import DAY_NS

SILENCE_NS = 250_000_000  # what falls due at a silent time happens within this


class Sequencer:
    """Stamps facts with strictly increasing times, midnights between them."""

    def __init__(self) -> None:
        self.last_ns = 0

    def stamp(
        self, events: Iterable[MarketEvent | Rejected]
    ) -> list[MarketEvent | Rejected | TimePassed]:
        """`events` at the times at which they came, or one nanosecond after the last."""
        told: list[MarketEvent | Rejected | TimePassed] = []
        for event in events:
            told += self._midnights(max(event.time_ns, self.last_ns + 1))
            time_ns = max(event.time_ns, self.last_ns + 1)
            self.last_ns = time_ns
            told.append(
                event
                if time_ns == event.time_ns
                else msgspec.structs.replace(event, time_ns=time_ns)
            )
        return told

    def passed(self, now_ns: int) -> list[TimePassed]:
        """What a silence up to `now_ns` tells: nothing before anything came."""
        if not self.last_ns:
            return []
        told = self._midnights(now_ns)
        if now_ns - self.last_ns >= SILENCE_NS:
            self.last_ns = now_ns
            told.append(TimePassed(now_ns))
        return told

    def _midnights(self, until_ns: int) -> list[TimePassed]:
        """Each midnight after the last fact that `until_ns` has reached."""
        if not self.last_ns:
            return []
        first_ns = (self.last_ns // DAY_NS + 1) * DAY_NS
        midnights = [TimePassed(time_ns) for time_ns in range(first_ns, until_ns + 1, DAY_NS)]
        if midnights:
            self.last_ns = midnights[-1].time_ns
        return midnights
