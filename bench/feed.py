"""What a frame of market data costs until it is an event: ours beside ccxt's own parsing.

    .venv/bin/python bench/feed.py [--data DIR] [--frames 40000] [--repeats 7] [--json]

Over the recorded Binance ticks, by kind and as they came. Ours is what `hft tape import` does, from
the line of a file to the event, the book's rules included; ccxt's is orjson, as its client loads a
frame, and then `parse_ws_trade`, `parse_ws_ticker` or `handle_deltas`, without the line's time, its
caches and its books. Each result is found equal before anything is timed. Figures are nanoseconds
of one core a frame, the least of several measurements in turn, and frames a second.
"""

import argparse
import json
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

# Run as a file, its own folder is on the path; the project's is not where it is not installed.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from bench.models import duration, measured  # noqa: E402
from bench.timing import Case, Row, Unequal, package  # noqa: E402
from hft_lib.events import Depth, MarketEvent, Quote, Trade  # noqa: E402
from hft_lib.market.binance_ws import parse, read_lines, websocket_source  # noqa: E402

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FOLDER = "ticks_hftbacktest_20240808"
FILES = {"BTC/USDT": "spot_btcusdt_20240808.gz", "BTC/USDT:USDT": "usdm_btcusdt_20240808.gz"}
FRAMES = 40_000
REPEATS = 7
TARGET_NS = 20_000.0  # 50,000 frames a second on one core
KINDS = {"trade": Trade, "bookTicker": Quote, "depthUpdate": Depth}

Figures = tuple[Any, ...]
Peer = Callable[[Sequence[bytes]], list[Figures]]


def rows(data: Path, frames: int, folder: Path) -> tuple[Row, ...]:
    """A row a kind and market, and one a market as it was recorded; files go to `folder`."""
    made = []
    for symbol, name in FILES.items():
        for kind in (*KINDS, ""):
            path = data / FOLDER / name
            prepare = partial(case, path, symbol, kind, frames, folder)
            what = {"": "as recorded", "bookTicker": "quotes"}.get(kind, f"{kind}s")
            made.append(Row(f"{symbol} {what}", None, prepare))
    return tuple(made)


def case(path: Path, symbol: str, kind: str, frames: int, folder: Path) -> Case:
    """Both sides' calls over the first frames of a kind; raises Unequal where results differ."""
    lines = list(islice(lines_of(path, kind), frames))
    file = folder / f"{symbol.replace('/', '-').replace(':', '-')}-{kind or 'all'}"
    file.write_bytes(b"".join(lines))
    source = websocket_source(file)
    texts = [line.partition(b" ")[2] for line in lines]
    peer = ccxt_parsing(symbol)
    ours = [figures(event) for event in source.events()]
    require_same(ours, peer(texts))
    return Case(
        ours=lambda: deque(source.events(), maxlen=0),
        peer=lambda: peer(texts),
        peer_name=package("ccxt"),
        units=len(lines),
    )


def lines_of(path: Path, kind: str) -> Iterator[bytes]:
    """The recording's lines of a kind ('' is all) from the book's snapshot on, with it."""
    begun = False
    for line in read_lines(path):
        payload = parse(line)[1]
        of = "depthUpdate" if payload.lastUpdateId else payload.e or "bookTicker"
        begun = begun or bool(payload.lastUpdateId)
        if begun and kind in ("", of):
            yield line


def figures(event: MarketEvent) -> Figures:
    """An event's figures, as they are compared."""
    match event:
        case Trade():
            return event.trade_id, event.price, event.size, event.side
        case Quote():
            return event.bid, event.bid_size, event.ask, event.ask_size
        case Depth():
            return event.last_id, event.bids, event.asks
        case _:
            raise TypeError(f"{event} is not compared")


def ccxt_parsing(symbol: str) -> Peer:
    """ccxt's own parsing of frames of one market, as its WebSocket client does it."""
    import ccxt.pro
    import orjson

    exchange = ccxt.pro.binance()
    perpetual = ":" in symbol
    market = exchange.safe_market_structure(
        {
            "id": "BTCUSDT",
            "symbol": symbol,
            "base": "BTC",
            "quote": "USDT",
            "settle": "USDT" if perpetual else None,
            "type": "swap" if perpetual else "spot",
            "spot": not perpetual,
            "swap": perpetual,
            "contract": perpetual,
            "linear": perpetual or None,
            "contractSize": 1.0 if perpetual else None,
        }
    )
    exchange.set_markets([market])

    def one(text: bytes) -> Figures:
        message = orjson.loads(text)
        message = message.get("data", message)
        kind = message.get("e", "bookTicker" if "lastUpdateId" not in message else "")
        if kind == "trade":
            trade = exchange.parse_ws_trade(message, market)
            return int(trade["id"]), trade["price"], trade["amount"], trade["side"]
        if kind == "bookTicker":
            ticker = exchange.parse_ws_ticker(message, market["type"])
            return ticker["bid"], ticker["bidVolume"], ticker["ask"], ticker["askVolume"]
        bids, asks = _Stored(), _Stored()
        exchange.handle_deltas(bids, message["b" if kind else "bids"])
        exchange.handle_deltas(asks, message["a" if kind else "asks"])
        return message["u" if kind else "lastUpdateId"], tuple(bids), tuple(asks)

    return lambda texts: [one(text) for text in texts]


class _Stored(list[tuple[float, float]]):
    """A side that keeps what it is told: the price of ccxt's book is not counted."""

    def store(self, price: float, size: float) -> None:
        """Keep a level."""
        self.append((price, size))


def require_same(ours: Sequence[Figures], peer: Sequence[Figures]) -> None:
    """Raise Unequal at the first difference: every number must be the same double."""
    if len(ours) != len(peer):
        raise Unequal("frames", len(ours), len(peer), "none")
    for number, (mine, theirs) in enumerate(zip(ours, peer)):
        if mine != theirs:
            raise Unequal(f"frame {number}", mine, theirs, "none")


def table(found: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    width = max(len(row["name"]) for row in found)
    head = f"{'':{width}} {'ours':>9} {'frames/s':>10} {'peer':>9} {'ratio':>6} peer"
    lines = [
        f"{row['name']:{width}} {duration(row['ours_ns']):>9} {row['frames_per_s']:>10,.0f} "
        f"{duration(row['peer_ns']):>9} {row['ratio']:>6.1f} {row['peer']}"
        for row in found
    ]
    return "\n".join([head, *lines])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 where results differ, 2 without the recordings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--frames", type=int, default=FRAMES, help="of a row, at most")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--json", action="store_true", help="one JSON list on stdout")
    options = parser.parse_args(arguments)
    if not (options.data / FOLDER).is_dir():
        print(f"the recorded ticks are not at {options.data / FOLDER}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        found, failures = measured(
            rows(options.data, options.frames, Path(folder)), options.repeats
        )
    if failures:
        print("results differ, so no time is given:", *failures, sep="\n", file=sys.stderr)
        return 1
    for row in found:
        row["frames_per_s"] = 1e9 / row["ours_ns"]
        row["frames_per_s_met"] = row["ours_ns"] <= TARGET_NS
    print(json.dumps(found, indent=1) if options.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
