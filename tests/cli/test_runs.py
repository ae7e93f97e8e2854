"""Folders of runs: a new one each, found again, held by one."""

import os
from pathlib import Path

import pytest

from cli.errors import BadInput
from cli.runs import journals, latest_journal, new_folder, note_journal, run_folder
from serving.runtime.opening import RunError
from serving.runtime.run_folder import held
from serving.runtime.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(hft_home=tmp_path / "home")


def journal(folder: Path, time_s: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "journal").write_bytes(b"")
    os.utime(folder / "journal", (time_s, time_s))
    return folder / "journal"


def test_runs_of_one_second_have_folders_of_their_own(settings: Settings) -> None:
    folders = {new_folder(settings, "run", None) for _ in range(3)}
    assert len(folders) == 3 and all(folder.is_dir() for folder in folders)


def test_a_taken_folder_is_refused_and_an_empty_one_is_taken(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert new_folder(settings, "run", tmp_path / "empty") == tmp_path / "empty"
    (tmp_path / "file").write_text("")
    for taken in (tmp_path, tmp_path / "file"):
        with pytest.raises(BadInput, match="is not an empty folder"):
            new_folder(settings, "run", taken)


def test_a_run_that_fails_at_once_leaves_no_folder(settings: Settings) -> None:
    with pytest.raises(BadInput), run_folder(settings, "run", None):
        raise BadInput("no")
    assert list(settings.hft_home.iterdir()) == []


def test_journals_are_listed_newest_first_wherever_they_lie(
    settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="`hft demo` makes one"):
        latest_journal(settings)
    first = journal(settings.hft_home / "run-1", 100)
    second = journal(tmp_path / "far", 300)
    third = journal(settings.hft_home / "run-2", 200)
    note_journal(settings, second)
    note_journal(settings, first)
    assert journals(settings) == [second, third, first]
    assert latest_journal(settings) == second
    second.unlink()
    assert latest_journal(settings) == third


def test_one_process_holds_a_run(tmp_path: Path) -> None:
    with held(tmp_path):
        with pytest.raises(RunError, match="under way"), held(tmp_path):
            raise AssertionError("two writers")
    with held(tmp_path):
        assert tmp_path.is_dir()
