"""The six services of one process as their pages watch them: each with a meter of its own.

A fact of the world and all that comes of it have one origin: its name is `journal-N`, N the frame
at which the journal holds that fact, the same through every restart.
"""

import time
from collections.abc import Callable

from hft_lib.events import Event
from serving.runtime.chain import NO_ORIGIN, Origin
from serving.runtime.embedded import EmbeddedLine
from serving.runtime.host import Host
from serving.runtime.meter import Meter
from serving.runtime.trace import Teller


class NoLogs:
    """What a bus without a broker has to show: nothing is under way when it is looked at."""

    def __init__(self) -> None:
        self.lag: dict[str, int] = {}
        self.behind = self.seen = self.fenced = self.dead = 0


class Hosted:
    """A service that runs in this process, as its pages watch it."""

    def __init__(self, name: str, host: Host, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.name = name
        self.host = host
        self.ready = False
        self.diverged = self.away = ""  # there is no broker that could be
        self.epoch = 0
        self.snapshot_bytes = 0
        self.bus = NoLogs()
        self.meter = Meter(now_ns, lambda: host.state)


class Metered:
    """What watches a line and the services in it, from its first fact on."""

    def __init__(self, line: EmbeddedLine, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.services = {name: Hosted(name, host, now_ns) for name, host in line.hosts.items()}
        self._line = line
        self._now_ns = now_ns
        self._origin = NO_ORIGIN
        self._ready = False
        for service in self.services.values():
            service.host.on_made = self._taker(service)
        line.listen(self)

    def be_ready(self) -> None:
        """The line has come to where its journal ends: from now on latencies are measured."""
        self._ready = True
        for service in self.services.values():
            service.ready = service.meter.is_timing = True

    def diverge(self, why: str) -> None:
        """The line does not go on."""
        for service in self.services.values():
            service.diverged, service.ready = why, False

    def note_snapshot(self) -> None:
        """A snapshot of all stages was written."""
        for service in self.services.values():
            service.snapshot_bytes = self._line.snapshot_bytes

    # --- told by the bus ---

    def began(self) -> None:
        """A fact from outside was kept: what comes now comes of it."""
        self._origin = Origin(self._now_ns(), f"journal-{self._line.frame}")

    def taken(self, log: str) -> None:
        """The readers of `log` are about to be handed a fact."""
        service = self.services.get(log)
        if service is not None:
            service.meter.taken(log, self._origin)

    def _taker(self, service: Hosted) -> Callable[[Event], None]:
        teller, meter = Teller(service.name), service.meter

        def take(fact: Event) -> None:
            meter.made(fact)
            teller.made(fact, self._origin.trace, again=not self._ready)

        return take
