"""The latest decisions: those just made, and those that a ledger holds."""

import threading

import msgspec
import pytest

from hft_lib.events import DecisionRecorded
from hft_lib.evop.telling import line_of
from serving.orchestrator.decisions import LATEST_MAX, Latest, Unknown
from tests.serving.orchestrator.board import world_with_test

MADE = [fact for fact in world_with_test(200).facts if isinstance(fact, DecisionRecorded)]


def numbered(number: int) -> DecisionRecorded:
    """A decision with another number."""
    record = msgspec.json.decode(MADE[0].record) | {"number": number}
    return msgspec.structs.replace(MADE[0], record=msgspec.json.encode(record).decode())


def numbers(latest: Latest, decisions: int) -> list[int]:
    return [line["number"] for line in latest.lines(decisions)]


def test_each_is_told_as_the_verb_tells_it_newest_first():
    latest = Latest()
    for fact in MADE:
        latest.made(fact)
    lines = latest.lines(len(MADE))
    assert len(lines) == len(MADE) > 3 and latest.why == ""
    for line, fact in zip(lines, reversed(MADE), strict=True):
        told = line_of(msgspec.json.decode(fact.record))
        assert {name: line[name] for name in told} == told


def test_facts_of_another_kind_are_no_decisions():
    latest = Latest()
    for fact in world_with_test().facts:
        latest.made(fact)
    assert numbers(latest, 2) == [2, 1]


def test_no_more_than_the_last_are_kept():
    latest = Latest()
    for number in range(1, 2 * LATEST_MAX + 1):
        latest.made(numbered(number))
        assert len(latest.lines(number)) == min(number, LATEST_MAX)
    assert numbers(latest, 2 * LATEST_MAX) == list(range(2 * LATEST_MAX, LATEST_MAX, -1))


def test_what_was_decided_before_a_restart_comes_from_the_ledger_once():
    asked = []

    def older(last: int) -> list[str]:
        asked.append(last)
        return [numbered(number).record for number in range(1, 31)]

    latest = Latest(older)
    latest.made(numbered(31))
    assert numbers(latest, 31) == list(range(31, 11, -1))
    assert numbers(latest, 31) == list(range(31, 11, -1))
    assert asked == [LATEST_MAX] and latest.why == ""


def test_a_ledger_that_is_behind_is_asked_again():
    held = [1]
    latest = Latest(lambda last: [numbered(number).record for number in held])
    assert numbers(latest, 3) == [1] and latest.why == "the ledger does not hold them yet"
    held += [2, 3]
    assert numbers(latest, 3) == [3, 2, 1] and latest.why == ""


def test_a_ledger_that_does_not_answer_is_asked_once_and_holds_up_nobody():
    answers, asked = threading.Event(), []

    def older(last: int) -> list[str]:
        asked.append(last)
        assert answers.wait(60.0)
        return [numbered(1).record]

    latest = Latest(older)
    latest.made(numbered(2))
    for _ in range(3):
        assert numbers(latest, 2) == [2] and latest.why == "the ledger does not answer"
    answers.set()
    while numbers(latest, 2) == [2]:
        assert len(asked) == 1
    assert numbers(latest, 2) == [2, 1] and latest.why == ""


@pytest.mark.parametrize("with_ledger", [True, False])
def test_without_a_ledger_that_answers_it_says_why_some_are_missing(with_ledger: bool):
    def away(last: int) -> list[str]:
        raise Unknown("the database is away")

    latest = Latest(away if with_ledger else None)
    latest.made(numbered(2))
    assert numbers(latest, 2) == [2]
    why = "the database is away" if with_ledger else "they were made before this process began"
    assert latest.why.startswith(why)
