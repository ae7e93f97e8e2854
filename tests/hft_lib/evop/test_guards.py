"""Each guard blocks once and passes once; what it was made of is in its inputs."""

import msgspec
import pytest

from hft_lib.evop import guards
from hft_lib.evop.evidence import Evidence
from hft_lib.evop.guards import Case, Charge, Gap, Guard, PairedBlock
from hft_lib.evop.policy import DAY_NS, Policy
from hft_lib.parameters import Limits

NOW_NS = 20_000 * DAY_NS
DEFAULT = Evidence(
    w=(60.0, 50.0, 30.0), e=140.0, s2=1e-6, v_prev=0.0, floor=0.001, blocks=30, active=25
)


def block(
    change: float = 10.0,
    base: float = 0.0,
    cost: float = 1.0,
    base_cost: float = 1.0,
    turnover: float = 1_000.0,
    base_turnover: float = 1_000.0,
    volatility: float = 0.01,
) -> PairedBlock:
    return PairedBlock(NOW_NS, change, base, cost, base_cost, turnover, base_turnover, volatility)


def case(blocks: list[PairedBlock] | None = None, **changes) -> Case:
    made = Case(
        process="test",
        pair="A~B",
        time_ns=NOW_NS,
        policy=Policy(),
        pairs=("A~B",),
        capital_quote=10_000.0,
        s0=0.001,
        loss_max=0.005,
        limits=Limits(),
        threshold=120.0,
        blocks=tuple(blocks if blocks is not None else [block()] * 25),
    )
    return msgspec.structs.replace(made, **changes)


def judged(rule, made: Case, evidence: Evidence = DEFAULT, stressed: Evidence = DEFAULT) -> Guard:
    guard = rule(made, evidence, stressed)
    assert guard.name == rule.__name__
    return guard


def test_minimum_sample():
    few = msgspec.structs.replace(DEFAULT, active=19)
    enough = msgspec.structs.replace(DEFAULT, active=20)
    assert not judged(guards.minimum_sample, case(), few).verdict
    assert judged(guards.minimum_sample, case(), enough).verdict


def test_tail():
    """The bound is c floor, 50 of 10,000."""
    assert not judged(guards.tail, case([block(-50.01)])).verdict
    assert judged(guards.tail, case([block(-49.99)])).verdict


def test_worst_block():
    twin = [block(-20.0, -20.0)]
    assert not judged(guards.worst_block, case([*twin, block(-25.01, 10.0)])).verdict
    assert judged(guards.worst_block, case([*twin, block(-25.0, 10.0)])).verdict


def test_a_loss_below_the_scale_of_the_bets_is_no_tail_even_where_the_twin_never_lost():
    assert judged(guards.worst_block, case([block(-10.0, 0.0)])).verdict
    assert not judged(guards.worst_block, case([block(-10.1, 0.0)])).verdict


def test_drawdown():
    twin = [block(0.0, -20.0), block(0.0, -20.0)]  # 40 deep, so 50 is allowed
    deep = [block(-20.0), block(10.0), block(-20.0), block(-21.0)]
    assert judged(guards.drawdown, case([*twin, *deep])).inputs["own"] == pytest.approx(0.0051)
    assert not judged(guards.drawdown, case([*twin, *deep])).verdict
    assert judged(guards.drawdown, case([*twin, *deep[:3]])).verdict


def test_a_drawdown_is_from_the_peak_not_from_the_start():
    made = case([block(100.0), block(-30.0), block(-30.0)])
    assert judged(guards.drawdown, made).inputs["own"] == pytest.approx(0.006)


def test_cost_stress():
    """At twice the costs the challenger pays its difference to the twin once more."""
    assert not judged(guards.cost_stress, case([block(10.0, cost=11.5)])).verdict
    assert judged(guards.cost_stress, case([block(10.0, cost=10.5)])).verdict


def test_turnover_haircut():
    poor = msgspec.structs.replace(DEFAULT, e=119.0)
    assert not judged(guards.turnover_haircut, case(), DEFAULT, poor).verdict
    assert judged(guards.turnover_haircut, case(), poor, DEFAULT).verdict


def test_the_haircut_is_zero_until_the_gap_was_measured():
    assert guards.haircut(case(gap=Gap(9, 9.0, 9_000.0, 9.0, 9_000.0, 9e6))) == 0.0
    assert guards.haircut(case(gap=Gap(20, 0.0, 0.0, 0.0, 0.0, 0.0))) == 0.0


def test_the_haircut_is_the_gap_a_turn_and_two_errors():
    gap = Gap(10, 10.0, 10_000.0, 10.0, 10_000.0, 1e7)  # one a day on 1,000, exactly
    assert guards.haircut(case(gap=gap)) == 0.001
    spread = Gap(10, 10.0, 10_000.0, 20.0, 10_000.0, 1e7)  # the same mean, sd about 1
    assert guards.haircut(case(gap=spread)) == pytest.approx(
        0.001 + 2.0 * (10.0 * 10 / 9) ** 0.5 / 10_000.0
    )
    kind = Gap(10, -100.0, 10_000.0, 1_000.0, -100_000.0, 1e7)
    assert guards.haircut(case(gap=kind)) == 0.0


def test_the_haircut_falls_on_turnover_above_the_twins():
    gap = Gap(10, 10.0, 10_000.0, 10.0, 10_000.0, 1e7)
    made = case([block(10.0, turnover=3_000.0), block(10.0)], gap=gap)
    assert guards.haircut_differences(made) == pytest.approx([0.001 - 0.0002, 0.001])


def test_live_twin_gap():
    assert not judged(guards.live_twin_gap, case(frozen=True)).verdict
    assert judged(guards.live_twin_gap, case()).verdict


def test_changepoint():
    assert not judged(guards.changepoint, case(alarm_ns=NOW_NS)).verdict
    assert not judged(guards.changepoint, case(alarm_ns=NOW_NS - 2 * DAY_NS)).verdict
    assert judged(guards.changepoint, case(alarm_ns=NOW_NS - 3 * DAY_NS)).verdict
    assert judged(guards.changepoint, case()).verdict


def test_regimes():
    history = tuple(0.01 * k for k in range(1, 31))
    calm = [block(volatility=value) for value in history[:10]]
    mixed = [block(volatility=value) for value in history[5:15]]
    assert judged(guards.regimes, case(calm, volatilities=history)).inputs["low"] == 10.0
    assert not judged(guards.regimes, case(calm, volatilities=history)).verdict
    assert judged(guards.regimes, case(mixed, volatilities=history)).verdict


def test_regimes_count_active_blocks_only():
    history = tuple(0.01 * k for k in range(1, 31))
    mixed = [block(0.0 if k < 10 else 1.0, volatility=history[k]) for k in range(5, 15)]
    assert not judged(guards.regimes, case(mixed, volatilities=history)).verdict


def test_a_market_of_one_volatility_is_divided_by_age():
    made = case([block()] * 20, volatilities=(0.01,) * 20)
    assert judged(guards.regimes, made).verdict


def test_cool_down():
    assert not judged(guards.cool_down, case(changed_ns=NOW_NS - 13 * DAY_NS)).verdict
    assert judged(guards.cool_down, case(changed_ns=NOW_NS - 14 * DAY_NS)).verdict


def test_barred():
    assert not judged(guards.barred, case(barred_until_ns=NOW_NS + 1)).verdict
    assert judged(guards.barred, case(barred_until_ns=NOW_NS)).verdict
    assert judged(guards.barred, case()).verdict


def test_budget_takes_six_charges_of_120_and_no_seventh():
    year = [Charge(NOW_NS - k * DAY_NS, "A~B", 120.0) for k in range(6)]
    assert guards.budget(case(charges=tuple(year[:5]))).verdict
    assert not guards.budget(case(charges=tuple(year))).verdict


def test_budget_is_of_all_pairs_together_and_of_a_trailing_year():
    others = [Charge(NOW_NS, "C~D", 120.0)] * 6
    assert not guards.budget(case(charges=tuple(others))).verdict
    old = [Charge(NOW_NS - 365 * DAY_NS, "C~D", 120.0)] * 6
    assert guards.budget(case(charges=tuple(old))).verdict


def test_a_pair_begins_no_more_than_six_tests_a_year_whatever_the_budget():
    own, other = Charge(NOW_NS, "A~B", 1e6), Charge(NOW_NS, "C~D", 1e6)
    assert guards.tests_of_the_year(case(charges=(own,) * 5 + (other,) * 9)).verdict
    assert not guards.tests_of_the_year(case(charges=(own,) * 6)).verdict
