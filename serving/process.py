"""One service as a process on Kafka: what opens the line, what its edge is, how it ends."""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from hft_lib.market.pairs import legs_of
from hft_lib.parameters import ParameterFile
from serving.adapters.kafka_rights import require_rights
from serving.adapters.kafka_snapshots import Kafka, Snapshots
from serving.adapters.kafka_topics import ensure_topics
from serving.adapters.redis_client import connect
from serving.adapters.redis_directory import Directory, DirectoryError, Entry, Heartbeat, now_ns
from serving.adapters.redis_latch import RedisLatch, moves_of
from serving.adapters.redis_lease import RedisLease
from serving.lines import begun_at, config_of, in_order, is_registered, sets_of
from serving.runtime import model_words
from serving.runtime.chained import Away
from serving.runtime.identity import git_commit
from serving.runtime.kept_words import Unreadable
from serving.runtime.latch import Watch, opening
from serving.runtime.lease import Holder, Keeper, this_process
from serving.runtime.model_words import MovesEdge, MovesWatch
from serving.runtime.opening import FEED, LINE, FeedOpened, LineOpened, NotThisLine
from serving.runtime.pages import BROKER_ANSWERS, Pages
from serving.runtime.pair_words import newest_ns
from serving.runtime.service import Worker
from serving.runtime.settings import Settings, SettingsError
from serving.services import SINGLETONS, Service
from serving.start import Start
from serving.waiting import Waiting

if TYPE_CHECKING:
    from serving.orchestrator.gathering import Gatherer

# Those that run under a latch. Of a feed the epoch is enough where there is no Redis for a lease: a
# second one supersedes the first in place of being refused.
UNDER_LATCH = ("execution", "orchestrator")
FENCED = 3  # refused by a rule
AGAIN_S = 1.0  # a broker that refuses says so at once, and is not asked without a pause
REFUSED_S = 5.0  # a refusal is on the pages for some heartbeats before the process ends
T = TypeVar("T")
_log = structlog.get_logger(__name__)


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
        self._gatherer = self._page()

    def _page(self) -> "Gatherer | None":
        """The operator's page, on the orchestrator; what it gathers from."""
        if self._service.name != "orchestrator":
            return None
        # Here, because it is memory that no other service needs.
        from serving.adapters.redis_audit import trail_of
        from serving.orchestrator.audit_page import AuditPage
        from serving.orchestrator.wiring import open_page

        self._pages.mount(AuditPage(trail_of(self._settings)))
        assert self._directory is not None and self._latch is not None, "REDIS_URL was checked"
        return open_page(self._pages, self._directory, self._latch, self._settings.database_url)

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
        if self._gatherer is not None:
            self._gatherer.follow(worker.host)
        self._follow(world)
        edge = self._patiently(stop, lambda: self._edge(worker, opened, stop, world))
        worker.run(stop, edge or (lambda: 0))

    def _patiently(self, stop: threading.Event, act: Callable[[], T]) -> T | None:
        """What `act` comes to once the broker answers it; None where `stop` came first."""
        said = ""
        while not stop.is_set():
            try:
                return act()
            except Away as error:
                if str(error) != said:
                    said = str(error)
                    _log.warning("waits for the broker", why=said)
                self._pages.wait_for(f"{BROKER_ANSWERS} ({said})")
                stop.wait(AGAIN_S)
        return None

    def _begin(self, stop: threading.Event) -> tuple[LineOpened, Worker] | None:
        """The open line and this service at its snapshot; None where `stop` came first."""
        ensure_topics(self._servers)
        require_rights(self._servers, self._service)
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
        waiting = Waiting((self._pages,), stop)
        if self._service.name == "orchestrator" and snapshots.read(LINE, LineOpened) is None:
            feed = waiting.until(
                "ingestion opens the feed", lambda: snapshots.read(FEED, FeedOpened)
            )
            if feed is None:
                return None
            said_ns = waiting.until("the latch can be written", self._open_latch)
            if said_ns is None:
                return None
            line = self._line(feed, said_ns, waiting)
            if line is None:
                return None
            snapshots.put(LINE, line)
        opened = waiting.until("the line is opened", lambda: snapshots.read(LINE, LineOpened))
        if opened is not None:
            self._check(opened)
        return opened

    def _open_latch(self) -> tuple[int, int] | None:
        """The latch says run when a line is opened, unless somebody wrote it before; the number of
        the last word about a pair that there is then, and of the last about a pair's capital.
        """
        assert self._latch is not None, "REDIS_URL was checked"
        moves = moves_of(self._settings)
        try:
            self._latch.open(opening(self._service.name, now_ns()))
            return newest_ns(self._latch.look().pairs), model_words.newest_ns(moves.read())
        except Unreadable as error:
            _log.warning("the latch cannot be written", why=str(error))
            return None

    def _open_feed(self, snapshots: Snapshots) -> None:
        mine = self._feed_opened()
        there = snapshots.read(FEED, FeedOpened)
        if there is None:
            snapshots.put(FEED, mine)
        elif (there.tape_sha256, there.symbols) != (mine.tape_sha256, mine.symbols):
            raise NotThisLine(
                f"the line is fed by {_told(there)}, this would be {_told(mine)}: a line has one "
                "feed from its opening on"
            )

    def _feed_opened(self) -> FeedOpened:
        # Here, because tapes and clients of exchanges are memory that nobody else needs.
        if self._settings.exchange == "paper":
            from serving.live_edge import live_opened

            return live_opened(self._live_legs())
        from serving.tape_edge import feed_of

        return feed_of(_tape_path(self._start))

    def _live_legs(self) -> list[str]:
        pairs = self._settings.pairs
        if self._start.tape is not None or not pairs:
            raise NotThisLine(
                "with EXCHANGE=paper ingestion is fed by the live market of PAIRS, and by no --tape"
            )
        return list(dict.fromkeys(leg for pair in pairs for leg in legs_of(pair)))

    def _line(
        self, feed: FeedOpened, said_ns: tuple[int, int], waiting: Waiting
    ) -> LineOpened | None:
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
        words_ns, moves_ns = said_ns
        return LineOpened(
            config=config,
            sets=tuple(sets),
            words_ns=words_ns,
            moves_ns=moves_ns,
            git_commit=git_commit(),
        )

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
                if self._settings.exchange == "paper":
                    return self._live_edge(worker, world)
                from serving.tape_edge import TapeEdge

                path = _tape_path(self._start)
                tape = TapeEdge(worker, opened.config, path, self._start.speed)
                self._pages.add(tape)
                return tape.turn
            case "orchestrator":
                # Here, because of the registry's layer there is need in one service alone.
                from serving.registry_edge import RegistryEdge

                assert self._gatherer is not None, "it has the page"
                page, snapshots = self._gatherer, Snapshots(self._servers, "registry")
                registry = RegistryEdge(worker, opened, snapshots, self._registry(opened, world))
                moves = self._moves(worker, opened, world)
                # The registry's words first: a line begins with them.
                return lambda: page.turn() + registry.turn() + moves.turn()
            case "execution":
                # Here, because of what it imports no other service needs the stage and its kernels.
                from serving.runtime.latch_memory import KeptWord
                from serving.runtime.line_latch import OperatorEdge, ToldByKafka
                from serving.runtime.shown import ExecutionShown

                assert self._latch is not None, "REDIS_URL was checked"
                watch = world.enter_context(Watch(self._latch))
                begins_ns = min((item.time_ns for item in opened.sets), default=0)
                told = ToldByKafka(worker, begins_ns)
                memory = KeptWord(Snapshots(self._servers, self._service.name))
                edge = OperatorEdge(watch, told, stop.wait, opened.words_ns, memory)
                shown = ExecutionShown(lambda: worker.host.state)
                self._pages.add(edge.latch)
                self._pages.add(shown)
                return lambda: shown.turn() + edge.turn()
            case "garch_model":
                # Here, because of scipy's functions there is need in one service alone.
                from serving.runtime.judged import Judged

                judged = Judged(lambda: worker.host.state)
                self._pages.add(judged)
                self._pages.measure(judged)
                return judged.turn
            case _:
                return lambda: 0

    def _live_edge(self, worker: Worker, world: ExitStack) -> Callable[[], int]:
        from serving.adapters.live.feed import LiveFeed
        from serving.live_edge import LiveEdge
        from serving.live_order import LivePart

        live = LiveFeed(self._settings, self._live_legs())
        self._pages.add(LivePart(live))
        self._pages.measure(live.figures)
        return LiveEdge(worker, live, world).turn

    def _moves(self, worker: Worker, opened: LineOpened, world: ExitStack) -> MovesEdge:
        """What operators ask of the capital, told the orchestrator."""
        # Here, because of what it imports no other service needs the stage.
        from serving.runtime.line_moves import MovesToldByKafka

        watch = world.enter_context(MovesWatch(moves_of(self._settings)))
        self._pages.add(watch)
        begins_ns = min((item.time_ns for item in opened.sets), default=0)
        told = MovesToldByKafka(worker, self._line_ns, begins_ns)
        return MovesEdge(watch.moves, told, opened.moves_ns)

    def _line_ns(self) -> int:
        """The time of the line as execution tells it; 0 where nobody says."""
        assert self._directory is not None, "REDIS_URL was checked"
        try:
            shown = self._directory.documents().get("execution", {})
        except DirectoryError as error:
            _log.warning("nobody says what the line's time is", why=str(error))
            return 0
        return int(shown.get("line_ns", 0))

    def _registry(self, opened: LineOpened, world: ExitStack) -> Any:
        """The registry that is asked and told while the line runs; None where it was opened from
        files, of which no registry knows, or none is named.
        """
        if not is_registered(self._settings, opened.sets):
            return None
        from serving.registry_edge import KafkaLog
        from serving.registry_watch import Registry

        pairs = tuple(item.pair for item in opened.config.pairs)
        registry = Registry(self._settings, pairs, lambda: KafkaLog(self._servers))
        self._pages.add(registry)
        return world.enter_context(registry)


def _must_be_fed(feed: FeedOpened, files: Sequence[ParameterFile]) -> None:
    missing = sorted({leg for file in files for leg in legs_of(file.pair)} - set(feed.symbols))
    if feed.symbols and missing:
        raise NotThisLine(
            f"the feed must hold every leg of the line, {feed.tape} lacks {' and '.join(missing)}"
        )


def _told(feed: FeedOpened) -> str:
    if not feed.tape_sha256:
        return f"the live market of {' and '.join(feed.symbols)}"
    return f"tape {feed.tape_sha256[:12]} ({feed.tape})"


def _tape_path(start: Start) -> Path:
    if start.tape is None:
        raise NotThisLine("ingestion needs --tape in this release, it was unset")
    return start.tape
