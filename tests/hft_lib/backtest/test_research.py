"""What notebooks compare with: the filter's own error, rolling regressions, planted changes."""

import numpy as np
import pytest

from hft_lib.backtest.research import detection, hedge_sd, rolling_least_squares
from hft_lib.fitting.kalman import fit_kalman
from hft_lib.models import kalman
from hft_lib.parameters import BocdParameters

RANDOM = np.random.default_rng(2)
X = 4.0 + np.cumsum(RANDOM.normal(0.0, 0.01, 300))
Y = 0.2 + 1.1 * X + RANDOM.normal(0.0, 0.002, 300)
DETECTOR = BocdParameters(
    hazard=1e-3, prior_mean=0.0, prior_kappa=1.0, prior_alpha=1.0, prior_beta=1.0
)


def test_the_band_of_the_hedge_ratio_is_the_filters_own() -> None:
    params = fit_kalman(Y, X).params
    steps = np.ones(Y.size, dtype=np.int64)
    sd, state = hedge_sd(params, Y, X, steps), kalman.new_states(1)
    kalman.start(kalman.params_row(params)[0], state[0])
    kalman.run(kalman.params_row(params), Y, X, steps, state)
    assert sd[-1] == np.sqrt(kalman.covariance(state)[2, 0]) and sd.shape == Y.shape
    assert sd[-1] < sd[0]


def test_a_rolling_regression_is_least_squares_over_each_window() -> None:
    found = rolling_least_squares(Y, X, 40)
    for t in (39, 150, 299):
        slope, intercept = np.polyfit(X[t - 39 : t + 1], Y[t - 39 : t + 1], 1)
        assert found.hedge_ratio[t] == pytest.approx(slope, rel=1e-6)
        assert found.intercept[t] == pytest.approx(intercept, rel=1e-6)
    assert np.isnan(found.hedge_ratio[38])


def test_its_error_knows_nothing_of_the_present() -> None:
    t, later = 200, Y.copy()
    later[t] += 1.0
    before, after = rolling_least_squares(Y, X, 40).error, rolling_least_squares(later, X, 40).error
    assert after[t] - before[t] == pytest.approx(1.0)
    assert (after[40:t] == before[40:t]).all()


@pytest.mark.parametrize("window", [2, 301])
def test_a_window_that_cannot_be_is_refused(window: int) -> None:
    with pytest.raises(ValueError, match=f"from 3 to 300, was {window}"):
        rolling_least_squares(Y, X, window)


def test_larger_changes_are_found_sooner_and_more_often() -> None:
    tried = detection(DETECTOR, RANDOM.normal(size=2_000), [1.0, 2.0, 5.0], [0.5, 0.9], trials=40)
    assert (np.diff(tried.found[:, 0]) >= 0.0).all() and tried.found[2, 0] == 1.0
    assert tried.delay[2, 0] < tried.delay[1, 0]
    assert (tried.found[:, 1] <= tried.found[:, 0]).all()
    assert tried.false_share[1] <= tried.false_share[0] < 0.02


def test_a_change_that_is_never_found_has_no_delay() -> None:
    tried = detection(DETECTOR, RANDOM.normal(size=500), [0.0], [0.999999], trials=5)
    assert np.isnan(tried.delay[0, 0]) and tried.found[0, 0] == 0.0


def test_too_few_values_to_plant_in_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 120, were 119"):
        detection(DETECTOR, np.zeros(119), [1.0], [0.5])
