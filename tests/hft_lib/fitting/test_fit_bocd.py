"""The detector's fit: hazards of known regimes, bounds, and an alarm that rarely cries wolf."""

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from hft_lib.fitting.bocd import (
    ALARM_LADDER,
    FALSE_ALARMS_PER_10K,
    HAZARD_MAX,
    alarms,
    fit_bocd,
)
from hft_lib.fitting.bocd_climb import climb
from hft_lib.models import bocd


def regimes(size: int, length: int, seed: int) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    means = np.repeat(rng.normal(0.0, 2.0, size // length + 1), length)[:size]
    return means + rng.normal(size=size)


def test_the_hazard_of_known_regimes_is_found() -> None:
    fit = fit_bocd(regimes(4000, 100, 1))
    error = fit.standard_errors["hazard"]
    assert fit.converged
    assert error is not None
    assert abs(fit.params.hazard - 0.01) < 4.0 * error


def test_one_regime_puts_the_hazard_at_its_bound_and_says_so() -> None:
    fit = fit_bocd(np.random.default_rng(2).normal(size=2000))
    assert fit.params.hazard == pytest.approx(1.0 / 20_000.0)
    assert fit.standard_errors["hazard"] is None
    assert fit.reason == "at a bound: hazard"
    assert fit.converged


def test_no_other_hazard_or_prior_is_likelier() -> None:
    values = regimes(1500, 80, 3)
    fit = fit_bocd(values)
    for hazard in np.geomspace(1.0 / 15_000.0, HAZARD_MAX, 12).tolist():
        for beta in (0.1, 0.5, 1.0, 2.0, 10.0):
            moved = msgspec.structs.replace(fit.params, hazard=hazard, prior_beta=beta)
            found = bocd.log_likelihood(bocd.params_row(moved), values)
            assert found < fit.log_likelihood + 0.05


def of_the_model(size: int, hazard: float, seed: int) -> npt.NDArray[np.float64]:
    """Each regime's mean and variance come from the detector's own prior."""
    rng, values = np.random.default_rng(seed), np.empty(size)
    mean = deviation = 0.0
    for t in range(size):
        if t == 0 or rng.random() < hazard:
            deviation = math.sqrt(1.0 / rng.gamma(1.0))
            mean = deviation * rng.normal()
        values[t] = mean + deviation * rng.normal()
    return values


def test_the_hazards_interval_holds_the_truth_as_often_as_it_says() -> None:
    held, hazard, series = 0, 0.02, 100
    for seed in range(series):
        fit = fit_bocd(of_the_model(800, hazard, seed))
        error = fit.standard_errors["hazard"]
        assert fit.converged
        assert error is not None
        held += abs(math.log(fit.params.hazard / hazard)) < 1.96 * error / fit.params.hazard
    assert 88 <= held <= 100  # of a binomial of 100 at 0.95, all but one in a thousand


def test_gradient_and_curvature_say_that_it_is_a_maximum() -> None:
    """Against finite differences of the exact likelihood, no cells merged."""
    values = of_the_model(1200, 0.02, 11)
    fit = fit_bocd(values)
    top = np.log([fit.params.hazard, fit.params.prior_beta])

    def exact(point: Any) -> float:
        hazard, beta = np.exp(point).tolist()
        params = msgspec.structs.replace(fit.params, hazard=hazard, prior_beta=beta)
        return bocd.log_likelihood(bocd.params_row(params), values, cells=1300)

    step = 0.05 * np.eye(2)
    gradient = np.array([exact(top + h) - exact(top - h) for h in step]) / 0.1
    curvature = np.array(
        [
            [
                exact(top + h + k) - exact(top + h - k) - exact(top - h + k) + exact(top - h - k)
                for k in step
            ]
            for h in step
        ]
    )
    covariance = np.linalg.inv(-curvature / 0.01)
    assert float(gradient @ covariance @ gradient) / 2.0 < 0.02  # nats still to be gained
    expected = np.sqrt(np.diag(covariance)) * np.exp(top)
    found = [fit.standard_errors["hazard"], fit.standard_errors["prior_beta"]]
    assert found == pytest.approx(expected, rel=0.05)


def test_a_climb_that_finds_no_top_says_so() -> None:
    """A ridge without a summit: the sum decides, its parts are free."""
    box = np.array([[-3.0, 3.0], [-3.0, 3.0]])
    top = climb(lambda point: -float((point[0] + point[1]) ** 2), box, [np.array([0.5, 0.4])])
    assert not top.ended
    assert np.isnan(top.errors).all()


def test_a_climb_finds_a_bent_top_and_stops_at_a_wall() -> None:
    def hill(point: Any) -> float:
        x, y = point.tolist()
        return -20.0 * (x - 0.3 - 0.2 * y * y) ** 2 - 8.0 * (y - 0.5) ** 2

    box = np.array([[-3.0, 3.0], [-3.0, 3.0]])
    top = climb(hill, box, [np.array([-2.0, 2.0])])
    assert top.ended
    assert top.point == pytest.approx([0.35, 0.5], abs=0.01)
    assert top.errors == pytest.approx([math.sqrt(1.0 / 40.0 + 0.04 / 16.0), 0.25], rel=0.03)
    walled = climb(hill, np.array([[-3.0, 3.0], [-3.0, 0.0]]), [np.array([-2.0, -2.0])])
    assert walled.ended
    assert walled.point == pytest.approx([0.3, 0.0], abs=0.01)
    assert math.isnan(walled.errors[1])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_without_a_change_the_alarm_is_as_rare_as_stated(seed: int) -> None:
    rng = np.random.default_rng(seed)
    params = fit_bocd(rng.normal(size=3000)).params
    unbroken = rng.normal(size=100_000)
    recent = bocd.run(bocd.params_row(params), unbroken)["recent_probability"]
    found = alarms(recent, params.alarm_probability, params.alarm_run_length).size
    assert params.alarm_probability in ALARM_LADDER
    assert 0.1 * FALSE_ALARMS_PER_10K < found / 10.0 < 2.0 * FALSE_ALARMS_PER_10K


def test_the_alarm_sees_a_wider_spread_within_a_few_dozen_values() -> None:
    rng = np.random.default_rng(4)
    params = fit_bocd(rng.normal(size=3000)).params
    seen = 0
    for _ in range(50):
        values = np.concatenate([rng.normal(size=500), 2.0 * rng.normal(size=60)])
        recent = bocd.run(bocd.params_row(params), values)["recent_probability"]
        where = alarms(recent, params.alarm_probability, params.alarm_run_length)
        seen += bool((where >= 500).any())
    assert seen >= 48


def test_a_new_alarm_begins_after_as_long_without() -> None:
    recent = np.zeros(40)
    recent[[2, 6, 8, 20, 23, 29]] = 0.9
    assert alarms(recent, 0.5, 5).tolist() == [6, 20, 29]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(100), "variance must be positive, was 0.0"),
        (np.arange(10.0), "observations must be at least 50, was 10"),
        (np.full(100, math.inf), "standardised must be finite, was inf at 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_rule_and_value(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_bocd(values)
