"""Fills against the top of the book, and lots."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hft_lib.exchange.account import Leg
from hft_lib.exchange.fills import near_lots, take, whole_lots


def leg(**values: float):
    row = np.zeros(1, Leg)[0]
    terms = {"bid": 99.0, "bid_size": 3.0, "ask": 101.0, "ask_size": 5.0, "lots_per_unit": 10.0}
    for name, value in {**terms, **values}.items():
        row[name] = value
    return row


def test_a_buy_takes_the_ask_and_a_sale_the_bid():
    assert take(leg(), 1.0, 4.0) == (4.0, 101.0)
    assert take(leg(), -1.0, 2.0) == (2.0, 99.0)


def test_what_is_beyond_the_top_is_cancelled():
    assert take(leg(), 1.0, 7.0) == (5.0, 101.0)
    assert take(leg(bid_size=2.57), -1.0, 7.0) == (2.5, 99.0)


@pytest.mark.parametrize("values", [{"ask": 0.0}, {"ask_size": 0.0}, {"ask": np.nan}])
def test_where_nothing_is_offered_nothing_is_filled(values: dict[str, float]):
    assert take(leg(**values), 1.0, 4.0) == (0.0, 0.0)


@given(st.integers(0, 10**9), st.sampled_from([1.0, 10.0, 1000.0, 1e5, 1e8]))
def test_a_number_of_lots_is_kept_whole(lots: int, lots_per_unit: float):
    assert whole_lots(lots / lots_per_unit, lots_per_unit) == lots / lots_per_unit


@given(st.floats(0.0, 1e6), st.sampled_from([1.0, 10.0, 1000.0, 1e5]))
def test_lots_are_cut_and_never_added(quantity: float, lots_per_unit: float):
    cut = whole_lots(quantity, lots_per_unit)
    assert (
        quantity - 1.0 / lots_per_unit <= cut <= quantity + 1e-9 / lots_per_unit + 1e-15 * quantity
    )


@given(st.lists(st.integers(-500, 500), max_size=30), st.sampled_from([10.0, 1000.0, 1e5]))
def test_a_sum_of_lots_has_no_dust(lots: list[int], lots_per_unit: float):
    held = 0.0
    for change in lots:
        held = near_lots(held + change / lots_per_unit, lots_per_unit)
    assert held == sum(lots) / lots_per_unit


def test_a_position_of_another_step_is_left_alone():
    assert near_lots(0.123456, 1000.0) == 0.123456
