"""The rules of promotion, by where a process stands."""

import msgspec
import pytest

from hft_lib.evop.policy import (
    Policy,
    Standing,
    decide,
    decide_gap,
    decide_rollback,
    loss_max,
    policy_json,
    promotion_threshold,
)
from hft_lib.parameters import Limits

POLICY = Policy()


def standing(e: float = 1.0, age_days: float = 30.0, retired: bool = False, *failing: str):
    return Standing(e=e, threshold=120.0, age_days=age_days, retired=retired, failing=failing)


def test_the_threshold_is_120_a_pair():
    assert [promotion_threshold(POLICY, pairs) for pairs in (1, 2, 5)] == [120.0, 240.0, 600.0]


@pytest.mark.parametrize(
    "given, decision",
    [
        (standing(e=120.0), "promote"),
        (standing(e=119.99), "continue"),
        (standing(e=500.0, age_days=30.0, retired=False), "promote"),
        (standing(500.0, 30.0, False, "cool_down"), "refuse"),
        (standing(500.0, 180.0, False, "cool_down"), "expire"),
        (standing(500.0, 30.0, True, "tail"), "drop"),
        (standing(e=0.1499), "drop"),
        (standing(e=0.15), "continue"),
        (standing(e=2.99, age_days=89.9), "continue"),
        (standing(e=2.99, age_days=90.0), "expire"),
        (standing(e=3.0, age_days=90.0), "continue"),
        (standing(e=3.0, age_days=179.9), "continue"),
        (standing(e=100.0, age_days=180.0), "expire"),
    ],
)
def test_decide(given, decision):
    assert decide(POLICY, given)[0] == decision


def test_rollback_needs_its_threshold_and_ten_blocks_or_a_hard_loss():
    assert decide_rollback(POLICY, 10.0, 10, 3.0)[0] == "rollback"
    assert decide_rollback(POLICY, 10.0, 9, 3.0)[0] == "continue"
    assert decide_rollback(POLICY, 9.9, 50, 3.0)[0] == "continue"
    assert decide_rollback(POLICY, 1.0, 3, 20.0)[0] == "rollback"


def test_the_gap_freezes_at_twenty():
    assert decide_gap(POLICY, 20.0)[0] == "freeze"
    assert decide_gap(POLICY, 19.9)[0] == "continue"


def test_the_bound_is_the_loss_limit_plus_the_stressed_leg():
    limits = Limits(daily_loss_max=0.02, position_notional_max=1.5)
    assert loss_max(POLICY, limits, 0.5) == pytest.approx(0.02 + 0.5 * 0.02)
    assert loss_max(POLICY, limits, 9.0) == pytest.approx(0.02 + 1.5 * 0.02)


def test_a_policy_is_its_json():
    assert msgspec.json.decode(policy_json(POLICY), type=Policy) == POLICY
    assert policy_json(Policy(alpha=0.01)) != policy_json(POLICY)


@pytest.mark.parametrize(
    "wrong", [{"alpha": 0.0}, {"tests_a_year": 0}, {"drop_below": 1.0}, {"life_days": 200}]
)
def test_a_policy_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Policy(**wrong)
