"""Evidence on many made-up histories: the same process as EVOP's, and what it is held against."""

import math

import numpy as np
import pytest
from scipy import stats

from hft_lib.backtest.evop_years import noise
from hft_lib.backtest.evop_years.paths import (
    days_expected,
    desk_years,
    e_paths,
    first_days,
    shares_by_day,
    t_test_paths,
)


def test_every_path_is_the_process_of_the_design():
    v = np.array([[6.0, -3.0, 0.0, 25.0, 4.0], [0.0, 6.0, -3.0, 0.0, 25.0]])
    found = e_paths(v, 4.0, 20.0)
    by_hand = [1.20625, 1.077109375, 1.077109375, 1.827246094, 2.053461748]
    assert found[0] == pytest.approx(by_hand, rel=1e-9)
    assert found[1] == pytest.approx([1.0, *by_hand[:4]], rel=1e-9)


def test_equal_sets_cross_no_more_often_than_the_bound_allows():
    v = np.random.default_rng(5).standard_normal((4_000, 180))
    share = np.mean(np.isfinite(first_days(e_paths(v, 1.0, 5.0) >= 20.0)))
    assert 0.0 < share <= 1.0 / 20.0


def test_the_t_test_is_that_of_scipy_on_the_days_so_far():
    v = np.random.default_rng(6).standard_normal((3, 30)) + 0.2
    found = t_test_paths(v)
    assert (found[:, :9] == 1.0).all()
    for path in range(3):
        for days in (10, 17, 30):
            wanted = stats.ttest_1samp(v[path, :days], 0.0, alternative="greater").pvalue
            assert found[path, days - 1] == pytest.approx(wanted, rel=1e-9)


def test_days_all_alike_decide_nothing():
    assert (t_test_paths(np.zeros((2, 20))) == 1.0).all()


def test_the_first_day_and_the_share_by_day_are_counted_from_one():
    reached = np.array([[False, True, False], [False, False, False], [True, False, True]])
    assert first_days(reached).tolist() == [2.0, math.inf, 1.0]
    assert shares_by_day(reached) == pytest.approx([1 / 3, 2 / 3, 2 / 3])


def test_the_tests_of_a_desk_are_its_slots_one_life_after_the_other():
    found = desk_years(noise.normal, 2, np.random.default_rng(7), slots=3, lives=4)
    drawn = noise.normal(np.random.default_rng(7), 4 * 91, 3).draws
    assert found.shape == (2, 12, 91)
    assert found[0, 0].tolist() == drawn[:91, 0].tolist()
    assert found[0, 2].tolist() == drawn[:91, 2].tolist()
    assert found[0, 4].tolist() == drawn[91:182, 1].tolist()


@pytest.mark.parametrize(("ir", "days"), [(5.0, 177.0), (8.0, 91.0), (12.0, 56.0), (20.0, 33.0)])
def test_the_days_expected_are_those_of_the_design_and_of_the_paths(ir, days):
    assert days_expected(ir, 120.0) == pytest.approx(days, abs=0.5)
    v = np.random.default_rng(8).standard_normal((1_000, 500)) + ir / math.sqrt(365.0)
    simulated = np.median(first_days(e_paths(v, 1.0, 5.0) >= 120.0))
    assert simulated == pytest.approx(days, rel=0.15)


def test_a_wide_floor_makes_learning_slow_and_no_gain_is_never_found():
    assert days_expected(8.0, 120.0, 3.0) == pytest.approx(213.0, rel=0.05)
    assert days_expected(0.0, 120.0) == math.inf and days_expected(-8.0, 120.0) == math.inf
