"""Every figure, once: notebooks, reports and pages call these; each takes arrays and returns a
matplotlib Figure.

Times are nanoseconds since 1970 UTC, spreads and volatilities log units (drawn in bp), money the
quote currency.
"""

from hft_lib.plots.accounts import Curve, EvidencePath, drawdown, equity, evidence
from hft_lib.plots.signals import (
    Levels,
    Trades,
    hedge_ratio,
    rolling_rms,
    run_length,
    spread_and_z,
    volatility,
    z_score,
)
from hft_lib.plots.theme import WIDE, Layout
from hft_lib.plots.time_axis import Moment, Shade, gaps, spans, thin, thinned

__all__ = [
    "WIDE",
    "Curve",
    "EvidencePath",
    "Layout",
    "Levels",
    "Moment",
    "Shade",
    "Trades",
    "drawdown",
    "equity",
    "evidence",
    "gaps",
    "hedge_ratio",
    "rolling_rms",
    "run_length",
    "spans",
    "spread_and_z",
    "thin",
    "thinned",
    "volatility",
    "z_score",
]
