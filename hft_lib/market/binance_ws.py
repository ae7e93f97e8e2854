"""Recorded Binance WebSocket lines, `<receive ns> <JSON>`: spot and USD-margined futures.

The payloads tell the market: a futures depth has `pu`, its trade `X`, its bookTicker `e`; `ps` is
COIN-margined and refused, because its sizes are contracts. The REST depth snapshot is a line
without `stream`; the local book starts from it as Binance documents: deltas that came before it are
held, those it already contains are dropped. A mark price announces the next funding, which falls
due when the announced time changes.
"""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec

from hft_lib.events import Depth, Funding, Instrument, Mark, MarketEvent, Quote, Trade
from hft_lib.market.bars import QUOTE_COINS, QUOTE_CURRENCIES
from hft_lib.market.flaws import FlawTally
from hft_lib.market.imports import Source, instrument_of
from hft_lib.market.tape import DataError

PROBE_LINES = 20_000  # what decides ticks and cadence, so that a long recording is not read twice
HELD_DELTAS_MAX = 10_000  # depth deltas waiting for a snapshot; Binance sends ten a second
CADENCE_NS_MIN = 100_000_000
MS = 1_000_000

Levels = tuple[tuple[float, float], ...]


class Payload(msgspec.Struct, gc=False):
    """Any of the messages read here; the names are Binance's."""

    e: str = ""
    s: str = ""
    ps: str = ""
    E: int = 0
    T: int = 0
    u: int = 0
    U: int = 0
    pu: int | None = None
    b: str | Levels | int = ""
    B: str = ""
    a: str | Levels | int = ""
    A: str = ""
    t: int = 0
    p: str = ""
    q: str = ""
    m: bool = False
    X: str | None = None
    r: str = ""
    lastUpdateId: int = 0
    bids: Levels = ()
    asks: Levels = ()
    symbol: str = ""
    pair: str = ""


class Line(msgspec.Struct, gc=False):
    """A combined stream's wrapping; a snapshot and a single stream's message have none."""

    stream: str = ""
    data: Payload | None = None


class _Symbol(msgspec.Struct):
    """What one symbol's book waits for, and the funding that its mark prices announce."""

    symbol: str
    held: list[Depth] = []
    snapshot: bool = False
    funding_due_ms: int = 0
    funding_rate: float = 0.0


# Not strict, so that a level's two texts are read as numbers where they stand.
_decode_line = msgspec.json.Decoder(Line, strict=False).decode
_decode_payload = msgspec.json.Decoder(Payload, strict=False).decode


def websocket_source(path: Path, symbol: str | None = None) -> Source:
    """The quotes, trades and depth of the recording at `path`; its payloads say the symbol.

    Raises DataError for a file without a usable line, of COIN-margined contracts, or of two symbols
    under one `symbol`. A line that cannot be read is counted in the source's flaws.
    """
    instruments, first_ns = _probe(path, symbol)

    flaws = FlawTally()

    def events() -> Iterator[MarketEvent]:
        return _Recording(path, symbol, instruments, flaws).events()

    return Source(path, instruments, first_ns, events, flaws)


# --- lines ---


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a plain or gzip file; raises DataError where it is cut short."""
    if not path.is_file():
        raise DataError(f"{path} is not a file")
    with open_plain_or_gzip(path) as file:
        try:
            yield from file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path} is damaged or cut short: {error}") from error


def open_plain_or_gzip(path: Path) -> BinaryIO:
    """Open `path` for reading bytes, unpacked where it begins as gzip does, whatever its name."""
    file = path.open("rb")
    if file.peek(2)[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    return file


def parse(line: bytes) -> tuple[int, Payload]:
    """The receive time in ns and the payload of a line; raises ValueError for another line."""
    time, _, text = line.partition(b" ")
    time_ns = int(time)
    if not 0 < time_ns < 2**63:
        raise ValueError(f"receive time {time_ns} is no ns since 1970")
    try:
        wrapped = _decode_line(text)
        return time_ns, wrapped.data if wrapped.data is not None else _decode_payload(text)
    except RecursionError as error:  # no ValueError, as every other line that is none
        raise ValueError("nested too deeply") from error


def symbol_of(payload: Payload) -> str | None:
    """The symbol of a message, `BASE/QUOTE` or `BASE/QUOTE:QUOTE`; None where it has none.

    Raises DataError for a COIN-margined contract, ValueError for a name without a known quote
    currency.
    """
    name = payload.s or payload.symbol
    if payload.ps or payload.pair or name.endswith("_PERP"):
        raise DataError(
            f"{name} is a COIN-margined contract, whose sizes are contracts, not base units"
        )
    if not name:
        return None
    for quote in QUOTE_CURRENCIES + QUOTE_COINS:
        if name.endswith(quote) and name != quote:
            base = name.removesuffix(quote)
            return f"{base}/{quote}:{quote}" if _is_futures(payload) else f"{base}/{quote}"
    raise ValueError(f"{name} is in no quote currency known here")


def _is_futures(payload: Payload) -> bool:
    match payload.e:
        case "depthUpdate":
            return payload.pu is not None
        case "trade":
            return payload.X is not None
        case _:
            return payload.e in ("bookTicker", "markPriceUpdate")


# --- the first lines: symbols, ticks, cadence ---


class _Facts(msgspec.Struct):
    """What the probe learns of one symbol."""

    price_decimals: int = 0
    size_decimals: int = 0
    last_quote_ns: int = 0
    gaps_ns: list[int] = []


def _probe(path: Path, symbol: str | None) -> tuple[list[Instrument], int]:
    facts: dict[str, _Facts] = {}
    first_ns, lines = 0, 0
    for lines, line in enumerate(islice(read_lines(path), PROBE_LINES), start=1):
        try:
            time_ns, payload = parse(line)
            name = symbol_of(payload)
        except DataError:
            raise
        except ValueError:
            continue  # the pass that makes events counts it
        first_ns = first_ns or time_ns
        if name is not None:
            _learn(facts.setdefault(name, _Facts()), time_ns, payload)
    if not facts:
        raise DataError(f"{path} has no Binance message in its first {lines} lines")
    if symbol is not None and len(facts) > 1:
        raise DataError(f"{path} holds {', '.join(sorted(facts))}, so it cannot all be {symbol}")
    return [
        _instrument(symbol or name, fact, first_ns) for name, fact in sorted(facts.items())
    ], first_ns


def _learn(facts: _Facts, time_ns: int, payload: Payload) -> None:
    if isinstance(payload.b, str) and payload.B:
        if facts.last_quote_ns:
            facts.gaps_ns.append(time_ns - facts.last_quote_ns)
        facts.last_quote_ns = time_ns
    for price in (payload.b, payload.a, payload.p):
        if isinstance(price, str):
            facts.price_decimals = max(facts.price_decimals, _decimals(price))
    for size in (payload.B, payload.A, payload.q):
        facts.size_decimals = max(facts.size_decimals, _decimals(size))


def _decimals(number: str) -> int:
    return len(number.partition(".")[2].rstrip("0"))


def _instrument(symbol: str, facts: _Facts, time_ns: int) -> Instrument:
    gaps = sorted(facts.gaps_ns)
    cadence_ns = max(gaps[len(gaps) // 2] if gaps else 0, CADENCE_NS_MIN)
    price_tick, quantity_step = float(f"1e-{facts.price_decimals}"), float(
        f"1e-{facts.size_decimals}"
    )
    return instrument_of(symbol, time_ns, price_tick, quantity_step, cadence_ns)


# --- messages to events ---


class _Recording:
    """One pass over a file: its time never goes back, its books start from their snapshots."""

    def __init__(
        self, path: Path, symbol: str | None, instruments: list[Instrument], flaws: FlawTally
    ) -> None:
        self.path = path
        self.flaws = flaws
        self._override = symbol
        self._symbols = {one.symbol: _Symbol(one.symbol) for one in instruments}
        self._now_ns = instruments[0].time_ns

    def events(self) -> Iterator[MarketEvent]:
        """Yield the file's events; what is not one is counted."""
        was_broken = False
        for number, line in enumerate(read_lines(self.path), start=1):
            try:
                time_ns, payload = parse(line)
                self._now_ns = max(self._now_ns, time_ns)
                made = self._take(payload)
            except (ValueError, OverflowError) as error:
                if isinstance(error, DataError):
                    raise
                detail = f"line {number}: {' '.join(str(error).split())}"
                self._count("BROKEN_LINE", 1, detail, continues=was_broken)
                was_broken = True
                continue
            was_broken = False
            yield from made
        for state in self._symbols.values():
            if state.held:
                self._count("DEPTH_WITHOUT_SNAPSHOT", len(state.held), "", state.symbol)

    def _take(self, payload: Payload) -> Iterable[MarketEvent]:
        symbol = self._symbol(payload)
        exchange_time_ns = (payload.T or payload.E) * MS
        if payload.lastUpdateId:
            return self._snapshot(symbol, payload, exchange_time_ns)
        match payload.e:
            case "trade":
                return (_trade(self._now_ns, exchange_time_ns, symbol, payload),)
            case "depthUpdate":
                return self._delta(_depth(self._now_ns, exchange_time_ns, symbol, payload))
            case "" | "bookTicker" if payload.B and payload.A:
                return (_quote(self._now_ns, exchange_time_ns, symbol, payload),)
            case "markPriceUpdate":
                return self._mark(symbol, payload)
            case _:
                self._count("UNREAD_MESSAGE", 1, f"of kind {payload.e or 'unknown'}", symbol)
                return ()

    def _symbol(self, payload: Payload) -> str:
        symbol = self._override or symbol_of(payload)
        if symbol is None:
            if len(self._symbols) != 1:
                raise ValueError("a snapshot that could be of more than one symbol")
            return next(iter(self._symbols))
        if symbol not in self._symbols:
            raise ValueError(f"{symbol} begins only after {PROBE_LINES} lines")
        return symbol

    def _snapshot(
        self, symbol: str, payload: Payload, exchange_time_ns: int
    ) -> Iterable[MarketEvent]:
        """The book, and at the same time the held deltas that it does not contain."""
        last_id = payload.lastUpdateId
        bids, asks = payload.bids, payload.asks
        book = Depth(self._now_ns, exchange_time_ns, symbol, True, 0, last_id, 0, bids, asks)
        state = self._symbols[symbol]
        held, state.held, state.snapshot = state.held, [], True
        later = [delta for delta in held if delta.last_id > last_id]
        if len(held) > len(later):
            self._count("DEPTH_BEFORE_SNAPSHOT", len(held) - len(later), "", symbol)
        return [book, *(msgspec.structs.replace(one, time_ns=self._now_ns) for one in later)]

    def _delta(self, delta: Depth) -> Iterable[MarketEvent]:
        state = self._symbols[delta.symbol]
        if state.snapshot:
            return (delta,)
        if len(state.held) >= HELD_DELTAS_MAX:
            del state.held[0]
            self._count("DEPTH_WITHOUT_SNAPSHOT", 1, "", delta.symbol, continues=True)
        state.held.append(delta)
        return ()

    def _mark(self, symbol: str, payload: Payload) -> Iterable[MarketEvent]:
        """The mark price, after the funding at the last rate if its due time has moved on."""
        mark = Mark(self._now_ns, payload.E * MS, symbol, float(payload.p))
        if not payload.r:
            return (mark,)
        state = self._symbols[symbol]
        due_ms, rate = state.funding_due_ms, state.funding_rate
        state.funding_due_ms, state.funding_rate = payload.T, float(payload.r)
        if not due_ms or payload.T == due_ms:
            return (mark,)
        return (Funding(self._now_ns, due_ms * MS, symbol, rate), mark)

    def _count(
        self, reason: str, count: int, detail: str, symbol: str = "", continues: bool = False
    ) -> None:
        name = symbol or "~".join(self._symbols)
        self.flaws.add(reason, name, self._now_ns, count=count, detail=detail, continues=continues)


def _quote(time_ns: int, exchange_time_ns: int, symbol: str, payload: Payload) -> Quote:
    if not (isinstance(payload.b, str) and isinstance(payload.a, str)):
        raise ValueError("a bookTicker whose prices are lists")
    return Quote(
        time_ns,
        exchange_time_ns,
        symbol,
        float(payload.b),
        float(payload.B),
        float(payload.a),
        float(payload.A),
        payload.u,
    )


def _trade(time_ns: int, exchange_time_ns: int, symbol: str, payload: Payload) -> Trade:
    side = "sell" if payload.m else "buy"  # `m`: the buyer was the maker, so the taker sold
    price, size = float(payload.p), float(payload.q)
    return Trade(time_ns, exchange_time_ns, symbol, price, size, side, payload.t)


def _depth(time_ns: int, exchange_time_ns: int, symbol: str, payload: Payload) -> Depth:
    if not (isinstance(payload.b, tuple) and isinstance(payload.a, tuple)):
        raise ValueError("a depth update without its lists")
    # Spot names no previous update: its own first follows the last one's last.
    previous_id = payload.U - 1 if payload.pu is None else payload.pu
    return Depth(
        time_ns,
        exchange_time_ns,
        symbol,
        False,
        payload.U,
        payload.u,
        previous_id,
        payload.b,
        payload.a,
    )
