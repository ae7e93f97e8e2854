"""Kraken's frames and REST answers as items; spot alone.

Frames are those of `kraken_ws.py`, whose parser keeps the books. Kraken numbers nothing: what shows
that a change was missed is the checksum, and a frame that cannot be read may have been a change. In
both cases the book is lost, and its channel is left and subscribed to anew, which brings the whole.
It may have been a trade as well, so that those since the last are asked for; so they are after a
silence in which not even a heartbeat came.

A subscription to trades may begin with the last ones, as a list like any other. Those that happened
before anybody listened are left out; after a lost connection they are told apart by the others.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from hft_lib.events import Depth, Instrument, Trade
from hft_lib.market.imports import instrument_of
from hft_lib.market.kraken_ws import NS, KrakenParser, pair_of
from hft_lib.market.live.items import (
    ID_MAX,
    Alive,
    Answer,
    BookLost,
    Closing,
    Listing,
    Message,
    Say,
    TradesUnsure,
    Unreadable,
    positive,
    price,
)
from hft_lib.market.live.symbol import CADENCE_NS_START

REQUESTS_A_MINUTE = 60  # of public data, of one address
BOOK_DEPTH = 100
CHANNELS = (("book", BOOK_DEPTH), ("trade", 0), ("spread", 0))
# Between two subscriptions of one book anew: a venue whose checksums are all wrong is not flooded.
AGAIN_NS = 1_000_000_000
# A trade so long before its subscription happened while nobody listened; clocks are that far apart.
PAST_NS = 2_000_000_000
# Kraken says each second that it is there: in a longer silence frames were lost.
SILENT_NS = 3_000_000_000
REPEATS_MAX = 64  # frames of trades of one symbol that a repetition is looked for among
TICK_DECIMALS_MAX = 15
_MAY_BE_CHANGES = ("BROKEN_FRAME", "NUMBER")


def requests(symbols: Collection[str]) -> dict[int, str]:
    """What subscribes to books, trades and spreads of `symbols`, one of each, by its number."""
    texts: dict[int, str] = {}
    for symbol in symbols:
        for name, depth in CHANNELS:
            texts[len(texts) + 1] = _request("subscribe", symbol, name, depth, len(texts) + 1)
    return texts


def _request(event: str, symbol: str, name: str, depth: int, number: int) -> str:
    subscription = {"name": name} | ({"depth": depth} if depth else {})
    asked = {"event": event, "reqid": number, "pair": [pair_of(symbol)]}
    return msgspec.json.encode(asked | {"subscription": subscription}).decode()


class _Control(msgspec.Struct):
    event: str = ""
    status: str = ""
    pair: str = ""
    reqid: int = 0
    errorMessage: str = ""


_decode_control = msgspec.json.Decoder(_Control).decode


class Reader:
    """Reads the frames of one connection; a venue's parser and `heard` outlive it.

    `heard` are the symbols of which trades were told. Raises Unreadable.
    """

    def __init__(self, parser: KrakenParser, symbols: Collection[str], heard: set[str]) -> None:
        parser.reset()
        self._parser = parser
        self._symbols = tuple(symbols)
        self._heard = heard
        self._first: set[str] = set()
        self._asked_ns: dict[str, int] = {}
        self._begun_ns = self._last_ns = 0
        # Whose trades were doubted for its book: where each checksum is wrong, once is enough.
        self._doubted: set[str] = set()
        self._recent: dict[str, deque[bytes]] = {}
        self._number = len(requests(symbols))
        self._numbers = self._number

    def __call__(self, frame: bytes | str, time_ns: int) -> Sequence[Message]:
        """The messages of the frame that came at `time_ns`."""
        self._begun_ns = self._begun_ns or time_ns
        silent_ns, self._last_ns = time_ns - (self._last_ns or time_ns), time_ns
        if silent_ns <= SILENT_NS:
            return self._messages(frame, time_ns)
        unsure = [TradesUnsure(symbol) for symbol in self._symbols]
        try:
            return (*unsure, *self._messages(frame, time_ns))
        except Unreadable as error:
            return (*unsure, error)

    def _messages(self, frame: bytes | str, time_ns: int) -> Sequence[Message]:
        text = frame.encode("utf-8", "replace") if isinstance(frame, str) else frame
        if text.lstrip()[:1] == b"{":
            return (self._control(text),)
        taken = self._parser.take(time_ns, text)
        for flaw in taken.flaws:
            error = Unreadable(flaw.reason, flaw.detail or "no whole book came yet", flaw.symbol)
            return (error, *self._lost(error, time_ns))
        if taken.events and isinstance(taken.events[0], Trade):
            return self._trades(text, taken.events)
        for event in taken.events:
            if isinstance(event, Depth) and not event.snapshot:
                self._doubted.discard(event.symbol)
        return taken.events

    def _control(self, text: bytes) -> Message:
        try:
            said = _decode_control(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unreadable("BROKEN_FRAME", " ".join(str(error).split())) from None
        match said.event:
            case "heartbeat" | "pong":
                return Alive()
            case "systemStatus":
                online = said.status == "online"
                return Alive() if online else Unreadable("VENUE_STATUS", said.status)
            case "subscriptionStatus" | "error":
                return self._answer(said)
            case _:
                raise Unreadable("UNREAD_MESSAGE", f"of kind {said.event[:40] or 'unknown'}")

    def _answer(self, said: _Control) -> Message:
        agreed = said.event == "subscriptionStatus" and said.status in (
            "subscribed",
            "unsubscribed",
        )
        if agreed and said.reqid:
            return Answer(said.reqid)
        why = f"{said.errorMessage or said.status or said.event} {said.pair}".strip()
        if 0 < said.reqid <= self._numbers:
            return Answer(said.reqid, why)
        return Closing(why)  # what nobody asked for, or a book that cannot be had anew

    # --- books ---

    def _lost(self, error: Unreadable, time_ns: int) -> list[Message]:
        """What follows for the books from a frame that was refused."""
        unsure: Collection[str] = ()
        if error.reason in _MAY_BE_CHANGES:
            wrong = unsure = (error.symbol,) if error.symbol else self._symbols
        elif error.reason == "DEPTH_WITHOUT_SNAPSHOT":
            wrong = (error.symbol,)
        else:
            wrong = tuple({error.symbol}.intersection(self._parser.unsynchronised))
            unsure = set(wrong) - self._doubted
            self._doubted.update(wrong)
        messages: list[Message] = [TradesUnsure(symbol) for symbol in unsure]
        for symbol in wrong:
            self._parser.lose(symbol)
            messages += [BookLost(symbol), *self._again(symbol, time_ns)]
        return messages

    def _again(self, symbol: str, time_ns: int) -> list[Message]:
        """The book anew; not while one that was asked for may be under way."""
        if time_ns - self._asked_ns.get(symbol, self._begun_ns) < AGAIN_NS:
            return []
        self._asked_ns[symbol] = time_ns
        self._number += 2
        return [
            Say(_request("unsubscribe", symbol, "book", BOOK_DEPTH, self._number - 1)),
            Say(_request("subscribe", symbol, "book", BOOK_DEPTH, self._number)),
        ]

    # --- trades ---

    def _trades(self, text: bytes, events: Sequence[Any]) -> Sequence[Message]:
        symbol: str = events[0].symbol
        recent = self._recent.setdefault(symbol, deque(maxlen=REPEATS_MAX))
        if text in recent:
            raise Unreadable("DUPLICATE", f"{len(events)} trades as they came before", symbol)
        recent.append(text)
        if symbol not in self._heard and symbol not in self._first:
            since_ns = self._begun_ns - PAST_NS
            events = [one for one in events if one.exchange_time_ns >= since_ns]
        self._first.add(symbol)
        if events:
            self._heard.add(symbol)
        return events


# --- REST ---


class _Market(msgspec.Struct):
    wsname: str = ""
    pair_decimals: int = 0
    lot_decimals: int = 0
    tick_size: str = ""
    costmin: str = "0"
    status: str = ""
    fees: list[list[float]] = []
    fees_maker: list[list[float]] = []


class _ServerTime(msgspec.Struct):
    unixtime: int


class _Answer(msgspec.Struct):
    result: Any


def _result(answer: object, kind: Any) -> Any:
    try:
        return msgspec.convert(msgspec.convert(answer, _Answer).result, kind)
    except msgspec.ValidationError as error:
        raise Unreadable("BROKEN_ANSWER", " ".join(str(error).split())) from None


def server_time_ns(answer: object) -> int:
    """The exchange's clock of a `Time` answer: it tells whole seconds, this is the middle."""
    read: _ServerTime = _result(answer, _ServerTime)
    if not 0 < read.unixtime < ID_MAX // NS:
        raise Unreadable("MALFORMED", f"{read.unixtime} is no time in s")
    return read.unixtime * NS + NS // 2


def listing(answer: object, time_ns: int, symbols: Mapping[str, str]) -> Listing:
    """The terms of `symbols` (unified by pair) in an `AssetPairs` answer."""
    read: dict[str, _Market] = _result(answer, dict[str, _Market])
    found: dict[str, Instrument] = {}
    halted, flaws = [], []
    for market in read.values():
        symbol = symbols.get(market.wsname)
        if symbol is None:
            continue
        try:
            found[symbol] = _instrument(market, time_ns, symbol)
        except Unreadable as error:
            flaws.append(error)
        if market.status != "online":
            halted.append(symbol)
    return Listing(found, tuple(halted), tuple(flaws), REQUESTS_A_MINUTE)


def _instrument(market: _Market, time_ns: int, symbol: str) -> Instrument:
    tick = positive(market.tick_size or _step(market.pair_decimals, symbol), symbol)
    step = positive(_step(market.lot_decimals, symbol), symbol)
    known = instrument_of(symbol, time_ns, tick, step, CADENCE_NS_START)
    return msgspec.structs.replace(
        known,
        taker_fee_rate=_fee(market.fees, known.taker_fee_rate, symbol),
        maker_fee_rate=_fee(market.fees_maker or market.fees, known.maker_fee_rate, symbol),
        notional_min_quote=price(market.costmin, symbol),
    )


def _step(decimals: int, symbol: str) -> str:
    if not 0 <= decimals <= TICK_DECIMALS_MAX:
        raise Unreadable("MALFORMED", f"{decimals} decimals", symbol)
    return f"1e-{decimals}"


def _fee(levels: Sequence[Sequence[float]], otherwise: float, symbol: str) -> float:
    """The rate of who has traded nothing yet: Kraken lists [volume, percent]."""
    if not levels:
        return otherwise
    if len(levels[0]) != 2 or not 0.0 <= levels[0][1] <= 100.0:
        raise Unreadable("MALFORMED", f"a fee of {levels[0]}", symbol)
    return levels[0][1] / 100.0


def trades(answer: object, time_ns: int, symbol: str) -> tuple[list[Trade], str]:
    """The trades of a `Trades` answer, and from where on to ask for the next."""
    read: dict[str, Any] = _result(answer, dict[str, Any])
    last = read.pop("last", "")
    if not isinstance(last, str) or len(read) != 1:
        raise Unreadable("BROKEN_ANSWER", "trades without their end", symbol)
    rows = next(iter(read.values()))
    if not isinstance(rows, list):
        raise Unreadable("BROKEN_ANSWER", "trades that are no list", symbol)
    return [_trade(row, time_ns, symbol) for row in rows], last


def _trade(row: Any, time_ns: int, symbol: str) -> Trade:
    if not isinstance(row, list) or len(row) < 4 or row[3] not in ("b", "s"):
        raise Unreadable("BROKEN_ANSWER", f"a trade of {row!r:.80}", symbol)
    at_s = row[2]
    if not isinstance(at_s, int | float) or not 0 < at_s < ID_MAX // NS:
        raise Unreadable("MALFORMED", f"{at_s!r:.40} is no time in s", symbol)
    # A float of seconds holds microseconds and not nanoseconds.
    own_ns = round(at_s * 1e6) * 1_000
    side = "buy" if row[3] == "b" else "sell"
    return Trade(
        time_ns, own_ns, symbol, positive(row[0], symbol), positive(row[1], symbol), side, 0
    )
