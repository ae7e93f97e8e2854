"""Closes of many symbols side by side: a column of times, and a column of closes a symbol.

A file of bars with `open high low close` is of one symbol (`bars`). In a wide one the names of the
columns are the symbols: `BTC/USDT` or `BTCUSDT` where all of them are such, else coins in USDT. An
empty cell is no bar. No volume is known, so the quotes have size 0: they say what was paid, and
that nothing is known to have been on offer.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hft_lib.events import Instrument, Quote
from hft_lib.market.bars import (
    BATCH_ROWS,
    DECIMALS_MAX,
    PRICE_NAMES,
    TIME_NAMES,
    Times,
    Vector,
    count_steps,
    grid_of,
    modal_step_ns,
    open_parquet,
    symbol_of,
    to_floats,
    to_times,
)
from hft_lib.market.flaws import FlawTally
from hft_lib.market.imports import Source, instrument_of
from hft_lib.market.tape import DataError

COLUMNS_MIN = 2
QUOTE_OF_COINS = "USDT"


class WideFile(NamedTuple):
    """Rows of a wide file in its own order: open times in ns (rows,), closes (rows, symbols).

    A close is NaN where there is none, and `empty` (rows, symbols) where the cell holds nothing.
    """

    time_name: str
    symbols: list[str]
    open_ns: Times
    closes: Vector
    empty: npt.NDArray[np.bool_]


def is_wide(path: Path) -> bool:
    """Whether `path` is a Parquet file with a column of times and none of one symbol's bars."""
    try:
        names = {_plain(name) for name in open_parquet(path).schema_arrow.names}
    except DataError:  # what it is instead, its own reader says
        return False
    times = names & set(TIME_NAMES)
    return bool(times) and not names & set(PRICE_NAMES) and len(names - times) >= COLUMNS_MIN


def read_wide(path: Path) -> WideFile:
    """The wide file at `path` as it is, in whatever order; raises DataError where it is none."""
    file = open_parquet(path)
    time_name, symbols = _columns(file.schema_arrow.names)
    try:
        table = file.read([time_name, *symbols])
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is damaged: {' '.join(str(error).split())}") from error
    columns = [table.column(name) for name in symbols]
    closes = np.stack([to_floats(cells, name, path) for cells, name in zip(columns, symbols)], 1)
    empty = np.stack([pc.is_null(cells).to_numpy(zero_copy_only=False) for cells in columns], 1)
    times = to_times(table.column(time_name), path)
    return WideFile(time_name, list(symbols.values()), times, closes, empty)


def wide_source(path: Path, spread_bps: float) -> Source:
    """The quotes of the wide file at `path`, a row's by symbol, each at the close of its bar.

    `spread_bps` is the full spread in basis points. Raises DataError for a file that is none.
    """
    file = open_parquet(path)
    time_name, symbols = _columns(file.schema_arrow.names)
    times = to_times(file.read([time_name]).column(0), path)
    steps = count_steps(times)
    if min(steps, default=0) < 0:
        raise DataError(f"{path.name} must have its rows in the order of time")
    step_ns = modal_step_ns(Counter(steps), path)
    instruments = [
        _instrument(path, file, name, symbol, int(times[0]) + step_ns, step_ns)
        for name, symbol in symbols.items()
    ]

    def events() -> Iterator[Quote]:
        return _quotes(path, time_name, symbols, step_ns, spread_bps)

    return Source(path, instruments, instruments[0].time_ns, events, FlawTally())


def _columns(names: list[str]) -> tuple[str, dict[str, str]]:
    """The column of times, and the symbol that each other column means, in the order of symbols."""
    time_name = next(name for name in names if _plain(name) in TIME_NAMES)
    # pandas leaves an index of its own under a name in underscores
    columns = [name for name in names if name != time_name and not name.startswith("__")]
    found = [name if "/" in name else symbol_of(name) for name in columns]
    # WBETH alone might be a pair in ETH; beside AAVE it is a coin.
    coins = [name if "/" in name else f"{name}/{QUOTE_OF_COINS}" for name in columns]
    symbols = [symbol for symbol in found if symbol] if all(found) else coins
    by_symbol = sorted(zip(symbols, columns))
    return time_name, {column: symbol for symbol, column in by_symbol}


def _instrument(
    path: Path, file: pq.ParquetFile, name: str, symbol: str, first_ns: int, step_ns: int
) -> Instrument:
    closes = to_floats(file.read([name]).column(0), name, path)
    return instrument_of(symbol, first_ns, grid_of(closes), float(f"1e-{DECIMALS_MAX}"), step_ns)


def _quotes(
    path: Path, time_name: str, symbols: dict[str, str], step_ns: int, spread_bps: float
) -> Iterator[Quote]:
    half = spread_bps * 0.5e-4
    names = np.array(list(symbols.values()), object)
    for times, closes in _batches(path, time_name, list(symbols)):
        rows, columns = np.nonzero(np.isfinite(closes))
        paid, when = closes[rows, columns], (times[rows] + step_ns).tolist()
        bids, asks = (paid - paid * half).tolist(), (paid + paid * half).tolist()
        for time, symbol, bid, ask in zip(when, names[columns].tolist(), bids, asks):
            yield Quote(time, time, symbol, bid, 0.0, ask, 0.0)


def _batches(path: Path, time_name: str, names: list[str]) -> Iterator[tuple[Times, Vector]]:
    """Open times (rows,) and closes (rows, symbols), some rows at a time."""
    try:
        for batch in open_parquet(path).iter_batches(BATCH_ROWS, columns=[time_name, *names]):
            closes = [to_floats(batch.column(name), name, path) for name in names]
            yield to_times(batch.column(time_name), path), np.stack(closes, axis=1)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is damaged: {' '.join(str(error).split())}") from error


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_")
