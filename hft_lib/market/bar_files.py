"""Bar files read whole: Parquet, CSV, and freqtrade's JSON, the latter two also gzip."""

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from hft_lib.market import bars as bar_columns
from hft_lib.market.bars import Bars, Times
from hft_lib.market.binance_ws import open_plain_or_gzip
from hft_lib.market.tape import DataError

UNIX_NAMES = ("unix_timestamp", "unix_time", "unix")  # by that name, seconds since 1970
DATE_FORMATS = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
)
FREQTRADE_COLUMNS = ("open_ns", "open", "high", "low", "close", "volume")


class BarFile(msgspec.Struct):
    """Rows of a bar file in its own order, by its finest times.

    `other_times` are its further columns of times. `named_symbol` and `named_step_ns` are what the
    file's name says (None: nothing), `symbols` what a column says. `unix_unit_ns` is the unit of a
    column that calls itself Unix time.
    """

    path: Path
    bars: Bars
    time_name: str
    other_times: dict[str, Times]
    named_symbol: str | None
    named_step_ns: int | None
    symbols: list[str]
    unix_name: str | None = None
    unix_unit_ns: int = 10**9

    @property
    def symbol(self) -> str:
        """What to call the rows: by the name, else the column, else the name as it is."""
        return self.named_symbol or (self.symbols[0] if self.symbols else self.path.name)


def read(path: Path) -> BarFile:
    """Read the bar file at `path`, whatever its form; raises DataError where it is none."""
    if not path.is_file():
        raise DataError(f"{path} is not a file")
    head = _head(path)
    if not head:
        raise DataError(f"{path} is empty")
    if head[:4] == b"PAR1":
        return _from_table(bar_columns.open_parquet(path).read(), path)
    if head.lstrip()[:1] in (b"[", b"{"):
        return _read_json(path)
    return _read_csv(path)


def _head(path: Path) -> bytes:
    try:
        with open_plain_or_gzip(path) as file:
            return file.read(4096)
    except (OSError, EOFError) as error:
        raise DataError(f"{path} is damaged: {error}") from error


def _content(path: Path) -> bytes:
    try:
        with open_plain_or_gzip(path) as file:
            return file.read()
    except (OSError, EOFError) as error:
        raise DataError(f"{path} is damaged or cut short: {error}") from error


def _read_json(path: Path) -> BarFile:
    rows_type = list[
        tuple[float, float | None, float | None, float | None, float | None, float | None]
    ]
    try:
        rows = msgspec.json.decode(_content(path), type=rows_type)
    except msgspec.DecodeError as error:
        raise DataError(
            f"{path} is no list of [time, open, high, low, close, volume]: {error}"
        ) from error
    if not rows:
        raise DataError(f"{path} has no rows")
    names = dict(zip(FREQTRADE_COLUMNS, FREQTRADE_COLUMNS))
    table = pa.table([pa.array(column, pa.float64()) for column in zip(*rows)], list(names))
    bars = bar_columns.to_bars(table, names, path)
    return BarFile(path, bars, "time", {}, _named_symbol(path), _named_step_ns(path), [])


def _read_csv(path: Path) -> BarFile:
    content = _content(path)
    lines = content.split(b"\n", 2)
    # Some archives put their own address on a line above the header.
    skip = 1 if len(lines) > 1 and lines[0].count(b",") < lines[1].count(b",") else 0
    try:
        table = pa.csv.read_csv(pa.BufferReader(content), pa.csv.ReadOptions(skip_rows=skip))
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no CSV file: {' '.join(str(error).split())}") from error
    if not table.num_rows:
        raise DataError(f"{path} has no rows")
    return _from_table(table, path)


def _from_table(table: pa.Table, path: Path) -> BarFile:
    names = {_plain(name): name for name in reversed(table.column_names)}
    times = _time_columns(table, names, path)
    if not times:
        raise DataError(
            f"{path.name} has no column of times, only {', '.join(table.column_names[:8])}"
        )
    # The finest times are the ones that say when; the others are judged against them.
    finest = max(times, key=lambda name: len(np.unique(times[name])))
    columns = {field: _value_column(field, names, path) for field in FREQTRADE_COLUMNS[1:]}
    values = {name: table.column(name) for name in columns.values()}
    plain = pa.table({**values, "open_ns": pa.array(times[finest])})
    bars = bar_columns.to_bars(plain, {"open_ns": "open_ns", **columns}, path)
    unix = next((names[name] for name in UNIX_NAMES if name in names), None)
    symbols: list[str] = []
    if "symbol" in names:
        symbols = [str(one) for one in pc.unique(table.column(names["symbol"])).to_pylist()]
    return BarFile(
        path,
        bars,
        finest,
        {name: column for name, column in times.items() if name != finest},
        _named_symbol(path),
        _named_step_ns(path),
        symbols,
        unix,
        bar_columns.unit_ns(_numbers(table.column(unix))) if unix else 10**9,
    )


def _time_columns(table: pa.Table, names: dict[str, str], path: Path) -> dict[str, Times]:
    found = {}
    for name in (*UNIX_NAMES, *bar_columns.TIME_NAMES):
        if name in names:
            column = table.column(names[name])
            if pa.types.is_string(column.type):
                column = _parse_dates(column, names[name], path)
            found[names[name]] = bar_columns.to_times(column, path)
    return found


def _parse_dates(column: pa.ChunkedArray, name: str, path: Path) -> pa.ChunkedArray:
    for form in DATE_FORMATS:
        parsed = pc.strptime(column, format=form, unit="s", error_is_null=True)
        if parsed.null_count == column.null_count:
            return parsed
    raise DataError(f"{path.name} has no date known here in column {name}: {column[0].as_py()!r}")


def _value_column(field: str, names: dict[str, str], path: Path) -> str:
    """The column of a field: by its name, else the first that begins with it (`Volume BTC`)."""
    for plain, name in names.items():
        if plain == field:
            return name
    for plain, name in reversed(names.items()):
        if plain.startswith(f"{field}_"):
            return name
    raise DataError(f"{path.name} has no column {field}, only {', '.join(list(names)[:8])}")


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    numbers: npt.NDArray[Any] = column.to_numpy()
    return numbers


def _named_symbol(path: Path) -> str | None:
    """The symbol in a name such as `BTCUSDT_PERP`, `UNITTEST_BTC-1m` or `gemini_BTCUSD_1min`."""
    stem = path.name.split(".")[0]
    whole = bar_columns.symbol_of(stem)
    if whole:
        return whole
    pair = re.search(r"(?:^|_)([A-Z0-9]+)_([A-Z]{3,5})(?=[-_]\d|$)", stem)
    if pair:
        return f"{pair[1]}/{pair[2]}"
    parts = (bar_columns.symbol_of(part) for part in re.split(r"[-_]", stem))
    return next((symbol for symbol in parts if symbol), None)


def _named_step_ns(path: Path) -> int | None:
    """The step in a name: `-1m`, `_5min`, `_1h`, `-1d`."""
    found = re.search(r"[-_](\d+)(m|min|h|d)(?=[-_.]|$)", path.name, re.IGNORECASE)
    if not found:
        return None
    unit_s = {"m": 60, "h": 3600, "d": 86_400}[found[2][0].lower()]
    return int(found[1]) * unit_s * 10**9
