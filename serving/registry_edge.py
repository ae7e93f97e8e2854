"""The registry of a line on Kafka: what it holds comes in, what the line decided goes out.

In: what it held at the opening, and, asked again and again, each version that is new. A
version is told once, whatever it is called: what was told is kept in the topic of snapshots, put
there before the first of it is written, and a start writes what its number in the log says is
missing. Out: the aliases, moved to where the topic `hft.registry` says they ought to be, so after
the move is there for good; a start reads that topic whole and moves them again, and each asking
looks whether they are still there. One that somebody moved by hand is said and put right; what it
pointed to becomes a candidate.

All calls of the registry are on a thread of their own. One that does not answer harms nothing: the
line goes on, the pages say so, and it is tried again.
"""

import threading
from collections.abc import Iterable

import msgspec
import structlog
from confluent_kafka import KafkaException

from hft_lib.events import Event, Registered
from hft_lib.line import registry_words
from hft_lib.lineage import CHAMPION
from serving.adapters.kafka_bus import KafkaBus
from serving.adapters.kafka_topics import REGISTRY
from serving.registry_watch import PUMP_S, Registry
from serving.runtime.chained import BusError, Edge
from serving.runtime.opening import LineOpened
from serving.runtime.service import Worker
from serving.runtime.snapshots import SnapshotKeeper

WRITER, TOLD = "registry", "registry"
_log = structlog.get_logger(__name__)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What this edge has told: facts before `pending`, the versions of each pair, and the last
    facts, of which some may not be in the log yet.
    """

    number: int
    versions: dict[str, tuple[str, ...]]
    pending: tuple[Registered, ...] = ()

    def news(self, found: Iterable[Registered]) -> list[Registered]:
        """Those of `found` that were not told, each version once."""
        new: dict[tuple[str, str], Registered] = {}
        for item in found:
            if item.model_version not in self.versions.get(item.pair, ()):
                new.setdefault((item.pair, item.model_version), item)
        return list(new.values())

    def then(self, number: int, news: Iterable[Registered]) -> "Told":
        """With `news` told as well, after `number` facts."""
        pending = tuple(news)
        versions = dict(self.versions)
        for item in pending:
            versions[item.pair] = (*versions.get(item.pair, ()), item.model_version)
        return Told(number=number, versions=versions, pending=pending)


class RegistryEdge:
    """Writes into the orchestrator's inbox, on the thread that steps."""

    def __init__(
        self,
        worker: Worker,
        opened: LineOpened,
        snapshots: SnapshotKeeper,
        registry: Registry | None = None,
    ) -> None:
        self._worker = worker
        self._words = list(registry_words(opened.sets))
        self._begins_ns = {item.pair: item.time_ns for item in opened.sets}
        self._snapshots = snapshots
        self._registry = registry
        self._inlet: Edge | None = None
        first = Told(number=0, versions={}).then(0, opened.sets)
        self._told = msgspec.structs.replace(first, number=len(self._words), pending=())

    def turn(self) -> int:
        """Write what was not written yet; how many facts."""
        if self._inlet is None:
            return self._begin()
        if self._registry is not None:
            pairs = self._worker.host.state.pairs
            self._registry.decided = {pair.pair: pair.decision_id for pair in pairs}
        found = self._registry.found() if self._registry is not None else []
        news = [self._dated(item) for item in self._told.news(found)]
        if not news:
            return 0
        self._told = self._told.then(self._inlet.number, news)
        self._snapshots.put(TOLD, self._told)
        return self._write(news)

    def _begin(self) -> int:
        self._told = self._snapshots.read(TOLD, Told) or self._told
        inlet = self._inlet = self._worker.bus.edge(WRITER, "orchestrator")
        rest = self._words[inlet.number :]
        return self._write(rest) + self._write(
            self._told.pending[max(inlet.number - self._told.number, 0) :]
        )

    def _write(self, facts: Iterable[Event]) -> int:
        assert self._inlet is not None
        before = self._inlet.number
        for fact in facts:
            self._inlet.write(fact)
        return self._inlet.number - before

    def _dated(self, item: Registered) -> Registered:
        """At the pair's own time: when what was decided last takes effect."""
        state = self._worker.host.state
        end_ns = next(pair.block_end_ns for pair in state.pairs if pair.pair == item.pair)
        begins_ns = self._begins_ns[item.pair]
        time_ns = max(begins_ns, end_ns + state.lead_ns) if end_ns else begins_ns
        _log.info("the registry has another set", pair=item.pair, version=item.model_version)
        # What somebody pointed the champion's alias to is a candidate, and not called champion.
        alias = item.alias if item.alias != CHAMPION else f"version-{item.model_version}"
        return msgspec.structs.replace(item, time_ns=time_ns, alias=alias)


class KafkaLog:
    """The topic `hft.registry` of a line on `servers`."""

    away: tuple[type[Exception], ...] = (BusError, KafkaException)

    def __init__(self, servers: str) -> None:
        self._came: list[Event] = []
        self._bus = KafkaBus(servers, "registry-aliases")
        self._bus.read(REGISTRY, self._came.append)

    def open(self, stop: threading.Event) -> None:
        """Read what the topic holds now."""
        self._bus.open()
        while self._bus.behind and not stop.is_set():
            self._bus.pump(PUMP_S)

    def more(self, wait_s: float) -> list[Event]:
        """What came since the last call; waits for it a moment."""
        self._bus.pump(wait_s)
        came, self._came[:] = list(self._came), []
        return came

    def close(self) -> None:
        """Read nothing more."""
        self._bus.close()
