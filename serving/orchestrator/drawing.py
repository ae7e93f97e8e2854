"""The evidence of an open test as a small drawing: e by block on a log axis, and its two bounds."""

import math
from collections.abc import Sequence
from html import escape

from hft_lib.plots.words import day, number

# Drawn in these units and scaled to the column: read as well at 375 pixels as at 1440.
WIDTH, HEIGHT = 360.0, 168.0
LEFT, RIGHT, TOP, BOTTOM = 8.0, 352.0, 22.0, 142.0
BLOCKS_DRAWN_MAX = 400  # a test lives 180 days at most


def evidence_path(
    name: str, end_ns: Sequence[int], e: Sequence[float], threshold: float, drop_below: float
) -> str:
    """An SVG of the path from e = 1 on; empty before the first block."""
    if not e:
        return ""
    values = [1.0, *e][-BLOCKS_DRAWN_MAX:]
    low, high = min(drop_below, *values) / 1.4, max(threshold, *values) * 1.4
    span = math.log(high / low)

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * math.log(max(value, low) / low) / span

    step = (RIGHT - LEFT) / (len(values) - 1)
    at = [f"{LEFT + step * i:.1f},{y(value):.1f}" for i, value in enumerate(values)]
    said = (
        f"e of {name} after {len(e)} blocks: {number(e[-1], 3)}; promoted at {number(threshold)}, "
        f"dropped below {number(drop_below)}"
    )
    last_x, _, last_y = at[-1].partition(",")
    return (
        f'<svg class="path" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" '
        f'aria-label="{escape(said)}"><title>{escape(said)}</title>'
        f'{_bound(y(threshold), f"promoted at {number(threshold)}", "bound", -5.0)}'
        f'{_bound(y(1.0), "", "one", 0.0)}'
        f'{_bound(y(drop_below), f"dropped below {number(drop_below)}", "bound", 13.0)}'
        f'<polyline points="{" ".join(at)}"/><circle cx="{last_x}" cy="{last_y}" r="3.5"/>'
        f'<text x="{LEFT:g}" y="{HEIGHT - 4:g}">{escape(day(end_ns[0]))}</text>'
        f'<text x="{RIGHT:g}" y="{HEIGHT - 4:g}" text-anchor="end">'
        f"{escape(day(end_ns[-1]))}</text></svg>"
    )


def _bound(y: float, text: str, kind: str, off: float) -> str:
    return (
        f'<line class="{kind}" x1="{LEFT:g}" x2="{RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT:g}" y="{y + off:.1f}">{escape(text)}</text>'
    )
