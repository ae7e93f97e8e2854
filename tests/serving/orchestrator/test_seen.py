"""The copy of EVOP's state that the page is made of."""

from hft_lib.evop.policy import DAY_NS
from hft_lib.evop.record import judge
from hft_lib.evop.slots import FREE
from serving.orchestrator.seen import look
from tests.hft_lib.evop.world import PAIR, World, config, per_set
from tests.serving.orchestrator.board import world_with_test


def test_every_slot_that_is_not_free_is_seen_with_its_set():
    made = world_with_test()
    pair = made.state.pairs[0]
    (seen,) = look(made.state).pairs
    rows = [slot for slot in pair.slots if slot.role != FREE]
    assert [slot.slot for slot in seen.slots] == [slot.slot for slot in rows]
    for one, slot in zip(seen.slots, rows, strict=True):
        assert (one.role, one.generation) == (slot.role, slot.generation)
        assert one.parameters_sha256 == slot.parameters_sha256
        assert slot.parameters is not None
        warmup_s = slot.parameters.strategy.warmup_s
        assert one.warm_ns - one.effective_ns == round(warmup_s * 1e9) > 0
    champion, bold = seen.slots[:2]
    assert champion.apart == "" and bold.apart == "entry z 1.5"
    assert bold.name == "bold (slot 1, vbold)"


def test_the_test_is_judged_as_the_stage_judged_it_at_the_last_block():
    made = world_with_test()
    pair = made.state.pairs[0]
    (seen,) = look(made.state).pairs
    assert seen.test is not None and pair.test is not None
    verdict = judge(seen.test.case)
    assert verdict.e == pair.test.e != 1.0
    assert verdict.decision == "continue"
    assert seen.test.case.time_ns == seen.block_end_ns == pair.block_end_ns
    assert len(seen.test.case.blocks) == 13


def test_what_was_seen_does_not_change_while_the_stage_steps_on():
    made = world_with_test()
    seen = look(made.state)
    (pair,) = seen.pairs
    assert pair.test is not None
    before = pair.test.case, pair.slots, seen.decisions, pair.block_end_ns
    made.run(60)
    assert before == (pair.test.case, pair.slots, seen.decisions, pair.block_end_ns)
    assert look(made.state).pairs[0].block_end_ns == pair.block_end_ns + 60 * DAY_NS


def test_a_line_that_was_just_started_has_pairs_without_slots():
    made = World(config(PAIR, "SOL/USDT~BTC/USDT"), per_set({}))
    seen = look(made.state)
    assert [pair.pair for pair in seen.pairs] == [PAIR, "SOL/USDT~BTC/USDT"]
    assert all(pair.slots == () and pair.test is None for pair in seen.pairs)
    assert (seen.decisions, seen.spent) == (0, 0)


def test_the_year_is_charged_what_its_tests_cost():
    seen = look(world_with_test(60).state)
    assert seen.spent == 2 / 120.0
    assert seen.alpha == 0.05
