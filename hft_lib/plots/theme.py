"""How every figure looks: colours that mean one thing, panels measured in pixels, marks that say
their values.

matplotlib is imported inside the functions: what trades must not wait for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.plots.words import MINUS, number

Vector = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]

# One sign, one meaning. The first three are the page's own: a report replaces them by the
# reader's theme.
INK, MUTED, RULE = "#111213", "#6a6b6c", "#d8d9da"
CAPITAL = INK
CHAMPION = PREDECESSOR = "#0072B2"
TEST = "#E69F00"
EXPLORER = "#999999"
BUY, SELL = "#009E73", "#D55E00"
ALARM = "#CC79A7"
REALISED = "#56B4E9"
BAND_ALPHA = 0.15
SHADE_ALPHA = 0.18

PX_PER_INCH = 72.0  # a point is a pixel, so that sizes here are sizes on the page
FONT_PX = 13.0
LEGEND_ROW_PX = 22
PANEL_GAP_PX = 18
TITLE_PX = 30


@dataclass(frozen=True)
class Layout:
    """How wide a figure is drawn and whether it carries its own title. Below 600 px it is laid out
    for a phone.
    """

    width_px: int = 960
    titled: bool = True

    @property
    def narrow(self) -> bool:
        """Whether it is laid out for a phone."""
        return self.width_px < 600

    @property
    def points_max(self) -> int:
        """Points a line beyond which it is thinned."""
        return 1_500 if self.narrow else 5_000


WIDE = Layout()


@dataclass(frozen=True)
class Panel:
    """One axis box: its height, its y label with the unit, and the entries of its legend."""

    height_px: int
    label: str
    entries: int = 1


def panels(layout: Layout, title: str, boxes: Sequence[Panel]) -> tuple[Any, list[Any]]:
    """A figure with `boxes` from top to bottom on one time axis; returns it and its axes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    left, right, bottom = (64, 20, 46) if layout.narrow else (72, 24, 46)
    strips = [PANEL_GAP_PX + LEGEND_ROW_PX * legend_rows(layout, box.entries) for box in boxes]
    head = TITLE_PX if layout.titled else 0
    height = head + sum(strips) + sum(box.height_px for box in boxes) + bottom
    with rc_context(_STYLE):
        figure = Figure(
            figsize=(layout.width_px / PX_PER_INCH, height / PX_PER_INCH), dpi=PX_PER_INCH
        )
        axes, top = [], float(height - head)
        for box, strip in zip(boxes, strips, strict=True):
            top -= strip + box.height_px
            place = (left, top, layout.width_px - left - right, box.height_px)
            scale = (layout.width_px, height, layout.width_px, height)
            axes.append(
                _axes(figure, [p / s for p, s in zip(place, scale, strict=True)], box.label)
            )
    for axis in axes[:-1]:
        axis.tick_params(labelbottom=False)
    if layout.titled:
        figure.text(
            8 / layout.width_px, 1 - 20 / height, title, fontsize=15, color=INK, weight="bold"
        )
    figure.set_label(title)
    return figure, axes


def _axes(figure: Any, place: Sequence[float], label: str) -> Any:
    axis = figure.add_axes(place)
    axis.set_ylabel(label)
    axis.set_label(label)
    axis.grid(axis="y", color=RULE, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.margins(x=0.0)
    axis.yaxis.set_major_formatter(tick)
    return axis


def tick(value: float, _place: int | None = None) -> str:
    """The label of a tick. It is a round number, so that six digits are never too many, and four
    would make an 11.58 of 11.575.
    """
    return f"{value:g}".replace("-", MINUS) if 0.0 < abs(value) < 1e-4 else number(value, 6)


def legend_rows(layout: Layout, entries: int) -> int:
    """Rows that a legend of `entries` takes."""
    return -(-entries // _columns(layout))


def _columns(layout: Layout) -> int:
    return 2 if layout.narrow else 6


def legend(layout: Layout, axis: Any, latest_first: bool = False) -> None:
    """The legend of `axis`, above it and left, in the order in which things were drawn, or against
    it.
    """
    handles, labels = axis.get_legend_handles_labels()
    if latest_first:
        handles, labels = handles[::-1], labels[::-1]
    if handles:
        axis.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=_columns(layout),
            frameon=False,
            borderpad=0.1,
            borderaxespad=0.2,
            handlelength=1.6,
            columnspacing=1.4,
            labelcolor=INK,
            fontsize=12.0,
        )


def line_style(role: str) -> dict[str, Any]:
    """The line of an account by its role; one that is not known is an explorer's."""
    return dict(_LINES.get(role, _LINES["explorer"]))


_LINES: dict[str, dict[str, Any]] = {
    "explorer": {"color": EXPLORER, "linewidth": 0.8, "zorder": 2.0},
    "predecessor": {"color": PREDECESSOR, "linewidth": 1.4, "linestyle": "--", "zorder": 3.0},
    "champion": {"color": CHAMPION, "linewidth": 1.4, "zorder": 3.1},
    "test": {"color": TEST, "linewidth": 1.6, "zorder": 3.2},
    "capital": {"color": CAPITAL, "linewidth": 1.8, "zorder": 3.3},
}

# --- what an artist says when it is pointed at ---


def say(artist: Any, name: str, unit: str, texts: Sequence[str] = ()) -> None:
    """Let a line say `name` and its value in `unit`, or a mark its own text, one a point."""
    artist.said = (name, unit, tuple(texts))


def said(artist: Any) -> tuple[str, str, tuple[str, ...]] | None:
    """What `say` gave the artist."""
    found: tuple[str, str, tuple[str, ...]] | None = getattr(artist, "said", None)
    return found


_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": FONT_PX,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": FONT_PX,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 12.0,
    "ytick.labelsize": 12.0,
    "axes.unicode_minus": True,
    "lines.solid_joinstyle": "round",
}
