"""Accounts: what is booked adds up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hft_lib.exchange.account import (
    NS_PER_YEAR,
    SHORT_BORROW,
    SHORT_PERP,
    Account,
    Leg,
    X,
    Y,
    accrue,
    book,
    mark,
    mid,
    open_block,
    pay_funding,
)


def legs(y: float = 100.0, x: float = 50.0):
    rows = np.zeros(2, Leg)
    for row, price in zip(rows, (y, x)):
        row["bid"], row["ask"], row["short"] = price - 0.5, price + 0.5, SHORT_PERP
    return rows


def account():
    return np.zeros(1, Account)[0]


def test_the_mid_is_the_mean_and_0_before_the_first_top():
    assert mid(legs()[Y]) == 100.0
    assert mid(np.zeros(1, Leg)[0]) == 0.0


def test_a_purchase_and_its_sale_leave_the_difference_less_fees():
    held = account()
    book(held, Y, 1.0, 2.0, 100.0, 0.2, 0.0)
    book(held, Y, -1.0, 2.0, 103.0, 0.3, 0.0)
    assert float(held["cash"]) == pytest.approx(6.0 - 0.5)
    assert (held["position"][Y], held["turnover"], held["fees"]) == (0.0, 406.0, 0.5)


fills = st.tuples(
    st.sampled_from([Y, X]),
    st.sampled_from([-1.0, 1.0]),
    st.floats(0.001, 100.0),
    st.floats(1.0, 1000.0),
    st.floats(0.0, 1.0),
)


@given(st.lists(fills, max_size=20), st.floats(-0.01, 0.01))
def test_equity_is_cash_of_fills_less_fees_funding_and_borrowing_plus_marks(made, rate: float):
    held, tops = account(), legs()
    tops[X]["short"], tops[X]["borrow_rate_annual"] = SHORT_BORROW, 0.5
    cash = fees = 0.0
    for hour, (i, side, quantity, price, fee) in enumerate(made, start=1):
        accrue(held, tops, hour * 3_600_000_000_000)
        book(held, i, side, quantity, price, fee, 0.0)
        pay_funding(held, Y, rate, mid(tops[Y]))
        cash -= side * quantity * price
        fees += fee
    equity = mark(held, tops)
    marks = float(held["position"][Y]) * 100.0 + float(held["position"][X]) * 50.0
    carried = float(held["funding"]) + float(held["borrow"])
    assert equity == pytest.approx(cash - fees - carried + marks, rel=1e-9, abs=1e-9)


def test_only_a_borrowed_short_pays_for_time():
    tops = legs()
    tops[X]["short"], tops[X]["borrow_rate_annual"] = SHORT_BORROW, 0.365
    held = account()
    held["position"] = (-1.0, -2.0)
    day_ns = NS_PER_YEAR / 365.0
    accrue(held, tops, int(day_ns))
    assert float(held["borrow"]) == pytest.approx(2.0 * 50.0 * 0.001)
    accrue(held, tops, int(day_ns))
    assert float(held["borrow"]) == pytest.approx(0.1)
    held["position"] = (1.0, 2.0)
    accrue(held, tops, 2 * int(day_ns))
    assert float(held["borrow"]) == pytest.approx(0.1)


def test_peaks_and_drawdowns_are_of_the_equity():
    held, tops = account(), legs()
    held["position"] = (1.0, 0.0)
    for y in (100.0, 110.0, 90.0, 105.0):
        tops[Y]["bid"] = tops[Y]["ask"] = y
        mark(held, tops)
    assert (held["equity_peak"], held["drawdown_max"], held["block_drawdown"]) == (
        110.0,
        20.0,
        20.0,
    )
    open_block(held)
    tops[Y]["bid"] = tops[Y]["ask"] = 100.0
    mark(held, tops)
    assert (held["drawdown_max"], held["block_drawdown"]) == (20.0, 5.0)


def test_a_block_is_active_where_something_was_held_or_traded():
    held, tops = account(), legs()
    open_block(held)
    mark(held, tops)
    assert held["block_active"] == 0
    book(held, Y, 1.0, 1.0, 100.0, 0.0, 0.0)
    assert held["block_active"] == 1
    open_block(held)
    assert held["block_active"] == 1
    book(held, Y, -1.0, 1.0, 100.0, 0.0, 0.0)
    open_block(held)
    assert held["block_active"] == 0
