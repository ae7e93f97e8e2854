"""`--bus memory`: the six services in this process over a tape or on the live market, or one alone.

All six are the line of `hft run` with pages: its journal and snapshot are in a folder of HFT_HOME,
a start goes on where they end, and after the tape the line stays up under its latch. One alone is
joined to nothing: a way to look at a service's pages.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from hft_lib.events import Event, Promoted, Registered, RolledBack
from hft_lib.line import LineConfig
from hft_lib.lineage import NotRegistered
from hft_lib.market.pairs import legs_of
from hft_lib.market.tape import Tape
from hft_lib.parameters import ParameterFile
from serving.adapters import mlflow_store
from serving.adapters.memory_bus import MemoryBus
from serving.adapters.redis_audit import trail_of
from serving.adapters.redis_latch import latch_of, moves_of
from serving.adapters.synthetic_market import synthetic_tape
from serving.lines import begun_at, config_of, in_order, sets_of
from serving.live_market import TAPE, LiveMarket, live_feed, opened, write_tape
from serving.live_order import LivePart
from serving.orchestrator.audit_page import AuditPage
from serving.orchestrator.wiring import InOneProcess, open_page
from serving.registered_line import pairs_of
from serving.runtime import embedded, model_words
from serving.runtime.embedded import EmbeddedLine
from serving.runtime.host import Sink, serve
from serving.runtime.journal import LIVE, Header, read, read_header
from serving.runtime.judged import Judged
from serving.runtime.kept_words import Kept, Unreadable
from serving.runtime.latch import POLL_S, Latch, opening
from serving.runtime.latched import Feed, feed_of_tape, latched
from serving.runtime.metered import Hosted, Metered
from serving.runtime.model_words import Move
from serving.runtime.opening import NotThisLine
from serving.runtime.pages import Pages
from serving.runtime.pair_words import newest_ns
from serving.runtime.run_folder import (
    JOURNAL,
    Market,
    new_header,
    open_line,
    params_sha256,
    resume_line,
    start_of,
    write_parameters,
)
from serving.runtime.settings import Settings
from serving.runtime.shown import ExecutionShown
from serving.services import INBOXES, Service
from serving.start import Start
from serving.waiting import Waiting

if TYPE_CHECKING:
    from serving.registry_watch import Registry

FOLDERS = {"simulated": "line", "paper": "paper"}  # under HFT_HOME, by EXCHANGE
COMMAND, REGISTRY = "serving all", "hft.registry"
LIVE_PAIR = "BTC/USDT:USDT~BTC/USDT"  # where nobody names one
ALONE_GRID_MS = 1000  # of a stage that has no pair to step on
# A registry is asked again this often while a line waits for its champion.
REGISTRY_S = 5.0
_log = structlog.get_logger(__name__)


class Chosen(msgspec.Struct, frozen=True):
    """What a line begins with: what it runs on, a file a pair, their sets, and from when on it
    trades.
    """

    market: Market
    files: tuple[ParameterFile, ...]
    sets: tuple[Registered, ...]
    start_ns: int | None


class MemoryLine:
    """All six services, from their start to their end."""

    def __init__(self, settings: Settings, start: Start, pages: Mapping[str, Pages]) -> None:
        self._settings = settings
        self._start = start
        self._pages = pages
        self._folder = settings.hft_home / FOLDERS[settings.exchange]
        self._metered: Metered | None = None
        self._registry: "Registry | None" = None
        self._latch = latch_of(settings)
        self._moves = moves_of(settings)
        pages["orchestrator"].mount(AuditPage(trail_of(settings)))
        self._page = open_page(pages["orchestrator"], InOneProcess(pages), self._latch, None)

    def run(self, stop: threading.Event, begun: Callable[[], None]) -> None:
        """Serve until `stop`; `begun` is called once the line steps, and may be stopped in order.

        Raises NotThisLine where the folder holds another line than the one that was asked for.
        """
        latch = self._latch
        waiting = Waiting(self._pages.values(), stop)
        waiting.say("the journal is looked for")
        try:
            with ExitStack() as world:
                if (self._folder / JOURNAL).is_file():
                    line, market, header = self._resume(waiting, world)
                else:
                    line, market, header = self._open(waiting, latch, world)
                feed = self._feed(line, market, header, world)
                self._serve(line, feed, start_of(header, market), header, stop, begun)
        except _Stopped:
            return
        except embedded.Diverged as divergence:
            _log.critical("the journal diverged, nothing goes on", why=str(divergence))
            if self._metered is not None:
                self._metered.diverge(str(divergence))
            begun()
            stop.wait()

    def _serve(
        self,
        line: EmbeddedLine,
        feed: Feed,
        begins_ns: int,
        header: Header,
        stop: threading.Event,
        begun: Callable[[], None],
    ) -> None:
        assert self._metered is not None, "the line was watched from its first fact on"
        moves = self._moves
        with latched(line, header, feed, begins_ns, self._latch, stop.wait, moves) as events:
            shown = ExecutionShown(lambda: line.hosts["execution"].state)
            self._pages["execution"].add(events.edge.latch)
            self._pages["execution"].add(shown)
            judged = Judged(lambda: line.hosts["garch_model"].state)
            self._pages["garch_model"].add(judged)
            self._pages["garch_model"].measure(judged)
            looks = (shown.turn, judged.turn, self._page.turn, lambda: self._told_of(line))
            self._metered.be_ready()
            begun()
            _log.info("the line goes on", after=line.fed, tape=header.tape)
            for event in events:
                if stop.is_set():
                    break
                line.feed(event)
                for look in looks:
                    look()
                if line.snapshot_bytes:
                    self._metered.note_snapshot()
            line.save()
            self._metered.note_snapshot()
            if header.tape_sha256 == LIVE and line.fed:
                write_tape(self._folder / JOURNAL)
            _log.info("the tape is through" if not stop.is_set() else "stops", fed=line.fed)
            while not stop.wait(POLL_S):
                events.edge.turn()
                for look in looks:
                    look()

    def _watch(self, line: EmbeddedLine) -> None:
        self._metered = Metered(line)
        for name, service in self._metered.services.items():
            self._pages[name].watch(service)
        self._page.follow(line.hosts["orchestrator"])

    # --- a line that is there ---

    def _resume(self, waiting: Waiting, world: ExitStack) -> tuple[EmbeddedLine, Market, Header]:
        waiting.say("the journal is read")
        header = read_header(self._folder / JOURNAL)
        market = self._market_of(header)
        self._check(header, market)
        sinks = self._follow(header.config, registry_facts(self._folder / JOURNAL), world)
        line = world.enter_context(resume_line(self._folder, header.config, self._watch, sinks))
        return line, market, header

    def _market_of(self, header: Header) -> Market:
        theirs = "paper" if header.tape_sha256 == LIVE else "simulated"
        if self._settings.exchange != theirs:
            raise NotThisLine(
                f"EXCHANGE must be that of the line in {self._folder}, {theirs}, was "
                f"{self._settings.exchange}: move the folder away to begin another line"
            )
        if theirs == "paper":
            return LiveMarket(Path(header.tape), header.start_ns)
        return Tape.open(self._start.tape or header.tape)

    def _check(self, header: Header, market: Market) -> None:
        """Raise NotThisLine where something else was asked for than what the folder holds."""
        theirs = tuple(item.pair for item in header.config.pairs)
        ours = self._settings.pairs
        files = in_order(self._settings, self._start.params) if self._start.params else ()
        borrow, assumed = self._start.borrow_rate_annual, header.config.assumptions
        asked = {
            "PAIRS": (ours, theirs),
            "--tape": (market.sha256[:12], header.tape_sha256[:12]),
            "--params": (files and params_sha256(files)[:12], header.params_sha256[:12]),
            "--assume-borrow": (borrow, assumed.borrow_rate_annual),
        }
        for name, (asks, holds) in asked.items():
            if asks and asks != holds:
                raise NotThisLine(
                    f"{name} must be that of the line in {self._folder}, {holds}, was {asks}: "
                    "leave it out, or move the folder away to begin another line"
                )

    # --- a new line ---

    def _open(
        self, waiting: Waiting, latch: Latch, world: ExitStack
    ) -> tuple[EmbeddedLine, Market, Header]:
        chosen = self._choose(waiting)
        config = config_of(self._settings, chosen.files, self._start.borrow_rate_annual)
        said_ns = _must(
            waiting.until("the latch can be written", lambda: _opened(latch, self._moves))
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        window = (chosen.start_ns, None)
        header = new_header(
            chosen.market, chosen.files, config, self._folder.name, COMMAND, window, *said_ns
        )
        write_parameters(self._folder, *chosen.files)
        sets = begun_at(chosen.sets, start_of(header, chosen.market))
        sinks = self._follow(config, [], world, all(item.model_version for item in sets))
        opened = open_line(self._folder, header, sets, sinks, self._watch)
        return world.enter_context(opened), chosen.market, header

    def _follow(
        self, config: LineConfig, before: list[Event], world: ExitStack, registered: bool = True
    ) -> tuple[Sink, ...]:
        """Let the registry's aliases follow the line, where it was opened with what one holds.

        `before` is what the line's journal says of them already.
        """
        moves = [fact for fact in before if isinstance(fact, Promoted | RolledBack)]
        if not registered or (moves and not moves[0].model_version):
            return ()
        # Here, because it is memory that a line of files does not need.
        from serving.registry_watch import MovesInProcess, Registry

        log = MovesInProcess(before)
        pairs = tuple(item.pair for item in config.pairs)
        self._registry = Registry(self._settings, pairs, lambda: log, tells=False)
        self._pages["orchestrator"].add(world.enter_context(self._registry))
        return (log,)

    def _told_of(self, line: EmbeddedLine) -> int:
        """Let the registry know what was decided last; writes 0 facts, as an edge."""
        if self._registry is not None:
            pairs = line.hosts["orchestrator"].state.pairs
            self._registry.decided = {pair.pair: pair.decision_id for pair in pairs}
        return 0

    def _feed(self, line: EmbeddedLine, market: Market, header: Header, world: ExitStack) -> Feed:
        if isinstance(market, Tape):
            return feed_of_tape(market, header, self._start.speed, line)
        live = world.enter_context(opened(self._settings, header, line))
        self._pages["ingestion"].add(LivePart(live))
        self._pages["ingestion"].measure(live.figures)
        return live_feed(live, line)

    def _choose(self, waiting: Waiting) -> Chosen:
        if self._settings.exchange == "paper":
            return self._choose_live(waiting)
        named = self._start.tape
        if named is None:
            waiting.say("the synthetic market is made")
        tape = Tape.open(named) if named is not None else synthetic_tape(self._settings.hft_home)
        files = in_order(self._settings, self._start.params) if self._start.params else ()
        if files:
            _must_hold(tape, [file.pair for file in files])
            return Chosen(tape, files, tuple(sets_of(files, 0)), None)
        pairs = pairs_of(self._settings, tape.symbols)
        _must_hold(tape, pairs)
        return self._registered(tape, pairs, waiting) or self._fitted(tape, pairs, waiting)

    def _choose_live(self, waiting: Waiting) -> Chosen:
        """Sets named or registered, else fitted to what the exchange has of the last days."""
        if self._start.tape is not None:
            raise NotThisLine("--tape is for EXCHANGE=simulated, the market of paper is live")
        files = in_order(self._settings, self._start.params) if self._start.params else ()
        pairs = tuple(file.pair for file in files) or self._settings.pairs or (LIVE_PAIR,)
        market = LiveMarket(self._folder / TAPE, time.time_ns())
        if files:
            return Chosen(market, files, tuple(sets_of(files, 0)), market.start_ns)
        found = self._registered(market, pairs, waiting)
        if found is not None:
            return msgspec.structs.replace(found, start_ns=market.start_ns)
        file = self._fitted_to_live(pairs, waiting)
        market = LiveMarket(market.path, time.time_ns())
        return Chosen(market, (file,), tuple(sets_of((file,), 0)), market.start_ns)

    def _fitted_to_live(self, pairs: tuple[str, ...], waiting: Waiting) -> ParameterFile:
        if len(pairs) > 1:
            raise NotThisLine(
                f"the registry has no champion of {' and '.join(pairs)}: name a parameter file "
                "of each with --params (`hft calibrate --out FILE` writes one)"
            )
        # Here, because a client of the exchange and fitting are memory that nothing else needs.
        from serving.live_fit import fitted_to
        from serving.live_history import NoHistory, history_tape

        waiting.say("the last days of the live market are asked for")
        out = self._settings.hft_home / "tapes" / "live-history"
        try:
            history = history_tape(self._settings, legs_of(pairs[0]), out)
        except NoHistory as error:
            raise NotThisLine(f"{error}: is there a network?") from error
        waiting.say("the models are fitted to the last days of the live market")
        _log.info("no set is named and none is registered: one is fitted", tape=str(history.path))
        return fitted_to(history, pairs[0])

    def _registered(
        self, market: Market, pairs: tuple[str, ...], waiting: Waiting
    ) -> Chosen | None:
        """What the registry holds; None where it has no champion of all the pairs."""
        store = mlflow_store.store_file(self._settings)
        if store is not None and not store.exists():
            return None
        from serving.adapters.registered_sets import registered_sets

        client = _must(waiting.until("the registry answers", self._client, REGISTRY_S))
        try:
            found = [registered_sets(client, pair) for pair in pairs]
        except NotRegistered:
            return None
        files = in_order(self._settings, [file for file, _ in found])
        return Chosen(market, files, tuple(item for _, sets in found for item in sets), None)

    def _client(self) -> Any:
        try:
            return mlflow_store.open_registry(self._settings)
        except mlflow_store.Unreachable as error:
            _log.warning("the registry does not answer", why=str(error))
            return None

    def _fitted(self, tape: Tape, pairs: tuple[str, ...], waiting: Waiting) -> Chosen:
        """Sets fitted to the synthetic market; of another tape they must be named."""
        if self._start.tape is not None or len(pairs) > 1:
            raise NotThisLine(
                f"the registry has no champion of {' and '.join(pairs)}: name a parameter file "
                "with --params (`hft calibrate --out FILE` writes one)"
            )
        # Here, because fitting is memory that nothing else needs.
        from serving.first_fit import fitted

        waiting.say("the models are fitted to the synthetic market's first part")
        _log.info("no set is named and none is registered: one is fitted", tape=str(tape.path))
        file, split_ns = fitted(tape, pairs[0])
        return Chosen(tape, (file,), tuple(sets_of((file,), 0)), split_ns)


def registry_facts(journal: Path) -> list[Event]:
    """What a line's journal says of the registry's aliases."""
    return [fact for _, fact in read(journal, (REGISTRY,))]


class _Stopped(Exception):
    """An end was asked for while the start waited."""


def _must(found: Any) -> Any:
    if found is None:
        raise _Stopped
    return found


def _opened(latch: Latch, moves: Kept[Move]) -> tuple[int, int] | None:
    """The latch says run when a line is opened, unless somebody wrote it before; the number of the
    last word about a pair that there is then, and of the last about a pair's capital.
    """
    try:
        latch.open(opening(COMMAND, time.time_ns()))
        return newest_ns(latch.look().pairs), model_words.newest_ns(moves.read())
    except Unreadable as error:
        _log.warning("the latch cannot be written", why=str(error))
        return None


def _must_hold(tape: Tape, pairs: Any) -> None:
    missing = sorted({leg for pair in pairs for leg in legs_of(pair)} - set(tape.symbols))
    if missing:
        raise NotThisLine(
            f"the tape must hold every leg of the line, {tape.path} lacks {' and '.join(missing)}"
        )


def serve_alone(
    settings: Settings, service: Service, start: Start, pages: Pages, stop: threading.Event
) -> None:
    """One service joined to nothing, ready at once, until `stop`."""
    config = LineConfig(pairs=(), grid_ms=ALONE_GRID_MS)
    if start.params:
        files = in_order(settings, start.params)
        config = config_of(settings, files, start.borrow_rate_annual)
    bus = MemoryBus(INBOXES, lambda log, fact: None)
    hosted = Hosted(service.name, serve(service.stage, config, bus))
    hosted.ready = True
    pages.watch(hosted)
    _log.warning(
        "on a memory bus a service alone is joined to nothing: its pages answer, nothing comes in",
        service=service.name,
        instead="python -m serving all --bus memory",
    )
    stop.wait()
    hosted.ready = False
