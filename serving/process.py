"""One service as a process on Kafka: what opens the line, what its edge is, how it ends."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import structlog

from hft_lib.events import Event
from hft_lib.line import LineConfig, PairConfig, registrations, registry_words
from hft_lib.market.tape import Tape
from hft_lib.parameters import Assumptions, ParameterFile
from serving.adapters.kafka_snapshots import Kafka, Snapshots
from serving.adapters.kafka_topics import ensure_topics
from serving.adapters.tape_feed import tape_feed
from serving.runtime.feeding import Feeding, limit_ns
from serving.runtime.opening import FEED, LINE, FeedOpened, LineOpened, NotThisLine
from serving.runtime.pages import Pages
from serving.runtime.service import Worker
from serving.runtime.settings import Settings
from serving.services import Service

OPENING_POLL_S = 0.2
# Services of which one process alone is heard, and their edges, of which the same holds.
SINGLETONS: dict[str, tuple[str, ...]] = {"execution": (), "orchestrator": ("registry",)}
_log = structlog.get_logger(__name__)


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What a service was started with beside the settings: a tape and its pace, or parameters."""

    tape: Path | None = None
    speed: float | None = None
    params: ParameterFile | None = None
    borrow_rate_annual: float | None = None


class Process:
    """One service, from its start to its end."""

    def __init__(self, settings: Settings, service: Service, start: Start, pages: Pages) -> None:
        if settings.kafka_bootstrap_servers is None:
            raise NotThisLine("--bus kafka needs KAFKA_BOOTSTRAP_SERVERS, it was unset")
        self._settings = settings
        self._service = service
        self._start = start
        self._pages = pages
        self._servers = settings.kafka_bootstrap_servers

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop`; raises NotThisLine where another line than ours is open."""
        ensure_topics(self._servers)
        opened = self._open(stop)
        if opened is None:
            return
        name = self._service.name
        worker = Worker(
            Kafka(self._servers),
            self._service,
            opened.config,
            name in SINGLETONS,
            SINGLETONS.get(name, ()),
        )
        self._pages.watch(worker)
        worker.run(stop, self._edge(worker, opened))

    # --- opening ---

    def _open(self, stop: threading.Event) -> LineOpened | None:
        """The line that is open; opened by this service where that is its part."""
        snapshots = Snapshots(self._servers, self._service.name)
        if self._service.name == "ingestion":
            self._open_feed(snapshots)
        waiting = _Waiting(self._pages, stop)
        if self._service.name == "orchestrator" and snapshots.read(LINE, LineOpened) is None:
            feed = waiting.until(
                "ingestion opens the feed", lambda: snapshots.read(FEED, FeedOpened)
            )
            if feed is None:
                return None
            snapshots.put(LINE, self._line(feed))
        opened = waiting.until("the line is opened", lambda: snapshots.read(LINE, LineOpened))
        if opened is not None:
            self._check(opened)
        return opened

    def _open_feed(self, snapshots: Snapshots) -> None:
        tape = Tape.open(_tape_path(self._start))
        mine = FeedOpened(tape=str(tape.path), tape_sha256=tape.sha256, start_ns=tape.start_ns)
        there = snapshots.read(FEED, FeedOpened)
        if there is None:
            snapshots.put(FEED, mine)
        elif there.tape_sha256 != mine.tape_sha256:
            raise NotThisLine(
                f"the line is fed by tape {there.tape_sha256[:12]}, {tape.path} is "
                f"{tape.sha256[:12]}: a line has one feed from its opening on"
            )

    def _line(self, feed: FeedOpened) -> LineOpened:
        file = self._start.params
        if file is None:
            raise NotThisLine("no parameter file was named, and the line is not open yet")
        item = PairConfig(
            pair=file.pair, capital_quote=self._settings.champion_initial_capital, evop=file.evop
        )
        config = LineConfig(
            pairs=(item,),
            grid_ms=file.params.grid_ms,
            challengers_max=self._settings.evop_max_challengers,
            assumptions=Assumptions(borrow_rate_annual=self._start.borrow_rate_annual),
        )
        return LineOpened(config=config, sets=tuple(registrations(file, feed.start_ns)))

    def _check(self, opened: LineOpened) -> None:
        ours, theirs = self._settings.pairs, tuple(item.pair for item in opened.config.pairs)
        if ours and ours != theirs:
            raise NotThisLine(f"PAIRS must be those of the open line {theirs}, was {ours}")

    # --- edges ---

    def _edge(self, worker: Worker, opened: LineOpened) -> Callable[[], int]:
        match self._service.name:
            case "ingestion":
                return _TapeEdge(worker, opened.config, self._start).turn
            case "orchestrator":
                return _RegistryEdge(worker, opened).turn
            case _:
                return lambda: 0


class _Waiting:
    """Waits for what another service does first, and says so meanwhile."""

    def __init__(self, pages: Pages, stop: threading.Event) -> None:
        self._pages = pages
        self._stop = stop

    def until(self, what: str, look: Callable[[], Any]) -> Any:
        """What `look` finds once it finds something; None where the process is to stop."""
        self._pages.waits_for = what
        while not self._stop.is_set():
            found = look()
            if found is not None:
                self._pages.waits_for = ""
                return found
            time.sleep(OPENING_POLL_S)
        return None


class _TapeEdge:
    """The tape into the line, as far as the line has answered."""

    def __init__(self, worker: Worker, config: LineConfig, start: Start) -> None:
        self._worker = worker
        self._pairs = [item.pair for item in config.pairs]
        self._legs = [leg for item in config.pairs for leg in (item.y, item.x)]
        self._lead_ns = round(config.lead_s * 1e9)
        self._start = start
        self._feeding: Feeding | None = None

    def turn(self) -> int:
        """Write what may go now; how many facts."""
        feeding = self._feeding or self._begin()
        if feeding.ended:
            return 0
        decided = self._worker.host.state.decided_ns
        until_ns = limit_ns(decided, self._pairs, self._lead_ns)
        return feeding.push(until_ns, self._worker.bus.heard("ingestion", FEED))

    def _begin(self) -> Feeding:
        inlet = self._worker.bus.edge(FEED, "ingestion")
        tape = Tape.open(_tape_path(self._start))
        events: Iterator[Event] = tape_feed(
            tape, self._legs, speed=self._start.speed, skip=inlet.number
        )
        _log.info("the feed goes on", after=inlet.number, tape=str(tape.path))
        self._feeding = Feeding(events, inlet)
        return self._feeding


class _RegistryEdge:
    """What the registry held at the opening into the orchestrator's inbox, once."""

    def __init__(self, worker: Worker, opened: LineOpened) -> None:
        self._worker = worker
        self._words = list(registry_words(opened.sets))
        self._told = False

    def turn(self) -> int:
        """Write what was not written yet; how many facts."""
        if self._told:
            return 0
        inlet = self._worker.bus.edge("registry", "orchestrator")
        rest = self._words[inlet.number :]
        for fact in rest:
            inlet.write(fact)
        self._told = True
        return len(rest)


def _tape_path(start: Start) -> Path:
    if start.tape is None:
        raise NotThisLine("ingestion needs --tape in this release, it was unset")
    return start.tape
