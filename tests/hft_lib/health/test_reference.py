"""The reference of a calibration: what it records is what its window held."""

import numpy as np
import pytest

from hft_lib.fitting.grid import grid_moments
from hft_lib.health.reference import binned, counts, mean_gaps_s, reference_of


def test_bins_are_the_deciles_and_their_shares_those_of_the_values():
    values = np.random.Generator(np.random.PCG64(1)).standard_normal(5_000)
    found = binned(values)
    np.testing.assert_allclose(found.edges, np.quantile(values, np.arange(1, 10) / 10), rtol=1e-5)
    assert found.observations == 5_000
    assert found.shares == pytest.approx([0.1] * 10, abs=1e-3)
    assert sum(found.shares) == pytest.approx(1.0)


def test_a_value_that_repeats_falls_into_one_bin_then_and_now():
    gaps = np.array([0.1] * 70 + [0.3] * 20 + [1 / 3] * 10)
    found = binned(gaps)
    assert len(found.edges) < 9 and found.edges[0] == 0.1 and found.shares[0] == 0.7
    again = counts(gaps.astype(np.float32), found.edges) / gaps.size
    assert again.tolist() == list(found.shares)


def test_a_value_that_never_changes_has_a_bin_and_another_one_falls_beyond():
    found = binned(np.full(100, 3600.0))
    assert (found.edges, found.shares) == ((3600.0,), (1.0, 0.0))
    assert counts([3600.0, 7200.0, np.nan], found.edges).tolist() == [1, 1]


def test_without_values_there_are_no_bins():
    found = binned(np.full(5, np.nan))
    assert (found.observations, found.edges, found.shares) == (0, (), ())


def test_gaps_are_counted_by_the_moments_between_grid_points():
    second = 1_000_000_000
    times = np.array([0, 4, 8, 10, 20, 21, 30], np.int64) * second
    indices, steps = grid_moments(times, 10_000)
    assert indices.tolist() == [0, 3, 4, 6]
    gaps = mean_gaps_s(times, indices)
    assert np.isnan(gaps[0]) and gaps[1:].tolist() == [10 / 3, 10.0, 5.0]


def test_returns_over_more_than_one_interval_are_left_out():
    log_y, log_x = np.array([0.0, 0.01, 0.05, 0.06]), np.array([0.0, 0.02, 0.02, 0.03])
    found = reference_of(
        log_y, log_x, np.array([1, 1, 3, 1]), np.array([np.nan, 1.0, 1.0, 1.0]), np.arange(4.0)
    )
    assert found.return_y.observations == found.return_x.observations == 2
    assert max(found.return_y.edges) == pytest.approx(0.01)
    assert (found.innovation.observations, found.gap_s.observations) == (4, 3)
