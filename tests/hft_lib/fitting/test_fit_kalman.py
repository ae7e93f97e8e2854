"""Kalman fits against simulated truth, brute force, the Nile, and what cannot be fitted."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from hft_lib.fitting.kalman import LAMBDA_MAX, fit_kalman, profile
from hft_lib.fitting.result import FitRefused
from hft_lib.models import kalman

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def simulated(
    size: int, intercept_drift_var: float, hedge_drift_var: float, noise_var: float, seed: int
) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = 11.0 + np.cumsum(rng.normal(0.0, 1e-3, size))
    a = 0.2 + np.cumsum(rng.normal(size=size)) * math.sqrt(intercept_drift_var)
    b = 0.97 + np.cumsum(rng.normal(size=size)) * math.sqrt(hedge_drift_var)
    return a + b * x + rng.normal(size=size) * math.sqrt(noise_var), x


def test_a_fixed_relation_is_found_to_have_no_drift() -> None:
    fits = [fit_kalman(*simulated(1000, 0.0, 0.0, 1e-7, seed)) for seed in range(10)]
    assert all(fit.converged for fit in fits)
    fixed = [fit for fit in fits if fit.params.intercept_drift_var == 0.0]
    fixed = [fit for fit in fixed if fit.params.hedge_drift_var == 0.0]
    assert len(fixed) >= 3
    for fit in fixed:
        assert fit.params.noise_var == pytest.approx(1e-7, rel=0.2)
        assert fit.standard_errors["intercept_drift_var"] is None
        assert fit.standard_errors["hedge_drift_var"] is None
        assert "at the bound 0" in fit.reason


def test_the_drift_of_the_level_and_the_noise_are_recovered() -> None:
    for seed in range(5):
        y, x = simulated(4000, 1e-8, 0.0, 1e-7, seed)
        fit = fit_kalman(y, x)
        assert fit.converged, fit.reason
        p = fit.params
        level = p.intercept_drift_var + float(x.mean()) ** 2 * p.hedge_drift_var
        assert level == pytest.approx(1e-8, rel=0.35)
        error = fit.standard_errors["noise_var"]
        assert error is not None
        assert abs(p.noise_var - 1e-7) < 4.0 * error


@pytest.mark.parametrize(("qa", "qb"), [(0.0, 0.0), (1e-9, 0.0), (0.0, 1e-11), (1e-8, 1e-10)])
def test_no_grid_of_variances_is_likelier(qa: float, qb: float) -> None:
    y, x = simulated(600, qa, qb, 1e-7, 7)
    fit, one = fit_kalman(y, x), np.ones(600, dtype=np.int64)
    residual = y - fit.params.intercept_prior_mean - fit.params.hedge_prior_mean * x
    r = fit.params.noise_var
    drifts = (fit.params.intercept_drift_var / r, fit.params.hedge_drift_var / r)
    found = profile(residual, x, one, *drifts, 2)[0]
    ladder = [0.0, *np.geomspace(1e-9, 1e4, 27)]
    brute = max(profile(residual, x, one, u, v / 121.0, 2)[0] for u in ladder for v in ladder)
    assert found > brute - 2e-3


def test_the_nile_is_reached_through_the_profile() -> None:
    golden = json.loads((GOLDEN / "nile_local_level.json").read_text())
    flow = np.array(golden["flow"])
    flow = flow - flow[0]
    zeros, one = np.zeros(flow.size), np.ones(flow.size, dtype=np.int64)
    found = minimize(
        lambda u: -profile(flow, zeros, one, math.exp(u[0]), 0.0, 1)[0],
        [0.0],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-12},
    )
    noise = profile(flow, zeros, one, math.exp(found.x[0]), 0.0, 1)[1]
    assert noise == pytest.approx(golden["noise_var"], rel=golden["tolerance"]["relative"])
    level = noise * math.exp(found.x[0])
    assert level == pytest.approx(golden["level_var"], rel=golden["tolerance"]["relative"])


def test_the_priors_are_the_windows_relation_and_cover_the_truth() -> None:
    y, x = simulated(1000, 1e-9, 0.0, 1e-7, 11)
    p = fit_kalman(y, x).params
    slope, intercept = np.polyfit(x, y, 1)
    assert p.hedge_prior_mean == pytest.approx(slope, rel=1e-9)
    assert p.intercept_prior_mean == pytest.approx(intercept, rel=1e-7)
    assert abs(p.hedge_prior_mean - 0.97) < 3.0 * math.sqrt(p.hedge_prior_var)
    track = kalman.run(kalman.params_row(p), y, x)
    assert np.abs(track["innovation"][:30]).max() < 10.0 * np.abs(track["innovation"]).mean()


def test_gaps_are_taken_into_account() -> None:
    y, x = simulated(8000, 1e-8, 0.0, 1e-7, 12)
    keep = np.sort(np.random.default_rng(0).choice(8000, 4000, replace=False))
    steps = np.diff(keep, prepend=keep[0] - 1)
    whole, thinned = fit_kalman(y, x).params, fit_kalman(y[keep], x[keep], steps).params
    levels = [p.intercept_drift_var + 121.0 * p.hedge_drift_var for p in (whole, thinned)]
    assert levels[1] == pytest.approx(levels[0], rel=0.3)


def test_a_spread_that_only_walks_is_not_said_to_have_converged() -> None:
    y, x = simulated(500, 1e-6, 0.0, 0.0, 13)
    fit = fit_kalman(y, x)
    at_bound = fit.params.intercept_drift_var > 0.99 * LAMBDA_MAX * fit.params.noise_var
    assert fit.params.noise_var > 0.0
    assert not (at_bound and fit.converged)


@pytest.mark.parametrize(
    ("y", "x", "message"),
    [
        (np.arange(30.0), np.full(30, 11.0), "x must move: its variance, was 0.0"),
        (np.arange(30.0) * 2.0, np.arange(30.0), "y must not follow x without error"),
        (np.arange(9.0), np.arange(9.0), "observations must be at least 20, was 9"),
        (np.arange(30.0), np.arange(29.0), "x must have 30 values, was 29"),
        (np.full(30, math.nan), np.arange(30.0), "y must be finite, was nan at 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_rule_and_value(y: Any, x: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_kalman(y, x)


def test_a_refusal_carries_its_rule_and_value() -> None:
    with pytest.raises(FitRefused) as refused:
        fit_kalman(np.arange(9.0), np.arange(9.0))
    assert refused.value.rule == "observations must be at least 20"
    assert refused.value.value == 9
