"""EVOP in figures: what Prometheus is told is what the stage holds."""

from collections import Counter

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from hft_lib.events import DecisionRecorded
from hft_lib.evop.slots import FREE
from serving.orchestrator.decisions import Latest
from serving.orchestrator.figures import KINDS, EvopFigures
from serving.orchestrator.gathering import Gatherer
from tests.hft_lib.evop.world import PAIR
from tests.serving.orchestrator.board import Board, world_with_test

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(gatherer: Gatherer) -> Samples:
    registry = CollectorRegistry()
    registry.register(EvopFigures(gatherer))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_evidence_roles_and_budget_are_those_of_the_state():
    made = world_with_test()
    pair = made.state.pairs[0]
    shown = samples(Board(made).gatherer)
    assert pair.test is not None and pair.test.e != 1.0
    assert shown[of("hft_evop_evidence", pair=PAIR)] == pair.test.e
    assert shown[of("hft_evop_evidence_threshold", pair=PAIR)] == pair.test.threshold
    assert shown[of("hft_evop_frozen", pair=PAIR)] == 0.0
    assert shown[of("hft_evop_waiting", pair=PAIR)] == 1.0
    assert shown[of("hft_evop_block_end_timestamp_seconds", pair=PAIR)] == pair.block_end_ns / 1e9
    assert shown[of("hft_evop_alpha")] == made.state.policy.alpha > 0.0
    roles = {key for key in shown if key[0] == "hft_evop_slot"}
    rows = [slot for slot in pair.slots if slot.role != FREE]
    assert roles == {
        of("hft_evop_slot", pair=PAIR, slot=str(slot.slot), role=slot.role) for slot in rows
    }


def test_decisions_are_counted_by_kind_and_every_kind_begins_at_zero():
    made = world_with_test(60)
    kinds = Counter(fact.kind for fact in made.facts if isinstance(fact, DecisionRecorded))
    shown = samples(Board(made).gatherer)
    assert kinds["promote"] > 0 and set(kinds) <= set(KINDS)
    for kind in KINDS:
        assert shown[of("hft_decisions_total", kind=kind)] == kinds[kind]


def test_a_frozen_pair_is_told_and_has_no_evidence():
    made = world_with_test()
    made.state.pairs[0].frozen, made.state.pairs[0].test = True, None
    shown = samples(Board(made).gatherer)
    assert shown[of("hft_evop_frozen", pair=PAIR)] == 1.0
    assert of("hft_evop_evidence", pair=PAIR) not in shown


def test_before_the_first_look_there_are_zero_decisions_of_every_kind():
    board = Board()
    fresh = Gatherer(board, board, Latest())
    assert samples(fresh) == {of("hft_decisions_total", kind=kind): 0.0 for kind in KINDS}
