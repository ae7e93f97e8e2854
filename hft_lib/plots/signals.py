"""Figures of the relation and its models: spread and z with trades, hedge ratio, volatility, run
lengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.plots.theme import (
    ALARM,
    BAND_ALPHA,
    BUY,
    CHAMPION,
    INK,
    MUTED,
    REALISED,
    SELL,
    WIDE,
    Layout,
    Panel,
    Times,
    Vector,
    legend,
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

BP = 1e4
BAND_SDS = 1.96  # 95 % of a normal; of Student's t of unit variance within half a percent of it
MARK_AREA = (12.0, 130.0)  # of the least and the largest trade, square pixels
MARKS_AREA = 12_000.0  # of all of them together: many are drawn smaller
ALARMS_SHADED = 30  # more are shown by their ticks alone
MASS_MIN = 0.004  # probability of a cell below which it is left blank


@dataclass(frozen=True)
class Levels:
    """The z at which the strategy enters, leaves and gives up, from `start_ns` on."""

    start_ns: int
    entry_z: float
    exit_z: float
    stop_z: float


@dataclass(frozen=True)
class Trades:
    """Fills of the y leg: +1 buy or -1 sell, their value, the z that decided them, and a text each;
    all (trades,).
    """

    time_ns: Times
    side: Vector
    value_quote: Vector
    z: Vector
    texts: tuple[str, ...]


def spread_and_z(
    time_ns: Times,
    spread: Vector,
    spread_sd: Vector,
    *,
    levels: Sequence[Levels] = (),
    trades: Trades | None = None,
    moments: Sequence[Moment] = (),
    shades: Sequence[Shade] = (),
    layout: Layout = WIDE,
) -> Any:
    """Spread (time,) in log units with its forecast band above, z with the strategy's lines and the
    fills below.
    """
    z = z_score(spread, spread_sd)
    rows = thin(layout.points_max, spread, z)
    boxes = [Panel(200, "spread, bp", 2), Panel(260, "z, forecast sds", 6)]
    figure, axes = panels(layout, "The spread, and z with the fills it led to", boxes)
    band = BAND_SDS * spread_sd[rows] * BP
    silences = gaps(time_ns)
    _line(axes[0], time_ns[rows], spread[rows] * BP, silences, "spread", "bp", CHAMPION, 1.1)
    _band(axes[0], time_ns[rows], -band, band, silences, "95 % forecast")
    _line(axes[1], time_ns[rows], z[rows], silences, "z", "sds", CHAMPION, 1.1)
    set_time_axis(layout, axes, int(time_ns[0]), int(time_ns[-1]))
    _draw_levels(axes[1], levels, int(time_ns[-1]))
    for axis in axes:
        axis.axhline(0.0, color=MUTED, linewidth=0.8, zorder=1.5)
    if trades is not None and trades.time_ns.size:
        _draw_trades(axes[1], trades)
    shade(axes, [*shades, *silences])
    mark(axes, moments)
    _limit_z(axes[1], z, levels)
    for axis in axes:
        legend(layout, axis)
    return figure


def hedge_ratio(
    time_ns: Times,
    hedge: Vector,
    hedge_sd: Vector | None = None,
    *,
    shades: Sequence[Shade] = (),
    layout: Layout = WIDE,
) -> Any:
    """Hedge ratio (time,), d log Y / d log X, with its 95 % band where its standard deviation is
    known.
    """
    rows = thin(layout.points_max, hedge)
    figure, axes = panels(
        layout, "Hedge ratio and how well it is known", [Panel(200, "d log Y / d log X", 2)]
    )
    silences = gaps(time_ns)
    _line(axes[0], time_ns[rows], hedge[rows], silences, "hedge ratio", "", CHAMPION, 1.3)
    if hedge_sd is not None:
        half = BAND_SDS * hedge_sd[rows]
        _band(axes[0], time_ns[rows], hedge[rows] - half, hedge[rows] + half, silences, "95 % band")
        _limit_band(axes[0], hedge, hedge_sd)
    set_time_axis(layout, axes, int(time_ns[0]), int(time_ns[-1]))
    shade(axes, [*shades, *silences])
    legend(layout, axes[0])
    return figure


def volatility(
    time_ns: Times,
    forecast_sd: Vector,
    innovation: Vector,
    *,
    window: int = 24,
    shades: Sequence[Shade] = (),
    layout: Layout = WIDE,
) -> Any:
    """Forecast sd (time,) of each innovation, log units, with the innovation's size and its rms
    over `window` points.
    """
    size, realised = np.abs(innovation), rolling_rms(innovation, window)
    rows = thin(layout.points_max, forecast_sd, size, realised)
    at = time_ns[rows]
    figure, axes = panels(layout, "Volatility, forecast and realised", [Panel(220, "bp", 3)])
    silences = gaps(time_ns)
    points = axes[0].plot(
        dates(at), size[rows] * BP, ".", color=MUTED, markersize=1.8, alpha=0.5, label="_"
    )[0]
    say(points, "|innovation|", "bp")
    axes[0].plot([], [], "o", color=MUTED, markersize=4, label="|innovation|")
    name = f"realised, rms of {window}"
    _line(axes[0], at, realised[rows] * BP, silences, name, "bp", REALISED, 1.2)
    _line(axes[0], at, forecast_sd[rows] * BP, silences, "forecast sd", "bp", CHAMPION, 1.1)
    set_time_axis(layout, axes, int(time_ns[0]), int(time_ns[-1]))
    top = max(float(np.nanpercentile(size, 99.5)), float(np.nanpercentile(forecast_sd, 99.5)))
    axes[0].set_ylim(0.0, 1.25 * BP * top if top > 0.0 else 1.0)
    shade(axes, [*shades, *silences])
    legend(layout, axes[0])
    return figure


def run_length(
    time_ns: Times,
    posterior: npt.NDArray[np.float64],
    edges: Vector,
    expected: Vector,
    *,
    alarms: Sequence[Shade] = (),
    shades: Sequence[Shade] = (),
    layout: Layout = WIDE,
) -> Any:
    """Posterior (columns, bins) of the run length over equal parts of the time, `edges` (bins + 1,)
    rising from 0.

    `expected` (time,) is the mean run length that the run itself recorded; both in grid intervals,
    drawn on a log axis.
    """
    figure, axes = panels(
        layout, "How long the present regime has lasted", [Panel(240, "intervals", 3)]
    )
    axis, low, high = axes[0], *dates(time_ns[[0, -1]])
    rows = thin(layout.points_max, expected)
    axis.imshow(
        _mass_image(posterior),
        extent=(low, high, 0.0, float(np.log10(edges[-1] + 1.0))),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        zorder=1.0,
    )
    silences = gaps(time_ns)
    height = np.log10(np.maximum(expected[rows], 0.0) + 1.0)
    drawn = _line(axis, time_ns[rows], height, silences, "expected run length", "", INK, 0.8)
    say(drawn, "expected run length", "log10p1:intervals")
    axis.plot([], [], "s", color=CHAMPION, markersize=9, label="posterior, full colour: likeliest")
    set_time_axis(layout, axes, int(time_ns[0]), int(time_ns[-1]))
    longest = min(float(edges[-1]), 6.0 * float(np.nanmax(expected, initial=1.0)) + 6.0)
    axis.set_ylim(0.0, float(np.log10(longest + 1.0)))
    _label_run_lengths(axis, longest)
    _draw_alarms(axis, alarms)
    shade(axes, [*shades, *silences])
    legend(layout, axis)
    return figure


# --- what the figures are computed from ---


def z_score(spread: Vector, spread_sd: Vector) -> Vector:
    """Spread over its forecast standard deviation, NaN where there is no forecast."""
    z: Vector = np.full(spread.size, np.nan)
    np.divide(spread, spread_sd, out=z, where=spread_sd > 0.0)
    return z


def rolling_rms(values: Vector, window: int) -> Vector:
    """Root mean square of the last `window` values, NaN until there are as many."""
    squares = np.concatenate(([0.0], np.cumsum(values * values)))
    rms = np.full(values.size, np.nan)
    if values.size >= window:
        rms[window - 1 :] = np.sqrt(np.maximum(squares[window:] - squares[:-window], 0.0) / window)
    return rms


# --- leaves ---


def _line(
    axis: Any,
    time_ns: Times,
    values: Vector,
    silences: Sequence[Shade],
    name: str,
    unit: str,
    color: str,
    width: float,
) -> Any:
    at, shown = broken(time_ns, values, silences)
    line = axis.plot(dates(at), shown, color=color, linewidth=width, label=name, zorder=3)[0]
    say(line, name, unit)
    return line


def _band(
    axis: Any, time_ns: Times, low: Vector, high: Vector, silences: Sequence[Shade], name: str
) -> None:
    at, lower = broken(time_ns, low, silences)
    _, upper = broken(time_ns, high, silences)
    axis.fill_between(
        dates(at), lower, upper, color=CHAMPION, alpha=BAND_ALPHA, linewidth=0, label=name, zorder=2
    )


def _draw_levels(axis: Any, levels: Sequence[Levels], end_ns: int) -> None:
    styles = (("entry_z", "entry", "-"), ("exit_z", "exit", ":"), ("stop_z", "stop", "--"))
    for i, level in enumerate(levels):
        until_ns = levels[i + 1].start_ns if i + 1 < len(levels) else end_ns
        span = dates(np.array([level.start_ns, until_ns]))
        for field, word, dashes in styles:
            for sign in (1.0, -1.0):
                label = word if i == 0 and sign > 0 else "_"
                at = [sign * getattr(level, field)] * 2
                axis.plot(span, at, dashes, color=INK, linewidth=0.8, alpha=0.75, label=label)


def _draw_trades(axis: Any, trades: Trades) -> None:
    scale = float(np.max(trades.value_quote, initial=0.0)) or 1.0
    largest = min(MARK_AREA[1], max(2.0 * MARK_AREA[0], MARKS_AREA / trades.time_ns.size))
    area = MARK_AREA[0] + (largest - MARK_AREA[0]) * trades.value_quote / scale
    for sign, marker, color, word in ((1.0, "^", BUY, "buy Y"), (-1.0, "v", SELL, "sell Y")):
        rows = np.flatnonzero(trades.side == sign)
        if rows.size == 0:
            continue
        marks = axis.scatter(
            dates(trades.time_ns[rows]),
            trades.z[rows],
            s=area[rows],
            marker=marker,
            facecolor=color,
            linewidth=0.0,
            label=word,
            zorder=4,
        )
        say(marks, word, "", [trades.texts[i] for i in rows])


def _limit_z(axis: Any, z: Vector, levels: Sequence[Levels]) -> None:
    """A z far out of the strategy's reach would flatten all that matters."""
    reach = max([float(np.nanmax(np.abs(z), initial=1.0))] if np.isfinite(z).any() else [1.0])
    stop = max((level.stop_z for level in levels), default=reach)
    top = 1.1 * min(reach, 2.0 * stop) if levels else 1.1 * reach
    top = max(top, 1.15 * max((level.entry_z for level in levels), default=0.0))
    axis.set_ylim(-top, top)
    beyond = int(np.sum(np.abs(z) > top))
    if beyond:
        axis.annotate(
            f"{number(beyond)} points beyond this axis",
            (0.995, 0.03),
            xycoords="axes fraction",
            ha="right",
            fontsize=11.5,
            color=MUTED,
        )


def _limit_band(axis: Any, hedge: Vector, hedge_sd: Vector) -> None:
    """The prior's first bands are wide as nothing is known: the axis shows what came after."""
    settled = slice(min(hedge.size // 20, 200), None)
    half = BAND_SDS * hedge_sd[settled]
    low, high = np.nanmin(hedge[settled] - half), np.nanmax(hedge[settled] + half)
    pad = 0.08 * (high - low) or 0.01
    axis.set_ylim(low - pad, high + pad)


def _mass_image(posterior: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """RGBA (bins, columns): the champion's blue, full where a column is likeliest; blank on any
    background.
    """
    red, green, blue = (int(CHAMPION[i : i + 2], 16) for i in (1, 3, 5))
    peak = np.max(posterior, axis=1, keepdims=True, initial=MASS_MIN)
    mass = np.where(posterior < MASS_MIN, 0.0, posterior / peak).T
    image = np.empty((*mass.shape, 4), dtype=np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = red, green, blue
    image[..., 3] = np.rint(255.0 * np.sqrt(np.clip(mass, 0.0, 1.0))).astype(np.uint8)
    return image


def _label_run_lengths(axis: Any, longest: float) -> None:
    ticks = [
        t for t in (0, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000) if t <= longest
    ]
    axis.set_yticks([float(np.log10(t + 1.0)) for t in ticks], [f"{t:,}" for t in ticks])


def _draw_alarms(axis: Any, alarms: Sequence[Shade]) -> None:
    low, high = axis.get_xlim()
    least, whole = 0.0015 * (high - low), axis.get_xaxis_transform()
    starts, ends = (
        dates(np.array([getattr(alarm, edge) for alarm in alarms], dtype=np.int64))
        for edge in ("start_ns", "end_ns")
    )
    parts = [(start, max(end - start, least)) for start, end in zip(starts, ends, strict=True)]
    style = {"color": ALARM, "linewidth": 0, "transform": whole}
    if 0 < len(parts) <= ALARMS_SHADED:
        axis.broken_barh(parts, (0.0, 1.0), alpha=BAND_ALPHA, zorder=1.5, **style)
    if parts:
        axis.broken_barh(parts, (0.955, 0.045), zorder=4, label="alarm", **style)
        axis.set_xlim(low, high)
