"""One service: a stage on a broker, restored, caught up, stepping, saving until told to stop.

    opened -> restored from its snapshot -> caught up with what its inbox held -> ready -> stopped

A snapshot is taken when everything it says was written is on the broker; while the broker is away
it is put off, and the process stays, not ready, for as long as that takes. Whatever breaks ends the
process, which begins again at its snapshot; a log that diverged does not mend by that, so the
process stays, not ready, and says so.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import structlog

from hft_lib.events import Event
from serving.runtime.chain import LOGIC_VERSION, Diverged
from serving.runtime.chained import FLUSH_S_MAX, Away, ChainedBus
from serving.runtime.host import Host, serve
from serving.runtime.meter import Meter
from serving.runtime.opening import OtherVersion
from serving.runtime.snapshots import ServiceSnapshot, SnapshotKeeper
from serving.runtime.trace import Teller
from serving.services import Service

# A restart reads again what came since: a second or two of work, and a bounded age on a quiet line.
SNAPSHOT_FACTS_MAX = 50_000
SNAPSHOT_AGE_S_MAX = 30.0
PUMP_S = 0.05
# Of the ten seconds in which a service must have stopped.
STOP_FLUSH_S_MAX = 5.0
_log = structlog.get_logger(__name__)


class Broker(Protocol):
    """Where the logs and the snapshots are."""

    def snapshots(self, name: str) -> SnapshotKeeper:
        """The snapshots of the process `name`."""

    def bus(self, name: str, epoch: int) -> ChainedBus:
        """The logs, for the process `name`."""


class Worker:
    """A stage at work on a broker, and the edges that write into its inbox.

    Of a singleton the newest process alone is heard. `now_s` only decides when a snapshot is due.
    """

    def __init__(
        self,
        broker: Broker,
        service: Service,
        config: Any,
        singleton: bool,
        edges: tuple[str, ...] = (),
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = service.name
        self.diverged = ""
        self.away = ""  # why nothing can be written now
        self.ready = False
        self.snapshot_bytes = 0
        self.snapshot_at_s = now_s()
        self._now_s = now_s
        self._snapshots = broker.snapshots(service.name)
        saved = self._snapshots.load()
        self.epoch = self._snapshots.epoch + 1 if singleton else 0
        self.bus = broker.bus(service.name, self.epoch)
        self.host: Host = serve(service.stage, config, self.bus)
        if saved is not None:
            self._restore(saved)
        self._saved_read = self.host.read
        self.meter = Meter(self.bus.now_ns, lambda: self.host.state)
        self._teller = Teller(service.name)
        self.bus.on_taken, self.host.on_made = self.meter.taken, self._made
        try:
            self._open(saved, edges if singleton else None)
        except BaseException:
            self.bus.close()
            raise

    def _restore(self, saved: ServiceSnapshot) -> None:
        """Go on from `saved`; from one of another logic too, whose change the headers declare."""
        if saved.logic != LOGIC_VERSION:
            _log.warning(
                "another logic goes on from here",
                service=self.name,
                read=saved.stage.read,
                before=saved.logic,
                now=LOGIC_VERSION,
            )
        try:
            self.host.restore(saved.stage)
        except (ValueError, msgspec.MsgspecError) as error:
            raise OtherVersion(
                f"the state of {self.name}, written under logic version {saved.logic}, cannot be "
                f"gone on from under version {LOGIC_VERSION}: {error}"
            ) from error

    def _open(self, saved: ServiceSnapshot | None, edges: tuple[str, ...] | None) -> None:
        """Begin to read, a singleton under an epoch that is taken and announced."""
        self.bus.open(saved.bus if saved is not None else None)
        if edges is not None:
            self.save()
            self.bus.announce(self.name, *edges)

    def run(self, stop: threading.Event, edge: Callable[[], int] = lambda: 0) -> None:
        """Step until `stop`; then leave everything written and saved.

        `edge` is called between batches, once the service is ready, and says how much it wrote.
        Raises Superseded where a newer process of a singleton has begun, OtherVersion where the
        line goes on in another schema.
        """
        try:
            while not stop.is_set():
                self.turn(edge)
        except Diverged as divergence:
            self.diverged, self.ready = str(divergence), False
            _log.critical(
                "the log diverged, nothing goes on", service=self.name, why=str(divergence)
            )
            stop.wait()
        else:
            self._save_at_end()
        finally:
            self.ready = False
            self.bus.close()

    def turn(self, edge: Callable[[], int]) -> None:
        """Let the edge write, step on what came, save where that is due.

        What the broker cannot take now is put off to a later turn.
        """
        try:
            self._turn(edge)
        except Away as error:
            if not self.away:
                _log.warning("waits for the broker", service=self.name, why=str(error))
            self.away = str(error)
        else:
            self.away = self.bus.away

    def _turn(self, edge: Callable[[], int]) -> None:
        wrote = edge() if self.ready else 0
        self.bus.pump(0.0 if wrote else PUMP_S)
        if not self.ready and self.bus.behind == 0 and self.bus.is_heard:
            self.ready = self.meter.is_timing = True
            _log.info("caught up", service=self.name, read=self.host.read, epoch=self.epoch)
        if self._due():
            self.save()

    def _made(self, fact: Event) -> None:
        self.meter.made(fact)
        self._teller.made(fact, self.bus.origin.trace, again=not self.ready)

    def _due(self) -> bool:
        since = self.host.read - self._saved_read
        old = self._now_s() - self.snapshot_at_s > SNAPSHOT_AGE_S_MAX
        return since >= SNAPSHOT_FACTS_MAX or (since > 0 and old)

    def _save_at_end(self) -> None:
        try:
            self.save(STOP_FLUSH_S_MAX)
        except Away as error:
            # What was not sent is made again of the inbox, from the snapshot before.
            _log.warning("stops without a last snapshot", service=self.name, why=str(error))

    def save(self, flush_s_max: float = FLUSH_S_MAX) -> None:
        """Take a snapshot of what is on the broker; raises Away where that takes too long."""
        self.bus.flush(flush_s_max)
        self.snapshot_bytes = self._snapshots.save(
            self.epoch, self.host.snapshot(), self.bus.position()
        )
        self._saved_read = self.host.read
        self.snapshot_at_s = self._now_s()
