"""Changed locks come to a branch and a pull request, and nothing else does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "ci" / "propose-locks.sh"
STAND_IN = ROOT / "tests" / "scripts" / "gh_stand_in.py"
IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Ada"), ("EMAIL", "ada@example.org"))
}


class Proposal:
    """A clone with its origin, the script in it, and the stand-in for GitHub's command."""

    def __init__(self, folder: Path) -> None:
        self.home, self.origin, self.tree = folder, folder / "origin", folder / "tree"
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        (self.tree / "scripts" / "ci").mkdir(parents=True)
        (self.tree / "requirements").mkdir()
        copied = self.tree / "scripts" / "ci" / SCRIPT.name
        copied.write_bytes(SCRIPT.read_bytes())
        copied.chmod(0o755)
        self.lock("dev", "numpy==1.0\nold-one==1.0\n")
        self.lock("mlflow", "numpy==1.0\n")
        self.git("init", "--quiet", "--bare", "--initial-branch", "main", str(self.origin))
        self.git("init", "--quiet", "--initial-branch", "main")
        self.git("remote", "add", "origin", str(self.origin))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "The first", **IDENTITY)
        program = folder / "gh"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{STAND_IN}" "$@"\n')
        program.chmod(0o755)
        self.plan("[]")

    def plan(self, listed: str) -> None:
        """What the list of open pull requests says from now on."""
        (self.home / "plan.json").write_text(json.dumps({"answers": {"list": listed}}))
        (self.home / "calls.jsonl").unlink(missing_ok=True)

    def lock(self, name: str, text: str) -> None:
        """Write a lock."""
        (self.tree / "requirements" / f"{name}.lock").write_text(text)

    def git(self, *words: str, **environ: str) -> str:
        """What git says."""
        done = subprocess.run(
            ("git", *words),
            cwd=self.tree,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def run(self, ref: str = "main") -> subprocess.CompletedProcess[str]:
        """The script, in a run on a branch."""
        known = {"GH": str(self.home / "gh"), "STAND_IN": str(self.home)}
        known |= {"GITHUB_REF_NAME": ref, "GITHUB_REPOSITORY": "acme/bot"}
        return subprocess.run(
            (self.tree / "scripts" / "ci" / SCRIPT.name,),
            env=self.environ | known,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def calls(self) -> list[list[str]]:
        """The first two words of each call."""
        path = self.home / "calls.jsonl"
        lines = path.read_text().splitlines() if path.is_file() else []
        return [json.loads(line)["argv"][:3] for line in lines]

    def files(self, branch: str) -> list[str]:
        """What the newest commit of a branch at the origin changed."""
        return self.git(
            f"--git-dir={self.origin}", "show", "--format=", "--name-only", branch
        ).splitlines()


@pytest.fixture
def proposal(tmp_path: Path) -> Proposal:
    return Proposal(tmp_path)


def test_a_new_version_comes_to_a_pull_request_that_says_which(proposal: Proposal) -> None:
    proposal.lock("dev", "numpy==2.0\nnew-one==3.0\n")
    proposal.lock("mlflow", "numpy==2.0\n")
    (proposal.tree / "requirements" / "other").write_text("came along")
    done = proposal.run()
    assert done.returncode == 0, done.stderr
    branch = "dependencies/locks"
    assert proposal.files(branch) == ["requirements/dev.lock", "requirements/mlflow.lock"]
    created = (proposal.home / "calls.jsonl").read_text().splitlines()[1]
    assert json.loads(created)["stdin"].splitlines() == [
        "- new-one nothing to 3.0 (dev)",
        "- numpy 1.0 to 2.0 (dev, mlflow)",
        "- old-one 1.0 to nothing (dev)",
    ]
    assert proposal.calls() == [
        ["pr", "list", "--repo"],
        ["pr", "create", "--repo"],
        ["workflow", "run", "ci-cd.yml"],
        ["workflow", "run", "feature-test.yml"],
    ]


def test_a_pull_request_that_is_open_is_brought_up_to_date(proposal: Proposal) -> None:
    proposal.lock("dev", "numpy==2.0\n")
    assert proposal.run().returncode == 0
    proposal.git("reset", "--quiet", "--hard", "HEAD~1")
    proposal.plan('[{"number":3}]')
    proposal.lock("dev", "numpy==3.0\n")
    done = proposal.run()
    assert done.returncode == 0, done.stderr
    assert ["pr", "create", "--repo"] not in proposal.calls()
    known = ("show", "dependencies/locks:requirements/dev.lock")
    assert proposal.git(f"--git-dir={proposal.origin}", *known) == "numpy==3.0"


def test_where_nothing_is_new_nothing_is_asked(proposal: Proposal) -> None:
    done = proposal.run()
    assert (done.returncode, proposal.calls()) == (0, []) and "nothing is new" in done.stdout


def test_another_branch_gets_its_own_locks_and_is_never_overwritten(proposal: Proposal) -> None:
    branch = "dependabot/pip/python"
    proposal.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    first = proposal.git("rev-parse", "HEAD")
    proposal.lock("dev", "numpy==2.0\n")
    assert proposal.run(branch).returncode == 0
    assert proposal.git(f"--git-dir={proposal.origin}", "rev-parse", f"{branch}~1") == first
    # Somebody else pushed since: their commit stays.
    proposal.git("reset", "--quiet", "--hard", first)
    proposal.lock("dev", "numpy==3.0\n")
    done = proposal.run(branch)
    assert done.returncode != 0 and "rejected" in done.stderr
