"""Two small drawings of a model's innovations, as SVG in the reader's colours: is their
distribution the one that was forecast, does one follow from another?
"""

import math
from html import escape

import numpy as np
from scipy import special

from hft_lib.health.statistics import autocorrelations
from hft_lib.models.inputs import Vector
from hft_lib.plots.words import number, percent

# Drawn in these units and scaled to the column.
WIDTH, HEIGHT = 300.0, 132.0
LEFT, RIGHT, TOP, BOTTOM = 34.0, 296.0, 12.0, 108.0
BINS, LAGS = 10, 10
BAND_SDS = 1.96


def shape(name: str, scores: Vector) -> str:
    """How many of `scores` (time,) fell into each tenth of the forecast distribution: each should
    hold a tenth, give or take the band.
    """
    if not scores.size:
        return ""
    tenths = np.minimum((BINS * special.ndtr(scores)).astype(np.int64), BINS - 1)
    shares = np.bincount(tenths, minlength=BINS) / scores.size
    spread = BAND_SDS * math.sqrt(0.1 * 0.9 / scores.size)
    high = max(0.2, 1.1 * float(shares.max()), 1.1 * (0.1 + spread))
    low, most = (percent(float(one)) for one in (shares.min(), shares.max()))
    said = f"{name}: the tenths of the forecast distribution hold {low} to {most} of what came"
    return _drawing(
        said,
        shares,
        (0.0, high),
        (0.1 - spread, 0.1, 0.1 + spread),
        ("10 %", 0.1),
        ("lowest tenth", "highest"),
    )


def followings(name: str, scores: Vector) -> str:
    """The autocorrelation of `scores` (time,) at lags 1 to 10: all should lie within the band."""
    found = autocorrelations(scores, LAGS)
    if not np.isfinite(found).all():
        return ""
    spread = BAND_SDS / math.sqrt(scores.size)
    high = max(0.25, 1.1 * float(np.abs(found).max()), 1.1 * spread)
    out = int(np.count_nonzero(np.abs(found) > spread))
    largest = number(float(found[np.argmax(np.abs(found))]), 2)
    said = f"{name}: autocorrelation at lags 1 to 10, the largest {largest}, {out} out of the band"
    return _drawing(
        said, found, (-high, high), (-spread, 0.0, spread), ("0", 0.0), ("lag 1", "lag 10")
    )


def _drawing(
    said: str,
    values: Vector,
    limits: tuple[float, float],
    band: tuple[float, float, float],
    level: tuple[str, float],
    ends: tuple[str, str],
) -> str:
    """Bars of `values` from the middle of `band` (from 0 where all are shares), with the band."""
    low, high = limits

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low)

    step = (RIGHT - LEFT) / values.size
    bars = "".join(
        _bar(LEFT + step * i + 0.15 * step, 0.7 * step, y(max(low, 0.0)), y(value))
        for i, value in enumerate(values.tolist())
    )
    top, middle, bottom = y(band[2]), y(band[1]), y(max(band[0], low))
    return (
        f'<svg class="small" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" '
        f'aria-label="{escape(said)}"><title>{escape(said)}</title>'
        f'<rect class="band" x="{LEFT:g}" y="{top:.1f}" width="{RIGHT - LEFT:g}" '
        f'height="{bottom - top:.1f}"/>{bars}'
        f'<line x1="{LEFT:g}" x2="{RIGHT:g}" y1="{middle:.1f}" y2="{middle:.1f}"/>'
        f'<text x="{LEFT - 4:g}" y="{y(level[1]) + 4:.1f}" text-anchor="end">{level[0]}</text>'
        f'<text x="{LEFT:g}" y="{HEIGHT - 8:g}">{ends[0]}</text>'
        f'<text x="{RIGHT:g}" y="{HEIGHT - 8:g}" text-anchor="end">{ends[1]}</text></svg>'
    )


def _bar(x: float, width: float, foot: float, end: float) -> str:
    top, height = min(foot, end), abs(foot - end)
    return (
        f'<rect class="bar" x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
    )
