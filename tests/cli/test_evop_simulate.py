"""`hft evop simulate`: what it prints, and that processes change nothing."""

from pathlib import Path

import pytest

from cli import evop_simulate
from hft_lib.backtest.evop_years.summary import interval
from tests.cli.conftest import Verb

PROMISED = {
    "scenario",
    "years",
    "promotions",
    "false_promotions_per_year",
    "ci95",
    "median_days_to_detect",
}


def test_a_null_keeps_its_bound_and_says_how_sure_that_is(hft: Verb):
    answer = hft("evop", "simulate", "--scenario", "null-equal", "--years", 24, "--json")
    assert answer.code == 0
    (one,) = answer.json["scenarios"]
    assert PROMISED <= set(one)
    assert (one["scenario"], one["years"], one["promotions"]) == ("null-equal", 24, 0)
    assert one["false_promotions_per_year"] == 0.0 and one["median_days_to_detect"] is None
    assert one["ci95"] == list(interval(0, 24))
    assert one["tests_per_year"] >= 3.0
    assert one["missed"] == []


def test_the_same_seed_gives_the_same_answer_in_one_process_or_many(
    hft: Verb, monkeypatch: pytest.MonkeyPatch
):
    words = ("evop", "simulate", "--scenario", "better-30", "--years", 12, "--seed", 4, "--json")
    monkeypatch.setattr(evop_simulate, "BATCH_YEARS", 5)
    inline = hft(*words).json["scenarios"]
    assert inline == hft(*words).json["scenarios"]
    monkeypatch.setattr(evop_simulate, "INLINE_YEARS_MAX", 0)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    assert hft(*words).json["scenarios"] == inline
    assert inline[0]["detected"] == 1.0 and 20 <= inline[0]["median_days_to_detect"] < 40


def test_the_number_of_challengers_is_the_settings(hft: Verb, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EVOP_MAX_CHALLENGERS", "2")
    answer = hft("evop", "simulate", "--scenario", "surface-*", "--years", 1, "--json")
    assert answer.json["challengers"] == 2
    assert [one["scenario"] for one in answer.json["scenarios"]] == ["surface-10", "surface-20"]
    assert answer.json["scenarios"][1]["gain_share"]["mean"] <= 1.0


def test_a_table_names_what_was_missed(hft: Verb, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(evop_simulate, "BATCH_YEARS", 2)
    answer = hft("evop", "simulate", "--scenario", "better-8", "--years", 2, "--seed", 1)
    assert answer.code == 0
    assert "better-8" in answer.out and "4 challengers, seed 1" in answer.out


@pytest.mark.parametrize(
    "words, said",
    [
        (("--scenario", "null-nothing"), "no scenario 'null-nothing': there are null-equal, "),
        (("--years", "0"), "--years"),
        (("--seed", "-1"), "--seed"),
        (("--tape", "somewhere"), "--tape and --params go together"),
    ],
)
def test_bad_usage_is_one_sentence(hft: Verb, words: tuple[str, ...], said: str):
    answer = hft("evop", "simulate", *words)
    assert answer.code == 2 and said in answer.sentence


def test_a_tape_gives_its_own_nulls(
    hft: Verb, tape: Path, params: Path, monkeypatch: pytest.MonkeyPatch
):
    words = ("evop", "simulate", "--tape", tape, "--params", params, "--years", 2)
    refused = hft(*words)
    assert refused.code == 2 and "at least 20 whole days" in refused.sentence
    monkeypatch.setattr(evop_simulate, "RECORDED_DAYS_MIN", 3)
    answer = hft(*words, "--scenario", "null-*", "--json")
    assert answer.json["recorded_days"] >= 5 and 1 <= answer.json["recorded_sets"] <= 3
    found = {one["scenario"]: one for one in answer.json["scenarios"]}
    assert list(found) == ["null-tape-flipped", "null-tape-centred"]
    assert all(one["tests_per_year"] >= 3.0 for one in found.values())
