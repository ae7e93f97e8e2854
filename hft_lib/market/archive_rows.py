"""What the archive's zip files hold, as events: one CSV each, with a header or without.

Times are milliseconds, on spot from 2025 on microseconds: their size tells. A bar is a quote at its
close, by the rule of every bar (`bars`), or a mark price. A file is never unpacked to disk: it is
read as it is unpacked, by columns, whatever the size that it has inside.
"""

import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from hft_lib.events import Funding, Instrument, Mark, MarketEvent, Quote, Trade
from hft_lib.market import bars as bar_columns
from hft_lib.market.archive import STEPS_S, ArchiveFile, Kind, Wanted
from hft_lib.market.bars import Bars, Times, grid_of
from hft_lib.market.binance_ws import CADENCE_NS_MIN
from hft_lib.market.flaws import FlawTally
from hft_lib.market.imports import Source, instrument_of
from hft_lib.market.tape import DataError

Floats = npt.NDArray[np.float64]
BLOCK_BYTES = 1 << 20  # of text that is parsed at a time
RATIO_MAX = 300  # rows of numbers shrink to a tenth; all alike they may to a hundredth
PROBE_ROWS = 100_000
NS = 10**9
OPENED_NS = 1_483_228_800 * NS  # 2017, in which Binance opened

_BAR_NAMES = (
    "opentime,open,high,low,close,volume,closetime,quotevolume,count,takerbuyvolume,"
    "takerbuyquotevolume,ignore"
)
# The columns of a file without a header, and which of them are read: squeezed names, as `_squeezed`
# makes of `isBuyerMaker` and `is_buyer_maker`.
_NAMES = {
    Kind.KLINES: _BAR_NAMES,
    Kind.MARK_PRICE_KLINES: _BAR_NAMES,
    Kind.TRADES: "id,price,qty,quoteqty,time,isbuyermaker,isbestmatch",
    Kind.AGG_TRADES: "aggtradeid,price,quantity,firsttradeid,lasttradeid,transacttime,"
    "isbuyermaker,isbestmatch",
    Kind.BOOK_TICKER: "updateid,bestbidprice,bestbidqty,bestaskprice,bestaskqty,transactiontime,"
    "eventtime",
    Kind.FUNDING_RATE: "calctime,fundingintervalhours,lastfundingrate",
}
_READ = {
    Kind.KLINES: ("opentime", "open", "high", "low", "close", "volume"),
    Kind.MARK_PRICE_KLINES: ("opentime", "close"),
    Kind.TRADES: ("id", "price", "qty", "time", "isbuyermaker"),
    Kind.AGG_TRADES: ("aggtradeid", "price", "quantity", "transacttime", "isbuyermaker"),
    Kind.BOOK_TICKER: (
        "updateid",
        "bestbidprice",
        "bestbidqty",
        "bestaskprice",
        "bestaskqty",
        "transactiontime",
    ),
    Kind.FUNDING_RATE: ("calctime", "lastfundingrate"),
}
_WHOLE = {"opentime", "time", "transacttime", "transactiontime", "calctime"}
_WHOLE |= {"id", "aggtradeid", "updateid"}


class Fetched(msgspec.Struct, frozen=True):
    """A file of the archive that is here, its checksum found right."""

    file: ArchiveFile
    path: Path


def sources(
    streams: Sequence[tuple[Wanted, Sequence[Fetched]]],
    first: date,
    last: date,
    spread_bps: float,
) -> list[Source]:
    """A source a stream, its files one after another in the order of their days.

    A symbol's instrument is the same in all its sources: ticks of the finest, the cadence of the
    one that has its quotes. Raises DataError for a file that is not what its name says.
    """
    facts = [(one, _probe(one, files)) for one, files in streams]
    window = _midnight_ns(first), _midnight_ns(last) + 86_400 * NS
    made = []
    for (one, files), (_, fact) in zip(streams, facts):
        known = [other for stream, other in facts if stream.symbol == one.symbol]
        instrument = _instrument(one.symbol, fact.first_ns, known)
        flaws = FlawTally()
        events = partial(_events, one, files, window, spread_bps, flaws)
        made.append(Source(files[0].path, [instrument], fact.first_ns, events, flaws))
    return made


# --- the zip file and its one CSV ---


def batches(fetched: Fetched, flaws: FlawTally | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the columns that are read of a file, some rows at a time, named as squeezed.

    A row with too few or too many columns is counted in `flaws`. Raises DataError for a zip that
    holds anything but the CSV of its own name, or numbers that are none.
    """
    try:
        with zipfile.ZipFile(fetched.path) as archive, archive.open(_member(archive, fetched)) as f:
            assert isinstance(f, zipfile.ZipExtFile)
            yield from _parsed(f, fetched, flaws)
    # The last two: an encrypted file, and a way of packing that zipfile does not know.
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{fetched.file.name} is no whole zip file: {_said(error)}") from error
    except pa.ArrowException as error:
        raise DataError(f"{fetched.file.name} is not as it should be: {_said(error)}") from error


def _member(archive: zipfile.ZipFile, fetched: Fetched) -> zipfile.ZipInfo:
    members, wanted = archive.infolist(), fetched.file.name.removesuffix(".zip") + ".csv"
    if [member.filename for member in members] != [wanted]:
        held = ", ".join(member.filename for member in members[:3])
        raise DataError(f"{fetched.file.name} must hold {wanted} alone, holds {held or 'nothing'}")
    packed, unpacked = members[0].compress_size, members[0].file_size
    if unpacked > RATIO_MAX * max(packed, 100):
        raise DataError(
            f"{fetched.file.name} says it is {unpacked / max(packed, 1):,.0f} times as large "
            f"unpacked: more than {RATIO_MAX} times is no table of numbers"
        )
    return members[0]


def _parsed(
    file: zipfile.ZipExtFile, fetched: Fetched, flaws: FlawTally | None
) -> Iterator[pa.RecordBatch]:
    head = file.peek(4096)[:4096].partition(b"\n")[0].decode("utf-8", "replace").strip()
    if not head:
        raise DataError(f"{fetched.file.name} holds no rows")
    kind, fields = fetched.file.kind, head.split(",")
    has_header = not re.match(r"\s*\d", head)
    names = [_squeezed(f) for f in fields] if has_header else _NAMES[kind].split(",")[: len(fields)]
    missing = [name for name in _READ[kind] if name not in names]
    if missing or len(names) != len(fields):
        what = f"a column {missing[0]}" if missing else f"{len(names)} columns"
        raise DataError(f"{fetched.file.name} must have {what}, begins {head[:80]!r}")
    reader = pyarrow.csv.open_csv(
        pa.PythonFile(file, mode="r"),
        pyarrow.csv.ReadOptions(
            column_names=names, skip_rows=int(has_header), block_size=BLOCK_BYTES, use_threads=False
        ),
        pyarrow.csv.ParseOptions(invalid_row_handler=_counting(fetched, flaws)),
        pyarrow.csv.ConvertOptions(
            include_columns=list(_READ[kind]), column_types={n: _type(n) for n in _READ[kind]}
        ),
    )
    yield from (batch for batch in reader if batch.num_rows)


def _counting(fetched: Fetched, flaws: FlawTally | None) -> Callable[[object], str]:
    def count(row: object) -> str:
        if flaws is not None:
            text = str(getattr(row, "text", ""))[:60]
            at_ns = _midnight_ns(fetched.file.first)
            flaws.add("BROKEN_LINE", fetched.file.symbol, at_ns, detail=f"{text!r}")
        return "skip"

    return count


def _type(name: str) -> pa.DataType:
    if name == "isbuyermaker":
        return pa.bool_()
    return pa.int64() if name in _WHOLE else pa.float64()


def _squeezed(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__


# --- instruments ---


class _Facts(msgspec.Struct):
    """What the first rows of a stream tell; `cadence_ns` 0 where it has no quotes."""

    first_ns: int
    price_tick: float
    quantity_step: float
    cadence_ns: int
    priced: bool


def _probe(one: Wanted, files: Sequence[Fetched]) -> _Facts:
    kind, rows, found = one.kind, 0, list[pa.RecordBatch]()
    for batch in chain.from_iterable(batches(file) for file in files):
        found.append(batch)
        rows += batch.num_rows
        if rows >= PROBE_ROWS:
            break
    if not found:
        raise DataError(f"{files[0].file.name} and what follows it hold no rows")
    table = pa.Table.from_batches(found).slice(0, PROBE_ROWS)
    columns = _READ[kind]
    name = next(column for column in columns if column in _WHOLE and "id" not in column)
    times = _times(table.column(name), files[0])
    step_ns = STEPS_S[one.step] * NS if one.step else 0
    first_ns = int(times[0]) + step_ns
    if kind is Kind.FUNDING_RATE:
        return _Facts(first_ns, 1e-8, 1e-8, 0, False)
    price, size = {
        Kind.KLINES: ("close", "volume"),
        Kind.MARK_PRICE_KLINES: ("close", ""),
        Kind.TRADES: ("price", "qty"),
        Kind.AGG_TRADES: ("price", "quantity"),
        Kind.BOOK_TICKER: ("bestbidprice", "bestbidqty"),
    }[kind]
    size_tick = grid_of(_floats(table.column(size))) if size else 1e-8
    cadence_ns = step_ns if kind is Kind.KLINES else 0
    if kind is Kind.BOOK_TICKER:
        cadence_ns = max(_median_gap(times), CADENCE_NS_MIN)
    priced = kind is not Kind.MARK_PRICE_KLINES  # a mark has more decimals than the market
    return _Facts(first_ns, grid_of(_floats(table.column(price))), size_tick, cadence_ns, priced)


def _median_gap(times: Times) -> int:
    gaps = np.sort(np.diff(times))
    return int(gaps[len(gaps) // 2]) if len(gaps) else 0


def _instrument(symbol: str, first_ns: int, known: Sequence[_Facts]) -> Instrument:
    priced = [fact for fact in known if fact.priced] or list(known)
    quoted = [fact.cadence_ns for fact in known if fact.cadence_ns]
    return instrument_of(
        symbol,
        first_ns,
        min(fact.price_tick for fact in priced),
        min(fact.quantity_step for fact in priced),
        min(quoted) if quoted else CADENCE_NS_MIN,
    )


# --- rows to events ---

Window = tuple[int, int]
Made = Iterator[MarketEvent]
Rows = Iterable[tuple[Fetched, pa.RecordBatch]]


def _events(
    one: Wanted, files: Sequence[Fetched], window: Window, spread_bps: float, flaws: FlawTally
) -> Made:
    rows = ((file, batch) for file in files for batch in batches(file, flaws))
    match one.kind:
        case Kind.KLINES:
            parts = (_bars(file, batch) for file, batch in rows)
            return bar_columns.quotes(parts, one.symbol, STEPS_S[one.step] * NS, spread_bps)
        case Kind.MARK_PRICE_KLINES:
            return _marks(one, rows)
        case Kind.FUNDING_RATE:
            return _fundings(one, rows, window)
        case Kind.BOOK_TICKER:
            return _quotes(one, rows)
        case Kind.TRADES | Kind.AGG_TRADES:
            return _trades(one, rows)


def _marks(one: Wanted, rows: Rows) -> Made:
    step_ns = STEPS_S[one.step] * NS
    for time_ns, own_ns, (close,) in _timed(rows, "opentime", ("close",), step_ns):
        for at_ns, exchange_ns, price in zip(time_ns, own_ns, close):
            yield Mark(at_ns, exchange_ns, one.symbol, price)


def _fundings(one: Wanted, rows: Rows, window: Window) -> Made:
    for time_ns, own_ns, (rates,) in _timed(rows, "calctime", ("lastfundingrate",)):
        for at_ns, exchange_ns, rate in zip(time_ns, own_ns, rates):
            if window[0] <= exchange_ns < window[1]:  # its month is longer than what was asked
                yield Funding(at_ns, exchange_ns, one.symbol, rate)


def _quotes(one: Wanted, rows: Rows) -> Made:
    for time_ns, own_ns, columns in _timed(rows, "transactiontime", _READ[one.kind][:5]):
        for row in zip(time_ns, own_ns, *columns):
            at_ns, exchange_ns, update_id, bid, bid_size, ask, ask_size = row
            yield Quote(at_ns, exchange_ns, one.symbol, bid, bid_size, ask, ask_size, update_id)


def _trades(one: Wanted, rows: Rows) -> Made:
    number, price, size, when, maker = _READ[one.kind]
    for time_ns, own_ns, columns in _timed(rows, when, (number, price, size, maker)):
        for row in zip(time_ns, own_ns, *columns):
            at_ns, exchange_ns, trade_id, paid, amount, buyer_made = row
            side = "sell" if buyer_made else "buy"
            yield Trade(at_ns, exchange_ns, one.symbol, paid, amount, side, trade_id)


def _bars(file: Fetched, batch: pa.RecordBatch) -> Bars:
    times = _times(batch.column("opentime"), file)
    values = [_floats(batch.column(name)) for name in _READ[Kind.KLINES][1:]]
    return Bars(times, *values)


def _timed(
    rows: Rows, when: str, names: Sequence[str], step_ns: int = 0
) -> Iterator[tuple[list[int], list[int], list[list[Any]]]]:
    """Of each batch: times that never go back, the rows' own times, and the columns `names`."""
    latest_ns = -(2**63)
    for file, batch in rows:
        own = _times(batch.column(when), file) + step_ns
        time_ns = np.maximum.accumulate(np.maximum(own, latest_ns))
        latest_ns = int(time_ns[-1])
        yield time_ns.tolist(), own.tolist(), [_values(batch.column(name)) for name in names]


def _times(column: pa.Array | pa.ChunkedArray, file: Fetched) -> Times:
    times = bar_columns.to_times(column, file.path)
    # A file in two units has the times of one of them long before.
    if not (times >= OPENED_NS).all() or not (times < 2**62).all():
        raise DataError(f"{file.file.name} has a time that is none: {int(times.min())}")
    return times


def _values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    if pa.types.is_floating(column.type):
        return _floats(column).tolist()
    if column.null_count:
        raise DataError(f"{column.null_count} rows have no id or side")
    made: list[Any] = column.to_pylist()
    return made


def _floats(column: pa.Array | pa.ChunkedArray) -> Floats:
    """NaN where a value is missing: ingestion judges what came."""
    values: Floats = pc.fill_null(column, float("nan")).to_numpy(zero_copy_only=False)
    return values


def _midnight_ns(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * NS
