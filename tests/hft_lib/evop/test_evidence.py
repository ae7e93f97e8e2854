"""The betting e-process: the worked example, its plain twin, and what it does on made-up worlds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hft_lib.evop.evidence import (
    EVIDENCE,
    accumulate,
    begin,
    constants,
    observe,
    run,
    scale_floor,
    view,
)
from hft_lib.evop.policy import Bets

BETS = Bets()
DIFFERENCES = st.lists(
    st.floats(-30.0, 30.0, allow_subnormal=False) | st.just(0.0), min_size=1, max_size=60
)


def plain(differences: list[float], s0: float, floor: float) -> list[tuple[float, float]]:
    """The formulas of the module's head in plain Python: (e, s2) after each block."""
    c, lam, w = 5.0, (1 / 5, 1 / 10, 1 / 20), [0.5, 0.25, 0.25]
    s2, v_prev, first, out = s0 * s0, 0.0, True, []
    for v in differences:
        if v != 0.0:
            y = min(max(v / max(math.sqrt(s2), floor), -c), c)
            w = [w[j] * (1 + lam[j] * y) for j in range(3)]
            if not first:
                s2 = s2 + 0.02 * (min((v - v_prev) * (v - v_prev) / 2, c * c * s2) - s2)
            v_prev, first = v, False
        out.append((w[0] + w[1] + w[2], s2))
    return out


def test_the_worked_example_to_the_last_digit():
    rows, const = np.zeros(1, EVIDENCE), constants(BETS)
    begin(rows, 0, BETS, s0=4.0, loss_max=20.0)
    e = [observe(rows, 0, v, const) for v in (6.0, -3.0, 0.0, 25.0, 4.0)]
    assert e == pytest.approx(
        [1.206250, 1.077109375, 1.077109375, 1.827246094, 2.053461748], abs=5e-10
    )
    last = view(rows, 0)
    assert last.w == pytest.approx((1.285444993, 0.431476673, 0.336540083), abs=5e-10)
    assert last.s2 == pytest.approx(27.930196, abs=5e-7)
    assert (last.blocks, last.active, last.v_prev, last.floor) == (5, 4, 4.0, 4.0)


@given(differences=DIFFERENCES, s0=st.floats(0.1, 10.0), loss_max=st.floats(0.0, 40.0))
def test_the_kernel_is_its_plain_twin_to_the_last_bit(differences, s0, loss_max):
    rows, const = np.zeros(3, EVIDENCE), constants(BETS)
    begin(rows, 1, BETS, s0, loss_max)
    e = np.empty(len(differences))
    run(rows, 1, np.array(differences), const, e)
    expected = plain(differences, s0, max(s0, loss_max / 5.0))
    assert e.tolist() == [value for value, _ in expected]
    assert view(rows, 1).s2 == expected[-1][1]
    assert rows[0] == rows[2] == np.zeros((), EVIDENCE)


@given(differences=DIFFERENCES)
def test_accumulate_shows_the_evidence_before_and_after_the_last_block(differences):
    before, after = accumulate(np.array(differences), BETS, 1.0, 5.0)
    assert before == accumulate(np.array(differences[:-1]), BETS, 1.0, 5.0)[1]
    assert after.blocks == len(differences)


@given(differences=DIFFERENCES)
def test_e_is_never_negative_and_zero_blocks_change_nothing(differences):
    _, with_zeros = accumulate(np.array([*differences, 0.0, 0.0]), BETS, 1.0, 5.0)
    _, without = accumulate(np.array(differences), BETS, 1.0, 5.0)
    assert with_zeros.e == without.e >= 0.0
    assert (with_zeros.s2, with_zeros.active) == (without.s2, without.active)


def test_no_bet_gains_on_a_fair_coin_of_the_bound():
    """The mean of e over both outcomes of a fair block is e itself: a martingale."""
    for size in (0.5, 1.0, 5.0):
        up = accumulate(np.array([size]), BETS, 1.0, 5.0)[1].e
        down = accumulate(np.array([-size]), BETS, 1.0, 5.0)[1].e
        assert (up + down) / 2.0 == pytest.approx(1.0, abs=1e-15)


def test_gains_are_capped_at_the_clip():
    assert accumulate(np.array([5.0]), BETS, 1.0, 5.0)[1].e == 0.5 * 2 + 0.25 * 1.5 + 0.25 * 1.25
    assert accumulate(np.array([5e9]), BETS, 1.0, 5.0)[1].w == (1.0, 0.375, 0.3125)


def test_an_unknown_scale_takes_the_floor():
    _, evidence = accumulate(np.array([1.0]), BETS, s0=0.0, loss_max=10.0)
    assert (evidence.floor, evidence.s2) == (2.0, 4.0)


@pytest.mark.parametrize("s0, loss_max", [(0.0, 0.0), (float("nan"), 0.0), (0.0, float("inf"))])
def test_a_scale_without_a_floor_is_refused(s0, loss_max):
    with pytest.raises(ValueError, match="floor"):
        scale_floor(BETS, s0, loss_max)


@pytest.mark.parametrize(
    "wrong",
    [{"clip": 0.0}, {"stakes": (0.3, 0.1, 0.1)}, {"shares": (0.5, 0.5, 0.5)}, {"decay": 1.5}],
)
def test_bets_that_break_the_proof_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Bets(**wrong)


def days_to(threshold: float, differences: np.ndarray) -> int:
    """The first day with e at the threshold, one past the end where there is none."""
    rows, e = np.zeros(1, EVIDENCE), np.empty(len(differences))
    begin(rows, 0, BETS, s0=1.0, loss_max=5.0)
    run(rows, 0, differences, constants(BETS), e)
    hits = np.flatnonzero(e >= threshold)
    return int(hits[0]) + 1 if len(hits) else len(differences) + 1


def test_false_promotions_of_a_normal_null_stay_below_the_bound_of_ville():
    rng = np.random.default_rng(20)
    hits = [days_to(120.0, rng.standard_normal(365)) <= 365 for _ in range(4000)]
    assert sum(hits) / 4000 <= 1.0 / 120.0
    assert sum(hits) > 0  # the bound is not kept by never promoting


def test_false_promotions_of_penny_and_hidden_tail_stay_below_the_bound():
    """Nearly every day pays a penny, and one in 200 takes all back: sure to fool a t-test."""
    rng = np.random.default_rng(21)
    pays, takes = 5.0 / 199.0, -5.0
    for_a_year = [np.where(rng.random(365) < 0.995, pays, takes) for _ in range(2000)]
    assert sum(days_to(120.0, v) <= 365 for v in for_a_year) / 2000 <= 1.0 / 120.0


@pytest.mark.parametrize("ratio, median_days", [(12.0, 56), (20.0, 32)])
def test_median_days_to_promotion_are_those_of_the_formula(ratio, median_days):
    rng = np.random.default_rng(22)
    drift = ratio / math.sqrt(365.0)
    days = [days_to(120.0, drift + rng.standard_normal(200)) for _ in range(1500)]
    assert np.median(days) == pytest.approx(median_days, rel=0.1)
