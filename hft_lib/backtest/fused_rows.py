"""A feed's rows as one array of numbers, for a compiled loop: quotes, trades, marks, changes of
the book and passing time of one pair; every other row is only told apart.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hft_lib.events import Depth, Event, Mark, Quote, TimePassed, Trade
from hft_lib.market import tape_columns
from hft_lib.market.merge import Stretch, feed_stretches
from hft_lib.market.tape import Tape
from hft_lib.rows import Rows

OTHER, QUOTE, TRADE, MARK, DEPTH, TIME = 0, 1, 2, 3, 4, 5
Y, X, NO_LEG = 0, 1, 2
ALONE_MAX = 16  # events of a stretch that are made alone; a hundred cost what all of them do
_CODES = {
    Quote.__name__: QUOTE,
    Trade.__name__: TRADE,
    Mark.__name__: MARK,
    Depth.__name__: DEPTH,
    TimePassed.__name__: TIME,
}

# `values` are a quote's bid, its size, ask and its size, a trade's price and size, or a mark;
# `number` is the exchange's id, `previous` that of the change of the book before.
ROW = np.dtype(
    [
        ("kind", np.int64),
        ("leg", np.int64),
        ("more", np.int64),
        ("time_ns", np.int64),
        ("exchange_ns", np.int64),
        ("number", np.int64),
        ("previous", np.int64),
        ("values", np.float64, (4,)),
    ]
)
# The field of a row, the column that fills it, by kind; every other column that must be there.
_NUMBERS = {
    QUOTE: {"exchange_ns": "exchange_time_ns", "number": "update_id"},
    TRADE: {"exchange_ns": "exchange_time_ns", "number": "trade_id"},
    MARK: {"exchange_ns": "exchange_time_ns"},
    DEPTH: {"number": "last_id", "previous": "previous_id"},
}
_VALUES = {
    QUOTE: ("bid", "bid_size", "ask", "ask_size"),
    TRADE: ("price", "size"),
    MARK: ("price",),
    DEPTH: (),
}
_BESIDE = {TRADE: ("side",), DEPTH: ("exchange_time_ns", "first_id", "snapshot")}
_LEVELS = ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")


def rows_of(stretch: Stretch, legs: tuple[str, str]) -> Rows:
    """The rows of `stretch` (rows,) as `ROW`; y and x are `legs`.

    A row that lacks a field of its kind is `OTHER`, so that whoever builds its event says so.
    """
    batch = stretch.rows
    rows: Rows = np.zeros(batch.num_rows, ROW)
    rows["time_ns"] = batch.column("time_ns").to_numpy()
    rows["more"] = stretch.more
    rows["kind"] = _coded(batch.column("kind"), _CODES, OTHER)
    rows["leg"] = _coded(batch.column("symbol"), {legs[0]: Y, legs[1]: X}, NO_LEG)
    rows["kind"][(rows["leg"] == NO_LEG) & (rows["kind"] != TIME)] = OTHER
    for kind in _NUMBERS:
        chosen = rows["kind"] == kind
        if chosen.any():
            _fill(rows, chosen, kind, batch)
            if kind == DEPTH:
                _leave_out_books(rows, chosen, batch)
    return rows


def _coded(column: pa.DictionaryArray, codes: dict[str, int], other: int) -> npt.NDArray[np.int64]:
    """The code of each row's text; `other` where it has none."""
    names = column.dictionary.to_pylist()
    table = np.array([*(codes.get(name, other) for name in names), other])
    found: npt.NDArray[np.int64] = table[column.indices.fill_null(len(names)).to_numpy()]
    return found


def _fill(rows: Rows, chosen: npt.NDArray[np.bool_], kind: int, batch: pa.RecordBatch) -> None:
    for field, name in _NUMBERS[kind].items():
        rows[field][chosen] = _filled(rows, chosen, batch.column(name))[chosen]
    for place, name in enumerate(_VALUES[kind]):
        rows["values"][chosen, place] = _filled(rows, chosen, batch.column(name))[chosen]
    for name in _BESIDE.get(kind, ()):
        _must_be_there(rows, chosen, batch.column(name))


def _filled(rows: Rows, chosen: npt.NDArray[np.bool_], column: pa.Array) -> npt.NDArray[np.generic]:
    """The numbers of a column, 0 where there is none."""
    _must_be_there(rows, chosen, column)
    values: npt.NDArray[np.generic] = column.fill_null(0).to_numpy()
    return values


def _must_be_there(rows: Rows, chosen: npt.NDArray[np.bool_], column: pa.Array) -> None:
    if column.null_count:
        rows["kind"][chosen & column.is_null().to_numpy(zero_copy_only=False)] = OTHER


def _leave_out_books(rows: Rows, chosen: npt.NDArray[np.bool_], batch: pa.RecordBatch) -> None:
    """Leave whole books to the stages, and changes of which a level has no price or size."""
    whole = batch.column("snapshot").fill_null(False).to_numpy(zero_copy_only=False)
    rows["kind"][chosen & whole] = OTHER
    for name in _LEVELS:
        column = batch.column(name)
        _must_be_there(rows, chosen, column)
        values = column.flatten().to_numpy(zero_copy_only=False)
        least = values > 0.0 if name.endswith("prices") else values >= 0.0
        lengths = column.value_lengths().fill_null(0).to_numpy()
        places = np.repeat(np.arange(len(rows)), lengths)
        rows["kind"][places[~(least & (values < np.inf))]] = OTHER


class Prepared:
    """A stretch of a feed as the loop takes it; events are made for the rows that it leaves.

    Many lines may take it at once, in threads of their own: what two make is the same.
    """

    def __init__(self, stretch: Stretch, legs: tuple[str, str]) -> None:
        self.rows = rows_of(stretch, legs)
        self._stretch = stretch
        self._alone = 0  # events that were made alone
        self._made: dict[int, Event] = {}

    def event(self, at: int) -> Event:
        """The event of one row."""
        made = self._made.get(at)
        if made is not None:
            return made
        chosen = self._rows_like(at)
        events = self._events(chosen)
        self._made = self._made | events
        return events[at]

    def _rows_like(self, at: int) -> npt.NDArray[np.bool_]:
        """The rows of which the events are made with that of row `at`: all that the loop never
        takes, else the row alone, and once there were many of those every row.
        """
        if self.rows["kind"][at] == OTHER:
            others: npt.NDArray[np.bool_] = self.rows["kind"] == OTHER
            return others
        self._alone += 1
        if self._alone > ALONE_MAX:
            return np.ones(len(self.rows), np.bool_)
        return np.arange(len(self.rows)) == at

    def _events(self, chosen: npt.NDArray[np.bool_]) -> dict[int, Event]:
        batch = self._stretch.rows.filter(pa.array(chosen))
        events = tape_columns.to_events(batch, self._stretch.more[chosen])
        return dict(zip(np.flatnonzero(chosen).tolist(), events))


def prepared_feed(
    tape: Tape, start_ns: int | None, end_ns: int | None, legs: tuple[str, str]
) -> Iterator[Prepared | Event]:
    """What a feed brings of the tape's window (`merge.feed_events`), for a fused line of `legs`.

    What comes next is read while its caller works on what came.
    """
    feed = _prepared(tape, start_ns, end_ns, legs)
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(next, feed, None)
        while (brought := waiting.result()) is not None:
            waiting = reader.submit(next, feed, None)
            yield brought


def _prepared(
    tape: Tape, start_ns: int | None, end_ns: int | None, legs: tuple[str, str]
) -> Iterator[Prepared | Event]:
    for brought in feed_stretches(tape, start_ns, end_ns, legs):
        yield Prepared(brought, legs) if isinstance(brought, Stretch) else brought


def events_in(brought: Prepared | Event) -> int:
    """How many events a feed brought at once."""
    return len(brought.rows) if isinstance(brought, Prepared) else 1
