"""The flaws of a wide file of closes: those of its times, then those of each symbol's column.

NEWEST_FIRST DISORDER DUPLICATE GAP OFF_GRID ROUNDED_TIME   its times, under the file's name
ABSENT        no close before a symbol's first or after its last: not listed yet, or no longer
GAP           cells between them that hold nothing
NAN PRICE     a close that is no finite number, or not positive
STILL         a close that stands for at least 12 bars: no trade is behind it
MISLABELLED   a column that repeats another one's closes
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from hft_lib.market.bar_files import BarFile
from hft_lib.market.bar_quality import inspect_times
from hft_lib.market.bars import Bars, Vector
from hft_lib.market.flaws import FlawTally
from hft_lib.market.wide_bars import WideFile, read_wide

Rows = npt.NDArray[np.bool_]
STILL_BARS_MIN = 12  # of 60 coins' hourly closes over four years the stillest stood for ten


def inspect(path: Path, tally: FlawTally) -> WideFile:
    """Add every flaw of the wide file at `path` to `tally`; returns what was read.

    Raises DataError for a file that is none.
    """
    file = read_wide(path)
    inspect_times(_as_bars(path, file), tally)
    # In the order of time: a file with its newest row first has its symbols' ends at its ends too.
    order = np.argsort(file.open_ns, kind="stable")
    sorted_file = file._replace(
        open_ns=file.open_ns[order], closes=file.closes[order], empty=file.empty[order]
    )
    for column in range(len(file.symbols)):
        _inspect_column(sorted_file, column, tally)
    _inspect_copies(file, tally)
    return file


def _as_bars(path: Path, file: WideFile) -> BarFile:
    """The rows as bars of one symbol that has the file's name.

    A row's sum stands for its values: enough to tell whether a repeated time repeats them too.
    """
    total = np.nansum(file.closes, axis=1)
    bars = Bars(file.open_ns, total, total, total, total, total)
    return BarFile(path, bars, file.time_name, {}, None, None, [])


def _inspect_column(file: WideFile, column: int, tally: FlawTally) -> None:
    closes, empty = file.closes[:, column], file.empty[:, column]
    known = np.flatnonzero(np.isfinite(closes))
    if known.size == 0:
        _add(file, column, "ABSENT", np.ones(closes.size, bool), "no close at all", tally)
        return
    rows = np.arange(closes.size)
    before, after = rows < known[0], rows > known[-1]
    listed = np.logical_not(before | after)
    _add(file, column, "ABSENT", before, "no close before the first", tally)
    _add(file, column, "ABSENT", after, "no close after the last", tally)
    _add(file, column, "GAP", listed & empty, "cells without a close", tally)
    wrong = np.logical_not(np.isfinite(closes) | empty)
    _add(file, column, "NAN", listed & wrong, "the close is no finite number", tally)
    _add(file, column, "PRICE", np.less_equal(closes, 0.0), "the close is not positive", tally)
    _add(file, column, "STILL", _still(closes), f"the same close for {STILL_BARS_MIN} bars", tally)


def _still(closes: Vector) -> Rows:
    """Rows (rows,) of stretches of at least 12 equal closes."""
    starts = np.flatnonzero(np.append(True, closes[1:] != closes[:-1]))
    lengths = np.diff(np.append(starts, closes.size))
    return np.repeat(lengths >= STILL_BARS_MIN, lengths)


def _add(
    file: WideFile, column: int, reason: str, wrong: Rows, detail: str, tally: FlawTally
) -> None:
    """One entry for each run of neighbouring `wrong` rows (rows,)."""
    edges = np.flatnonzero(np.diff(wrong.astype(np.int8), prepend=0, append=0))
    times, symbol = file.open_ns, file.symbols[column]
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist()):
        tally.add(reason, symbol, int(times[start]), int(times[end - 1]), end - start, detail)


def _inspect_copies(file: WideFile, tally: FlawTally) -> None:
    seen: dict[bytes, str] = {}
    first, last = int(file.open_ns.min()), int(file.open_ns.max())
    for symbol, closes in zip(file.symbols, file.closes.T):
        original = seen.setdefault(closes.tobytes(), symbol)
        if original != symbol and np.isfinite(closes).any():
            detail = f"the same closes as {original}"
            tally.add("MISLABELLED", symbol, first, last, closes.size, detail)
