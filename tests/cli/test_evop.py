"""`hft evop`: the decisions of a journal, told, and recomputed."""

import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from cli.errors import BadInput, Failed
from cli.evop import app
from hft_lib.events import DecisionRecorded
from serving.runtime.journal import Header, Journal
from tests.hft_lib.evop.world import config, turned_world

RUNNER = CliRunner()


def written(path: Path, facts: list[DecisionRecorded]) -> Path:
    header = Header(
        run_id="r",
        config=config(),
        config_sha256="",
        git_commit="",
        tape="",
        tape_sha256="",
        start_ns=0,
        end_ns=0,
        params_sha256="",
        command="test",
    )
    with Journal(path, header) as journal:
        for fact in facts:
            journal.append("hft.records", fact)
    return path


@pytest.fixture(scope="module")
def facts() -> list[DecisionRecorded]:
    return turned_world(("other", 1.4)).run(80).records()


@pytest.fixture
def journal(tmp_path: Path, facts: list[DecisionRecorded]) -> Path:
    return written(tmp_path / "journal", facts)


def asked(*args: str) -> dict:
    result = RUNNER.invoke(app, [*args, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_history_lists_every_decision_in_order(journal, facts):
    found = asked("history", "--journal", str(journal))["decisions"]
    assert [line["kind"] for line in found] == [fact.kind for fact in facts]
    assert [line["number"] for line in found] == list(range(1, len(facts) + 1))
    promoted = next(line for line in found if line["kind"] == "promote")
    assert promoted["e"] >= promoted["threshold"] == 120.0
    assert promoted["time"].endswith("+00:00")


def test_status_names_the_champion_after_the_rollback(journal):
    (pair,) = asked("status", "--journal", str(journal))["pairs"]
    assert pair["champion"]["model_version"] == "champion"
    assert pair["test"]["challenger"]["model_version"] == "other"
    assert pair["budget_spent"] == pytest.approx(3 / 120)
    assert pair["frozen"] is False


def test_explain_recomputes_each_decision(journal, facts):
    for number in range(1, len(facts) + 1):
        document = asked("explain", str(number), "--journal", str(journal))
        assert document["equal"] is True
        assert document["record"]["number"] == number
        assert document["recomputed"]["verdict"] == document["record"]["verdict"]


def test_explain_fails_for_a_record_that_was_changed(tmp_path, facts):
    index = next(k for k, fact in enumerate(facts) if fact.kind == "promote")
    record = msgspec.json.decode(facts[index].record)
    record["case"]["blocks"][0][1] += 1.0
    changed = msgspec.structs.replace(facts[index], record=json.dumps(record))
    path = written(tmp_path / "changed", [changed])
    with pytest.raises(Failed) as failure:
        args = ["explain", str(index + 1), "--json", "--journal", str(path)]
        RUNNER.invoke(app, args, catch_exceptions=False)
    assert failure.value.exit_code == 1


def test_explain_fails_for_a_record_of_another_version(tmp_path, facts):
    record = msgspec.json.decode(facts[0].record)
    del record["case"]["threshold"]
    changed = msgspec.structs.replace(facts[0], record=json.dumps(record))
    path = written(tmp_path / "old", [changed])
    with pytest.raises(Failed, match="another version"):
        RUNNER.invoke(app, ["explain", "1", "--journal", str(path)], catch_exceptions=False)


def test_a_number_that_is_not_there_is_bad_input(journal):
    with pytest.raises(BadInput, match="no decision 999"):
        RUNNER.invoke(app, ["explain", "999", "--journal", str(journal)], catch_exceptions=False)


@pytest.mark.parametrize("content", [b"", b"not a journal at all"])
def test_a_file_that_is_no_journal_is_bad_input(tmp_path, content):
    path = tmp_path / "text"
    path.write_bytes(content)
    with pytest.raises(BadInput):
        RUNNER.invoke(app, ["history", "--journal", str(path)], catch_exceptions=False)


@pytest.mark.parametrize("verb", [["status"], ["history"], ["explain", "5"]])
def test_text_is_at_most_100_columns_wide(journal, verb):
    result = RUNNER.invoke(app, [*verb, "--journal", str(journal)], catch_exceptions=False)
    assert result.exit_code == 0
    assert 0 < max(len(line) for line in result.stdout.splitlines()) <= 100
