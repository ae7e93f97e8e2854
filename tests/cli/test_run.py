"""`hft run`: the orders of a replay, and the same ones after any interruption."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.runtime.journal import Journal
from serving.runtime.run_folder import held
from tests.cli.conftest import HFT, SECONDS_MAX, Answer, Verb, ended

Begin = Callable[..., subprocess.Popen[str]]
SLOW = ("--speed", "300000")  # about two seconds for the tape
SNAPSHOT_EVERY = 2_000


@pytest.fixture(autouse=True)
def frequent_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a short tape has some."""
    monkeypatch.setattr("serving.runtime.embedded.SNAPSHOT_EVERY", SNAPSHOT_EVERY)
    here = f"from serving.runtime import embedded; embedded.SNAPSHOT_EVERY = {SNAPSHOT_EVERY}; "
    monkeypatch.setattr("tests.cli.conftest.HFT", (*HFT[:2], here + HFT[2]))


@pytest.fixture
def whole(hft: Verb, tape: Path, params: Path) -> dict[str, Any]:
    """An uninterrupted run in `whole`."""
    answer = hft("run", "--tape", tape, "--params", params, "--out", "whole", "--json")
    assert answer.code == 0
    return answer.json


def until(condition: Callable[[], bool]) -> None:
    """Wait for what is under way."""
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def under_way(folder: Path, bytes_min: int) -> Callable[[], bool]:
    """Whether a run has journalled so much."""
    journal = folder / "journal"
    return lambda: journal.is_file() and journal.stat().st_size >= bytes_min


def same(answer: Answer, whole: dict[str, Any]) -> bool:
    """Whether a resumed run came to what the uninterrupted one came to."""
    assert answer.code == 0, answer.err
    other = ("seconds", "journal", "params_file", "params_files")
    return {k: v for k, v in answer.json.items() if k not in other} == {
        k: v for k, v in whole.items() if k not in other
    }


def test_a_run_makes_the_orders_of_a_replay(
    hft: Verb, tape: Path, params: Path, whole: dict[str, Any]
) -> None:
    replayed = hft("replay", "--tape", tape, "--params", params, "--json").json
    assert whole["orders"] > 0
    assert {key: whole[key] for key in replayed if key != "seconds"} == {
        key: value for key, value in replayed.items() if key != "seconds"
    }
    verify = ("--params", whole["params_file"], "--verify", whole["journal"])
    verified = hft("replay", "--tape", tape, *verify, "--json").json
    assert verified["verified"] is True and verified["complete"] is True
    assert verified["orders_sha256"] == whole["orders_sha256"]


@pytest.mark.no_cover  # what goes on is covered by the runs that are resumed below
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("bytes_min", [1_000, 900_000])
def test_a_run_that_is_ended_anywhere_goes_on_to_the_same_orders(
    begin: Begin,
    hft: Verb,
    tape: Path,
    params: Path,
    whole: dict[str, Any],
    tmp_path: Path,
    number: int,
    bytes_min: int,
) -> None:
    process = begin("run", "--tape", tape, "--params", params, "--out", "cut", *SLOW)
    until(under_way(tmp_path / "cut", bytes_min))
    if bytes_min > 1_000:
        until(lambda: (tmp_path / "cut" / "snapshot").is_file())
    process.send_signal(number)
    answer = ended(process)
    assert answer.out == "" and "Traceback" not in answer.err
    if number != signal.SIGKILL:
        assert answer.code == 1
        assert answer.err.splitlines()[-1].startswith("hft: interrupted")
        assert "hft run --resume cut" in answer.err
    assert same(hft("run", "--resume", "cut", "--json"), whole)


def test_a_run_that_ended_is_resumed_to_what_it_came_to(
    hft: Verb, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert same(hft("run", "--resume", "../whole", "--json"), whole)


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.999])
def test_a_truncated_journal_is_cut_at_its_last_whole_fact_or_refused(
    hft: Verb, whole: dict[str, Any], tmp_path: Path, kept: float
) -> None:
    journal = tmp_path / "whole" / "journal"
    os.truncate(journal, int(journal.stat().st_size * kept))
    ahead = hft("run", "--resume", "whole", "--json")
    if ahead.code:  # the snapshot says more than the journal holds
        assert "snapshot" in ahead.err.splitlines()[-1]
    (tmp_path / "whole" / "snapshot").unlink()
    assert same(hft("run", "--resume", "whole", "--json"), whole)


def test_a_changed_byte_ends_the_resumption(
    hft: Verb, whole: dict[str, Any], tmp_path: Path, tape: Path
) -> None:
    journal = tmp_path / "whole" / "journal"
    content = bytearray(journal.read_bytes())
    content[len(content) // 2] ^= 1
    journal.write_bytes(content)
    answers = [
        hft("run", "--resume", "whole"),
        hft("replay", "--tape", tape, "--params", whole["params_file"], "--verify", journal),
        hft("evop", "history", "--journal", journal),
    ]
    for answer in answers:
        assert answer.code in (1, 2) and "broken" in answer.sentence


def test_a_journal_of_another_version_is_one_sentence(
    hft: Verb, tape: Path, params: Path, tmp_path: Path
) -> None:
    (tmp_path / "old").mkdir()
    older: Any = {"run_id": "old", "config": {"slots": 3}}
    with Journal(tmp_path / "old" / "journal", older) as journal:
        journal.append("hft.records", older)
    for arguments in (
        ("run", "--resume", "old"),
        ("replay", "--tape", tape, "--params", params, "--verify", "old/journal"),
        ("trace", "h0", "--journal", "old/journal"),
        ("evop", "history", "--journal", "old/journal"),
    ):
        answer = hft(*arguments)
        assert answer.code == 2 and "old/journal" in answer.sentence


def test_a_damaged_snapshot_is_named(hft: Verb, whole: dict[str, Any], tmp_path: Path) -> None:
    snapshot = tmp_path / "whole" / "snapshot"
    snapshot.write_bytes(snapshot.read_bytes()[:1000])
    answer = hft("run", "--resume", "whole")
    assert answer.code == 2 and "delete it, the journal alone is enough" in answer.sentence
    snapshot.unlink()
    assert same(hft("run", "--resume", "whole", "--json"), whole)


def test_a_run_under_way_cannot_be_resumed_beside_itself(
    hft: Verb, whole: dict[str, Any], tmp_path: Path
) -> None:
    with held(tmp_path / "whole"):
        answer = hft("run", "--resume", "whole")
    assert answer.code == 2 and "under way in another process" in answer.sentence


def test_a_journal_of_another_tape_or_other_parameters_is_not_verified(
    hft: Verb, tape: Path, params: Path, whole: dict[str, Any], tmp_path: Path
) -> None:
    hft("tape", "synth", "--seed", "5", "--days", "8", "--out", "other")
    verify = ("--verify", whole["journal"])
    answer = hft("replay", "--tape", "other", "--params", params, *verify)
    assert answer.code == 2 and "the journal is of tape" in answer.sentence
    hft("calibrate", "--tape", tape, "--out", "other.json")
    answer = hft("replay", "--tape", tape, "--params", "other.json", *verify)
    assert answer.code == 2 and "other parameters" in answer.sentence
    shutil.rmtree(tmp_path / "other")


def test_what_cannot_be_run_is_refused(hft: Verb, tape: Path, params: Path) -> None:
    base = ("run", "--tape", tape, "--params", params)
    cases: tuple[tuple[tuple[object, ...], str], ...] = (
        ((*base, "--speed", "0"), "--speed must be"),
        ((*base, "--speed", "nan"), "--speed must be"),
        ((*base, "--start", "2030-01-01"), "--start must not be after"),
        ((*base, "--out", tape), "is not an empty folder"),
        ((*base, "--resume", "."), "leave --tape, --params out"),
        (("run", "--resume", "nowhere"), "nowhere"),
        (("run", "--resume", tape), "holds no run that has begun"),
        (("run", "--tape", tape), "has no champion"),
    )
    for arguments, said in cases:
        answer = hft(*arguments)
        assert answer.code == 2 and said in answer.sentence


def test_settings_are_on_stderr_and_the_journal_is_found_again(
    hft: Verb, home: Path, tape: Path, params: Path
) -> None:
    answer = hft("run", "--tape", tape, "--params", params, "--out", "far/away")
    assert f"HFT_HOME={home}" in answer.err
    assert "next    hft evop status --journal far/away/journal" in answer.out
    assert [one["kind"] for one in hft("evop", "history", "--json").json["decisions"]][0] == "start"
