"""A matplotlib figure as inline SVG in the reader's theme, with the numbers that pointing at it
gives.

A figure is drawn twice, for a wide page and for a phone; the style sheet shows the one that fits.
Text stays text, and the same figure gives the same bytes.
"""

import io
import json
import re
from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.plots import Layout
from hft_lib.plots.theme import INK, MUTED, PX_PER_INCH, RULE, said

LAYOUTS = (("wide", Layout(1160, titled=False)), ("narrow", Layout(400, titled=False)))
THEME = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)"}
MS_PER_DAY = 86_400_000.0
DIGITS = 7

Draw = Callable[[Layout], Any]


def figure(name: str, draw: Draw, caption: str) -> str:
    """HTML of the figure that `draw` makes for a layout: title, both drawings, time cursor, and
    `caption` (HTML).
    """
    caption = re.sub(r"(?<=\d) (?=%|bp\b)", "\N{NO-BREAK SPACE}", caption)
    drawings, payload, title = [], "", ""
    for kind, layout in LAYOUTS:
        drawn = draw(layout)
        title = drawn.get_label()
        identity = f"{name}-{kind}"
        drawings.append(_svg(drawn, identity, kind, f"{title}. {_plain(caption)}"))
        if kind == "wide":
            payload = json.dumps(_payload(drawn), separators=(",", ":"), allow_nan=False)
    payload = payload.replace("<", "\\u003c")
    return f"""<figure id="{name}">
<h3>{escape(title)}</h3>
<div class="plot">{"".join(drawings)}
<div class="cursor" role="slider" tabindex="0" aria-label="Time cursor of: {escape(title)}"
 aria-valuemin="0" aria-valuemax="0" aria-valuenow="0"
 aria-valuetext="arrow keys read the values"></div>
<div class="reading" hidden></div></div>
<script type="application/json" class="numbers">{payload}</script>
<figcaption>{caption}</figcaption>
</figure>"""


def _plain(html: str) -> str:
    return re.sub(r"<[^>]+>", "", html)


def _svg(drawn: Any, identity: str, kind: str, description: str) -> str:
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": identity}):
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        drawn.savefig(buffer, format="svg", metadata=metadata, transparent=True)
    body = buffer.getvalue()
    body = body[body.index("<svg") :]
    inside = body[body.index(">") + 1 :]
    inside = re.sub(r"<metadata>.*?</metadata>", "", inside, flags=re.DOTALL)
    inside = _compact(_themed(inside))
    width, height = (round(float(side) * PX_PER_INCH) for side in drawn.get_size_inches())
    boxes = json.dumps(_boxes(drawn, width, height), separators=(",", ":"))
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" '
        f"data-boxes='{boxes}' aria-label=\"{escape(description)}\">{inside}"
    )


def _themed(svg: str) -> str:
    """Replace the page's own colours by variables of the style sheet."""
    for color, variable in THEME.items():
        svg = svg.replace(color, variable)
    return svg


def _compact(svg: str) -> str:
    """One decimal of a pixel is enough in long paths, and line breaks in them are bytes."""

    def shorter(path: re.Match[str]) -> str:
        found = path.group(1)
        if len(found) > 400:
            found = re.sub(r"-?\d+\.\d{2,}", lambda n: f"{float(n.group(0)):.1f}", found)
        return f' d="{" ".join(found.split())}"'

    return re.sub(r"\n\s*", "\n", re.sub(r'\sd="([^"]*)"', shorter, svg))


# --- what pointing at a figure reads ---


def _boxes(drawn: Any, width: int, height: int) -> list[list[float]]:
    """Of each panel: left, top, width, height in the drawing, then its limits, time in ms, and 1
    for a log axis.
    """
    boxes = []
    for axis in drawn.axes:
        place = axis.get_position()
        low, high = (limit * MS_PER_DAY for limit in axis.get_xlim())
        bottom, top = axis.get_ylim()
        pixels = (
            place.x0 * width,
            (1.0 - place.y1) * height,
            place.width * width,
            place.height * height,
        )
        limits = (round(low), round(high), float(bottom), float(top))
        logarithmic = int(axis.get_yscale() == "log")
        boxes.append([*(round(side, 1) for side in pixels), *limits, logarithmic])
    return boxes


def _payload(drawn: Any) -> dict[str, Any]:
    """Series and marks of each panel; series on the same times share a clock."""
    clocks: list[dict[str, Any]] = []
    known: dict[bytes, int] = {}
    panels = []
    for axis in drawn.axes:
        series = []
        for line in axis.get_lines():
            if (says := said(line)) is None:
                continue
            times = np.rint(np.asarray(line.get_xdata(), dtype=np.float64) * MS_PER_DAY)
            key = times.tobytes()
            if key not in known:
                known[key] = len(clocks)
                clocks.append(_clock(times.astype(np.int64)))
            values = np.asarray(line.get_ydata(), dtype=np.float64)
            series.append(
                {
                    "name": says[0],
                    "unit": says[1],
                    "color": THEME.get(line.get_color(), line.get_color()),
                    "clock": known[key],
                    "values": [_short(value) for value in values],
                }
            )
        panels.append({"label": axis.get_label(), "series": series, "marks": _marks(axis)})
    return {"clocks": clocks, "panels": panels}


def _clock(times_ms: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Times as a first one and steps in their greatest common unit."""
    steps = np.diff(times_ms)
    unit = int(np.gcd.reduce(steps)) if steps.size else 1
    unit = unit or 1
    return {
        "start": int(times_ms[0]) if times_ms.size else 0,
        "unit": unit,
        "steps": (steps // unit).tolist(),
    }


def _marks(axis: Any) -> list[list[Any]]:
    marks = []
    for collection in axis.collections:
        if (says := said(collection)) is None:
            continue
        for (day, height), text in zip(collection.get_offsets(), says[2], strict=True):
            marks.append([round(float(day) * MS_PER_DAY), _short(float(height)), text])
    return sorted(marks, key=lambda found: found[0])


def _short(value: float) -> float | int | None:
    if not np.isfinite(value):
        return None
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() else rounded
