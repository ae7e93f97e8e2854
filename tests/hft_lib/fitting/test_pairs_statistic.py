"""The compiled test of a pair against statsmodels, and the p-values made of it."""

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hft_lib.fitting.selection.engle_granger import adf, both_directions
from hft_lib.fitting.selection.p_values import (
    better_direction,
    p_asymptotic,
    p_ordinary,
    p_wild,
    q_values,
)
from hft_lib.fitting.selection.pairs import lags_max
from hft_lib.fitting.selection.wild import wild_statistics


def legs(size: int, phi: float, seed: int, moving_average: float = 0.0) -> tuple[Any, Any]:
    """Log prices whose spread is an autoregression with `phi`, and noise of its own."""
    rng = np.random.default_rng(seed)
    x, noise = 10.0 + 1e-3 * np.cumsum(rng.standard_t(4, size)), 1e-3 * rng.normal(size=size)
    spread = np.zeros(size)
    for t in range(1, size):
        spread[t] = phi * spread[t - 1] + noise[t] + moving_average * noise[t - 1]
    return 0.5 + 0.8 * x + spread, x


def statistic_of_statsmodels(y: Any, x: Any, lags: int) -> float:
    from statsmodels.tsa.stattools import coint

    return float(coint(y, x, trend="c", maxlag=lags, autolag="aic")[0])


def both(y: Any, x: Any, lags: int) -> Any:
    found = np.empty((2, 5))
    both_directions(np.ascontiguousarray(y), np.ascontiguousarray(x), lags, found)
    return found


@pytest.mark.parametrize("size", [60, 301, 1_500])
@pytest.mark.parametrize("phi", [1.0, 0.95, 0.3])
@pytest.mark.parametrize("moving_average", [0.0, -0.6])
def test_the_statistic_is_that_of_statsmodels(size: int, phi: float, moving_average: float) -> None:
    y, x = legs(size, phi, size, moving_average)
    for lags in (0, 1, lags_max(size)):
        found = both(y, x, lags)
        assert found[0, 0] == pytest.approx(statistic_of_statsmodels(y, x, lags), rel=1e-8)
        assert found[1, 0] == pytest.approx(statistic_of_statsmodels(x, y, lags), rel=1e-8)


def test_the_statistic_is_that_of_statsmodels_on_recorded_prices(market_data: Path) -> None:
    file = market_data / "binance_spot_1h_close_202101_202506" / "close_wide.parquet"
    table = pq.read_table(file, columns=["BTC", "ETH", "LTO", "COS"]).slice(0, 4_000)
    prices = {name: table.column(name).drop_null().to_numpy() for name in table.column_names}
    size = min(map(len, prices.values()))
    for one, other in (("BTC", "ETH"), ("LTO", "COS"), ("ETH", "COS")):
        y, x = np.log(prices[one][:size]), np.log(prices[other][:size])
        found = both(y, x, lags_max(size))
        expected = statistic_of_statsmodels(y, x, lags_max(size))
        assert found[0, 0] == pytest.approx(expected, rel=1e-8)


def test_hedge_ratio_and_fit_are_those_of_least_squares() -> None:
    y, x = legs(400, 0.8, 1)
    found = both(y, x, 4)
    slope, intercept = np.polyfit(x - x.mean(), y, 1)
    assert found[0, 2:4] == pytest.approx([slope, intercept - slope * x.mean()], rel=1e-9)
    assert found[0, 4] == pytest.approx(np.corrcoef(y, x)[0, 1] ** 2, rel=1e-9)


@given(st.floats(1e-3, 1e3), st.floats(-100.0, 100.0))
def test_units_of_the_prices_do_not_matter(scale: float, shift: float) -> None:
    y, x = legs(200, 0.9, 2)
    plain, moved = both(y, x, 5), both(scale * y + shift, x - shift, 5)
    assert moved[:, 0] == pytest.approx(plain[:, 0], rel=1e-6)


@pytest.mark.parametrize(
    ("y", "x"),
    [
        (np.ones(50), np.arange(50.0)),
        (np.arange(50.0), np.ones(50)),
        (np.arange(50.0), np.arange(50.0)),
        (np.arange(5.0), np.array([1.0, 3.0, 2.0, 5.0, 4.0])),
    ],
)
def test_legs_without_a_residual_have_no_statistic(y: Any, x: Any) -> None:
    assert math.isnan(both(y, x, 3)[0, 0])


def test_a_series_too_short_for_its_lags_has_no_statistic() -> None:
    assert math.isnan(adf(np.array([0.0, 1.0, 0.5, 2.0]), 2)[0])


def test_p_values_are_those_of_statsmodels() -> None:
    from statsmodels.tsa.adfvalues import mackinnonp

    statistics = np.array([-25.0, -18.0, -9.0, -4.1, -3.3, -2.62, -2.6, -1.0, 0.5, 0.9, 1.5])
    expected = [mackinnonp(one, regression="c", N=2) for one in statistics]
    assert p_asymptotic(statistics) == pytest.approx(expected, rel=1e-9, abs=1e-300)
    assert math.isnan(p_asymptotic(math.nan))


def test_the_better_direction_costs_twice_its_p() -> None:
    assert better_direction(np.array([[0.01, 0.2], [0.9, 0.7]])) == pytest.approx([0.02, 1.0])


def test_walks_of_even_volatility_leave_the_p_value_about_as_it_was() -> None:
    rng = np.random.default_rng(3)
    walks = np.empty((4_000, 2))
    y, x = rng.normal(size=(2, 500))
    wild_statistics(y, x, lags_max(500), np.uint64(9), walks)
    statistics = np.array([-4.5, -4.5])
    ratio = p_wild(statistics, walks) / p_asymptotic(statistics)
    assert (0.4 < ratio).all() and (ratio < 4.0).all()
    # The walks are of no relation: as many are below a quantile of the surface as it says.
    assert np.mean(p_asymptotic(walks) < 0.05) == pytest.approx(0.05, abs=0.012)


def test_uneven_volatility_makes_an_extreme_statistic_less_of_a_wonder() -> None:
    rng = np.random.default_rng(4)
    sizes = np.where(np.arange(500) < 450, 0.05, 1.0)
    walks = np.empty((2_000, 2))
    y, x = sizes * rng.normal(size=(2, 500))
    wild_statistics(y, x, lags_max(500), np.uint64(9), walks)
    statistics = np.array([-4.5, -4.5])
    assert (p_wild(statistics, walks) > 5.0 * p_asymptotic(statistics)).all()


def test_walks_beyond_the_surfaces_end_make_no_statistic_a_wonder() -> None:
    """Legs whose few moves are huge: their walks pass -18.86, where the surface ends."""
    walks = np.full((999, 2), -40.0)
    assert (p_wild(np.array([-30.0, -25.0]), walks) > 0.49).all()
    walks[:950] = -2.0
    assert (p_wild(np.array([-30.0, -2.0]), walks) <= 1.0).all()
    assert np.isfinite(p_wild(np.array([-30.0, -2.0]), walks)).all()


def test_an_ordinary_pairs_p_value_is_its_square_root() -> None:
    assert p_ordinary(1e-8, 0.014) == 1e-8
    assert p_ordinary(1e-8, 0.016) == pytest.approx(1e-4)


def test_one_seed_gives_one_set_of_walks() -> None:
    y, x = np.random.default_rng(5).normal(size=(2, 100))
    one, again, other = np.empty((3, 8, 2))
    wild_statistics(y, x, 3, np.uint64(1), one)
    wild_statistics(y, x, 3, np.uint64(1), again)
    wild_statistics(y, x, 3, np.uint64(2), other)
    assert np.array_equal(one, again) and not np.isclose(one, other).any()


def test_q_values_are_those_of_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    p_values = np.array([0.001, 0.3, 0.004, 0.0001, 0.9, 0.02])
    for method, name in (("bh", "fdr_bh"), ("by", "fdr_by")):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            expected = multipletests(p_values, method=name)[1]
        assert q_values(p_values, method) == pytest.approx(expected)  # type: ignore[arg-type]
    assert q_values(np.empty(0)).size == 0
