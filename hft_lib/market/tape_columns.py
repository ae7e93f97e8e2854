"""How events lie in columns: one schema for all kinds, null where a kind has no such field.

A field's column has the field's name, with two exceptions: an instrument's `kind` is
`instrument_kind`, because `kind` names the event, and the levels of `Depth` are four lists. `more`
is not stored: it follows from the times.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hft_lib.events import Depth, Funding, Instrument, Mark, MarketEvent, Quote, TimePassed, Trade

SCHEMA_VERSION = 1

KINDS: dict[str, type[msgspec.Struct]] = {
    kind.__name__: kind for kind in (Instrument, Quote, Trade, Depth, Funding, Mark, TimePassed)
}

_INT, _FLOAT, _TEXT, _LIST = pa.int64(), pa.float64(), pa.string(), pa.list_(pa.float64())
_TYPES: dict[str, pa.DataType] = {
    "time_ns": _INT,
    "kind": _TEXT,
    "symbol": _TEXT,
    "exchange_time_ns": _INT,
    "bid": _FLOAT,
    "bid_size": _FLOAT,
    "ask": _FLOAT,
    "ask_size": _FLOAT,
    "update_id": _INT,
    "price": _FLOAT,
    "size": _FLOAT,
    "side": _TEXT,
    "trade_id": _INT,
    "rate": _FLOAT,
    "snapshot": pa.bool_(),
    "first_id": _INT,
    "last_id": _INT,
    "previous_id": _INT,
    "bid_prices": _LIST,
    "bid_sizes": _LIST,
    "ask_prices": _LIST,
    "ask_sizes": _LIST,
    "instrument_kind": _TEXT,
    "short": _TEXT,
    "borrow_rate_annual": _FLOAT,
    "taker_fee_rate": _FLOAT,
    "maker_fee_rate": _FLOAT,
    "price_tick": _FLOAT,
    "quantity_step": _FLOAT,
    "notional_min_quote": _FLOAT,
    "cadence_ns": _INT,
}
# Arrow itself asks pandas for these, which the live services do without.
_DTYPES: dict[pa.DataType, type] = {_INT: np.int64, _FLOAT: np.float64, pa.bool_(): np.bool_}
SCHEMA = pa.schema([pa.field(name, kind) for name, kind in _TYPES.items()])
TEXT = [name for name, kind in _TYPES.items() if kind == pa.string()]
_LEVELS = {"bids": ("bid_prices", "bid_sizes"), "asks": ("ask_prices", "ask_sizes")}


def is_schema(schema: pa.Schema) -> bool:
    """Whether a file's columns are those of a tape, text encoded as a dictionary or not."""
    return {field.name: _plain(field.type) for field in schema} == _TYPES


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return pa.list_(kind.value_type) if pa.types.is_list(kind) else kind


def _fields(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(name for name in kind.__struct_fields__ if name != "more")


def _column(kind: type, field: str) -> str:
    return "instrument_kind" if kind is Instrument and field == "kind" else field


_FIELDS = {kind: _fields(kind) for kind in KINDS.values()}


def columns_of(kinds: Iterable[str]) -> list[str]:
    """The columns that events of `kinds` fill, in the schema's order, and those of every row."""
    used = {"kind", "time_ns", "symbol"}
    for kind in (KINDS[name] for name in kinds):
        for field in _FIELDS[kind]:
            used.update(_LEVELS.get(field, (_column(kind, field),)))
    return [name for name in SCHEMA.names if name in used]


# --- events to columns ---


def to_batch(events: Sequence[MarketEvent | TimePassed]) -> pa.RecordBatch:
    """Lay `events` in columns, in their order; `more` is dropped."""
    rows_by_kind = _rows_by_kind(events)
    columns: dict[str, _Column] = {"kind": _Column(len(events), pa.string())}
    for kind, rows in rows_by_kind.items():
        columns["kind"].put(rows, (kind.__name__,) * len(rows))
        alike = events if len(rows_by_kind) == 1 else [events[row] for row in rows]
        for field in _FIELDS[kind]:
            for name, stored in _stored(kind, field, list(map(attrgetter(field), alike))):
                columns.setdefault(name, _Column(len(events), _TYPES[name])).put(rows, stored)
    arrays = [
        columns[name].array() if name in columns else pa.nulls(len(events), kind)
        for name, kind in _TYPES.items()
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _rows_by_kind(events: Sequence[MarketEvent | TimePassed]) -> dict[type, Sequence[int]]:
    kinds = list(map(type, events))
    if len(set(kinds)) == 1:
        return {kinds[0]: range(len(events))}
    rows_by_kind: dict[type, list[int]] = {kind: [] for kind in dict.fromkeys(kinds)}
    for row, kind in enumerate(kinds):
        rows_by_kind[kind].append(row)
    return dict(rows_by_kind)


def _stored(kind: type, field: str, column: Sequence[Any]) -> list[tuple[str, Sequence[Any]]]:
    if field in _LEVELS and kind is Depth:
        return [
            (name, [[level[item] for level in levels] for levels in column])
            for item, name in enumerate(_LEVELS[field])
        ]
    return [(_column(kind, field), column)]


class _Column:
    """One column being filled, row by row; a row that nothing fills is null."""

    def __init__(self, length: int, kind: pa.DataType) -> None:
        self.kind = kind
        self.values: npt.NDArray[Any] = np.zeros(length, _DTYPES.get(kind, object))
        self.empty = np.ones(length, np.bool_)

    def put(self, rows: Sequence[int], values: Sequence[Any]) -> None:
        place = slice(rows.start, rows.stop) if isinstance(rows, range) else np.array(rows)
        if pa.types.is_list(self.kind):  # NumPy would make one matrix of lists of one length
            for row, value in zip(rows, values):
                self.values[row] = value
        else:
            self.values[place] = values
        self.empty[place] = False

    def array(self) -> pa.Array:
        if pa.types.is_list(self.kind):
            filled = [None if empty else value for value, empty in zip(self.values, self.empty)]
            return pa.array(filled, self.kind)
        return pa.array(self.values, self.kind, mask=self.empty, from_pandas=False)


# --- columns to events ---


def to_events(
    batch: pa.RecordBatch, more: npt.NDArray[np.bool_] | None = None
) -> list[MarketEvent | TimePassed]:
    """Build the events of `batch` in its order, with `more` (rows,) as given.

    Its text columns are dictionary-encoded.
    """
    names, codes = dictionary(batch.column("kind"))
    present = np.unique(codes).tolist()
    if more is None:
        more = np.zeros(len(codes), np.bool_)
    if len(present) == 1:
        return _build(KINDS[names[present[0]]], batch, more)
    events = np.empty(len(codes), object)
    for code in present:
        chosen = codes == code
        kind = KINDS[names[code]]
        rows = batch.select(columns_of([kind.__name__])).filter(pa.array(chosen))
        events[chosen] = _build(kind, rows, more[chosen])
    built: list[MarketEvent | TimePassed] = events.tolist()
    return built


def _build(kind: type, batch: pa.RecordBatch, more: npt.NDArray[np.bool_]) -> list[Any]:
    columns = [
        _levels(batch, field) if kind is Depth and field in _LEVELS else _values(batch, kind, field)
        for field in _FIELDS[kind]
    ]
    if kind is not TimePassed:
        columns.append(more.tolist())
    return list(map(kind, *columns))


def _values(batch: pa.RecordBatch, kind: type, field: str) -> list[Any]:
    column = batch.column(_column(kind, field))
    if pa.types.is_dictionary(column.type):
        names, codes = dictionary(column)
        return np.array(names, object)[codes].tolist()
    # Zero-copy of a column with a null raises: a row without a field of its kind is a broken tape.
    values: list[Any] = column.to_numpy(
        zero_copy_only=not pa.types.is_boolean(column.type)
    ).tolist()
    return values


def _levels(batch: pa.RecordBatch, field: str) -> list[tuple[tuple[float, float], ...]]:
    prices, sizes = (batch.column(name) for name in _LEVELS[field])
    levels = list(zip(prices.flatten().to_numpy().tolist(), sizes.flatten().to_numpy().tolist()))
    ends = np.cumsum(prices.value_lengths().to_numpy()).tolist()
    return [tuple(levels[start:end]) for start, end in zip([0, *ends], ends)]


def dictionary(column: pa.DictionaryArray) -> tuple[list[str], npt.NDArray[np.int32]]:
    """The distinct texts of a column and each row's place among them."""
    return column.dictionary.to_pylist(), column.indices.to_numpy()
