"""`hft models promote` and `rollback` where the words are in a file beside the latch."""

from pathlib import Path
from typing import Any

import pytest

from hft_lib.events import CapitalOrder, DecisionRecorded, MoveAsked, Promoted, RolledBack
from serving.runtime.journal import read, read_records
from tests.cli.conftest import Verb, ended
from tests.cli.test_run import Begin, under_way, until

PAIR = "SYN/USDT:USDT~SYN/USDT"
BY = ("--operator", "ada", "--reason", "the venue changed its fees")


def told(run: Path) -> list[MoveAsked]:
    """What a run's journal holds that the orchestrator was told by operators."""
    inbox = read(run / "journal", ("orchestrator",))
    return [fact for _, fact in inbox if isinstance(fact, MoveAsked)]


def capital_slots(run: Path) -> set[int]:
    """The slots that capital has followed in orders."""
    facts = read_records(run / "journal")
    return {fact.slot for fact in facts if isinstance(fact, CapitalOrder)}


def names(hft: Verb, run: str = "run") -> list[tuple[str, str | None]]:
    """The decisions by hand, as `hft evop history` tells them."""
    known = hft("evop", "history", "--journal", f"{run}/journal", "--json").json["decisions"]
    return [(one["kind"], one["operator_reason"]) for one in known if one["operator"]]


@pytest.fixture
def run(begin: Begin, tape: Path, params: Path, tmp_path: Path) -> Any:
    """A run under way in `run`, some days in: its models are warm."""
    made = begin("run", "--tape", tape, "--params", params, "--speed", "30000", "--out", "run")
    until(under_way(tmp_path / "run", 700_000))
    return made


def test_a_promotion_by_hand_moves_capital_in_a_run_and_is_taken_back(
    hft: Verb, run: Any, tape: Path, params: Path, tmp_path: Path
) -> None:
    shown = hft("models", "promote", "eager", *BY, "--dry-run", "--json").json
    assert (shown["decision"], shown["dry_run"], shown["pair"]) == ("promote", True, PAIR)
    assert shown["becomes_capital"]["alias"] == "challenger-eager"
    assert shown["becomes_capital"]["slot"] > 0 and shown["champion"]["slot"] == 0
    assert shown["evidence"]["failing"][0] == "evidence" and len(shown["holds"]) == 1
    assert told(tmp_path / "run") == []
    done = hft("models", "promote", "eager", *BY, "--json")
    assert done.code == 0, done.err
    assert done.json["record"]["kind"] == "promote"
    assert done.json["record"]["operator"] == "ada"
    slot = done.json["becomes_capital"]["slot"]
    until(lambda: slot in capital_slots(tmp_path / "run"))
    run.kill()
    ended(run)
    waits = hft("models", "rollback", *BY, "--wait", "0.2", "--json")
    assert waits.code == 1 and waits.json["record"] is None
    assert "the word is kept" in waits.err
    assert hft("run", "--resume", "run").code == 0
    facts = list(read_records(tmp_path / "run" / "journal"))
    moves = [fact for fact in facts if isinstance(fact, Promoted | RolledBack)]
    assert [type(fact) for fact in moves[-2:]] == [Promoted, RolledBack]
    assert [fact.move for fact in told(tmp_path / "run")] == ["promote", "rollback"], "once each"
    assert names(hft) == [("promote", BY[3]), ("rollback", BY[3])]
    number = str(done.json["record"]["number"])
    explained = hft("evop", "explain", number, "--journal", "run/journal", "--json").json
    assert explained["equal"] and explained["record"]["operator"] == "ada"
    told_to_people = hft("evop", "explain", number, "--journal", "run/journal").out
    assert f"By ada: {BY[3]}" in told_to_people and "the same, to the last bit" in told_to_people
    assert ", by ada" in hft("evop", "history", "--journal", "run/journal").out
    handed = [f for f in facts if isinstance(f, DecisionRecorded) and f.kind == "handover"]
    assert handed, "the capital account went over"
    verify = ("--verify", "run/journal", "--json")
    assert hft("replay", "--tape", tape, "--params", params, *verify).json["complete"]
    assert hft("reconcile", "--journal", "run/journal", "--json").json["reconciled"]


def test_what_a_rule_refuses_ends_with_3_and_is_written_down(
    hft: Verb, run: Any, tmp_path: Path
) -> None:
    dry = hft("models", "rollback", *BY, "--dry-run")
    assert dry.code == 3 and "no predecessor" in dry.err and told(tmp_path / "run") == []
    assert hft("models", "promote", "nobody", *BY).code == 3
    assert "nobody runs in no slot" in hft("models", "promote", "nobody", *BY).err
    assert [kind for kind, _ in names(hft)] == ["refuse", "refuse"]


def test_a_run_is_told_no_word_of_before_its_opening(
    hft: Verb, run: Any, tape: Path, params: Path, tmp_path: Path
) -> None:
    assert hft("models", "promote", "eager", *BY).code == 0
    run.kill()
    ended(run)
    assert hft("run", "--tape", tape, "--params", params, "--out", "next").code == 0
    assert told(tmp_path / "next") == []


@pytest.mark.parametrize(
    "words",
    [
        ("promote", "eager"),
        ("promote", *BY),
        ("promote", "champion", *BY),
        ("rollback", "--operator", "ada"),
        ("rollback", "--operator", " ", "--reason", "x"),
        ("rollback", *BY, "--pair", "A/USDT:USDT~A/USDT"),
        ("rollback", *BY, "--pair", "no pair"),
        ("rollback", *BY, "--wait", "-1"),
    ],
)
def test_bad_usage_says_nothing(hft: Verb, words: tuple[str, ...], whole: Any, home: Path) -> None:
    assert hft("models", *words).code == 2
    assert not (home / "latch-moves").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finished")


@pytest.fixture
def whole(hft: Verb, tape: Path, params: Path, finished: Path) -> Path:
    """A run that ended, made once."""
    folder = finished / "run"
    if not folder.exists():
        assert hft("run", "--tape", tape, "--params", params, "--out", folder).code == 0
    return folder


def test_the_verbs_say_it_for_people(hft: Verb, whole: Path) -> None:
    hft("kill", "--reason", "drill")
    journal = ("--journal", whole / "journal")
    shown = hft("models", "promote", "eager", *BY, "--dry-run", *journal).out
    assert "challenger-eager" in shown and "nothing was said to the line" in shown
    assert "capital opens nothing there: the latch, by" in shown


def test_a_word_that_nobody_answers_is_no_refusal_but_a_failure(hft: Verb, whole: Path) -> None:
    journal = ("--journal", whole / "journal")
    assert hft("models", "promote", "nobody", *BY, *journal, "--dry-run").code == 3
    answer = hft("models", "promote", "nobody", *BY, *journal, "--wait", "0", "--json")
    assert answer.code == 1 and "nobody answered in 0 s: the word is kept" in answer.err
    assert answer.json["record"] is None and answer.json["decision"] == "refuse", "as things stand"


def test_without_a_run_there_is_nothing_to_move(hft: Verb) -> None:
    assert "no run under" in hft("models", "rollback", *BY).sentence
    missing = hft("models", "rollback", *BY, "--journal", "nowhere")
    assert missing.code == 2 and "no journal at nowhere" in missing.sentence
