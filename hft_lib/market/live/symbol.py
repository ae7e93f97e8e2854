"""One symbol of a live market: what its messages say, each once and in order."""

import math

import msgspec

from hft_lib.events import (
    Depth,
    Funding,
    Instrument,
    Mark,
    MarketEvent,
    Quote,
    Rejected,
    Trade,
)
from hft_lib.market.live.books import Book
from hft_lib.market.live.items import (
    JUMP_MAX,
    BookLost,
    FundingNotice,
    Item,
    TradesUnsure,
    flaw,
)
from hft_lib.market.live.trades import Trades
from hft_lib.market.live.unnumbered import UnnumberedTrades

CADENCE_NS_MIN = 100_000_000
CADENCE_NS_START = 500_000_000  # of an instrument whose quotes have not been timed yet
GAPS_MAX = 257  # the last times between quotes that the cadence is the median of
CADENCE_CHANGE = 2.0  # a cadence that differs by less is the same one


class SymbolFeed:
    """The state of one symbol: `book`, `trades`, its last quote, mark, funding and terms."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.book = Book(symbol)
        self.trades: Trades | UnnumberedTrades = Trades(symbol)
        self.quote_ns = 0
        self.instrument: Instrument | None = None
        self._update_id = self._suspect = 0
        self._is_free = True
        self._gaps_ns: list[int] = []
        self._mark_ns = 0
        self._due_ns = 0
        self._rate = 0.0

    def lost(self) -> None:
        """The connection was lost: the book is not followed any more."""
        self.book.discard()
        self.trades.lost()
        self._is_free = True

    def take(self, item: Item) -> list[MarketEvent | Rejected]:
        """What follows from the next message."""
        match item:
            case Quote():
                return self._quote(item)
            case Trade():
                return self.trades.take(item)
            case Depth():
                return self.book.begin(item) if item.snapshot else self.book.take(item)
            case BookLost():
                self.book.discard()
                return []
            case TradesUnsure():
                if isinstance(self.trades, UnnumberedTrades):
                    self.trades.unsure()
                return []
            case Mark():
                return self._mark(item)
            case FundingNotice():
                return self._notice(item)

    def _quote(self, quote: Quote) -> list[MarketEvent | Rejected]:
        if quote.update_id and not self._is_next(quote.update_id):
            reason = "DUPLICATE" if quote.update_id == self._update_id else "DISORDER"
            reason = "ID_JUMP" if quote.update_id > self._update_id else reason
            detail = f"quote {quote.update_id} after {self._update_id}"
            return [flaw(quote.time_ns, reason, self.symbol, detail)]
        self._update_id = quote.update_id or self._update_id
        if self.quote_ns:
            self._gaps_ns.append(max(quote.time_ns - self.quote_ns, 0))
            del self._gaps_ns[:-GAPS_MAX]
        self.quote_ns = quote.time_ns
        return [quote]

    def _is_next(self, update_id: int) -> bool:
        """Whether a quote is newer, and no corrupt id that would make all later ones old."""
        if update_id <= self._update_id:
            return False
        suspect, self._suspect = self._suspect, 0
        near = update_id - self._update_id <= JUMP_MAX or self._is_free
        if near or (suspect and 0 < update_id - suspect <= JUMP_MAX):
            self._is_free = False
            return True
        self._suspect = update_id
        return False

    def _mark(self, mark: Mark) -> list[MarketEvent | Rejected]:
        if mark.exchange_time_ns <= self._mark_ns:
            reason = "DUPLICATE" if mark.exchange_time_ns == self._mark_ns else "DISORDER"
            detail = f"the mark price of {mark.exchange_time_ns} after {self._mark_ns}"
            return [flaw(mark.time_ns, reason, self.symbol, detail)]
        self._mark_ns = mark.exchange_time_ns
        return [mark]

    def _notice(self, notice: FundingNotice) -> list[MarketEvent | Rejected]:
        """The mark price, after the funding at the last rate if its due time has moved on."""
        told = self._mark(notice.mark)
        if not isinstance(told[0], Mark):
            return told
        due_ns, rate = self._due_ns, self._rate
        if notice.due_ns < due_ns:
            detail = f"funding due at {notice.due_ns} after {due_ns}"
            return [flaw(notice.mark.time_ns, "FUNDING", self.symbol, detail), *told]
        self._due_ns, self._rate = notice.due_ns, notice.rate
        if not due_ns or notice.due_ns == due_ns:
            return told
        if notice.mark.exchange_time_ns < due_ns:  # the venue changed its mind: nothing fell due
            return told
        return [Funding(notice.mark.time_ns, due_ns, self.symbol, rate), *told]

    # --- instruments ---

    def define(self, instrument: Instrument) -> list[MarketEvent | Rejected]:
        """The instrument, where its terms or its cadence are new; terms of no use are refused."""
        wrong = _wrong_terms(instrument)
        if wrong:
            return [flaw(instrument.time_ns, "INSTRUMENT", self.symbol, wrong)]
        instrument = msgspec.structs.replace(instrument, cadence_ns=self._cadence_ns())
        known = self.instrument
        if known is not None and instrument == msgspec.structs.replace(
            known, time_ns=instrument.time_ns
        ):
            return []
        self.instrument = instrument
        return [instrument]

    def _cadence_ns(self) -> int:
        known_ns = CADENCE_NS_START if self.instrument is None else self.instrument.cadence_ns
        if len(self._gaps_ns) < GAPS_MAX:
            return known_ns
        median_ns = max(sorted(self._gaps_ns)[len(self._gaps_ns) // 2], CADENCE_NS_MIN)
        ratio = median_ns / known_ns
        return known_ns if 1.0 / CADENCE_CHANGE < ratio < CADENCE_CHANGE else median_ns


def _wrong_terms(instrument: Instrument) -> str:
    for name in ("price_tick", "quantity_step"):
        if not 0.0 < getattr(instrument, name) < math.inf:
            return f"{name} {getattr(instrument, name)}"
    if not 0.0 <= instrument.notional_min_quote < math.inf:
        return f"notional_min_quote {instrument.notional_min_quote}"
    return ""
