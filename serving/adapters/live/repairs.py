"""What is missing, asked for as soon as it is known: books without a snapshot, trades by id."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from hft_lib.market.live.items import Unreadable
from hft_lib.market.live.trades import Missing
from serving.adapters.live.connection import backoff_s
from serving.adapters.live.figures import Figures
from serving.adapters.live.intake import Intake
from serving.adapters.live.venue import CallFailed, CallRefused, Venue

LOOK_S = 0.05  # between two looks at what is missing, silent or stale
# Of one gap, each at every source. What none of them has by then is lost.
BACKFILLS_MAX = 3
# Answers that cannot be read, or end before what is missing begins: a venue in trouble, or one
# whose copies are behind, has the trades afterwards. With the waits between that is some 25 s.
DOUBTFUL_MAX = 8
# A new subscription is given the time to bring what a snapshot has to be joined to.
SNAPSHOT_EVERY_S = 0.5

_log = structlog.get_logger(__name__)


class Repairs:
    """Keeps looking at an intake and asks the venue for what its symbols want."""

    def __init__(self, venue: Venue, intake: Intake, figures: Figures) -> None:
        self._venue = venue
        self._intake = intake
        self._figures = figures
        self._running: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                self._intake.look(time.time_ns())
                for symbol, state in self._intake.symbols.items():
                    if state.book.wants_snapshot:
                        self._start(f"book {symbol}", self._restore, symbol)
                    if state.trades.wanted(time.time_ns()) is not None:
                        self._start(f"trades {symbol}", self._backfill, symbol)
                await asyncio.sleep(LOOK_S)
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _start(self, name: str, work: Callable[[str], Awaitable[None]], symbol: str) -> None:
        """Do `work` on the side, unless it is being done."""
        known = self._running.get(name)
        if known is not None and not known.done():
            return
        if known is not None:
            known.result()  # what it did not expect ends the feed loudly
        self._running[name] = asyncio.ensure_future(work(symbol))

    async def _restore(self, symbol: str) -> None:
        failures = 0
        book = self._intake.symbols[symbol].book
        while book.wants_snapshot:
            try:
                snapshot = await self._venue.snapshot(symbol)
                self._intake.tell(book.restore(snapshot))
            except Unreadable as error:
                self._intake.refuse(time.time_ns(), error)
            except CallFailed as error:
                _log.warning("no snapshot of the book", symbol=symbol, why=str(error))
            failures += 1
            await asyncio.sleep(max(backoff_s(failures), SNAPSHOT_EVERY_S))

    async def _backfill(self, symbol: str) -> None:
        """Ask until nothing is missing, or the venue has said thrice that it has no more."""
        failures = answered = doubtful = newest_id = 0
        trades = self._intake.symbols[symbol].trades
        while (wanted := self._wanted(symbol)) is not None:
            try:
                newest_id = max(newest_id, await self._ask(symbol))
                still = self._wanted(symbol)
                is_behind = still is not None and 0 < newest_id < still.first_id
                answered += not is_behind
                doubtful += is_behind
            except Unreadable as error:
                self._intake.refuse(time.time_ns(), error)
                doubtful += 1
            except CallRefused as error:
                _log.warning("the venue refuses old trades", symbol=symbol, why=str(error))
                answered += 1
            except CallFailed as error:
                _log.warning("no trades by id", symbol=symbol, why=str(error))
            failures += 1
            is_enough = answered >= BACKFILLS_MAX or doubtful >= DOUBTFUL_MAX
            if is_enough and self._wanted(symbol) is not None:
                _log.warning("trades are lost", symbol=symbol, missing=str(wanted))
                self._intake.tell(trades.give_up(time.time_ns(), newest_id))
                answered = doubtful = 0
            if self._wanted(symbol) is not None:
                await asyncio.sleep(backoff_s(failures))

    def _wanted(self, symbol: str) -> Missing | None:
        return self._intake.symbols[symbol].trades.wanted(time.time_ns())

    async def _ask(self, symbol: str) -> int:
        """Fill in what the venue has; returns the newest id that it told."""
        trades, newest_id = self._intake.symbols[symbol].trades, 0
        asking = self._venue.trades(symbol, lambda: self._wanted(symbol), trades.last_exchange_ns)
        async for batch in asking:
            before = trades.backfilled
            newest_id = max([newest_id, *(trade.trade_id for trade in batch)])
            self._intake.tell(trades.fill(time.time_ns(), batch))
            self._figures.backfilled[symbol] += trades.backfilled - before
        return newest_id
