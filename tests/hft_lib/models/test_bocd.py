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

from hft_lib.models import bocd, bocd_cells, bocd_merge
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


def heavy(size: int, seed: int) -> npt.NDArray[np.float64]:
    """Student's t with 3 degrees of freedom, of variance 1."""
    return np.random.default_rng(seed).standard_t(3, size) / math.sqrt(3.0)


def lost(values: Any, hazard: float, cells: int = bocd.CELLS) -> tuple[float, float]:
    """Nats that merging costs, and by how much P(r <= 10) is off at most."""
    row = bocd.params_row(parameters(hazard=hazard))
    whole, merged = bocd.run(row, values, cells=values.size + 1), bocd.run(row, values, cells=cells)
    nats = float(whole["log_predictive"].sum() - merged["log_predictive"].sum())
    return nats, float(
        np.abs(whole["recent_probability"] - merged["recent_probability"]).max(),
    )


SERIES = {
    "one regime": np.random.default_rng(1).normal(size=20_000),
    "regimes of 300": regimes(20_000, 1.0 / 300.0, 1),
    "regimes of 2000": regimes(20_000, 1.0 / 2000.0, 2),
    "heavy tails": heavy(20_000, 1),
}


@pytest.mark.parametrize("hazard", [1e-4, 1e-2])
@pytest.mark.parametrize("name", SERIES)
def test_merging_costs_little_over_twenty_thousand_observations(name: str, hazard: float) -> None:
    nats, probability = lost(SERIES[name], hazard)
    assert nats < 0.05
    assert probability < 0.02


@pytest.mark.parametrize("hazard", [1e-6, 0.1])
@pytest.mark.parametrize("name", ["regimes of 300", "heavy tails"])
def test_a_hazard_far_from_the_truth_makes_merging_cost_a_little_more(
    name: str, hazard: float
) -> None:
    nats, probability = lost(SERIES[name], hazard)
    assert nats < 0.2
    assert probability < 0.05


def test_a_variance_that_never_stands_still_asks_for_more_cells() -> None:
    rng = np.random.default_rng(1)
    deviation = np.clip(np.exp(0.01 * np.cumsum(rng.normal(size=20_000))), 0.1, 10.0)
    values = rng.normal(size=20_000) * deviation
    assert lost(values, 1e-3)[0] < 15.0
    assert lost(values, 1e-3, cells=256)[0] < 0.5


def weights(state: Any) -> npt.NDArray[np.float64]:
    """The cells' probabilities, oldest first."""
    at = [bocd_cells.cell_at(state, i) for i in range(int(state[bocd.COUNT]))]
    return state[np.array(at) + bocd_cells.WEIGHT] * state[bocd_cells.SCALE]


def test_merging_loses_no_mass() -> None:
    row, states = bocd.params_row(parameters()), bocd.new_states(1)
    bocd.start(row[0], states[0])
    bocd.run(row, regimes(3000, 0.01, 4), state=states)
    state = states[0]
    assert state[bocd.COUNT] < bocd_cells.capacity(state)
    assert weights(state).sum() == pytest.approx(1.0, abs=1e-12)
    at = np.array([bocd_cells.cell_at(state, i) for i in range(int(state[bocd.COUNT]))])
    birth, runs = state[at + bocd_cells.BIRTH], 1.0 / state[at + bocd_cells.PER_RUN]
    assert np.diff(birth, prepend=-1.0) == pytest.approx(runs, rel=1e-12)
    assert (np.diff(state[at + bocd_cells.START]) > 0.0).all()


def test_a_full_detector_makes_room_and_stays_exact_until_then() -> None:
    p, values = parameters(), regimes(300, 0.01, 7)
    row, states = bocd.params_row(p), bocd.new_states(1, 200)
    bocd.start(row[0], states[0])
    exact_until = bocd_cells.capacity(states[0]) - 3
    posteriors, _ = exact(p, values)
    found = bocd.run_posterior(row, values, np.arange(302.0), cells=200)
    for t in (150, exact_until):
        assert found[t, : t + 2] == pytest.approx(posteriors[t], abs=5e-11)
    assert found.sum(axis=1) == pytest.approx(np.ones(300), abs=1e-9)


def test_run_lengths_beyond_the_table_cost_nothing() -> None:
    """T by Stirling's series is T by the table: a detector of few cells whose table ends at 512,
    and one of many.
    """
    state, long = bocd.new_states(1)[0], bocd.new_states(1, 3000)[0]
    for each in (state, long):
        bocd.start(bocd.params_row(parameters(prior_alpha=2.5, prior_kappa=0.3))[0], each)
    assert bocd_cells.table_length(state) == 512
    for n in (512.0, 513.0, 1000.0, 20_000.0):
        assert bocd_cells.log_norm(state, n) == pytest.approx(
            bocd_cells.log_norm(long, n), rel=2e-15
        )


def test_other_parameters_go_on_from_the_same_beliefs() -> None:
    values = regimes(900, 0.01, 8)
    before = bocd.params_row(parameters(prior_beta=1.0))
    after = bocd.params_row(parameters(hazard=0.02, prior_alpha=3.0, prior_beta=2.0))
    states = bocd.new_states(1)
    bocd.start(before[0], states[0])
    bocd.run(before, values, state=states)
    kept = weights(states[0])
    variance = bocd_merge.variance(states[0], bocd_cells.cell_at(states[0], 0))
    adopted = states.copy()
    bocd.adopt(after[0], adopted[0])
    oldest = bocd_cells.cell_at(adopted[0], 0)
    assert bocd_merge.variance(adopted[0], oldest) == pytest.approx(variance, rel=1e-12)
    found = [
        bocd_cells.log_weight(adopted[0], bocd_cells.cell_at(states[0], i))
        for i in range(kept.size)
    ]
    assert np.exp2(found) == pytest.approx(kept, rel=1e-9)
    track = bocd.run(after, regimes(900, 0.01, 9), state=states)  # adopts by itself
    alone = bocd.run(after, regimes(900, 0.01, 9), state=adopted)
    assert track.tobytes() == alone.tobytes()
    assert np.isfinite(track["log_predictive"]).all()


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


def check(state: Any) -> None:
    """Every figure finite, the mass one."""
    assert weights(state).sum() == pytest.approx(1.0, abs=1e-9)
    assert np.isfinite(state).all()


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
        check(states[0])


@pytest.mark.parametrize("value", [0.0, 1.0, 5e-324, 1e6, 1e160, math.inf, -math.inf])
@pytest.mark.parametrize(
    "changes", [{}, {"hazard": 1e-12}, {"hazard": 0.9}, {"prior_beta": 1e-300}]
)
def test_the_same_value_over_and_over_leaves_a_posterior(
    value: float, changes: dict[str, float]
) -> None:
    row, states = bocd.params_row(parameters(**changes)), bocd.new_states(1)
    bocd.start(row[0], states[0])
    for _ in range(600):
        bocd.step(row[0], states[0], value)
        check(states[0])


def test_an_outlier_of_a_million_deviations_is_survived() -> None:
    p, values = parameters(), regimes(400, 1e-9, 1)
    values[200] = 1e6
    row = bocd.params_row(p)
    posteriors, evidences = exact(p, values)
    track = bocd.run(row, values, cells=500)
    assert track["log_predictive"] == pytest.approx(evidences, abs=1e-9)
    assert track["map_run_length"].tolist() == [float(np.argmax(q)) for q in posteriors]


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
