"""One service as a process on Kafka: what opens the line, what its edge is, how it ends."""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import structlog

from hft_lib.market.pairs import legs_of
from hft_lib.parameters import ParameterFile
from serving.adapters.kafka_snapshots import Kafka, Snapshots
from serving.adapters.kafka_topics import ensure_topics
from serving.adapters.redis_client import connect
from serving.adapters.redis_directory import Directory, Entry, Heartbeat, now_ns
from serving.adapters.redis_latch import RedisLatch
from serving.adapters.redis_lease import RedisLease
from serving.lines import begun_at, config_of, in_order, is_registered, sets_of
from serving.runtime.latch import HOST, LatchEdge, Unreadable, Watch, opening
from serving.runtime.lease import Holder, Keeper, this_process
from serving.runtime.line_latch import ToldByKafka
from serving.runtime.opening import FEED, LINE, FeedOpened, LineOpened, NotThisLine
from serving.runtime.pages import Pages
from serving.runtime.service import Worker
from serving.runtime.settings import Settings, SettingsError
from serving.services import Service
from serving.start import Start
from serving.waiting import Waiting

# Services of which one process alone is heard, and their edges, of which the same holds.
SINGLETONS: dict[str, tuple[str, ...]] = {"execution": (HOST,), "orchestrator": ("registry",)}
FENCED = 3  # refused by a rule
_log = structlog.get_logger(__name__)


class Process:
    """One service, from its start to its end."""

    def __init__(self, settings: Settings, service: Service, start: Start, pages: Pages) -> None:
        if settings.kafka_bootstrap_servers is None:
            raise NotThisLine("--bus kafka needs KAFKA_BOOTSTRAP_SERVERS, it was unset")
        url = settings.redis_url
        if url is None and service.name in SINGLETONS:
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
            if self._service.name in SINGLETONS and not self._acquire(stop, world):
                return
            if self._directory is not None:
                heartbeat = Heartbeat(self._directory, self._look)
                heartbeat.open()
                world.callback(heartbeat.close)
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
            self._follow(world)
            worker.run(stop, self._edge(worker, opened, stop, world))

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
        """Take the lease of this service and keep it until the end."""
        assert self._lease is not None, "REDIS_URL was checked"
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
        waiting = Waiting((self._pages,), stop)
        if self._service.name == "orchestrator" and snapshots.read(LINE, LineOpened) is None:
            feed = waiting.until(
                "ingestion opens the feed", lambda: snapshots.read(FEED, FeedOpened)
            )
            if feed is None:
                return None
            if not waiting.until("the latch can be written", self._open_latch):
                return None
            line = self._line(feed, waiting)
            if line is None:
                return None
            snapshots.put(LINE, line)
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

    def _line(self, feed: FeedOpened, waiting: Waiting) -> LineOpened | None:
        """The line of the named files, or of what the registry holds once it has a champion."""
        files = in_order(self._settings, self._start.params) if self._start.params else ()
        sets = sets_of(files, feed.start_ns)
        if not files:
            from serving.registered_line import registered_line

            found = registered_line(self._settings, feed.symbols, waiting)
            if found is None:
                return None
            files, sets = found[0], begun_at(found[1], feed.start_ns)
        _must_be_fed(feed, files)
        config = config_of(self._settings, files, self._start.borrow_rate_annual)
        return LineOpened(config=config, sets=tuple(sets))

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
                # Here, because of the registry's layer there is need in one service alone.
                from serving.registry_edge import RegistryEdge

                registry = self._registry(opened, world)
                snapshots = Snapshots(self._servers, "registry")
                return RegistryEdge(worker, opened, snapshots, registry).turn
            case "execution":
                assert self._latch is not None, "REDIS_URL was checked"
                watch = world.enter_context(Watch(self._latch))
                begins_ns = min((item.time_ns for item in opened.sets), default=0)
                edge = LatchEdge(watch, ToldByKafka(worker, begins_ns), stop.wait)
                self._pages.add(edge)
                return edge.turn
            case _:
                return lambda: 0

    def _registry(self, opened: LineOpened, world: ExitStack) -> Any:
        """The registry that is asked and told while the line runs; None where it was opened from
        files, of which no registry knows, or none is named.
        """
        if not is_registered(self._settings, opened.sets):
            return None
        from serving.registry_edge import Registry

        pairs = tuple(item.pair for item in opened.config.pairs)
        registry = Registry(self._settings, self._servers, pairs)
        self._pages.add(registry)
        return world.enter_context(registry)


def _must_be_fed(feed: FeedOpened, files: Sequence[ParameterFile]) -> None:
    missing = sorted({leg for file in files for leg in legs_of(file.pair)} - set(feed.symbols))
    if feed.symbols and missing:
        raise NotThisLine(
            f"the feed must hold every leg of the line, {feed.tape} lacks {' and '.join(missing)}"
        )


def _tape_path(start: Start) -> Path:
    if start.tape is None:
        raise NotThisLine("ingestion needs --tape in this release, it was unset")
    return start.tape
