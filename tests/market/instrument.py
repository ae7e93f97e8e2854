"""One instrument of the market: its book as published, its ids, and what an operator does to it.

The source brings raw payloads; `raw` is its book. What is published is that book moved by a jump,
with a side hidden, or frozen, and nothing while the symbol is halted. Each change of these is
published as a depth event of its own, so ids stay whole and the stream always leads to `shown`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from tests.market.book import Book, Level, changes, levels, moved
from tests.market.listing import Kind, Listing, Payload, units
from tests.market.ticks import Tick
from tests.market.truth import Truth

Publish = Callable[["Instrument", Kind, Payload, bytes], None]
EMPTY_PRICE = 0
FUNDING_RATE = "0.00010000"
FUNDING_INTERVAL_MS = 8 * 3_600_000


@dataclass
class Instrument:
    """State of one instrument."""

    listing: Listing
    truth: Truth
    publish: Publish
    now_ms: Callable[[], int]
    raw: Book = field(default_factory=Book)
    shown: Book = field(default_factory=Book)
    depth_id: int = 0
    top_id: int = 0
    trade_id: int = 0
    agg_id: int = 0
    agg: list[Payload] = field(default_factory=list)
    jump: int = 0
    hidden: str | None = None
    frozen: bool = False
    last_price: int = 0
    quote: Payload | None = None
    mark: Payload | None = None
    ready: bool = False

    @property
    def spot(self) -> bool:
        """Whether it is of the spot market."""
        return self.listing.venue == "spot"

    def take(self, tick: Tick) -> None:
        """Take one tick of the source."""
        if tick.kind == "snapshot":
            self.begin(tick.payload)
        elif not self.ready:
            return
        elif tick.kind == "depth":
            self.take_depth(tick.payload)
        elif self.listing.halted():
            return
        elif tick.kind == "trade":
            self.take_trade(tick.payload)
        else:
            self.take_quote(tick.payload)

    def begin(self, snapshot: Payload) -> None:
        """Start with the source's own snapshot: it is served, not streamed."""
        self.raw.apply(levels(snapshot["bids"]), levels(snapshot["asks"]))
        self.shown = self.raw.copy()
        self.depth_id = self.top_id = snapshot["lastUpdateId"]
        self.truth.starts(self.listing.key, self.depth_id, self.shown)
        self.ready = True
        self.restate(self.depth_id)

    def take_depth(self, event: Payload) -> None:
        """Publish the source's depth event as it shows now."""
        bids, asks = levels(event["b"]), levels(event["a"])
        self.raw.apply(bids, asks)
        if self.listing.halted():
            return
        if self.frozen:
            # Frames go on and say again what stands.
            bids, asks = self.shown.top(1)
        else:
            bids = [] if self.hidden == "bids" else moved(bids, self.jump)
            asks = [] if self.hidden == "asks" else moved(asks, self.jump)
        last = max(event["u"], self.depth_id + 1)
        first = self.depth_id + 1
        if not self.spot:
            # Ids of the perpetuals' market are shared by its symbols: an event need not follow on.
            first = min(event["U"], last)
        delay_ms = event["E"] - event["T"] if "T" in event else 0
        self.send_depth(first, last, bids, asks, delay_ms)

    def send_depth(
        self, first: int, last: int, bids: list[Level], asks: list[Level], delay_ms: int = 0
    ) -> None:
        """Publish a depth event of these levels."""
        self.shown.apply(bids, asks)
        now_ms = self.now_ms()
        payload: Payload = {"e": "depthUpdate", "E": now_ms}
        payload |= {} if self.spot else {"T": now_ms - delay_ms}
        payload |= {"s": self.listing.symbol, "U": first, "u": last}
        payload |= {} if self.spot else {"pu": self.depth_id}
        payload |= {"b": self.rows(bids), "a": self.rows(asks)}
        self.depth_id = last
        encoded = msgspec.json.encode(payload)
        self.truth.depth(self.listing.key, encoded, last, self.shown)
        self.publish(self, "depth", payload, encoded)

    def rows(self, side: list[Level]) -> list[list[str]]:
        """Levels as a message writes them."""
        return [[self.listing.written(price), quantity] for price, quantity in side]

    def take_quote(self, quote: Payload) -> None:
        """Publish the source's best bid and ask as they show now."""
        if self.frozen and self.quote is not None:
            body = {name: self.quote[name] for name in "bBaA"}
        else:
            body = {
                **self.touch("b", "B", quote, self.hidden == "bids"),
                **self.touch("a", "A", quote, self.hidden == "asks"),
            }
        self.send_quote(max(quote["u"], self.top_id), body)

    def touch(self, price: str, quantity: str, quote: Payload, hidden: bool) -> Payload:
        """One side of a quote; an empty side is written as zeros."""
        at = units(quote[price]) + self.jump
        if hidden or at <= 0:
            return {price: self.listing.written(EMPTY_PRICE), quantity: "0.00000000"}
        return {price: self.listing.written(at), quantity: quote[quantity]}

    def send_quote(self, update_id: int, body: Payload) -> None:
        """Publish a quote."""
        self.top_id = update_id
        payload: Payload = {} if self.spot else {"e": "bookTicker"}
        payload |= {"u": update_id, "s": self.listing.symbol, **body}
        if not self.spot:
            payload |= {"T": self.now_ms(), "E": self.now_ms()}
        self.quote = payload
        encoded = msgspec.json.encode(payload)
        self.truth.log("quote", self.listing.key).append(update_id, encoded)
        self.publish(self, "quote", payload, encoded)

    def take_trade(self, trade: Payload) -> None:
        """Publish a trade; its id follows on the last one's."""
        now_ms = self.now_ms()
        price = units(trade["p"])
        if self.frozen and self.last_price:
            price = self.last_price
        else:
            price = price + self.jump if price > 0 and price + self.jump > 0 else price
        self.last_price = price
        self.trade_id = self.trade_id + 1 if self.trade_id else trade["t"]
        delay_ms = trade["E"] - trade["T"] if "T" in trade else 0
        payload: Payload = {"e": "trade", "E": now_ms, "T": now_ms - delay_ms}
        payload |= {"s": self.listing.symbol, "t": self.trade_id}
        payload |= {"p": self.listing.written(price), "q": trade["q"]}
        payload |= {name: trade[name] for name in ("X", "m", "M") if name in trade}
        encoded = msgspec.json.encode(payload)
        self.truth.log("trade", self.listing.key).append(self.trade_id, encoded)
        self.publish(self, "trade", payload, encoded)
        self.gather(payload)

    def gather(self, trade: Payload) -> None:
        """Add a trade to the open aggregate, or close that and open another."""
        same = ("T", "p", "m")
        if self.agg and any(self.agg[-1][name] != trade[name] for name in same):
            self.close_aggregate()
        self.agg.append(trade)

    def close_aggregate(self) -> None:
        """Publish the open aggregate: trades of one time, price and side."""
        if not self.agg:
            return
        first, last = self.agg[0], self.agg[-1]
        digits = len(first["q"].partition(".")[2])
        quantity = sum(float(trade["q"]) for trade in self.agg)
        self.agg_id = self.agg_id + 1 if self.agg_id else first["t"] // 2
        payload = {"e": "aggTrade", "E": self.now_ms(), "s": self.listing.symbol}
        payload |= {"a": self.agg_id, "p": first["p"], "q": f"{quantity:.{digits}f}"}
        payload |= {"f": first["t"], "l": last["t"], "T": first["T"], "m": first["m"]}
        payload |= {"M": True} if self.spot else {}
        self.agg = []
        encoded = msgspec.json.encode(payload)
        self.truth.log("aggTrade", self.listing.key).append(self.agg_id, encoded)
        self.publish(self, "aggTrade", payload, encoded)

    def change(self) -> None:
        """Publish what a new jump, side, thaw or resumption makes of the book and the touch."""
        if not self.ready or self.listing.halted() or self.frozen:
            return
        target = self.raw.moved(self.jump, self.hidden)
        bids = changes(self.shown.bids, target.bids)
        asks = changes(self.shown.asks, target.asks)
        # One id of ours stands in between: where the source comes to it, it goes one further.
        last = max(self.depth_id, self.top_id) + 1
        self.send_depth(self.depth_id + 1, last, bids, asks)
        self.restate(last)

    def restate(self, update_id: int) -> None:
        """Publish the touch of the book as it shows."""
        bid, ask = self.shown.best()
        zero = (EMPTY_PRICE, "0.00000000")
        (bid_price, bid_size), (ask_price, ask_size) = bid or zero, ask or zero
        body = {"b": self.listing.written(bid_price), "B": bid_size}
        body |= {"a": self.listing.written(ask_price), "A": ask_size}
        self.send_quote(update_id, body)

    def middle(self) -> float:
        """The middle of the last quote, or of the book; the side that is there where one is."""
        bid, ask = self.shown.best()
        prices = [side[0] for side in (bid, ask) if side]
        if self.quote is not None:
            quoted = [units(self.quote[name]) for name in "ba"]
            prices = [price for price in quoted if price > 0] or prices
        return sum(prices) / len(prices) if prices else 0.0

    def send_mark(self, index: float, rate: str, next_ms: int) -> None:
        """Publish the mark price and what funding will be."""
        now_ms = self.now_ms()
        price = f"{self.middle() / 1e8:.8f}"
        payload = {"e": "markPriceUpdate", "E": now_ms, "s": self.listing.symbol, "p": price}
        payload |= {"ap": price, "P": price, "i": f"{index / 1e8:.8f}", "r": rate, "T": next_ms}
        self.mark = payload
        encoded = msgspec.json.encode(payload)
        log = self.truth.log("mark", self.listing.key)
        log.append(len(log), encoded)
        self.publish(self, "mark", payload, encoded)
