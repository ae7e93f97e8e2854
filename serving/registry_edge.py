"""The registry of a line on Kafka: what it holds comes in, what the line decided goes out.

In: what it held at the opening, and, asked again every `POLL_S`, each version that is new. A
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
import time
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from confluent_kafka import KafkaException

from hft_lib.events import Event, Registered, Rejected
from hft_lib.line import registry_words
from hft_lib.lineage import CHAMPION, RegistryError
from serving.adapters import mlflow_store
from serving.adapters.kafka_bus import KafkaBus
from serving.adapters.kafka_topics import REGISTRY
from serving.adapters.mlflow_apart import register_apart
from serving.adapters.mlflow_registry import MlflowRegistry
from serving.adapters.mlflow_rest import RestError
from serving.runtime.chained import BusError, Edge
from serving.runtime.opening import LineOpened
from serving.runtime.service import Worker
from serving.runtime.settings import Settings
from serving.runtime.snapshots import SnapshotKeeper

WRITER, TOLD = "registry", "registry"
NOT_ASKED = "it was not asked yet"
# A set is registered a few times a day at most; it waits for a day's end anyway.
POLL_S = 10.0
WAIT_S_MIN, WAIT_S_MAX = 1.0, 60.0
PUMP_S = 0.2
# Of a document of 64 KiB some 15 KiB: 150 bytes a pair.
PAIRS_SHOWN_MAX, EDITS_SHOWN_MAX = 100, 5
# A call under way is not waited for longer: what it does is repeated at the next start.
STOP_S_MAX = 3.0
AWAY = (OSError, RestError, mlflow_store.Unreachable, BusError, KafkaException)
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
        registry: "Registry | None" = None,
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


class Registry:
    """The registry that the settings name, of the line of `pairs` on `servers`."""

    def __init__(self, settings: Settings, servers: str, pairs: tuple[str, ...]) -> None:
        self._settings = settings
        self._servers = servers
        self._pairs = pairs
        self._found: deque[Registered] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registry", daemon=True)
        self._error = NOT_ASKED
        self._refused = ""  # the last that the registry answered and that cannot be used
        self._unmoved: set[str] = set()  # pairs whose aliases could not be moved
        self._edited: deque[dict[str, str]] = deque(maxlen=EDITS_SHOWN_MAX)
        self._edits = 0
        self._asked_s = 0.0
        # The decision of each pair that moved its capital last, and that its aliases have come to.
        self.decided: dict[str, str] = {}
        self._settled: dict[str, str] = {}
        self._aliases: dict[str, dict[str, str]] = {}

    def __enter__(self) -> "Registry":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(STOP_S_MAX)

    def found(self) -> list[Registered]:
        """What the registry held when it was asked since the last call; on any thread."""
        return [self._found.popleft() for _ in range(len(self._found))]

    # --- on the registry's thread ---

    def _run(self) -> None:
        wait_s = WAIT_S_MIN
        while not self._stop.is_set():
            self._asked_s = 0.0
            try:
                self._follow()
            # Whatever it was, the line goes on: what mends is found mended at a later try.
            except Exception as error:
                self._say(error)
                wait_s = WAIT_S_MIN if self._asked_s else min(2.0 * wait_s, WAIT_S_MAX)
                self._stop.wait(wait_s)

    def _follow(self) -> None:
        """Ask and move until an end is asked for."""
        server = mlflow_store.is_server(self._settings)
        edge = MlflowRegistry(
            mlflow_store.open_registry(self._settings),
            mlflow_store.artifact_location(self._settings),
            self._report,
            register_apart if server else None,
        )
        bus = KafkaBus(self._servers, "registry-aliases")
        try:
            self._follow_with(edge, bus)
        finally:
            bus.close()
            edge.close()

    def _follow_with(self, edge: MlflowRegistry, bus: KafkaBus) -> None:
        moves: list[Event] = []
        bus.read(REGISTRY, moves.append)
        bus.open()
        while bus.behind and not self._stop.is_set():
            bus.pump(PUMP_S)
        # Before any alias is moved: what people pointed one to meanwhile is not lost.
        self._ask(edge)
        while not self._stop.is_set():
            # Also where nothing was decided: somebody may have moved an alias by hand.
            self._unmoved.clear()
            edge.reconcile(moves)
            moves.clear()
            self._settled, self._aliases = dict(edge.settled), edge.pointing()
            due_s = self._asked_s + POLL_S
            while not (moves or self._stop.is_set()) and time.monotonic() < due_s:
                bus.pump(PUMP_S)
            if time.monotonic() >= due_s:
                self._ask(edge)

    def _ask(self, edge: MlflowRegistry) -> None:
        """Take what the registry holds of every pair now."""
        self._refused = ""
        for pair in self._pairs:
            try:
                self._found.extend(edge.registered(pair, 0))
            except RegistryError as error:  # it answered; another version may be whole
                self._refused = f"{pair}: {error}"
        if self._error:
            _log.info("the registry answers", pairs=self._pairs)
        self._error, self._asked_s = "", time.monotonic()

    def _report(self, fact: Registered | Rejected) -> None:
        if isinstance(fact, Registered):
            self._found.append(fact)
        elif fact.reason == "ALIAS_EDITED":
            self._edits += 1
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._edited.append({"pair": fact.subject, "what": fact.detail, "found": now})
        elif fact.reason == "ALIAS_NOT_MOVED":
            self._unmoved.add(fact.subject)
            self._refused = f"{fact.subject}: {fact.detail}"
        else:
            self._refused = f"{fact.subject}: {fact.detail}"

    def _say(self, error: Exception) -> None:
        why = " ".join(str(error).split()) or type(error).__name__
        if why == self._error:
            return  # it was said
        self._error = why
        unknown = None if isinstance(error, AWAY) else error
        _log.warning("the registry is away, the line goes on", why=why, exc_info=unknown)

    # --- what the pages show ---

    def why(self) -> str:
        """Nothing: the line does not wait for its registry."""
        return ""

    def waiting(self) -> list[str]:
        """Pairs whose aliases are not where the line says: the move waits, or failed."""
        behind = {
            pair
            for pair, decision_id in self.decided.items()
            if decision_id and self._settled.get(pair) != decision_id
        }
        return sorted(behind | self._unmoved)

    def document(self) -> dict[str, Any]:
        """Why the registry is away, what of it cannot be used, whose aliases wait to be moved,
        where each points (an empty version: nowhere), and which were moved by hand of late.
        """
        return {
            "registry": {
                "why": self._error,
                "refused": self._refused,
                "aliases_waiting": self.waiting(),
                "aliases": dict(list(self._aliases.items())[:PAIRS_SHOWN_MAX]),
                "edited": list(self._edited),
            }
        }

    def figures(self) -> dict[str, tuple[str, float]]:
        """Gauges by name, each with what it means."""
        return {
            "hft_registry_away": ("1 while the registry does not answer", float(bool(self._error))),
            "hft_registry_aliases_waiting": (
                "pairs whose aliases are not where the line says",
                float(len(self.waiting())),
            ),
            "hft_registry_aliases_edited": (
                "aliases that were found moved by hand since the start, and put right",
                float(self._edits),
            ),
        }
