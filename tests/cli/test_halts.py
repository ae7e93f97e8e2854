"""`hft flatten`, `hft pair halt` and `hft pair resume` where the words are in a file."""

import json
from pathlib import Path

import pytest

from hft_lib.events import CapitalOrder, DecisionRecorded, Event, Halted, Resumed
from serving.runtime.journal import read, read_records
from tests.cli.conftest import Verb, ended
from tests.cli.test_run import Begin, under_way, until

PAIR = "SYN/USDT:USDT~SYN/USDT"
WAY_BACK = ("--operator", "bob", "--reason", "over")


def told(run: Path) -> list[Halted | Resumed]:
    """What a run's journal holds that execution was told."""
    inbox = read(run / "journal", ("execution",))
    return [fact for _, fact in inbox if isinstance(fact, Halted | Resumed)]


def after(facts: list[Event], said: Halted | Resumed) -> list[CapitalOrder]:
    """The orders of capital that follow a word in the record."""
    return [fact for fact in facts[facts.index(said) :] if isinstance(fact, CapitalOrder)]


# --- the words ---


def test_a_halt_of_a_pair_stays_until_it_is_resumed(hft: Verb, home: Path):
    known = hft("pair", "halt", PAIR, "--operator", "ada", "--reason", "drill", "--json").json
    assert known["pair"] == PAIR and known["word"] == "halt" and not known["flatten"]
    assert known["where"] == str(home / "latch-pairs")
    assert hft("flatten", PAIR, "--json").json["flatten"]
    assert hft("pair", "halt", PAIR, "--json").json["flatten"], "a halt stops no closing"
    (row,) = hft("status", "--json").json["pairs"]
    assert (row["pair"], row["word"], row["flatten"]) == (PAIR, "halt", True)
    assert hft("pair", "resume", PAIR, *WAY_BACK, "--json").json["word"] == "run"
    (row,) = hft("status", "--json").json["pairs"]
    assert (row["word"], row["operator"], row["reason"]) == ("run", "bob", "over")


def test_flatten_without_a_pair_is_said_of_every_pair(hft: Verb):
    known = hft("flatten", "--json").json
    assert (known["pair"], known["word"], known["flatten"]) == (None, "halt", True)
    hft("pair", "resume", PAIR, *WAY_BACK)
    rows = {row["pair"]: row["word"] for row in hft("status", "--json").json["pairs"]}
    assert rows == {None: "halt", PAIR: "run"}


@pytest.mark.parametrize(
    "words",
    [
        ("halt", "no pair"),
        ("halt",),
        ("resume", PAIR),
        ("resume", PAIR, "--operator", "ada"),
        ("resume", PAIR, "--operator", "ada", "--reason", " "),
    ],
)
def test_bad_usage_says_nothing_of_any_pair(hft: Verb, words: tuple[str, ...]):
    assert hft("pair", *words).code == 2
    assert hft("status", "--json").json["pairs"] == []


def test_a_pair_that_the_line_does_not_have_is_refused(hft: Verb, monkeypatch: pytest.MonkeyPatch):
    assert "nobody says whether the line has a pair" in hft("pair", "halt", PAIR).err
    monkeypatch.setenv("PAIRS", "A/USDT:USDT~A/USDT")
    answer = hft("pair", "halt", PAIR)
    assert answer.code == 2 and "it has A/USDT:USDT~A/USDT" in answer.sentence
    assert hft("flatten", PAIR).code == 2
    assert hft("pair", "halt", "A/USDT:USDT~A/USDT").err == ""


def test_words_that_cannot_be_written_fail_and_say_what_halts(hft: Verb, home: Path):
    home.mkdir()
    (home / "latch-pairs").mkdir()
    answer = hft("flatten")
    assert answer.code == 1 and "`hft kill` halts the whole line" in answer.sentence
    assert "latch-pairs" in hft("status", "--json").json["latch"]["reason"]


def test_the_verbs_say_it_for_people(hft: Verb):
    assert "hft pair resume PAIR --operator NAME --reason WHY" in hft("flatten").out
    assert f"hft pair resume {PAIR}" in hft("pair", "halt", PAIR).out.replace("'", "")
    assert f"{PAIR}: halt, by" in hft("status").out and "every one: halt" in hft("status").out
    assert "the latch holds every pair" in hft("pair", "resume", PAIR, *WAY_BACK).out
    assert f"{PAIR}: halt" not in hft("status").out


# --- the line of one process ---


def test_a_run_under_a_halted_pair_gives_capital_nothing_and_a_later_one_is_free(
    hft: Verb, tape: Path, params: Path
):
    hft("pair", "halt", PAIR, "--operator", "ada", "--reason", "drill")
    orders = ("--tape", tape, "--params", params, "--json")
    halted = hft("run", *orders, "--out", "halted").json
    assert halted["rejected"]["HALT"] > 0 and halted["pnl_quote"] == 0.0
    assert [(fact.pair, fact.operator) for fact in told(Path("halted"))] == [(PAIR, "ada")]
    hft("pair", "resume", PAIR, *WAY_BACK)
    free = hft("run", *orders, "--out", "free").json
    assert not told(Path("free")), "what was resumed before a line was opened has nothing to let go"
    assert free["orders_sha256"] == hft("replay", *orders).json["orders_sha256"]


def test_a_halt_reaches_a_run_that_is_under_way_and_its_resumption_goes_on(
    hft: Verb, begin: Begin, tape: Path, params: Path
):
    run = begin("run", "--tape", tape, "--params", params, "--speed", "20000", "--out", "run")
    until(under_way(Path("run"), 50_000))
    assert hft("flatten", PAIR, "--operator", "ada", "--reason", "drill").code == 0
    until(lambda: bool(told(Path("run"))))
    run.kill()
    ended(run)
    hft("pair", "resume", PAIR, *WAY_BACK)
    assert hft("run", "--resume", "run").code == 0
    said = told(Path("run"))
    assert [type(fact) for fact in said] == [Halted, Resumed]
    assert [fact.operator for fact in said] == ["ada", "bob"]
    facts = list(read_records(Path("run") / "journal"))
    held = after(facts, said[0])[: -len(after(facts, said[1])) or None]
    assert all(order.reduce_only for order in held)
    verified = hft(
        "replay", "--tape", tape, "--params", params, "--verify", "run/journal", "--json"
    )
    assert verified.json["verified"] and verified.json["complete"]
    assert not [f for f in facts if isinstance(f, DecisionRecorded) and f.kind == "thaw"]
    assert hft("reconcile", "--journal", "run/journal", "--json").json["reconciled"]
    assert json.loads(hft("status", "--json").out)["pairs"][0]["word"] == "run"
