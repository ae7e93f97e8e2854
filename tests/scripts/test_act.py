"""A job's own steps, run here by act: those that are commands, and those alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.ci.own_steps import own_steps

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows/ci-cd.yml").read_text())
TRIED = """
on: [push]
env: {GREETING: hello}
jobs:
  tried:
    runs-on: ubuntu-latest
    needs: other
    steps:
      - uses: actions/checkout@v0
      - id: first
        run: scripts/say.sh "$GREETING" >>"$GITHUB_OUTPUT"
      - if: always()
        run: echo "said ${{ steps.first.outputs.said }}"
"""


def test_what_is_left_of_a_job_is_its_commands_in_their_order() -> None:
    made = own_steps(WORKFLOW, ["lint", "test"])
    for name, job in made["jobs"].items():
        checkout, *commands = job["steps"]
        assert list(checkout) == ["uses"] and "actions/checkout@" in checkout["uses"]
        known = [step for step in WORKFLOW["jobs"][name]["steps"] if "run" in step]
        assert commands == known and known
        assert not {"needs", "services"} & set(job)
    assert made["env"] == WORKFLOW["env"]


def test_a_job_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(KeyError, match="nothing"):
        own_steps(WORKFLOW, ["nothing"])


def run(folder: Path, *jobs: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`scripts/act.sh` on a repository of the test's own."""
    known = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHON": sys.executable}
    return subprocess.run(
        [folder / "tree" / "scripts" / "act.sh", *jobs],
        env=known | environ,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose `tree` is a repository with one job."""
    tree = tmp_path / "tree"
    files = {
        ".github/workflows/ci-cd.yml": TRIED,
        "scripts/act.sh": (ROOT / "scripts" / "act.sh").read_text(),
        "scripts/ci/own_steps.py": (ROOT / "scripts" / "ci" / "own_steps.py").read_text(),
        "scripts/say.sh": '#!/bin/sh\necho "said=$1 from $(cat word)"\n',
        "word": "here\n",
    }
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
        (tree / name).chmod(0o755)
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    git = ("git", *identity, "-C", str(tree))
    for words in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "-m", "One")):
        subprocess.run((*git, *words), check=True, timeout=60)
    return tmp_path


def test_without_act_it_says_what_is_needed(folder: Path) -> None:
    done = run(folder, "tried", ACT=str(folder / "none"))
    assert done.returncode == 1 and "`act` is needed" in done.stderr


@pytest.mark.skipif(
    shutil.which(os.environ.get("ACT", "act")) is None,
    reason="act is no part of the locks: ACT, or PATH, names it",
)
@pytest.mark.parametrize(("word", "code"), [("here\n", 0), (None, 1)])
def test_a_job_runs_here_and_its_failure_is_its_own(
    folder: Path, word: str | None, code: int
) -> None:
    if word is None:
        text = TRIED.replace("scripts/say.sh", "scripts/none.sh")
        (folder / "tree" / ".github" / "workflows" / "ci-cd.yml").write_text(text)
    done = run(folder, "tried", ACT=os.environ.get("ACT", "act"))
    assert done.returncode == code, done.stdout + done.stderr
    assert ("said hello from here" in done.stdout) is (code == 0)
