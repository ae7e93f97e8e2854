"""Binance's public archive: which of its files hold the days that are asked for.

    data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-08-08.zip
    data/futures/um/monthly/trades/BTCUSDT/BTCUSDT-trades-2024-08.zip

Beside each file stands its SHA-256, in a file of the same name with `.CHECKSUM` after it. A day's
file comes on the next day, a month's in the first days of the next month. Quotes (`bookTicker`) are
there for USD-margined perpetuals alone.
"""

import calendar
import re
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from enum import StrEnum

import msgspec

from hft_lib.market.tape_manifest import DataError

DAYS_MAX = 3_700  # more is a slip of the keyboard: Binance opened in 2017
STEPS_S = {
    "1s": 1,
    "1m": 60,
    "3m": 180,
    "5m": 300,
    "15m": 900,
    "30m": 1_800,
    "1h": 3_600,
    "2h": 7_200,
    "4h": 14_400,
    "6h": 21_600,
    "8h": 28_800,
    "12h": 43_200,
    "1d": 86_400,
}


class Kind(StrEnum):
    """What a file of the archive holds; the names are Binance's."""

    KLINES = "klines"
    TRADES = "trades"
    AGG_TRADES = "aggTrades"
    BOOK_TICKER = "bookTicker"
    MARK_PRICE_KLINES = "markPriceKlines"
    FUNDING_RATE = "fundingRate"


STEPPED = (Kind.KLINES, Kind.MARK_PRICE_KLINES)
PERPETUAL_ONLY = (Kind.BOOK_TICKER, Kind.MARK_PRICE_KLINES, Kind.FUNDING_RATE)


class ArchiveFile(msgspec.Struct, frozen=True):
    """A file of the archive: the days from `first` to `last` of one symbol, both included."""

    symbol: str
    kind: Kind
    step: str
    first: date
    last: date
    monthly: bool

    @property
    def name(self) -> str:
        """The zip file's own name."""
        middle = self.step or self.kind.value
        day = f"{self.first:%Y-%m}" if self.monthly else self.first.isoformat()
        return f"{name_of(self.symbol)}-{middle}-{day}.zip"

    @property
    def path(self) -> str:
        """Where it lies below the archive's base address."""
        market = "futures/um" if is_perpetual(self.symbol) else "spot"
        period = "monthly" if self.monthly else "daily"
        folder = f"data/{market}/{period}/{self.kind.value}/{name_of(self.symbol)}"
        return f"{folder}/{self.step}/{self.name}" if self.step else f"{folder}/{self.name}"

    def days(self) -> "list[ArchiveFile]":
        """The files of its days, which a month that is not there yet is replaced by."""
        return [
            msgspec.structs.replace(self, first=day, last=day, monthly=False)
            for day in _days(self.first, self.last)
        ]


class Wanted(msgspec.Struct, frozen=True):
    """One stream of events: a kind of data of one symbol, with a step where it is of bars."""

    symbol: str
    kind: Kind
    step: str = ""


def is_perpetual(symbol: str) -> bool:
    """Whether `symbol` is a perpetual's, `BASE/QUOTE:QUOTE`."""
    return ":" in symbol


def name_of(symbol: str) -> str:
    """Binance's name of `BASE/QUOTE` or `BASE/QUOTE:QUOTE`; raises DataError for another."""
    found = re.fullmatch(r"([A-Z0-9]{1,20})/([A-Z0-9]{1,10})(?::([A-Z0-9]{1,10}))?", symbol)
    if not found:
        raise DataError(f"a symbol must be BASE/QUOTE or BASE/QUOTE:QUOTE, was {symbol}")
    base, quote, settle = found.groups()
    if settle not in (None, quote):
        raise DataError(f"{symbol} is no perpetual settled in its quote currency, which we read")
    return base + quote


def wanted(symbols: Sequence[str], kinds: Sequence[Kind], step: str) -> list[Wanted]:
    """What is asked for, each once: a kind that only perpetuals have is left out for spot.

    Raises DataError where nothing remains of a symbol, and for a step that no file has.
    """
    if step not in STEPS_S:
        raise DataError(f"a step must be one of {', '.join(STEPS_S)}, was {step}")
    made: list[Wanted] = []
    for symbol in dict.fromkeys(symbols):
        name_of(symbol)
        fit = [k for k in dict.fromkeys(kinds) if is_perpetual(symbol) or k not in PERPETUAL_ONLY]
        if not fit:
            raise DataError(
                f"the archive has {' and '.join(k.value for k in kinds)} of perpetuals alone, "
                f"and {symbol} is a spot market"
            )
        if step == "1s" and is_perpetual(symbol) and any(kind in STEPPED for kind in fit):
            raise DataError(f"the archive has bars of 1s of spot alone, and {symbol} is none")
        made += [Wanted(symbol, kind, step if kind in STEPPED else "") for kind in fit]
    return made


def plan(one: Wanted, first: date, last: date) -> list[ArchiveFile]:
    """The files of the days from `first` to `last`, in order: a month where all of it is asked for.

    Funding is there by months alone; the month of a day holds it. Raises DataError for a span that
    is empty or too long.
    """
    days = (last - first).days + 1
    if not 1 <= days <= DAYS_MAX:
        raise DataError(f"the days must be 1 to {DAYS_MAX}, were {days}: from {first} to {last}")
    made: list[ArchiveFile] = []
    for start, end in _months(first, last):
        month_first, month_last = _month_of(start)
        whole = (start, end) == (month_first, month_last)
        if whole or one.kind is Kind.FUNDING_RATE:
            made.append(_file(one, month_first, month_last, True))
        else:
            made += [_file(one, day, day, False) for day in _days(start, end)]
    return made


def _file(one: Wanted, first: date, last: date, monthly: bool) -> ArchiveFile:
    return ArchiveFile(one.symbol, one.kind, one.step, first, last, monthly)


def _days(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


def _month_of(day: date) -> tuple[date, date]:
    return day.replace(day=1), day.replace(day=calendar.monthrange(day.year, day.month)[1])


def _months(first: date, last: date) -> Iterator[tuple[date, date]]:
    """The parts of first to last that lie in one month each."""
    start = first
    while start <= last:
        end = min(_month_of(start)[1], last)
        yield start, end
        start = end + timedelta(days=1)
