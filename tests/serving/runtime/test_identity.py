"""The commit of the code that runs is git's word, and in an image its build's."""

import re
import subprocess
from pathlib import Path

import pytest

from serving.runtime import identity


def no_git(*arguments: str) -> str:
    """What becomes of a call where there is no git."""
    raise FileNotFoundError(arguments)


def test_in_a_checkout_git_says_the_commit() -> None:
    head = subprocess.run(("git", "rev-parse", "HEAD"), capture_output=True, text=True, check=True)
    assert identity.git_commit().removesuffix("+") == head.stdout.strip()
    assert re.fullmatch(r"[0-9a-f]{40}\+?", identity.git_commit())


def test_in_an_image_its_build_said_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "COMMIT").write_text("a1b2c3\n")
    monkeypatch.setattr(identity, "_git", no_git)
    monkeypatch.setattr(identity, "_COMMIT", tmp_path / "COMMIT")
    assert identity.git_commit() == "a1b2c3"


def test_where_nothing_says_it_it_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_git", no_git)
    monkeypatch.setattr(identity, "_COMMIT", tmp_path / "COMMIT")
    assert identity.git_commit() == ""
