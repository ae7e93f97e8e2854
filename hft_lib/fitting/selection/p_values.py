"""From statistics to p-values, and from many p-values to what may be claimed.

`p_asymptotic` is MacKinnon's response surface for two series and a constant, as in statsmodels. It
supposes returns of one variance: on blocks of recorded hourly returns of coins that have nothing to
do with one another, 1 in 1,000 is met 7 times too often, 1 in 10,000 20 times.

`p_wild` is what those same returns give (`wild`). The surface turns a statistic into a normal
score; the scores of the walks show, in their lower tail, how the pair's own distribution lies to
it, and the straight line through their quantiles carries it further than walks can be drawn:

    quantile_q of the walks' scores = location + scale * normal quantile of q,   q in TAIL
    p = Phi((score - location) / scale)

MacKinnon (1994, 2010), Critical Values for Cointegration Tests; Benjamini & Yekutieli (2001), The
control of the false discovery rate in multiple testing under dependency, Annals of Statistics 29.
"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hft_lib.models.inputs import Vector

# MacKinnon's surface for two series with a constant, powers of the statistic from 0 on. The numbers
# stand here because importing statsmodels for them takes three seconds of every calibration.
SURFACE_SMALL = (2.92, 1.5012, 0.039796)
SURFACE_LARGE = (2.1945, 0.64695, -0.29198, -0.042377)
SURFACE_BETWEEN = -2.62
SURFACE_ENDS = (-18.86, 0.92)
TAIL = (0.01, 0.02, 0.05, 0.1)
UNHEDGED_SHARE_MAX = 0.015  # wrappers at most 1.2 % in a window, ordinary claims at least 1.8 %
ORDINARY_POWER = 0.5
SCALE_MIN = 0.1  # walks all at the surface's end have no slope; any of their own is about 1
SCORE_MAX = 9.0  # of a statistic beyond the surface's upper end: p is 1
Method = Literal["bh", "by"]


def scores(statistics: npt.ArrayLike) -> Vector:
    """Normal scores of statistics (any shape) by the surface: their p-values are Phi of it.

    -inf below the surface's lower end, where p is 0; NaN stays NaN.
    """
    found = np.asarray(statistics, dtype=np.float64)
    small = np.polynomial.polynomial.polyval(found, SURFACE_SMALL)
    large = np.polynomial.polynomial.polyval(found, SURFACE_LARGE)
    score = np.where(found <= SURFACE_BETWEEN, small, large)
    score = np.where(found > SURFACE_ENDS[1], SCORE_MAX, score)
    result: Vector = np.where(found < SURFACE_ENDS[0], -np.inf, score)
    return result


def p_asymptotic(statistics: npt.ArrayLike) -> Vector:
    """P-values of statistics (any shape), each alone; NaN stays NaN."""
    return _phi(scores(statistics))


def p_wild(statistics: npt.ArrayLike, walks: Vector) -> Vector:
    """P-values of `statistics` (directions,) given those of `walks` (walks, directions).

    Statistics beyond the surface's lower end count as its end: walks whose few moves are huge pass
    it, and then such a statistic is no wonder.
    """
    from scipy.special import ndtri

    quantiles = np.nanquantile(_bounded_scores(walks), TAIL, axis=0)
    scale, location = np.polyfit(ndtri(TAIL), quantiles, 1)
    return _phi((_bounded_scores(statistics) - location) / np.maximum(scale, SCALE_MIN))


def _bounded_scores(statistics: npt.ArrayLike) -> Vector:
    return scores(np.maximum(np.asarray(statistics, dtype=np.float64), SURFACE_ENDS[0]))


def better_direction(p_values: Vector) -> Vector:
    """One p-value of the smaller of both directions' (..., 2): twice it, at most 1 (Bonferroni).

    The smaller alone rejects 8.8 % of independent walks at 5 %, and further out 2 % at 1 %: twice
    is what having the choice costs there, where claims are decided.
    """
    doubled: Vector = np.minimum(1.0, 2.0 * np.min(p_values, axis=-1))
    return doubled


def p_ordinary(p_value: float, unhedged_share: float) -> float:
    """The p-value of a pair whose hedge leaves `unhedged_share` of a leg's variance.

    Up to 1.5 % it is as it was: two wrappers of one asset are so close. Ordinary coins are not, and
    among them small p-values are far too many: their own jumps come back, which is noise beside a
    walk and no relation, and neither the surface nor walks of the same volatility know of it. Of
    15,577 recorded half-years of pairs, 1 in 10,000 was met 39 times too often and 1 in a million
    700 times: the square root is about what they are worth. Share and power were chosen on those
    same recordings, so that what is measured there is in-sample.
    """
    return p_value if unhedged_share <= UNHEDGED_SHARE_MAX else p_value**ORDINARY_POWER


def q_values(p_values: Vector, method: Method = "by") -> Vector:
    """The least false discovery rate at which each of `p_values` (tests,) would be claimed.

    "by" (Benjamini and Yekutieli) holds whatever the dependence, and pairs share their coins; "bh"
    does without its factor 1 + 1/2 + ... + 1/tests and needs tests that depend positively.
    """
    from scipy.stats import false_discovery_control

    if p_values.size == 0:
        return p_values
    adjusted: Vector = false_discovery_control(p_values, method=method)
    return adjusted


def _phi(score: Any) -> Vector:
    from scipy.special import ndtr

    probability: Vector = ndtr(score)
    return probability
