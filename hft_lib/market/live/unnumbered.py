"""The sequence of one symbol's trades where the venue gives them no ids.

Within a connection they come in order and whole. Of what happened while there was none the venue is
asked, by time: what it answers and what came meanwhile are joined, and what was told before is left
out. The same trade is known by its price, size, side and time to a microsecond, as often as it was
told: one order can meet two alike. An answer may also be ahead of the stream, which then brings
what was told already.
"""

from collections import Counter, deque
from typing import TypeAlias

import msgspec

from hft_lib.events import MarketEvent, Rejected, Trade
from hft_lib.market.live.items import flaw
from hft_lib.market.live.trades import HELD_MAX, Missing

TOLD_MAX = 5_000  # trades that are remembered: more than a venue repeats
TIME_NS = 1_000  # streams tell the time in microseconds, answers may have more digits

_Key: TypeAlias = tuple[int, float, float, str]


class UnnumberedTrades:
    """The state of one symbol's trades; `wanted` says that the venue has to be asked."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.last_id = 0
        self.backfilled = 0
        self.last_exchange_ns = 0
        self._first_ns = 0
        self._told: deque[_Key] = deque(maxlen=TOLD_MAX)
        self._held: list[Trade] = []  # what this connection brought and waits
        self._earlier: list[Trade] = []  # what waits of connections before this one
        self._ahead: Counter[_Key] = Counter()  # told, and not shown by this connection
        self._waits = self._is_open = False
        self._doubts = 0

    def lost(self) -> None:
        """The connection was lost: what comes next waits for what happened meanwhile."""
        self._waits, self._is_open = self.last_exchange_ns > 0, False
        # The next one may repeat what any before it brought, and each trade is one all the same.
        self._earlier, self._held = self._waiting(), []
        self._ahead = Counter(self._told)

    def reopened(self) -> None:
        """The connection is back: what happened meanwhile can be asked for."""
        self._is_open = self._waits
        self._doubts += 1

    def unsure(self) -> None:
        """A trade may have been missed: what an answer that is under way says is not enough."""
        if not self._waits:
            self._waits = self._is_open = self.last_exchange_ns > 0
            self._doubts += 1
        elif self._is_open:
            self._doubts += 1

    def wanted(self, now_ns: int) -> Missing | None:
        """Whether to ask now. Without ids nobody can say for which: the number is that of the
        doubt, and an answer that was asked for under an earlier one may be too old.
        """
        return Missing(self._doubts, 0) if self._is_open else None

    def take(self, trade: Trade) -> list[MarketEvent | Rejected]:
        """What follows from the next trade of the stream."""
        if not self._waits:
            trades = _without(self._ahead, [trade]) if self._ahead else [trade]
            return self._tell(trade.time_ns, self._ours(trades))
        self._held.append(trade)
        waiting = len(self._earlier) + len(self._held)
        return self.give_up(trade.time_ns) if waiting > HELD_MAX else []

    def fill(self, time_ns: int, trades: list[Trade]) -> list[MarketEvent | Rejected]:
        """What follows from all trades since the last, known ones among them."""
        if not self._is_open:
            return []
        waiting = self._waiting()
        told = Counter(self._told)
        new = _without(told, trades)
        only_held = _without(Counter(map(_key, trades)), waiting)
        # What is left of `told` is older than the answer: the stream may have repeated it.
        later = _without(told, only_held)
        self.backfilled += len(_without(Counter(map(_key, waiting)), new))
        return self._go_on(time_ns, [*new, *later])

    def give_up(self, time_ns: int, newest_id: int = 0) -> list[MarketEvent | Rejected]:
        """The venue does not say what happened: go on with what came since."""
        if not self._waits:
            return []
        new = _without(Counter(self._told), self._waiting())
        detail = f"whether trades are missing after {self.last_exchange_ns} cannot be known"
        lost = flaw(time_ns, "TRADES_LOST", self.symbol, detail)
        return [lost, *self._go_on(time_ns, new)]

    def _waiting(self) -> list[Trade]:
        """All that waits: what two connections brought is one."""
        return [*self._earlier, *_without(Counter(map(_key, self._earlier)), self._held)]

    def _go_on(self, time_ns: int, trades: list[Trade]) -> list[MarketEvent | Rejected]:
        self._ahead.update(map(_key, trades))
        _without(self._ahead, self._held)
        self._held, self._earlier, self._waits, self._is_open = [], [], False, False
        ours = sorted(self._ours(trades), key=lambda one: one.exchange_time_ns)
        return self._tell(time_ns, ours)

    def _ours(self, trades: list[Trade]) -> list[Trade]:
        """Those of this recording: none happened before the first that was ever told."""
        since_ns = self._first_ns - TIME_NS  # times may be rounded
        return [one for one in trades if one.exchange_time_ns >= since_ns]

    def _tell(self, time_ns: int, trades: list[Trade]) -> list[MarketEvent | Rejected]:
        for trade in trades:
            self._told.append(_key(trade))
            self.last_exchange_ns = trade.exchange_time_ns
            self._first_ns = self._first_ns or trade.exchange_time_ns
        return [
            one if one.time_ns == time_ns else msgspec.structs.replace(one, time_ns=time_ns)
            for one in trades
        ]


def _key(trade: Trade) -> _Key:
    return trade.exchange_time_ns // TIME_NS, trade.price, trade.size, trade.side


def _without(known: Counter[_Key], trades: list[Trade]) -> list[Trade]:
    """Those of `trades` that are none of `known`, from which the others are taken.

    Times may be rounded; who has the very time comes first.
    """
    rest = trades
    for off_us in (0, -1, 1):
        rest = [one for one in rest if not _taken(known, one, off_us)]
    return rest


def _taken(known: Counter[_Key], trade: Trade, off_us: int) -> bool:
    time_us, at, size, side = _key(trade)
    key = (time_us + off_us, at, size, side)
    if known[key] <= 0:
        return False
    known[key] -= 1
    return True
