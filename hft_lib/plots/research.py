"""Figures of research: what a notebook asks of data and of fitted models.

Lines over time, curves over anything, and the three looks at a model's residuals: do they hang
together, is their distribution the one assumed, are they as large as was forecast?
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.plots.signals import BAND_SDS, BP
from hft_lib.plots.theme import (
    BAND_ALPHA,
    BUY,
    CHAMPION,
    EXPLORER,
    INK,
    MUTED,
    REALISED,
    SELL,
    TEST,
    WIDE,
    Layout,
    Panel,
    Times,
    Vector,
    legend,
    panels,
    tick,
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
from hft_lib.plots.words import count

# In the order in which lines are named: ours, the peer beside it, then what else there is.
COLORS = (CHAMPION, TEST, BUY, REALISED, SELL, EXPLORER)
TRUTH = "truth"  # a line of this name is drawn in ink, dashed
DECADES_NEAR = 3.2  # a log axis of fewer has ticks at 2 and 5 times a power of ten
POINTS_MAX = 4_000  # of a scatter
QUANTILES_MAX = 400
FAR_OUT = 1.6  # times the central 99.8 %: beyond it the whole range would flatten the rest

Lines = Mapping[str, Vector]


def lines(
    title: str,
    time_ns: Times,
    boxes: Mapping[str, Lines],
    *,
    bands: Mapping[str, tuple[Vector, Vector]] | None = None,
    levels: Mapping[str, float] | None = None,
    limits: Mapping[str, tuple[float, float]] | None = None,
    shades: Sequence[Shade] = (),
    moments: Sequence[Moment] = (),
    layout: Layout = WIDE,
) -> Any:
    """Lines (time,) by name over time, a box for each axis label (with its unit) of `boxes`.

    `bands` are (low, high) of the first line of a box, by its label; `levels` one dashed line each,
    `limits` what its axis shows. Without, it shows all, but for a few values far out. A line named
    `truth` is drawn in ink.
    """
    height = 220 if len(boxes) == 1 else 170
    figure, axes = panels(layout, title, [Panel(height, b, len(v) + 1) for b, v in boxes.items()])
    silences = gaps(time_ns)
    for axis, (label, named) in zip(axes, boxes.items(), strict=True):
        rows = thin(layout.points_max, *named.values())
        if bands is not None and label in bands:
            low, high = (edge[rows] for edge in bands[label])
            at, lower = broken(time_ns[rows], low, silences)
            upper = broken(time_ns[rows], high, silences)[1]
            style = {"color": CHAMPION, "alpha": BAND_ALPHA, "linewidth": 0}
            axis.fill_between(dates(at), lower, upper, label="95 % band", **style)
        for (name, values), style in zip(named.items(), _styles(named), strict=True):
            at, shown = broken(time_ns[rows], values[rows], silences)
            axis.plot(dates(at), shown, label=name, **style)
        if levels is not None and label in levels:
            axis.axhline(levels[label], color=INK, linewidth=1.0, linestyle="--")
        if limits is not None and label in limits:
            axis.set_ylim(*limits[label])
        else:
            _limit(axis, list(named.values()), (bands or {}).get(label, ()))
    set_time_axis(layout, axes, int(time_ns[0]), int(time_ns[-1]))
    shade(axes, [*shades, *silences])
    mark(axes, moments)
    for axis in axes:
        legend(layout, axis)
    return figure


def curves(
    title: str,
    x: Vector,
    named: Lines,
    labels: tuple[str, str],
    *,
    points: Mapping[str, tuple[float, float]] | None = None,
    references: Sequence[str] = (),
    log_x: bool = False,
    log_y: bool = False,
    zero: bool = False,
    layout: Layout = WIDE,
) -> Any:
    """Curves (points,) by name over `x`, with axis `labels` (x, y) that carry their units.

    `points` are single marked places by name; `references` the names of lines that others are held
    against, drawn as `truth` is; `zero` draws the line at 0.
    """
    entries = len(named) + len(points or {})
    figure, axes = panels(layout, title, [Panel(260, labels[1], entries)])
    axis = axes[0]
    for (name, values), style in zip(named.items(), _styles(named, references), strict=True):
        axis.plot(x, values, label=name, marker="o" if x.size < 25 else "", markersize=4, **style)
    for i, (name, (at, height)) in enumerate((points or {}).items()):
        axis.plot([at], [height], "^vsD"[i % 4], color=INK, markersize=9, label=name, zorder=5)
    if zero:
        axis.axhline(0.0, color=MUTED, linewidth=0.8, zorder=1.5)
    if log_x:
        axis.set_xscale("log")
        _log_ticks(axis.xaxis)
    if log_y:
        axis.set_yscale("log")
        _log_ticks(axis.yaxis)
    axis.margins(x=0.0 if x.size >= 25 else 0.02)
    axis.set_xlabel(labels[0])
    legend(layout, axis)
    return figure


def relation(
    log_y: Vector,
    log_x: Vector,
    slope: float,
    intercept: float,
    fit_count: int,
    *,
    names: tuple[str, str] = ("Y", "X"),
    layout: Layout = WIDE,
) -> Any:
    """Log price against log price (time,), with the line fitted to the first `fit_count`."""
    figure, axes = panels(layout, "One leg against the other", [Panel(330, f"log {names[0]}", 3)])
    axis = axes[0]
    parts = (
        ("fitting window", slice(0, fit_count), CHAMPION),
        ("after it", slice(fit_count, None), TEST),
    )
    for name, rows, color in parts:
        every = max(1, log_y[rows].size // (POINTS_MAX // 2))
        at, shown = log_x[rows][::every], log_y[rows][::every]
        axis.plot(at, shown, ".", color=color, markersize=3.5, alpha=0.55, label=name)
    ends = np.array([float(log_x.min()), float(log_x.max())])
    words = f"slope {slope:.4g}"
    axis.plot(ends, intercept + slope * ends, color=INK, linewidth=1.2, label=words)
    axis.set_xlabel(f"log {names[1]} (prices in the quote currency)")
    legend(layout, axis)
    return figure


def autocorrelation(
    title: str,
    named: Lines,
    lags: int,
    interval: tuple[float, str] = (1.0, "steps"),
    *,
    layout: Layout = WIDE,
) -> Any:
    """Autocorrelation of each series (time,) by lag, with the 95 % band of what has none.

    `interval` is the time between values and its unit.
    """
    size = min(values.size for values in named.values())
    lags = max(min(lags, size // 4), 1)
    figure, axes = panels(layout, title, [Panel(240, "autocorrelation", len(named) + 1)])
    axis, at = axes[0], np.arange(1, lags + 1) * interval[0]
    band = BAND_SDS / np.sqrt(size)
    axis.axhspan(-band, band, color=MUTED, alpha=BAND_ALPHA, linewidth=0, label="none, 95 %")
    axis.axhline(0.0, color=MUTED, linewidth=0.8)
    for (name, values), style in zip(named.items(), _styles(named), strict=True):
        axis.plot(at, correlations(values, lags), label=name, marker="o", markersize=3.5, **style)
    axis.margins(x=0.02)
    axis.set_xlabel(f"lag, {interval[1]}")
    legend(layout, axis)
    return figure


def quantiles(
    standardised: Vector, dofs: Mapping[str, float | None], *, layout: Layout = WIDE
) -> Any:
    """Quantiles of standardised values (time,) against those of each distribution by name:
    Student's t of unit variance with so many degrees of freedom, None the normal.
    """
    from scipy import stats

    title = "Standardised innovations against the distribution assumed"
    figure, axes = panels(layout, title, [Panel(330, "observed, sds", len(dofs) + 1)])
    axis, ordered = axes[0], np.sort(standardised)
    shares = (np.arange(ordered.size) + 0.5) / ordered.size
    middle = np.linspace(0, ordered.size - 1, min(QUANTILES_MAX, ordered.size)).astype(np.intp)
    tails = [np.arange(min(20, ordered.size)), np.arange(max(ordered.size - 20, 0), ordered.size)]
    rows = np.unique(np.concatenate((middle, *tails)))
    reach = 0.0
    for (name, dof), color in zip(dofs.items(), COLORS, strict=False):
        if dof is None:
            expected = stats.norm.ppf(shares[rows])
        else:
            expected = stats.t.ppf(shares[rows], dof) * np.sqrt((dof - 2.0) / dof)
        axis.plot(expected, ordered[rows], "o", color=color, markersize=3.5, label=name)
        reach = max(reach, float(np.abs(expected).max()))
    axis.plot([-reach, reach], [-reach, reach], color=INK, linewidth=1.0, label="agreement")
    axis.margins(x=0.02)
    axis.set_xlabel("expected, sds")
    legend(layout, axis)
    return figure


def calibration(
    forecast_sd: Vector, innovation: Vector, bins: int = 6, *, layout: Layout = WIDE
) -> Any:
    """Root mean square of innovations (time,) by bins of the forecast standard deviation, both log
    units, with 95 % bars by resampling each bin. On the line the forecast was right.
    """
    title = "Was it as large as forecast? Each point a bin of the forecast"
    figure, axes = panels(layout, title, [Panel(330, "realised rms, bp", 2)])
    axis = axes[0]
    bins = max(min(bins, forecast_sd.size // 20), 1)
    expected, realised, low, high = binned(forecast_sd, innovation, bins)
    bars = BP * np.array([realised - low, high - realised])
    axis.errorbar(
        BP * expected,
        BP * realised,
        yerr=bars,
        fmt="o",
        color=CHAMPION,
        capsize=3,
        label="realised, with 95 % bars",
    )
    ends = BP * np.array([0.9 * expected.min(), 1.1 * expected.max()])
    axis.plot(ends, ends, color=INK, linewidth=1.0, label="as forecast")
    axis.margins(x=0.02)
    axis.set_xlabel("forecast sd, bp")
    legend(layout, axis)
    return figure


# --- what the figures are computed from ---


def correlations(values: Vector, lags: int) -> Vector:
    """Autocorrelations (lags,) of `values` (time,) at lags 1 to `lags`; 0 where nothing varies."""
    moves = values - values.mean()
    square = float((moves * moves).sum())
    if square == 0.0:
        return np.zeros(lags)
    return np.array([float((moves[k:] * moves[:-k]).sum()) for k in range(1, lags + 1)]) / square


def binned(
    forecast_sd: Vector, innovation: Vector, bins: int
) -> tuple[Vector, Vector, Vector, Vector]:
    """Root mean squares of forecast and innovation by bins of equal count, and a 95 % interval of
    the latter by 400 resamplings of fixed seed; (bins,) each.
    """
    random = np.random.default_rng(0)
    found = []
    for rows in np.array_split(np.argsort(forecast_sd, kind="stable"), bins):
        squares = np.square(innovation[rows])
        drawn = squares[random.integers(0, rows.size, (400, rows.size))].mean(axis=1)
        edges = np.percentile(drawn, (2.5, 97.5))
        middle = (np.square(forecast_sd[rows]).mean(), squares.mean())
        found.append(np.sqrt([*middle, *edges]))
    columns: npt.NDArray[np.float64] = np.array(found)
    return columns[:, 0], columns[:, 1], columns[:, 2], columns[:, 3]


# --- leaves ---


def _styles(named: Lines, references: Sequence[str] = ()) -> list[dict[str, Any]]:
    """A line style for each name in turn."""
    colors, styles = iter(COLORS), []
    for i, name in enumerate(named):
        if name == TRUTH or name in references:
            styles.append({"color": INK, "linewidth": 1.2, "linestyle": "--", "zorder": 4})
        else:
            color = next(colors, EXPLORER)
            styles.append({"color": color, "linewidth": 1.4 if i == 0 else 1.1, "zorder": 3})
    return styles


def _log_ticks(axis: Any) -> None:
    """Plain numbers at 1, 2 and 5 times each power of ten where they have room, else powers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    if high < 10.0**DECADES_NEAR * low:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(tick)
    axis.set_minor_formatter(NullFormatter())


def _limit(axis: Any, drawn: Sequence[Vector], edges: Sequence[Vector]) -> None:
    """Let a few values far out, as before a filter has settled, not flatten the rest of the lines
    and of their bands' edges, and say how many values there are beyond.
    """
    known = np.concatenate([values[np.isfinite(values)] for values in (*drawn, *edges)])
    if known.size == 0:
        return
    low, high = np.percentile(known, (0.1, 99.9))
    if known.max() - known.min() < FAR_OUT * (high - low):
        low, high = known.min(), known.max()
    pad = 0.08 * (high - low) or 0.01
    low, high = low - pad, high + pad
    axis.set_ylim(low, high)
    beyond = sum(int(np.count_nonzero((values < low) | (values > high))) for values in drawn)
    if beyond:
        words = f"{count(beyond, 'value')} beyond this scale"
        axis.set_title(words, loc="right", fontsize=11.0, color=MUTED, pad=5.0)
