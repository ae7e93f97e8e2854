"""Kraken's WebSocket frames (version 1) as events: books with their checksum, trades, spreads.

    [channelID, {"as": levels, "bs": levels}, "book-1000", "XBT/EUR"]             the whole book
    [channelID, {"a": levels}, {"b": levels, "c": checksum}, "book-1000", ...]    a change of it
    [channelID, [[price, volume, time, side, ...], ...], "trade", "XBT/EUR"]
    [channelID, [bid, ask, time, bid volume, ask volume], "spread", "XBT/EUR"]
    {"event": "heartbeat" | "systemStatus" | "subscriptionStatus" | "pong" | "error", ...}

A level is [price, volume, time], all texts; volume 0 removes it, and what falls beyond the depth
that was subscribed to is gone without a word. Kraken numbers nothing: the checksum is what tells
that a frame was missed. It is the CRC-32 of the ten best asks, then bids, price and volume without
point and leading zeros. A book that fails it is thrown away until the next whole one. Its own
numbers (`last_id`) are ours, one a change. XBT and XDG are BTC and DOGE elsewhere.
"""

import re
import zlib
from bisect import bisect_left
from collections.abc import Collection, Sequence
from itertools import chain

import msgspec

from hft_lib.events import Depth, Quote, Trade

SYMBOLS_MAX = 1_000  # books are kept by symbol: no stream makes us keep more
DEPTHS = (10, 25, 100, 500, 1000)
CHECKED_LEVELS = 10
NS = 10**9

_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")
_TIME = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,9}))?")
_PAIR = re.compile(r"[A-Z0-9]{1,12}/[A-Z0-9]{1,12}")
_COINS = {"XBT": "BTC", "XDG": "DOGE"}
_KRAKENS = {ours: theirs for theirs, ours in _COINS.items()}
_SIDES = {"b": "buy", "s": "sell"}

Event = Depth | Quote | Trade
Levels = tuple[tuple[float, float], ...]


class FrameFlaw(msgspec.Struct, frozen=True):
    """Why a frame, or what it was for, gave nothing; `symbol` is empty where it is unknown."""

    reason: str
    symbol: str
    detail: str


class Taken(msgspec.Struct, frozen=True):
    """What one frame gave. Neither events nor flaws: it kept the connection, no more."""

    events: tuple[Event, ...] = ()
    flaws: tuple[FrameFlaw, ...] = ()


class _Unreadable(Exception):
    """A frame, or one symbol's part, is not what it should be."""

    def __init__(self, reason: str, detail: str, symbol: str = "") -> None:
        super().__init__(detail)
        self.flaw = FrameFlaw(reason, symbol, detail)


class _Control(msgspec.Struct):
    event: str = ""
    status: str = ""
    pair: str = ""
    errorMessage: str = ""


class _BookPart(msgspec.Struct):
    asks_whole: list[list[str]] | None = msgspec.field(default=None, name="as")
    bids_whole: list[list[str]] | None = msgspec.field(default=None, name="bs")
    asks: list[list[str]] = msgspec.field(default_factory=list, name="a")
    bids: list[list[str]] = msgspec.field(default_factory=list, name="b")
    checksum: str | None = msgspec.field(default=None, name="c")


_decode_control = msgspec.json.Decoder(_Control).decode
_decode_parts = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_book = msgspec.json.Decoder(_BookPart).decode
_decode_rows = msgspec.json.Decoder(list[list[str]]).decode
_decode_row = msgspec.json.Decoder(list[str]).decode
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class KrakenParser:
    """The frames of one connection, in the order in which they came.

    `symbols` are those that were subscribed to (None: any). Quotes are the tops of the books as
    they change; while a symbol has no book, those of its spread channel.
    """

    def __init__(self, symbols: Collection[str] | None = None) -> None:
        self._wanted = None if symbols is None else frozenset(symbols)
        self._books: dict[str, _Book] = {}
        self._now_ns = 0

    @property
    def unsynchronised(self) -> list[str]:
        """The symbols whose book was thrown away: only subscribing anew brings the next one."""
        return sorted(symbol for symbol, book in self._books.items() if book.lost)

    def take(self, receive_ns: int, frame: bytes) -> Taken:
        """What the frame that came at `receive_ns` says; it never raises for what came.

        `time_ns` of the events never goes back.
        """
        self._now_ns = max(self._now_ns, receive_ns)
        try:
            if frame.lstrip()[:1] == b"[":
                return self._data(frame)
            return self._control(_decode_control(frame))
        except _Unreadable as error:
            return Taken(flaws=(error.flaw,))
        except _NOT_JSON as error:
            detail = " ".join(str(error).split())
            return Taken(flaws=(FrameFlaw("BROKEN_FRAME", "", detail),))

    def lose(self, symbol: str) -> None:
        """Throw the book of `symbol` away: a change of it may have been missed."""
        if symbol in self._books:
            self._books[symbol].forget()

    def reset(self) -> None:
        """Forget every book, as a new connection does; the numbers of changes go on."""
        for book in self._books.values():
            book.forget()
            book.lost = False

    # --- by kind of message ---

    def _control(self, message: _Control) -> Taken:
        match message.event:
            case "heartbeat" | "pong":
                return Taken()
            case "systemStatus":
                return _unless(message.status == "online", "VENUE_STATUS", message.status)
            case "subscriptionStatus" | "error":
                return _unless(
                    message.status in ("subscribed", "unsubscribed"),
                    "SUBSCRIPTION",
                    message.errorMessage or message.status,
                    message.pair,
                )
            case _:
                raise _Unreadable("UNREAD_MESSAGE", f"of kind {message.event[:40] or 'unknown'}")

    def _data(self, frame: bytes) -> Taken:
        parts = _decode_parts(frame)
        if not 4 <= len(parts) <= 5:
            raise _Unreadable("BROKEN_FRAME", f"a message of {len(parts)} parts")
        channel, symbol = _decode_text(parts[-2]), self._symbol(_decode_text(parts[-1]))
        name, _, depth = channel.partition("-")
        if name == "book":
            return self._book(symbol, depth, [_decode_book(part) for part in parts[1:-2]])
        if len(parts) == 4 and name == "trade":
            return Taken(tuple(self._trade(symbol, row) for row in _decode_rows(parts[1])))
        if len(parts) == 4 and name == "spread":
            return self._spread(symbol, _decode_row(parts[1]))
        raise _Unreadable("UNREAD_MESSAGE", f"of channel {channel[:40]}", symbol)

    def _symbol(self, pair: str) -> str:
        symbol = symbol_of(pair) if _PAIR.fullmatch(pair) else ""
        if not symbol or (self._wanted is not None and symbol not in self._wanted):
            raise _Unreadable("UNKNOWN_SYMBOL", f"{pair[:40]} was not asked for")
        return symbol

    def _trade(self, symbol: str, row: Sequence[str]) -> Trade:
        if len(row) < 4 or row[3] not in _SIDES:
            raise _Unreadable("BROKEN_FRAME", f"a trade of {row!r:.80}", symbol)
        price, size = _positive(row[0], symbol), _positive(row[1], symbol)
        own_ns = _time_ns(row[2], symbol)
        return Trade(self._now_ns, own_ns, symbol, price, size, _SIDES[row[3]], 0)

    def _spread(self, symbol: str, row: Sequence[str]) -> Taken:
        if len(row) != 5:
            raise _Unreadable("BROKEN_FRAME", f"a spread of {row!r:.80}", symbol)
        bid, ask = _positive(row[0], symbol), _positive(row[1], symbol)
        if bid >= ask:
            raise _Unreadable("CROSSED", f"bid {row[0]}, ask {row[1]}", symbol)
        sizes = _number(row[3], symbol), _number(row[4], symbol)
        own_ns = _time_ns(row[2], symbol)
        if symbol in self._books and self._books[symbol].begun:
            return Taken()
        return Taken((Quote(self._now_ns, own_ns, symbol, bid, sizes[0], ask, sizes[1]),))

    # --- books ---

    def _book(self, symbol: str, depth: str, parts: Sequence[_BookPart]) -> Taken:
        if not (depth.isascii() and depth.isdecimal() and int(depth[:6]) in DEPTHS):
            raise _Unreadable("UNREAD_MESSAGE", f"of channel book-{depth[:40]}", symbol)
        part = _merged(parts, symbol)
        whole = part.asks_whole is not None and part.bids_whole is not None
        asks = (part.asks_whole or []) if whole else part.asks
        bids = (part.bids_whole or []) if whole else part.bids
        levels = [[_level(row, symbol) for row in side] for side in (bids, asks)]
        own_ns = max((_time_ns(row[2], symbol) for row in chain(bids, asks)), default=0)
        book = self._book_of(symbol)
        if whole:
            book.begin(int(depth))
        elif not book.begun:
            return Taken(flaws=(FrameFlaw("DEPTH_WITHOUT_SNAPSHOT", symbol, ""),))
        book.apply(levels)
        wrong = book.flaw(None if whole else part.checksum or "none")
        if wrong is not None:
            book.forget()
            return Taken(flaws=(FrameFlaw(wrong[0], symbol, wrong[1]),))
        book.number += 1
        depth_event = self._depth(symbol, own_ns, whole, book.number, levels)
        # The levels of a whole book tell when each of them changed, not when it is the top.
        quote = self._quote(symbol, 0 if whole else own_ns, book)
        return Taken((depth_event,) if quote is None else (depth_event, quote))

    def _book_of(self, symbol: str) -> "_Book":
        if symbol not in self._books:
            if len(self._books) >= SYMBOLS_MAX:
                raise _Unreadable("UNKNOWN_SYMBOL", f"more than {SYMBOLS_MAX} books", symbol)
            self._books[symbol] = _Book()
        return self._books[symbol]

    def _depth(
        self, symbol: str, own_ns: int, whole: bool, number: int, levels: "list[list[_Level]]"
    ) -> Depth:
        bids, asks = (tuple((one.price, one.size) for one in side) for side in levels)
        return Depth(self._now_ns, own_ns, symbol, whole, number, number, number - 1, bids, asks)

    def _quote(self, symbol: str, own_ns: int, book: "_Book") -> Quote | None:
        """The book's top, where it is another than the last quote's."""
        top = book.top()
        if top is None or top == book.quoted:
            return None
        book.quoted = top
        return Quote(self._now_ns, own_ns, symbol, *top, book.number)


def symbol_of(pair: str) -> str:
    """Our symbol of Kraken's pair."""
    base, _, quote = pair.partition("/")
    return f"{_COINS.get(base, base)}/{_COINS.get(quote, quote)}"


def pair_of(symbol: str) -> str:
    """Kraken's pair of our symbol."""
    base, _, quote = symbol.partition("/")
    return f"{_KRAKENS.get(base, base)}/{_KRAKENS.get(quote, quote)}"


def subscriptions(symbols: Collection[str], depth: int = 100) -> list[bytes]:
    """The messages that ask for books and trades of `symbols`."""
    pairs = [pair_of(symbol) for symbol in symbols]
    wanted = ({"name": "book", "depth": depth}, {"name": "trade"})
    return [
        msgspec.json.encode({"event": "subscribe", "pair": pairs, "subscription": one})
        for one in wanted
    ]


# --- one book ---


class _Level(msgspec.Struct, frozen=True, gc=False):
    price: float
    size: float
    digits: str  # price and volume as the checksum takes them


class _Side:
    """The levels of a side, best first; `sign` is -1 for bids."""

    def __init__(self, sign: float) -> None:
        self.sign = sign
        self.keys: list[float] = []
        self.levels: dict[float, _Level] = {}

    def put(self, level: _Level) -> None:
        """Set, change or remove a level."""
        key = self.sign * level.price
        if key in self.levels:
            if level.size:
                self.levels[key] = level
            else:
                del self.levels[key]
                del self.keys[bisect_left(self.keys, key)]
        elif level.size:
            self.keys.insert(bisect_left(self.keys, key), key)
            self.levels[key] = level

    def cut(self, depth: int) -> None:
        """Drop what lies beyond `depth` levels."""
        for key in self.keys[depth:]:
            del self.levels[key]
        del self.keys[depth:]

    def best(self, count: int) -> list[_Level]:
        """The best `count` levels."""
        return [self.levels[key] for key in self.keys[:count]]


class _Book:
    """One symbol's book; `lost` after one that was thrown away, until the next whole one."""

    def __init__(self) -> None:
        self.number = 0
        self.lost = False
        self.forget()
        self.lost = False

    def forget(self) -> None:
        """Throw the levels away."""
        self.begun, self.lost, self.depth = False, True, 0
        self.bids, self.asks = _Side(-1.0), _Side(1.0)
        self.quoted: tuple[float, float, float, float] | None = None

    def begin(self, depth: int) -> None:
        """Begin anew, with a whole book of so many levels a side."""
        quoted = self.quoted
        self.forget()
        self.begun, self.lost, self.depth, self.quoted = True, False, depth, quoted

    def apply(self, levels: Sequence[Sequence[_Level]]) -> None:
        """Take bids and asks in the order in which they stand."""
        for side, changes in zip((self.bids, self.asks), levels):
            for level in changes:
                side.put(level)
            side.cut(self.depth)

    def flaw(self, checksum: str | None) -> tuple[str, str] | None:
        """What is wrong with the book, reason and detail; a whole one comes without checksum."""
        top = self.top()
        if top is not None and top[0] >= top[2]:
            return "CROSSED", f"bid {top[0]}, ask {top[2]}"
        if checksum is not None and checksum != str(self.checksum()):
            return "CHECKSUM", f"{self.checksum()} here, {checksum[:40]} there"
        return None

    def checksum(self) -> int:
        """Kraken's checksum of the ten best levels of each side."""
        best = chain(self.asks.best(CHECKED_LEVELS), self.bids.best(CHECKED_LEVELS))
        return zlib.crc32("".join(level.digits for level in best).encode("ascii"))

    def top(self) -> tuple[float, float, float, float] | None:
        """Bid, its size, ask, its size; None while a side is empty."""
        if not self.bids.keys or not self.asks.keys:
            return None
        bid, ask = self.bids.levels[self.bids.keys[0]], self.asks.levels[self.asks.keys[0]]
        return bid.price, bid.size, ask.price, ask.size


# --- texts ---


def _merged(parts: Sequence[_BookPart], symbol: str) -> _BookPart:
    """One part of the one or two that a message has: asks come first, the checksum last."""
    part = parts[-1]
    if len(parts) == 2:
        first = parts[0]
        part = msgspec.structs.replace(
            part, asks=first.asks or part.asks, bids=part.bids or first.bids
        )
    if not (part.asks or part.bids or part.asks_whole or part.bids_whole):
        raise _Unreadable("BROKEN_FRAME", "a book message without levels", symbol)
    return part


def _level(row: Sequence[str], symbol: str) -> _Level:
    if not 3 <= len(row) <= 4:
        raise _Unreadable("BROKEN_FRAME", f"a level of {row!r:.80}", symbol)
    price, size = _positive(row[0], symbol), _number(row[1], symbol)
    digits = row[0].replace(".", "").lstrip("0") + row[1].replace(".", "").lstrip("0")
    return _Level(price, size, digits)


def _number(text: str, symbol: str) -> float:
    # Stricter than float(), which reads 1_0, nan and a number between blanks.
    if not _NUMBER.fullmatch(text):
        raise _Unreadable("NUMBER", f"{text[:40]!r} is no number", symbol)
    return float(text)


def _positive(text: str, symbol: str) -> float:
    value = _number(text, symbol)
    if not value:
        raise _Unreadable("NUMBER", f"{text[:40]!r} must be above 0", symbol)
    return value


def _time_ns(text: str, symbol: str) -> int:
    found = _TIME.fullmatch(text)
    time_ns = int(found[1]) * NS + int((found[2] or "0").ljust(9, "0")) if found else 0
    if not 0 < time_ns < 2**63:
        raise _Unreadable("NUMBER", f"{text[:40]!r} is no time", symbol)
    return time_ns


def _unless(well: bool, reason: str, detail: str, pair: str = "") -> Taken:
    if well:
        return Taken()
    symbol = symbol_of(pair) if _PAIR.fullmatch(pair) else ""
    return Taken(flaws=(FrameFlaw(reason, symbol, detail[:80]),))
