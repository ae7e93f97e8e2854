"""Mutated market-data frames through each parser: none may crash it, each is accepted or refused.

    .venv/bin/python scripts/fuzz_frames.py --frames 1000000 --seed 1 [--data DIR] [--json]

Recorded frames (below DIR, beside the repository) and made-up ones are cut, flipped, spliced, given
other types, numbers that are none, keys twice and deep nesting, repeated and put out of order. Half
of them stay whole, so that a stream goes on between its faults. What a parser accepts must be
finite and positive after ingestion's rules, time must not go back; what it refuses has a reason.
The exit code is 1 for any other end, with the frame that made it.
"""

import argparse
import gzip
import json
import math
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from hft_lib.events import Depth, Instrument, MarketEvent, Quote, Rejected, Trade
from hft_lib.market import cleaning
from hft_lib.market.binance_ws import websocket_source
from hft_lib.market.flaws import counts
from hft_lib.market.kraken_ws import KrakenParser
from hft_lib.market.live import binance as live
from hft_lib.market.live import kraken as live_kraken
from hft_lib.market.live.items import (
    Alive,
    Answer,
    Closing,
    FundingNotice,
    Message,
    Say,
    Unreadable,
)
from hft_lib.market.live.symbol import SymbolFeed
from hft_lib.market.live.unnumbered import UnnumberedTrades
from hft_lib.market.tape import DataError

LIVE_IDS = {"BTCUSDT": "BTC/USDT", "ETHUSDT": "ETH/USDT"}
KRAKEN_SYMBOLS = tuple(
    "BTC/EUR ETH/EUR WAVES/EUR XMR/USD KSM/BTC GRT/ETH SC/EUR ETH/CHF OCEAN/BTC OMG/USD BTC/CHF "
    "ADA/BTC".split()
)
ANEW = 50  # frames of one connection
T0 = 1_700_000_000 * 10**9
BATCH = 1_000  # frames of one stream; the next begins a parser anew
WHOLE_SHARE = 0.5
BEGINNING = 40  # frames in which a recording's whole books come
FRAME_BYTES_MAX = 200_000
LINES_MAX = 20_000  # recorded frames of a file that are mutated
DEEP = 1_500  # more than an interpreter's recursion limit
REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY.parent / "shared" / "data"

TOKENS = (
    b"NaN",
    b"Infinity",
    b"-1",
    b"0",
    b"1e999",
    b"-0.0",
    b"9" * 40,
    b"99999999999999999999999999999.9",
    b'"nan"',
    b'"inf"',
    b'"-5"',
    b'"1_0"',
    b'" 1 "',
    b'"1e308"',
    b'"1e-320"',
    b'"0"',
    b'""',
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'"\\u0000"',
    b'"\\ud800"',
    b'[["1","2"]]',
    b'[["1"]]',
    b"1.5",
    b"[" * DEEP + b"]" * DEEP,
    b'{"a":' * DEEP + b"1" + b"}" * DEEP,
)
_VALUE = re.compile(rb'"[^"]*"|-?[0-9][0-9.]*|true|false|null')
_KEYED = re.compile(rb'"([A-Za-z]+)":("[^"]*"|-?[0-9.]+)')


@dataclass
class Outcome:
    """What became of the frames of one parser."""

    frames: int = 0
    accepted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def fail(self, what: str, frames: Sequence[bytes]) -> None:
        """Keep a failure with the frames that made it."""
        self.failures.append(f"{what}: {b' | '.join(frame[:600] for frame in frames)!r}")


# --- mutations ---


def mutated(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    """`frame` after one to three changes; `other` is another whole one to take from."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        frame = chance.choice(MUTATIONS)(chance, frame, other)
    return frame


def _flip(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    bytes_ = bytearray(frame)
    for _ in range(chance.randint(1, 4)):
        if bytes_:
            bytes_[chance.randrange(len(bytes_))] ^= 1 << chance.randrange(8)
    return bytes(bytes_)


def _cut(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    start, end = sorted((chance.randint(0, len(frame)), chance.randint(0, len(frame))))
    return frame[:start] if chance.random() < 0.5 else frame[:start] + frame[end:]


def _splice(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    return frame[: chance.randint(0, len(frame))] + other[chance.randint(0, len(other)) :]


def _swap(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    """Put another value in the place of one."""
    places = list(_VALUE.finditer(frame[:20_000]))
    if not places:
        return frame
    place = chance.choice(places)
    return frame[: place.start()] + chance.choice(TOKENS) + frame[place.end() :]


def _twice(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    """Say a key again with another value."""
    places = list(_KEYED.finditer(frame[:20_000]))
    if not places:
        return frame
    place = chance.choice(places)
    again = b'"' + place[1] + b'":' + chance.choice((*TOKENS, place[2])) + b","
    return frame[: place.start()] + again + frame[place.start() :]


def _digits(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    """Change a number by its digits: still one, far from where it was."""
    places = list(re.finditer(rb"[0-9]+", frame[:20_000]))
    if not places:
        return frame
    place = chance.choice(places)
    digits = str(chance.choice((0, 1, 10 ** chance.randint(1, 30), chance.getrandbits(70))))
    return frame[: place.start()] + digits.encode() + frame[place.end() :]


def _extra(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    """Give an object a key that nobody knows, with any value."""
    places = [place.end() for place in re.finditer(rb"\{", frame[:20_000])]
    if not places:
        return frame
    place = chance.choice(places)
    return frame[:place] + b'"zz":' + chance.choice(TOKENS) + b"," + frame[place:]


Mutation = Callable[[random.Random, bytes, bytes], bytes]
MUTATIONS: tuple[Mutation, ...] = (_flip, _cut, _splice, _swap, _swap, _twice, _digits, _extra)


def stream(chance: random.Random, seeds: Sequence[bytes], count: int) -> Iterator[bytes]:
    """`count` frames: runs of the seeds as they came, some mutated, repeated or left out.

    Now and then it begins anew, where the whole books are, or goes on anywhere.
    """
    position = 0
    for _ in range(count):
        what = chance.random()
        if what < 0.005:
            position = chance.randrange(min(BEGINNING, len(seeds)))
        elif what < 0.01:
            position = chance.randrange(len(seeds))
        whole = chance.random() < WHOLE_SHARE
        yield seeds[position] if whole else mutated(chance, seeds[position], chance.choice(seeds))
        position = (position + chance.choices((0, 1, 2), (2, 96, 2))[0]) % len(seeds)


# --- judging ---


def judged(
    states: dict[str, cleaning.SymbolState], event: MarketEvent, outcome: Outcome
) -> str | None:
    """Count an event as accepted or refused by ingestion's rules; says what is wrong if it is."""
    if isinstance(event, Instrument):
        return None
    state = states.setdefault(event.symbol, cleaning.SymbolState(event.symbol))
    flaws = cleaning.inspect(state, event)
    if cleaning.refused(flaws):
        outcome.reasons[f"ingestion:{flaws[0].reason}"] += 1
        return None
    outcome.accepted += 1
    return None if sane(event) else f"accepted {event}"


def sane(event: MarketEvent) -> bool:
    """Whether every number of an event is finite, prices above 0 and sizes not below."""
    match event:
        case Quote(bid=bid, bid_size=b, ask=ask, ask_size=a):
            return 0.0 < bid <= ask < math.inf and 0.0 <= b < math.inf and 0.0 <= a < math.inf
        case Trade(price=price, size=size, side=side):
            positive = 0.0 < price < math.inf and 0.0 < size < math.inf
            return positive and side in ("buy", "sell")
        case Depth(bids=bids, asks=asks):
            levels = (*bids, *asks)
            return all(0.0 < price < math.inf and 0.0 <= s < math.inf for price, s in levels)
        case _:
            value = getattr(event, "price", getattr(event, "rate", 0.0))
            return math.isfinite(value)


def fuzz_kraken(frames: Sequence[bytes], outcome: Outcome) -> None:
    """A stream through Kraken's parser and ingestion's rules."""
    parser = KrakenParser()
    states: dict[str, cleaning.SymbolState] = {}
    last_ns = 0
    for number, frame in enumerate(frames):
        outcome.frames += 1
        try:
            taken = parser.take(T0 + number * 10**6, frame)
            wrong = [judged(states, event, outcome) for event in taken.events]
        except Exception:
            outcome.fail(traceback.format_exc(limit=-3), [frame])
            continue
        outcome.reasons.update(flaw.reason for flaw in taken.flaws)
        if taken.events and taken.flaws:
            outcome.fail("both events and flaws", [frame])
        for what in filter(None, wrong):
            outcome.fail(what, [frame])
        for event in taken.events:
            if event.time_ns < last_ns:
                outcome.fail("time went back", [frame])
            last_ns = event.time_ns


def fuzz_binance(frames: Sequence[bytes], outcome: Outcome) -> None:
    """A stream through Binance's parser, as a recording, and ingestion's rules."""
    lines = [b"%d %s" % (T0 + n * 10**6, frame) for n, frame in enumerate(frames)]
    # A frame with a line's end in it is two lines: what counts is that each is answered for.
    lines = [part for line in lines for part in line.split(b"\n")]
    outcome.frames += len(frames)
    with tempfile.NamedTemporaryFile(prefix="frames-") as file:
        file.write(b"\n".join([*opening(), *lines, b""]))
        file.flush()
        states: dict[str, cleaning.SymbolState] = {}
        last_ns = 0
        try:
            source = websocket_source(Path(file.name))
            for event in source.events():
                wrong = judged(states, event, outcome)
                if wrong or event.time_ns < last_ns:
                    outcome.fail(wrong or "time went back", [repr(event).encode()])
                last_ns = event.time_ns
            outcome.reasons.update(counts(source.flaws.runs()))
        except DataError as error:
            outcome.reasons["FILE_REFUSED"] += 1
            if not str(error):
                outcome.fail("refused without a reason", [])
        except Exception:
            outcome.fail(traceback.format_exc(limit=-3), found_culprit(lines))


def fuzz_live(frames: Sequence[bytes], outcome: Outcome) -> None:
    """A stream through the live feed's parser and the state of its symbols, and ingestion's rules.

    A frame that is wrongly put together has no snapshot of a book beside it: depth is only read.
    """
    states: dict[str, cleaning.SymbolState] = {}
    feeds = {symbol: SymbolFeed(symbol) for symbol in LIVE_IDS.values()}
    outcome.frames += len(frames)
    for number, frame in enumerate(frames):
        try:
            item = live.parse(frame, T0 + number * 10**6, LIVE_IDS)
            take_live(item, feeds, states, outcome, frame)
        except Unreadable as error:
            outcome.reasons[error.reason] += 1
        except Exception:
            outcome.fail(traceback.format_exc(limit=-3), [frame])


def fuzz_live_kraken(frames: Sequence[bytes], outcome: Outcome) -> None:
    """A stream through the live feed's reader of Kraken and the state of its symbols.

    A book that is lost is asked for anew, and nobody answers here: a new reader begins at times.
    """
    states: dict[str, cleaning.SymbolState] = {}
    feeds = {symbol: SymbolFeed(symbol) for symbol in KRAKEN_SYMBOLS}
    parser, heard = KrakenParser(KRAKEN_SYMBOLS), set[str]()
    for state in feeds.values():
        state.trades = UnnumberedTrades(state.symbol)
    outcome.frames += len(frames)
    read = live_kraken.Reader(parser, KRAKEN_SYMBOLS, heard)
    for number, frame in enumerate(frames, 1):
        if number % ANEW == 0:
            read = live_kraken.Reader(parser, KRAKEN_SYMBOLS, heard)
        try:
            for item in read(frame, T0 + number * 10**6):
                take_live(item, feeds, states, outcome, frame)
        except Unreadable as error:
            outcome.reasons[error.reason] += 1
        except Exception:
            outcome.fail(traceback.format_exc(limit=-3), [frame])


def take_live(
    item: Message,
    feeds: dict[str, SymbolFeed],
    states: dict[str, cleaning.SymbolState],
    outcome: Outcome,
    frame: bytes,
) -> None:
    """One message to its symbol, what that tells to ingestion's rules."""
    if isinstance(item, Unreadable):
        outcome.reasons[item.reason] += 1
        return
    if isinstance(item, Answer | Closing | Say | Alive):
        outcome.reasons[type(item).__name__] += 1
        return
    symbol = item.mark.symbol if isinstance(item, FundingNotice) else item.symbol
    for fact in feeds[symbol].take(item):
        if isinstance(fact, Rejected):
            outcome.reasons[fact.reason] += 1
        elif wrong := judged(states, fact, outcome):
            outcome.fail(wrong, [frame])


def opening() -> list[bytes]:
    """Lines that make the symbols known, whatever comes after."""
    return [b"%d %s" % (T0, frame) for frame in MADE_UP["binance"]]


def found_culprit(lines: Sequence[bytes]) -> list[bytes]:
    """The first line that alone makes the parser fail, else nothing."""
    for line in lines:
        with tempfile.NamedTemporaryFile(prefix="frame-") as file:
            file.write(b"\n".join([*opening(), line, b""]))
            file.flush()
            try:
                list(websocket_source(Path(file.name)).events())
            except DataError:
                continue
            except Exception:
                return [line]
    return []


# --- frames to begin with ---

_AT = "1618678133.365913"
_QUOTE = {"u": 7, "s": "BTCUSDT", "b": "100.10", "B": "3.00", "a": "100.20", "A": "1.5"}
_TRADE = {"e": "trade", "E": 1001, "s": "BTCUSDT", "t": 9, "p": "100.2", "q": "0.25", "T": 1000}
_DEPTH = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": 6, "u": 8, "b": [["100.1", "2"]]}
MADE_UP: dict[str, list[bytes]] = {
    "binance": [
        json.dumps(message).encode()
        for message in (
            _QUOTE,
            {**_QUOTE, "e": "bookTicker", "E": 1001, "T": 1000},
            {"lastUpdateId": 5, "bids": [["100.1", "1"]], "asks": [["100.2", "0.5"]]},
            {"stream": "btcusdt@trade", "data": {**_TRADE, "m": True, "M": True}},
            {"stream": "btcusdt@trade", "data": {**_TRADE, "m": False, "X": "MARKET"}},
            {"stream": "btcusdt@depth", "data": {**_DEPTH, "a": []}},
            {"stream": "btcusdt@depth", "data": {**_DEPTH, "a": [], "pu": 5, "T": 1}},
            {"e": "markPriceUpdate", "s": "BTCUSDT", "E": 1, "p": "100.1", "r": "1e-4", "T": 9},
        )
    ],
    "kraken": [
        json.dumps(message).encode()
        for message in (
            [1, {"as": [["2.0", "1.0", _AT]], "bs": [["1.0", "1.0", _AT]]}, "book-10", "XBT/EUR"],
            [1, {"b": [["1.5", "1.0", _AT]], "c": "3862453270"}, "book-10", "XBT/EUR"],
            [1, {"a": []}, {"b": [["1.5", "0.0", _AT]], "c": "1"}, "book-10", "XBT/EUR"],
            [2, [["5541.2", "0.1585", _AT, "s", "l", ""]], "trade", "XBT/EUR"],
            [3, ["5698.4", "5700.0", _AT, "1.01", "0.98"], "spread", "ETH/EUR"],
            {"event": "heartbeat"},
            {"event": "systemStatus", "status": "online"},
            {"event": "subscriptionStatus", "status": "subscribed", "pair": "XBT/EUR"},
        )
    ],
}
_RECORDED = {
    "binance": (
        "payloads_cryptofeed/BINANCE.ws.1.0.gz",
        "payloads_cryptofeed/BINANCE_FUTURES.ws.1.0.gz",
        "ticks_hftbacktest_20240808/spot_btcusdt_20240808.gz",
        "ticks_hftbacktest_20240808/usdm_btcusdt_20240808.gz",
    ),
    "kraken": ("payloads_cryptofeed/KRAKEN.ws.50.0.gz",),
}
PARSERS = {
    "binance": fuzz_binance,
    "kraken": fuzz_kraken,
    "live": fuzz_live,
    "live-kraken": fuzz_live_kraken,
}


def seeds_of(name: str, data: Path | None) -> list[bytes]:
    """Frames to mutate: made up, and recorded ones where `data` has them."""
    name = {"live": "binance", "live-kraken": "kraken"}.get(name, name)  # whose frames it reads
    seeds = list(MADE_UP[name])
    for file in _RECORDED[name] if data is not None else ():
        assert data is not None
        with gzip.open(data / file) as lines:
            for line in islice(lines, LINES_MAX):
                frame = line.partition(b" ")[2].rstrip(b"\n")
                if frame[:1] in b"[{" and len(frame) < FRAME_BYTES_MAX:
                    seeds.append(frame)
    return seeds


def fuzz(name: str, frames: int, seed: int, data: Path | None) -> Outcome:
    """So many mutated frames through the parser `name`."""
    chance, seeds, outcome = random.Random(f"{name}-{seed}"), seeds_of(name, data), Outcome()
    while outcome.frames < frames and len(outcome.failures) < 20:
        count = min(BATCH, frames - outcome.frames)
        PARSERS[name](list(stream(chance, seeds, count)), outcome)
    return outcome


def main() -> int:
    """Fuzz each parser; 0 where none failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=100_000, help="of each parser")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=sorted(PARSERS), action="append")
    parser.add_argument("--data", type=Path, default=DATA if DATA.is_dir() else None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    told: dict[str, Any] = {}
    for name in options.only or sorted(PARSERS):
        began = time.perf_counter()
        outcome = fuzz(name, options.frames, options.seed, options.data)
        told[name] = {
            "frames": outcome.frames,
            "accepted": outcome.accepted,
            "refused": dict(sorted(outcome.reasons.items())),
            "failures": outcome.failures,
            "seconds": round(time.perf_counter() - began, 1),
        }
        if not options.json:
            print(f"{name}: {outcome.frames:,} frames, {outcome.accepted:,} events accepted")
            for reason, count in sorted(outcome.reasons.items()):
                print(f"  {reason:28} {count:>10,}")
            print(f"  failures {len(outcome.failures)}, {told[name]['seconds']} s")
        for failure in outcome.failures:
            print(failure, file=sys.stderr)
    if options.json:
        print(json.dumps(told))
    return int(any(one["failures"] for one in told.values()))


if __name__ == "__main__":
    sys.exit(main())
