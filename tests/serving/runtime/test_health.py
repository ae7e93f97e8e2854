"""Model health: running figures equal those of the whole run, weighed by age."""

import math

import numpy as np
import pytest

from serving.runtime.health import HALF_LIFE, Health, Judged


def judged(values: list[float], half_life: float = HALF_LIFE) -> Judged:
    health = Health(half_life)
    for z in values:
        health.add(z)
    return health.judged()


def weighed(values: list[float], half_life: float) -> Judged:
    """The same from all values at once."""
    z = np.array(values)
    weights = 0.5 ** (np.arange(len(z))[::-1] / half_life)
    mean = np.average(z, weights=weights)
    mean_square = np.average(z * z, weights=weights)
    covariance = np.average(z[1:] * z[:-1], weights=weights[1:]) - mean * mean
    return Judged(mean, covariance / (mean_square - mean * mean), mean_square)


def autoregressive(rho: float, scale: float, count: int) -> list[float]:
    rng, z, found = np.random.default_rng(5), 0.0, []
    for noise in rng.standard_normal(count):
        z = rho * z + math.sqrt(1.0 - rho * rho) * noise
        found.append(scale * z + 0.1)
    return found


@pytest.mark.parametrize("half_life", [3.0, 50.0, HALF_LIFE])
def test_running_figures_are_those_of_the_weighed_run(half_life: float):
    values = autoregressive(0.4, 1.5, 700)
    assert judged(values, half_life) == pytest.approx(weighed(values, half_life), rel=1e-9)


def test_a_dependent_and_too_narrow_forecast_is_told_from_a_good_one():
    good, bad = judged(autoregressive(0.0, 1.0, 5000)), judged(autoregressive(0.5, 2.0, 5000))
    assert abs(good.autocorrelation) < 0.1 and abs(good.mean_square - 1.0) < 0.15
    assert bad.autocorrelation > 0.35 and bad.mean_square > 3.0


def test_what_is_long_past_is_forgotten():
    assert judged([9.0] * 500 + [1.0, -1.0] * 500, 20.0).mean_square == pytest.approx(1.0)


def test_a_value_that_is_none_breaks_the_run_and_is_not_counted():
    health = Health(1e12)
    for z in (1.0, 2.0, math.nan, -4.0, math.inf, 3.0, 1.0):
        health.add(z)
    mean = 3.0 / 5.0
    covariance = (1.0 * 2.0 + 3.0 * 1.0) / 2.0 - mean * mean
    expected = (mean, covariance / (31.0 / 5.0 - mean * mean), 31.0 / 5.0)
    assert health.judged() == pytest.approx(expected)


def test_too_few_values_give_no_figure():
    assert all(math.isnan(figure) for figure in judged([]))
    one = judged([2.0])
    assert one.mean == 2.0 and math.isnan(one.autocorrelation) and one.mean_square == 4.0
