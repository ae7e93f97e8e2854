"""The pull request's comment tells each step's verdict, and there is only ever one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "pr_comment.py"
# Stands for GitHub's command: it records how it was called and answers with the comments there are.
GH = """#!/bin/sh
echo "$@" >> calls
case "$*" in
  *--input*) cat > body ;;
  *) cat answer ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    gh = tmp_path / "gh"
    gh.write_text(GH)
    gh.chmod(0o755)
    (tmp_path / "answer").write_text("")
    return tmp_path


def publish(folder: Path, result: str) -> tuple[str, str]:
    """Run the script; the last call of `gh` and the text that was sent."""
    environ = {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_REPOSITORY": "owner/bot",
        "PR_NUMBER": "12",
        "RUN_URL": "https://ci.example/1",
        "RESULT": result,
    }
    subprocess.run(
        [sys.executable, SCRIPT, "steps.tsv"], cwd=folder, env=environ, check=True, timeout=60
    )
    calls = (folder / "calls").read_text().splitlines()
    return calls[-1], json.loads((folder / "body").read_text())["body"]


def test_the_first_comment_lists_every_step(folder: Path) -> None:
    (folder / "steps.tsv").write_text("black\tpassed\t2\nmypy\tfailed\t9\n")
    call, text = publish(folder, "failure")
    assert call.startswith("api repos/owner/bot/issues/12/comments --method POST")
    assert "❌ **Quick validation: failure** in 11 s" in text
    assert "| black | passed | 2 |\n| mypy | failed | 9 |" in text


def test_a_later_run_writes_over_the_first_comment(folder: Path) -> None:
    (folder / "answer").write_text("345\n678\n")
    (folder / "steps.tsv").write_text("black\tpassed\t2\n")
    call, text = publish(folder, "success")
    assert call.startswith("api repos/owner/bot/issues/comments/345 --method PATCH")
    assert "✅" in text


def test_a_run_without_steps_says_so(folder: Path) -> None:
    _, text = publish(folder, "cancelled")
    assert "cancelled" in text
    assert "before its first step" in text
