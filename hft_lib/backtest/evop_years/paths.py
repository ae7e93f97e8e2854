"""Evidence on many made-up histories at once: how often a rule is wrong, and how long it takes.

What is measured here is a rule of evidence alone, without slots, guards or a budget; `year` has
those. v is a daily paired difference in any unit, with mean IR / sqrt(365) standard deviations.

The e-process grows by about g_j = lam_j m - lam_j^2 (1 + m^2) / 2 a day in stake j, where m is the
mean of a day over the scale bet with, so that it takes min_j ln(T / w_j(0)) / g_j days to reach T.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hft_lib.backtest.evop_years.noise import Draws, Noise
from hft_lib.evop.evidence import EVIDENCE, begin, constants, run
from hft_lib.evop.policy import YEAR_DAYS, Bets

Flags = npt.NDArray[np.bool_]
DAYS_MIN = 10  # that a t test is not looked at before: two days would always decide


def e_paths(differences: Draws, s0: float, loss_max: float, bets: Bets = Bets()) -> Draws:
    """e after each day of every path, (paths, days), of `differences` (paths, days).

    `s0` and `loss_max` (L_max) are in the unit of the differences.
    """
    rows, const = np.zeros(1, EVIDENCE), constants(bets)
    found = np.empty(differences.shape)
    for path, e in zip(np.ascontiguousarray(differences, dtype=np.float64), found, strict=True):
        begin(rows, 0, bets, s0, loss_max)
        run(rows, 0, path, const, e)
    return found


def t_test_paths(differences: Draws) -> Draws:
    """One-sided p-values of Student's t test of the days so far, (paths, days), after every day.

    1 before the tenth day, and where the days so far are all alike.
    """
    from scipy import stats

    days = np.arange(1, differences.shape[1] + 1)
    means = np.cumsum(differences, axis=1) / days
    squares = np.cumsum(differences * differences, axis=1) / days - means * means
    variances = np.maximum(squares, 0.0) / np.maximum(days - 1, 1)
    t = np.full(differences.shape, -np.inf)
    np.divide(means, np.sqrt(variances), out=t, where=(variances > 0.0) & (days >= DAYS_MIN))
    found: Draws = stats.t.sf(t, np.maximum(days - 1, 1))
    return found


def first_days(reached: Flags) -> Draws:
    """The first day, counted from 1, on which each path (paths, days) had got there; else inf."""
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1.0, np.inf)


def shares_by_day(reached: Flags) -> Draws:
    """The share of the paths (paths, days) that had got there on this day or before, (days,)."""
    found: Draws = np.maximum.accumulate(reached, axis=1).mean(axis=0)
    return found


def desk_years(
    family: Callable[[np.random.Generator, int, int], Noise],
    years: int,
    rng: np.random.Generator,
    *,
    slots: int = 5,
    lives: int = 4,
) -> Draws:
    """Tests of equal sets as a desk would run them: `slots` at once, `lives` times a year.

    Returns (years, slots * lives, days): each test's daily differences in the family's unit.
    """
    days = YEAR_DAYS // lives
    found = np.empty((years, slots * lives, days))
    for year in range(years):
        drawn = family(rng, lives * days, slots).draws
        found[year] = drawn.reshape(lives, days, slots).transpose(0, 2, 1).reshape(-1, days)
    return found


def days_expected(
    ir: float, threshold: float, scale_sds: float = 1.0, bets: Bets = Bets()
) -> float:
    """Days until e is expected to reach `threshold`, by the formula above; inf where it never is.

    `scale_sds` is the scale bet with, in standard deviations of the difference: 1 unless the floor
    is above.
    """
    mean, variance = ir / math.sqrt(YEAR_DAYS) / scale_sds, 1.0 / (scale_sds * scale_sds)
    found = math.inf
    for stake, share in zip(bets.stakes, bets.shares, strict=True):
        growth = stake * mean - stake * stake * (variance + mean * mean) / 2.0
        if growth > 0.0:
            found = min(found, math.log(threshold / share) / growth)
    return found
