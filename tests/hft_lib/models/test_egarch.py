"""The compiled recursion against its plain twin, the `arch` package and scipy's densities."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hft_lib.models import egarch
from hft_lib.parameters import EgarchParameters


def parameters(**changes: Any) -> EgarchParameters:
    values: dict[str, Any] = {
        "mean": 0.01,
        "omega": -0.02,
        "alpha": 0.15,
        "gamma": -0.06,
        "beta": 0.95,
        "variance_prior": 1.3,
    }
    return EgarchParameters(**(values | changes))


def student_excess(dof: float) -> float:
    """E|z| - sqrt(2 / pi) by scipy's quadrature."""
    scale = math.sqrt((dof - 2.0) / dof)
    return float(2.0 * stats.t(dof, scale=scale).expect(lambda z: z, lb=0.0)) - math.sqrt(
        2.0 / math.pi
    )


def twin(p: EgarchParameters, innovations: Any, steps: Any) -> tuple[list[float], float]:
    """The equations as they are printed: the forecast variances, and the next log variance."""
    excess = 0.0 if p.dof is None else student_excess(p.dof)
    x, variances = math.log(p.variance_prior), []
    for innovation, n in zip(innovations, steps, strict=True):
        for _ in range(n - 1):
            x = p.omega + p.alpha * excess + p.beta * x
        variances.append(math.exp(x))
        z = (innovation - p.mean) / math.sqrt(math.exp(x))
        shock = p.alpha * (abs(z) - math.sqrt(2.0 / math.pi)) + p.gamma * z
        x = p.omega + shock + p.beta * x
    return variances, x


@pytest.mark.parametrize("dof", [None, 5.0])
def test_the_recursion_agrees_with_its_plain_twin(dof: float | None) -> None:
    rng = np.random.default_rng(0)
    innovations, steps = rng.normal(size=500), rng.integers(1, 30, 500)
    states, p = egarch.new_states(1), parameters(dof=dof)
    row = egarch.params_row(p)
    egarch.start(row[0], states[0])
    track = egarch.run(row, innovations, steps, states)
    variances, following = twin(p, innovations, steps)
    assert track["variance"] == pytest.approx(variances, rel=1e-9)
    assert states["log_variance"][0] == pytest.approx(following, rel=1e-9)
    assert track["standardised"] == pytest.approx((innovations - 0.01) / np.sqrt(variances))
    assert states["steps"][0] == steps.sum()


def test_the_variances_are_archs_to_ten_digits() -> None:
    from arch.univariate import EGARCH, ConstantMean, StudentsT

    innovations = np.random.default_rng(1).standard_t(5, 2000) * 0.7
    p, presample = parameters(dof=7.0), 0.6
    model = ConstantMean(innovations, volatility=EGARCH(p=1, o=1, q=1), distribution=StudentsT())
    values = [p.mean, p.omega, p.alpha, p.gamma, p.beta, p.dof]
    # The bounds that `arch` puts on its variances are not reached here.
    residuals, variances = innovations - p.mean, np.empty(2000)
    bounds = model.volatility.variance_bounds(residuals)
    model.volatility.compute_variance(
        np.array(values[1:5]), residuals, variances, math.log(presample), bounds
    )
    prior = math.exp(p.omega + p.beta * math.log(presample))
    row = egarch.params_row(parameters(dof=7.0, variance_prior=prior))
    assert egarch.run(row, innovations)["variance"] == pytest.approx(variances, rel=1e-10)
    density = model.distribution.loglikelihood(np.array([p.dof]), residuals, variances)
    assert egarch.log_likelihood(row, innovations) == pytest.approx(density, rel=1e-12)


@pytest.mark.parametrize("dof", [None, 2.05, 8.0, 500.0])
def test_log_likelihood_is_scipys(dof: float | None) -> None:
    innovations = np.random.default_rng(2).standard_t(5, 400)
    row = egarch.params_row(parameters(dof=dof))
    track = egarch.run(row, innovations)
    if dof is None:
        densities = stats.norm.logpdf(innovations, 0.01, np.sqrt(track["variance"]))
    else:
        scale = np.sqrt(track["variance"] * (dof - 2.0) / dof)
        densities = stats.t.logpdf(innovations, dof, 0.01, scale)
    assert egarch.log_likelihood(row, innovations) == pytest.approx(densities.sum(), rel=1e-11)


@pytest.mark.parametrize("dof", [2.5, 3.0, 6.0, 60.0])
def test_the_absolute_students_mean_is_scipys(dof: float) -> None:
    assert egarch.absolute_excess(dof) == pytest.approx(student_excess(dof), rel=1e-7)


@settings(max_examples=100)
@given(
    beta=st.floats(-0.999, 0.999),
    steps=st.integers(0, 300),
    x=st.floats(-60.0, 30.0),
)
def test_a_gap_costs_what_the_loop_over_it_would(beta: float, steps: int, x: float) -> None:
    looped = x
    for _ in range(steps):
        looped = -0.3 + beta * looped
    assert egarch.drift(x, -0.3, beta, steps) == pytest.approx(looped, rel=1e-10, abs=1e-10)


def test_a_gap_without_end_leaves_the_long_run_log_variance() -> None:
    assert egarch.drift(5.0, -0.02, 0.95, 2**62) == pytest.approx(-0.4, rel=1e-9)


def test_a_gap_leaves_the_log_variance_that_simulated_paths_have_on_average() -> None:
    p, rng = parameters(dof=4.0), np.random.default_rng(3)
    x = np.full(200_000, math.log(p.variance_prior))
    for _ in range(40):
        z = rng.standard_t(4.0, x.size) * math.sqrt(0.5)
        shock = p.alpha * (np.abs(z) - math.sqrt(2.0 / math.pi)) + p.gamma * z
        x = p.omega + shock + p.beta * x
    row = egarch.params_row(p)[0]
    drifted = egarch.drift(math.log(p.variance_prior), p.omega + row["shock_mean"], p.beta, 40)
    assert abs(drifted - x.mean()) < 5.0 * x.std() / math.sqrt(x.size)


def test_the_next_forecast_is_the_states_and_a_far_one_the_long_run() -> None:
    row, states = egarch.params_row(parameters()), egarch.new_states(1)
    egarch.start(row[0], states[0])
    egarch.step(row[0], states[0], 3.0, 1)
    following = float(states["log_variance"][0])
    next_ = egarch.forecast_variance(row[0], states[0], 1)
    assert next_ == pytest.approx(math.exp(following), rel=1e-14)
    second = egarch.forecast_variance(row[0], states[0], 2)
    assert second == pytest.approx(math.exp(-0.02 + 0.95 * following), rel=1e-13)
    far = egarch.forecast_variance(row[0], states[0], 10_000)
    assert far == pytest.approx(math.exp(-0.4))


def test_a_fall_raises_the_variance_more_than_a_rise_where_gamma_is_negative() -> None:
    row, after = egarch.params_row(parameters(mean=0.0)), []
    for innovation in (2.0, -2.0):
        states = egarch.new_states(1)
        egarch.start(row[0], states[0])
        egarch.step(row[0], states[0], innovation, 1)
        after.append(float(states["log_variance"][0]))
    assert after[1] - after[0] == pytest.approx(2.0 * 0.06 * 2.0 / math.sqrt(1.3))


def test_a_slot_without_parameters_is_left_alone() -> None:
    rows = np.concatenate([egarch.params_row(parameters())] * 2)
    states = egarch.new_states(2)
    egarch.start(rows[1], states[1])
    egarch.step_slots(rows, states, np.array([0, 1]), np.array([1.0, 2.0]), 2)
    assert states["steps"].tolist() == [0, 2]
    x = -0.02 + 0.95 * math.log(1.3)
    assert states["standardised"][1] == pytest.approx((2.0 - 0.01) / math.exp(x / 2.0))


def test_the_log_variance_stays_within_its_bounds() -> None:
    row = egarch.params_row(parameters(alpha=5.0, beta=0.999))
    track = egarch.run(row, np.array([1e80, -1e80, 0.0, 1e-300, 1e80] * 20))
    assert np.isfinite(track.view(np.float64)).all()
    assert track["variance"].max() <= math.exp(egarch.LOG_VARIANCE_MAX) * (1.0 + 1e-12)
    assert track["variance"].min() >= math.exp(-egarch.LOG_VARIANCE_MAX) * (1.0 - 1e-12)


@pytest.mark.parametrize(
    ("innovations", "message"),
    [
        ([0.0, math.nan], "innovations must be finite, was nan at 1"),
        (1.0, r"innovations must have one dimension, had shape \(\)"),
    ],
)
def test_bad_input_is_refused_with_rule_and_value(innovations: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        egarch.run(egarch.params_row(parameters()), innovations)


def test_rows_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="params must be one row of"):
        egarch.run(egarch.new_states(1), [0.0])
