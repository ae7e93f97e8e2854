"""Figures of money and of evidence: equity after costs with its drawdown, e-values with their
thresholds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hft_lib.plots.theme import (
    INK,
    MUTED,
    PREDECESSOR,
    SELL,
    TEST,
    WIDE,
    Layout,
    Panel,
    Times,
    Vector,
    legend,
    line_style,
    panels,
    say,
)
from hft_lib.plots.time_axis import (
    Moment,
    Shade,
    broken,
    dates,
    gaps,
    mark,
    set_time_axis,
    shade,
    thin,
)
from hft_lib.plots.words import number


@dataclass(frozen=True)
class Curve:
    """Equity (time,) of one account while it had one role: capital, champion, test, predecessor or
    explorer.
    """

    name: str
    role: str
    time_ns: Times
    equity_quote: Vector


@dataclass(frozen=True)
class EvidencePath:
    """The e-value of one test after each of its blocks, (blocks,), and how it ended ("" while it
    runs); of a `watch` that of the predecessor against who took its place.
    """

    name: str
    began_ns: int
    end_ns: Times
    e: Vector
    threshold: float
    drop_below: float
    outcome: str = ""
    outcome_ns: int = 0
    watch: bool = False


def equity(
    curves: Sequence[Curve],
    currency: str,
    *,
    moments: Sequence[Moment] = (),
    shades: Sequence[Shade] = (),
    layout: Layout = WIDE,
) -> Any:
    """Equity after costs of every account, counted from 0, and below it the drawdown of those that
    matter.
    """
    entries = len({_shown_name(curve) for curve in curves})
    boxes = [
        Panel(270, f"equity, {currency}", entries),
        Panel(120, f"drawdown, {currency}", 0),
    ]
    figure, axes = panels(layout, "Equity of every account, and drawdown below its peak", boxes)
    ordered = sorted(curves, key=lambda curve: line_style(curve.role)["zorder"])
    named: set[str] = set()
    for curve in ordered:
        _draw_curve(axes, curve, currency, layout, named)
    filled = [curve for curve in curves if curve.time_ns.size]
    start_ns = min(int(curve.time_ns[0]) for curve in filled)
    set_time_axis(layout, axes, start_ns, max(int(curve.time_ns[-1]) for curve in filled))
    for axis in axes:
        axis.axhline(0.0, color=MUTED, linewidth=0.8, zorder=1.5)
    axes[1].set_ylim(top=0.0)
    silences = gaps(max(filled, key=lambda curve: curve.time_ns.size).time_ns)
    shade(axes, [*shades, *silences])
    mark(axes, moments)
    legend(layout, axes[0], latest_first=True)
    return figure


def evidence(
    paths: Sequence[EvidencePath],
    *,
    start_ns: int,
    end_ns: int,
    moments: Sequence[Moment] = (),
    shades: Sequence[Shade] = (),
    layout: Layout = WIDE,
) -> Any:
    """The e-value of each test by block on a log axis, with the threshold and the line below which
    it is dropped.
    """
    entries = 5 if any(path.watch for path in paths) else 3
    figure, axes = panels(
        layout, "e-value of every test, block by block", [Panel(250, "e-value, log axis", entries)]
    )
    axis = axes[0]
    axis.set_yscale("log")
    for i, path in enumerate(paths):
        first = all(other.watch != path.watch for other in paths[:i])
        _draw_path(axis, path, end_ns, first)
    axis.axhline(1.0, color=MUTED, linewidth=0.8, zorder=1.5)
    lowest = min(min(float(np.min(p.e, initial=1.0)), p.drop_below or 1.0) for p in paths)
    highest = max(max(float(np.max(p.e, initial=1.0)), p.threshold) for p in paths)
    axis.set_ylim(lowest / 1.6, highest * 3.0)
    axis.yaxis.set_major_formatter(lambda value, _: number(value))
    axis.yaxis.set_minor_formatter(lambda value, _: "")
    set_time_axis(layout, axes, start_ns, end_ns)
    shade(axes, shades)
    mark(axes, [*moments, *(Moment(p.outcome_ns, p.outcome) for p in paths if p.outcome)])
    legend(layout, axis)
    return figure


def drawdown(equity_quote: Vector) -> Vector:
    """Equity (time,) below its highest value so far, 0 or less."""
    deep: Vector = equity_quote - np.maximum.accumulate(np.maximum(equity_quote, 0.0))
    return deep


# --- leaves ---


def _draw_curve(
    axes: Sequence[Any], curve: Curve, currency: str, layout: Layout, named: set[str]
) -> None:
    if curve.time_ns.size == 0:
        return
    deep = drawdown(curve.equity_quote)
    rows = thin(layout.points_max, curve.equity_quote, deep)
    silences = gaps(curve.time_ns)
    style, name = line_style(curve.role), _shown_name(curve)
    label = "_" if name in named else name
    named.add(name)
    at, shown = broken(curve.time_ns[rows], curve.equity_quote[rows], silences)
    line = axes[0].plot(dates(at), shown, label=label, **style)[0]
    say(line, curve.name, currency)
    if curve.role != "explorer" and curve.role != "predecessor":
        at, shown = broken(curve.time_ns[rows], deep[rows], silences)
        below = axes[1].plot(dates(at), shown, **{**style, "linewidth": 1.1})[0]
        say(below, f"{curve.name}, drawdown", currency)
    if curve.role == "capital":
        axes[1].fill_between(dates(at), shown, 0.0, color=INK, alpha=0.08, linewidth=0)


def _shown_name(curve: Curve) -> str:
    return "explorers" if curve.role == "explorer" else curve.name


def _draw_path(axis: Any, path: EvidencePath, end_ns: int, first: bool) -> None:
    until_ns = path.outcome_ns or end_ns
    threshold, who = ("roll back", "predecessor") if path.watch else ("promote", "test")
    span = dates(np.array([path.began_ns, until_ns]))
    axis.plot(
        span,
        [path.threshold] * 2,
        "--",
        color=INK,
        linewidth=1.2,
        label=threshold if first else "_",
    )
    if path.drop_below > 0.0:
        axis.plot(
            span,
            [path.drop_below] * 2,
            ":",
            color=SELL,
            linewidth=1.4,
            label="drop" if first else "_",
        )
    at = dates(np.concatenate(([path.began_ns], path.end_ns)))
    line = axis.plot(
        at,
        np.concatenate(([1.0], path.e)),
        color=PREDECESSOR if path.watch else TEST,
        linestyle="--" if path.watch else "-",
        linewidth=1.8,
        marker="o",
        markersize=3.2,
        label=f"e of the {who}" if first else "_",
        zorder=3,
    )[0]
    say(line, f"e of {path.name}", "")
