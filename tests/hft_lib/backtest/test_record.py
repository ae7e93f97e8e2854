import numpy as np
import pytest

from hft_lib.backtest.record import RunRecord
from hft_lib.events import DecisionRecorded
from hft_lib.parameters import parameter_sha256
from tests.hft_lib.backtest.made_run import (
    CHAMPION,
    PAIR,
    START_NS,
    facts_of,
    record_of,
    rejections,
)


@pytest.fixture(scope="module")
def record() -> RunRecord:
    return record_of(facts_of(8) + rejections())


def test_marks_are_columns_in_order_of_time(record):
    marks = record.marks
    assert marks.time_ns.size == 8 * 24 and (np.diff(marks.time_ns) > 0).all()
    assert marks.equities_quote.shape == (8 * 24, 5)
    assert marks.capital_quote.tolist() == marks.equities_quote[:, -1].tolist()


def test_facts_of_another_pair_are_passed_over():
    other = record_of(facts_of(2), pair="ETH/USDT:USDT~ETH/USDT")
    assert other.marks.time_ns.size == 0 and other.fills == () and other.blocks == ()


def test_rejections_are_grouped_by_reason_with_the_first_example(record):
    assert [(r.reason, r.count) for r in record.rejects[:1]] == [("DUPLICATE", 41)]
    assert {r.reason for r in record.rejects} == {"DUPLICATE", "CROSSED", "NO_BORROW"}
    assert record.rejects[0].first_detail == "<update> 17 again"


def test_a_decision_of_another_version_is_kept_without_its_record():
    strange = DecisionRecorded(START_NS, PAIR, "evop-1", "promote", '{"version": 99}')
    decisions = record_of([strange]).decisions
    assert [(d.kind, d.record) for d in decisions] == [("promote", None)]


def test_sets_are_named_by_their_hash(record):
    assert record.names[parameter_sha256(CHAMPION)] == "champion"


def test_of_equal_sets_the_first_name_counts():
    record = record_of([], params={"champion": CHAMPION, "lucky": CHAMPION})
    assert list(record.names.values()) == ["champion"]


def test_the_currency_is_the_quote_of_the_first_leg(record):
    assert record.currency == "USDT"


def test_a_run_without_facts_takes_its_times_from_the_tape():
    empty = record_of([])
    assert (empty.start_ns, empty.end_ns) == (empty.tape.start_ns, empty.tape.end_ns)
