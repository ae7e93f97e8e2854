"""What operators ask of EVOP: who takes the capital, what is refused, what is written down."""

from typing import Any

import msgspec
import pytest

from hft_lib.events import DecisionRecorded, Event, MoveAsked, Promoted, RolledBack
from hft_lib.evop.policy import DAY_NS
from hft_lib.evop.record import is_equal, recompute
from hft_lib.stage import replay, restore, snapshot
from hft_lib.stages.orchestrator import STAGE
from tests.hft_lib.evop.world import (
    PAIR,
    START_NS,
    World,
    decoded,
    per_set,
    registered,
    turned_world,
    world,
)

LEAD_NS = 5 * 10**9
HOUR_NS = 3_600 * 10**9


def asked(made: World, wanted: str = "", move: str = "promote", word_ns: int = 1) -> MoveAsked:
    """An operator's word at noon of the day that is under way."""
    time_ns = START_NS + made.day * DAY_NS + DAY_NS // 2
    return MoveAsked(time_ns, PAIR, move, wanted, "ada", "the venue changed its fees", word_ns)


def ask(made: World, wanted: str = "", move: str = "promote", word_ns: int = 1) -> dict[str, Any]:
    """The record of what a word comes to."""
    answer = made.post(asked(made, wanted, move, word_ns))
    (record,) = (fact for fact in answer if isinstance(fact, DecisionRecorded))
    return decoded(record)


def moves(made: World) -> list[Event]:
    return [fact for fact in made.facts if isinstance(fact, Promoted | RolledBack)]


def roles(made: World) -> list[str]:
    return [slot.role for slot in made.state.pairs[0].slots]


def two_days(*others: tuple[str, float]) -> World:
    return world(per_set({}), ("bold", 1.5), *others).run(2)


# --- what is done ---


def test_a_set_that_waits_takes_the_capital_at_the_moment_of_the_word_and_the_old_one_stays():
    made = two_days(("calm", 1.6))
    record = ask(made, "calm")
    promoted = made.of(Promoted)[-1]
    assert (promoted.slot, promoted.model_version) == (2, "calm")
    assert promoted.effective_ns == START_NS + 2 * DAY_NS + DAY_NS // 2
    assert promoted.decision_id == record["decision_id"]
    assert roles(made)[:3] == ["predecessor", "explorer", "champion"]
    assert made.state.pairs[0].test is None, "the open test was against a champion that is gone"
    assert (record["kind"], record["operator"]) == ("promote", "ada")
    assert record["reason_given"] == "the venue changed its fees"
    assert record["reason"] == "asked for by an operator, over evidence"


@pytest.mark.parametrize("wanted", ["bold", "challenger-bold", "HASH"])
def test_a_set_is_named_by_version_or_name_or_hash(wanted: str):
    made = two_days()
    row = made.state.pairs[0].slots[1]
    row.model_version = "7"
    ask(made, row.parameters_sha256[:8] if wanted == "HASH" else wanted)
    assert made.of(Promoted)[-1].slot == 1
    again = two_days()
    again.state.pairs[0].slots[1].model_version = "7"
    ask(again, "7")
    assert again.of(Promoted)[-1].model_version == "7"


def test_the_record_of_a_set_under_test_shows_what_the_evidence_says_and_is_overridden():
    made = world(per_set({1.5: 6.0}, seed=3), ("bold", 1.5)).run(12)
    test = made.state.pairs[0].test
    assert test is not None
    blocks = len(test.blocks)
    record = ask(made, "bold")
    assert record["verdict"]["evidence"]["blocks"] == blocks > 5
    assert "minimum_sample" in record["reason"] and "evidence" in record["reason"]
    held = {guard["name"]: guard["verdict"] for guard in record["verdict"]["guards"]}
    assert held["seated"] and held["warm"] and held["barred"] and not held["minimum_sample"]
    assert record["test_number"] == 1


def test_the_predecessor_takes_the_capital_back_and_the_two_sets_are_barred():
    made = two_days()
    ask(made, "bold")
    made.run(1)
    record = ask(made, move="rollback", word_ns=2)
    back = made.of(RolledBack)[-1]
    assert (back.slot, back.model_version, record["kind"]) == (0, "champion", "rollback")
    assert roles(made)[:2] == ["champion", "free"]
    assert list(made.state.pairs[0].barred.values()) == [back.effective_ns + 90 * DAY_NS]


def test_evidence_begins_again_after_a_move_by_hand_and_takes_it_back_if_it_was_wrong():
    def gain(day: int, params: Any) -> float:
        return -14.0 * (params.strategy.entry_z == 1.5)

    made = world(gain, ("bad", 1.5)).run(2)
    ask(made, "bad")
    made.run(60)
    (record,) = made.records("rollback")
    assert decoded(record)["operator"] == "" and made.of(RolledBack)[-1].model_version == "champion"


# --- what is refused ---


def refused(made: World, wanted: str = "", move: str = "promote") -> str:
    """Why a word is refused: nothing moves, and the record says so."""
    before, held = len(moves(made)), roles(made)
    record = ask(made, wanted, move)
    assert record["kind"] == "refuse" and record["operator"] == "ada"
    assert len(moves(made)) == before and roles(made) == held
    reason: str = record["reason"]
    return reason


def test_what_runs_in_no_slot_is_refused():
    assert refused(two_days(), "9") == "9 runs in no slot of the pair"
    assert "runs in no slot" in refused(two_days(), "champ")
    assert "runs in no slot" in refused(two_days(), "")
    made = world(per_set({}), ("a", 1.1), ("b", 1.2), ("c", 1.3), challengers_max=2).run(2)
    assert "runs in no slot" in refused(made, "c"), "it waits for a row"


def test_a_set_that_warms_is_refused_until_it_is_warm():
    made = two_days()
    late = registered("late", 1.7, time_ns=START_NS + 2 * DAY_NS + LEAD_NS)
    strategy = msgspec.structs.replace(late.parameters.strategy, warmup_s=2 * 86_400.0)
    parameters = msgspec.structs.replace(late.parameters, strategy=strategy)
    late = msgspec.structs.replace(late, parameters=parameters)
    made.post(late)
    assert refused(made, "late") == "its models are warming"
    made.run(2)
    assert ask(made, "late", word_ns=2)["kind"] == "promote"


def test_the_champion_and_the_predecessor_are_told_apart_from_strangers():
    made = two_days()
    version = made.state.pairs[0].slots[0].parameters_sha256[:10]
    assert refused(made, version) == f"{version} is the champion already"
    ask(made, "bold", word_ns=2)
    record = ask(made, version, word_ns=3)
    assert "is the predecessor, which a rollback gives the capital back" in record["reason"]


def test_there_is_no_way_back_without_a_predecessor():
    assert refused(two_days(), move="rollback") == "the pair has no predecessor to go back to"


def test_frozen_and_barred_pairs_are_refused_a_promotion_and_not_the_way_back():
    made = two_days()
    made.state.pairs[0].frozen = True
    assert "frozen until the pair is resumed" in refused(made, "bold")
    made.state.pairs[0].frozen = False
    ask(made, "bold", word_ns=2)
    made.state.pairs[0].frozen = True
    assert ask(made, move="rollback", word_ns=3)["kind"] == "rollback"
    made.state.pairs[0].frozen = False
    made.post(registered("bold", 1.5, time_ns=START_NS + 2 * DAY_NS + LEAD_NS))
    made.run(1)
    assert "these two sets changed places" in ask(made, "bold", word_ns=4)["reason"]


def test_without_a_champion_nothing_moves():
    made = World(world(per_set({})).line, per_set({}))
    assert refused(made, "bold") == "bold runs in no slot of the pair"


# --- once, and again ---


def test_a_word_is_answered_once_and_an_older_one_not_at_all():
    made = two_days(("calm", 1.6))
    ask(made, "bold", word_ns=5)
    assert made.post(asked(made, "calm", word_ns=5)) == ()
    assert made.post(asked(made, "calm", word_ns=4)) == ()
    restored = restore(STAGE, snapshot(made.state))
    assert STAGE.step(restored, asked(made, "calm", word_ns=5)) == ()


def test_a_word_of_before_the_last_block_acts_when_what_was_decided_then_does():
    made = two_days()
    early = msgspec.structs.replace(asked(made, "bold"), time_ns=START_NS + HOUR_NS)
    made.post(early)
    assert made.of(Promoted)[-1].effective_ns == START_NS + 2 * DAY_NS + LEAD_NS


def test_every_answer_is_recomputed_from_its_record_and_from_the_inbox():
    made = turned_world(("calm", 1.6)).run(9)
    for number, (wanted, move) in enumerate(
        [("9", "promote"), ("calm", "promote"), ("", "rollback"), ("", "rollback")], start=1
    ):
        ask(made, wanted, move, word_ns=number)
    made.run(3)
    by_hand = [one for fact in made.records() if (one := decoded(fact))["operator"]]
    assert [one["kind"] for one in by_hand] == ["refuse", "promote", "rollback", "refuse"]
    assert all(is_equal(one) for one in by_hand)
    assert list(replay(STAGE, made.line, made.inbox)) == made.facts
    forged = by_hand[0] | {"kind": "promote"}
    assert not is_equal(forged)
    lighter = msgspec.json.decode(msgspec.json.encode(by_hand[1]))
    lighter["case"]["asked"]["warm_ns"] += 400 * DAY_NS
    assert recompute(lighter)["verdict"]["decision"] == "refuse" and not is_equal(lighter)


def test_records_of_evidence_say_nothing_of_operators():
    made = turned_world().run(30)
    assert all("asked" not in decoded(fact)["case"] for fact in made.records())
