"""The flaws of a bar file, found over whole columns."""

import math

import numpy as np
import numpy.typing as npt

from hft_lib.market.bar_files import BarFile
from hft_lib.market.bars import Bars, Times, count_steps, modal_step_ns, symbol_of
from hft_lib.market.flaws import FlawTally, iso

Rows = npt.NDArray[np.bool_]
DISTINCT_SHARE_MIN = 0.5  # times that differ on fewer rows than this are rounded, not repeated


def inspect(file: BarFile, tally: FlawTally) -> None:
    """Add every flaw of `file` to `tally`."""
    _inspect_values(file, tally)
    _inspect_names(file, tally)
    for name, times in file.other_times.items():
        _inspect_rounding(file, name, times, tally)
    inspect_times(file, tally)


def inspect_times(file: BarFile, tally: FlawTally) -> None:
    """Add what is wrong with the order and completeness of the times of `file`."""
    if _inspect_rounding(file, file.time_name, file.bars.open_ns, tally):
        return  # rounded times say nothing of order and gaps
    times = _inspect_order(file, tally)
    if len(times) > 1 and times[-1] > times[0]:
        step_ns = modal_step_ns(count_steps(times), file.path)
        _inspect_gaps(file, times, step_ns, tally)
        _inspect_grid(file, times, step_ns, tally)
        _inspect_step(file, step_ns, tally)


# --- values ---


def _inspect_values(file: BarFile, tally: FlawTally) -> None:
    bars = file.bars
    prices = np.stack((bars.open, bars.high, bars.low, bars.close))
    missing = ~np.isfinite(prices).all(axis=0) | ~np.isfinite(bars.volume)
    priced = np.isfinite(prices).all(axis=0)
    low_high = (bars.high < bars.low) | (bars.close > bars.high) | (bars.close < bars.low)
    outside = low_high | (bars.open > bars.high) | (bars.open < bars.low)
    _add_rows(file, "NAN", missing, "a price or the volume is no finite number", tally)
    positive = np.min(prices, axis=0) > 0.0
    _add_rows(file, "PRICE", priced & np.logical_not(positive), "a price is not positive", tally)
    _add_rows(file, "RANGE", priced & outside, "open or close outside low to high", tally)
    _add_rows(file, "VOLUME", np.less(bars.volume, 0.0), "the volume is negative", tally)
    _add_rows(file, "ZERO_VOLUME", np.equal(bars.volume, 0.0), "nothing was traded", tally)


def _add_rows(file: BarFile, reason: str, wrong: Rows, detail: str, tally: FlawTally) -> None:
    """One entry for each run of neighbouring `wrong` rows."""
    edges = np.flatnonzero(np.diff(wrong.astype(np.int8), prepend=0, append=0))
    times = file.bars.open_ns
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist()):
        first, last = sorted((int(times[start]), int(times[end - 1])))
        tally.add(reason, file.symbol, first, last, end - start, detail)


# --- names ---


def _inspect_names(file: BarFile, tally: FlawTally) -> None:
    if file.unix_name is not None and file.unix_unit_ns != 10**9:
        unit = {10**6: "ms", 10**3: "us", 1: "ns"}[file.unix_unit_ns]
        _add_all(file, "MISLABELLED", f"column {file.unix_name} holds {unit}, not seconds", tally)
    if len(file.symbols) > 1:
        named = ", ".join(file.symbols[:5])
        _add_all(file, "MISLABELLED", f"one file holds the symbols {named}", tally)
    for symbol in file.symbols[:1]:
        meant = symbol if "/" in symbol else symbol_of(symbol.upper()) or symbol
        if file.named_symbol is not None and meant != file.named_symbol:
            detail = f"the name says {file.named_symbol}, the rows say {symbol}"
            _add_all(file, "MISLABELLED", detail, tally)


def _inspect_step(file: BarFile, step_ns: int, tally: FlawTally) -> None:
    if file.named_step_ns is not None and file.named_step_ns != step_ns:
        detail = (
            f"the name says {file.named_step_ns // 10**9} s a bar, the rows {step_ns / 1e9:g} s"
        )
        _add_all(file, "MISLABELLED", detail, tally)


def _add_all(file: BarFile, reason: str, detail: str, tally: FlawTally) -> None:
    times = file.bars.open_ns
    tally.add(reason, file.symbol, int(times.min()), int(times.max()), len(times), detail)


# --- times ---


def _inspect_rounding(file: BarFile, name: str, times: Times, tally: FlawTally) -> bool:
    """Whether the times repeat on most rows, as rounded ones do."""
    distinct = np.unique(times)
    if len(times) < 2 or len(distinct) >= DISTINCT_SHARE_MIN * len(times):
        return False
    quantum_s = math.gcd(*distinct.tolist()) / 1e9
    rows = f"{len(distinct)} times for {len(times)} rows"
    detail = f"column {name} has {rows}, multiples of {quantum_s:g} s"
    start, end = int(distinct[0]), int(distinct[-1])
    tally.add("ROUNDED_TIME", file.symbol, start, end, len(times) - len(distinct), detail)
    return True


def _inspect_order(file: BarFile, tally: FlawTally) -> Times:
    """The distinct times in order, after telling what of the order is wrong."""
    times = file.bars.open_ns
    steps = np.diff(times)
    if (steps < 0).sum() > len(steps) / 2:
        _add_all(file, "NEWEST_FIRST", f"the first row is of {iso(int(times[0]))}", tally)
        times = times[::-1]
    latest = np.maximum.accumulate(times)
    for row in np.flatnonzero(times < latest).tolist():
        late_s = int(latest[row] - times[row]) / 1e9
        tally.add(
            "DISORDER", file.symbol, int(times[row]), detail=f"{late_s:g} s behind a row before"
        )
    distinct, often = np.unique(times, return_counts=True)
    for time, count in zip(distinct[often > 1].tolist(), often[often > 1].tolist()):
        detail = _repetition(file.bars, time)
        tally.add("DUPLICATE", file.symbol, time, count=count - 1, detail=detail)
    return distinct


def _repetition(bars: Bars, time: int) -> str:
    rows = bars.open_ns == time
    alike = all(
        len(np.unique(values[rows])) == 1
        for values in (bars.open, bars.high, bars.low, bars.close, bars.volume)
    )
    return "the same bar again" if alike else "another bar of the same time"


def _inspect_gaps(file: BarFile, times: Times, step_ns: int, tally: FlawTally) -> None:
    steps = np.diff(times)
    for row in np.flatnonzero(steps > 1.5 * step_ns).tolist():
        missing = max(round(int(steps[row]) / step_ns) - 1, 1)
        first = int(times[row]) + step_ns
        last = max(int(times[row + 1]) - step_ns, first)
        tally.add(
            "GAP", file.symbol, first, last, missing, f"{missing} bars of {step_ns / 1e9:g} s"
        )


def _inspect_grid(file: BarFile, times: Times, step_ns: int, tally: FlawTally) -> None:
    """Times that are not whole steps from the commonest phase."""
    phases, often = np.unique(times % step_ns, return_counts=True)
    phase = phases[np.argmax(often)]
    for time in times[times % step_ns != phase].tolist():
        off_s = (time - int(phase)) % step_ns / 1e9
        tally.add("OFF_GRID", file.symbol, time, detail=f"{off_s:g} s after a whole step")
