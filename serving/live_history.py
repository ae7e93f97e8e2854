"""What a venue still has of the last days, as a tape: what a live line's models are fitted to.

One-minute bars, each one quote at its close (`hft_lib.market.bars`); the minute that is still under
way is left out.
"""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hft_lib.market.bars import bar_source
from hft_lib.market.imports import import_sources
from hft_lib.market.live.items import Unreadable
from hft_lib.market.tape import Tape
from serving.adapters.live.binance import BARS_MAX, BinanceVenue
from serving.adapters.live.feed import budget_of
from serving.adapters.live.figures import Figures
from serving.adapters.live.gate import Gate
from serving.adapters.live.venue import CallFailed
from serving.runtime.settings import Settings

MINUTES = 2 * 24 * 60  # of a relation that comes back within minutes, hundreds of returns
MINUTE_MS = 60_000
_COLUMNS = ("ts", "open", "high", "low", "close", "volume")


class NoHistory(Exception):
    """The venue did not give its bars; the text is one sentence."""


def history_tape(settings: Settings, symbols: Sequence[str], out: Path) -> Tape:
    """The last two days of `symbols` as the tape at `out`, in place of an earlier one.

    Raises NoHistory where the venue does not answer, or has no bars.
    """
    try:
        bars = asyncio.run(_fetch(settings, symbols))
    except (CallFailed, Unreadable) as error:
        raise NoHistory(f"the live market's last days cannot be had: {error}") from error
    empty = [symbol for symbol, rows in bars.items() if not rows]
    if empty:
        raise NoHistory(f"the venue has no bars of {' and '.join(empty)}")
    with tempfile.TemporaryDirectory() as folder:
        sources = [
            bar_source(_write(rows, Path(folder) / f"{place}.parquet"), symbol)
            for place, (symbol, rows) in enumerate(bars.items())
        ]
        note = {"format": "bars", "venue": BinanceVenue.name, "minutes": MINUTES}
        return import_sources(sources, out, note, replace=True)[0]


async def _fetch(settings: Settings, symbols: Sequence[str]) -> dict[str, list[list[float]]]:
    gate = Gate(budget_of(settings, BinanceVenue.name), Figures())
    venue = BinanceVenue(settings, symbols, gate)
    try:
        offset_ns = await venue.clock_offset_ns()
        now_ms = (time.time_ns() + offset_ns) // 1_000_000
        return {symbol: await _bars(venue, symbol, now_ms) for symbol in symbols}
    finally:
        await venue.close()


async def _bars(venue: BinanceVenue, symbol: str, now_ms: int) -> list[list[float]]:
    """The whole minutes of one symbol, in order, each once."""
    found: list[list[float]] = []
    begin_ms = now_ms - MINUTES * MINUTE_MS
    for since_ms in range(begin_ms, now_ms, BARS_MAX * MINUTE_MS):
        after_ms = found[-1][0] if found else -1.0
        page = await venue.minutes(symbol, since_ms)
        found += [row for row in page if row[0] > after_ms and row[0] + MINUTE_MS <= now_ms]
    return found


def _write(rows: list[list[float]], path: Path) -> Path:
    columns = dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True))
    times = pa.array([int(time_ms) for time_ms in columns.pop("ts")], pa.int64())
    values = {name: pa.array(column, pa.float64()) for name, column in columns.items()}
    pq.write_table(pa.table({"ts": times, **values}), path)
    return path
