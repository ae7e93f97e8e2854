"""One service as a process on Kafka: what opens the line, what its edge is, how it ends."""

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

from hft_lib.line import LineConfig, PairConfig, registrations, registry_words
from hft_lib.parameters import Assumptions, ParameterFile
from serving.adapters.kafka_snapshots import Kafka, Snapshots
from serving.adapters.kafka_topics import ensure_topics
from serving.adapters.redis_client import connect
from serving.adapters.redis_directory import Directory, Entry, Heartbeat, now_ns
from serving.adapters.redis_latch import RedisLatch
from serving.adapters.redis_lease import RedisLease
from serving.runtime.chained import Away
from serving.runtime.latch import HOST, LatchEdge, Unreadable, Watch, opening
from serving.runtime.latch_memory import KeptWord
from serving.runtime.lease import Holder, Keeper, this_process
from serving.runtime.line_latch import ToldByKafka
from serving.runtime.opening import FEED, LINE, FeedOpened, LineOpened, NotThisLine
from serving.runtime.pages import Pages
from serving.runtime.service import Worker
from serving.runtime.settings import Settings, SettingsError
from serving.services import Service

OPENING_POLL_S = 0.2
# Services of which one process alone is heard, and their edges, of which the same holds.
SINGLETONS: dict[str, tuple[str, ...]] = {
    "ingestion": (FEED,),
    "execution": (HOST,),
    "orchestrator": ("registry",),
}
# Those that run under a latch. Of a feed the epoch is enough where there is no Redis for a lease: a
# second one supersedes the first in place of being refused.
UNDER_LATCH = ("execution", "orchestrator")
FENCED = 3  # refused by a rule
REFUSED_S = 5.0  # a refusal is on the pages for some heartbeats before the process ends
T = TypeVar("T")
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
        url = settings.redis_url
        if url is None and service.name in UNDER_LATCH:
            raise SettingsError(
                f"{service.name} on Kafka needs REDIS_URL, for latch and lease, it was unset"
            )
        self._settings = settings
        self._service = service
        self._start = start
        self._pages = pages
        self._servers = settings.kafka_bootstrap_servers
        self._me = this_process(service.name)
        self._directory = Directory(connect(url), url) if url is not None else None
        self._latch = RedisLatch(connect(url), url) if url is not None else None
        self._lease = RedisLease(connect(url), url, service.name) if url is not None else None

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop`; raises NotThisLine where another line than ours is open, Held where
        another process is this service already.
        """
        with ExitStack() as world:
            if not self._acquire(stop, world):
                return
            if self._directory is not None:
                heartbeat = Heartbeat(self._directory, self._look)
                heartbeat.open()
                world.callback(heartbeat.close)
            try:
                self._serve(stop, world)
            except NotThisLine as refusal:
                _log.critical("refused", service=self._service.name, why=str(refusal))
                self._pages.refuse(str(refusal))
                stop.wait(REFUSED_S)
                raise

    def _serve(self, stop: threading.Event, world: ExitStack) -> None:
        begun = self._patiently(stop, lambda: self._begin(stop))
        if begun is None:
            return
        opened, worker = begun
        self._pages.watch(worker)
        self._follow(world)
        edge = self._patiently(stop, lambda: self._edge(worker, opened, stop, world))
        worker.run(stop, edge or (lambda: 0))

    def _patiently(self, stop: threading.Event, act: Callable[[], T]) -> T | None:
        """What `act` comes to once the broker answers it; None where `stop` came first."""
        while not stop.is_set():
            try:
                return act()
            except Away as error:
                _log.warning("waits for the broker", why=str(error))
                self._pages.wait_for(f"the broker answers ({error})")
                stop.wait(OPENING_POLL_S)
        return None

    def _begin(self, stop: threading.Event) -> tuple[LineOpened, Worker] | None:
        """The open line and this service at its snapshot; None where `stop` came first."""
        ensure_topics(self._servers)
        opened = self._open(stop)
        if opened is None:
            return None
        name = self._service.name
        edges = SINGLETONS.get(name, ())
        broker = Kafka(self._servers)
        return opened, Worker(broker, self._service, opened.config, name in SINGLETONS, edges)

    def _look(self) -> tuple[Entry, dict[str, Any]]:
        entry = Entry(
            service=self._service.name,
            host=self._me.host,
            pid=self._me.pid,
            port=self._pages.port,
            epoch=self._pages.epoch,
            since_ns=self._me.since_ns,
            beat_ns=now_ns(),
            why_not_ready=self._pages.why_not_ready(),
        )
        return entry, self._pages.document()

    def _acquire(self, stop: threading.Event, world: ExitStack) -> bool:
        """Take the lease of this service, where it has one, and keep it until the end."""
        if self._lease is None or self._service.name not in SINGLETONS:
            return True
        keeper = Keeper(self._lease, self._me, self._end_at_once)
        if not keeper.acquire(stop, self._pages.wait_for):
            return False
        world.callback(keeper.close)
        self._pages.add(keeper)
        return True

    def _end_at_once(self, holder: Holder) -> None:
        """Another process is this service now: nothing more is said, not even a snapshot."""
        _log.critical("fenced, another process took the lease", by=holder.sentence())
        sys.stderr.flush()
        os._exit(FENCED)

    def _follow(self, world: ExitStack) -> None:
        """Keep a named database up to date beside the orchestrator, until the end."""
        if self._service.name != "orchestrator" or self._settings.database_url is None:
            return
        # Here, because a database's layer is memory that nobody else needs.
        from serving.ledger.kafka_source import Shown, followed

        self._pages.add(Shown(world.enter_context(followed(self._settings, self._servers))))

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
            if not waiting.until("the latch can be written", self._open_latch):
                return None
            snapshots.put(LINE, self._line(feed))
        opened = waiting.until("the line is opened", lambda: snapshots.read(LINE, LineOpened))
        if opened is not None:
            self._check(opened)
        return opened

    def _open_latch(self) -> bool | None:
        """The latch says run when a line is opened, unless somebody wrote it before."""
        assert self._latch is not None, "REDIS_URL was checked"
        try:
            self._latch.open(opening(self._service.name, now_ns()))
        except Unreadable as error:
            _log.warning("the latch cannot be written", why=str(error))
            return None
        return True

    def _open_feed(self, snapshots: Snapshots) -> None:
        # Here, because a tape's layer is memory that nobody else needs.
        from serving.tape_edge import feed_of

        mine = feed_of(_tape_path(self._start))
        there = snapshots.read(FEED, FeedOpened)
        if there is None:
            snapshots.put(FEED, mine)
        elif there.tape_sha256 != mine.tape_sha256:
            raise NotThisLine(
                f"the line is fed by tape {there.tape_sha256[:12]}, {mine.tape} is "
                f"{mine.tape_sha256[:12]}: a line has one feed from its opening on"
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

    def _edge(
        self, worker: Worker, opened: LineOpened, stop: threading.Event, world: ExitStack
    ) -> Callable[[], int]:
        match self._service.name:
            case "ingestion":
                from serving.tape_edge import TapeEdge

                path = _tape_path(self._start)
                return TapeEdge(worker, opened.config, path, self._start.speed).turn
            case "orchestrator":
                return _RegistryEdge(worker, opened).turn
            case "execution":
                assert self._latch is not None, "REDIS_URL was checked"
                watch = world.enter_context(Watch(self._latch))
                begins_ns = min((item.time_ns for item in opened.sets), default=0)
                memory = KeptWord(Snapshots(self._servers, self._service.name))
                edge = LatchEdge(watch, ToldByKafka(worker, begins_ns), stop.wait, memory)
                self._pages.add(edge)
                return edge.turn
            case _:
                return lambda: 0


class _Waiting:
    """Waits for what another service does first, and says so meanwhile."""

    def __init__(self, pages: Pages, stop: threading.Event) -> None:
        self._pages = pages
        self._stop = stop

    def until(self, what: str, look: Callable[[], Any]) -> Any:
        """What `look` finds once it finds something; None where the process is to stop."""
        self._pages.wait_for(what)
        while not self._stop.is_set():
            found = look()
            if found is not None:
                self._pages.wait_for("")
                return found
            time.sleep(OPENING_POLL_S)
        return None


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
