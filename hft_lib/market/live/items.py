"""What a venue's messages are read as, and the flaws of what cannot be used."""

import math
from typing import TypeAlias

import msgspec

from hft_lib.events import Depth, Instrument, Mark, Quote, Rejected, Trade

STAGE = "feed"
DETAIL_MAX = 160  # of a flaw: enough to recognise a frame, too little to fill a log
ID_MAX = 2**63 - 1  # a tape keeps ids and times as 64 bits
MICROSECONDS_MIN = 10**14  # as milliseconds this is the year 5138, as microseconds 1973
# Ids further apart than this are no burst: one message of a busy market moves them by thousands.
JUMP_MAX = 1_000_000


class Unreadable(ValueError):
    """A message cannot be used; `reason` is a stable code."""

    def __init__(self, reason: str, detail: str, symbol: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.symbol = symbol


class FundingNotice(msgspec.Struct, frozen=True, gc=False):
    """A perpetual says its mark price, and at what rate and when its next funding falls due."""

    mark: Mark
    rate: float
    due_ns: int


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a venue says to request `number`; an empty `error` is agreement."""

    number: int
    error: str = ""


class Closing(msgspec.Struct, frozen=True, gc=False):
    """The venue says that it ends this connection."""

    reason: str


class Say(msgspec.Struct, frozen=True, gc=False):
    """The venue has to be told `text` on this connection, as one that wants a book anew."""

    text: str


class Alive(msgspec.Struct, frozen=True, gc=False):
    """The connection is there, though the market has nothing to say."""


class BookLost(msgspec.Struct, frozen=True, gc=False):
    """The stream is not followed any more: the book is wrong until a whole one comes."""

    symbol: str


class TradesUnsure(msgspec.Struct, frozen=True, gc=False):
    """A trade without an id may have been missed: what happened since the last has to be asked."""

    symbol: str


Item: TypeAlias = Quote | Trade | Depth | Mark | FundingNotice | BookLost | TradesUnsure
# One that is Unreadable is refused, and those beside it are taken.
Message: TypeAlias = Item | Answer | Closing | Say | Alive | Unreadable


class Listing(msgspec.Struct, frozen=True):
    """What a venue lists of the symbols asked for: which trade, and on what terms.

    `weight_a_minute` is the request weight that it allows one address.
    """

    instruments: dict[str, Instrument]
    halted: tuple[str, ...]
    flaws: tuple[Unreadable, ...]
    weight_a_minute: int


def flaw(time_ns: int, reason: str, symbol: str, detail: str, count: int = 1) -> Rejected:
    """A refusal of the feed as a fact."""
    return Rejected(time_ns, STAGE, reason, symbol, detail[:DETAIL_MAX], count)


def price(value: object, symbol: str, least: float = 0.0) -> float:
    """`value` as a price or size of at least `least`; raises Unreadable for anything else."""
    if not isinstance(value, str) or "_" in value:  # float() would read 1_0 as ten
        raise Unreadable("MALFORMED", f"{value!r} is no price or size", symbol)
    try:
        number = float(value)
    except ValueError:
        raise Unreadable("MALFORMED", f"{value!r} is no price or size", symbol) from None
    if not math.isfinite(number):
        raise Unreadable("NAN", f"a price or size is {value}", symbol)
    if number < least:
        raise Unreadable("PRICE", f"a price or size is {value}", symbol)
    return number


def positive(value: object, symbol: str) -> float:
    """`value` as a price or size above zero; raises Unreadable for anything else."""
    number = price(value, symbol)
    if number == 0.0:
        raise Unreadable("PRICE", f"a price or size is {value}", symbol)
    return number


def identity(value: int, symbol: str) -> int:
    """`value` as an id of a sequence; raises Unreadable for anything else."""
    if not 0 < value <= ID_MAX:
        raise Unreadable("MALFORMED", f"{value} is no id", symbol)
    return value


def exchange_ns(value: int, symbol: str) -> int:
    """The exchange's milliseconds, or microseconds, as nanoseconds; raises Unreadable beyond 64
    bits.

    A stream may be asked for in microseconds; the size of a time tells.
    """
    unit_ns = 1_000 if value >= MICROSECONDS_MIN else 1_000_000
    if not 0 <= value <= ID_MAX // unit_ns:
        raise Unreadable("MALFORMED", f"{value} is no time", symbol)
    return value * unit_ns
