"""Every verb that moves capital or halts leaves a record, in one process: a file under HFT_HOME."""

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from serving.runtime import audit
from serving.runtime.audit import Entry, FileTrail, asked, ended, last_rows
from tests.cli.conftest import Verb

PAIR = "SYN/USDT:USDT~SYN/USDT"
SAID = ("--operator", "ada", "--reason", "drill")


def records(hft: Verb) -> list[dict[str, Any]]:
    """What `hft audit` tells."""
    found: list[dict[str, Any]] = hft("audit", "--json").json["records"]
    return found


@pytest.mark.parametrize(
    ("words", "verb", "what"),
    [
        (("kill", "--flatten"), "kill", {"flatten": True}),
        (("reset-kill",), "reset-kill", {}),
        (("flatten",), "flatten", {"pair": None}),
        (("flatten", PAIR), "flatten", {"pair": PAIR}),
        (("pair", "halt", PAIR), "pair halt", {"pair": PAIR}),
        (("pair", "resume", PAIR), "pair resume", {"pair": PAIR}),
    ],
)
def test_a_verb_is_on_record_with_who_where_why_and_what_became_of_it(
    hft: Verb, home: Path, words: tuple[str, ...], verb: str, what: dict[str, Any]
):
    assert hft(*words, *SAID).code == 0
    (row,) = records(hft)
    assert (row["verb"], row["what"], row["outcome"]) == (verb, what, "done")
    assert (row["operator"], row["reason"]) == ("ada", "drill")
    assert row["who"].endswith(f"(uid {os.geteuid()})")
    assert row["host"] == os.uname().nodename and row["time"].endswith("Z")
    raw = [json.loads(line) for line in (home / "audit.jsonl").read_text().splitlines()]
    assert [(line["outcome"], line["id"]) for line in raw] == [
        ("asked", row["id"]),
        ("done", row["id"]),
    ]


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        (("reset-kill", "--operator", " ", "--reason", "over"), "refused"),
        (("pair", "halt", "no pair"), "refused"),
        (("pair", "resume", PAIR, "--operator", "ada", "--reason", ""), "refused"),
        (("models", "rollback", *SAID), "refused"),
    ],
)
def test_what_was_refused_is_on_record_too(hft: Verb, words: tuple[str, ...], outcome: str):
    answer = hft(*words)
    assert answer.code == 2
    (row,) = records(hft)
    assert row["outcome"] == outcome
    assert row["detail"] and row["detail"] in answer.err


def test_what_failed_is_on_record_with_its_reason(hft: Verb, home: Path):
    home.mkdir()
    (home / "latch-pairs").mkdir()
    assert hft("flatten").code == 1
    (row,) = records(hft)
    assert row["outcome"] == "failed" and "cannot be written" in row["detail"]


def test_a_look_that_says_nothing_to_the_line_is_no_record(hft: Verb):
    hft("models", "promote", "4", *SAID, "--dry-run")
    hft("status")
    assert records(hft) == []


def test_without_a_record_a_verb_is_refused_and_does_nothing(hft: Verb, home: Path):
    home.mkdir()
    (home / "audit.jsonl").mkdir()
    for words in (("reset-kill", *SAID), ("flatten",), ("pair", "halt", PAIR)):
        answer = hft(*words)
        assert answer.code == 3 and "the audit trail takes no entry" in answer.err
    shown = hft("status", "--json").json
    assert shown["latch"]["reason"] == "the latch is absent" and shown["pairs"] == []


def test_a_kill_never_fails_for_want_of_a_record_and_says_so(hft: Verb, home: Path):
    home.mkdir()
    (home / "audit.jsonl").mkdir()
    answer = hft("kill", *SAID)
    assert answer.code == 0
    assert "warning: the audit trail takes no entry" in answer.err
    assert "`kill`, done, is not on record" in answer.err
    assert hft("status", "--json").json["latch"]["latch"] == "halt"
    assert hft("audit").code == 1


def test_the_file_is_its_owners_alone_and_what_it_holds_stays(hft: Verb, home: Path):
    hft("kill")
    file = home / "audit.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    hft("reset-kill", *SAID)
    assert file.read_bytes().startswith(before) and len(file.read_bytes()) > len(before)


def test_a_file_that_leads_elsewhere_is_not_followed(hft: Verb, home: Path):
    home.mkdir()
    (home / "audit.jsonl").symlink_to(home / "elsewhere")
    assert hft("flatten").code == 3
    assert not (home / "elsewhere").exists()


def test_the_record_is_for_people_too(hft: Verb):
    hft("kill", "--operator", "ada", "--reason", "[red]drill[/red]")
    told = " ".join(hft("audit").out.split())
    assert "kill" in told and "ada" in told and "[red]dr" in told.replace(" ", "")


# --- the trail itself ---


def entry_in(trail: FileTrail, number: int) -> Entry:
    """An entry that says its number."""
    return asked(trail, "kill", {"flatten": False}, f"operator {number}", "drill")


def test_a_verb_whose_end_nobody_told_is_shown_as_such(tmp_path: Path):
    trail = FileTrail(tmp_path / "audit.jsonl")
    first, second = entry_in(trail, 1), entry_in(trail, 2)
    for one in (first, second, ended(second, "done")):
        trail.append(one)
    assert [row["outcome"] for row in last_rows(trail, 9)] == ["untold", "done"]
    assert [row["operator"] for row in last_rows(trail, 1)] == ["operator 2"]


def test_entries_of_several_writers_are_all_whole(tmp_path: Path):
    trail = FileTrail(tmp_path / "audit.jsonl")

    def write(writer: int) -> None:
        for _ in range(50):
            trail.append(entry_in(trail, writer))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    said = [entry.operator for entry in trail.entries(1000)]
    assert sorted(said) == sorted(f"operator {number}" for number in range(4) for _ in range(50))


def test_what_a_person_writes_is_bounded(tmp_path: Path):
    trail = FileTrail(tmp_path / "audit.jsonl")
    long = asked(trail, "kill", {"pair": "p" * 9000}, "o" * 9000, "r" * 9000)
    assert len(long.operator) == len(long.reason) == len(long.what["pair"]) == audit.TEXT_MAX


def test_a_full_trail_takes_no_new_verb_but_the_end_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trail = FileTrail(tmp_path / "audit.jsonl")
    begun = entry_in(trail, 1)
    trail.append(begun)
    monkeypatch.setattr(audit, "FILE_BYTES_MAX", 10)
    with pytest.raises(audit.Unwritable, match="is full"):
        trail.append(entry_in(trail, 2))
    trail.append(ended(begun, "done"))
    assert [row["outcome"] for row in last_rows(trail, 9)] == ["done"]


def test_what_is_no_entry_is_not_read_as_none(tmp_path: Path):
    trail = FileTrail(tmp_path / "audit.jsonl")
    assert trail.entries(9) == []
    (tmp_path / "audit.jsonl").write_text("{}\n")
    with pytest.raises(audit.Unwritable, match="no entry of ours"):
        trail.entries(9)
