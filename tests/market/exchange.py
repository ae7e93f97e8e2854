"""The exchange itself: instruments, who subscribes to what, marks and funding, active faults.

Everything here runs on the server's event loop, one thing at a time.
"""

import time
from collections import defaultdict
from dataclasses import dataclass, field

import msgspec

from tests.market.budget import Budget
from tests.market.connections import Connection
from tests.market.faults import FRAME_FAULTS, Fault, Frame, strike_all
from tests.market.instrument import FUNDING_INTERVAL_MS, FUNDING_RATE, Instrument
from tests.market.listing import VENUES, Key, Kind, Payload, Venue
from tests.market.ticks import Source, Tick
from tests.market.truth import Truth
from tests.market.windows import Window, direct, windows_of

SECOND_NS = 1_000_000_000
# An aggregate that nothing follows is closed after so long.
AGGREGATE_NS = 100_000_000
PAST_FUNDINGS = 5
NAMES: dict[Kind, str] = {"trade": "trade", "aggTrade": "aggTrade", "quote": "bookTicker"}


@dataclass
class Exchange:
    """Both markets on one address."""

    source: Source
    truth: Truth = field(default_factory=Truth)
    offset_ms: int = 0
    instruments: dict[Key, Instrument] = field(default_factory=dict)
    windows: dict[Key, list[Window]] = field(default_factory=dict)
    subscribers: dict[tuple[Venue, str], set[Connection]] = field(
        default_factory=lambda: defaultdict(set)
    )
    connections: set[Connection] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    requests: list[Payload] = field(default_factory=list)
    rates: dict[Key, str] = field(default_factory=dict)
    funding_ms: int = 0
    mark_ns: int = 0
    aggregate_ns: int = 0
    seconds: int = 0
    published: int = 0

    def __post_init__(self) -> None:
        self.budget = Budget(wall_ms)
        self.direct: dict[Key, list[str]] = {}
        for listing in self.source.listings:
            key = listing.key
            self.instruments[key] = Instrument(listing, self.truth, self.publish, self.now_ms)
            base_ms = self.source.base_ms[key]
            self.windows[key], self.direct[key] = windows_of(key, base_ms), list(
                direct(key, base_ms)
            )
            self.truth.listings[key].append(0, msgspec.json.encode(listing.info()))
        self.funding_ms = next_funding(self.now_ms())

    def open(self) -> None:
        """Begin, now that every instrument has its book: past fundings, the first marks."""
        for back in range(PAST_FUNDINGS, 0, -1):
            self.settle(self.funding_ms - back * FUNDING_INTERVAL_MS)
        self.marks()

    def now_ms(self) -> int:
        """The exchange's own clock."""
        return wall_ms() + self.offset_ms

    def take(self, tick: Tick) -> None:
        """Let time pass to a tick and publish it."""
        self.advance(tick.time_ns)
        self.instruments[tick.key].take(tick)

    def of(self, venue: Venue) -> list[Instrument]:
        """The instruments of one market."""
        return [item for item in self.instruments.values() if item.listing.venue == venue]

    def aimed(self, fault: Fault) -> list[Instrument]:
        """The instruments that a fault is aimed at."""
        return [item for item in self.instruments.values() if fault.meets(*item.listing.key)]

    def named(self, name: str, venue: Venue) -> list[Fault]:
        """The active faults of one name that are aimed at a market."""
        return [fault for fault in self.faults if fault.name == name and fault.meets(venue)]

    def advance(self, time_ns: int) -> None:
        """Publish what is due at this time of the source: slower depth, aggregates, marks."""
        for windows in self.windows.values():
            for window in windows:
                if payload := window.flush(time_ns):
                    self.stream(*window.key, "depth", window.stream, payload)
        if time_ns >= self.aggregate_ns:
            self.aggregate_ns = time_ns + AGGREGATE_NS
            for instrument in self.instruments.values():
                instrument.close_aggregate()
        if time_ns >= self.mark_ns:
            self.mark_ns = time_ns - time_ns % SECOND_NS + SECOND_NS
            self.marks()

    def marks(self) -> None:
        """Publish the marks of a second, and settle funding where it is due."""
        self.seconds += 1
        if self.now_ms() >= self.funding_ms:
            self.settle(self.funding_ms)
            self.funding_ms = next_funding(self.now_ms())
        marked = [item for item in self.of("usdm") if item.ready and not item.listing.halted()]
        for instrument in marked:
            coin = self.instruments.get(("spot", instrument.listing.symbol))
            index = (coin if coin is not None and coin.ready else instrument).middle()
            rate = self.rates.get(instrument.listing.key, FUNDING_RATE)
            instrument.send_mark(index, rate, self.funding_ms)
        rows = [instrument.mark for instrument in marked]
        for name in ["@arr@1s"] + (["@arr"] if self.seconds % 3 == 0 else []):
            self.stream("usdm", "", "mark", f"!markPrice{name}", msgspec.json.encode(rows))

    def settle(self, time_ms: int) -> None:
        """Settle funding at a time: from then on it is history."""
        for instrument in self.of("usdm"):
            key = instrument.listing.key
            payload = {
                "symbol": instrument.listing.symbol,
                "fundingTime": time_ms,
                "fundingRate": self.rates.get(key, FUNDING_RATE),
                "markPrice": f"{instrument.middle() / 1e8:.8f}",
            }
            log = self.truth.funding[key]
            log.append(len(log), msgspec.json.encode(payload))

    def publish(self, instrument: Instrument, kind: Kind, payload: Payload, text: bytes) -> None:
        """Send what an instrument published to the streams that carry it."""
        self.published += 1
        venue, symbol = instrument.listing.key
        lower = symbol.lower()
        if kind == "depth":
            for window in self.windows[venue, symbol]:
                window.take(payload)
            for stream in self.direct[venue, symbol]:
                self.stream(venue, symbol, kind, stream, text)
        elif kind == "mark":
            for name in ["markPrice@1s"] + (["markPrice"] if self.seconds % 3 == 0 else []):
                self.stream(venue, symbol, kind, f"{lower}@{name}", text)
        elif kind == "contract":
            self.stream(venue, symbol, kind, "!contractInfo", text)
        else:
            self.stream(venue, symbol, kind, f"{lower}@{NAMES[kind]}", text)
            if kind == "quote" and venue == "usdm":
                self.stream(venue, symbol, kind, "!bookTicker", text)

    def stream(self, venue: Venue, symbol: str, kind: Kind, stream: str, payload: bytes) -> None:
        """Send a payload to a stream's subscribers, through the faults."""
        if not (subscribers := self.subscribers.get((venue, stream))):
            return
        frame = Frame(venue, symbol, kind, stream, payload)
        frames = strike_all(self.faults, frame) if self.faults else [frame]
        for made in frames:
            for connection in tuple(subscribers):
                connection.offer(made)

    def release(self, fault: Fault) -> None:
        """Send what a fault of order still held when it ended."""
        if fault.name in FRAME_FAULTS:
            for frame in fault.held.values():
                for connection in tuple(self.subscribers.get((frame.venue, frame.stream), ())):
                    connection.offer(frame)
            fault.held.clear()

    def subscribe(self, connection: Connection, streams: list[str]) -> None:
        """Add streams to a connection; one that nothing feeds stays silent."""
        for stream in streams:
            connection.streams.add(stream)
            self.subscribers[connection.venue, stream].add(connection)

    def unsubscribe(self, connection: Connection, streams: list[str]) -> None:
        """Take streams from a connection."""
        for stream in streams:
            connection.streams.discard(stream)
            self.subscribers[connection.venue, stream].discard(connection)

    def leave(self, connection: Connection) -> None:
        """Forget a connection."""
        self.unsubscribe(connection, list(connection.streams))
        self.connections.discard(connection)

    def relist(self, instrument: Instrument, **changes: str) -> None:
        """Change an instrument's filters or status, and say so."""
        instrument.listing = instrument.listing.changed(**changes)
        key = instrument.listing.key
        log = self.truth.listings[key]
        log.append(len(log), msgspec.json.encode(instrument.listing.info()))
        if instrument.listing.venue == "usdm":
            payload: Payload = {
                "e": "contractInfo",
                "E": self.now_ms(),
                "s": instrument.listing.symbol,
                "ps": instrument.listing.symbol,
                "ct": "PERPETUAL",
                "cs": instrument.listing.status,
            }
            self.publish(instrument, "contract", payload, msgspec.json.encode(payload))

    def status(self) -> Payload:
        """How things stand, in one look."""
        return {
            "now_ms": self.now_ms(),
            "published": self.published,
            "connections": len(self.connections),
            "requests": len(self.requests),
            "violations": len(self.budget.violations),
            "faults": [fault.told() for fault in self.faults],
            "instruments": [
                {
                    "venue": item.listing.venue,
                    "symbol": item.listing.symbol,
                    "status": item.listing.status,
                    "update_id": item.depth_id,
                    "trade_id": item.trade_id,
                }
                for item in self.instruments.values()
            ],
        }


def wall_ms() -> int:
    """The true time."""
    return time.time_ns() // 1_000_000


def next_funding(now_ms: int) -> int:
    """The next time at which funding is due."""
    return now_ms - now_ms % FUNDING_INTERVAL_MS + FUNDING_INTERVAL_MS


def venues(fault: Fault) -> list[Venue]:
    """The markets that a fault is aimed at."""
    return [venue for venue in VENUES if fault.meets(venue)]
