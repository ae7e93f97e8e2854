"""Many symbols of a tape on one grid: the last good mid of each at every grid point.

Quotes are judged as `cleaning.inspect` judges them (prices, order, jumps of the receive clock), in
one compiled pass over columns, so that tapes of millions of rows take seconds. A mid holds for a
cadence of its symbol (ten where quotes come irregularly) and is then not known any more: NaN, never
the last price again, for a price that stands still while the other leg moves makes a spread that
seems to return. Nor is it known while a side of the book is empty.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hft_lib.fitting.result import FitRefused
from hft_lib.kernel import kernel
from hft_lib.market import tape_columns
from hft_lib.market.cleaning import (
    CLOCK_JUMP_NS_MAX,
    IRREGULAR_GAP_CADENCES,
    REGULAR_CADENCE_NS,
)
from hft_lib.market.tape import Tape

Times = npt.NDArray[np.int64]
Vector = npt.NDArray[np.float64]
POINTS_MAX = 50_000
SECOND_NS = 1_000_000_000
FIELDS = ("time_ns", "exchange_time_ns", "update_id", "bid", "bid_size", "ask", "ask_size")
JUMP_NS_MAX = CLOCK_JUMP_NS_MAX

_STATE = np.dtype(
    [(name, "i8") for name in ("offset_ns", "exchange_ns", "update_id", "timed", "seen")]
)


class Panel(NamedTuple):
    """Log mids (symbols, points) at `time_ns` (points,), every `interval_ns`; NaN: not known."""

    symbols: tuple[str, ...]
    time_ns: Times
    interval_ns: int
    log_mid: Vector


def read_panel(
    tape: Tape,
    interval_ns: int | None = None,
    start_ns: int | None = None,
    end_ns: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> Panel:
    """The panel of all symbols of `tape` over start_ns <= time < end_ns, quotes of that time alone.

    Without `interval_ns` the grid is the slowest symbol's cadence, at least a second, made longer
    by whole multiples where the window has more than 50,000 of it. `advance` is told the rows read.
    Raises FitRefused for a window that holds fewer than two grid points.
    """
    symbols = tape.symbols
    terms = tape.instruments(None if end_ns is None else end_ns - 1)
    cadences = np.array([terms[s].cadence_ns if s in terms else SECOND_NS for s in symbols])
    first = tape.start_ns if start_ns is None else max(start_ns, tape.start_ns)
    last = tape.end_ns if end_ns is None else min(end_ns - 1, tape.end_ns)
    interval = interval_ns or _interval_ns(int(cadences.max(initial=SECOND_NS)), last - first)
    begin = -(-first // interval)
    points = last // interval - begin + 1
    if points < 2:
        rule = f"the window must hold two multiples of {interval / 1e9:g} s at least"
        raise FitRefused(rule, max(points, 0))
    mids, times = np.full((len(symbols), points), np.nan), np.zeros((len(symbols), points), "i8")
    state = np.zeros(len(symbols), _STATE)
    place = {symbol: number for number, symbol in enumerate(symbols)}
    for batch in tape.batches(start_ns, end_ns, columns=(*FIELDS, "symbol")):
        quotes = batch.filter(batch.column("bid").is_valid())
        if quotes.num_rows:
            fields = _arrays(quotes, place)
            _take(*fields, state, begin * interval, interval, mids, times)  # type: ignore[call-arg]
        if advance is not None:
            advance(batch.num_rows)
    grid = (begin + np.arange(points)) * interval
    _carry(grid, _ages_ns(cadences), mids, times)
    return Panel(tuple(symbols), grid, interval, np.log(mids))


def _interval_ns(cadence_ns: int, window_ns: int) -> int:
    interval = -(-max(cadence_ns, SECOND_NS) // SECOND_NS) * SECOND_NS
    return interval * max(1, -(-window_ns // (POINTS_MAX * interval)))


def _ages_ns(cadences: Times) -> Times:
    """Age from which on a mid is not known."""
    regular = cadences >= REGULAR_CADENCE_NS
    ages: Times = (cadences * np.where(regular, 1.0, IRREGULAR_GAP_CADENCES)).astype(np.int64)
    return ages


def _arrays(quotes: pa.RecordBatch, place: dict[str, int]) -> list[npt.NDArray[np.generic]]:
    """Row of the panel, then the fields of each quote, as arrays (quotes,)."""
    names, codes = tape_columns.dictionary(quotes.column("symbol"))
    rows = np.array([place.get(name, -1) for name in names], np.int64)[codes]
    return [rows, *(quotes.column(name).to_numpy() for name in FIELDS)]


@kernel
def _good(state, time_ns, exchange_ns, update_id, bid, bid_size, ask, ask_size):
    """Whether a quote is one that `cleaning` takes, given its symbol's `state`, which it moves."""
    if not (0.0 < bid <= ask < np.inf and 0.0 <= bid_size < np.inf and 0.0 <= ask_size < np.inf):
        return False
    if state["seen"]:
        if update_id:
            if update_id <= state["update_id"]:
                return False
        elif exchange_ns and exchange_ns < state["exchange_ns"]:
            return False
    if exchange_ns:
        offset, known, timed = time_ns - exchange_ns, state["offset_ns"], state["timed"]
        state["offset_ns"], state["timed"] = offset, 1
        if timed and abs(offset - known) > JUMP_NS_MAX:
            return False
    state["exchange_ns"], state["update_id"], state["seen"] = exchange_ns, update_id, 1
    return True


@kernel
def _empties(state, exchange_ns, update_id, bid, bid_size, ask, ask_size):
    """Whether a quote says, in its turn, that a side of the book is empty."""
    if not (bid == bid_size == 0.0 or ask == ask_size == 0.0):
        return False
    if state["seen"]:
        if update_id:
            return update_id > state["update_id"]
        return exchange_ns == 0 or exchange_ns >= state["exchange_ns"]
    return True


@kernel
def _take(
    rows, time_ns, exchange_ns, update_id, bid, bid_size, ask, ask_size,
    state, begin_ns, interval_ns, mids, times,
):  # fmt: skip
    """Put the good quotes of a batch into the cell that ends at the grid point after them."""
    for n in range(rows.size):
        row = rows[n]
        if row < 0:
            continue
        good = _good(
            state[row], time_ns[n], exchange_ns[n], update_id[n],
            bid[n], bid_size[n], ask[n], ask_size[n],
        )  # fmt: skip
        if good or _empties(
            state[row], exchange_ns[n], update_id[n], bid[n], bid_size[n], ask[n], ask_size[n]
        ):
            cell = max(0, -((begin_ns - time_ns[n]) // interval_ns))
            if cell < mids.shape[1]:
                mids[row, cell] = 0.5 * (bid[n] + ask[n]) if good else np.nan
                times[row, cell] = time_ns[n]


@kernel
def _carry(grid, ages_ns, mids, times):
    """Carry each last mid on while it is younger than its symbol allows."""
    for row in range(mids.shape[0]):
        mid, time = np.nan, np.int64(0)
        for cell in range(mids.shape[1]):
            if times[row, cell]:
                mid, time = mids[row, cell], times[row, cell]
            mids[row, cell] = mid if time and grid[cell] - time < ages_ns[row] else np.nan
