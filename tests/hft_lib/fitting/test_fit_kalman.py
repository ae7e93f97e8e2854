"""Kalman fits against simulated truth, brute force, the Nile, and what cannot be fitted."""

import json
import math
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hft_lib.fitting.kalman import LAMBDA_MAX, diffuse_log_likelihood, fit_kalman
from hft_lib.fitting.result import FitRefused
from hft_lib.models import kalman
from hft_lib.parameters import KalmanParameters

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


def variances(qa: float, qb: float, r: float) -> KalmanParameters:
    """The three variances; a diffuse likelihood reads no priors."""
    return KalmanParameters(
        intercept_drift_var=qa,
        hedge_drift_var=qb,
        noise_var=r,
        intercept_prior_mean=0.0,
        intercept_prior_var=1.0,
        hedge_prior_mean=0.0,
        hedge_prior_var=1.0,
    )


def exact(p: KalmanParameters, y: Any, x: Any, steps: Any, skipped: set[int]) -> float:
    """The textbook's filter in sixty digits from priors of 1e30, without the terms `skipped`."""
    with localcontext() as context:
        context.prec = 60
        a, b, pab, total = Decimal(0), Decimal(0), Decimal(0), Decimal(0)
        paa, pbb, r = Decimal("1e30"), Decimal("1e30"), Decimal(p.noise_var)
        for t, (yt, xt, n) in enumerate(
            zip(map(Decimal, y.tolist()), map(Decimal, x.tolist()), steps.tolist(), strict=True)
        ):
            paa += n * Decimal(p.intercept_drift_var)
            pbb += n * Decimal(p.hedge_drift_var)
            e, s = yt - a - b * xt, paa + 2 * xt * pab + xt * xt * pbb + r
            ka, kb = (paa + xt * pab) / s, (pab + xt * pbb) / s
            a, b = a + ka * e, b + kb * e
            paa, pab, pbb = (
                paa - ka * (paa + xt * pab),
                pab - ka * (pab + xt * pbb),
                pbb - kb * (pab + xt * pbb),
            )
            if t not in skipped:
                total -= (s.ln() + e * e / s + Decimal(math.log(2.0 * math.pi))) / 2
    return float(total)


@pytest.mark.parametrize(("qa", "qb"), [(0.0, 0.0), (1e-9, 0.0), (0.0, 1e-10), (1e-2, 1e-4)])
@pytest.mark.parametrize("held", [1, 5])
def test_the_diffuse_likelihood_is_that_of_sixty_digits(qa: float, qb: float, held: int) -> None:
    y, x = simulated(60, 1e-8, 1e-10, 1e-7, 3)
    x[:held] = x[0]
    steps = np.random.default_rng(4).integers(1, 9, 60)
    p = variances(qa, qb, 2e-7)
    expected = exact(p, y, x, steps, {0, held})
    assert diffuse_log_likelihood(p, y, x, steps) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(("qa", "qb"), [(0.0, 0.0), (1e-9, 0.0), (0.0, 1e-11), (1e-8, 1e-10)])
def test_no_grid_of_variances_is_likelier(qa: float, qb: float) -> None:
    y, x = simulated(600, qa, qb, 1e-7, 7)
    p = fit_kalman(y, x).params
    found, ladder = diffuse_log_likelihood(p, y, x), [0.0, *np.geomspace(1e-15, 1e-5, 15).tolist()]
    brute = max(
        diffuse_log_likelihood(variances(u, v / 121.0, r * p.noise_var), y, x)
        for u in ladder
        for v in ladder
        for r in (0.9, 1.0, 1.1)
    )
    assert found > brute - 1e-3


def test_the_nile_is_reached_as_durbin_and_koopman_print_it() -> None:
    golden = json.loads((GOLDEN / "nile_local_level.json").read_text())
    flow = np.array(golden["flow"])
    # A local level: x is 0 until one last observation, all of which the hedge ratio takes.
    fit = fit_kalman(np.append(flow, flow[-1]), np.append(np.zeros(flow.size), 1.0))
    assert fit.converged
    tolerance = golden["tolerance"]["relative"]
    assert fit.params.noise_var == pytest.approx(golden["noise_var"], rel=tolerance)
    assert fit.params.intercept_drift_var == pytest.approx(golden["level_var"], rel=tolerance)


def test_a_split_that_the_data_do_not_tell_has_no_standard_error() -> None:
    fit = fit_kalman(*simulated(1000, 1e-8, 0.0, 1e-7, 3))
    assert fit.converged
    assert "is split between intercept and hedge ratio is not identified" in fit.reason
    assert fit.standard_errors["intercept_drift_var"] is None
    assert fit.standard_errors["hedge_drift_var"] is None
    assert fit.standard_errors["noise_var"] is not None


def test_near_a_log_price_of_zero_both_drifts_are_told_apart() -> None:
    rng = np.random.default_rng(5)
    x = np.cumsum(rng.normal(0.0, 1e-3, 8000))
    a, b = np.cumsum(rng.normal(0.0, 1e-4, 8000)), np.cumsum(rng.normal(0.0, 1e-2, 8000))
    fit = fit_kalman(a + b * x + rng.normal(0.0, 3e-4, 8000), x)
    assert (fit.converged, fit.reason) == (True, "maximum")
    truth = {"intercept_drift_var": 1e-8, "hedge_drift_var": 1e-4, "noise_var": 9e-8}
    for name, value in truth.items():
        error = fit.standard_errors[name]
        assert error is not None
        assert abs(getattr(fit.params, name) - value) < 4.0 * error


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


def pair_with(place: int, y: float | None = None, x: float | None = None) -> tuple[Any, Any]:
    """An ordinary pair in which one price of a leg is another."""
    ys, xs = simulated(300, 0.0, 0.0, 1e-7, 21)
    ys[place] = ys[place] if y is None else y
    xs[place] = xs[place] if x is None else x
    return ys, xs


EDGES: dict[str, tuple[Any, Any]] = {
    "an outlier of a million deviations": pair_with(150, y=311.0),
    "an outlier at the first": pair_with(0, y=311.0),
    "x an outlier": pair_with(150, x=1e3),
    "x an outlier at the first": pair_with(0, x=1e3),
    "prices of 1e-12": tuple(side - 38.6 for side in pair_with(0)),
    "prices of 1e12": tuple(side + 16.6 for side in pair_with(0)),
    "x of tiny moves": (pair_with(0)[0], 11.0 + 1e-8 * (pair_with(0)[1] - 11.0)),
    "x about zero": (pair_with(0)[0], pair_with(0)[1] - pair_with(0)[1].mean()),
    "x out of range for its square": (pair_with(0)[0], 1e-170 * pair_with(0)[1]),
    "a first move that is rounding": pair_with(1, x=float(np.nextafter(pair_with(0)[1][0], 99.0))),
    "x moves once, at the end": (pair_with(0)[0], np.append(np.full(299, 11.0), 11.1)),
    "prices in ticks": tuple(np.round(side, 3) for side in pair_with(0)),
    "a step": (np.where(np.arange(300) < 150, 0.0, 1.0), pair_with(0)[1]),
    "a straight line": (np.arange(300.0), pair_with(0)[1]),
    "an outlier of 1e160": pair_with(150, y=1e160),
    "x an outlier of 1e160": pair_with(150, x=1e160),
    "the end of the range": pair_with(150, y=-1.7e308, x=1.7e308),
    "subnormals": (np.full(300, 5e-324), np.arange(300) * 1e-310),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("steps", [1, 10**9])
@pytest.mark.parametrize("edge", EDGES)
def test_at_the_edges_a_fit_is_finite_or_refused(edge: str, steps: int) -> None:
    y, x = EDGES[edge]
    try:
        fit = fit_kalman(y, x, np.full(y.size, steps))
    except FitRefused as refused:
        assert str(refused)
        return
    figures = [getattr(fit.params, name) for name in fit.params.__struct_fields__]
    errors = [error for error in fit.standard_errors.values() if error is not None]
    assert np.isfinite([*figures, *errors, fit.log_likelihood]).all()
    assert fit.params.noise_var > 0.0
    track = kalman.run(kalman.params_row(fit.params), y, x, np.full(y.size, steps))
    assert np.isfinite(track.view(np.float64)).all()


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
