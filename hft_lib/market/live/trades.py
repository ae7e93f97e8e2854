"""The sequence of one symbol's trades: each once, in the order of ids, what is missing asked for.

Ids of a symbol are consecutive. A trade beyond the next id waits until those before it have come,
late or by REST; what nobody can give is told as lost, and the rest goes on.
"""

import msgspec

from hft_lib.events import MarketEvent, Rejected, Trade
from hft_lib.market.live.items import JUMP_MAX, flaw

HELD_MAX = 20_000  # trades that wait for those before them: minutes of the busiest market
# A frame that was overtaken comes within this; only then a request is worth its weight.
PATIENCE_NS = 100_000_000
# What happened before a process began is filled in where it is no more than this: what a venue
# gives in some dozens of answers, and not so old that it is history.
STOPPED_TRADES_MAX = 50_000
STOPPED_NS_MAX = 3_600_000_000_000
AHEAD_MAX = 10_000  # more trades than happen while a venue answers


class Missing(msgspec.Struct, frozen=True):
    """Trades that have not come; `last_id` 0: whatever there is from `first_id` on."""

    first_id: int
    last_id: int


class Trades:
    """The state of one symbol's trades; `wanted` says what has to be asked for."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.last_id = 0
        self.backfilled = 0
        self.last_exchange_ns = 0
        self._held: dict[int, Trade] = {}
        self._since_ns = 0
        self._is_open = False
        self._is_free = True
        self._suspect = 0
        self._goes_on = False

    def go_on(self, last_id: int, exchange_ns: int) -> None:
        """An earlier process told trades up to this one, which happened at `exchange_ns` by the
        exchange's clock (0: unknown): what happened since has to be asked for.
        """
        self.last_id, self.last_exchange_ns = last_id, exchange_ns
        self._goes_on = last_id > 0

    def lost(self) -> None:
        """The connection was lost: ids may be anywhere when it is back."""
        self._is_free = True

    def reopened(self) -> None:
        """The connection is back: what happened meanwhile has to be asked for."""
        self._is_open = self.last_id > 0

    def wanted(self, now_ns: int) -> Missing | None:
        """The trades to ask for now; None where none is missing, or may still come by itself."""
        if self._held:
            if not self._is_open and now_ns - self._since_ns < PATIENCE_NS:
                return None
            return Missing(self.last_id + 1, min(self._held) - 1)
        return Missing(self.last_id + 1, 0) if self._is_open else None

    def take(self, trade: Trade) -> list[MarketEvent | Rejected]:
        """What follows from the next trade of the stream."""
        if trade.trade_id <= self.last_id or trade.trade_id in self._held:
            detail = f"trade {trade.trade_id}, the last was {self.last_id}"
            return [flaw(trade.time_ns, "DUPLICATE", self.symbol, detail)]
        if self._is_jump(trade.trade_id):
            detail = f"trade {trade.trade_id} after {self.last_id}"
            return [flaw(trade.time_ns, "ID_JUMP", self.symbol, detail)]
        if not self.last_id:
            self.last_id = trade.trade_id - 1
        return self._add(trade)

    def _is_jump(self, trade_id: int) -> bool:
        """Whether an id is nowhere near: one such is a corrupt frame, two near one another not."""
        suspect, self._suspect = self._suspect, 0
        near = trade_id - self.last_id <= JUMP_MAX or not self.last_id
        if near or self._is_free or 0 < trade_id - suspect <= JUMP_MAX and suspect:
            self._is_free = False
            return False
        self._suspect = trade_id
        return True

    def _add(self, trade: Trade) -> list[MarketEvent | Rejected]:
        if not self._held:
            self._since_ns = trade.time_ns
        self._held[trade.trade_id] = trade
        events = self._drain(trade.time_ns)
        if len(self._held) > HELD_MAX:
            events += self.give_up(trade.time_ns)
        return events

    def _drain(self, time_ns: int) -> list[MarketEvent | Rejected]:
        """The trades whose turn it is; they are told now, whenever they came."""
        events: list[MarketEvent | Rejected] = []
        while (trade := self._held.pop(self.last_id + 1, None)) is not None:
            self.last_id = trade.trade_id
            self.last_exchange_ns = trade.exchange_time_ns
            if trade.time_ns != time_ns:
                trade = msgspec.structs.replace(trade, time_ns=time_ns)
            events.append(trade)
        if self._held:
            self._since_ns = min(trade.time_ns for trade in self._held.values())
        return events

    def fill(self, time_ns: int, trades: list[Trade]) -> list[MarketEvent | Rejected]:
        """What follows from trades that were asked for, in any order, known ones among them."""
        if not self.last_id:
            return []
        went_on, self._goes_on = self._goes_on, False
        new = [one for one in trades if one.trade_id > self.last_id]
        for trade in new:
            if trade.trade_id not in self._held:
                self.backfilled += 1
                self._held[trade.trade_id] = trade
        if not self._held or self.last_id + 1 in self._held:
            self._is_open = False
        if went_on and self._is_too_far(time_ns):
            return self.give_up(time_ns)
        return self._drain(time_ns)

    def _is_too_far(self, time_ns: int) -> bool:
        """Whether too many trades are missing before those that wait, or they are too old."""
        missing = min(self._held, default=0) - self.last_id - 1
        age_ns = time_ns - self.last_exchange_ns if self.last_exchange_ns else 0
        return missing > 0 and (missing > STOPPED_TRADES_MAX or age_ns > STOPPED_NS_MAX)

    def give_up(self, time_ns: int, newest_id: int = 0) -> list[MarketEvent | Rejected]:
        """Nobody can give what is missing before the first trade that waits: go on behind it.

        `newest_id` is the newest that the venue lists: a trade far beyond it never was.
        """
        self._is_open = False
        if not self._held:
            return []
        first = min(self._held)
        if newest_id and first - newest_id > AHEAD_MAX:
            del self._held[first]
            detail = f"trade {first}, the venue's newest is {newest_id}"
            return [flaw(time_ns, "ID_JUMP", self.symbol, detail)]
        detail = f"trades {self.last_id + 1} to {first - 1}"
        lost = flaw(time_ns, "TRADES_LOST", self.symbol, detail, first - self.last_id - 1)
        self.last_id = first - 1
        return [lost, *self._drain(time_ns)]
