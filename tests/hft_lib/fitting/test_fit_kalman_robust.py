"""A sample of the campaign of bench/robust_kalman.py and recorded pairs, against other searches."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from bench.kalman_series import KINDS, Pair, recorded, simulated
from bench.robust_kalman import Outcome, Regression, judge, likelihood, report
from hft_lib.fitting.kalman import fit_kalman


@pytest.mark.filterwarnings("ignore")  # statsmodels' optimiser warns where it gives up
@pytest.mark.parametrize("number", range(len(KINDS)), ids=list(KINDS))
def test_no_other_search_finds_a_likelier_maximum(number: int) -> None:
    outcome = judge(simulated(number, seed=7, size_min=200, size_max=800))
    assert outcome.violations == []
    assert outcome.seconds > 0.0


def test_our_likelihood_and_statsmodels_are_the_same_but_for_a_constant() -> None:
    pair = simulated(5, seed=3, size_min=300, size_max=400)
    assert pair.steps.max() > 1
    model = Regression(pair)
    points = [(1e-3, 1e-2, 0.5), (0.0, 0.0, 1.0), (0.1, 0.0, 0.2), (1e-6, 0.3, 1.5)]
    theirs = np.array([model.loglike(np.array(point)) for point in points])
    ours = np.array([likelihood(pair, model.variances(np.array(point))) for point in points])
    assert np.diff(theirs - ours) == pytest.approx(np.zeros(3), abs=1e-6)


def test_a_worse_fit_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = simulated(1, seed=7, size_min=300, size_max=400)
    worse = fit_kalman(pair.y[::2], pair.x[::2])
    monkeypatch.setattr("bench.robust_kalman.fit_kalman", lambda *_: worse)
    monkeypatch.setattr("bench.robust_kalman.by_statsmodels", lambda _: (1e-8, 0.0, 1e-7))
    found = judge(pair).violations
    assert any("nats below" in violation for violation in found)
    assert any("a step promises" in violation for violation in found)


def test_a_report_names_what_is_in_violation(capsys: pytest.CaptureFixture[str]) -> None:
    report([Outcome("good", 300, True), Outcome("bad", 300, violations=["1 nats below scipy"])])
    said = capsys.readouterr().out
    assert "bad: 1 nats below scipy" in said
    assert "2 pairs, 1 converged, 0 refused, 1 in violation" in said


@pytest.mark.filterwarnings("ignore")
def test_recorded_pairs_are_fitted_as_well_as_by_any_other_search(market_data: Path) -> None:
    pairs = list(islice(recorded(market_data), 0, 36, 12))
    assert len({pair.name for pair in pairs}) == 3
    for pair in pairs:
        part = Pair(pair.name, pair.y[:500], pair.x[:500], pair.steps[:500])
        assert judge(part).violations == [], pair.name
