"""The real feed before the real line: what a run of it stored, to be held against the truth."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from hft_lib.events import (
    Depth,
    Event,
    Instrument,
    Mark,
    MarketEvent,
    PairTick,
    Quote,
    Rejected,
    TimePassed,
    Trade,
)
from hft_lib.fitting.parameter_file import parameter_file
from hft_lib.line import registry_words
from hft_lib.market.tape import Tape
from serving.adapters.live import binance
from serving.adapters.live.feed import LiveFeed, Pace
from serving.lines import config_of, sets_of
from serving.live_market import LiveMarket, live_feed, write_tape
from serving.live_order import last_trades
from serving.runtime.embedded import EmbeddedLine
from serving.runtime.journal import RECORDS, Journal, read
from serving.runtime.run_folder import new_header
from serving.runtime.settings import Settings
from tests.builders import parameters
from tests.market.book import Book
from tests.market.exchange import Exchange
from tests.market.listing import Key
from tests.market.server import Market

SPOT, PERP = "BTC/USDT", "BTC/USDT:USDT"
PAIR = f"{PERP}~{SPOT}"
KEYS: dict[str, Key] = {SPOT: ("spot", "BTCUSDT"), PERP: ("usdm", "BTCUSDT")}
VENUE = binance.BinanceVenue  # ccxt's many modules are read before the first wait begins
# Terms and clock are looked at this often, in place of each minute.
PACE = Pace(instruments_s=0.5, clock_s=0.5)
# How soon everything has to be well again after a fault. The feed itself takes a second or two, or
# what the venue asked it to wait; the rest is for a machine that does much else.
RECOVERY_S = 30.0
BEGIN_S = 60.0
GRID_MS = 100  # a step of the models each tenth of a second, so that none is spared
T = TypeVar("T", bound=MarketEvent)


class Steps:
    """A sink that keeps the moments at which the models step."""

    logs = ("kalman_filter",)

    def __init__(self) -> None:
        self.ticks: list[PairTick] = []

    def take(self, log: str, fact: Event) -> None:
        """Keep one."""
        if isinstance(fact, PairTick) and fact.grid_steps:
            self.ticks.append(fact)


class Reached(msgspec.Struct, frozen=True):
    """How far the market's own record is, by symbol: the last trade, book and quote."""

    trades: dict[str, int]
    books: dict[str, int]
    quotes: dict[str, int]


def reached(market: Market) -> Reached:
    """How far the market is now."""

    def look(exchange: Exchange) -> Reached:
        items = {symbol: exchange.instruments[key] for symbol, key in KEYS.items()}
        return Reached(
            {symbol: item.trade_id for symbol, item in items.items()},
            {symbol: item.depth_id for symbol, item in items.items()},
            {symbol: item.top_id for symbol, item in items.items()},
        )

    return market.ask(look)


class FedLine:
    """A line of one pair on `market`, its journal in `folder`; enter it, then let it go on."""

    def __init__(self, market: Market, folder: Path) -> None:
        self.market, self.folder = market, folder
        folder.mkdir(parents=True)
        settings = Settings(
            exchange="paper",
            binance_rest_url=market.rest_url,
            binance_ws_url=market.ws_url,
            hft_home=folder / "home",
        )
        settings.hft_home.mkdir()
        chosen = replace(parameters(horizon_s=5.0), grid_ms=GRID_MS)
        files = [parameter_file(chosen, PAIR, "", (0, 0), trials=1)]
        config = config_of(settings, files, None)
        start_ns = time.time_ns()
        where = LiveMarket(folder / "tape", start_ns)
        header = new_header(where, files, config, "r1", "hft run", (start_ns, None))
        self.steps = Steps()
        self._settings = settings
        self.feed = LiveFeed(settings, [PERP, SPOT], pace=PACE)
        self.journal = Journal(folder / "journal", header)
        self._line = EmbeddedLine(config, self.journal, folder / "snapshot", [self.steps])
        for said in registry_words(sets_of(files, start_ns)):
            self._line.post("orchestrator", said)
        # What the feed told last, by symbol: trade, book, quote.
        self._last: dict[type, dict[str, int]] = {Trade: {}, Depth: {}, Quote: {}}

    def __enter__(self) -> "FedLine":
        self.feed.__enter__()
        self._facts = iter(live_feed(self.feed, self._line)(self._turned))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.feed.__exit__(kind, error, trace)
        self.journal.close()

    def stop_for(self, seconds: float) -> None:
        """Leave the feed as a process that ends would, and go on with a new one later."""
        self.feed.__exit__(None, None, None)
        time.sleep(seconds)
        self.feed = LiveFeed(self._settings, [PERP, SPOT], pace=PACE)
        self.feed.go_on(last_trades(self._line.hosts["ingestion"].state))
        self.feed.__enter__()
        self._facts = iter(live_feed(self.feed, self._line)(self._turned))

    class _Turn(Exception):
        """The feed was asked, and nothing more is there now."""

    def _turned(self, seconds: float) -> None:
        raise self._Turn

    def go_on(self) -> None:
        """Take into the line what has come."""
        try:
            for fact in self._facts:
                self._line.feed(fact)
                self._note(fact)
        except self._Turn:
            self._facts = iter(live_feed(self.feed, self._line)(self._turned))

    def _note(self, fact: Event) -> None:
        match fact:
            case Trade():
                self._last[Trade][fact.symbol] = fact.trade_id
            case Depth():
                self._last[Depth][fact.symbol] = fact.last_id
            case Quote():
                self._last[Quote][fact.symbol] = fact.update_id

    def until(self, what: str, holds: Callable[[], bool], seconds: float) -> float:
        """Go on until `holds`; how long that took. Fails after `seconds`."""
        began_s = time.monotonic()
        while not holds():
            waited_s = time.monotonic() - began_s
            assert waited_s < seconds, f"{what}: not within {seconds} s, {self.feed.status()}"
            self.go_on()
        return time.monotonic() - began_s

    def begin(self) -> None:
        """Go on until both markets come, their books are whole and the models step."""
        self.until(
            "begin", lambda: bool(self.is_beyond(Reached({}, {}, {})) and self.steps.ticks), BEGIN_S
        )

    def run(self, seconds: float) -> None:
        """Go on for so long."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.go_on()

    def is_beyond(self, mark: Reached) -> bool:
        """Whether everything is well, and newer than `mark`."""
        status = self.feed.status()
        known = ((Trade, mark.trades), (Depth, mark.books), (Quote, mark.quotes))
        return (
            status.is_open
            and all(status.synced.values())
            and not status.halted
            and all(
                self._last[kind].get(symbol, 0) > ids.get(symbol, 0)
                for kind, ids in known
                for symbol in KEYS
            )
        )

    def stored(self) -> "Stored":
        """What the journal holds, once the line was left."""
        return Stored(self.folder / "journal", self.steps.ticks)


class Stored:
    """What a run left on disk."""

    def __init__(self, journal: Path, steps: list[PairTick]) -> None:
        self.journal, self.steps = journal, steps
        self.fed: list[Event] = []
        self.rejected: list[Rejected] = []
        for log, fact in read(journal):
            if log == "ingestion":
                self.fed.append(fact)
            elif log == RECORDS and isinstance(fact, Rejected):
                self.rejected.append(fact)
        self.facts = [f for f in self.fed if isinstance(f, MarketEvent | TimePassed)]
        self.reasons = Counter[str]()
        for flaw in self.rejected:
            self.reasons[flaw.reason] += flaw.count

    def of(self, kind: type[T], symbol: str) -> list[T]:
        """The stored facts of one kind and symbol."""
        return [fact for fact in self.facts if isinstance(fact, kind) and fact.symbol == symbol]

    def tape(self) -> Tape:
        """The tape that the journal makes."""
        return write_tape(self.journal)


def assert_true(stored: Stored, market: Market) -> None:
    """Hold all that was stored against what the market published."""
    times = [fact.time_ns for fact in stored.facts]
    assert times == sorted(set(times)), "each fact at a time of its own, forward"
    for fact in stored.facts:
        assert all(map(math.isfinite, numbers(fact))), f"no number: {fact}"
    for symbol, key in KEYS.items():
        assert_trades(stored.of(Trade, symbol), market, key)
        assert_quotes(stored.of(Quote, symbol), market, key)
        assert_books(stored.of(Depth, symbol), market, key)
        assert_terms(stored.of(Instrument, symbol), market, key)
    assert_marks(stored.of(Mark, PERP), market)
    assert_steps(stored)
    rows = stored.tape().manifest.rows_by_kind
    counted = Counter(type(fact).__name__ for fact in stored.facts)
    del counted["TimePassed"]
    assert {kind: rows[kind] for kind in counted} == counted, "the tape has all of it"


def numbers(value: object) -> Iterator[float]:
    """Every number within a fact."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from numbers(getattr(value, name))


def assert_trades(trades: list[Trade], market: Market, key: Key) -> None:
    """Each trade once, none missing, as it was published."""
    ids = [trade.trade_id for trade in trades]
    assert ids == list(range(ids[0], ids[-1] + 1)), f"{key}: {gaps(ids)}"
    truth = market.ask(lambda exchange: exchange.truth.trades(key))
    for trade in trades:
        true = truth[trade.trade_id]
        side = "sell" if true["m"] else "buy"
        told = (trade.price, trade.size, trade.side, trade.exchange_time_ns)
        assert told == (float(true["p"]), float(true["q"]), side, true["T"] * 1_000_000), trade


def gaps(ids: list[int]) -> list[tuple[int, int]]:
    """Where ids do not follow one another."""
    return [(one, two) for one, two in zip(ids, ids[1:]) if two != one + 1]


def assert_quotes(quotes: list[Quote], market: Market, key: Key) -> None:
    """Each quote once, newer than the one before, as it was published."""
    ids = [quote.update_id for quote in quotes]
    assert ids == sorted(set(ids)), f"{key}: quotes twice or out of order"
    rows = market.ask(lambda exchange: exchange.truth.log("quote", key).since(0))
    truth = {(row["u"], *(float(row[name]) for name in "bBaA")) for row in rows}
    for quote in quotes:
        told = (quote.update_id, quote.bid, quote.bid_size, quote.ask, quote.ask_size)
        assert told in truth, f"never published: {quote}"


def assert_books(changes: list[Depth], market: Market, key: Key) -> None:
    """The book that the stored changes lead to is, after each, the one that the market had."""
    log = market.ask(lambda exchange: exchange.truth.log("depth", key))
    bids: dict[int, float] = {}
    asks: dict[int, float] = {}
    last = 0
    for change in changes:
        if change.snapshot:
            bids, asks = {}, {}
        else:
            assert change.previous_id <= last < change.last_id, f"{key}: a gap was stored"
        last = change.last_id
        for side, levels in ((bids, change.bids), (asks, change.asks)):
            for price, size in levels:
                side[round(price * 1e8)] = size
        if change is changes[-1] or change.last_id % 7 == 0:
            true = market.ask(partial(true_book, key, last))
            assert true is not None
            assert whole(bids) == {p: float(q) for p, q in true.bids.items()}, f"{key} at {last}"
            assert whole(asks) == {p: float(q) for p, q in true.asks.items()}, f"{key} at {last}"
    assert last <= log.ids[-1]


def true_book(key: Key, update_id: int, exchange: Exchange) -> Book | None:
    """The book that the market had at this id."""
    return exchange.truth.book(key, update_id)


def whole(side: dict[int, float]) -> dict[int, float]:
    """A side without the levels that are gone."""
    return {price: size for price, size in side.items() if size}


def assert_terms(terms: list[Instrument], market: Market, key: Key) -> None:
    """Terms are some that were listed."""
    rows = market.ask(lambda exchange: exchange.truth.listings[key].since(0))
    listed = set()
    for row in rows:
        filters = {one["filterType"]: one for one in row["filters"]}
        tick = filters["PRICE_FILTER"]["tickSize"]
        listed.add((float(tick), float(filters["LOT_SIZE"]["stepSize"])))
    assert terms and {(one.price_tick, one.quantity_step) for one in terms} <= listed


def assert_marks(marks: list[Mark], market: Market) -> None:
    """Each mark once, forward, as it was published."""
    times = [mark.exchange_time_ns for mark in marks]
    assert times == sorted(set(times))
    rows = market.ask(lambda exchange: exchange.truth.log("mark", KEYS[PERP]).since(0))
    assert {(one.exchange_time_ns, one.price) for one in marks} <= {
        (row["E"] * 1_000_000, float(row["p"])) for row in rows
    }


def assert_steps(stored: Stored) -> None:
    """The models stepped on the newest tops of both legs that came, whole and not stale.

    A quote that came with the jump of a clock is refused, and what was before it stands.
    """
    jumps = {(f.subject, f.time_ns) for f in stored.rejected if f.reason == "CLOCK_JUMP"}
    steps, tops = iter(stored.steps), dict[str, Quote]()
    step = next(steps, None)
    for fact in stored.facts:
        if isinstance(fact, Quote) and (fact.symbol, fact.time_ns) not in jumps:
            tops[fact.symbol] = fact
        while step is not None and step.time_ns <= fact.time_ns:
            assert step.time_ns == fact.time_ns and not step.stale
            y, x = tops[PERP], tops[SPOT]
            assert (step.y_bid, step.y_ask) == (y.bid, y.ask), f"{step} on another book than {y}"
            assert (step.x_bid, step.x_ask) == (x.bid, x.ask), f"{step} on another book than {x}"
            assert min(y.bid, y.ask, x.bid, x.ask) > 0.0, f"{step} on one side of a book"
            step = next(steps, None)
    assert step is None and stored.steps
