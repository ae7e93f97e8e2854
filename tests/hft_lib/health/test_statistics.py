"""The tests of a model's health: equal to scipy's and statsmodels' where those have them."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from statsmodels.stats.diagnostic import acorr_ljungbox

from hft_lib.health import statistics
from hft_lib.health.statistics import Coverage, coverage, kupiec, stability

Vector = npt.NDArray[np.float64]


def normal(count: int, seed: int = 3) -> Vector:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(count)


def autoregressive(rho: float, count: int) -> Vector:
    noise, found = normal(count), np.empty(count)
    last = 0.0
    for t in range(count):
        last = found[t] = rho * last + math.sqrt(1.0 - rho * rho) * noise[t]
    return found


@pytest.mark.parametrize("rho", [0.0, 0.2, -0.6])
@pytest.mark.parametrize("lags", [1, 5, 10])
def test_ljung_box_is_that_of_statsmodels(rho: float, lags: int):
    series = autoregressive(rho, 250)
    oracle = acorr_ljungbox(series, lags=[lags]).iloc[0]
    found = statistics.ljung_box(series, lags)
    assert found.statistic == pytest.approx(oracle["lb_stat"], rel=1e-10)
    assert found.p_value == pytest.approx(oracle["lb_pvalue"], rel=1e-9)


def test_what_hangs_together_is_told_from_what_does_not():
    assert statistics.ljung_box(autoregressive(0.4, 250)).p_value < 1e-4
    white = [statistics.ljung_box(normal(250, seed)).p_value for seed in range(300)]
    assert 0.02 < np.mean(np.array(white) < 0.05) < 0.09


@pytest.mark.parametrize("shift, scale", [(0.0, 1.0), (0.3, 1.0), (0.0, 1.5)])
def test_mean_and_variance_are_judged_as_by_scipy(shift: float, scale: float):
    scores = shift + scale * normal(120)
    mean, variance = statistics.mean_zero(scores), statistics.variance_one(scores)
    z = scores.mean() * math.sqrt(120)
    assert mean == pytest.approx((scores.mean(), 2.0 * stats.norm.sf(abs(z))))
    chi2 = stats.chi2(119)
    tail = 119 * scores.var(ddof=1)
    assert variance.statistic == pytest.approx(scores.var(ddof=1))
    assert variance.p_value == pytest.approx(2.0 * min(chi2.cdf(tail), chi2.sf(tail)))


@pytest.mark.parametrize("nominal", [0.5, 0.8, 0.95])
def test_coverage_counts_what_lies_between_the_quantiles(nominal: float):
    scores = normal(400)
    low, high = stats.norm.interval(nominal)
    found = coverage(scores, nominal)
    assert found.inside == ((scores >= low) & (scores <= high)).sum()
    assert found.share == found.inside / 400


@pytest.mark.parametrize("inside", [0, 180, 190, 199, 200])
def test_kupiecs_ratio_is_that_of_two_binomials(inside: int):
    x, nominal = 200 - inside, 0.95
    there = stats.binom.logpmf(x, 200, 1.0 - nominal)
    best = stats.binom.logpmf(x, 200, x / 200)
    found = kupiec(Coverage(nominal, inside, 200))
    assert found.statistic == pytest.approx(2.0 * (best - there), abs=1e-9)
    assert found.p_value == pytest.approx(stats.chi2.sf(2.0 * (best - there), 1))


def test_kupiecs_ratio_is_the_published_one():
    # Jorion, Value at Risk (3rd ed.), table 6-2: at 95 % and 255 days 6 < misses < 20 are accepted
    # at the test's level of 5 %, and 6 and 20 are not.
    p = {x: kupiec(Coverage(0.95, 255 - x, 255)).p_value for x in (6, 7, 20, 21)}
    assert p[7] > 0.05 > p[6] and p[20] > 0.05 > p[21]


@pytest.mark.parametrize("count", [20, 100, 250])
@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_uniformity_is_kolmogorovs_distance_with_nearly_its_exact_chance(count: int, scale: float):
    scores = scale * normal(count, seed=count)
    oracle = stats.kstest(stats.norm.cdf(scores), "uniform", method="exact")
    found = statistics.uniformity(scores)
    assert found.statistic == pytest.approx(oracle.statistic, rel=1e-12)
    assert found.p_value == pytest.approx(oracle.pvalue, abs=0.02)


def test_the_stability_index_is_the_sum_of_its_definition():
    counts, shares = np.array([30, 50, 120]), np.array([0.2, 0.3, 0.5])
    a = (counts + 0.5) / 201.5
    e = (1000 * shares + 0.5) / 1001.5
    expected = sum((one - other) * math.log(one / other) for one, other in zip(a, e, strict=True))
    found = stability(counts, shares, 1000)
    assert found.statistic == pytest.approx(expected)
    assert found.p_value == pytest.approx(stats.chi2.sf(expected / (1 / 200 + 1 / 1000), 2))


def test_the_stability_index_of_what_did_not_change_has_the_chance_it_says():
    random = np.random.Generator(np.random.PCG64(11))
    shares = np.full(10, 0.1)
    chances = [
        stability(random.multinomial(250, shares), shares, 10**9).p_value for _ in range(800)
    ]
    assert 0.02 < np.mean(np.array(chances) < 0.05) < 0.08


def test_an_empty_bin_gives_a_finite_index_and_a_single_one_none():
    assert 1.0 < stability([0, 250], [0.5, 0.5], 1000).statistic < 10.0
    assert math.isnan(stability([250], [1.0], 1000).statistic)


def test_too_little_to_test_is_said_and_not_guessed():
    nothing = np.empty(0)
    assert math.isnan(statistics.ljung_box(normal(statistics.LAGS)).p_value)
    assert math.isnan(statistics.ljung_box(np.ones(100)).p_value)
    for found in (
        statistics.mean_zero(nothing),
        statistics.variance_one(normal(1)),
        kupiec(coverage(nothing, 0.95)),
        statistics.uniformity(nothing),
        stability([0, 0], [0.5, 0.5], 100),
    ):
        assert math.isnan(found.statistic) and math.isnan(found.p_value)
    assert math.isnan(coverage(nothing, 0.95).share)
