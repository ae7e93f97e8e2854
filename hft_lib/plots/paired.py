"""Figures of paired evidence: a day of two accounts beside each other, day by day, and what the
evidence of many made-up histories looks like.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hft_lib.plots.theme import (
    BAND_ALPHA,
    BUY,
    CHAMPION,
    EXPLORER,
    INK,
    MUTED,
    SELL,
    TEST,
    WIDE,
    Layout,
    Panel,
    Times,
    Vector,
    legend,
    panels,
)
from hft_lib.plots.time_axis import Moment, Shade, dates, mark, set_time_axis, shade
from hft_lib.plots.words import number

DAY_NS = 86_400_000_000_000
PATHS_DRAWN = 6  # of a fan, beside the band of all: more is a blot


def beside(
    title: str,
    base_quote: Vector,
    own_quote: Vector,
    currency: str,
    names: tuple[str, str] = ("champion", "challenger"),
    *,
    layout: Layout = WIDE,
) -> Any:
    """Daily results (days,) of one account against those of another: what both share lies along
    the diagonal, and the distance from it is the paired difference.
    """
    figure, axes = panels(layout, title, [Panel(330, f"{names[1]}, {currency} a day", 3)])
    axis = axes[0]
    both = np.concatenate((base_quote, own_quote))
    ends = np.array([float(both.min()), float(both.max())])
    axis.plot(ends, ends, color=INK, linewidth=1.0, label="the same result")
    styles = (
        (own_quote > base_quote, "^", BUY, f"{names[1]} ahead"),
        (own_quote < base_quote, "v", SELL, f"{names[0]} ahead"),
    )
    for days, shape, color, name in styles:
        axis.plot(
            base_quote[days],
            own_quote[days],
            shape,
            color=color,
            markersize=5.5,
            alpha=0.75,
            label=f"{name}, {int(np.count_nonzero(days))} days",
        )
    axis.plot(*[values[base_quote == own_quote] for values in (base_quote, own_quote)], "o")
    axis.lines[-1].set(color=MUTED, markersize=3.5, alpha=0.75)
    axis.axhline(0.0, color=MUTED, linewidth=0.8, zorder=1.5)
    axis.axvline(0.0, color=MUTED, linewidth=0.8, zorder=1.5)
    axis.margins(x=0.02)
    axis.set_xlabel(f"{names[0]}, {currency} a day")
    legend(layout, axis)
    return figure


def days(
    title: str,
    end_ns: Times,
    boxes: Mapping[str, Vector],
    *,
    shades: Sequence[Shade] = (),
    moments: Sequence[Moment] = (),
    layout: Layout = WIDE,
) -> Any:
    """A stroke from 0 for each day that ended at `end_ns` (days,), a box for each axis label (with
    its unit) of `boxes`: gains green and up, losses vermilion and down.
    """
    height = 200 if len(boxes) == 1 else 140
    figure, axes = panels(layout, title, [Panel(height, label, 0) for label in boxes])
    at = dates(end_ns) - 0.5  # in the middle of the day that ended
    width = max(1.0, min(5.0, 0.6 * layout.width_px / max(at.size, 1)))
    for axis, values in zip(axes, boxes.values(), strict=True):
        for won, color in ((values > 0.0, BUY), (values < 0.0, SELL)):
            axis.vlines(at[won], 0.0, values[won], color=color, linewidth=width)
        axis.axhline(0.0, color=MUTED, linewidth=0.8)
    set_time_axis(layout, axes, int(end_ns[0]) - DAY_NS, int(end_ns[-1]))
    shade(axes, shades)
    mark(axes, moments)
    return figure


def fan(
    title: str,
    boxes: Mapping[str, Vector],
    threshold: float,
    *,
    drop_below: float = 0.0,
    layout: Layout = WIDE,
) -> Any:
    """e-values (paths, days) of many histories on a log axis, a box for each name: the median
    and the middle 90 % of all in blue, the first six in orange where they reach `threshold`, else
    in grey. The shares in a box's legend count all.
    """
    rows = [Panel(145, f"e, {name}", 5) for name in boxes]
    figure, axes = panels(layout, title, rows)
    for axis, e in zip(axes, boxes.values(), strict=True):
        _draw_fan(axis, e, threshold, drop_below)
        legend(layout, axis)
    axes[-1].set_xlabel("days since the test began")
    return figure


def _draw_fan(axis: Any, e: Vector, threshold: float, drop_below: float) -> None:
    at = np.arange(e.shape[1] + 1)
    paths = np.concatenate((np.ones((e.shape[0], 1)), e), axis=1)
    crossed = np.max(e, axis=1) >= threshold
    axis.set_yscale("log")
    low, high = np.percentile(paths, (5.0, 95.0), axis=0)
    band = {"color": CHAMPION, "alpha": BAND_ALPHA, "linewidth": 0}
    axis.fill_between(at, low, high, label="90 % of them", **band)
    for path, is_over in zip(paths[:PATHS_DRAWN], crossed, strict=False):
        color = TEST if is_over else EXPLORER
        axis.plot(at, path, color=color, linewidth=1.0, zorder=3 if is_over else 2)
    for color, share, word in (
        (TEST, float(np.mean(crossed)), "ever reach it"),
        (EXPLORER, 1.0 - float(np.mean(crossed)), "never do"),
    ):
        axis.plot([], [], color=color, linewidth=1.4, label=f"{number(100.0 * share, 3)} % {word}")
    axis.plot(at, np.median(paths, axis=0), color=CHAMPION, linewidth=1.8, label="median", zorder=4)
    axis.axhline(threshold, color=INK, linewidth=1.2, linestyle="--", zorder=4)
    _say_level(axis, float(at[-1]), threshold, "promote", 3.0)
    if drop_below > 0.0:
        axis.axhline(drop_below, color=SELL, linewidth=1.2, linestyle=":", zorder=4)
        _say_level(axis, float(at[-1]), drop_below, "drop", -14.0)
    axis.set_ylim(min(drop_below or 1.0, 0.1) / 30.0, threshold * 30.0)
    axis.yaxis.set_major_formatter(lambda value, _: number(value))
    axis.yaxis.set_minor_formatter(lambda value, _: "")


def _say_level(axis: Any, at: float, level: float, word: str, above_px: float) -> None:
    """The word for a level and its value, beside the line's right end."""
    text, place = f"{word}, {number(level)} ", (0.0, above_px)
    axis.annotate(text, (at, level), place, textcoords="offset points", ha="right", fontsize=11.5)
