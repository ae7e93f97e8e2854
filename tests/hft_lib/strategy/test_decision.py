"""When to hold the spread: every way in and out, and that doubt holds still."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hft_lib.strategy.decision import (
    BREAK,
    ENTER,
    EXIT,
    HOLD,
    STOP,
    Params,
    decide,
    edge_cost_ratio,
    notional,
    params_row,
)
from tests.builders import parameters

ENTRY, LEAVE, GIVE_UP = 2.0, 0.5, 4.0
ROW = params_row(
    parameters(entry_z=ENTRY, exit_z=LEAVE, stop_z=GIVE_UP, edge_cost_ratio_min=1.5).strategy
)[0]
RICH = 10.0


def decided(direction: int, z: float, stopped: int = 0, alarm: bool = False, ratio: float = RICH):
    return decide(ROW, direction, stopped, z, alarm, ratio)


def test_params_row_holds_the_strategy_by_name():
    strategy = parameters(entry_z=1.5, gross_fraction_max=0.25).strategy
    row = params_row(strategy)[0]
    assert all(row[name] == getattr(strategy, name) for name in Params.names or ())


@pytest.mark.parametrize(
    "direction, z, expected",
    [
        (0, -2.0, (1, 0, ENTER)),
        (0, 2.0, (-1, 0, ENTER)),
        (0, 1.99, (0, 0, HOLD)),
        (0, 4.0, (0, 0, HOLD)),  # at the stop there is no way in
        (0, -3.99, (1, 0, ENTER)),
        (1, -1.0, (1, 0, HOLD)),
        (1, -0.5, (0, 0, EXIT)),
        (1, 3.0, (0, 0, EXIT)),  # far through the exit is still an exit
        (-1, 0.5, (0, 0, EXIT)),
        (1, -4.0, (0, 1, STOP)),
        (-1, 4.0, (0, -1, STOP)),
    ],
)
def test_each_way_in_and_out(direction: int, z: float, expected: tuple[int, int, int]):
    assert decided(direction, z) == expected


def test_after_a_stop_there_is_no_entry_until_z_came_back():
    assert decided(0, -2.5, stopped=1) == (0, 1, HOLD)
    assert decided(0, 2.5, stopped=1) == (0, 1, HOLD)
    assert decided(0, -0.4, stopped=1) == (0, 0, HOLD)


def test_an_alarm_closes_and_lets_nothing_in():
    assert decided(1, -1.0, alarm=True) == (0, 0, BREAK)
    assert decided(0, -2.5, alarm=True) == (0, 0, HOLD)


def test_an_entry_must_pay_its_costs():
    assert decided(0, -2.0, ratio=1.49)[0] == 0
    assert decided(0, -2.0, ratio=1.5)[0] == 1


def test_what_is_no_number_opens_nothing_and_holds_what_is_held():
    assert decided(0, math.nan) == (0, 0, HOLD)
    assert decided(0, -2.0, ratio=math.nan) == (0, 0, HOLD)
    assert decided(1, math.nan) == (1, 0, HOLD)
    assert decided(0, math.inf) == (0, 0, HOLD)


@given(st.sampled_from([-1, 0, 1]), st.floats(-50.0, 50.0), st.sampled_from([-1, 0, 1]))
def test_the_two_sides_mirror_one_another(direction: int, z: float, stopped: int):
    one = decided(direction, z, stopped)
    other = decided(-direction, -z, -stopped)
    assert one == (-other[0], -other[1], other[2])


@given(st.sampled_from([-1, 0, 1]), st.floats(allow_nan=True), st.booleans(), st.floats(0.0, 5.0))
def test_no_step_flips_and_only_an_entry_opens(direction: int, z: float, alarm: bool, ratio: float):
    after, _, purpose = decided(direction, z, alarm=alarm, ratio=ratio)
    assert after * direction >= 0
    assert (purpose == ENTER) == (direction == 0 and after != 0)


def test_the_size_makes_one_deviation_the_risk_fraction_up_to_the_cap():
    row = params_row(parameters(risk_fraction=0.002, gross_fraction_max=0.5).strategy)[0]
    assert notional(row, 0.01, 1.0, 10_000.0) == pytest.approx(2_000.0)
    assert notional(row, 0.001, 1.0, 10_000.0) == 5_000.0
    assert notional(row, 0.001, 0.25, 10_000.0) == 1_250.0


def test_the_edge_is_what_lies_between_z_and_the_exit():
    assert edge_cost_ratio(-2.5, 0.5, 0.01, 0.004) == pytest.approx(5.0)
    assert edge_cost_ratio(2.5, 0.5, 0.01, 0.0) == np.inf
