"""What connections bring, made into facts in one order, for another thread to take."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import structlog

from hft_lib.events import MarketEvent, Rejected, TimePassed
from hft_lib.market.live.items import FundingNotice, Item, Unreadable, flaw
from hft_lib.market.live.sequence import Sequencer
from hft_lib.market.live.symbol import SymbolFeed
from hft_lib.market.live.trades import Trades
from hft_lib.market.live.unnumbered import UnnumberedTrades
from serving.adapters.live.figures import Figures
from serving.adapters.live.venue import Channel

Told: TypeAlias = MarketEvent | Rejected | TimePassed
LastTrade: TypeAlias = tuple[int, int]  # its id, and when it happened by the exchange's clock

QUEUE_MAX = 100_000  # facts that the line has not taken: minutes of a busy market
ROOM_S = 0.01  # between two looks for room
STALE_CADENCES, STALE_NS_MIN = 10.0, 2_000_000_000

_log = structlog.get_logger(__name__)


class Intake:
    """The state of every symbol and the queue of facts; `drain` alone is for another thread."""

    def __init__(self, symbols: Iterable[str], figures: Figures) -> None:
        self.symbols = {symbol: SymbolFeed(symbol) for symbol in dict.fromkeys(symbols)}
        self._figures = figures
        self._sequencer = Sequencer()
        self._queue: deque[Told] = deque()
        self._ready = threading.Condition()
        self._failure: BaseException | None = None
        self._stale: set[str] = set()

    def without_ids(self) -> None:
        """The venue gives trades no ids; said before any came."""
        for state in self.symbols.values():
            state.trades = UnnumberedTrades(state.symbol)

    def go_on(self, last: Mapping[str, LastTrade]) -> None:
        """An earlier process told the trades up to `last` of each symbol; said before any came."""
        for symbol, (trade_id, exchange_ns) in last.items():
            trades = self.symbols[symbol].trades
            if isinstance(trades, Trades):
                trades.go_on(trade_id, exchange_ns)

    # --- for the line's thread ---

    def drain(self, timeout_s: float) -> list[Told]:
        """The facts since the last call; waits for one up to `timeout_s`, raises what ended all."""
        with self._ready:
            if not self._queue and self._failure is None:
                self._ready.wait(timeout_s)
            taken = list(self._queue)
            self._queue.clear()
            failure = self._failure
        if not taken and failure is not None:
            raise failure
        return taken

    @property
    def waiting(self) -> int:
        """Facts that nobody has taken yet."""
        return len(self._queue)

    def fail(self, error: BaseException) -> None:
        """Nothing comes any more: who takes is told why, after what came before."""
        with self._ready:
            self._failure = error
            self._ready.notify_all()

    # --- for the feed's thread ---

    def take(self, item: Item) -> None:
        """The next message."""
        symbol = item.mark.symbol if isinstance(item, FundingNotice) else item.symbol
        state = self.symbols[symbol]
        resyncs = state.book.resyncs
        self.tell(state.take(item))
        self._figures.resyncs[symbol] += state.book.resyncs - resyncs

    def refuse(self, time_ns: int, error: Unreadable) -> None:
        """A message that is of no use."""
        self.tell([flaw(time_ns, error.reason, error.symbol, str(error))])

    def opened(self, channel: Channel) -> None:
        """The connection is there and its streams were agreed to."""
        _log.info("the connection is open", channel=channel.name)
        for symbol in channel.symbols.values():
            if channel.carries_trades:
                self.symbols[symbol].trades.reopened()

    def lost(self, channel: Channel, why: str) -> None:
        """The connection ended: its books are not followed any more."""
        now_ns = time.time_ns()
        self.tell(
            flaw(now_ns, "DISCONNECTED", symbol, f"{channel.name}: {why}")
            for symbol in channel.symbols.values()
        )
        for symbol in channel.symbols.values():
            if channel.carries_trades:
                self.symbols[symbol].lost()

    async def room(self) -> None:
        """Return once the line has taken enough; until then the venue's messages wait with it."""
        while len(self._queue) >= QUEUE_MAX:
            self._figures.paused_s += ROOM_S
            await asyncio.sleep(ROOM_S)

    def tell(self, facts: Iterable[MarketEvent | Rejected]) -> None:
        """Stamp facts and hand them on."""
        told: list[Told] = [*self._sequencer.stamp(facts)]
        for fact in told:
            if isinstance(fact, Rejected):
                self._figures.rejected[fact.reason] += fact.count
        self._hand_on(told)

    def look(self, now_ns: int) -> None:
        """Tell what silence tells: that time passes, and whose quotes are stale."""
        for symbol, state in self.symbols.items():
            if not state.quote_ns:
                continue
            age_ns = max(now_ns - state.quote_ns, 0)
            self._figures.quote_age_s[symbol] = age_ns / 1e9
            cadence_ns = state.instrument.cadence_ns if state.instrument is not None else 0
            if age_ns <= max(cadence_ns * STALE_CADENCES, STALE_NS_MIN):
                self._stale.discard(symbol)
            elif symbol not in self._stale:
                self._stale.add(symbol)
                self.tell([flaw(now_ns, "STALE", symbol, f"{age_ns / 1e9:.1f} s without a quote")])
        self._hand_on([*self._sequencer.passed(now_ns)])

    def _hand_on(self, told: list[Told]) -> None:
        if told:
            with self._ready:
                self._queue.extend(told)
                self._ready.notify()
