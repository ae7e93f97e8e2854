"""EGARCH fits against `arch`, a plain twin in extended precision, simulated truth, and refusals."""

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from bench import robust_egarch
from hft_lib.fitting import (
    egarch_climb,
    egarch_sample,
    egarch_score,
    egarch_sweep,
    egarch_values,
)
from hft_lib.fitting.egarch import fit_egarch
from hft_lib.fitting.result import FitRefused
from hft_lib.kernel import kernel
from hft_lib.models import egarch
from hft_lib.models.lanes import lanes, load, store

TRUTH = {"omega": -0.01, "alpha": 0.15, "gamma": -0.06, "beta": 0.96}
POINT = np.array([0.02, -0.01, 0.12, -0.06, 0.93, 0.15])


def simulated(size: int, seed: int, dof: float | None = 6.0) -> npt.NDArray[np.float64]:
    """EGARCH(1,1,1) of known parameters."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal(size) if dof is None else robust_egarch.student(rng, dof, size)
    return robust_egarch.paths(z, **TRUTH)


def scored(theta: Any, values: Any, steps: Any, normal: bool) -> tuple[float, Any]:
    """Log likelihood and gradient at `theta`."""
    before, gradient = np.array([1.1, 1.0, 0.05, -30.0]), np.empty(9)
    value = egarch_score.score(theta, values, steps, before, normal, gradient, np.empty((6, 6)))
    return value, gradient


@pytest.mark.parametrize("normal", [True, False])
@pytest.mark.parametrize("gaps", [True, False])
def test_gradient_and_hessian_are_the_likelihoods(normal: bool, gaps: bool) -> None:
    values, count = simulated(300, 0), 5 if normal else 6
    steps = np.random.default_rng(1).integers(1, 6 if gaps else 2, 300)
    _, gradient = scored(POINT, values, steps, normal)
    curvature, before = np.empty((6, 6)), np.array([1.1, 1.0, 0.05, -30.0])
    egarch_score.hessian(POINT, values, steps, before, normal, curvature)
    for j in range(count):
        width = 1e-6 * np.eye(6)[j]
        up, above = scored(POINT + width, values, steps, normal)
        down, below = scored(POINT - width, values, steps, normal)
        assert gradient[j] == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-4)
        differences = (below - above)[:count] / 2e-6
        assert curvature[j, :count] == pytest.approx(differences, rel=1e-5, abs=1e-3)


@pytest.mark.parametrize("gaps", [True, False])
@pytest.mark.parametrize("normal", [True, False])
def test_the_lanes_give_what_one_point_gives(normal: bool, gaps: bool) -> None:
    values, steps = simulated(301, 2), np.random.default_rng(3).integers(1, 4 if gaps else 2, 301)
    points = np.tile(POINT, (16, 1))
    points[:, 2] += np.linspace(-0.05, 0.05, 16)
    points[:, 5] += np.linspace(-0.05, 0.05, 16)
    before = np.array([1.1, 1.0, 0.05, -30.0])
    found = egarch_values.values_of(points, values, steps if gaps else None, before, normal)
    singly = [scored(point, values, steps, normal)[0] for point in points]
    assert found == pytest.approx(singly, rel=1e-12)


# No effect, a usual one, one at a kink, short memory, chaos, and a variance at what is computable.
PLACES = {
    "no effect": (0.0, 0.0, 0.0, 0.0, 0.0, 0.15),
    "usual": (0.02, -0.01, 0.12, -0.06, 0.93, 0.15),
    "kink": (math.nan, -0.01, 0.12, -0.06, 0.93, 0.15),
    "long memory": (0.02, 0.0, 0.05, -0.02, 1.0 - 1e-6, 0.4),
    "chaos": (0.02, 0.1, 3.0, -2.0, 0.9, 0.15),
    "out of bounds": (0.02, 40.0, 0.1, 0.05, 0.9, 0.15),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("normal", [True, False])
@pytest.mark.parametrize("size", [50, 63, 64, 1001])
def test_parts_side_by_side_give_what_one_after_another_gives(
    size: int, normal: bool, place: str
) -> None:
    values, before = simulated(size, 2), np.array([1.1, 1.0, 0.05, -30.0])
    theta, steps = np.array(PLACES[place]), np.ones(size, dtype=np.int64)
    theta[0] = values[size // 2] if math.isnan(theta[0]) else theta[0]
    first, second = np.zeros((2, 9)), np.zeros((2, 6, 6))
    bends = np.empty((2, 6, 6))
    even, gappy = (egarch_sample.sample_of(values, s, before) for s in (None, steps))
    # From starts that another point left behind, too.
    egarch_sample.score(POINT, even, normal, first[0], second[0])
    found = egarch_sample.score(theta, even, normal, first[0], second[0])
    wanted = egarch_sample.score(theta, gappy, normal, first[1], second[1])
    egarch_sample.hessian(theta, even, normal, bends[0])
    egarch_sample.hessian(theta, gappy, normal, bends[1])
    assert found == pytest.approx(wanted, rel=1e-12)
    if place == "chaos":  # whose derivatives are as large as their rounding
        assert first[0][egarch_score.MEMORY] == pytest.approx(first[1][egarch_score.MEMORY])
        return
    assert first[0] == pytest.approx(first[1], rel=1e-8, abs=1e-8 * np.abs(first[1]).max())
    for mine, theirs in (np.tril(second), bends):
        assert mine == pytest.approx(theirs, rel=1e-8, abs=1e-8 * np.abs(theirs).max())


@kernel
def _powers(exponents: Any, found: Any) -> None:
    store(found, 0, egarch_sweep.exp2(load(exponents, 0, lanes(0.0))))


@pytest.mark.parametrize("largest", [0.5, 10.0, 216.0, 1000.0])
def test_the_lanes_powers_of_two_are_within_their_error(largest: float) -> None:
    exponents, found = np.random.default_rng(4).uniform(-largest, largest, 8), np.empty(8)
    _powers(exponents, found)
    exact = np.exp2(exponents.astype(np.longdouble))
    assert np.abs(found / exact - 1.0).max() < 8e-16


def test_on_a_kink_the_derivatives_of_both_sides_are_the_gradient_and_its_jump() -> None:
    values, steps, theta = simulated(300, 4), np.ones(300, dtype=np.int64), POINT.copy()
    theta[0] = values[150]
    value, gradient = scored(theta, values, steps, False)
    right, _ = scored(theta + 1e-7 * np.eye(6)[0], values, steps, False)
    left, _ = scored(theta - 1e-7 * np.eye(6)[0], values, steps, False)
    jump = gradient[egarch_score.JUMP]
    assert abs(jump) > 0.01
    assert gradient[0] + jump == pytest.approx((right - value) / 1e-7, abs=1e-3)
    assert gradient[0] - jump == pytest.approx((value - left) / 1e-7, abs=1e-3)


def test_the_dofs_derivatives_are_those_of_the_densitys_scale() -> None:
    from scipy.special import polygamma

    for dof in (2.05, 3.0, 10.0, 500.0):
        slope, curve = egarch_score.log_scale_slopes(dof)
        halves = [0.5 * (dof + 1.0), 0.5 * dof]
        first = 0.5 * (polygamma(0, halves[0]) - polygamma(0, halves[1])) - 0.5 / (dof - 2.0)
        second = 0.25 * (polygamma(1, halves[0]) - polygamma(1, halves[1]))
        assert slope == pytest.approx(first, rel=1e-9, abs=1e-14)
        assert curve == pytest.approx(second + 0.5 / (dof - 2.0) ** 2, rel=1e-9, abs=1e-16)


@pytest.mark.parametrize("dof", [None, 6.0])
def test_the_truth_is_within_its_standard_errors(dof: float | None) -> None:
    fit = fit_egarch(simulated(6000, 5, dof), distribution="t" if dof else "normal")
    assert fit.converged, fit.reason
    for name, value in (TRUTH | ({"dof": dof} if dof else {})).items():
        error = fit.standard_errors[name]
        assert error is not None
        assert abs(getattr(fit.params, name) - value) < 4.0 * error


@pytest.mark.parametrize("kind", robust_egarch.KINDS)
def test_fits_of_every_kind_withstand_the_campaign(kind: str) -> None:
    number = list(robust_egarch.KINDS).index(kind)
    for repeat in range(3):
        series = robust_egarch.simulated(number + 8 * repeat, seed=100, length_max=1200)
        verdict = robust_egarch.judge(*series)
        assert verdict.kind == kind
        assert verdict.faults == ()


def test_the_campaign_sees_a_fit_that_claims_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    values = simulated(400, 6)
    fit = fit_egarch(values)
    alpha = fit.params.alpha + 0.5 * (fit.standard_errors["alpha"] or 0.0)
    errors = fit.standard_errors | {"beta": 1.2 * (fit.standard_errors["beta"] or 0.0)}
    moved = msgspec.structs.replace(fit.params, alpha=alpha)
    likelihood = egarch.log_likelihood(egarch.params_row(moved), values)
    false = type(fit)(moved, errors, likelihood, True, "maximum", fit.observations)
    monkeypatch.setattr(robust_egarch, "fit_egarch", lambda values: false)
    faults = " ".join(robust_egarch.judge("egarch", values).faults)
    assert "nats below arch" in faults
    assert "standard error of beta" in faults
    assert "the gradient promises" in faults


def test_recorded_returns_are_fitted_no_worse_than_by_arch(market_data: Path) -> None:
    folder = market_data / "multivenue_btc_1m_202303_usdc_depeg"
    for name, values in robust_egarch.recorded(folder):
        verdict = robust_egarch.judge(name, values[:3000])
        assert verdict.faults == (), name


def test_gaps_are_taken_into_account() -> None:
    every, rng = simulated(12_000, 7), np.random.default_rng(8)
    seen = np.flatnonzero(rng.random(12_000) < 0.5)
    values, steps = every[seen], np.diff(seen, prepend=seen[0] - 1)
    with_gaps, without = fit_egarch(values, steps), fit_egarch(values)
    assert with_gaps.converged
    row = egarch.params_row(with_gaps.params)
    own = egarch.log_likelihood(row, values, steps)
    assert with_gaps.log_likelihood == pytest.approx(own, rel=1e-10)
    assert with_gaps.params.beta > without.params.beta
    assert abs(with_gaps.params.beta - TRUTH["beta"]) < 4 * (with_gaps.standard_errors["beta"] or 0)


def test_intervals_that_miss_nothing_are_no_gaps() -> None:
    values = simulated(300, 7)
    assert fit_egarch(values, np.ones(300, dtype=int)) == fit_egarch(values)


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1e6, 1e12])
def test_the_unit_of_the_innovations_does_not_matter(scale: float) -> None:
    values = simulated(1000, 9)
    one, other = fit_egarch(values), fit_egarch(values * scale)
    assert other.converged
    assert other.params.alpha == pytest.approx(one.params.alpha, rel=1e-4)
    assert other.params.beta == pytest.approx(one.params.beta, rel=1e-5)
    omega = one.params.omega + (1.0 - one.params.beta) * 2.0 * math.log(scale)
    assert other.params.omega == pytest.approx(omega, abs=1e-3)
    assert other.log_likelihood == pytest.approx(one.log_likelihood - 1000 * math.log(scale))


def test_no_nearby_point_is_likelier() -> None:
    values = simulated(1500, 10)
    fit = fit_egarch(values)
    for name in ("mean", "omega", "alpha", "gamma", "beta", "dof"):
        for move in (-0.1, 0.1):
            error = fit.standard_errors[name]
            assert error is not None
            value = getattr(fit.params, name) + move * error
            moved = msgspec.structs.replace(fit.params, **{name: value})
            square = float(np.mean((values - moved.mean) ** 2))
            prior = math.exp(moved.omega + moved.beta * math.log(square))
            moved = msgspec.structs.replace(moved, variance_prior=prior)
            assert egarch.log_likelihood(egarch.params_row(moved), values) < fit.log_likelihood


def test_the_backcast_convention_starts_at_its_own_variance() -> None:
    from hft_lib.models.garch import presample_variance

    values = simulated(800, 11)
    p = fit_egarch(values, presample="backcast").params
    before = presample_variance(values, float(values.mean()), "backcast")
    assert p.variance_prior == pytest.approx(math.exp(p.omega + p.beta * math.log(before)))


def test_what_would_never_forget_its_start_is_not_said_to_have_converged() -> None:
    fits = [fit_egarch(np.random.default_rng(seed).standard_normal(250)) for seed in range(40, 60)]
    astray = [fit for fit in fits if "never forgets its start" in fit.reason]
    assert astray
    assert not any(fit.converged for fit in astray)
    assert sum(fit.converged for fit in fits) > 15


def test_a_point_outside_the_bounds_is_put_back() -> None:
    theta = np.array([0.0, 1e9, -9.0, 9.0, 1.5, 0.9])
    egarch_climb.bounded(theta, False)
    assert theta.tolist() == [0.0, 50.0, -5.0, 5.0, 1.0 - 1e-6, 1.0 / 2.05]


def test_many_exact_zeros_are_fitted_as_normal_and_refused_for_t() -> None:
    rng = np.random.default_rng(12)
    values = rng.normal(size=1000)
    values[:600] = 0.0
    rng.shuffle(values)
    assert fit_egarch(values, distribution="normal").params.dof is None
    with pytest.raises(FitRefused, match="exactly alike must be at most 0.2, was 0.6"):
        fit_egarch(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(100), "variance must be positive, was 0.0"),
        (np.arange(49.0), "observations must be at least 50, was 49"),
        (np.full(100, math.nan), "innovations must be finite, was nan at 0"),
        (np.arange(100.0) * 1e60, "innovations must be below 1e[+]40, was 9.8"),
        (np.arange(100.0) * 1e-60, "standard deviation must be above 1e-40, was"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_rule_and_value(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_egarch(values)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="distribution must be normal or t, was cauchy"):
        fit_egarch(np.arange(60.0), distribution="cauchy")
    with pytest.raises(ValueError, match="presample convention must be sample or backcast"):
        fit_egarch(np.arange(60.0), presample="zero")
