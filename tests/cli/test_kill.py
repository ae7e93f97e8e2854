"""`hft kill`, `hft reset-kill` and `hft status` where the latch is a file."""

from pathlib import Path

import pytest

from hft_lib.events import Halted, Resumed
from serving.runtime.journal import read
from tests.cli.conftest import Verb, ended
from tests.cli.test_run import Begin, under_way, until


def told(run: Path) -> list[Halted | Resumed]:
    """What a run's journal holds that execution was told."""
    inbox = read(run / "journal", ("execution",))
    return [fact for _, fact in inbox if isinstance(fact, Halted | Resumed)]


def test_a_kill_is_latched_until_it_is_reset(hft: Verb, home: Path):
    known = hft("kill", "--flatten", "--operator", "ada", "--reason", "drill", "--json").json
    assert known["latch"] == "halt" and known["flatten"] and known["operator"] == "ada"
    assert known["where"] == str(home / "latch")
    assert hft("kill", "--json").json["flatten"], "a second kill does not stop the closing"
    shown = hft("status", "--json").json
    assert shown["mode"] == "embedded" and shown["latch"]["latch"] == "halt"
    reset = ("reset-kill", "--operator", "bob", "--reason", "over", "--json")
    assert hft(*reset).json["latch"] == "run"
    assert hft("status", "--json").json["latch"]["operator"] == "bob"


def test_a_latch_that_nobody_wrote_means_halted(hft: Verb):
    answer = hft("status", "--json")
    assert answer.code == 0
    assert answer.json["latch"]["latch"] == "halt"
    assert answer.json["latch"]["reason"] == "the latch is absent"


@pytest.mark.parametrize(
    "words", [(), ("--operator", "ada"), ("--operator", " ", "--reason", "over")]
)
def test_a_reset_without_a_name_and_a_reason_is_bad_usage(hft: Verb, words: tuple[str, ...]):
    hft("kill")
    assert hft("reset-kill", *words).code == 2
    assert hft("status", "--json").json["latch"]["latch"] == "halt"


def test_a_latch_that_cannot_be_written_fails(hft: Verb, home: Path):
    home.mkdir()
    (home / "latch").mkdir()
    answer = hft("kill")
    assert answer.code == 1 and "the latch cannot be written" in answer.sentence


def test_the_verbs_say_it_for_people(hft: Verb):
    assert "hft reset-kill --operator NAME --reason WHY" in hft("kill", "--reason", "drill").out
    assert "halt, by" in hft("status").out and "drill" in hft("status").out


# --- the line of one process ---


def test_a_run_after_a_kill_gives_capital_nothing(hft: Verb, tape: Path, params: Path):
    hft("kill", "--operator", "ada", "--reason", "drill")
    orders = ("--tape", tape, "--params", params, "--json")
    halted = hft("run", *orders, "--out", "halted")
    assert halted.code == 0, halted.err
    assert halted.json["rejected"]["HALT"] > 0 and halted.json["pnl_quote"] == 0.0
    assert [fact.operator for fact in told(Path("halted"))] == ["ada"]
    hft("reset-kill", "--operator", "ada", "--reason", "over")
    free = hft("run", *orders, "--out", "free").json
    assert "HALT" not in free["rejected"] and not told(Path("free"))
    assert free["orders_sha256"] == hft("replay", *orders).json["orders_sha256"]


def test_a_kill_reaches_a_run_that_is_under_way_and_its_resumption(
    hft: Verb, begin: Begin, tape: Path, params: Path
):
    run = begin("run", "--tape", tape, "--params", params, "--speed", "20000", "--out", "run")
    until(under_way(Path("run"), 50_000))
    assert hft("kill", "--operator", "ada", "--reason", "drill").code == 0
    until(lambda: bool(told(Path("run"))))
    run.terminate()
    assert ended(run).code == 1
    said = told(Path("run"))
    assert [fact.reason for fact in said] == ["drill"] and said[0].time_ns > 1_704_000_000 * 10**9
    hft("reset-kill", "--operator", "bob", "--reason", "over")
    assert hft("run", "--resume", "run").code == 0
    said = told(Path("run"))
    assert [type(fact) for fact in said] == [Halted, Resumed] and said[1].operator == "bob"
