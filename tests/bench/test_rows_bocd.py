"""The oracle of the changepoint rows, and the translation of fast-bocpd's convention into ours."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from bench import rows_bocd, series
from bench.rows_bocd import PARAMETERS, Exact, as_ours
from bench.timing import Unequal

VALUES = series.regimes(30, 0.1, seed=7)


def evidence(values: npt.NDArray[np.float64], z: float) -> float:
    """Density of `z` in a run that has had `values`, all of them at once."""
    p, n = PARAMETERS, values.size
    mean = float(values.mean()) if n else 0.0
    kappa, alpha = p.prior_kappa + n, p.prior_alpha + 0.5 * n
    spread = float(((values - mean) ** 2).sum()) + p.prior_kappa * n / kappa * mean * mean
    beta = p.prior_beta + 0.5 * spread
    scale = math.sqrt(beta * (kappa + 1.0) / (alpha * kappa))
    return float(stats.t.pdf(z, 2.0 * alpha, n * mean / kappa, scale))


def change_before(values: npt.NDArray[np.float64]) -> Any:
    """P(run length) where a change comes before a value, which then begins the run called 0."""
    h, weight = PARAMETERS.hazard, np.ones(1)
    for t, z in enumerate(values.tolist()):
        # A run called r at t - 1 has r + 1 values, but the first of all has as many as there are.
        grown = [w * evidence(values[max(t - r - 1, 0) : t], z) for r, w in enumerate(weight)]
        weight = np.append(h * weight.sum() * evidence(values[:0], z), (1.0 - h) * np.array(grown))
        weight /= weight.sum()
    return weight


def test_a_change_before_the_value_is_a_change_after_it_by_another_name() -> None:
    exact = Exact(PARAMETERS, cap=100)
    exact.run(VALUES)
    ours = as_ours(change_before(VALUES), PARAMETERS.hazard)
    assert ours == pytest.approx(exact.posterior(), abs=1e-12)
    assert ours.sum() == pytest.approx(1.0, abs=1e-12)


def test_dropped_run_lengths_leave_no_mass_missing() -> None:
    capped = Exact(PARAMETERS, cap=10)
    capped.run(VALUES)
    assert capped.posterior().size == 11
    assert capped.posterior().sum() == pytest.approx(1.0, abs=1e-12)


def test_a_posterior_that_is_not_the_oracles_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exact, "posterior", lambda self: np.exp(self.log_weight) + 1e-9)
    with pytest.raises(Unequal, match="posterior"):
        rows_bocd.require_exact(cells=64)


def test_what_merging_loses_is_held_to_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_bocd, "LOSS_OBSERVATIONS", 2000)
    rows_bocd.require_little_lost(cells=64)
    monkeypatch.setattr(rows_bocd, "LOSS_NATS_MAX", -1.0)
    with pytest.raises(Unequal, match="log likelihood of merged cells"):
        rows_bocd.require_little_lost(cells=64)
