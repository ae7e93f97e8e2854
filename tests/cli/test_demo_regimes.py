"""What the regime-change demo says in words; the run itself is tested from outside."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.demo_regimes import STEPS, Teller, print_story
from hft_lib.backtest import regime_change
from hft_lib.events import DecisionRecorded
from hft_lib.market.synthetic_regimes import check
from hft_lib.parameters import check_parameters
from tests.hft_lib.registry_world import PARAMETERS


def document(steps: tuple[str, ...], place: Path) -> dict[str, Any]:
    """What the verb knows when `steps` were seen, one a day."""
    times = [f"2024-07-{19 + number}T00:00:00.000Z" for number in range(len(steps))]
    return {
        "verdict": "The predecessor careful got the capital back.",
        "start": "2024-07-19T00:00:00.000Z",
        "pnl_quote": -12.5,
        "seconds": 40.0,
        "report": str(place / "report.html"),
        "journal": str(place / "journal"),
        "registry": "sqlite:////out/mlflow.db",
        "tape": "tape",
        "params_file": "parameters.json",
        "story": [
            {"name": name, "time": time, "decision": 7, "version": "3", "title": name}
            | {"evidence": "e = 131, threshold 120"}
            for name, time in zip(steps, times, strict=True)
        ],
    }


def test_the_summary_names_each_step_with_day_and_evidence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_story(document(STEPS, tmp_path))
    said = capsys.readouterr().out
    assert "8   │ lucky_rolled_back" in said and "e = 131, threshold 120" in said
    assert "hft evop explain 7 --journal" in said
    assert "did not come to" not in said


def test_steps_that_did_not_come_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_story(document(STEPS[:-1], tmp_path))
    assert "did not come to: lucky rolled back." in capsys.readouterr().out


def test_a_decision_is_said_while_the_line_runs_and_a_hand_over_is_not() -> None:
    said: list[str] = []
    teller = Teller(said.append)
    challenger = {"slot": 1, "generation": 0, "alias": "hasty", "model_version": "5"}
    record: dict[str, Any] = {
        "number": 3,
        "decision_id": "evop-3",
        "time_ns": 1_722_729_600 * 10**9,
        "pair": "Y~X",
        "kind": "drop",
        "reason": "e fell below 0.15",
        "operator": "",
        "reason_given": "",
        "verdict": {"evidence": {"e": 0.14}},
        "case": {"threshold": 120.0},
        "champion": None,
        "challenger": challenger | {"parameters_sha256": "ab"},
    }
    for kind in ("drop", "handover"):
        fact = DecisionRecorded(record["time_ns"], "Y~X", "evop-3", kind, json.dumps(record))
        teller.take("hft.records", fact)
    assert said == ["  2024-08-04  drop     hasty       e fell below 0.15"]


def test_the_planted_sets_can_run_and_differ_in_their_strategy_alone() -> None:
    ideas = regime_change.ideas(PARAMETERS)
    assert [idea.name for idea in ideas] == list(regime_change.IDEAS)
    for idea in ideas:
        check_parameters(idea.params)
        assert idea.params.kalman == PARAMETERS.kalman
        assert idea.params.garch == PARAMETERS.garch
        assert idea.params.strategy != PARAMETERS.strategy


def test_the_market_turns_while_it_is_traded() -> None:
    check(regime_change.REGIMES)
    starts = [regime.start_ns(regime_change.MARKET) for regime in regime_change.REGIMES]
    assert starts[0] < regime_change.split_ns() < starts[1] < starts[2]
