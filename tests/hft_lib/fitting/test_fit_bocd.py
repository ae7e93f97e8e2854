"""The detector's fit: hazards of known regimes, bounds, and an alarm that rarely cries wolf."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hft_lib.fitting.bocd import ALARM_LADDER, FALSE_ALARM_SHARE_MAX, HAZARD_MAX, fit_bocd
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
            import msgspec

            moved = msgspec.structs.replace(fit.params, hazard=hazard, prior_beta=beta)
            found = bocd.log_likelihood(bocd.params_row(moved), values)
            assert found < fit.log_likelihood + 0.05


def test_the_fitting_window_itself_rarely_raises_the_alarm() -> None:
    values = np.random.default_rng(4).standard_t(4, 3000) / math.sqrt(2.0)
    params = fit_bocd(values).params
    recent = bocd.run(bocd.params_row(params), values)["recent_probability"][20:]
    share = float((recent > params.alarm_probability).mean())
    assert params.alarm_probability in ALARM_LADDER
    assert share <= FALSE_ALARM_SHARE_MAX or params.alarm_probability == ALARM_LADDER[-1]


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
