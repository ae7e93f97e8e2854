"""Ticks of a seeded synthetic market, so that no recording is needed and hours can be had.

Coins follow random walks; each instrument has a book around its coin's fair price, a perpetual with
a basis of its own that reverts. What happens to a book is a trade at the touch, a changed quantity
or a quote that follows the fair price; each change takes an update id, and depth events gather the
changes of 100 ms.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from tests.market.book import Book, Level, changes
from tests.market.listing import UNIT, Key, Listing, Payload, perpetual, spot, units
from tests.market.ticks import Tick

DEPTH_MS = 100
LEVELS = 40
PRICES = {"BTC": 60_000.0, "ETH": 2_600.0, "SOL": 150.0, "BNB": 550.0}
PRICE_ELSE = 20.0
# A step of the walk, in parts of the price: about 0.6 of volatility a year at 20 steps a second.
STEP = 2.5e-5
# How far levels lie apart, in parts of the price.
SPACING = 5e-5
BASIS_KEEP, BASIS_STEP = 0.999, 1e-6
FIRST_UPDATE_ID = {"spot": 50_000_000_000, "usdm": 5_000_000_000_000}
FIRST_TRADE_ID = {"spot": 3_700_000_000, "usdm": 5_200_000_000}
STANDARD = (spot("BTCUSDT"), perpetual("BTCUSDT"), spot("ETHUSDT"), perpetual("ETHUSDT", "0.01"))


@dataclass
class Maker:
    """One instrument's book, and what is done to it."""

    listing: Listing
    random: Random
    update_id: int
    trade_id: int
    book: Book = field(default_factory=Book)
    sent: Book = field(default_factory=Book)
    sent_id: int = 0
    basis: float = 0.0
    grid: int = 0
    touch: int = 0

    @property
    def tick(self) -> int:
        """The price step in units of 1e-8."""
        return units(self.listing.tick_size)

    def quantity(self) -> str:
        """A quantity of a few hundred steps."""
        steps = 1 + int(self.random.expovariate(1 / 300))
        digits = 8 if self.listing.venue == "spot" else 3
        return f"{steps * float(self.listing.step_size):.{digits}f}"

    def follow(self, fair: float) -> None:
        """Put the book around the fair price: crossed levels go, missing ones come."""
        self.basis = BASIS_KEEP * self.basis + self.random.gauss(0, BASIS_STEP)
        share = self.basis if self.listing.venue == "usdm" else 0.0
        price = round(fair * (1 + share) * UNIT)
        # Set once: a grid that followed the price would leave levels between its lines.
        self.grid = self.grid or max(self.tick, round(price * SPACING / self.tick) * self.tick)
        bid = price // self.grid * self.grid
        if bid == self.touch:
            return
        self.touch = bid
        for side, first, step in (
            (self.book.bids, bid, -self.grid),
            (self.book.asks, bid + self.grid, self.grid),
        ):
            wanted = range(first, first + step * LEVELS, step)
            for gone in [level for level in side if level not in wanted]:
                del side[gone]
            for come in [level for level in wanted if level not in side]:
                side[come] = self.quantity()

    def snapshot(self) -> Payload:
        """The book as the depth snapshot that the stream begins with."""
        self.sent, self.sent_id = self.book.copy(), self.update_id
        bids, asks = self.book.top(LEVELS)
        rows = {"bids": self.rows(bids), "asks": self.rows(asks)}
        return {"lastUpdateId": self.update_id, **rows}

    def rows(self, side: list[Level]) -> list[list[str]]:
        """Levels as a message writes them."""
        return [[self.listing.written(price), quantity] for price, quantity in side]

    def trade(self) -> Payload:
        """A trade at the touch; what it takes is gone from the level."""
        bid, ask = self.book.best()
        assert bid and ask
        seller = self.random.random() < 0.5
        side, (price, held) = (self.book.bids, bid) if seller else (self.book.asks, ask)
        step = float(self.listing.step_size)
        taken = max(1, round(float(held) / step * self.random.uniform(0.05, 0.9))) * step
        digits = 8 if self.listing.venue == "spot" else 3
        left = max(float(held) - taken, step)
        side[price] = f"{left:.{digits}f}"
        self.trade_id += 1
        self.update_id += 1
        last = {"M": True} if self.listing.venue == "spot" else {"X": "MARKET"}
        return {
            "t": self.trade_id,
            "p": self.listing.written(price),
            "q": f"{taken:.{digits}f}",
            "m": seller,
            **last,
        }

    def stir(self) -> None:
        """Change the quantity of one level."""
        side = self.random.choice((self.book.bids, self.book.asks))
        side[self.random.choice(sorted(side))] = self.quantity()
        self.update_id += 1

    def quote(self) -> Payload:
        """The touch."""
        bid, ask = self.book.best()
        assert bid and ask
        return {
            "u": self.update_id,
            "b": self.listing.written(bid[0]),
            "B": bid[1],
            "a": self.listing.written(ask[0]),
            "A": ask[1],
        }

    def depth(self) -> Payload | None:
        """The changes since the last depth event, None where nothing changed."""
        if self.update_id == self.sent_id:
            return None
        rows = {
            "b": self.rows(changes(self.sent.bids, self.book.bids)),
            "a": self.rows(changes(self.sent.asks, self.book.asks)),
        }
        payload = {"U": self.sent_id + 1, "u": self.update_id, "pu": self.sent_id, **rows}
        self.sent, self.sent_id = self.book.copy(), self.update_id
        return payload


@dataclass(frozen=True)
class Generated:
    """A market of these instruments from a seed; `steps_per_s` book changes each a second."""

    seed: int = 0
    instruments: tuple[Listing, ...] = STANDARD
    steps_per_s: float = 20.0
    duration_s: float | None = None
    prices: dict[str, float] = field(default_factory=lambda: dict(PRICES))

    @property
    def listings(self) -> list[Listing]:
        """The instruments."""
        return list(self.instruments)

    @property
    def base_ms(self) -> dict[Key, int]:
        """Depth comes each 100 ms."""
        return {listing.key: DEPTH_MS for listing in self.instruments}

    def maker(self, listing: Listing) -> Maker:
        """The instrument's maker with an empty book."""
        random = Random(f"{self.seed} {listing.venue} {listing.symbol}")
        first = FIRST_UPDATE_ID[listing.venue] + random.randrange(1_000_000)
        return Maker(listing, random, first, FIRST_TRADE_ID[listing.venue] + random.randrange(1000))

    def ticks(self) -> Iterator[Tick]:
        """A step after another until `duration_s`, or for ever."""
        random = Random(f"{self.seed} walk")
        makers = [self.maker(listing) for listing in self.instruments]
        coins = sorted({listing.assets[0] for listing in self.instruments})
        fair = {coin: self.prices.get(coin, PRICE_ELSE) for coin in coins}
        for maker in makers:
            maker.follow(fair[maker.listing.assets[0]])
            yield Tick(0, maker.listing.key, "snapshot", maker.snapshot())
        step_ns, depth_ns = round(1e9 / self.steps_per_s), DEPTH_MS * 1_000_000
        now_ns, next_ns = 0, depth_ns
        while self.duration_s is None or now_ns < self.duration_s * 1e9:
            now_ns += step_ns
            while next_ns <= now_ns:
                yield from depths(makers, next_ns)
                next_ns += depth_ns
            for coin in coins:
                fair[coin] *= 1 + random.gauss(0, STEP)
            for maker in makers:
                yield from steps(maker, fair[maker.listing.assets[0]], now_ns)


def depths(makers: list[Maker], now_ns: int) -> Iterator[Tick]:
    """The depth events that are due."""
    for maker in makers:
        if payload := maker.depth():
            yield Tick(now_ns, maker.listing.key, "depth", payload)


def steps(maker: Maker, fair: float, now_ns: int) -> Iterator[Tick]:
    """One step of one instrument: what happened, and the touch where it is another."""
    key, before = maker.listing.key, maker.book.best()
    if maker.random.random() < 0.3:
        yield Tick(now_ns, key, "trade", maker.trade())
    else:
        maker.stir()
    maker.update_id += 1
    maker.follow(fair)
    if maker.book.best() != before:
        yield Tick(now_ns, key, "quote", maker.quote())
