"""The live feed: connections, repairs and timers on a thread of their own, facts in one order.

A connection that ends, a venue that does not answer, a frame of no use: none of them ends it, each
is told as a fact and mended. It ends where the venue does not list what was asked for.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType

import msgspec
import structlog

from hft_lib.market.live.items import Unreadable, flaw
from serving.adapters.live.connection import RENEW_S, Connection, backoff_s
from serving.adapters.live.figures import Figures
from serving.adapters.live.gate import Gate
from serving.adapters.live.intake import Intake, LastTrade, Told
from serving.adapters.live.repairs import Repairs
from serving.adapters.live.venue import CallFailed, Venue
from serving.adapters.live.venues import BINANCE, VENUES
from serving.adapters.live.weights import Budget, FileBudget, RedisBudget, address_of
from serving.adapters.redis_client import connect
from serving.runtime.settings import Settings

INSTRUMENTS_S = 60.0  # an order by old filters is refused; the answer is a megabyte
CLOCK_S = 60.0
CLOCK_OFFSET_NS_MAX = 1_000_000_000
END_S_MAX = 10.0  # for connections to say good-bye

_log = structlog.get_logger(__name__)


class Status(msgspec.Struct, frozen=True):
    """How the feed is, for people and pages; `problem` is empty where it is well."""

    venue: str
    host: str
    is_open: bool
    problem: str
    channels: dict[str, str]
    quote_age_s: dict[str, float]
    synced: dict[str, bool]
    halted: tuple[str, ...]
    waiting: int
    clock_offset_s: float


class Pace(msgspec.Struct, frozen=True):
    """How often things are done by the clock."""

    instruments_s: float = INSTRUMENTS_S
    clock_s: float = CLOCK_S
    renew_s: float = RENEW_S


class NotListed(Exception):
    """The venue does not trade a symbol that was asked for."""


def budget_of(settings: Settings, venue: str) -> Budget:
    """The budget of request weight that all processes of this address share for `venue`."""
    address = address_of(venue, VENUES[venue].rest_url(settings) or "")
    if settings.redis_url is not None:
        return RedisBudget(connect(settings.redis_url), settings.redis_url, address)
    return FileBudget(settings.hft_home / f"weight-{venue}-{address}.json")


class LiveFeed:
    """The market data of `symbols`, live: enter it, then `take` again and again.

    `venue` is one of `VENUES`. Nothing is asked before it is entered; leaving it ends its thread.
    """

    def __init__(
        self,
        settings: Settings,
        symbols: Iterable[str],
        venue: str = BINANCE,
        pace: Pace = Pace(),
    ) -> None:
        self.figures = Figures()
        self._settings = settings
        self._intake = Intake(symbols, self.figures)
        self._venue = venue
        self._pace = pace
        self._begun = threading.Event()
        self._connections: list[Connection] = []
        self._halted: tuple[str, ...] = ()
        self._problem = "nothing was asked yet"
        self._host = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="live-feed", daemon=True)

    def go_on(self, last: Mapping[str, LastTrade]) -> None:
        """Go on behind the trades that an earlier feed told, `last` of each symbol: what happened
        since is filled in where the venue has it. Said before this one is entered.
        """
        self._intake.go_on(last)

    def __enter__(self) -> "LiveFeed":
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._loop is not None and self._main is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join(END_S_MAX)

    def take(self, timeout_s: float) -> list[Told]:
        """The facts that came since the last call, in order; waits for one up to `timeout_s`.

        Flaws are `Rejected` of stage `feed`. Raises NotListed where the venue has no such symbol,
        and whatever else ended the feed, once what came before is taken.
        """
        return self._intake.drain(timeout_s)

    def status(self) -> Status:
        """How the feed is now."""
        states = {one.channel.name: one.problem for one in list(self._connections)}
        problems = [problem for problem in states.values() if problem]
        synced = {name: state.book.is_synced for name, state in self._intake.symbols.items()}
        return Status(
            venue=self._venue,
            host=self._host,
            is_open=bool(states) and not problems,
            problem=problems[0] if problems else self._problem,
            channels={name: problem or "open" for name, problem in states.items()},
            quote_age_s=dict(self.figures.quote_age_s),
            synced=synced,
            halted=self._halted,
            waiting=self._intake.waiting,
            clock_offset_s=self.figures.clock_offset_s,
        )

    # --- the thread ---

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except asyncio.CancelledError:
            _log.info("the live feed was left")
        except Exception as error:
            if not isinstance(error, NotListed | Unreadable):
                _log.exception("the live feed ended")
            self._host = self._host or self._venue  # it will not be known any better
            self._intake.fail(error)
        finally:
            self._begun.set()

    async def _serve(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        self._begun.set()
        gate = Gate(budget_of(self._settings, self._venue), self.figures)
        venue = VENUES[self._venue].make(self._settings, list(self._intake.symbols), gate)
        self._host = venue.host
        if not venue.numbers_trades:
            self._intake.without_ids()
        try:
            await self._first_listing(venue)
            await self._keep(venue, gate)
        finally:
            await venue.close()

    async def _keep(self, venue: Venue, gate: Gate) -> None:
        """Run everything until one of them ends, which none does but by an error."""
        for channel in venue.channels():
            self._connections.append(
                Connection(venue, channel, self._intake, gate, self.figures, self._pace.renew_s)
            )
        works = [
            *(connection.run() for connection in self._connections),
            Repairs(venue, self._intake, self.figures).run(),
            self._every(self._pace.instruments_s, self._pace.instruments_s, self._relist, venue),
            self._every(0.0, self._pace.clock_s, self._measure, venue),
        ]
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _first_listing(self, venue: Venue) -> None:
        """The terms of every symbol, before anything of them can come."""
        failures = 0
        while True:
            try:
                await self._relist(venue)
                return
            except (CallFailed, Unreadable) as error:
                problem = f"its instruments cannot be read: {error}"
                if problem != self._problem:  # the same one again is no news
                    _log.warning("no instruments yet", why=str(error), venue=venue.host)
                self._problem = problem
            await asyncio.sleep(backoff_s(failures))
            failures += 1

    async def _every(
        self,
        first_s: float,
        seconds: float,
        work: Callable[[Venue], Awaitable[None]],
        venue: Venue,
    ) -> None:
        """Do `work` on a timer; what fails is done again next time."""
        await asyncio.sleep(first_s)
        while True:
            try:
                await work(venue)
            except (CallFailed, Unreadable) as error:
                _log.warning("a look at the venue failed", why=str(error), venue=venue.host)
            await asyncio.sleep(seconds)

    async def _relist(self, venue: Venue) -> None:
        """Tell the instruments whose terms are new, and who is halted since the last look."""
        halted: dict[str, str] = {}
        symbols = self._intake.symbols
        unlisted, unread = set(symbols), set[str]()
        for listing in await venue.listings():
            halted.update(dict.fromkeys(listing.halted, "the venue does not trade it now"))
            for error in listing.flaws:
                unread.add(error.symbol)
                self._intake.refuse(time.time_ns(), error)
            for symbol, instrument in sorted(listing.instruments.items()):
                self._intake.tell(symbols[symbol].define(instrument))
                if symbols[symbol].instrument is None:
                    unread.add(symbol)  # its terms are of no use, which was told
            unlisted -= unread.union(listing.instruments)
        self._require_terms(venue, unread)
        halted.update(dict.fromkeys(unlisted, "the venue does not list it any more"))
        for symbol in sorted(halted.keys() - self._halted):
            self._intake.tell([flaw(time.time_ns(), "HALTED", symbol, halted[symbol])])
        self._halted, self._problem = tuple(sorted(halted)), ""

    def _require_terms(self, venue: Venue, unread: set[str]) -> None:
        """Raise where the terms of a symbol are not known: it is not listed, or cannot be read."""
        missing = {name for name, one in self._intake.symbols.items() if one.instrument is None}
        if missing - unread:
            raise NotListed(f"{venue.host} does not list {', '.join(sorted(missing - unread))}")
        if missing:
            names = ", ".join(sorted(missing))
            raise Unreadable("MALFORMED", f"the terms of {names} cannot be read")

    async def _measure(self, venue: Venue) -> None:
        """How far the venue's clock is from ours."""
        offset_ns = await venue.clock_offset_ns()
        self.figures.clock_offset_s = offset_ns / 1e9
        if abs(offset_ns) > CLOCK_OFFSET_NS_MAX:
            detail = f"the venue's clock is {offset_ns / 1e9:+.3f} s from ours"
            self._intake.tell([flaw(time.time_ns(), "CLOCK_OFFSET", "", detail)])
