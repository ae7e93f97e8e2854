"""Bar files: what their columns mean, and a bar as the one quote that it shows at its close.

    time = open time + step,   bid, ask = close -/+ close * spread / 2,   sizes = the bar's volume

`step` is the commonest time between two rows. A bar is known only at its close, so that is when its
quote comes.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hft_lib.events import Quote
from hft_lib.market.flaws import FlawTally
from hft_lib.market.imports import Source, instrument_of
from hft_lib.market.tape import DataError

Vector = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
SPREAD_BPS_DEFAULT = 2.0
BATCH_ROWS = 16_384
PROBE_ROWS = 100_000
DECIMALS_MAX = 8
TIME_NAMES = ("ts", "timestamp", "open_time", "time", "datetime", "date")
PRICE_NAMES = ("open", "high", "low", "close")
# Longest first: BTCFDUSD ends in USD too.
QUOTE_CURRENCIES = (
    "FDUSD",
    "USDT",
    "USDC",
    "BUSD",
    "TUSD",
    "USDP",
    "DAI",
    "USD",
    "EUR",
    "GBP",
    "TRY",
    "BRL",
)
QUOTE_COINS = ("BTC", "ETH", "BNB")


class Bars(msgspec.Struct):
    """Rows as they lie in a file, (rows,) each: open times in ns; NaN where a value is missing."""

    open_ns: Times
    open: Vector
    high: Vector
    low: Vector
    close: Vector
    volume: Vector


def symbol_of(name: str) -> str | None:
    """The symbol that a file's name means, or None.

    `BTCUSDT` is BTC/USDT, `BTCUSDT_PERP` its perpetual BTC/USDT:USDT.
    """
    found = re.fullmatch(r"([A-Z0-9]{4,})(_PERP)?", name)
    if not found:
        return None
    for quote in QUOTE_CURRENCIES + QUOTE_COINS:
        base = found[1].removesuffix(quote)
        if base and base != found[1]:
            return f"{base}/{quote}:{quote}" if found[2] else f"{base}/{quote}"
    return None


def bar_source(
    path: Path, symbol: str | None = None, spread_bps: float = SPREAD_BPS_DEFAULT
) -> Source:
    """The quotes of the Parquet bar file at `path`; its name says the symbol unless `symbol` does.

    `spread_bps` is the full spread in basis points. Raises DataError for a file that is no bar
    file.
    """
    symbol = symbol or symbol_of(path.stem)
    if symbol is None:
        raise DataError(
            f"{path.name} does not name its symbol as BTCUSDT or BTCUSDT_PERP do: say SYMBOL=FILE"
        )
    file = open_parquet(path)
    time_name = _columns(file.schema_arrow, path)["open_ns"]
    step_ns, first_ns = _step_and_first(file, time_name, path)
    probe = next(read_bars(path, PROBE_ROWS))
    instrument = instrument_of(
        symbol,
        first_ns + step_ns,
        grid_of(probe.close),
        grid_of(probe.volume),
        step_ns,
    )

    def events() -> Iterator[Quote]:
        return quotes(read_bars(path), symbol, step_ns, spread_bps)

    return Source(path, [instrument], first_ns + step_ns, events, FlawTally())


def read_bars(path: Path, batch_rows: int = BATCH_ROWS) -> Iterator[Bars]:
    """Yield the rows of the Parquet bar file at `path`, `batch_rows` at a time.

    Raises DataError for a file that is none.
    """
    file = open_parquet(path)
    columns = _columns(file.schema_arrow, path)
    try:
        for batch in file.iter_batches(batch_rows, columns=list(columns.values())):
            yield to_bars(batch, columns, path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is damaged: {' '.join(str(error).split())}") from error


def to_bars(batch: pa.RecordBatch | pa.Table, columns: dict[str, str], path: Path) -> Bars:
    """The chosen `columns` (field of Bars to column) of `batch` as arrays.

    Raises DataError where one holds no numbers.
    """
    fields: dict[str, Any] = {"open_ns": to_times(batch.column(columns["open_ns"]), path)}
    for field, name in columns.items():
        if field != "open_ns":
            fields[field] = to_floats(batch.column(name), name, path)
    return Bars(**fields)


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file; raises DataError where it is none, half written, or empty."""
    if not path.is_file():
        raise DataError(f"{path} is not a file")
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"{path} is no whole Parquet file: {reason}") from error
    if not file.metadata.num_rows:
        raise DataError(f"{path} has no rows")
    return file


def columns_of(names: list[str], path: Path) -> dict[str, str]:
    """Which column holds each field of Bars, whatever the case of its name.

    Raises DataError naming the one that is missing.
    """
    known = {name.strip().lower().replace(" ", "_"): name for name in reversed(names)}
    time = next((known[name] for name in TIME_NAMES if name in known), None)
    if time is None:
        raise DataError(
            f"{path.name} has no column of times ({', '.join(TIME_NAMES)}), only {names[:8]}"
        )
    columns = {"open_ns": time}
    for field in (*PRICE_NAMES, "volume"):
        if field not in known:
            raise DataError(f"{path.name} has no column {field}, only {', '.join(names[:8])}")
        columns[field] = known[field]
    return columns


def _columns(schema: pa.Schema, path: Path) -> dict[str, str]:
    return columns_of(schema.names, path)


def to_times(column: pa.Array | pa.ChunkedArray, path: Path) -> Times:
    """Times in ns of a column of timestamps, or of numbers whose size tells their unit."""
    if column.null_count:
        raise DataError(f"{path.name} has {column.null_count} rows without a time")
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        stamps: Times = (
            column.cast(pa.timestamp("ns", getattr(kind, "tz", None))).cast(pa.int64()).to_numpy()
        )
        return stamps
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise DataError(f"{path.name} has times of type {kind}, not numbers or timestamps")
    values: npt.NDArray[Any] = column.to_numpy()
    if not np.isfinite(values).all():
        raise DataError(f"{path.name} has rows without a time")
    unit = unit_ns(values)
    if np.issubdtype(values.dtype, np.integer):
        whole_ns: Times = values.astype(np.int64) * unit
        return whole_ns
    whole = np.floor(values)  # no double holds the ns since 1970: whole units and the rest apart
    rest_ns = np.rint((values - whole) * unit).astype(np.int64)
    ns: Times = whole.astype(np.int64) * unit + rest_ns
    return ns


def unit_ns(times: npt.NDArray[Any]) -> int:
    """The unit, in ns, of times since 1970: the coarsest that puts them before the year 5138."""
    largest = float(np.max(np.abs(times), initial=0.0))
    return next(
        (unit for limit, unit in ((1e11, 10**9), (1e14, 10**6), (1e17, 10**3)) if largest < limit),
        1,
    )


def to_floats(column: pa.Array | pa.ChunkedArray, name: str, path: Path) -> Vector:
    """Numbers of a column as float64, NaN where one is missing; DataError where it holds none."""
    try:
        values: Vector = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path.name} has no numbers in column {name}") from error
    return values


def modal_step_ns(steps: Counter[int], path: Path) -> int:
    """The commonest of the positive `steps`, the smallest of equally common ones."""
    positive = {step: count for step, count in steps.items() if step > 0}
    if not positive:
        raise DataError(f"{path.name} has no two different times, so its step is unknown")
    return min(positive, key=lambda step: (-positive[step], step))


def count_steps(times: Times) -> Counter[int]:
    """How often each difference between neighbours occurs."""
    steps, often = np.unique(np.diff(times), return_counts=True)
    return Counter(dict(zip(steps.tolist(), often.tolist())))


def _step_and_first(file: pq.ParquetFile, time_name: str, path: Path) -> tuple[int, int]:
    steps: Counter[int] = Counter()
    first = last = None
    for batch in file.iter_batches(BATCH_ROWS, columns=[time_name]):
        times = to_times(batch.column(0), path)
        first = int(times[0]) if first is None else first
        steps += count_steps(times if last is None else np.append(last, times))
        last = times[-1]
    assert first is not None
    # A file with its newest row first has only negative steps; their size is the step all the same.
    sizes = Counter({abs(step): 0 for step in steps})
    for step, often in steps.items():
        sizes[abs(step)] += often
    return modal_step_ns(sizes, path), first


def grid_of(values: Vector) -> float:
    """The power of ten, at least 1e-8, of which all finite `values` are multiples."""
    finite = values[np.isfinite(values)]
    for decimals in range(DECIMALS_MAX):
        scaled = finite * 10.0**decimals
        # What rounding to a double may leave on a value of this size.
        slack = np.abs(scaled) * 4e-16 + 1e-9
        if (np.abs(scaled - np.rint(scaled)) <= slack).all():
            return float(f"1e-{decimals}")
    return float(f"1e-{DECIMALS_MAX}")


def quotes(parts: Iterable[Bars], symbol: str, step_ns: int, spread_bps: float) -> Iterator[Quote]:
    """Each row's quote, in order: `time_ns` never goes back, the other time is the bar's."""
    latest_ns = -(2**63)
    half = spread_bps * 0.5e-4
    for bars in parts:
        close_ns = bars.open_ns + step_ns
        time_ns = np.maximum.accumulate(np.maximum(close_ns, latest_ns))
        latest_ns = int(time_ns[-1])
        bids = bars.close - bars.close * half
        asks = bars.close + bars.close * half
        sizes = bars.volume.tolist()
        rows = zip(time_ns.tolist(), close_ns.tolist(), bids.tolist(), sizes, asks.tolist())
        for time, close, bid, size, ask in rows:
            yield Quote(time, close, symbol, bid, size, ask, size)
