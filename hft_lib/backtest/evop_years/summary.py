"""What many simulated years come to: rates with exact intervals, medians, gains."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from hft_lib.backtest.evop_years.scenarios import Bounds, Scenario
from hft_lib.backtest.evop_years.year import Outcome, generator, run_year
from hft_lib.evop.policy import Policy

CONFIDENCE = 0.95
FIRST_DAY = 0  # tests begin at the close of this day; days to detect count from there


def simulate(
    scenario: Scenario,
    numbers: Iterable[int],
    seed: int,
    challengers: int,
    policy: Policy = Policy(),
) -> list[Outcome]:
    """The years of these numbers, each the same in whatever company it is run."""
    return [
        run_year(scenario.build(generator(seed, scenario.name, number)), challengers, policy)
        for number in numbers
    ]


def summarise(scenario: Scenario, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The figures of one scenario, by the names that the command prints."""
    years = len(outcomes)
    bad = sum(one.false_promotions > 0 for one in outcomes)
    promotions = [move for one in outcomes for move in one.moves if move.kind == "promote"]
    days = (_days_to_detect(scenario, one) for one in outcomes)
    waited = [wait for wait in days if wait is not None]
    found = sum(math.isfinite(wait) for wait in waited)
    document: dict[str, Any] = {
        "scenario": scenario.name,
        "about": scenario.about,
        "years": years,
        "promotions": len(promotions),
        "false_promotions": sum(one.false_promotions for one in outcomes),
        "false_promotions_per_year": bad / years,
        "ci95": list(interval(bad, years)),
        "finds": scenario.finds,
        "detected": found / len(waited) if waited else None,
        "detected_ci95": list(interval(found, len(waited))) if waited else None,
        "median_days_to_detect": median(waited),
        "gain_share": _gain_share(scenario, outcomes),
        "rollbacks_per_year": _rate(outcomes, "rollback"),
        "tests_per_year": _rate(outcomes, "test"),
        "freezes_per_year": _rate(outcomes, "freeze"),
    }
    return {**document, "missed": missed(scenario.bounds, document)}


def missed(bounds: Bounds, figures: dict[str, Any]) -> list[str]:
    """The targets that the figures miss, each as a sentence; chance included."""
    rules = (
        ("false_promotions_per_year", bounds.false_max, 1.0),
        ("median_days_to_detect", bounds.days_max, 1.0),
        ("detected", bounds.found_max, 1.0),
        ("detected", bounds.found_min, -1.0),
        ("gain_share", bounds.gain_min, -1.0),
    )
    found = []
    for name, bound, sign in rules:
        value = _value(figures[name])
        if bound is not None and not sign * value <= sign * bound:
            word = "at most" if sign > 0.0 else "at least"
            found.append(f"{name} must be {word} {bound:g}, was {value:.4g}")
    return found


def interval(count: int, years: int) -> tuple[float, float]:
    """The exact interval of a rate that was `count` of `years`. Clopper & Pearson (1934)."""
    exact = stats.binomtest(count, years).proportion_ci(CONFIDENCE, method="exact")
    return float(exact.low), float(exact.high)


def median(days: Sequence[float]) -> float | None:
    """The median, None where half of the years or more did not get there."""
    if not days:
        return None
    middle = float(np.median(np.sort(days), axis=0)) if math.isfinite(max(days)) else _upper(days)
    return middle if math.isfinite(middle) else None


def _upper(days: Sequence[float]) -> float:
    """The middle value, the upper one of two: infinite values have no mean."""
    return sorted(days)[len(days) // 2]


def _days_to_detect(scenario: Scenario, outcome: Outcome) -> float | None:
    """Days until what the scenario is about happened, infinite where it did not.

    None where it could not: without a promotion there is nothing to roll back.
    """
    if scenario.finds == "promote":
        right = (
            m.day for m in outcome.moves if m.kind == "promote" and _is_right(scenario, m.gain)
        )
        return next((float(day - FIRST_DAY) for day in right), math.inf)
    start = outcome.first_day("promote")
    if start is None:
        return None
    end = outcome.first_day("rollback")
    days = math.inf if end is None else float(end - start)
    return days if days <= (scenario.within_days or math.inf) else math.inf


def _is_right(scenario: Scenario, gain: float) -> bool:
    """Whether a promotion is what the scenario waits for; of a null it is any."""
    return scenario.is_null or gain > 0.0


def _gain_share(scenario: Scenario, outcomes: Sequence[Outcome]) -> dict[str, float] | None:
    """What was gained on the first champion after the year, a share of what there was to gain."""
    if not scenario.gain_most > 0.0:
        return None
    shares = np.array([(one.gain - one.gain_start) / scenario.gain_most for one in outcomes])
    error = float(np.std(shares, ddof=1) / math.sqrt(len(shares))) if len(shares) > 1 else 0.0
    return {"mean": float(np.mean(shares)), "standard_error": error}


def _rate(outcomes: Sequence[Outcome], kind: str) -> float:
    return sum(one.decisions.get(kind, 0) for one in outcomes) / len(outcomes)


def _value(figure: Any) -> float:
    """A figure as a number; what never happened is infinitely late."""
    if isinstance(figure, dict):
        return float(figure["mean"])
    return math.inf if figure is None else float(figure)
