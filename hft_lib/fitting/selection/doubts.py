"""What speaks against a pair whose p-value is small: rules of sense, each with its reason."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hft_lib.fitting.relation import half_life_s
from hft_lib.fitting.selection.engle_granger import adf
from hft_lib.fitting.selection.p_values import p_asymptotic
from hft_lib.models.inputs import Vector

if TYPE_CHECKING:
    from hft_lib.fitting.selection.pairs import Finding

P_OTHER_MAX = 0.05
HALF_LIVES_MIN = 20.0
HEDGE_RATIO_MIN, HEDGE_RATIO_MAX = 0.05, 20.0
LEG_P_MAX = 0.01
HALF_P_MAX = 0.05
LEG_HALF_LIVES_MIN = 10.0  # a leg that takes so many of the spread's to return is no stablecoin
JOHANSEN_LAGS_MAX = 12
_LEVELS = {0: 1, 1: 2}  # column of the critical values: 95 % that any holds, 99 % that both do


def doubt(finding: "Finding") -> str:
    """The first reason not to claim a finding whose q-value allows it; empty where there is none.

    A `rank` of None is not judged.
    """
    assert finding.p_directions is not None and finding.hedge_ratio is not None
    y, x = finding.pair.split("~")
    window_s = (finding.end_ns - finding.start_ns) / 1e9
    if not HEDGE_RATIO_MIN <= finding.hedge_ratio <= HEDGE_RATIO_MAX:
        return f"hedge ratio {finding.hedge_ratio:.3g}: {y} and {x} hardly move together"
    if max(finding.p_directions) > P_OTHER_MAX:
        return f"directions disagree: p {max(finding.p_directions):.3g} the other way"
    if finding.half_life_s is None or finding.half_life_s * HALF_LIVES_MIN > window_s:
        return f"half-life {_hours(finding.half_life_s)} against a window of {_hours(window_s)}"
    return "" if finding.rank is None else _RANKS[finding.rank]


_RANKS = {
    0: "Johansen's test finds no relation",
    1: "",
    2: "Johansen's test finds that both legs return by themselves",
}


def legs_are_slow(y: Vector, x: Vector, half_life_points: float) -> bool:
    """Whether both legs (time,) take ten times as long to return as their spread does.

    A market that ranges for two weeks looks as if it returned by itself. That explains no spread
    which is back within minutes: only a leg that returns as fast does.
    """
    returns = (half_life_s(leg - leg.mean(), 1.0) for leg in (y, x))
    bound = LEG_HALF_LIVES_MIN * half_life_points
    return all(points is None or points >= bound for points in returns)


def doubt_of_leg(symbol: str, log_mid: Vector, lags: int) -> str:
    """Whether a leg (time,) returns by itself, as a stablecoin does: it would to any other's help.

    Dickey and Fuller's test with a constant, at 1 %; empty where it does not.
    """
    from statsmodels.tsa.adfvalues import mackinnonp

    statistic, _ = adf(log_mid - log_mid.mean(), lags)
    p_value = mackinnonp(statistic, regression="c", N=1)
    if p_value < LEG_P_MAX:
        return f"{symbol} returns by itself (p {p_value:.2g}), whatever stands beside it"
    return ""


def contradictions(findings: "Sequence[Finding]") -> dict[str, str]:
    """Reasons by pair not to claim those that contradict a stronger one.

    What holds together is transitive: a coin that holds with two others which do not hold with one
    another (p over 5 %) does so with the stronger at most. A coin that returns from its own jumps
    seems to hold with all of them.
    """
    p_values = {frozenset(one.pair.split("~")): one.p_value for one in findings}
    kept: list[frozenset[str]] = []
    found: dict[str, str] = {}
    claimed = [one for one in findings if one.claimed and one.p_value is not None]
    for one in sorted(claimed, key=lambda one: (one.p_value, min(one.statistics or (0.0,)))):
        legs = frozenset(one.pair.split("~"))
        for other in kept:
            third = p_values.get(legs ^ other) if len(legs & other) == 1 else 0.0
            if third is None or third > P_OTHER_MAX:
                apart = " and ".join(sorted(legs ^ other))
                found[one.pair] = f"{apart} do not hold together, and {_named(other)} is stronger"
                break
        else:
            kept.append(legs)
    return found


def _named(legs: frozenset[str]) -> str:
    return "~".join(sorted(legs))


def doubt_of_halves(spread: Vector, lags: int) -> str:
    """Whether a spread (time,) returns in one half of its window alone; empty where in both.

    A crash from which one coin recovers and another does not is a single return, however large, and
    can carry the test of a whole window. At 5 % in each half.
    """
    middle = spread.size // 2
    for name, half in (("first", spread[:middle]), ("second", spread[middle:])):
        p_value = float(p_asymptotic(adf(half - half.mean(), lags)[0]))
        if not p_value <= HALF_P_MAX:
            return f"does not return within the {name} half alone (p {p_value:.2g})"
    return ""


def johansen_rank(y: Vector, x: Vector, lags: int) -> int:
    """How many relations Johansen's trace test finds between two legs (time,), with a constant.

    0: none; 1: they hold together; 2: each returns by itself, and any spread of them would. None
    against any at 5 %, one against two at 1 %. At most 12 lagged differences. Johansen (1991).
    """
    from statsmodels.tsa.vector_ar.vecm import coint_johansen

    levels = np.column_stack((y - y.mean(), x - x.mean()))
    found = coint_johansen(levels, det_order=0, k_ar_diff=min(lags, JOHANSEN_LAGS_MAX))
    for rank, column in _LEVELS.items():
        if found.trace_stat[rank] <= found.trace_stat_crit_vals[rank, column]:
            return rank
    return 2


def _hours(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds / 3600.0:.3g} h"
