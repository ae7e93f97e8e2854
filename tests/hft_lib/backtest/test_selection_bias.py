"""The deflated Sharpe ratio against the published example, the test of superiority against arch."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from hft_lib.backtest.selection_bias import (
    Sharpe,
    deflated_sharpe,
    expected_best,
    sharpe,
    superiority,
    variance_of_ratios,
)

# Bailey & Lopez de Prado (2014), section "A numerical example": 2.5 a year over 1,250 days of 250
# a year, the trials' ratios varying by 1/2 a year.
DAILY = 2.5 / math.sqrt(250.0)
VARIANCE = 0.5 / 250.0


def test_the_published_example_comes_out() -> None:
    assert expected_best(100, VARIANCE) == pytest.approx(0.1132, abs=5e-5)
    skewed = Sharpe(DAILY, -3.0, 10.0, 1_250)
    assert deflated_sharpe(skewed, 100, VARIANCE) == pytest.approx(0.9004, abs=5e-5)
    assert deflated_sharpe(skewed, 46, VARIANCE) == pytest.approx(0.9505, abs=5e-5)
    normal = Sharpe(DAILY, 0.0, 3.0, 1_250)
    assert deflated_sharpe(normal, 88, VARIANCE) == pytest.approx(0.9505, abs=5e-5)


def test_one_trial_is_the_probabilistic_sharpe_ratio() -> None:
    found = Sharpe(0.1, 0.0, 3.0, 101)
    by_hand = norm.cdf(0.1 * math.sqrt(100.0) / math.sqrt(1.0 + 0.5 * 0.01))
    assert deflated_sharpe(found, 1, VARIANCE) == pytest.approx(by_hand, rel=1e-12)


def test_more_trials_and_more_variance_deflate_more() -> None:
    found = Sharpe(0.15, -1.0, 6.0, 250)
    values = [deflated_sharpe(found, trials, VARIANCE) for trials in (1, 2, 10, 100, 1_000)]
    assert values == sorted(values, reverse=True) and len(set(values)) == 5
    assert deflated_sharpe(found, 10, 4.0 * VARIANCE) < deflated_sharpe(found, 10, VARIANCE)


def test_the_expected_best_is_that_of_simulated_luck() -> None:
    random = np.random.Generator(np.random.PCG64(1))
    best = random.normal(0.0, 0.3, (20_000, 50)).max(axis=1).mean()
    # The equation is an approximation: it is 1.2 % above at 50 trials, and closer beyond.
    assert expected_best(50, 0.09) == pytest.approx(best, rel=0.02)


def test_the_moments_are_those_of_the_sample() -> None:
    values = np.random.Generator(np.random.PCG64(2)).standard_t(5, 400) + 0.1
    found = sharpe(values)
    assert found is not None
    centred = (values - values.mean()) / values.std()
    assert found.ratio == pytest.approx(values.mean() / values.std(ddof=1), rel=1e-12)
    assert found.skew == pytest.approx((centred**3).mean(), rel=1e-9)
    assert found.kurtosis == pytest.approx((centred**4).mean(), rel=1e-9)


@pytest.mark.parametrize("values", [[], [1.0, 2.0], [0.0] * 30])
def test_results_that_say_nothing_have_no_ratio(values: list[float]) -> None:
    assert sharpe(values) is None


def test_near_copies_vary_by_no_less_than_luck_does() -> None:
    assert variance_of_ratios([0.1, 0.1, 0.1], 101) == pytest.approx(0.01)
    assert variance_of_ratios([-0.5, 0.5], 101) == pytest.approx(0.5)


@pytest.mark.parametrize(("trials", "variance"), [(0, 0.1), (2, -0.1), (2, math.nan)])
def test_counts_and_variances_that_cannot_be_are_refused(trials: int, variance: float) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        expected_best(trials, variance)


def test_superiority_is_what_arch_says_of_the_losses() -> None:
    from arch.bootstrap import SPA

    results = np.random.Generator(np.random.PCG64(3)).normal(0.05, 1.0, (120, 4))
    test = SPA(np.zeros(120), -results, reps=2_000, seed=20_140_701)
    test.compute()
    found = superiority(results)
    assert found is not None
    assert found.consistent == test.pvalues["consistent"]
    assert found.lower <= found.consistent <= found.upper == test.pvalues["upper"]


def test_a_better_candidate_is_found_among_many_and_luck_is_not() -> None:
    random = np.random.Generator(np.random.PCG64(4))
    noise = random.normal(0.0, 1.0, (250, 20))
    assert (luck := superiority(noise)) is not None and luck.consistent > 0.05
    better = noise + np.where(np.arange(20) == 7, 0.4, 0.0)
    assert (skill := superiority(better)) is not None and skill.consistent < 0.01


def test_a_worse_candidate_is_not_taken_for_a_better_one() -> None:
    random = np.random.Generator(np.random.PCG64(5))
    found = superiority(random.normal(-0.5, 1.0, (100, 3)))
    assert found is not None and found.consistent > 0.5


def test_candidates_that_never_move_prove_nothing() -> None:
    assert superiority(np.zeros((50, 3))) is None
