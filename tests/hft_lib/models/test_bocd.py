"""The detector against exact run-length posteriors in log space, and what merging costs."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logsumexp

from hft_lib.models import bocd, bocd_cells
from hft_lib.parameters import BocdParameters


def parameters(**changes: Any) -> BocdParameters:
    values: dict[str, Any] = {
        "hazard": 1.0 / 250.0,
        "prior_mean": 0.0,
        "prior_kappa": 1.0,
        "prior_alpha": 1.0,
        "prior_beta": 1.0,
    }
    return BocdParameters(**(values | changes))


def regimes(size: int, hazard: float, seed: int) -> npt.NDArray[np.float64]:
    """Normal values whose mean and variance begin anew at random times."""
    rng = np.random.default_rng(seed)
    values, mean, sd = np.empty(size), 0.0, 1.0
    for t in range(size):
        if rng.random() < hazard:
            mean, sd = rng.normal(0.0, 1.5), math.exp(rng.normal(0.0, 0.7))
        values[t] = mean + sd * rng.normal()
    return values


def exact(p: BocdParameters, values: Any) -> tuple[list[Any], list[float]]:
    """Posterior over all run lengths after each value, and its log density: scipy, in log space."""
    log_weight = np.zeros(1)
    mean, kappa = np.array([p.prior_mean]), np.array([p.prior_kappa])
    alpha, beta = np.array([p.prior_alpha]), np.array([p.prior_beta])
    posteriors, evidences = [], []
    for value in values:
        scale = np.sqrt(beta * (kappa + 1.0) / (alpha * kappa))
        joint = log_weight + stats.t.logpdf(value, 2.0 * alpha, mean, scale)
        evidence = float(logsumexp(joint))
        log_weight = np.append(math.log(p.hazard), joint - evidence + math.log1p(-p.hazard))
        beta = np.append(p.prior_beta, beta + kappa * (value - mean) ** 2 / (2.0 * (kappa + 1.0)))
        mean = np.append(p.prior_mean, (kappa * mean + value) / (kappa + 1.0))
        kappa, alpha = np.append(p.prior_kappa, kappa + 1.0), np.append(p.prior_alpha, alpha + 0.5)
        posteriors.append(np.exp(log_weight))
        evidences.append(evidence)
    return posteriors, evidences


def test_without_merging_the_posterior_is_exact() -> None:
    p, values = parameters(prior_mean=0.3, prior_kappa=0.5, prior_alpha=2.0), regimes(600, 0.01, 1)
    row = bocd.params_row(p)
    posteriors, evidences = exact(p, values)
    track = bocd.run(row, values, cells=700)
    edges = np.arange(602.0)
    found = bocd.run_posterior(row, values, edges, cells=700)
    for t in (0, 1, 50, 599):
        assert found[t, : t + 2] == pytest.approx(posteriors[t], abs=5e-11)
    assert track["log_predictive"] == pytest.approx(evidences, abs=5e-11)
    lengths = [float((q * np.arange(q.size)).sum()) for q in posteriors]
    assert track["run_length"] == pytest.approx(lengths, abs=1e-9)
    assert track["map_run_length"].tolist() == [float(np.argmax(q)) for q in posteriors]
    recent = [q[:11].sum() for q in posteriors]
    assert track["recent_probability"] == pytest.approx(recent, abs=5e-11)


def test_without_merging_two_thousand_observations_stay_exact() -> None:
    p, values = parameters(), regimes(2000, 1.0 / 300.0, 2)
    posteriors, evidences = exact(p, values)
    found = bocd.run_posterior(bocd.params_row(p), values, np.arange(2002.0), 2100, every=2000)
    assert found[0] == pytest.approx(posteriors[-1], abs=5e-11)
    log_likelihood = bocd.log_likelihood(bocd.params_row(p), values, cells=2100)
    assert log_likelihood == pytest.approx(sum(evidences), abs=1e-9)


@pytest.mark.parametrize(
    "values",
    [np.random.default_rng(1).normal(size=20_000), regimes(20_000, 1.0 / 300.0, 3)],
    ids=["one regime", "many regimes"],
)
def test_merging_costs_little_over_twenty_thousand_observations(values: Any) -> None:
    row = bocd.params_row(parameters(hazard=1.0 / 2000.0))
    whole = bocd.run(row, values, cells=20_001)
    merged = bocd.run(row, values)
    assert whole["log_predictive"].sum() - merged["log_predictive"].sum() < 0.05
    assert np.abs(whole["recent_probability"] - merged["recent_probability"]).max() < 0.01


def test_merging_loses_no_mass() -> None:
    row, states = bocd.params_row(parameters()), bocd.new_states(1)
    bocd.start(row[0], states[0])
    bocd.run(row, regimes(3000, 0.01, 4), state=states)
    cells, count = bocd_cells.cells_of(states[0]), int(states[0, bocd.COUNT])
    assert count < bocd.CELLS
    assert cells[bocd_cells.WEIGHT, :count].sum() == pytest.approx(1.0, abs=1e-12)
    assert (np.diff(cells[bocd_cells.SHORTEST, :count]) < 0.0).all()


def test_a_change_is_seen_and_a_quiet_regime_is_not_alarmed() -> None:
    rng = np.random.default_rng(5)
    values = np.concatenate([rng.normal(size=1000), rng.normal(3.0, 1.0, 100)])
    track = bocd.run(bocd.params_row(parameters()), values)
    assert track["recent_probability"][100:1000].max() < 0.5
    assert track["recent_probability"][1000:1010].max() > 0.95
    assert track["map_run_length"][1050] == 51.0


def test_the_posterior_of_the_heat_map_sums_to_one() -> None:
    edges = np.concatenate([[0.0], np.geomspace(1.0, 5001.0, 30)])
    found = bocd.run_posterior(
        bocd.params_row(parameters()), regimes(5000, 0.003, 6), edges, every=10
    )
    assert found.shape == (500, 30)
    assert found.sum(axis=1) == pytest.approx(np.ones(500), abs=1e-9)
    assert (found >= 0.0).all()


def test_a_missing_value_changes_nothing() -> None:
    row, states = bocd.params_row(parameters()), bocd.new_states(1)
    bocd.start(row[0], states[0])
    bocd.run(row, [0.1, -0.3], state=states)
    before = states.tobytes()
    bocd.step(row[0], states[0], math.nan)
    assert states.tobytes() == before


@settings(max_examples=50)
@given(
    values=st.lists(st.floats(allow_nan=False, width=64), min_size=1, max_size=200),
    prior_alpha=st.sampled_from([0.1, 1.0, 300.0]),
)
def test_any_value_leaves_a_posterior(values: list[float], prior_alpha: float) -> None:
    row, states = bocd.params_row(parameters(prior_alpha=prior_alpha)), bocd.new_states(1)
    bocd.start(row[0], states[0])
    for value in values:
        bocd.step(row[0], states[0], value)
        count = int(states[0, bocd.COUNT])
        weights = bocd_cells.cells_of(states[0])[bocd_cells.WEIGHT, :count]
        assert weights.sum() == pytest.approx(1.0, abs=1e-9)
        assert np.isfinite(states[0, : bocd_cells.HEADER]).all()


def test_too_few_cells_are_refused() -> None:
    with pytest.raises(ValueError, match="cells must be at least 48, was 47"):
        bocd.new_states(1, 47)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([math.nan], "standardised must be finite, was nan at 0"),
        ([[1.0]], r"standardised must have one dimension, had shape \(1, 1\)"),
    ],
)
def test_bad_input_is_refused_with_rule_and_value(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bocd.run(bocd.params_row(parameters()), values)


@pytest.mark.parametrize(
    ("edges", "every", "message"),
    [
        ([0.0], 1, "edges must be two or more rising run lengths"),
        ([1.0, 0.0], 1, "edges must be two or more rising run lengths"),
        ([0.0, 1.0], 0, "every must be at least 1, was 0"),
    ],
)
def test_a_bad_heat_map_is_refused(edges: Any, every: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bocd.run_posterior(bocd.params_row(parameters()), [0.0], edges, every=every)
