"""`hft demo` on a short tape: every key, every file, and the same orders from whoever asks."""

import csv
import hashlib
import html
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import HFT, ROOT, Answer, Verb

COUNTS = ("events", "orders", "fills", "rejected")
MONEY = ("pnl_quote", "fees_quote", "funding_quote", "borrow_quote", "turnover_quote")
FIGURES = (*COUNTS, *MONEY, "sharpe_annual", "max_drawdown_quote")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the demo runs; HFT_HOME is `home` in it."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def answer(place: Path, tape: Path) -> Answer:
    """One demo, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HFT_HOME": str(place / "home")}
    words = [*HFT, "demo", "--tape", str(tape), "--json"]
    done = subprocess.run(
        words, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def known(answer: Answer, home: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the demo said; the verbs of the test find its HFT_HOME."""
    monkeypatch.setenv("HFT_HOME", str(place / "home"))
    assert answer.code == 0, answer.err
    return answer.json


def test_the_answer_has_every_key_of_the_contract(answer: Answer, known: Any) -> None:
    assert answer.err == ""
    assert set(FIGURES) <= set(known)
    assert known["in_sample"] is False and known["seconds"] > 0.0
    assert set(known["champion"]) >= {"version", "run_id", "params"}
    assert len(known["challengers"]) >= 3
    assert [one["kind"] for one in known["decisions"]][0] == "start"
    for name in ("params_file", "journal", "report"):
        assert Path(known[name]).is_file()


def test_a_replay_makes_its_orders_with_and_without_its_journal(
    hft: Verb, tape: Path, known: Any
) -> None:
    base = ("replay", "--tape", tape, "--params", known["params_file"], "--json")
    verified = hft(*base, "--verify", known["journal"]).json
    assert verified["verified"] is True and verified["complete"] is True
    again = hft(*base, "--start", known["start"], "--orders", "orders.csv").json
    lines = Path("orders.csv").read_text().splitlines(keepends=True)[1:]
    keys = [(int(line.split(",")[0]), line.rstrip("\n").split(",")[-1]) for line in lines]
    ranked = "".join(line for _, line in sorted(zip(keys, lines)))
    assert hashlib.sha256(ranked.encode()).hexdigest() == known["orders_sha256"]
    for replayed in (verified, again):
        assert {name: replayed[name] for name in FIGURES} == {name: known[name] for name in FIGURES}
        assert replayed["orders_sha256"] == known["orders_sha256"]
        assert replayed["in_sample"] is False


def test_the_registry_holds_its_versions_and_run_takes_the_champion(
    hft: Verb, tape: Path, known: Any
) -> None:
    models = hft("models", "list", "--json").json["models"]
    aliased = {alias: model for model in models for alias in model["aliases"]}
    assert aliased["champion"]["version"] == known["champion"]["version"]
    for challenger in known["challengers"]:
        assert aliased[f"challenger-{challenger['name']}"]["version"] == challenger["version"]
    ran = hft("run", "--tape", tape, "--json", "--out", "run").json
    verify = ("--params", ran["params_file"], "--verify", ran["journal"])
    verified = hft("replay", "--tape", tape, *verify, "--json").json
    assert verified["orders_sha256"] == ran["orders_sha256"]


def test_its_orders_are_traced_to_version_and_run(hft: Verb, tape: Path, known: Any) -> None:
    window = ("--start", known["start"], "--orders", "orders.csv")
    hft("replay", "--tape", tape, "--params", known["params_file"], *window)
    made = {item["run_id"]: item["version"] for item in (known["champion"], *known["challengers"])}
    journal = ("--journal", known["journal"])
    with Path("orders.csv").open() as file:
        firsts = {row["account"]: row["client_order_id"] for row in csv.DictReader(file)}
    for order in (*firsts.values(), known["last_order_id"]):
        traced = hft("trace", order, *journal, "--json").json
        assert traced["model_version"] == made[traced["run_id"]]
        assert traced["config_sha256"] == known["config_sha256"]


def test_the_report_calls_it_out_of_sample_and_its_commands_can_be_copied(
    hft: Verb, tape: Path, known: Any
) -> None:
    report = html.unescape(Path(known["report"]).read_text())
    assert "the run overlaps the window" not in report
    assert "champion champion" not in report
    files = ("--params", known["params_file"], "--verify", known["journal"])
    assert shlex.join(["hft", "replay", "--tape", str(tape), *files]) in report


def test_decisions_are_explained(hft: Verb, known: Any) -> None:
    journal = ("--journal", known["journal"], "--json")
    listed = hft("evop", "history", *journal).json["decisions"]
    assert [one["decision_id"] for one in listed] == [
        one["decision_id"] for one in known["decisions"]
    ]
    for one in listed:
        assert hft("evop", "explain", one["number"], *journal).json["equal"] is True
    assert hft("evop", "status", *journal).json["pairs"][0]["pair"] == known["pair"]


def test_the_text_ends_with_what_to_try_next_and_it_works(
    hft: Verb, tape: Path, known: Any
) -> None:
    told = hft("demo", "--tape", tape, "--out", "again")
    assert told.code == 0 and told.err == ""
    assert "champion champion" not in told.out
    lines = told.out.splitlines()
    where = next(number for number, line in enumerate(lines) if line.startswith("report"))
    assert max(map(len, lines[:where])) <= 100
    assert lines[where] == "report  again/report.html"
    for line in lines[where + 1 :]:
        program, *arguments = shlex.split(line.removeprefix("next"))
        assert program == "hft"
        assert hft(*arguments).code == 0, line


def test_a_demo_again_makes_the_same_orders_and_reuses_the_versions(
    hft: Verb, tape: Path, known: Any
) -> None:
    before = hft("models", "list", "--json").json["models"]
    again = hft("demo", "--tape", tape, "--json").json
    assert again["orders_sha256"] == known["orders_sha256"]
    assert again["champion"] == known["champion"]
    after = hft("models", "list", "--json").json["models"]
    assert [one["version"] for one in after] == [one["version"] for one in before]


def test_what_cannot_be_shown_is_refused_before_the_fit(hft: Verb, tape: Path) -> None:
    Path("taken").mkdir()
    Path("taken/file").write_text("")
    for arguments, said in (
        (("--tape", "nowhere"), "nowhere is not a tape"),
        (("--tape", tape, "--out", "taken"), "is not an empty folder"),
        (("--tape", tape, "--pair", "A/B~C/D"), "the tape lacks A/B and C/D"),
        (("--tape", tape, "--assume-borrow", "nan"), "was nan"),
        (("--scenario", "regime-change", "--tape", tape), "leave --tape out"),
        (("--scenario", "regime-change", "--pair", "A/B~C/D"), "leave --pair out"),
    ):
        answer = hft("demo", *arguments)
        assert answer.code == 2 and said in answer.sentence
