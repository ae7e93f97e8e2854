"""A parameter file is read whole, or refused with what is wrong with it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Verb


def changed(path: Path, params: Path, change: Callable[[Any], object]) -> Path:
    document = json.loads(params.read_bytes())
    change(document)
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["params"]["kalman"].update(noise_var=float("nan")), "finite, was NaN"),
        (lambda d: d["params"]["garch"].update(omega=float("-inf")), "finite, was -Infinity"),
        (lambda d: d["params"]["kalman"].update(noise_var=-1.0), "noise_var must be from 1e-100"),
        (lambda d: d["params"]["kalman"].update(noise_var="x"), "got `str`"),
        (lambda d: d["params"].update(grid_ms=True), "got `bool`"),
        (lambda d: d["params"]["kalman"].pop("noise_var"), "missing required field `noise_var`"),
        (lambda d: d["params"].update(speed=1), "unknown field `speed`"),
        (lambda d: d.update(pair="ETH/USDT:USDT~ETH/USDT"), "the tape lacks ETH/USDT"),
        (lambda d: d.update(pair="ETH/USDT"), "must be two symbols"),
        (lambda d: d["evop"].update(units={"strategy.nope": 1.0}), "had strategy.nope"),
        (lambda d: d["evop"].update(units={"strategy.entry_z": -1.0}), "must be positive, was -1"),
        (lambda d: d["evop"].update(s0_quote=-3.0), "at least 0, was -3"),
        (lambda d: d["provenance"].update(end="yesterday"), "ISO 8601"),
        (lambda d: d["provenance"].update(start="2030-01-01"), "must not be after"),
        (lambda d: d["challengers"].append(d["challengers"][0]), "name of its own, was 'bold'"),
    ],
)
def test_a_wrong_value_is_refused_with_one_sentence(
    hft: Verb,
    tape: Path,
    params: Path,
    tmp_path: Path,
    change: Callable[[Any], object],
    said: str,
) -> None:
    file = changed(tmp_path / "wrong.json", params, change)
    for verb in ("replay", "run"):
        answer = hft(verb, "--tape", tape, "--params", file, "--json")
        assert answer.code == 2
        assert said in answer.sentence


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"1e999"])
def test_what_is_no_parameter_file_is_refused(
    hft: Verb, tape: Path, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "wrong.json").write_bytes(content)
    answer = hft("replay", "--tape", tape, "--params", tmp_path / "wrong.json")
    assert answer.code == 2
    assert "wrong.json" in answer.sentence


def test_a_missing_parameter_file_is_named_with_what_writes_one(hft: Verb, tape: Path) -> None:
    answer = hft("replay", "--tape", tape, "--params", "nowhere.json")
    assert answer.code == 2
    assert "nowhere.json: No such file" in answer.sentence and "calibrate" in answer.sentence
