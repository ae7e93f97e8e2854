"""The six services in one process: hosts on a memory bus, one journal, one file of snapshots.

The journal is the truth. A restart restores the last snapshot, steps through what the journal holds
beyond it, and compares every fact that leaves the line with the one that the journal has: another
one means that the code or the file is not the one that wrote it, and nothing goes on.
"""

from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from hft_lib.events import Event, Rejected
from serving.adapters.memory_bus import Listener, MemoryBus
from serving.runtime.host import Host, Sink, Snapshot, connect, serve
from serving.runtime.journal import Journal, encode_fact, read, replace_file
from serving.services import INBOXES, SERVICES

SNAPSHOT_EVERY = (
    50_000  # facts of the edges: a restart steps through no more than these, a second or two
)


class Diverged(Exception):
    """What was recomputed is not what the journal holds."""


class LineSnapshot(msgspec.Struct, frozen=True):
    """The line at a point of its journal: frames read, facts of the feed taken, every stage."""

    frames: int
    fed: int
    stages: tuple[Snapshot, ...]


def restore(hosts: dict[str, Host], snapshots: Path) -> LineSnapshot | None:
    """Bring every host to the last snapshot; None where there is none."""
    try:
        content = snapshots.read_bytes()
    except FileNotFoundError:
        return None
    saved = msgspec.msgpack.decode(content, type=LineSnapshot)
    for stage in saved.stages:
        hosts[stage.stage].restore(stage)
    return saved


def states_at_end(
    config: Any, snapshots: Path, facts: Iterable[tuple[str, Event]]
) -> dict[str, Any]:
    """Every stage's state where a journal of `facts` ends, from the last snapshot on; nothing is
    written, so that it may be asked while the run goes on.
    """
    bus = MemoryBus(INBOXES, lambda log, fact: None)
    hosts = {service.name: serve(service.stage, config, bus) for service in SERVICES}
    saved = restore(hosts, snapshots)
    frames = saved.frames if saved is not None else 1
    for index, (log, fact) in enumerate(facts, start=1):
        if index >= frames and log in INBOXES:
            bus.write(log, fact)
    return {name: host.state for name, host in hosts.items()}


class EmbeddedLine:
    """The line of one process, writing to an open journal."""

    def __init__(
        self, config: Any, journal: Journal, snapshots: Path, sinks: Iterable[Sink] = ()
    ) -> None:
        self.journal = journal
        self.fed = 0
        self.snapshot_bytes = 0
        self._snapshots = snapshots
        self._again = 0  # the frame that is stepped on once more
        self._bus = MemoryBus(INBOXES, journal.append)
        self.hosts: dict[str, Host] = {
            service.name: serve(service.stage, config, self._bus) for service in SERVICES
        }
        for sink in sinks:
            connect(sink, self._bus)

    def listen(self, listener: Listener) -> None:
        """Let `listener` be told of every fact on its way."""
        self._bus.listener = listener

    @property
    def frame(self) -> int:
        """The frame of the fact that is under way, or was last."""
        return self._again or self.journal.frames

    def post(self, log: str, fact: Event) -> None:
        """Take one fact of an edge to quiescence."""
        self._bus.write(log, fact)

    def feed(self, event: Event) -> None:
        """Take one fact of the feed to quiescence, and a snapshot when one is due.

        What a live feed refused is no event: it is not counted.
        """
        self._bus.write("ingestion", event)
        if isinstance(event, Rejected):
            return
        self.fed += 1
        if self.fed % SNAPSHOT_EVERY == 0:
            self.save()

    def save(self) -> None:
        """Make the journal durable and write a snapshot of every stage beside it."""
        self.journal.sync()
        stages = tuple(host.snapshot() for host in self.hosts.values())
        saved = msgspec.msgpack.encode(LineSnapshot(self.journal.frames, self.fed, stages))
        replace_file(self._snapshots, saved)
        self.snapshot_bytes = len(saved)

    def recover(self) -> None:
        """Come to where the journal ends: the last snapshot, and every fact beyond it again.

        Raises Diverged where a fact that leaves the line is not the one that the journal holds.
        """
        frames = self._restore()
        if frames > self.journal.frames:
            raise Diverged(
                f"the snapshot is of frame {frames}, "
                f"{self.journal.path} ends at {self.journal.frames}"
            )
        made: deque[tuple[str, Event]] = deque()
        self._bus.keep = lambda log, fact: made.append((log, fact))
        # Frame 1 is the header: there is a fact in every other one.
        for index, (log, fact) in enumerate(read(self.journal.path, skip=frames), start=frames):
            if log in INBOXES:
                self._must_be_empty(made, log, fact)
                self._again = index + 1
                self._bus.write(log, fact)
                made.popleft()  # the fact itself: it is in the journal
                self.fed += log == "ingestion" and not isinstance(fact, Rejected)
            elif not made or encode_fact(made.popleft()) != encode_fact((log, fact)):
                raise Diverged(
                    f"frame {index} of {self.journal.path} is not what the line makes of it"
                )
        for log, fact in made:  # the crash came between a fact and what it led to
            self.journal.append(log, fact)
        self._bus.keep, self._again = self.journal.append, 0

    def _restore(self) -> int:
        saved = restore(self.hosts, self._snapshots)
        self.fed = saved.fed if saved is not None else 0
        return saved.frames if saved is not None else 1

    def _must_be_empty(self, made: deque[tuple[str, Event]], log: str, fact: Event) -> None:
        if made:
            raise Diverged(
                f"the line makes {type(made[0][1]).__name__} for {made[0][0]} where "
                f"{self.journal.path} has {type(fact).__name__} for {log}"
            )
