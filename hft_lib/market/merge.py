"""Putting events into the one order that everything downstream sees.

Several sources become one stream by time, then symbol. A tape becomes a feed: the last event of one
time ends the moment (`more` is false), time passes at each UTC midnight before anything at or past
it, and once at the end.
"""

import heapq
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hft_lib.events import Instrument, MarketEvent, TimePassed
from hft_lib.market import tape_columns
from hft_lib.market.tape import Tape

DAY_NS = 86_400 * 10**9


def _order(event: MarketEvent) -> tuple[int, str]:
    return event.time_ns, event.symbol


def merge(sources: Iterable[Iterable[MarketEvent]]) -> Iterator[MarketEvent]:
    """Yield the events of sources that are each in time order, by time, then symbol.

    The order of `sources` decides only between equal times of one symbol.
    """
    return heapq.merge(*sources, key=_order)


class Stretch(NamedTuple):
    """Rows that follow each other in a feed, in columns; `more` (rows,) says which carry it."""

    rows: pa.RecordBatch
    more: npt.NDArray[np.bool_]

    def part(self, start: int, end: int) -> "Stretch":
        """The rows start <= place < end."""
        return Stretch(self.rows.slice(start, end - start), self.more[start:end])


def feed_events(
    tape: Tape,
    start_ns: int | None = None,
    end_ns: int | None = None,
    symbols: Iterable[str] | None = None,
) -> Iterator[MarketEvent | TimePassed]:
    """Yield what a feed brings of the tape's window start_ns <= time < end_ns.

    Every event but the last of one time carries `more`. A window that opens after the tape's start
    begins with the instruments in force, at `start_ns`. `TimePassed` comes at each midnight after
    the first event, and at the end: at `end_ns`, or at the last event where the tape ends first.
    Nothing comes of a window without events.
    """
    for brought in feed_stretches(tape, start_ns, end_ns, symbols):
        if isinstance(brought, Stretch):
            yield from tape_columns.to_events(brought.rows, brought.more)
        else:
            yield brought


def feed_stretches(
    tape: Tape,
    start_ns: int | None = None,
    end_ns: int | None = None,
    symbols: Iterable[str] | None = None,
) -> Iterator[Stretch | Instrument | TimePassed]:
    """Yield what `feed_events` does, the tape's own rows in columns."""
    chosen = None if symbols is None else set(symbols)
    midnight_ns = last_ns = None
    opening = _instruments_in_force(tape, start_ns, chosen)
    for batch, next_ns in _with_next_time(tape, start_ns, end_ns, chosen):
        times = batch.column("time_ns").to_numpy()
        if midnight_ns is None:
            first_ns = opening[0].time_ns if opening else int(times[0])
            midnight_ns = (first_ns // DAY_NS + 1) * DAY_NS
            yield from _with_more(opening, int(times[0]))
        last_ns = int(times[-1])
        whole = Stretch(batch, np.append(times[1:] == times[:-1], last_ns == next_ns))
        start = 0
        while last_ns >= midnight_ns:
            end = int(np.searchsorted(times, midnight_ns))
            if end > start:
                yield whole.part(start, end)
            yield TimePassed(midnight_ns)
            # A live feed made this one itself, and its tape kept it.
            made = int(times[end]) == midnight_ns and _kind(batch, end) == TimePassed.__name__
            start = end + made
            midnight_ns += DAY_NS
        if start < len(times):
            yield whole.part(start, len(times))
    if midnight_ns is not None and last_ns is not None:
        yield from _ending(midnight_ns, last_ns, tape.end_ns, end_ns)


def _kind(batch: pa.RecordBatch, row: int) -> str:
    return str(batch.column("kind")[row].as_py())


def _ending(
    midnight_ns: int, last_ns: int, tape_end_ns: int, end_ns: int | None
) -> Iterator[TimePassed]:
    until_ns = last_ns if end_ns is None else max(last_ns, min(end_ns, tape_end_ns))
    for time_ns in range(midnight_ns, until_ns, DAY_NS):
        yield TimePassed(time_ns)
    yield TimePassed(until_ns)


def _instruments_in_force(
    tape: Tape, start_ns: int | None, symbols: set[str] | None
) -> list[Instrument]:
    """What a window that opens late would not be told, restamped to its start."""
    if start_ns is None:
        return []
    return [
        msgspec.structs.replace(instrument, time_ns=start_ns)
        for symbol, instrument in sorted(tape.instruments(start_ns - 1).items())
        if symbols is None or symbol in symbols
    ]


def _with_more(instruments: list[Instrument], next_ns: int) -> Iterator[Instrument]:
    for number, instrument in enumerate(instruments, start=1):
        more = number < len(instruments) or instrument.time_ns == next_ns
        yield msgspec.structs.replace(instrument, more=more)


def _with_next_time(
    tape: Tape, start_ns: int | None, end_ns: int | None, symbols: set[str] | None
) -> Iterator[tuple[pa.RecordBatch, int | None]]:
    """The window's batches, each with the time of the event after it (None at the end)."""
    held: pa.RecordBatch | None = None
    last_ns: int | None = None
    for batch in tape.batches(start_ns, end_ns, symbols):
        batch, last_ns = _without_idle_time(batch, last_ns)
        if not batch.num_rows:
            continue
        if held is not None:
            yield held, batch.column("time_ns")[0].as_py()
        held = batch
    if held is not None:
        yield held, None


def _without_idle_time(batch: pa.RecordBatch, last_ns: int | None) -> tuple[pa.RecordBatch, int]:
    """Leave out each `TimePassed` at the time of the row before: it would cut a moment in two."""
    times: npt.NDArray[np.int64] = batch.column("time_ns").to_numpy()
    names, codes = tape_columns.dictionary(batch.column("kind"))
    if TimePassed.__name__ in names:
        repeated = np.append(times[:1] == last_ns, times[1:] == times[:-1])
        idle = repeated & (codes == names.index(TimePassed.__name__))
        batch = batch.filter(pa.array(~idle))
    return batch, int(times[-1])
