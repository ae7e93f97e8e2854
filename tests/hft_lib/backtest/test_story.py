"""A run told as steps, from facts that the real EVOP made: what did not happen is not told."""

import re
from datetime import UTC, datetime

import pytest

from hft_lib.backtest.record import RunRecord
from hft_lib.backtest.report import render
from hft_lib.backtest.report.evidence import watches
from hft_lib.backtest.story import Cast, Step, Turn, served, story
from hft_lib.plots import Moment
from hft_lib.plots.words import number
from tests.hft_lib.backtest.made_run import DAY_NS, START_NS, Run, facts_of, record_of

CAST = Cast(bad="hasty", better="patient", lucky="patient")
TURN_DAY = 27
TURN = Turn("market_turned", START_NS + TURN_DAY * DAY_NS, "The market turns", "It turned.")
NOW = datetime(2025, 11, 24, tzinfo=UTC)


class Turning(Run):
    """`patient` gains until the turn, and loses from then on."""

    def hour(self, i: int, time_ns: int) -> None:
        if time_ns >= TURN.time_ns:
            self.bonus = -abs(self.bonus)
        super().hour(i, time_ns)


@pytest.fixture(scope="module")
def turned() -> RunRecord:
    facts = Turning(80, 5, 90.0, True).make()
    return record_of(facts, turns=(Moment(TURN.time_ns, "turn", low=True),))


def told(record: RunRecord) -> list[Step]:
    first = served(record)
    assert first is not None
    return story(record, CAST, [first], [TURN])


def test_a_set_whose_edge_ends_is_promoted_and_rolled_back(turned):
    steps = told(turned)
    assert [step.name for step in steps] == [
        "served",
        "better_promoted",
        "lucky_promoted",
        "predecessor_in_shadow",
        "market_turned",
        "lucky_rolled_back",
    ]
    assert [step.time_ns for step in steps] == sorted(step.time_ns for step in steps)


def test_each_step_names_the_decision_that_it_was(turned):
    records = {each.record.number: each for each in turned.decisions if each.record}
    for step in told(turned):
        if step.name in ("better_promoted", "lucky_rolled_back"):
            assert step.number is not None
            decision = records[step.number]
            assert decision.time_ns == step.time_ns
            assert decision.kind in ("promote", "rollback")
            assert step.evidence.startswith(f"e = {number(decision.record.verdict.e, 3)},")


def test_the_predecessor_is_told_from_the_days_that_it_traded(turned):
    shadow = next(step for step in told(turned) if step.name == "predecessor_in_shadow")
    assert "keeps slot 0" in shadow.text and "until the capital moved again" in shadow.text


def test_what_did_not_happen_is_not_told():
    quiet = record_of(facts_of(10))
    assert [step.name for step in told(quiet)] == ["served", "market_turned"]
    assert [step.name for step in story(quiet, CAST, [], [])] == []


def test_the_report_tells_the_story_and_draws_what_led_back(turned):
    page = render(turned, NOW, told(turned))
    section = page.split('<h2 id="story">')[1].split("</section>")[0]
    assert "is rolled back to <code>champion</code>" in section
    assert 'href="#evidence"' in section and 'id="evidence"' in page
    assert "Dashed: the predecessor <code>champion</code>" in page
    (path,) = watches(turned)
    back = next(each.record for each in turned.decisions if each.kind == "rollback")
    assert path.watch and path.e[-1] == pytest.approx(back.verdict.e)
    for name in ("equity", "evidence", "spread"):
        drawn = page.split(f'<figure id="{name}">')[1].split("</figure>")[0]
        assert len(re.findall(r">\s*turn\s*<", drawn)) == 2, "on a wide page and on a phone"


def test_a_run_without_a_story_has_no_such_section(turned):
    assert 'id="story"' not in render(turned, NOW)
