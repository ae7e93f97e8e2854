"""EVOP as a stage, driven by days of made-up accounts: what it promotes, refuses, takes back."""

import math

import msgspec
import numpy as np
import pytest

from hft_lib.events import (
    Decided,
    DecisionRecorded,
    Event,
    HandedOver,
    Promoted,
    Resumed,
    RolledBack,
    SlotAssigned,
    TimePassed,
)
from hft_lib.evop.guards import Charge
from hft_lib.evop.policy import DAY_NS, Policy
from hft_lib.evop.record import is_equal, recompute
from hft_lib.evop.slots import Test
from hft_lib.parameters import Parameters, parameter_sha256
from hft_lib.stage import restore, snapshot
from hft_lib.stages.orchestrator import STAGE
from tests.hft_lib.evop.world import (
    BETTER,
    FLOOR_QUOTE,
    PAIR,
    START_NS,
    World,
    config,
    decoded,
    noise,
    per_set,
    registered,
    turned_world,
    world,
)


def opened(made: World) -> Test:
    test = made.state.pairs[0].test
    assert test is not None
    return test


# --- the seats ---


def test_first_champion_gets_slot_0_and_the_capital_at_its_own_time():
    made = world(per_set({}), ("bold", 1.5))
    assigned, recorded, promoted = made.facts[:3]
    assert isinstance(assigned, SlotAssigned) and isinstance(promoted, Promoted)
    assert (assigned.slot, assigned.role, assigned.copy_from) == (0, "champion", -1)
    assert (promoted.slot, promoted.generation) == (0, assigned.generation)
    assert assigned.effective_ns == promoted.effective_ns == START_NS
    assert isinstance(recorded, DecisionRecorded) and recorded.kind == "start"
    assert promoted.decision_id == recorded.decision_id


def test_candidates_take_rows_in_order_of_arrival_and_the_rest_queue():
    made = world(per_set({}), ("a", 1.1), ("b", 1.2), ("c", 1.3), challengers_max=2)
    assigned = made.of(SlotAssigned)
    assert [(fact.slot, fact.role, fact.model_version) for fact in assigned] == [
        (0, "champion", "champion"),
        (1, "explorer", "a"),
        (2, "explorer", "b"),
    ]
    assert [event.alias for event in made.state.pairs[0].queue] == ["c"]


def test_a_candidate_before_the_champion_waits_for_it():
    made = World(config(), per_set({}))
    assert made.post(registered("bold", 1.5)) == ()
    made.post(registered("champion", 2.0))
    assert [fact.model_version for fact in made.of(SlotAssigned)] == ["champion", "bold"]


def test_a_set_that_already_runs_or_queues_is_not_seated_twice():
    made = world(per_set({}), ("a", 1.5), ("b", 1.5), ("champion", 2.0))
    assert len(made.of(SlotAssigned)) == 2
    assert made.state.pairs[0].queue == []


def test_slots_version_counts_every_control_fact():
    made = world(BETTER, ("bold", 1.5), ("shy", 2.5)).run(120)
    control = [f for f in made.facts if isinstance(f, SlotAssigned | Promoted | RolledBack)]
    assert [fact.slots_version for fact in control] == list(range(1, len(control) + 1))


def test_a_later_candidate_copies_the_champions_beliefs():
    made = world(per_set({})).run(3)
    made.post(registered("late", 1.5, time_ns=START_NS + 3 * DAY_NS))
    assert made.of(SlotAssigned)[-1].copy_from == 0


# --- tests ---


def test_better_is_promoted_and_the_old_champion_kept_as_predecessor():
    made = world(BETTER, ("bold", 1.5)).run(90)
    start, promoted = made.of(Promoted)
    assert (promoted.slot, promoted.model_version) == (1, "bold")
    (record,) = made.records("promote")
    assert promoted.decision_id == record.decision_id
    end_ns = decoded(record)["case"]["time_ns"]
    assert promoted.effective_ns == end_ns + 5 * 10**9
    assert [slot.role for slot in made.state.pairs[0].slots[:2]] == ["predecessor", "champion"]


def test_promotion_needs_the_minimum_sample_and_the_threshold():
    made = world(per_set({1.5: 200.0}), ("bold", 1.5)).run(60)
    (record,) = made.records("promote")
    verdict = decoded(record)["verdict"]
    assert verdict["evidence"]["active"] == 20
    assert verdict["evidence"]["e"] >= 120.0
    assert [
        decoded(refused)["verdict"]["evidence"]["e"] >= 120.0 for refused in made.records("refuse")
    ]


def test_equal_sets_expire_at_90_days_and_are_never_promoted():
    made = world(per_set({}), ("same", 1.5)).run(200)
    assert len(made.of(Promoted)) == 1
    (record,) = made.records("expire")
    case = decoded(record)["case"]
    assert case["time_ns"] - case["began_ns"] == 90 * DAY_NS
    assert decoded(record)["verdict"]["evidence"]["active"] == 0


def test_a_test_that_reached_3_goes_on_to_180_days():
    made = world(per_set({1.5: 2.5}), ("slow", 1.5)).run(200)
    (record,) = made.records("expire", "promote")
    case = decoded(record)["case"]
    assert (case["time_ns"] - case["began_ns"]) // DAY_NS > 90


def test_worse_is_dropped():
    made = world(per_set({1.5: -8.0}, seed=3), ("worse", 1.5)).run(90)
    (record,) = made.records("drop")
    assert decoded(record)["verdict"]["evidence"]["e"] < 0.15
    assert made.state.pairs[0].slots[1].role == "free"


def test_one_lucky_day_is_not_promoted():
    made = world(lambda day, p: 5_000.0 * (day == 9) * (p.strategy.entry_z == 1.5), ("lucky", 1.5))
    made.run(120)
    assert len(made.of(Promoted)) == 1
    (record,) = made.records("expire")
    assert decoded(record)["verdict"]["evidence"]["e"] == 0.5 * 2 + 0.25 * 1.5 + 0.25 * 1.25


def test_a_loss_beyond_the_bound_of_the_proof_retires_the_challenger():
    made = world(lambda day, p: -51.0 * (day == 9) * (p.strategy.entry_z == 1.5), ("reckless", 1.5))
    made.run(20)
    (record,) = made.records("drop")
    assert decoded(record)["case"]["time_ns"] == START_NS + 10 * DAY_NS


def test_one_test_at_a_time_and_candidates_take_turns():
    made = world(per_set({}), ("a", 1.1), ("b", 1.2), ("c", 1.3)).run(200)
    tested = [decoded(record)["challenger"]["model_version"] for record in made.records("test")]
    assert tested == ["a", "b", "c"]
    begun = [decoded(record)["case"]["began_ns"] for record in made.records("test")]
    assert begun == [START_NS + (1 + 90 * turn) * DAY_NS for turn in range(3)]


def test_no_seventh_test_within_a_year():
    line = world(per_set({1.0 + k / 10: -30.0 for k in range(1, 9)}), challengers_max=4)
    for k in range(1, 9):
        line.post(registered(f"c{k}", 1.0 + k / 10))
    line.run(400)
    begun = [decoded(record)["case"]["began_ns"] for record in line.records("test")]
    assert len(begun) == 8
    assert begun[5] - begun[0] < 60 * DAY_NS
    assert all(begun[k + 6] - begun[k] >= 365 * DAY_NS for k in (0, 1))


def test_evidence_begins_with_the_first_whole_block_after_the_test_begins():
    made = world(per_set({1.5: 1.0}), ("a", 1.5)).run(5)
    blocks = opened(made).blocks
    assert [block.end_ns for block in blocks] == [START_NS + k * DAY_NS for k in (2, 3, 4, 5)]


def test_a_flagged_block_is_added_to_the_next_and_decides_nothing():
    made = world(per_set({1.5: 1.0}), ("a", 1.5))
    made.flagged = lambda day: day in (3, 4)
    answer = made.run(5).facts[-1:]
    assert [type(fact) for fact in answer] == [Decided]
    made.run(1)
    changes = [block.change_quote for block in opened(made).blocks]
    assert changes == [1.0, 1.0, 3.0]
    assert opened(made).blocks[-1].cost_quote == pytest.approx(0.6)


def test_a_flagged_day_that_was_not_whole_spoils_the_sum_with_the_next():
    made = world(per_set({1.5: 1.0}), ("a", 1.5)).run(1)
    made.running[PAIR, 1] = msgspec.structs.replace(made.running[PAIR, 1], warmup_s=2 * 86_400.0)
    made.flagged = lambda day: day == 1
    made.run(3)
    assert [block.end_ns for block in opened(made).blocks] == [START_NS + 4 * DAY_NS]


def test_a_test_opened_on_day_1_takes_no_block_of_a_slot_still_warming():
    made = world(per_set({1.5: 1.0}), ("a", 1.5)).run(1)
    made.running[PAIR, 1] = msgspec.structs.replace(made.running[PAIR, 1], warmup_s=2 * 86_400.0)
    made.run(3)
    assert [block.end_ns for block in opened(made).blocks] == [
        START_NS + 3 * DAY_NS,
        START_NS + 4 * DAY_NS,
    ]


def test_a_block_of_another_generation_is_no_evidence():
    made = world(per_set({1.5: 1.0}), ("a", 1.5)).run(3)
    made.running[PAIR, 1] = msgspec.structs.replace(made.running[PAIR, 1], generation=9)
    before = len(opened(made).blocks)
    made.run(3)
    assert len(opened(made).blocks) == before


def test_a_block_in_which_the_capital_followed_another_slot_is_no_evidence():
    made = world(per_set({1.5: 1.0}), ("a", 1.5)).run(3)
    made.capital[PAIR] = (1, 0)
    before = len(opened(made).blocks)
    made.run(3)
    assert len(opened(made).blocks) == before


def test_a_refusal_is_written_once_a_reason():
    made = world(per_set({1.5: 30.0}), ("bold", 1.5))
    made.alarm = lambda day: 15 <= day < 40
    made.run(60)
    reasons = [decoded(record)["reason"] for record in made.records("refuse")]
    assert len(reasons) == len(set(reasons))
    assert any("changepoint" in reason for reason in reasons)
    (promoted,) = made.records("promote")
    assert (
        decoded(promoted)["case"]["time_ns"] == START_NS + 43 * DAY_NS
    )  # 3 d after the last alarm


def test_after_a_promotion_the_next_evidence_is_against_the_new_champion():
    made = world(BETTER, ("bold", 1.5), ("shy", 2.5))
    while len(made.of(Promoted)) < 2:
        made.run(1)
    promoted = made.run(3).of(Promoted)[1]
    test = opened(made)
    assert test.slot == 2
    assert all(block.end_ns - DAY_NS >= promoted.effective_ns for block in test.blocks)
    assert test.blocks[0].end_ns - DAY_NS == promoted.effective_ns - 5 * 10**9 + DAY_NS


# --- back ---


def test_a_champion_that_turns_is_rolled_back_and_the_pair_of_sets_barred():
    made = turned_world().run(80)
    (record,) = made.records("rollback")
    (back,) = made.of(RolledBack)
    assert (back.slot, back.model_version, back.decision_id) == (0, "champion", record.decision_id)
    verdict = decoded(record)["verdict"]
    assert verdict["evidence"]["e"] >= 10.0 and verdict["evidence"]["active"] >= 10
    pair = made.state.pairs[0]
    assert [slot.role for slot in pair.slots[:2]] == ["champion", "free"]
    (until_ns,) = pair.barred.values()
    assert until_ns == decoded(record)["case"]["time_ns"] + 90 * DAY_NS


def test_a_barred_set_gets_no_test_until_its_bar_ends():
    made = turned_world().run(80)
    made.post(registered("turncoat", 1.5, time_ns=START_NS + 80 * DAY_NS))
    until_ns = max(made.state.pairs[0].barred.values())
    made.run(60)
    begun = [
        decoded(record)["case"]["began_ns"]
        for record in made.records("test")
        if decoded(record)["challenger"]["model_version"] == "turncoat"
    ]
    assert begun[1:] == [until_ns] and until_ns > START_NS + 100 * DAY_NS


def test_a_hard_loss_rolls_back_before_the_e_process_may():
    made = world(
        lambda day, p: (30.0 if day < 22 else -49.0) * (p.strategy.entry_z == 1.5), ("t", 1.5)
    ).run(40)
    (record,) = made.records("rollback")
    assert decoded(record)["verdict"]["evidence"]["active"] < 10
    assert "s0" in decoded(record)["reason"]


def test_the_predecessor_is_released_after_90_days():
    made = world(BETTER, ("bold", 1.5)).run(60)
    assert made.state.pairs[0].slots[0].role == "predecessor"
    made.run(120)
    assert made.state.pairs[0].slots[0].role == "free"
    assert not made.of(RolledBack)


# --- the live account ---


def test_a_live_gap_freezes_promotions_and_voids_the_test_until_resumed():
    made = world(per_set({1.5: 12.0}), ("bold", 1.5))
    made.live_gap = 6.0
    made.run(60)
    assert len(made.records("freeze")) == 1 and len(made.of(Promoted)) == 1
    assert made.state.pairs[0].test is None
    made.live_gap = 0.0
    assert not made.post(Resumed(START_NS + 60 * DAY_NS, "", "host", "the latch says run"))
    (thaw,) = made.post(Resumed(START_NS + 60 * DAY_NS, PAIR, "ada", "fills refitted"))
    assert isinstance(thaw, DecisionRecorded)
    assert (decoded(thaw)["operator"], decoded(thaw)["reason_given"]) == ("ada", "fills refitted")
    again = Resumed(START_NS + 60 * DAY_NS, PAIR, "ada", "once more")
    assert not made.post(again), "what is not frozen does not thaw"
    made.run(60)
    assert [fact.model_version for fact in made.of(Promoted)] == ["champion", "bold"]


def test_a_hand_over_closes_the_decision_with_its_cost():
    made = world(BETTER, ("bold", 1.5)).run(90)
    last = decoded(made.records("handover")[-1])
    assert last["handover_cost_quote"] == 1.5
    assert last["reason"] == f"closes {made.of(Promoted)[-1].decision_id}"


def test_after_a_promotion_the_gap_is_not_counted_before_the_hand_over():
    made = world(BETTER, ("bold", 1.5))
    made.hand_over = False
    while len(made.of(Promoted)) < 2:
        made.run(1)
    made.live_gap = 50.0
    made.run(30)
    assert not made.records("freeze") and not made.state.pairs[0].gap_blocks
    promoted = made.of(Promoted)[1]
    when_ns = START_NS + made.day * DAY_NS + DAY_NS // 2
    made.post(HandedOver(when_ns, PAIR, promoted.slot, promoted.generation, when_ns, 0.0, False))
    made.run(1)
    assert not made.state.pairs[0].gap_blocks  # the day of the hand-over is not whole
    made.run(30)
    assert len(made.records("freeze")) == 1


# --- the design ---

UNITS = {"strategy.entry_z": 0.3, "strategy.risk_fraction": 0.5}


def hill(day: int, params: Parameters) -> float:
    """Earns more the lower the entry, with noise common to all and a little of each set's own."""
    common = FLOOR_QUOTE * float(np.random.default_rng((5, day)).standard_normal())
    return (
        30.0 * (2.0 - params.strategy.entry_z)
        + common
        + 0.2 * noise(7, day, params.strategy.entry_z)
    )


def test_explorers_stand_at_the_radius_along_the_axes_first():
    made = world(hill, units=UNITS).run(1)
    explorers = [fact for fact in made.of(SlotAssigned) if fact.role == "explorer"]
    assert [fact.slot for fact in explorers] == [1, 2]
    assert explorers[0].parameters.strategy.entry_z == 2.0 + 0.5 * 0.3
    assert explorers[1].parameters.strategy.risk_fraction == pytest.approx(0.001 * math.exp(0.25))
    assert all(fact.model_version == "" for fact in explorers)
    assert all(fact.parameters_sha256 == parameter_sha256(fact.parameters) for fact in explorers)


def test_the_design_finds_the_uphill_step_tests_it_and_promotes_it():
    made = world(hill, units=UNITS).run(120)
    tested = [fact for fact in made.of(SlotAssigned) if fact.role == "test"]
    assert tested[0].parameters.strategy.entry_z < 1.9
    assert tested[0].effective_ns == START_NS + 31 * DAY_NS + 5 * 10**9
    assert made.of(Promoted)[1].slot == tested[0].slot
    record = decoded(made.records("promote")[0])
    assert record["design_after"]["radius"] == pytest.approx(0.65)
    assert record["lesson"]["days"] >= 10


def test_candidates_come_before_generated_sets_and_explorers_leave_a_row_for_the_test():
    made = world(hill, ("a", 1.5), ("b", 1.6), units=UNITS, challengers_max=4).run(1)
    roles = [(slot.role, slot.alias) for slot in made.state.pairs[0].slots]
    assert roles == [
        ("champion", "champion"),
        ("test", "a"),
        ("explorer", "b"),
        ("explorer", ""),
        ("free", ""),
        ("free", ""),
    ]


def test_an_unknown_unit_is_refused_with_its_name():
    with pytest.raises(ValueError, match="strategy.nonsense"):
        STAGE.start(config(units={"strategy.nonsense": 1.0}))


# --- the stage ---


def test_every_block_is_answered_with_decided_last():
    made = world(BETTER, ("bold", 1.5), units=UNITS)
    for day in range(60):
        answer = made.post(made.block(PAIR, day))
        assert isinstance(answer[-1], Decided)
        assert answer[-1].block_end_ns == START_NS + (day + 1) * DAY_NS
        assert sum(isinstance(fact, Decided) for fact in answer) == 1


def test_a_block_that_comes_twice_decides_once():
    made = world(BETTER, ("bold", 1.5)).run(30)
    before = snapshot(msgspec.structs.replace(made.state, inbox_offset=0))
    assert [type(fact) for fact in made.post(made.block(PAIR, 29))] == [Decided]
    assert snapshot(msgspec.structs.replace(made.state, inbox_offset=0)) == before


def test_every_fact_has_a_route():
    made = turned_world().run(80)
    assert {type(fact) for fact in made.facts} <= set(STAGE.routes)


def test_facts_it_has_no_use_for_change_nothing_but_the_offset():
    made = world(BETTER).run(1)
    assert made.post(TimePassed(START_NS)) == ()
    assert made.post(registered("x", 1.0, pair="OTHER~PAIR")) == ()


@pytest.mark.parametrize("units", [None, UNITS], ids=["candidates", "design"])
def test_restart_equals_uninterrupted_at_every_event(units):
    made = world(hill, ("bold", 1.5), ("shy", 2.5), units=units).run(100)
    facts: list[Event] = []
    straight: list[Event] = []
    state = STAGE.start(config(units=units))
    for event in made.inbox:
        state = restore(STAGE, snapshot(state))
        facts.extend(STAGE.step(state, event))
    again = STAGE.start(config(units=units))
    for event in made.inbox:
        straight.extend(STAGE.step(again, event))
    assert facts == straight
    assert snapshot(state) == snapshot(again)
    assert len(made.of(Promoted)) > 1


@pytest.mark.parametrize("make", [turned_world, lambda: world(hill, units=UNITS)])
def test_every_record_recomputes_to_the_last_bit(make):
    made = make().run(120)
    records = [decoded(fact) for fact in made.records()]
    assert {"start", "test", "promote", "handover"} <= {record["kind"] for record in records}
    assert all(is_equal(record) for record in records)
    assert [record["number"] for record in records] == list(range(1, len(records) + 1))


def test_a_doctored_record_does_not_recompute():
    record = decoded(world(BETTER, ("bold", 1.5)).run(90).records("promote")[0])
    assert recompute(record)["verdict"]["decision"] == "promote"
    record["case"]["blocks"][3][1] += 1e-9
    assert not is_equal(record)


# --- several pairs ---

PAIRS = ("A/USDT~B/USDT", "C/USDT~D/USDT")


def two_pairs(alpha: float) -> World:
    line = msgspec.structs.replace(config(*PAIRS), policy=Policy(alpha=alpha, tests_a_year=6))
    made = World(line, per_set({}))
    for pair in PAIRS:
        made.post(registered("champion", 2.0, pair))
        for k in range(4):
            made.post(registered(f"c{k}", 1.1 + k / 10, pair))
    return made


def test_with_two_pairs_a_test_is_charged_half():
    made = two_pairs(0.05).run(2)
    cases = [decoded(record)["case"] for record in made.records("test")]
    assert [case["threshold"] for case in cases] == [240.0, 240.0]
    assert [case["pair"] for case in cases] == list(PAIRS)


@pytest.mark.parametrize("order", [PAIRS, PAIRS[::-1]], ids=["in order", "reversed"])
def test_the_last_test_of_the_budget_goes_to_the_first_pair_whatever_comes_first(order):
    made = two_pairs(0.05)
    made.state.charges = [
        Charge(START_NS, "OLD/USDT~X/USDT", 1.0 / 0.045)
    ]  # 0.005: room for one of 1/240
    for pair in order:
        made.post(made.block(pair, 0))
    for pair in order:
        made.post(made.block(pair, 1))
    tested = [decoded(record)["pair"] for record in made.records("test")]
    assert tested == [PAIRS[0]]
