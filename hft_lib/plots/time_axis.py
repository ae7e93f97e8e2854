"""The time axis that all figures share: thinning that keeps extremes, gaps that stay gaps, shades
and marks with words.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.plots.theme import INK, MUTED, PX_PER_INCH, SHADE_ALPHA, Layout, Times, Vector
from hft_lib.plots.words import minute

NS_PER_DAY = 86_400e9
WORD_PX, LETTER_PX = 8.0, 7.0  # room that a word needs
WORD_ROWS, WORD_ROW_PX = 3, 15.0  # for words of moments that are close to each other
_TOP = 0.98  # of a panel's height, where words stand
GAP_STEPS = 5.0  # a silence of so many usual steps breaks a line

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Shade:
    """A stretch of time that is not like the rest, with the word for it."""

    start_ns: int
    end_ns: int
    word: str


@dataclass(frozen=True)
class Moment:
    """Something that happened at one time, in a word; what the world did stands `low`."""

    time_ns: int
    word: str
    low: bool = False


def dates(time_ns: Times) -> Vector:
    """Times as matplotlib counts them: days since 1970, UTC."""
    days: Vector = np.asarray(time_ns, dtype=np.float64) / NS_PER_DAY
    return days


def thin(points_max: int, *columns: Vector) -> Indices:
    """Rows to draw of `columns` (time,): all of them, or at most `points_max` that hold every bin's
    extremes.

    Each bin gives the rows of the lowest and of the highest value of each column, so no peak of any
    is lost.
    """
    size = columns[0].size if columns else 0
    if size <= points_max:
        return np.arange(size)
    bins = max((points_max - 2) // (2 * len(columns)), 1)
    starts = np.linspace(0, size, bins, endpoint=False).astype(np.intp)
    kept = [np.array([0, size - 1])]
    for column in columns:
        kept.append(_first_extremes(np.where(np.isfinite(column), column, np.inf), starts))
        kept.append(_first_extremes(np.where(np.isfinite(column), -column, np.inf), starts))
    return np.unique(np.concatenate(kept))


def _first_extremes(column: Vector, starts: Indices) -> Indices:
    """Row of the first lowest value of each bin that begins at `starts`; the bin's last row where
    none is finite.
    """
    lowest = np.minimum.reduceat(column, starts)
    sizes = np.diff(np.append(starts, column.size))
    hits = np.flatnonzero(column == np.repeat(lowest, sizes))
    rows: Indices = hits[np.searchsorted(hits, starts)]
    return rows


def thinned(size: int, layout: Layout) -> str:
    """The sentence for a caption where `thin` left points out, else nothing."""
    if size <= layout.points_max:
        return ""
    return (
        f" Of {size:,} points a line at most {layout.points_max:,} are drawn: "
        "each bin's lowest and highest."
    )


def gaps(time_ns: Times) -> list[Shade]:
    """Stretches between neighbours longer than five usual steps: nothing was known there."""
    steps = np.diff(time_ns)
    if steps.size == 0:
        return []
    limit = GAP_STEPS * float(np.median(steps))
    return [
        Shade(int(time_ns[i]), int(time_ns[i + 1]), "outage") for i in np.flatnonzero(steps > limit)
    ]


def broken(time_ns: Times, values: Vector, silences: Iterable[Shade]) -> tuple[Times, Vector]:
    """`values` with a NaN inside every silence, so that no line is drawn across it."""
    middles = [(shade.start_ns + shade.end_ns) // 2 for shade in silences]
    where = np.searchsorted(time_ns, middles)
    return np.insert(time_ns, where, middles), np.insert(values, where, np.nan)


def spans(time_ns: Times, flags: npt.NDArray[np.bool_], word: str) -> list[Shade]:
    """The stretches over which `flags` (time,) hold, each to the next point."""
    edges = np.diff(np.concatenate(([0], flags.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    ends = np.minimum(ends, time_ns.size - 1)
    return [
        Shade(int(start_ns), int(end_ns), word)
        for start_ns, end_ns in zip(time_ns[starts], time_ns[ends], strict=True)
    ]


def set_time_axis(layout: Layout, axes: Sequence[Any], start_ns: int, end_ns: int) -> None:
    """Give all `axes` one time axis from start to end, labelled at the bottom in UTC."""
    from matplotlib.dates import UTC, AutoDateLocator, ConciseDateFormatter

    low, high = dates(np.array([start_ns, max(end_ns, start_ns + 1_000_000_000)]))
    for axis in axes:
        locator = AutoDateLocator(tz=UTC, minticks=3, maxticks=7 if layout.narrow else 9)
        axis.set_xlim(low, high)
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC, show_offset=False))
    axes[-1].set_xlabel(f"{minute(start_ns)[:16]} to {minute(end_ns)}")


def shade(axes: Sequence[Any], shades: Sequence[Shade]) -> None:
    """Shade stretches grey over all `axes`, with their words in the first panel.

    A wide stretch has its word where it begins, so that what stands inside keeps its own; one too
    narrow has it upright, beside the first of its kind.
    """
    low, high = axes[0].get_xlim()
    upright: set[str] = set()
    width_px = axes[0].get_position().width * axes[0].figure.get_figwidth() * PX_PER_INCH
    for item in shades:
        start, end = np.clip(dates(np.array([item.start_ns, item.end_ns])), low, high)
        if end <= start:
            continue
        for axis in axes:
            axis.axvspan(start, end, color=MUTED, alpha=SHADE_ALPHA, linewidth=0, zorder=0.5)
        if (end - start) / (high - low) * width_px > WORD_PX + LETTER_PX * len(item.word):
            _word(axes[0], start, f" {item.word}", "left")
        elif item.word not in upright:
            upright.add(item.word)
            _word(axes[0], end, item.word, "left", rotation=90.0)


def mark(axes: Sequence[Any], moments: Sequence[Moment]) -> None:
    """A vertical line over all `axes` for each moment, its word in the first panel: at the bottom
    where it is `low`, else at the top, or a row lower where the word before it ends further on.
    """
    low, high = axes[0].get_xlim()
    box = axes[0].get_position()
    width_px, height_px = (PX_PER_INCH * size for size in axes[0].figure.get_size_inches())
    day_px = box.width * width_px / (high - low)
    free, lines = [-np.inf] * WORD_ROWS, sorted(moments, key=lambda item: item.time_ns)
    for item in lines:
        at = float(dates(np.array([item.time_ns]))[0])
        if not low <= at <= high:
            continue
        for axis in axes:
            axis.axvline(at, color=INK, linewidth=0.9, linestyle=(0, (2, 2)), zorder=2.5)
        side, long_px = "left" if at < 0.5 * (low + high) else "right", LETTER_PX * len(item.word)
        if item.low:
            _word(axes[0], at, f" {item.word} ", side, height=0.03)
            continue
        start_px = (at - low) * day_px - (long_px if side == "right" else 0.0)
        row = next((row for row in range(WORD_ROWS) if free[row] <= start_px), 0)
        free[row] = start_px + long_px + WORD_PX
        lower = row * WORD_ROW_PX / (box.height * height_px)
        _word(axes[0], at, f" {item.word} ", side, height=_TOP - lower)


def _word(
    axis: Any, at: float, word: str, side: str, rotation: float = 0.0, height: float = _TOP
) -> None:
    axis.annotate(
        word,
        (at, height),
        xycoords=("data", "axes fraction"),
        ha=side,
        va="top" if height > 0.5 else "bottom",
        rotation=rotation,
        fontsize=11.5,
        color=INK,
        zorder=5,
    )
