"""`hft calibrate`: what it says, and that its file is taken."""

from pathlib import Path

import pytest

from hft_lib.market.tape import Tape
from serving.runtime.identity import git_commit
from tests.cli.conftest import Verb


def test_the_answer_has_every_key_and_its_file_is_taken(hft: Verb, tape: Path) -> None:
    answer = hft("calibrate", "--tape", tape, "--out", "fit.json", "--json")
    assert answer.code == 0 and answer.err == ""
    known = answer.json
    assert known["pair"] == "SYN/USDT:USDT~SYN/USDT" and known["observations"] > 100
    assert known["start"].endswith("Z") and len(known["tape_sha256"]) == 64
    for model in ("kalman", "garch", "bocd"):
        fit = known[model]
        assert fit["converged"] is True and isinstance(fit["log_likelihood"], float)
        assert set(fit["standard_errors"]) <= set(fit["params"])
    assert set(known["relation"]) >= {"hedge_ratio", "half_life_s", "p_value", "cointegrated"}
    replayed = hft("replay", "--tape", tape, "--params", "fit.json", "--json").json
    assert replayed["in_sample"] is True
    assert replayed["tape_sha256"] == known["tape_sha256"]


def test_the_text_is_narrow_and_says_what_to_try_next(hft: Verb, tape: Path) -> None:
    *lines, written, following = hft(
        "calibrate", "--tape", tape, "--out", "fit.json"
    ).out.splitlines()
    assert max(map(len, lines)) <= 100
    assert written == "written fit.json"
    assert following == f"next    hft replay --tape {tape} --params fit.json"


@pytest.mark.parametrize("out", ["nowhere/fit.json", "."])
def test_a_place_that_cannot_be_written_is_refused_before_the_fit(
    hft: Verb, tape: Path, out: str
) -> None:
    answer = hft("calibrate", "--tape", tape, "--out", out)
    assert answer.code == 2 and f"was {out}" in answer.sentence


def test_a_window_that_is_too_short_is_refused_with_its_length(hft: Verb, tape: Path) -> None:
    answer = hft("calibrate", "--tape", tape, "--end", "2024-01-01T01:00:00Z")
    assert answer.code == 2 and "at least 100 moments" in answer.sentence


def test_a_registered_fit_is_champion_of_a_new_pair_and_challenger_of_a_known_one(
    hft: Verb, tape: Path
) -> None:
    first = hft("calibrate", "--tape", tape, "--register", "--json").json["registered"]
    assert first["alias"] == "champion" and first["version"] == "1"
    end = ("--end", "2024-01-03T12:00:00Z")
    second = hft("calibrate", "--tape", tape, *end, "--register", "--json").json["registered"]
    assert second["alias"] == "challenger-calibrated" and second["version"] == "2"
    listed = hft("models", "list", "--json").json["models"]
    assert [model["aliases"] for model in listed] == [["champion"], ["challenger-calibrated"]]
    for model in listed:
        assert model["tape_sha256"] == Tape.open(tape).sha256
        assert model["git_commit"] == git_commit() and len(model["environment_sha256"]) == 64
        assert (model["trials"], model["origin"]) == (1, "calibration")
