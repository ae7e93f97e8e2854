"""The journal: what was written comes back, a torn tail is cut, and what was changed is found."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.runtime import journal as journals
from serving.runtime.journal import (
    Header,
    Journal,
    JournalError,
    encode_fact,
    read,
    read_header,
    read_records,
    replace_file,
)
from tests.builders import story_config, told

FACTS = 40


def header() -> Header:
    return Header(
        run_id="r1",
        config=story_config(),
        config_sha256="c",
        git_commit="g",
        tape="tape",
        tape_sha256="t",
        start_ns=0,
        end_ns=0,
        params_sha256="p",
        command="run",
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed journal of forty facts of the story."""
    target = tmp_path / "journal"
    with Journal(target, header()) as journal:
        for log, fact in told().kept[:FACTS]:
            journal.append(log, fact)
    return target


def contents(path: Path) -> list[bytes]:
    return [encode_fact(item) for item in read(path)]


def frame_ends(path: Path) -> list[int]:
    return [place.end for _, place in journals._frames(path)]


WHOLE = [encode_fact(item) for item in told().kept[:FACTS]]


def test_what_was_appended_is_read_in_order(path: Path):
    assert contents(path) == WHOLE
    assert read_header(path) == header()


def test_logs_are_read_apart(path: Path):
    records = [fact for log, fact in told().kept[:FACTS] if log == "hft.records"]
    assert records and list(read_records(path)) == records
    registry = list(read(path, ("hft.registry", "ingestion")))
    assert {log for log, _ in registry} <= {"hft.registry", "ingestion"}
    assert len(registry) == sum(
        log in ("hft.registry", "ingestion") for log, _ in told().kept[:FACTS]
    )


def test_a_journal_is_never_written_over(path: Path):
    with pytest.raises(FileExistsError):
        Journal(path, header())
    assert contents(path) == WHOLE


def test_every_torn_tail_is_cut_and_gone_on_with(path: Path):
    content, ends = path.read_bytes(), frame_ends(path)
    for size in range(ends[-3], len(content)):
        path.write_bytes(content[:size])
        whole = sum(end <= size for end in ends) - 1
        assert contents(path) == WHOLE[:whole]
        with Journal.reopen(path) as journal:
            assert journal.frames == whole + 1
            for log, fact in told().kept[whole:FACTS]:
                journal.append(log, fact)
        assert path.read_bytes() == content  # chained on as if nothing had happened


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_byte_changed_before_the_last_frame_is_an_error(path: Path, data: st.DataObject):
    content = bytearray(path.read_bytes())
    before_last = frame_ends(path)[-2]
    at = data.draw(st.integers(0, before_last - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    spoilt = path.with_name("spoilt")
    spoilt.write_bytes(content)
    with pytest.raises(JournalError, match="journal"):
        list(read(spoilt))
    with pytest.raises(JournalError):
        Journal.reopen(spoilt)
    assert spoilt.read_bytes() == content  # and nothing was cut


def test_a_length_that_points_past_the_end_is_an_error_and_no_torn_tail(path: Path):
    content = bytearray(path.read_bytes())
    content[frame_ends(path)[5] + 3] = 0x7F  # the high byte of a length
    path.write_bytes(content)
    with pytest.raises(JournalError, match="length"):
        list(read(path))


@pytest.mark.parametrize("content", [b"", b"HFTJ", b"PAR1 something else entirely"])
def test_what_is_no_journal_is_said_to_be_none(tmp_path: Path, content: bytes):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(JournalError, match="not a journal"):
        list(read(path))
    with pytest.raises(JournalError):
        Journal.reopen(path)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(JournalError, match="No such file"):
        list(read(tmp_path / "none"))


def test_a_journal_without_its_header_is_none(path: Path):
    content = path.read_bytes()
    path.write_bytes(content[: len(b"HFTJ1\n") + 5])
    with pytest.raises(JournalError, match="no header"):
        read_header(path)
    with pytest.raises(JournalError, match="no header"):
        Journal.reopen(path)


def test_synced_facts_are_in_the_file_while_it_is_open(tmp_path: Path):
    journal = Journal(tmp_path / "journal", header())
    journal.append(*told().kept[0])
    journal.sync()
    assert contents(journal.path) == WHOLE[:1]
    journal.close()
    journal.close()


# --- a full disk ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        if os.environ.get("CI") == "true":
            pytest.fail(f"a small file system cannot be mounted: {mounted.stderr}")
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def _fill(path: Path) -> None:
    with Journal(path, header()) as journal:
        for log, fact in told().kept:
            journal.append(log, fact)


def test_a_full_disk_leaves_a_journal_that_reads_up_to_its_last_whole_frame(small_disk: Path):
    path = small_disk / "journal"
    with pytest.raises(OSError, match="No space left"):
        _fill(path)
    kept = contents(path)
    assert len(kept) > 50
    assert kept == [encode_fact(item) for item in told().kept[: len(kept)]]
    os.truncate(path, path.stat().st_size - 4096)  # somebody makes room
    with Journal.reopen(path) as journal:
        journal.append(*told().kept[0])
    assert contents(path)[-1] == WHOLE[0]


def test_a_file_that_cannot_be_replaced_whole_stays_as_it_was(small_disk: Path):
    path = small_disk / "snapshot"
    replace_file(path, b"old")
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"n" * 200_000)
    assert path.read_bytes() == b"old"
    assert [item.name for item in small_disk.iterdir()] == ["snapshot"]


# --- replacing a file ---


def test_a_replaced_file_holds_the_new_content_and_nothing_is_left_beside_it(tmp_path: Path):
    path = tmp_path / "snapshot"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two" and os.listdir(tmp_path) == ["snapshot"]


def test_a_rename_that_fails_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*paths: Any) -> None:
        raise PermissionError("refused")

    path = tmp_path / "snapshot"
    replace_file(path, b"old")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["snapshot"]
