"""The gate: what is more than luck passes, everything else is refused with its reason."""

from pathlib import Path

import pytest

from hft_lib.workflow.gate import GateVerdict, gate_file, judge
from hft_lib.workflow.refusal import Refused, read_json, write_json
from tests.hft_lib.workflow.made import OTHER_PAIR, PAIR, trials

SKILL = (1.2, 1.1, 0.3, 0.2)


def test_skill_passes_and_the_best_stands_first() -> None:
    found = judge([trials(SKILL)])
    (pair,) = found.pairs
    assert found.trials == 4 and pair.days == 250
    assert [item.name for item in pair.passed] == ["calibrated", "bold"]
    assert pair.spa_p is not None and pair.spa_p <= 0.05
    assert {item.name for item in pair.candidates if item.reason} == {"patient", "eager"}


def test_luck_is_refused_with_the_number_of_trials(tmp_path: Path) -> None:
    write_json(tmp_path / "trials", trials(seed=3))
    with pytest.raises(Refused, match=f"{PAIR}, best .*(over 4 trials|must be positive)"):
        gate_file([tmp_path / "trials"], 0, tmp_path / "verdict")
    assert read_json(tmp_path / "verdict", GateVerdict).trials == 4


def test_what_was_tried_before_counts() -> None:
    modest = trials((0.45, 0.0, 0.0, 0.0))
    assert judge([modest]).pairs[0].passed
    (pair,) = judge([modest], trials_before=100_000).pairs
    assert not pair.passed and "over 100004 trials" in pair.candidates[0].reason


def test_every_pair_counts_against_every_other() -> None:
    both = judge([trials(SKILL), trials(pair=OTHER_PAIR, seed=9)])
    assert both.trials == 8
    alone, beside = judge([trials(SKILL)]).pairs[0], both.pairs[0]
    assert (beside.candidates[0].deflated_sharpe or 1) < (alone.candidates[0].deflated_sharpe or 0)
    assert beside.passed and not both.pairs[1].passed


def test_too_few_days_are_no_evidence_however_good() -> None:
    (pair,) = judge([trials((5.0, 5.0, 5.0, 5.0), days=19)]).pairs
    assert not pair.passed
    assert pair.candidates[0].reason == "whole days out of sample must be at least 20, was 19"


def test_a_candidate_that_never_traded_is_not_registered() -> None:
    walk = trials(SKILL)
    for row in walk.daily_quote:
        row[1] = 0.0
    reasons = {item.name: item.reason for item in judge([walk]).pairs[0].candidates}
    assert reasons["bold"] == "it must trade, did not" and reasons["calibrated"] == ""


def test_no_day_at_all_is_refused_and_not_a_crash() -> None:
    (pair,) = judge([trials(days=0)]).pairs
    assert pair.days == 0 and not pair.passed


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(Refused, match="trials_before must be at least 0, was -1"):
        judge([trials(SKILL)], trials_before=-1)
